"""Decoding is total: any value is accepted as what it is, or refused by ContractError, and in one form only."""

from collections.abc import Callable

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import codec
from contract.codec import ContractError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
READERS = {
    "fields": lambda value: codec.fields(value, "it", ("a",), ("b",)),
    "items": lambda value: codec.items(value, "it", 3),
    "text": lambda value: codec.text(value, "it"),
    "integer": lambda value: codec.integer(value, "it"),
    "one_of": lambda value: codec.one_of(value, "it", ("a", "b")),
    "account_id": lambda value: codec.account_id(value, "it"),
    "url": lambda value: codec.url(value, "it", 64),
    "hexadecimal": lambda value: codec.hexadecimal(value, "it", 1, 8),
    "digest": lambda value: codec.digest(value, "it"),
    "ed25519_key": lambda value: codec.ed25519_key(value, "it"),
}


def refusal_of(action: Callable[[], object]) -> str:
    """The sentence `action` is refused with; empty when it is not. Any other exception is a fault."""
    try:
        action()
    except ContractError as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize("reader", READERS)
@given(value=JSON)
def test_any_json_is_a_value_or_a_refusal(reader: str, value: object) -> None:
    refusal = refusal_of(lambda: READERS[reader](value))
    assert refusal.isascii()


@given(st.binary(min_size=32, max_size=32) | st.integers(0, 31).map(lambda zeros: bytes(zeros) + b"\1" * (32 - zeros)))
def test_base58_agrees_with_another_implementation(raw: bytes) -> None:
    digits = base58.b58encode(raw).decode()
    assert codec.base58_encode(raw) == digits
    assert codec.base58_decode(digits, 32) == raw


@given(st.text(codec.ALPHABET, min_size=30, max_size=50))
def test_base58_of_another_length_or_form_is_refused(digits: str) -> None:
    decoded = base58.b58decode(digits)
    assert codec.base58_decode(digits, 32) == (decoded if len(decoded) == 32 else None)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "ed25519:",
        "secp256k1:" + base58.b58encode(bytes(64)).decode(),
        "ed25519:" + base58.b58encode(bytes(31)).decode(),
        "ed25519:" + base58.b58encode(bytes(33)).decode(),
        "ed25519:" + base58.b58encode(b"\xff" * 32).decode() + "1",
        "ed25519:1" + base58.b58encode(b"\xff" * 32).decode(),
        "ed25519:" + "z" * 44,
        "ed25519:0" + base58.b58encode(b"\xff" * 32).decode()[1:],
        "ED25519:" + base58.b58encode(b"\xff" * 32).decode(),
        " ed25519:" + base58.b58encode(b"\xff" * 32).decode(),
        "ed25519:" + base58.b58encode(b"\xff" * 32).decode() + "\n",
    ],
)
def test_a_key_in_any_other_form_is_refused(key: str) -> None:
    with pytest.raises(ContractError, match="it must be 'ed25519:' followed by the base58 of 32 bytes"):
        codec.ed25519_key(key, "it")


@pytest.mark.parametrize(
    "address", ["http://a", "https://127.0.0.1:8090", "http://[::1]:80/x?y=z#w", "https://a.b/%20"]
)
def test_addresses_of_web_endpoints_are_accepted(address: str) -> None:
    assert codec.url(address, "it", 64) == address


@pytest.mark.parametrize(
    "address",
    [
        *("", "a", "http:", "http:/a", "http://", "http:///a", "ftp://a", "HTTP://a", "http://a b"),
        *("http://a\x00", "http://é", 'http://a"', "http://a\\", "http://a\x7f", "http://a<b>"),
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(ContractError, match="it must be an http:// or https:// address in plain characters"):
        codec.url(address, "it", 64)


@pytest.mark.parametrize("name", ["ab", "a-b_c.d", "0" * 64, "alice.near"])
def test_account_ids_are_accepted(name: str) -> None:
    assert codec.account_id(name, "it") == name


@pytest.mark.parametrize("name", ["", "a", "A.near", "a..b", ".a", "a.", "a-_b", "a b", "a\n", "é.near", "0" * 65])
def test_other_account_ids_are_refused(name: str) -> None:
    with pytest.raises(ContractError, match="it must be a NEAR account id"):
        codec.account_id(name, "it")


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, [1], -1, 2**53])
def test_what_is_no_integer_within_bounds_is_refused(value: object) -> None:
    with pytest.raises(ContractError, match=r"it must be (an integer|between 0 and 9007199254740991)"):
        codec.integer(value, "it")


def test_an_unknown_field_is_named_with_those_that_are_known() -> None:
    with pytest.raises(ContractError, match="it has the unknown field 'c'; fields it knows: a, b"):
        codec.fields({"a": 1, "c": 2}, "it", ("a",), ("b",))
    with pytest.raises(ContractError, match=r"it has the unknown field \(not printable\); fields it knows: none"):
        codec.fields({"é": 1}, "it", ())


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ContractError, match="it lacks the field 'a'; add it"):
        codec.fields({"b": 1}, "it", ("a",), ("b",))


def test_access_keys_are_read_as_near_gives_them() -> None:
    assert codec.signer_key(b"\0" + bytes(32)) == "ed25519:" + "1" * 32
    assert codec.signer_key(b"\1" + b"\xff" * 64) == "secp256k1:" + base58.b58encode(b"\xff" * 64).decode()
    for raw in (b"", b"\2" + bytes(32)):
        with pytest.raises(ContractError, match="of an unknown curve"):
            codec.signer_key(raw)


@pytest.mark.parametrize("size", [32, 64])
@given(data=st.data())
def test_a_key_is_checked_without_decoding_it_as_decoding_would(size: int, data: st.DataObject) -> None:
    """Near the bounds of what so many bytes can be, and with leading zeros, the short check says what the long one does."""
    least, greatest = (codec.base58_decode(bound, size) for bound in codec.BASE58_BOUNDS[size])
    assert least == b"\1" + bytes(size - 1)
    assert greatest == b"\xff" * size
    edge = data.draw(st.sampled_from([0, 1 << 8 * (size - 1), 1 << 8 * size]))
    number = data.draw(st.integers(max(0, edge - 99), edge + 99) | st.integers(0, 1 << 8 * size + 9))
    digits = base58.b58encode_int(number, default_one=False).decode()
    text = "1" * data.draw(st.integers(0, 2)) + digits + data.draw(st.sampled_from(["", "0", "l", " ", "z"]))
    assert codec.is_base58(text, size) == (codec.base58_decode(text, size) is not None)
