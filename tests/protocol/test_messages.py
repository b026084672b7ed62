"""Messages: one encoding, total decoding, every refusal by name."""

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharekeeper.domain.attestation import Event, Evidence
from sharekeeper.domain.identity import AccountId, NetworkId, Role, TlsKey
from sharekeeper.domain.keyset import KeysetDigest, Sha256Hex
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import PeerNotAttested, PolicyRefused, ProtocolViolation, SharekeeperError
from sharekeeper.protocol.codec import canonical_json
from sharekeeper.protocol.messages import (
    Exchange,
    Hello,
    KeyShares,
    Receipt,
    Refusal,
    ShownEvidence,
    decode_hello,
    decode_message,
    encode_message,
)
from sharekeeper.spec import MAX_CONTROL_FRAME_BYTES, MAX_DOMAINS, MAX_EVIDENCE_BYTES, MAX_SHARES_FRAME_BYTES

from .exchange_values import ALICE, BACKUP_SERVICE, KEYSET, NETWORK, NODE, SHARES, keyset, shares_of

BACKUP = Exchange(
    account_id=ALICE,
    network=NETWORK,
    purpose=Purpose.BACKUP,
    recovery_id=None,
    keyset_digest=KEYSET.digest(),
    node_tls_key=NODE.tls_key,
    backup_service_tls_key=BACKUP_SERVICE.tls_key,
)
HELLO = Hello(role=Role.BACKUP_SERVICE, exchange=BACKUP)
RECEIPT = Receipt(role=Role.BACKUP_SERVICE, exchange=BACKUP, payload_digest=Sha256Hex.of(b"payload"))
REFUSAL = Refusal(code="policy_refused", message="no approval")
EVENT = Event(imr=3, event_type=0x08000001, digest="ab" * 48, name="compose-hash", payload="00ff")
EVIDENCE = ShownEvidence(evidence=Evidence(quote=b"quote", events=(EVENT,), app_compose="{}", collateral=None))
NONCE = bytes(range(32))
MESSAGES = [HELLO, replace(HELLO, nonce=NONCE), KeyShares(shares=SHARES), RECEIPT, REFUSAL, EVIDENCE]

keys = st.binary(min_size=32, max_size=32).map(TlsKey)
digests = st.binary(max_size=8).map(Sha256Hex.of)
accounts = st.from_regex(r"[a-z0-9]{2,20}(\.[a-z0-9]{1,20}){0,2}", fullmatch=True).map(AccountId)
exchanges = st.builds(
    Exchange,
    account_id=accounts,
    network=st.builds(
        NetworkId, chain_id=st.text(max_size=20), genesis_hash=st.text(max_size=44), contract_id=accounts
    ),
    purpose=st.just(Purpose.RECOVERY),
    recovery_id=st.integers(min_value=0, max_value=2**64 - 1),
    keyset_digest=digests.map(KeysetDigest),
    node_tls_key=st.just(NODE.tls_key),
    backup_service_tls_key=keys.filter(lambda key: key != NODE.tls_key),
)
messages = st.one_of(
    st.builds(
        Hello,
        role=st.sampled_from(Role),
        exchange=exchanges,
        nonce=st.none() | st.binary(min_size=32, max_size=32),
    ),
    st.builds(
        ShownEvidence,
        evidence=st.builds(
            Evidence,
            quote=st.binary(max_size=40),
            events=st.lists(st.just(EVENT), max_size=3).map(tuple),
            app_compose=st.text(max_size=20),
            collateral=st.none() | st.text(max_size=20),
        ),
    ),
    st.builds(Receipt, role=st.sampled_from(Role), exchange=exchanges, payload_digest=digests),
    st.builds(Refusal.of, st.builds(PolicyRefused, st.text(max_size=400))),
    st.integers(1, 4).map(lambda count: KeyShares(shares=shares_of(keyset(domains=count)))),
)


def altered(message, /, **changes) -> bytes:
    """The message's bytes with fields of its JSON changed; `...` drops a field."""
    frame = encode_message(message)
    value = {name: content for name, content in (json.loads(frame[1:]) | changes).items() if content is not ...}
    return frame[:1] + canonical_json(value)


