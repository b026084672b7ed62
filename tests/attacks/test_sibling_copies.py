"""Copies between an account's two backup services: nobody but the attested sibling gets a share, and only while it is one."""

from dataclasses import replace

import pytest

from sharekeeper.adapters.memory_vault import MemoryVault
from sharekeeper.adapters.tls_channel import connect
from sharekeeper.domain.identity import Role
from sharekeeper.domain.protocol_state import NotInitialized, Recovery
from sharekeeper.errors import (
    EvidenceExpired,
    NoQuorum,
    PeerClosed,
    PeerFault,
    PeerNotAttested,
    PeerNotAuthenticated,
    PeerRefused,
    PeerUnreachable,
    PinChanged,
    ProtocolViolation,
    ViewsDiffer,
)
from sharekeeper.protocol.copy_session import CheckAsker, CopyHolder, CopyTaker
from sharekeeper.protocol.messages import Refusal, decode_message, encode_message
from sharekeeper.protocol.session import BackupClient, Nonces, RecoveryServer
from tests.attestation.machines import code_hash
from tests.protocol.exchange_values import ALICE, KEYSET, NETWORK, NODE, SHARES, STRANGER, facts, keyset, shares_of
from tests.unit.contract_views import views

from .attested_rig import Forger, Recorder
from .channels import HOST, node
from .evidence_rig import EvidenceRig
from .sibling_rig import COPY, HOLDER, TAKER, in_slots, sibling_rig
from .web_rig import RECOVERY

EIGHT_DAYS_S = 8 * 86_400
KINDS = pytest.mark.parametrize("kind", ["fetch", "check"])


@pytest.fixture
async def rig(tmp_path):
    async with sibling_rig(tmp_path) as made:
        yield made


async def refused(rig, *faults, match=None):
    """The taker asks and gets nothing; the fault on its side."""
    with pytest.raises(faults or PeerRefused, match=match) as caught:
        await rig.fetch()
    assert rig.nothing_moved
    return caught.value


def forger(machine, **settings):
    return Forger(lambda report_data, _: machine.evidence(report_data, **settings))


# --- what is left alone ---------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["Running", "Recovery"])
async def test_the_sibling_gets_its_copy_and_both_have_proved_themselves_for_it(rig, state):
    if state == "Recovery":
        rig.chain.state = RECOVERY
    stored = await rig.fetch()
    assert await rig.taker.vault.open(stored.backup_id) == SHARES
    assert stored.source_tls_key == HOLDER.tls_key
    kinds = [type(decode_message(frame)).__name__ for frame in rig.sent]
    assert kinds == ["Hello", "ShownEvidence", "KeyShares"]
    assert [side.mutual.refused_total for side in (rig.holder, rig.taker)] == [{}, {}]
    assert isinstance(rig.chain.state, Recovery) is (state == "Recovery")


async def test_a_check_moves_no_share_and_proves_that_both_hold_the_same(rig):
    await rig.taker.vault.store(KEYSET, SHARES, NODE.tls_key)
    assert await rig.check() == HOLDER.tls_key
    assert [type(decode_message(frame)).__name__ for frame in rig.sent] == ["Hello", "ShownEvidence", "Receipt"]


async def test_siblings_that_hold_different_shares_learn_it_from_a_check(rig):
    moved = tuple(
        replace(share, private_share=other.private_share)
        for share, other in zip(shares_of(keyset(domains=3)), shares_of(keyset(domains=6))[3:], strict=True)
    )
    await rig.taker.vault.store(KEYSET, moved, NODE.tls_key)
    with pytest.raises(ProtocolViolation, match="for other bytes"):
        await rig.check()


# --- by evidence ----------------------------------------------------------------------------------


@KINDS
async def test_a_sibling_whose_image_is_not_voted_for_gets_nothing(rig, kind):
    rig.taker.use(forger(rig.taker.another("mine", image=code_hash("mine"))))
    if kind == "check":
        await rig.taker.vault.store(KEYSET, SHARES, NODE.tls_key)
        with pytest.raises(PeerRefused, match="image digest"):
            await rig.check()
    else:
        await refused(rig, match="image digest")
    assert rig.holder.mutual.refused_total == {"image digest": 1}
    assert rig.holder.vault.opened == 0


async def test_a_sibling_takes_nothing_from_a_holder_whose_image_is_not_voted_for(rig):
    rig.holder.use(forger(rig.holder.another("mine", image=code_hash("mine"))))
    with pytest.raises(PeerNotAttested, match="image digest"):
        await rig.fetch()
    assert rig.taker.vault.index() == ()


async def test_a_copy_that_is_asked_for_with_a_nodes_quote_is_refused(rig):
    """The node's machine is voted for, and runs what nodes run: it is no backup service."""
    voted = rig.taker.another("node", role=Role.NODE)
    rig.chain.allowed = replace(
        rig.chain.allowed,
        node=frozenset({voted.images.agent, voted.images.near, voted.images.mpc}),
        measurements=rig.chain.allowed.measurements | {voted.guest.measurements},
    )
    rig.taker.use(forger(voted))
    fault = await refused(rig)
    assert list(rig.holder.mutual.refused_total) == ["events"], fault
    assert rig.holder.vault.opened == 0


