"""JSON in and out of the domain: strict bytes-to-JSON, near/mpc's keyset and key-share forms.

Every decoder here is total: it returns a value or raises `DecodeError`, whatever the bytes.
Formats: near/mpc interop, sections 3.1 and 3.2. Unknown fields are ignored, since near/mpc adds them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from sharekeeper.domain.keyset import Curve, DomainKey, DomainPublicKey, KeyEventId, Keyset
from sharekeeper.domain.keyshare import SHARE_BYTES, KeyShare
from sharekeeper.secret import Secret
from sharekeeper.spec import MAX_DOMAINS

MAX_DEPTH: Final = 32
_SHARE_KEY_BYTES: Final = {Curve.SECP256K1: 33, Curve.ED25519: 32, Curve.BLS12381: 96}
_KEY_FIELD: Final = {
    Curve.SECP256K1: "near_public_key",
    Curve.ED25519: "near_public_key_compressed",
    Curve.BLS12381: "public_key",
}


class DecodeError(ValueError):
    """The bytes are not what they should be; the text says where and why, and quotes no secret."""


def parse_json(data: bytes) -> Any:  # noqa: ANN401  # JSON is any
    """The JSON value of UTF-8 `data`: no repeated names, no NaN or Infinity, at most `MAX_DEPTH` levels."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except DecodeError:
        raise
    except (ValueError, RecursionError):
        raise DecodeError("not valid JSON") from None
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _check_depth(value, MAX_DEPTH)
    return value


def canonical_json(value: object) -> bytes:
    """The one encoding we write: sorted names, no spaces, UTF-8, ASCII-escaped."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def field(value: object, name: str) -> Any:  # noqa: ANN401
    """`value[name]` of a JSON object."""
    if not isinstance(value, Mapping):
        raise DecodeError(f"expected an object with {name!r}, found {type(value).__name__}")
    if name not in value:
        raise DecodeError(f"field {name!r} is missing")
    return value[name]


def text(value: object, name: str) -> str:
    """A string field."""
    found = field(value, name)
    if not isinstance(found, str):
        raise DecodeError(f"field {name!r} is not a string")
    return found


def integer(value: object, name: str, *, maximum: int = 2**64 - 1) -> int:
    """An integer field in 0..maximum."""
    found = field(value, name)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= maximum:
        raise DecodeError(f"field {name!r} is not an integer in 0..{maximum}")
    return found


def boolean(value: object, name: str) -> bool:
    """A true or false field."""
    found = field(value, name)
    if not isinstance(found, bool):
        raise DecodeError(f"field {name!r} is not true or false")
    return found


def array(value: object, name: str, *, maximum: int = MAX_DOMAINS) -> Sequence[Any]:
    """An array field of at most `maximum` items."""
    found = field(value, name)
    if not isinstance(found, list):
        raise DecodeError(f"field {name!r} is not an array")
    if len(found) > maximum:
        raise DecodeError(f"field {name!r} has {len(found)} items, at most {maximum} are allowed")
    return found


def hexadecimal(value: object, name: str, length: int) -> bytes:
    """A string field of `length` bytes in lower-case hex."""
    found = text(value, name)
    if len(found) != 2 * length or not set(found) <= set("0123456789abcdef"):
        raise DecodeError(f"field {name!r} is not {length} bytes in lower-case hex")
    return bytes.fromhex(found)


# --- keyset (near/mpc interop, section 3.2) -----------------------------------------------------


def decode_keyset(value: object) -> Keyset:
    """A keyset from near/mpc's JSON."""
    return keyset_of(integer(value, "epoch_id"), array(value, "domains"))


def keyset_of(epoch_id: int, domains: Sequence[object]) -> Keyset:
    """The keyset of that epoch with `domains` as near/mpc's JSON has them."""
    keys = tuple(decode_domain_key(item) for item in domains)
    try:
        return Keyset(epoch_id=epoch_id, domains=keys)
    except ValueError as error:
        raise DecodeError(str(error)) from None


