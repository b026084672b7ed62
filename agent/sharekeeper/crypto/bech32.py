"""Bech32 (BIP 173), as age writes its keys: 5 bits a character, and a checksum over all of it."""

from collections.abc import Iterator
from typing import Final

_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_CHARACTERS: Final = 6


def bech32(prefix: str, data: bytes) -> str:
    """`data` written as Bech32 under the lower-case `prefix`; of any length, as age has it."""
    words = [*_words(data)]
    spread = [ord(each) >> 5 for each in prefix] + [0] + [ord(each) & 31 for each in prefix]
    rest = _polymod([*spread, *words, *([0] * _CHECKSUM_CHARACTERS)]) ^ 1
    checksum = [(rest >> 5 * (_CHECKSUM_CHARACTERS - 1 - place)) & 31 for place in range(_CHECKSUM_CHARACTERS)]
    return f"{prefix}1" + "".join(_ALPHABET[word] for word in (*words, *checksum))


def _words(data: bytes) -> Iterator[int]:
    """The bits of `data` in groups of five, most significant first, the last one filled with zeros."""
    bits = len(data) * 8
    value = int.from_bytes(data, "big") << (-bits % 5)
    for shift in range(bits + (-bits % 5) - 5, -1, -5):
        yield (value >> shift) & 31


def _polymod(words: list[int]) -> int:
    rest = 1
    for word in words:
        top, rest = rest >> 25, (rest & 0x1FFFFFF) << 5 ^ word
        for place, generator in enumerate(_GENERATOR):
            rest ^= generator if top >> place & 1 else 0
    return rest
