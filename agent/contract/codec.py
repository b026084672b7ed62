"""Total decoding: whatever JSON a call carries, a checked value or one ContractError.

Runs under CPython and MicroPython. So in every module here: builtin exceptions are never caught, membership is
tested before indexing, no generators, and types that MicroPython lacks are named only in quoted annotations.
"""

import binascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any] | list[Any] | str | int | float | bool | None

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
ALPHABET_BYTES = ALPHABET.encode()
DIGIT_VALUES = bytearray(128)
for value, letter in enumerate(ALPHABET_BYTES):
    DIGIT_VALUES[letter] = value
# Five digits at a time: as many as MicroPython handles without big integers, which are some ten times dearer.
CHUNK_DIGITS = 5
CHUNK = 58**CHUNK_DIGITS
# bytes: base58 of the least and of the greatest number of so many bytes whose first is not zero
BASE58_BOUNDS = {
    32: ("4uQeVj5tqViQh7yWWGStvkEG1Zmhx6uasJtWCJziofM", "JEKNVnkbo3jma5nREBBJCDoXFVeKkD56V3xKrvRmWxFG"),
    64: (
        "2AFv15MNPuA84RmU66xw2uMzGipcVxNpzAffoacGVvjFue3CBmf633fAWuiP9cwL9C3z3CJiGgRSFjJfeEcA6QX",
        "67rpwLCuS5DGA8KGZXKsVQ7dnPb9goRLoKfgGbLfQg9WoLUgNY77E2jT11fem3coV9nAkguBACzrU1iyZM4B8roQ",
    ),
}
HEX_DIGITS = "0123456789abcdef"
LETTERS_AND_DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"
URL_CHARACTERS = LETTERS_AND_DIGITS + "ABCDEFGHIJKLMNOPQRSTUVWXYZ-._~:/?#[]@!$&'()*+,;=%"

LARGEST_INTEGER = 2**53 - 1  # what every JSON reader holds exactly
LONGEST_NAME_SHOWN = 64
ED25519 = "ed25519:"
SECP256K1 = "secp256k1:"
ED25519_BYTES = 32
SECP256K1_BYTES = 64


class ContractError(Exception):
    """The call is refused and changes nothing; the text names the fault and the cure in one sentence."""


def consists_of(text: str, characters: str) -> bool:
    return text.strip(characters) == ""


def shown(name: str) -> str:
    """`name` in quotation marks when it is short and plain, so that a refusal is always printable."""
    plain = 0 < len(name) <= LONGEST_NAME_SHOWN and consists_of(name, URL_CHARACTERS)
    return f"'{name}'" if plain else "(not printable)"


def fields(value: "Json", where: str, names: tuple[str, ...], optional: tuple[str, ...] = ()) -> "dict[str, Any]":
    """`value` as an object that has all of `names`, perhaps some of `optional`, and nothing else."""
    if not isinstance(value, dict):
        raise ContractError(f"{where} must be a JSON object")
    for name in value:
        if name not in names and name not in optional:
            allowed = ", ".join(names + optional) or "none"
            raise ContractError(f"{where} has the unknown field {shown(name)}; fields it knows: {allowed}")
    for name in names:
        if name not in value:
            raise ContractError(f"{where} lacks the field '{name}'; add it")
    return value


def items(value: "Json", where: str, most: int) -> "list[Any]":
    if not isinstance(value, list):
        raise ContractError(f"{where} must be a JSON list")
    if len(value) > most:
        raise ContractError(f"{where} has {len(value)} entries; at most {most} are allowed")
    return value


def text(value: "Json", where: str) -> str:
    if not isinstance(value, str):
        raise ContractError(f"{where} must be a string")
    return value