async def test_the_holders_own_evidence_sent_back_is_refused(rig):
    recorder = Recorder(rig.holder.mutual._attestation)
    rig.holder.use(recorder)
    await rig.fetch()
    rig.taker.vault._held.clear()
    rig.sent.clear()
    rig.taker.use(Forger(lambda _data, _seen: recorder.made[-1]))
    await refused(rig, match="report data")


async def test_evidence_of_another_exchange_is_refused(rig):
    recorder = Recorder(rig.taker.mutual._attestation)
    rig.taker.use(recorder)
    await rig.taker.vault.store(KEYSET, SHARES, NODE.tls_key)
    await rig.check()
    rig.taker.vault._held.clear()
    rig.taker.use(Forger(lambda _data, _seen: recorder.made[0]))
    await refused(rig, match="report data")


async def test_a_sibling_without_valid_evidence_on_the_contract_gets_nothing(rig):
    kept = tuple(one for one in rig.chain.record.evidence if one.tls_public_key != TAKER.tls_key)
    rig.chain.record = replace(rig.chain.record, evidence=kept)
    await refused(rig, match="no valid evidence of")
    assert rig.holder.mutual.refused_total == {"contract stamp": 1}


async def test_a_copy_does_not_leave_when_evidence_expires_while_it_is_opened(rig):
    def late():
        rig.clock.ahead_seconds = EIGHT_DAYS_S

    rig.holder.vault.before_open = late
    await refused(rig, match="expired while the exchange lasted")
    assert isinstance(rig.holder.ended[0], EvidenceExpired)


async def test_a_check_is_not_answered_when_evidence_expires_while_the_backup_is_opened(rig):
    await rig.taker.vault.store(KEYSET, SHARES, NODE.tls_key)

    def late():
        rig.clock.ahead_seconds = EIGHT_DAYS_S

    rig.holder.vault.before_open = late
    with pytest.raises(PeerRefused, match="expired while the exchange lasted"):
        await rig.check()
    assert isinstance(rig.holder.ended[0], EvidenceExpired)


# --- by the contract's slots ------------------------------------------------------------------------


async def knock(port, key):
    """The holder's first word to whoever has that key."""
    channel = await connect(HOST, port, key, HOLDER.tls_key)
    return await channel.receive_frame(4096)


async def test_a_stranger_whose_key_is_in_no_slot_gets_nothing(rig):
    async with rig.listening() as port:
        with pytest.raises(PeerNotAuthenticated):
            await knock(port, STRANGER)
    assert rig.nothing_moved


@pytest.mark.parametrize(
    "slots",
    [(HOLDER, None), (None, TAKER), (None, None), (HOLDER, STRANGER)],
    ids=["alone", "retired", "none", "other"],
)
async def test_a_machine_that_is_not_in_the_other_slot_gets_nothing(rig, slots):
    """Whatever it believes itself to be: the taker's own view of the chain is the attacker's."""
    seen_by_taker = in_slots(HOLDER, TAKER)
    copies = rig.taker.copies
    rig.chain.record = in_slots(*slots)

    def deceived(port):
        made = copies(port)
        return replace(made, views=Told(seen_by_taker, rig.chain.state))

    rig.taker.copies = deceived
    await refused(rig, PeerFault)
    assert rig.holder.vault.opened == 0


class Told:
    """Views that somebody made up."""

    def __init__(self, account, state) -> None:
        self.account, self.state = account, state

    async def read(self):
        return self


@pytest.mark.parametrize("slots", [(HOLDER, HOLDER), (TAKER, TAKER)], ids=["the holder's", "the taker's"])
async def test_one_machine_in_both_slots_is_nobodys_sibling(rig, slots):
    rig.chain.record = in_slots(*slots)
    await refused(rig, PeerUnreachable, match="no other backup service")
    async with rig.listening() as port:
        with pytest.raises((PeerClosed, PeerNotAuthenticated)):
            await knock(port, TAKER)
    assert rig.nothing_moved


async def test_a_wrong_address_gives_the_taker_nothing_and_the_liar_no_channel(rig):
    """Addresses are not measured: who listens there must prove the key in the other slot."""
    rig.chain.record = in_slots(STRANGER, TAKER)
    async with node(handler=rig.holder.copies(1).serve) as liar:
        liar.pins = TAKER.tls_key
        with pytest.raises(PeerNotAuthenticated):
            await rig.taker.copies(liar.port).fetch(COPY)
    assert rig.nothing_moved


# --- while the exchange lasts -------------------------------------------------------------------------


async def test_a_sibling_replaced_on_the_contract_during_the_transfer_gets_nothing(rig):
    """Both have proved themselves and the backup is open; in the next final block the slot has another key."""

    def replaced():
        rig.chain.record = in_slots(HOLDER, STRANGER)
        rig.chain.height += 1

    rig.holder.vault.before_open = replaced
    await refused(rig, match="is not the TLS key of the account's other backup service")
    assert isinstance(rig.holder.ended[0], PinChanged)


