"""Sealed bodies: they open in one exchange and direction, once, and nowhere else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.domain.ephemeral import ExchangeId, X25519Key
from sharekeeper.domain.identity import AccountId, Role
from sharekeeper.domain.keyset import KeysetDigest
from sharekeeper.errors import SealBroken
from sharekeeper.protocol.sealed_body import NONCE_BYTES, TAG_BYTES, SealedBodies, Transcript
from sharekeeper.secret import Secret

from . import second_implementation
from .exchange_values import NETWORK, STRANGER
from .web_values import BACKUP, EXCHANGE_ID, RECOVERY

ONE, OTHER = bytes([1]) * 32, bytes([2]) * 32
NONCE = bytes(range(NONCE_BYTES))
TRANSCRIPT = Transcript(
    exchange=BACKUP, exchange_id=EXCHANGE_ID, node_key=X25519Key(ONE), backup_service_key=X25519Key(OTHER)
)


def node(transcript=TRANSCRIPT, *, send=ONE):
    return SealedBodies(Role.NODE, transcript, receive=Secret(OTHER), send=Secret(send))


def service(transcript=TRANSCRIPT, *, receive=ONE):
    return SealedBodies(Role.BACKUP_SERVICE, transcript, receive=Secret(receive), send=Secret(OTHER))


def test_a_body_opens_on_the_other_side():
    assert service().open(node().seal(b"shares", NONCE)) == b"shares"


def test_a_second_implementation_makes_and_opens_the_same_body():
    body = node().seal(b"shares", NONCE)
    data = TRANSCRIPT.canonical(Role.NODE)
    assert second_implementation.seal(ONE, NONCE, b"shares", data) == body
    assert second_implementation.unseal(ONE, body, data) == b"shares"


def test_hchacha20_of_the_second_implementation_gives_the_drafts_vector():
    key, nonce = bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927")
    expected = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert second_implementation.hchacha20(key, nonce).hex() == expected


OTHER_EXCHANGES = {
    "account": replace(BACKUP, account_id=AccountId("bob.test.near")),
    "chain": replace(BACKUP, network=replace(NETWORK, chain_id="testnet")),
    "genesis": replace(BACKUP, network=replace(NETWORK, genesis_hash="1" * 44)),
    "contract": replace(BACKUP, network=replace(NETWORK, contract_id=AccountId("other.test.near"))),
    "purpose": RECOVERY,
    "keyset": replace(BACKUP, keyset_digest=KeysetDigest("0" * 64)),
    "node TLS key": replace(BACKUP, node_tls_key=STRANGER.tls_key),
    "backup service TLS key": replace(BACKUP, backup_service_tls_key=STRANGER.tls_key),
}
OTHER_TRANSCRIPTS = {
    **{name: replace(TRANSCRIPT, exchange=exchange) for name, exchange in OTHER_EXCHANGES.items()},
    "exchange id": replace(TRANSCRIPT, exchange_id=ExchangeId("11" * 16)),
    "node key": replace(TRANSCRIPT, node_key=X25519Key(OTHER)),
    "backup service key": replace(TRANSCRIPT, backup_service_key=X25519Key(ONE)),
}


@pytest.mark.parametrize("name", OTHER_TRANSCRIPTS)
def test_a_body_opens_under_no_other_transcript(name):
    with pytest.raises(SealBroken):
        service(OTHER_TRANSCRIPTS[name]).open(node().seal(b"shares", NONCE))


def test_a_body_of_one_recovery_does_not_open_in_another():
    sealed = node(replace(TRANSCRIPT, exchange=RECOVERY)).seal(b"receipt", NONCE)
    with pytest.raises(SealBroken):
        service(replace(TRANSCRIPT, exchange=replace(RECOVERY, recovery_id=8))).open(sealed)


def test_a_body_sent_back_does_not_open_even_under_one_key_for_both_directions():
    same = SealedBodies(Role.NODE, TRANSCRIPT, receive=Secret(ONE), send=Secret(ONE))
    with pytest.raises(SealBroken):
        same.open(same.seal(b"shares", NONCE))


def test_another_key_opens_nothing():
    with pytest.raises(SealBroken):
        service(receive=OTHER).open(node().seal(b"shares", NONCE))


def test_every_changed_byte_and_every_cut_is_noticed():
    body = node().seal(b"shares", NONCE)
    for index in range(len(body)):
        with pytest.raises(SealBroken):
            service().open(body[:index] + bytes([body[index] ^ 1]) + body[index + 1 :])
        with pytest.raises(SealBroken):
            service().open(body[:index])
    with pytest.raises(SealBroken):
        service().open(body + b"\0")


@given(st.binary(max_size=3 * (NONCE_BYTES + TAG_BYTES)))
def test_other_bytes_do_not_open(body):
    with pytest.raises(SealBroken):
        service().open(body)


def test_a_key_seals_one_message_and_opens_one():
    sender, receiver = node(), service()
    body = sender.seal(b"shares", NONCE)
    receiver.open(body)
    with pytest.raises(RuntimeError):
        sender.seal(b"more", NONCE)
    with pytest.raises(RuntimeError):
        receiver.open(body)


def test_forgotten_keys_neither_seal_nor_open():
    sender, receiver = node(), service()
    body = node().seal(b"shares", NONCE)
    sender.forget()
    receiver.forget()
    with pytest.raises(RuntimeError):
        sender.seal(b"shares", NONCE)
    with pytest.raises(RuntimeError):
        receiver.open(body)