def decode_domain_key(value: object) -> DomainKey:
    """One domain of a keyset from near/mpc's JSON."""
    return DomainKey(
        domain_id=integer(value, "domain_id"),
        attempt=integer(value, "attempt"),
        public_key=decode_public_key(field(value, "key")),
    )


def decode_public_key(value: object) -> DomainPublicKey:
    """A domain's public key from near/mpc's JSON: `{"<curve>": {"<field>": "<text>"}}`."""
    curve, key = _variant(value)
    try:
        return DomainPublicKey.parse(curve, text(key, _KEY_FIELD[curve]))
    except DecodeError:
        raise
    except ValueError as error:
        raise DecodeError(str(error)) from None


def encode_keyset(keyset: Keyset) -> dict[str, Any]:
    """near/mpc's JSON of a keyset."""
    return {"epoch_id": keyset.epoch_id, "domains": [_encode_domain(domain) for domain in keyset.domains]}


def _encode_domain(domain: DomainKey) -> dict[str, Any]:
    curve = domain.public_key.curve
    key: dict[str, Any] = {_KEY_FIELD[curve]: str(domain.public_key)}
    if curve is Curve.ED25519:
        key["edwards_point"] = list(domain.public_key.raw)
    return {"domain_id": domain.domain_id, "key": {curve.value: key}, "attempt": domain.attempt}


# --- key shares (near/mpc interop, section 3.1) -------------------------------------------------


def decode_shares(value: object) -> tuple[KeyShare, ...]:
    """Key shares from near/mpc's JSON array. Not checked against any keyset: see `check_shares`."""
    if not isinstance(value, list) or len(value) > MAX_DOMAINS:
        raise DecodeError(f"key shares are an array of at most {MAX_DOMAINS} items")
    return tuple(_decode_share(item) for item in value)


def encode_shares(shares: tuple[KeyShare, ...]) -> list[dict[str, Any]]:
    """near/mpc's JSON of key shares. The result holds secrets as hex: seal it or send it, keep it nowhere."""
    return [_encode_share(share) for share in shares]


def _decode_share(value: object) -> KeyShare:
    key_id = field(value, "key_id")
    curve, data = _variant(field(value, "data"))
    return KeyShare(
        key_id=KeyEventId(
            epoch_id=integer(key_id, "epoch_id"),
            domain_id=integer(key_id, "domain_id"),
            attempt_id=integer(key_id, "attempt_id"),
        ),
        curve=curve,
        private_share=Secret(hexadecimal(data, "private_share", SHARE_BYTES)),
        public_key=hexadecimal(data, "public_key", _SHARE_KEY_BYTES[curve]),
    )


def _encode_share(share: KeyShare) -> dict[str, Any]:
    return {
        "key_id": {
            "epoch_id": share.key_id.epoch_id,
            "domain_id": share.key_id.domain_id,
            "attempt_id": share.key_id.attempt_id,
        },
        "data": {
            share.curve.value: {
                "private_share": share.private_share.reveal().hex(),
                "public_key": share.public_key.hex(),
            }
        },
    }


# --- helpers ------------------------------------------------------------------------------------


def _variant(value: object) -> tuple[Curve, object]:
    if not isinstance(value, Mapping) or len(value) != 1:
        raise DecodeError("expected an object with exactly one curve")
    name, content = next(iter(value.items()))
    if name not in set(Curve):
        raise DecodeError(f"unknown curve {str(name)[:40]!r}")
    return Curve(name), content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DecodeError("an object repeats a name")
    return found


def _no_constant(name: str) -> NoReturn:
    raise DecodeError(f"{name} is not allowed")


def _check_depth(value: object, left: int) -> None:
    if left == 0:
        raise DecodeError(f"nested deeper than {MAX_DEPTH} levels")
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        if isinstance(child, (dict, list)):  # a view's answer has millions of items: a tuple is faster
            _check_depth(child, left - 1)
