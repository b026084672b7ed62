"""Version 1 in hard launch, both sides of the product: no share without evidence of both, made for this exchange."""

import asyncio
import struct
from dataclasses import replace

import pytest

from sharekeeper import mutual_attestation
from sharekeeper.adapters.tls_channel import connect
from sharekeeper.domain.identity import Role
from sharekeeper.errors import (
    AttestationRefused,
    AttestationUnavailable,
    ChainUnavailable,
    EvidenceExpired,
    PeerFault,
    PeerNotAttested,
    PeerRefused,
    ProtocolViolation,
)
from sharekeeper.mutual_attestation import TOPIC
from sharekeeper.protocol.messages import (
    MAX_EVIDENCE_FRAME_BYTES,
    Hello,
    KeyShares,
    Refusal,
    ShownEvidence,
    decode_message,
    encode_message,
)
from sharekeeper.protocol.session import BackupClient, Nonces, RecoveryClient, RecoveryServer
from tests.protocol.attestation_values import (
    CODE,
    NOW_S,
    STRANGER,
    attested,
    evidence,
    show,
    stamped,
    verdict,
)
from tests.protocol.exchange_values import BACKUP_SERVICE, NODE, SHARES, facts
from tests.unit.protocol_values import tls

from .channels import HOST, node
from .evidence_rig import ATTESTED_RECORD, EvidenceRig
from .web_rig import RECOVERY

KINDS = pytest.mark.parametrize("kind", ["fetch", "hand_out"])
RIGHT_ORDER = ["Hello", "ShownEvidence"]


@pytest.fixture
def rig(tmp_path):
    made = EvidenceRig(tmp_path)
    yield made
    made.vault.close()


async def run(rig, kind):
    await getattr(rig, kind)()


async def nothing_moved(rig):
    return rig.no_share_left() and await rig.store.staged() is None


# --- the exchange that succeeds -------------------------------------------------------------------


async def test_a_backup_travels_after_both_sides_have_shown_evidence(rig):
    stored = await rig.fetch()
    assert stored.keyset == rig.vault.index()[0].keyset
    assert rig.kinds() == [
        *(("node", kind) for kind in (*RIGHT_ORDER, "KeyShares")),
        *(("service", kind) for kind in (*RIGHT_ORDER, "Receipt")),
    ]
    assert rig.node.faults.current() == rig.service.faults.current() == ()


async def test_a_recovery_is_released_with_the_verdict_on_the_nodes_evidence(rig):
    await rig.hand_out()
    assert [peer.code_hash for peer in rig.released] == [CODE[Role.NODE]]
    assert await rig.store.staged() == RECOVERY.recovery_id
    assert rig.kinds()[-3:] == [("service", "Hello"), ("service", "ShownEvidence"), ("service", "KeyShares")]


@KINDS
async def test_each_side_checks_its_own_evidence_as_strictly_as_the_peers_at_the_newest_final_block(rig, kind):
    rig.chain.height = 4000
    await run(rig, kind)
    height = rig.chain.height
    for machine, own_first in ((rig.service, True), (rig.node, False)):
        roles = [machine.role, Role.NODE if machine.role is Role.BACKUP_SERVICE else Role.BACKUP_SERVICE]
        assert [role for role, _, _ in machine.tee.checked] == (roles if own_first else roles[::-1])
        assert {at for _, _, at in machine.tee.checked} == {height}


@KINDS
async def test_every_exchange_has_quotes_of_its_own(rig, kind):
    await run(rig, kind)
    await run(rig, kind)
    for machine in (rig.node, rig.service):
        assert len({shown.quote for shown in machine.tee.made}) == 2


async def test_soft_launch_shows_no_evidence_and_releases_without_a_verdict(rig):
    rig.node.attestation = rig.service.attestation = None
    await rig.fetch()
    await rig.hand_out()
    assert rig.released == [None]
    assert "ShownEvidence" not in [kind for _, kind in rig.kinds()]


# --- evidence that a check refuses --------------------------------------------------------------


BAD = {
    "quote": {"vendor": STRANGER},
    "image digest": {"code": CODE[Role.NODE][::-1].replace("1a", "cc")},
}


@pytest.mark.parametrize("check", list(BAD))
@KINDS
async def test_a_node_whose_evidence_fails_gets_no_share_and_learns_which_check(rig, kind, check):
    rig.node.tee.shows = lambda report_data: evidence(Role.NODE, report_data, **BAD[check])
    rig.node.tee.check = _blind
    with pytest.raises(PeerNotAttested, match=f"the evidence of node {NODE.tls_key} is refused: .*{check}") as fault:
        await run(rig, kind)
    assert fault.value.check == check
    assert rig.released == []
    assert rig.vault.index() == () or kind == "hand_out"
    assert not any(b"private_share" in frame for frame in rig.sent_by_service)
    refusal = decode_message(rig.sent_by_service[-1])
    assert isinstance(refusal, Refusal)
    assert refusal.code == f"not_attested_{check.replace(' ', '_')}"
    if kind == "hand_out":
        assert [type(told) for told in rig.node_faults] == [PeerRefused]
        assert refusal.code in str(rig.node_faults[0])