@given(message=messages)
def test_every_message_is_decoded_to_itself(message):
    assert decode_message(encode_message(message)) == message


@settings(max_examples=300)
@given(frame=st.binary(max_size=80) | st.binary(max_size=200).map(lambda data: bytes([len(data) % 7]) + data))
def test_any_bytes_are_a_message_or_a_protocol_violation(frame):
    with pytest.raises(ProtocolViolation):
        decode_message(frame)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@settings(max_examples=300)
@given(data=st.data())
def test_any_value_in_any_field_is_a_message_or_a_protocol_violation(data):
    message = data.draw(st.sampled_from(MESSAGES))
    name = data.draw(st.sampled_from(sorted(json.loads(encode_message(message)[1:]))))
    frame = altered(message, **{name: data.draw(json_values)})
    with contextlib.suppress(ProtocolViolation):
        assert encode_message(decode_message(frame)) == frame


@settings(max_examples=200)
@given(message=st.sampled_from(MESSAGES), data=st.data())
def test_changed_truncated_or_extended_bytes_never_pass_for_the_message(message, data):
    frame = encode_message(message)
    position = data.draw(st.integers(0, len(frame) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != frame[position]))
    for bad in (frame[:position], frame + bytes([byte]), frame[:position] + bytes([byte]) + frame[position + 1 :]):
        try:
            decoded = decode_message(bad)
        except ProtocolViolation:
            continue
        assert decoded != message
        assert encode_message(decoded) == bad


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (b"", "unknown type byte"),
        (b"\0{}", "unknown type byte"),
        (b"\6{}", "unknown type byte"),
        (b"\5{}", "malformed evidence message: field 'quote' is missing"),
        (b"\5" + b" " * (MAX_EVIDENCE_BYTES + 1), "at most 131073 are allowed"),
        (b"\1", "malformed hello: not valid JSON"),
        (b"\1[]", "malformed hello: expected an object"),
        (b"\1" + b" " * MAX_CONTROL_FRAME_BYTES, "at most 4096"),
        (b"\3" + b" " * MAX_CONTROL_FRAME_BYTES, "at most 4096"),
        (b"\4" + b" " * MAX_CONTROL_FRAME_BYTES, "at most 4096"),
        (b"\2" + b" " * MAX_SHARES_FRAME_BYTES, "at most 16777216"),
        (b'\4{"code":"a","code":"a","message":""}', "repeats a name"),
        (b"\2" + b"[" * 5000, "malformed key-shares message"),
        (altered(HELLO, wire_version=2), "speaks wire version 2, this side 1; upgrade the older side"),
        (altered(HELLO, wire_version=True), "'wire_version' is not an integer"),
        (altered(HELLO, spec_revision="2031-01"), "follows spec revision '2031-01'"),
        (altered(HELLO, role="operator"), "malformed hello: 'operator' is not a valid Role"),
        (altered(HELLO, account_id="Alice"), "not a NEAR account id"),
        (altered(HELLO, contract_id=...), "field 'contract_id' is missing"),
        (altered(HELLO, purpose="migration"), "not a valid Purpose"),
        (altered(HELLO, recovery_id=7), "a recovery has a recovery_id, any other exchange has none"),
        (altered(HELLO, purpose="recovery"), "a recovery has a recovery_id, any other exchange has none"),
        (altered(HELLO, purpose="recovery", recovery_id=2**64), "'recovery_id' is not an integer"),
        (altered(HELLO, keyset_digest="ab"), "not a SHA-256 digest"),
        (altered(HELLO, sender_tls_key=str(NODE.tls_key)), "machines never share one"),
        (altered(HELLO, sender_tls_key=f"{BACKUP_SERVICE.tls_key} "), "hello"),
        (altered(HELLO, nonce=...), "field 'nonce' is missing"),
        (altered(HELLO, nonce="00" * 31), "'nonce' is not 32 bytes in lower-case hex"),
        (altered(HELLO, nonce="AB" * 32), "'nonce' is not 32 bytes in lower-case hex"),
        (altered(HELLO, nonce=0), "field 'nonce' is not a string"),
        (altered(EVIDENCE, quote="0"), "malformed evidence message"),
        (altered(EVIDENCE, quote="AB"), "evidence is not written in its one form"),
        (altered(EVIDENCE, event_log={}), "'event_log' is not an array"),
        (altered(EVIDENCE, extra=1), "evidence is not written in its one form"),
        (altered(HELLO, extra=1), "unknown fields or not in its one encoding"),
        (encode_message(HELLO).replace(b'":"', b'": "', 1), "not in its one encoding"),
        (altered(RECEIPT, status="received"), "field 'status' is not 'durable'"),
        (altered(RECEIPT, payload_digest="AB" * 32), "not a SHA-256 digest"),
        (altered(REFUSAL, code="DROP TABLE"), "a refusal's code"),
        (altered(REFUSAL, message="two\nlines"), "printable"),
        (altered(REFUSAL, message="x" * 301), "at most 300"),
        (altered(KeyShares(shares=SHARES), shares={}), "key shares are an array"),
        (altered(KeyShares(shares=SHARES), shares=[{}] * (MAX_DOMAINS + 1)), "at most 10000 items"),
        (altered(KeyShares(shares=SHARES), shares=[1]), "malformed key-shares message"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:12].hex(),
)
def test_malformed_message_is_refused_by_name(frame, text):
    with pytest.raises(ProtocolViolation, match=text):
        decode_message(frame)


