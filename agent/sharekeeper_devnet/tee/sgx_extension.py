"""The extension of a PCK certificate in which Intel says which platform it is, and how far patched."""

from collections.abc import Sequence
from typing import Final

from cryptography import x509

SVN_COMPONENTS: Final = 16
_OID: Final = "1.2.840.113741.1.13.1"
_SEQUENCE, _OBJECT_ID, _INTEGER, _OCTETS, _ENUMERATED, _BOOLEAN = 0x30, 0x06, 0x02, 0x04, 0x0A, 0x01
_SHORT_LENGTH: Final = 0x80
_SCALABLE: Final = 1  # the SGX type of servers


def sgx_extension(
    *, ppid: bytes, cpu_svn: Sequence[int], pce_svn: int, pce_id: bytes, fmspc: bytes, instance_id: bytes
) -> x509.UnrecognizedExtension:
    """The extension with these values; `cpu_svn` has 16 numbers below 128."""
    components = [_entry(f"2.{place}", _integer(svn)) for place, svn in enumerate(cpu_svn, start=1)]
    tcb = [*components, _entry("2.17", _integer(pce_svn)), _entry("2.18", _tlv(_OCTETS, bytes(cpu_svn)))]
    configuration = [_entry(f"7.{place}", _tlv(_BOOLEAN, b"\xff")) for place in (1, 2, 3)]
    body = [
        _entry("1", _tlv(_OCTETS, ppid)),
        _entry("2", _tlv(_SEQUENCE, b"".join(tcb))),
        _entry("3", _tlv(_OCTETS, pce_id)),
        _entry("4", _tlv(_OCTETS, fmspc)),
        _entry("5", _tlv(_ENUMERATED, bytes([_SCALABLE]))),
        _entry("6", _tlv(_OCTETS, instance_id)),
        _entry("7", _tlv(_SEQUENCE, b"".join(configuration))),
    ]
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(_OID), _tlv(_SEQUENCE, b"".join(body)))


def _entry(place: str, value: bytes) -> bytes:
    return _tlv(_SEQUENCE, _object_id(f"{_OID}.{place}") + value)


def _object_id(text: str) -> bytes:
    first, second, *rest = (int(part) for part in text.split("."))
    return _tlv(_OBJECT_ID, bytes([first * 40 + second]) + b"".join(_base_128(number) for number in rest))


def _base_128(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return bytes(reversed(digits))


def _integer(number: int) -> bytes:
    return _tlv(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def _tlv(tag: int, body: bytes) -> bytes:
    length = len(body)
    if length < _SHORT_LENGTH:
        return bytes([tag, length]) + body
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, _SHORT_LENGTH | len(octets)]) + octets + body
