"""Copies and checks between two backup services: who may say what, and what keeps them apart from backups."""

from dataclasses import replace

import pytest

from sharekeeper.attestation.report_data import exchange_report_data
from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyshare import SharesMismatch
from sharekeeper.errors import ProtocolViolation
from sharekeeper.protocol.copy_session import CheckAsker, CheckHolder, CopyHolder, CopyTaker
from sharekeeper.protocol.messages import KeyShares, Receipt, decode_message, encode_message
from sharekeeper.protocol.session import BackupClient, BackupServer, Nonces
from sharekeeper.protocol.session_tables import State

from .attestation_values import evidence, verdict
from .exchange_values import SHARES, facts, with_share

COPY, CHECK = (CopyTaker, CopyHolder), (CheckAsker, CheckHolder)


def made(session, nonce):
    return session(**facts(), nonces=Nonces(own=nonce * 32))


def pair(kinds):
    return made(kinds[0], b"t"), made(kinds[1], b"h")


def show(session):
    role = session.code_of(session.role)
    return session.send_evidence(evidence(role, session.report_data(session.role)), verdict(role))


def met(kinds):
    """Both sides after hellos and evidence."""
    opener, holder = pair(kinds)
    holder.receive(opener.send_hello())
    opener.receive(holder.send_hello())
    for prover, verifier in ((opener, holder), (holder, opener)):
        verifier.receive(show(prover))
        verifier.accept_evidence(verdict(Role.BACKUP_SERVICE))
    return opener, holder


def test_a_copy_goes_from_the_holder_to_the_taker_who_gives_a_receipt():
    taker, holder = met(COPY)
    assert taker.receive(holder.send_shares(SHARES)) == KeyShares(shares=SHARES)
    holder.receive(taker.send_receipt())
    assert (taker.state, holder.state) == (State.DONE, State.DONE)


def test_a_check_is_one_receipt_for_the_shares_that_both_hold():
    asker, holder = met(CHECK)
    asker.hold(SHARES)
    holder.hold(SHARES)
    frame = holder.send_receipt()
    assert isinstance(asker.receive(frame), Receipt)
    assert not any(share.private_share.reveal() in frame for share in SHARES)


@pytest.mark.parametrize("session", CHECK)
def test_shares_that_are_not_the_keysets_confirm_nothing_even_where_both_hold_them(session):
    with pytest.raises(SharesMismatch):
        made(session, b"t").hold(SHARES[:-1])


def test_a_receipt_for_other_shares_confirms_nothing():
    asker, holder = met(CHECK)
    asker.hold(SHARES)
    holder.hold(with_share(SHARES, 0, private_share=SHARES[1].private_share))
    with pytest.raises(ProtocolViolation, match="for other bytes"):
        asker.receive(holder.send_receipt())


def test_a_holder_that_does_not_know_the_shares_cannot_confirm_them():
    asker, holder = met(CHECK)
    asker.hold(SHARES)
    with pytest.raises(ProtocolViolation, match="for other bytes"):
        asker.receive(holder.send_receipt())


@pytest.mark.parametrize("kinds", [COPY, CHECK], ids=["copy", "check"])
def test_nothing_is_given_before_both_have_shown_their_evidence(kinds):
    opener, holder = pair(kinds)
    holder.receive(opener.send_hello())
    holder.send_hello()
    with pytest.raises(RuntimeError):
        holder.send_shares(SHARES)
    with pytest.raises(RuntimeError):
        holder.send_receipt()


def test_no_share_travels_in_a_check():
    asker, holder = met(CHECK)
    with pytest.raises(RuntimeError):
        holder.send_shares(SHARES)
    _, giver = met(COPY)
    with pytest.raises(ProtocolViolation, match="out of order"):
        asker.receive(giver.send_shares(SHARES))


@pytest.mark.parametrize("kinds", [COPY, CHECK], ids=["copy", "check"])
def test_both_sides_must_run_a_backup_services_code(kinds):
    for session in pair(kinds):
        assert {session.code_of(side) for side in Role} == {Role.BACKUP_SERVICE}


def test_evidence_for_a_copy_is_of_no_use_elsewhere_nor_on_the_other_side():
    taker, holder = met(COPY)
    bound = {taker.report_data(side) for side in Role}
    assert bound == {holder.report_data(side) for side in Role}
    for kind in (BackupServer, CheckHolder):
        exchange = made(kind, b"h").exchange
        bound |= {exchange_report_data(exchange, side, own_nonce=b"h" * 32, peer_nonce=b"t" * 32) for side in Role}
        bound |= {exchange_report_data(exchange, side, own_nonce=b"t" * 32, peer_nonce=b"h" * 32) for side in Role}
    assert len(bound) == 2 + 4 + 4


@pytest.mark.parametrize("other", [BackupClient, CheckAsker])
def test_a_hello_for_another_purpose_opens_no_copy(other):
    with pytest.raises(ProtocolViolation, match="another purpose"):
        made(CopyHolder, b"h").receive(made(other, b"t").send_hello())


def test_a_taker_does_not_take_a_nodes_word_for_a_holders():
    taker, node = made(CopyTaker, b"t"), made(BackupServer, b"h")
    taker.send_hello()
    node.receive(made(BackupClient, b"t").send_hello())
    with pytest.raises(ProtocolViolation, match="another purpose"):
        taker.receive(node.send_hello())


def test_its_own_hello_sent_back_is_a_reflection():
    taker = made(CopyTaker, b"t")
    with pytest.raises(ProtocolViolation, match="reflection"):
        taker.receive(taker.send_hello())


def test_a_hello_without_a_nonce_is_refused():
    hello = decode_message(made(CopyTaker, b"t").send_hello())
    with pytest.raises(ProtocolViolation, match="one side is attested"):
        made(CopyHolder, b"h").receive(encode_message(replace(hello, nonce=None)))


def test_there_is_no_copy_in_soft_launch():
    with pytest.raises(TypeError, match="nonces"):
        CopyTaker(**facts())