def test_malformed_share_is_refused_without_quoting_it():
    value = json.loads(encode_message(KeyShares(shares=SHARES))[1:])
    share = "deadbeef" * 7
    value["shares"][0]["data"]["Secp256k1"]["private_share"] = share
    with pytest.raises(ProtocolViolation, match="'private_share' is not 32 bytes") as caught:
        decode_message(b"\2" + canonical_json(value))
    assert share not in str(caught.value)


def test_no_text_of_a_shares_message_shows_a_share():
    message = KeyShares(shares=SHARES)
    assert SHARES[0].private_share.reveal().hex() not in repr(message)


def test_ten_thousand_domains_fit_the_limit():
    frame = encode_message(KeyShares(shares=shares_of(keyset(domains=MAX_DOMAINS))))
    assert len(frame) < MAX_SHARES_FRAME_BYTES // 2


def test_largest_hello_and_refusal_fit_the_limit():
    network = NetworkId(chain_id="c" * 64, genesis_hash="9" * 64, contract_id=AccountId("m" * 64))
    exchange = replace(
        BACKUP, account_id=AccountId("a" * 64), network=network, purpose=Purpose.RECOVERY, recovery_id=2**64 - 1
    )
    assert len(encode_message(Hello(role=Role.NODE, exchange=exchange, nonce=NONCE))) < MAX_CONTROL_FRAME_BYTES
    widest = Refusal(code="x" * 40, message="\U0001f512" * 300)
    assert decode_message(encode_message(widest)) == widest


def test_first_frame_must_be_a_hello():
    assert decode_hello(encode_message(HELLO)) == HELLO
    with pytest.raises(ProtocolViolation, match="must begin with a hello; it sent a Refusal"):
        decode_hello(encode_message(REFUSAL))


@given(text=st.text(max_size=500))
def test_refusal_of_any_fault_can_be_sent(text):
    refusal = Refusal.of(SharekeeperError(text))
    assert refusal.code == "error"
    assert decode_message(encode_message(refusal)) == refusal


@pytest.mark.parametrize(
    ("check", "code"),
    [
        (None, "peer_not_attested"),
        ("TCB status", "not_attested_tcb_status"),
        ("RTMR3 replay", "not_attested_rtmr3_replay"),
        ("a check whose name is far too long for a code", "not_attested_a_check_whose_name_is_far_t"),
        ("é", "not_attested"),
    ],
)
def test_refusal_of_evidence_names_the_check_that_failed_in_its_code(check, code):
    refusal = Refusal.of(PeerNotAttested("check 1: it says no", check=check))
    assert refusal.code == code
    assert decode_message(encode_message(refusal)) == refusal