async def _blind(_evidence, **_settings):
    """The verdict of a machine that was tampered with."""
    return verdict()


@pytest.mark.parametrize("check", list(BAD))
@KINDS
async def test_a_backup_service_whose_evidence_fails_gets_no_share_and_no_quote(rig, kind, check):
    rig.service.tee.shows = lambda report_data: evidence(Role.BACKUP_SERVICE, report_data, **BAD[check])
    rig.service.tee.check = _blind
    read = []
    rig.store.read = read.append
    with pytest.raises(PeerRefused, match=rf"check \d+ \({check}\).*not_attested_{check.replace(' ', '_')}"):
        await run(rig, kind)
    assert [fault.check for fault in rig.node_faults] == [check]
    assert rig.node.tee.made == read == rig.released == []
    assert await nothing_moved(rig)
    assert rig.kinds()[:2] == [("node", "Hello"), ("node", "Refusal")]


async def test_a_failing_peer_is_an_alarm_and_a_count_until_its_evidence_is_accepted(rig):
    good = rig.service.tee.shows
    rig.service.tee.shows = lambda report_data: evidence(Role.BACKUP_SERVICE, report_data, vendor=STRANGER)
    rig.service.tee.check, check = _blind, rig.service.tee.check
    for _ in range(2):
        with pytest.raises(PeerRefused):
            await rig.fetch()
    (fault,) = rig.node.faults.current()
    assert (fault.topic, fault.alarm) == (TOPIC, True)
    assert f"the evidence of backup-service {BACKUP_SERVICE.tls_key} is refused: check 1 (quote)" in fault.message
    assert rig.node.attestation.refused_total == {"quote": 2}
    (metric,) = mutual_attestation.refused_evidence(rig.node.attestation).samples
    assert metric == ({"check": "quote"}, 2.0)
    rig.service.tee.shows, rig.service.tee.check = good, check
    await rig.fetch()
    assert rig.node.faults.current() == ()


async def test_the_alarm_about_a_peer_that_is_none_any_more_ends(rig):
    rig.service.tee.shows = lambda report_data: evidence(Role.BACKUP_SERVICE, report_data, vendor=STRANGER)
    rig.service.tee.check = _blind
    with pytest.raises(PeerRefused):
        await rig.fetch()
    rig.node.attestation.forget_peers(but=[BACKUP_SERVICE.tls_key])
    assert rig.node.alarms
    rig.node.attestation.forget_peers(but=[tls(77)])
    assert rig.node.faults.current() == ()


def test_soft_launch_has_no_samples_of_refused_evidence():
    assert mutual_attestation.refused_evidence(None).samples == ()


# --- the contract's stamp -------------------------------------------------------------------------


STAMPS = {
    "none of the node": (stamped(BACKUP_SERVICE.tls_key), "node"),
    "none of the backup service": (stamped(NODE.tls_key), "backup-service"),
    "expired ones": (stamped(NODE.tls_key, BACKUP_SERVICE.tls_key, valid_until=NOW_S), "backup-service"),
    "one of another key": (stamped(tls(9), BACKUP_SERVICE.tls_key), "node"),
}


@pytest.mark.parametrize(("stamps", "missing"), list(STAMPS.values()), ids=list(STAMPS))
@KINDS
async def test_without_a_valid_stamp_on_the_contract_a_good_quote_is_worth_nothing(rig, kind, stamps, missing):
    rig.chain.record = replace(ATTESTED_RECORD, evidence=stamps)
    with pytest.raises(PeerFault, match=f"no valid evidence of .*: the {missing} there must register its own"):
        await run(rig, kind)
    assert rig.released == []
    assert "KeyShares" not in [sent for who, sent in rig.kinds() if who == "service"]
    refuser = rig.service if missing == "node" else rig.node
    (fault,) = refuser.faults.current()
    assert (fault.topic, fault.alarm) == (TOPIC, False)


async def test_a_stamp_that_expires_ends_the_exchange_like_evidence(rig):
    soon = stamped(NODE.tls_key, BACKUP_SERVICE.tls_key, valid_until=NOW_S + 20)
    rig.chain.record = replace(ATTESTED_RECORD, evidence=soon)
    rig.before_release = lambda: setattr(rig.clock, "seconds", 21)
    with pytest.raises(EvidenceExpired, match="the peer"):
        await rig.hand_out()
    assert await nothing_moved(rig)


