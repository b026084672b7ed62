"""The sessions of version 2: greeted from the start, so hellos have no place, and a backup ends with the shares."""

import pytest

from sharekeeper.errors import ProtocolViolation, SharesRefused
from sharekeeper.protocol.messages import Exchange, Hello, KeyShares, Receipt, encode_message
from sharekeeper.protocol.session import (
    BackupServer,
    WebBackupClient,
    WebBackupServer,
    WebRecoveryClient,
    WebRecoveryServer,
)
from sharekeeper.protocol.session_tables import ENDED, State

from .exchange_values import RECOVERY_ID, SHARES, facts, keyset, shares_of

RECOVERY = facts(recovery_id=RECOVERY_ID)


def test_a_backup_is_one_message():
    giver, taker = WebBackupServer(**facts()), WebBackupClient(**facts())
    event = taker.receive(giver.send_shares(SHARES))
    assert isinstance(event, KeyShares)
    assert event.shares == SHARES
    assert {giver.state, taker.state} == {State.DONE} <= ENDED


def test_a_recovery_is_shares_and_the_receipt_of_exactly_those():
    giver, taker = WebRecoveryClient(**RECOVERY), WebRecoveryServer(**RECOVERY)
    taker.receive(giver.send_shares(SHARES))
    assert isinstance(giver.receive(taker.send_receipt()), Receipt)
    assert {giver.state, taker.state} == {State.DONE}


def test_the_receipt_of_other_shares_is_refused():
    giver, other, taker = WebRecoveryClient(**RECOVERY), WebRecoveryClient(**RECOVERY), WebRecoveryServer(**RECOVERY)
    giver.send_shares(SHARES)
    frame = other.send_shares(SHARES)
    taker.receive(frame)
    receipt = taker.send_receipt()
    wrong = receipt.replace(taker._payload_digest.encode(), b"0" * 64)
    with pytest.raises(ProtocolViolation, match="other bytes"):
        giver.receive(wrong)


@pytest.mark.parametrize("taker", [WebBackupClient(**facts()), WebRecoveryServer(**RECOVERY)])
def test_shares_of_another_keyset_are_refused(taker):
    other = keyset(epoch=6)
    with pytest.raises(SharesRefused):
        taker.receive(encode_message(KeyShares(shares=shares_of(other))))
    assert taker.state is State.FAILED


@pytest.mark.parametrize(
    "session",
    [
        WebBackupClient(**facts()),
        WebBackupServer(**facts()),
        WebRecoveryClient(**RECOVERY),
        WebRecoveryServer(**RECOVERY),
    ],
)
def test_hellos_have_no_place(session):
    exchange: Exchange = session.exchange
    other = "node" if session.role == "backup-service" else "backup-service"
    hello = encode_message(Hello(role=type(session.role)(other), exchange=exchange))
    with pytest.raises(RuntimeError):
        session.send_hello()
    with pytest.raises(ProtocolViolation, match="out of order"):
        session.receive(hello)


def test_a_version_1_session_does_not_begin_greeted():
    with pytest.raises(RuntimeError):
        BackupServer(**facts()).send_shares(SHARES)