async def test_a_holder_replaced_on_the_contract_during_the_transfer_gives_nothing(rig):
    def replaced():
        rig.chain.record = in_slots(STRANGER, TAKER)
        rig.chain.height += 1

    rig.holder.vault.before_open = replaced
    await refused(rig, PeerFault)
    assert isinstance(rig.holder.ended[0], PinChanged | PeerRefused)


async def test_a_keyset_that_changes_during_the_transfer_is_not_given(rig):
    def reshared():
        rig.chain.state = replace(rig.chain.state, keyset=keyset(epoch=6))
        rig.chain.height += 1

    rig.holder.vault.before_open = reshared
    await refused(rig)
    assert isinstance(rig.holder.ended[0], ViewsDiffer)


async def test_a_newer_keyset_that_the_holder_has_too_does_not_let_the_older_one_leave(rig):
    """The contract calls for a copy after the transfer began, but no longer for this one."""
    newer = keyset(epoch=6)
    held = await MemoryVault(
        network=NETWORK, account_id=ALICE, clock=rig.clock, entropy=lambda size: b"n" * size
    ).store(newer, shares_of(newer), NODE.tls_key)
    index = rig.holder.vault.index

    def reshared():
        rig.chain.state = replace(rig.chain.state, keyset=newer)
        rig.chain.height += 1
        rig.holder.vault.index = lambda: (*index(), held)

    rig.holder.vault.before_open = reshared
    await refused(rig)
    assert isinstance(rig.holder.ended[0], PinChanged)
    assert "what the contract calls for changed" in str(rig.holder.ended[0])


@pytest.mark.parametrize("others", [("far", "farther"), ("far",)], ids=["outvoted", "nothing agreed"])
async def test_an_endpoint_outside_that_contradicts_vetoes_the_copy(rig, others):
    def lies(statement):
        return replace(statement, views=views(NotInitialized(), rig.chain.record))

    rig.holder.truth.others = dict.fromkeys(others, lies)
    rig.holder.truth.quorum = 2
    await refused(rig, match="no_quorum")
    assert isinstance(rig.holder.ended[0], NoQuorum)


# --- by protocol ------------------------------------------------------------------------------------


async def said_to(rig, frame):
    """What the holder answers to that first frame of its sibling."""
    async with rig.listening() as port:
        channel = await connect(HOST, port, TAKER, HOLDER.tls_key)
        await channel.send_frame(frame)
        answer = decode_message(await channel.receive_frame(4096))
        await channel.close()
    assert rig.nothing_moved
    return answer


def between(**changes):
    return facts(node_tls_key=HOLDER.tls_key, backup_service_tls_key=TAKER.tls_key, **changes)


def takers_hello():
    return decode_message(CopyTaker(**between(), nonces=Nonces(own=b"t" * 32)).send_hello())


async def test_a_soft_launch_service_that_asks_for_a_copy_is_refused(rig):
    answer = await said_to(rig, encode_message(replace(takers_hello(), nonce=None)))
    assert isinstance(answer, Refusal)
    assert "one side is attested, the other is not" in answer.message


@pytest.mark.parametrize("session", [BackupClient, RecoveryServer])
async def test_a_backup_service_serves_its_sibling_neither_backups_nor_recoveries(rig, session):
    recovery = {"recovery_id": 7} if session is RecoveryServer else {}
    made = session(**between(**recovery), nonces=Nonces(own=b"t" * 32))
    answer = await said_to(rig, encode_message(replace(takers_hello(), role=made.role, exchange=made.exchange)))
    assert isinstance(answer, Refusal)
    assert "a backup service serves no" in answer.message


async def test_a_holders_hello_is_not_taken_for_a_takers(rig):
    reflected = CopyHolder(**between(), nonces=Nonces(own=b"t" * 32)).exchange
    answer = await said_to(rig, encode_message(replace(takers_hello(), role=Role.NODE, exchange=reflected)))
    assert "the peer speaks as node" in answer.message


@pytest.mark.parametrize("session", [CopyTaker, CheckAsker])
async def test_a_node_takes_no_part_in_copies(tmp_path, session):
    rig = EvidenceRig(tmp_path)
    await rig.store.store_permanent(KEYSET, SHARES)
    async with node(handler=rig.sessions().serve) as listening:
        channel = await connect(HOST, listening.port, HOLDER, NODE.tls_key)
        await channel.send_frame(session(**facts(), nonces=Nonces(own=b"t" * 32)).send_hello())
        answer = decode_message(await channel.receive_frame(4096))
        await channel.close()
    assert isinstance(answer, Refusal)
    assert "a node takes no part in a" in answer.message


async def test_a_check_whose_answer_comes_after_the_evidence_expired_confirms_nothing(rig):
    """The clock moves on between the holder's last look at it and the taker's."""
    await rig.taker.vault.store(KEYSET, SHARES, NODE.tls_key)
    mutual = rig.holder.mutual
    look = mutual.check_unexpired

    def then_late(session):
        look(session)
        rig.clock.ahead_seconds = EIGHT_DAYS_S

    mutual.check_unexpired = then_late
    with pytest.raises(EvidenceExpired):
        await rig.check()