# --- evidence that expires during a transfer ------------------------------------------------------


async def test_evidence_that_expires_before_release_is_over_lets_no_share_leave(rig):
    rig.before_release = lambda: setattr(rig.clock, "seconds", 600)
    with pytest.raises(EvidenceExpired):
        await rig.hand_out()
    assert await nothing_moved(rig)
    assert [type(fault) for fault in rig.node_faults] == [PeerRefused]


async def test_evidence_that_expires_while_the_node_reads_its_shares_lets_none_leave(rig):
    read = rig.store.read

    async def slow(keyset):
        rig.clock.seconds = 600
        return await read(keyset)

    rig.store.read = slow
    with pytest.raises(PeerRefused, match="evidence_expired"):
        await rig.fetch()
    assert await nothing_moved(rig)


async def test_shares_that_arrive_after_the_evidence_expired_are_not_staged(rig):
    node_valid = rig.node.tee
    node_valid.valid_seconds = 10
    rig.before_release = lambda: setattr(rig.clock, "seconds", 11)
    with pytest.raises(PeerRefused, match="evidence_expired"):
        await rig.hand_out()
    assert await rig.store.staged() is None
    assert [type(fault) for fault in rig.node_faults] == [EvidenceExpired]


async def test_shares_that_arrive_after_the_evidence_expired_are_not_stored(rig):
    rig.service.tee.valid_seconds = 10
    read = rig.store.read

    async def slow(keyset):
        rig.clock.seconds = 11
        return await read(keyset)

    rig.store.read = slow
    with pytest.raises(EvidenceExpired):
        await rig.fetch()
    assert rig.vault.index() == ()


# --- this side cannot attest ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [AttestationUnavailable("no guest agent at /run/dstack.sock"), ChainUnavailable("nobody answers")],
    ids=["no TEE", "no chain"],
)
@KINDS
async def test_a_side_that_cannot_attest_says_no_more_than_that_and_nothing_moves(rig, kind, fault):
    for machine, name in ((rig.service, "fault"), (rig.node, "check_fault")):
        setattr(machine.tee, name, fault)
        with pytest.raises((type(fault), PeerRefused)):
            await run(rig, kind)
        setattr(machine.tee, name, None)
    told = [decode_message(frame) for frame in (rig.sent_by_service[-1], rig.sent_by_node[-1])]
    told = [message for message in told if isinstance(message, Refusal)]
    assert {message.code for message in told} == {fault.code}
    assert not any("guest agent" in message.message or "nobody" in message.message for message in told)
    assert await nothing_moved(rig)
    assert rig.released == []


@KINDS
async def test_a_machine_that_the_network_does_not_allow_shows_itself_to_nobody(rig, kind):
    rig.service.tee.shows = lambda report_data: evidence(Role.BACKUP_SERVICE, report_data, code=CODE[Role.NODE])
    with pytest.raises(AttestationRefused, match="image digest"):
        await run(rig, kind)
    assert "ShownEvidence" not in [sent for _, sent in rig.kinds()]
    assert decode_message(rig.sent_by_service[-1]).code == "attestation_refused"


@pytest.mark.parametrize("what", ["prove", "check"])
async def test_a_tee_that_hangs_costs_a_few_seconds(rig, monkeypatch, what):
    monkeypatch.setattr(mutual_attestation, "EVIDENCE_TIMEOUT_SECONDS", 0.05)

    async def hang(*_args, **_settings):
        await asyncio.sleep(60)

    setattr(rig.service.tee, what, hang)
    with pytest.raises(AttestationUnavailable, match=r"within 0.05 s; try again"):
        await rig.fetch()
    assert rig.no_share_left()


# --- peers that lie: a node ------------------------------------------------------------------------


async def hello_of_an_attested_node(channel):
    hello = decode_message(await channel.receive_frame(4096))
    session = RecoveryServer(**facts(recovery_id=RECOVERY.recovery_id), nonces=Nonces(own=b"n" * 32))
    session.receive(encode_message(hello))
    await channel.send_frame(session.send_hello())
    return session


async def test_a_node_that_answers_with_an_old_quote_gets_no_share(rig):
    await rig.hand_out()
    old = rig.node.tee.made[0]

    async def replay(channel):
        session = await hello_of_an_attested_node(channel)
        session.receive(await channel.receive_frame(session.receive_limit))
        await channel.send_frame(encode_message(ShownEvidence(evidence=old)))
        session.receive(await channel.receive_frame(4096))

    rig.serve = replay
    rig.sent_by_service.clear()
    with pytest.raises(PeerNotAttested, match="report data"):
        await rig.hand_out()
    assert rig.no_share_left()


