"""Attacks on sessions of the hard launch: evidence that is good for something else, early, late, twice or missing."""

from dataclasses import replace

import pytest

from sharekeeper.domain.attestation import Event
from sharekeeper.domain.identity import AccountId, Role
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import (
    AttestationRefused,
    PeerNotAttested,
    ProtocolViolation,
)
from sharekeeper.protocol.messages import (
    MAX_EVIDENCE_FRAME_BYTES,
    Hello,
    KeyShares,
    ShownEvidence,
    encode_message,
)
from sharekeeper.protocol.session import BackupClient, BackupServer, Nonces, RecoveryClient, RecoveryServer
from sharekeeper.protocol.session_tables import State

from .attestation_values import (
    BACKUP_SERVICE_NONCE,
    CODE,
    NODE_NONCE,
    STRANGER,
    accept,
    attested,
    attested_pair,
    evidence,
    report_data,
    show,
    verdict,
)
from .exchange_values import NETWORK, SHARES, keyset
from .exchange_values import STRANGER as STRANGER_KEYS

ANY_EVIDENCE = encode_message(ShownEvidence(evidence=evidence(Role.NODE, b"any")))


def refused(verifier, frame, check):
    with pytest.raises(AttestationRefused, match=check) as fault:
        accept(verifier, frame)
    assert verifier.state is State.EVIDENCE_RECEIVED
    with pytest.raises((RuntimeError, ProtocolViolation)):
        verifier.send_shares(SHARES)
    verifier.refuse(PeerNotAttested(str(fault.value), check=fault.value.check))
    with pytest.raises(PeerNotAttested):
        verifier.send_shares(SHARES)


def greeted(kind):
    client, server = attested_pair(kind)
    server.receive(client.send_hello())
    client.receive(server.send_hello())
    return client, server


def as_message(made):
    return encode_message(ShownEvidence(evidence=made))


OTHER = {
    "another exchange's nonce of this side": {"peer_nonce": b"old" + bytes(29)},
    "another nonce of its own": {"own_nonce": b"old" + bytes(29)},
    "another keyset": {"keyset_digest": keyset(epoch=4).digest()},
    "another account": {"account_id": AccountId("bob.test.near")},
    "another contract": {"network": replace(NETWORK, contract_id=AccountId("v2.test.near"))},
    "another TLS key of the node": {"node_tls_key": STRANGER_KEYS.tls_key},
    "another TLS key of the backup service": {"backup_service_tls_key": STRANGER_KEYS.tls_key},
    "the other purpose": {"purpose": Purpose.RECOVERY, "recovery_id": 7},
}


@pytest.mark.parametrize("changes", list(OTHER.values()), ids=list(OTHER))
def test_a_quote_of_the_right_machine_made_for_anything_else_is_refused(changes):
    client, server = greeted("backup")
    made = report_data(client, Role.BACKUP_SERVICE, **changes)
    refused(server, as_message(evidence(Role.BACKUP_SERVICE, made)), "report data")


def test_an_old_quote_replayed_into_a_new_exchange_is_refused():
    client, server = greeted("recovery")
    frame = show(client)
    accept(server, frame)
    again = attested(RecoveryServer, nonces=Nonces(own=b"fresh" + bytes(27)))
    again.receive(encode_message(Hello(role=client.role, exchange=client.exchange, nonce=BACKUP_SERVICE_NONCE)))
    again.send_hello()
    refused(again, frame, "report data")


def test_a_quote_for_another_recovery_is_refused():
    client, server = greeted("recovery")
    made = report_data(client, Role.BACKUP_SERVICE, recovery_id=6)
    refused(server, as_message(evidence(Role.BACKUP_SERVICE, made)), "report data")


def test_a_quote_for_the_other_side_of_the_same_exchange_is_refused():
    client, server = greeted("backup")
    made = report_data(client, Role.NODE)
    refused(server, as_message(evidence(Role.BACKUP_SERVICE, made)), "report data")