def integer(value: "Json", where: str, least: int = 0, most: int = LARGEST_INTEGER) -> int:
    """An integer within bounds; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ContractError(f"{where} must be an integer")
    if not least <= value <= most:
        raise ContractError(f"{where} must be between {least} and {most}")
    return value


def one_of(value: "Json", where: str, names: "tuple[str, ...]") -> str:
    name = text(value, where)
    if name not in names:
        raise ContractError(f"{where} must be one of {', '.join(names)}")
    return name


def account_id(value: "Json", where: str) -> str:
    """A NEAR account id: 2 to 64 of a-z, 0-9, with single -, _ or . between them."""
    name = text(value, where)
    parts = name.replace("-", ".").replace("_", ".").split(".")
    well_formed = 2 <= len(name) <= 64 and "" not in parts  # noqa: PLR2004 - the lengths of NEAR's rule above
    if not well_formed or not consists_of("".join(parts), LETTERS_AND_DIGITS):
        raise ContractError(f"{where} must be a NEAR account id")
    return name


def url(value: "Json", where: str, longest: int) -> str:
    """`http://host...` or `https://host...` in the characters RFC 3986 allows, at most `longest` bytes."""
    address = text(value, where)
    if len(address) > longest:
        raise ContractError(f"{where} is longer than {longest} bytes; use a shorter one")
    scheme, separator, rest = address.partition("://")
    host = rest.split("/", 1)[0]
    if scheme not in ("http", "https") or not separator or host == "" or not consists_of(rest, URL_CHARACTERS):
        raise ContractError(f"{where} must be an http:// or https:// address in plain characters")
    return address


def hexadecimal(value: "Json", where: str, least: int, most: int) -> bytes:
    """The bytes of an even number of lower-case hexadecimal digits, `least` to `most` bytes."""
    digits = text(value, where)
    if len(digits) % 2 or not consists_of(digits, HEX_DIGITS):
        raise ContractError(f"{where} must be lower-case hexadecimal with an even number of digits")
    if not least <= len(digits) // 2 <= most:
        raise ContractError(f"{where} must be hexadecimal of {least} to {most} bytes")
    return binascii.unhexlify(digits)


def digest(value: "Json", where: str) -> str:
    hexadecimal(value, where, 32, 32)
    return text(value, where)


def base58_encode(raw: bytes) -> str:
    number = int.from_bytes(raw, "big")
    digits = []
    while number:
        part = number % CHUNK
        number //= CHUNK
        for _ in range(CHUNK_DIGITS):
            digits.append(ALPHABET_BYTES[part % 58])
            part //= 58
    digits.reverse()
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + bytes(digits).decode().lstrip("1")


def base58_decode(digits: str, size: int) -> bytes | None:
    """The `size` bytes that `digits` stand for; None when they are none or their form is not the only one."""
    if not consists_of(digits, ALPHABET) or not size <= len(digits) <= size * 2:
        return None
    number = part = 0
    weight = 1
    for code in digits.encode():
        part = part * 58 + DIGIT_VALUES[code]
        weight *= 58
        if weight == CHUNK:
            number = number * CHUNK + part
            part = 0
            weight = 1
    number = number * weight + part
    if number >= 1 << (8 * size):
        return None
    raw = number.to_bytes(size, "big")
    zeros = size - len(raw.lstrip(b"\0"))
    return raw if zeros == len(digits) - len(digits.lstrip("1")) else None


def is_base58(digits: str, size: int) -> bool:
    """Whether `digits` stand for exactly `size` bytes, in the one form there is.

    The alphabet is in the order of ASCII, so that of two texts of one length the greater number is the greater text.
    Between the least and the greatest number of `size` bytes that do not begin with a zero byte nothing need be
    decoded, which is dear.
    """
    if size not in BASE58_BOUNDS or digits.startswith("1"):
        return base58_decode(digits, size) is not None
    least, greatest = BASE58_BOUNDS[size]
    if len(digits) == len(least):
        in_bounds = least <= digits
    elif len(digits) == len(greatest):
        in_bounds = digits <= greatest
    else:
        in_bounds = len(least) < len(digits) < len(greatest)
    return in_bounds and consists_of(digits, ALPHABET)


def public_key(value: "Json", where: str, prefix: str, size: int) -> str:
    """A key string: `prefix` and the base58 of exactly `size` bytes."""
    key = text(value, where)
    if not key.startswith(prefix) or not is_base58(key[len(prefix) :], size):
        raise ContractError(f"{where} must be '{prefix}' followed by the base58 of {size} bytes")
    return key


def ed25519_key(value: "Json", where: str) -> str:
    return public_key(value, where, ED25519, ED25519_BYTES)


def ed25519_bytes(key: str) -> bytes:
    """The 32 bytes of a key string that `ed25519_key` accepted."""
    raw = base58_decode(key[len(ED25519) :], ED25519_BYTES)
    if raw is None:
        raise ContractError("a stored key is damaged; report this contract as faulty")
    return raw


def signer_key(raw: bytes) -> str:
    """The key string of an access key as NEAR gives it: one byte for the curve, then the key."""
    prefixes = (ED25519, SECP256K1)
    if not raw or raw[0] >= len(prefixes):
        raise ContractError("the access key is of an unknown curve; sign with an ed25519 access key")
    return prefixes[raw[0]] + base58_encode(raw[1:])


def to_hex(raw: bytes) -> str:
    return binascii.hexlify(raw).decode()