async def test_a_node_that_sends_our_own_quote_back_gets_no_share(rig):
    async def reflect(channel):
        await hello_of_an_attested_node(channel)
        await channel.send_frame(await channel.receive_frame(MAX_EVIDENCE_FRAME_BYTES))
        await channel.receive_frame(4096)

    rig.serve = reflect
    with pytest.raises(PeerNotAttested, match="report data"):
        await rig.hand_out()
    assert rig.no_share_left()
    assert rig.released == []


@pytest.mark.parametrize("node_is_hard", [True, False])
@KINDS
async def test_launches_do_not_mix(rig, kind, node_is_hard):
    (rig.service if node_is_hard else rig.node).attestation = None
    with pytest.raises(PeerFault, match="one side is attested, the other is not"):
        await run(rig, kind)
    assert await nothing_moved(rig)
    assert rig.released == []


# --- peers that lie: a backup service, over real TLS ---------------------------------------------------


async def test_shares_right_after_the_hellos_are_refused_before_they_are_read(rig):
    rig.chain.state = RECOVERY
    async with node(handler=rig.sessions().serve) as listening:
        channel = await connect(HOST, listening.port, BACKUP_SERVICE, NODE.tls_key)
        session = attested(RecoveryClient)
        await channel.send_frame(session.send_hello())
        session.receive(await channel.receive_frame(4096))
        await channel.send_frame(encode_message(KeyShares(shares=SHARES)))
        with pytest.raises(PeerRefused, match="a KeyShares out of order"):
            session.receive(await channel.receive_frame(4096))
        await channel.close()
    assert await rig.store.staged() is None


async def test_evidence_before_the_hello_is_refused(rig):
    async with node(handler=rig.sessions().serve) as listening:
        channel = await connect(HOST, listening.port, BACKUP_SERVICE, NODE.tls_key)
        await channel.send_frame(encode_message(ShownEvidence(evidence=evidence(Role.BACKUP_SERVICE, b"x"))))
        refusal = decode_message(await channel.receive_frame(4096))
        assert refusal.code == "protocol_violation"
        assert "must begin with a hello; it sent a ShownEvidence" in refusal.message
        await channel.close()


@pytest.mark.parametrize("announced", [MAX_EVIDENCE_FRAME_BYTES + 1, 2**31])
async def test_evidence_that_announces_too_many_bytes_is_refused_before_memory_is_taken(rig, announced):
    faults = asyncio.Queue()

    async def serve(channel):
        try:
            await rig.sessions().serve(channel)
        except ProtocolViolation as fault:
            faults.put_nowait(fault)

    async with node(handler=serve) as listening:
        channel = await connect(HOST, listening.port, BACKUP_SERVICE, NODE.tls_key)
        session = attested(BackupClient)
        await rig.store.store_permanent(session.keyset, SHARES)
        await channel.send_frame(session.send_hello())
        session.receive(await channel.receive_frame(4096))
        await channel._stream.write(memoryview(struct.pack(">I", announced)))
        fault = await asyncio.wait_for(faults.get(), 5)
        assert f"1 to {MAX_EVIDENCE_FRAME_BYTES} are allowed" in str(fault)
        with pytest.raises(PeerFault):
            await channel.receive_frame(4096)
    assert rig.node.tee.checked == []


async def test_a_second_hello_in_place_of_evidence_is_refused(rig):
    async with node(handler=rig.sessions().serve) as listening:
        channel = await connect(HOST, listening.port, BACKUP_SERVICE, NODE.tls_key)
        session = attested(BackupClient)
        await rig.store.store_permanent(session.keyset, SHARES)
        hello = session.send_hello()
        await channel.send_frame(hello)
        session.receive(await channel.receive_frame(4096))
        await channel.send_frame(hello)
        with pytest.raises(PeerRefused, match="a Hello out of order"):
            session.receive(await channel.receive_frame(4096))
        await channel.close()


async def test_an_attested_client_that_behaves_gets_the_shares_over_real_tls(rig):
    async with node(handler=rig.sessions().serve) as listening:
        channel = await connect(HOST, listening.port, BACKUP_SERVICE, NODE.tls_key)
        session = attested(BackupClient)
        await rig.store.store_permanent(session.keyset, SHARES)
        await channel.send_frame(session.send_hello())
        assert isinstance(session.receive(await channel.receive_frame(4096)), Hello)
        await channel.send_frame(show(session))
        session.receive(await channel.receive_frame(session.receive_limit))
        with pytest.raises(ProtocolViolation):
            attested(BackupClient).receive(b"\5{}")
        session.accept_evidence(verdict())
        assert session.receive(await channel.receive_frame(session.receive_limit)).shares == SHARES
        await channel.send_frame(session.send_receipt())
        await channel.close()