def test_a_machine_of_the_other_role_is_refused_although_its_quote_is_for_this_exchange():
    client, server = greeted("backup")
    made = report_data(client, Role.BACKUP_SERVICE)
    refused(server, as_message(evidence(Role.NODE, made)), "image digest")
    client, server = greeted("backup")
    accept(server, show(client))
    made = report_data(client, Role.NODE)
    refused(client, as_message(evidence(Role.NODE, made, code=CODE[Role.BACKUP_SERVICE])), "image digest")


def test_our_own_evidence_reflected_is_refused():
    client, server = greeted("backup")
    frame = show(client)
    accept(server, frame)
    show(server)
    refused(client, frame, "report data")


def test_our_own_nonce_reflected_is_refused():
    server = attested(BackupServer)
    client = attested(BackupClient, nonces=Nonces(own=NODE_NONCE))
    with pytest.raises(ProtocolViolation, match="own nonce: a reflection"):
        server.receive(client.send_hello())


def test_a_quote_that_no_tee_signed_is_refused():
    client, server = greeted("backup")
    made = evidence(Role.BACKUP_SERVICE, report_data(client, Role.BACKUP_SERVICE), vendor=STRANGER)
    refused(server, as_message(made), "quote")


def test_tls_key_changed_after_attestation_makes_the_evidence_worthless():
    """Whoever holds another key now, although it is registered meanwhile, cannot use what the old key showed."""
    client, server = greeted("recovery")
    accept(server, show(client))
    frame = show(server)
    moved = {"node_tls_key": STRANGER_KEYS.tls_key}
    now = attested(RecoveryClient, **moved)
    now.send_hello()
    now.receive(encode_message(Hello(role=Role.NODE, exchange=now.exchange, nonce=NODE_NONCE)))
    now.send_evidence(evidence(Role.BACKUP_SERVICE, now.report_data(Role.BACKUP_SERVICE)), verdict())
    refused(now, frame, "report data")


def test_evidence_before_the_hello_is_refused():
    server = attested(BackupServer)
    with pytest.raises(ProtocolViolation, match="a ShownEvidence out of order"):
        server.receive(ANY_EVIDENCE)


def test_shares_right_after_the_hellos_are_refused_for_want_of_evidence():
    client, server = greeted("recovery")
    with pytest.raises(ProtocolViolation, match="a KeyShares out of order"):
        server.receive(encode_message(KeyShares(shares=SHARES)))
    client, server = greeted("backup")
    client.send_evidence(evidence(Role.BACKUP_SERVICE, b""), verdict())
    with pytest.raises(ProtocolViolation, match="a KeyShares out of order"):
        client.receive(encode_message(KeyShares(shares=SHARES)))


def test_shares_together_with_evidence_that_is_not_judged_yet_are_refused():
    client, server = greeted("recovery")
    server.receive(show(client))
    with pytest.raises(ProtocolViolation, match="a KeyShares out of order"):
        server.receive(encode_message(KeyShares(shares=SHARES)))


def test_a_second_verdict_is_not_taken():
    client, server = greeted("backup")
    accept(server, show(client))
    with pytest.raises(RuntimeError, match="does not accept"):
        server.accept_evidence(verdict())


def test_evidence_too_large_is_refused_by_its_size():
    client, server = greeted("backup")
    frame = b"\5" + b" " * MAX_EVIDENCE_FRAME_BYTES
    with pytest.raises(ProtocolViolation, match=f"{len(frame)} bytes; at most {MAX_EVIDENCE_FRAME_BYTES}"):
        server.receive(frame)
    assert client.state is State.GREETED


def test_evidence_with_more_events_than_anybody_has_is_refused():
    _, server = greeted("backup")
    event = Event(imr=3, event_type=1, digest="00" * 48, name="x", payload="")
    frame = as_message(evidence(Role.BACKUP_SERVICE, b""))
    many = frame.replace(b'"event_log":[]', b'"event_log":[' + b",".join([_event(event)] * 300) + b"]")
    assert len(many) < MAX_EVIDENCE_FRAME_BYTES
    with pytest.raises(ProtocolViolation, match="malformed evidence message"):
        server.receive(many)


def _event(event):
    whole = replace(evidence(Role.NODE, b""), events=(event,))
    frame = as_message(whole)
    return frame[frame.index(b"[") + 1 : frame.index(b"]")]
