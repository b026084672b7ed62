"""Exchanges in hard launch with a peer that lies about its TEE: it is refused before a share is even read.

Whatever the attacker's machine shows, it has the TLS key that the contract names, and speaks the protocol.
"""

import time
from dataclasses import replace

import pytest

from sharekeeper.attestation.app_compose import build_app_compose
from sharekeeper.attestation.events import IMAGE_DIGEST
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId, Role
from sharekeeper.errors import (
    AttestationUnavailable,
    EvidenceExpired,
    PeerFault,
    PeerNotAttested,
    PeerRefused,
    ProtocolViolation,
)
from sharekeeper_devnet.tee.guest import GuestShape, event_of
from sharekeeper_devnet.tee.pki import MockIntel
from tests.attestation.machines import Machine, code_hash, event_named, with_events
from tests.protocol.attestation_values import stamped
from tests.protocol.exchange_values import NETWORK, RECOVERY_ID

from .attested_rig import KEYS, Forger, Recorder, attested_rig

EIGHT_DAYS_S = 8 * 86_400
ATTACKERS = [Role.BACKUP_SERVICE, Role.NODE]


@pytest.fixture
async def rig(tmp_path):
    async with attested_rig(tmp_path) as made:
        yield made


def other(role):
    return next(one for one in Role if one is not role)


async def attack(rig, attacker):
    """The exchange in which that side would be given shares; the fault it ends with for the backup service."""
    exchange = rig.fetch(rig.empty_vault()) if attacker is Role.BACKUP_SERVICE else rig.hand_out()
    with pytest.raises(PeerFault) as caught:
        await exchange
    return caught.value


async def no_share_moved(rig):
    return (rig.store.reads, rig.vault.opened, rig.released, await rig.store.staged()) == (0, 0, 0, None)


async def refused_by(rig, attacker, shows):
    """The check by which the honest side refuses what the attacker shows, which is told to the attacker too."""
    rig.use(attacker, Forger(shows))
    fault = await attack(rig, attacker)
    assert isinstance(fault, PeerRefused if attacker is Role.BACKUP_SERVICE else PeerNotAttested), fault
    assert await no_share_moved(rig)
    [check] = rig.refusals(other(attacker))
    return check


# --- what is left alone ---------------------------------------------------------------------------


async def test_both_exchanges_succeed_between_machines_that_prove_what_was_voted_for(rig):
    vault = rig.empty_vault()
    await rig.fetch(vault)
    assert len(vault.index()) == 1
    await rig.hand_out()
    assert (rig.released, await rig.store.staged()) == (1, RECOVERY_ID)
    assert [rig.refusals(role) for role in Role] == [{}, {}]


# --- forged evidence ------------------------------------------------------------------------------


def forged(**settings):
    """Evidence of another machine of the attacker's, made for the very exchange."""
    return lambda rig, role: lambda report_data, _: rig.machine(role, **settings).evidence(report_data)


def altered(change):
    """Evidence of a good machine, changed after it was made."""
    return lambda rig, role: lambda report_data, _: change(rig.machine(role).evidence(report_data), role)


def foreign(rig, role):
    intel = MockIntel.create(int(time.time()))
    machine = Machine(intel=intel, role=role, network=NETWORK)
    return lambda report_data, _: machine.evidence(report_data, collateral=intel.collateral())


def extra_key(rig, role):
    machine = rig.machine(role)
    text = build_app_compose("machine", machine.compose_file).replace("{", '{"pre_launch_script": "sh",', 1)
    guest = machine.started(machine.compose_file, app_compose=text)
    return lambda report_data, _: machine.evidence(report_data, guest=guest)


def tampered(evidence, _role):
    quote = bytearray(evidence.quote)
    quote[600] ^= 1
    return replace(evidence, quote=bytes(quote))


def without_an_event(evidence, _role):
    return with_events(evidence, *(event for event in evidence.events if event.name != "key-provider"))


def with_an_event_twice(evidence, role):
    return with_events(evidence, *evidence.events, event_named(evidence, IMAGE_DIGEST[role]))


def in_another_order(evidence, _role):
    return with_events(evidence, *reversed(evidence.events))


FORGERIES = {
    "a tampered quote": (altered(tampered), "quote"),
    "a foreign root": (foreign, "quote"),
    "a debug TD": (forged(debug=True), "quote"),
    "an out-of-date TCB": (forged(tcb="OutOfDate"), "tcb status"),
    "an image nobody voted for": (forged(image=code_hash("mine")), "image digest"),
    "a machine nobody voted for": (forged(shape=GuestShape(vcpus=2)), "measurements"),
    "the machine of another account": (forged(account_id=AccountId("mallory.test.near")), "compose file"),
    "the machine of another network": (
        forged(network=replace(NETWORK, contract_id=AccountId("mine.test.near"))),
        "compose file",
    ),
    "a log with a missing event": (altered(without_an_event), "event log"),
    "a log with a doubled event": (altered(with_an_event_twice), "event log"),
    "a log in another order": (altered(in_another_order), "event log"),
    "an extra key in the app-compose": (extra_key, "app-compose"),
}


@pytest.mark.parametrize("attacker", ATTACKERS, ids=str)
@pytest.mark.parametrize("name", FORGERIES)
async def test_forged_evidence_is_refused_before_a_share_is_read(rig, attacker, name):
    forge, check = FORGERIES[name]
    assert await refused_by(rig, attacker, forge(rig, attacker)) == check


@pytest.mark.parametrize("attacker", ATTACKERS, ids=str)
async def test_a_machine_of_the_other_role_is_refused(rig, attacker):
    """The peer's own kind of machine, which is voted for, with the attacker's TLS key."""
    assert await refused_by(rig, attacker, forged()(rig, other(attacker))) == "events"


@pytest.mark.parametrize("attacker", ATTACKERS, ids=str)
async def test_a_second_image_event_does_not_hide_the_first(rig, attacker):
    """Code of the attacker's in the TEE can add to RTMR3, not take away."""
    machine = rig.machine(attacker, image=code_hash("mine"))
    voted = rig.machines[attacker].image
    machine.guest.replace_events(*machine.guest.events, event_of(IMAGE_DIGEST[attacker], bytes.fromhex(voted)))
    assert await refused_by(rig, attacker, lambda report_data, _: machine.evidence(report_data)) == "events"


# --- evidence of another time, machine or exchange --------------------------------------------------


@pytest.mark.parametrize("attacker", ATTACKERS, ids=str)
async def test_evidence_for_the_registration_is_none_for_an_exchange(rig, attacker):
    shown = rig.machines[attacker].evidence()
    assert await refused_by(rig, attacker, lambda _, __: shown) == "report data"


@pytest.mark.parametrize("attacker", ATTACKERS, ids=str)
async def test_an_old_quote_re_dated_is_refused(rig, attacker):
    """A good exchange of the very same machines is recorded; its quote comes again, with collateral of today."""
    recorder = Recorder(rig.attestations[attacker])
    rig.use(attacker, recorder)
    if attacker is Role.BACKUP_SERVICE:
        await rig.fetch(rig.empty_vault())
        rig.store.reads = 0
    else:
        await rig.hand_out()
        await rig.store.discard_staged()
        rig.vault.opened = rig.released = 0
    again = replace(recorder.made[0], collateral=rig.rack.intel.collateral())
    assert await refused_by(rig, attacker, lambda _, __: again) == "report data"


async def test_evidence_of_a_backup_is_none_for_a_recovery(rig):
    """The node's evidence of the exchange before, which was accepted, in the next one."""
    recorder = Recorder(rig.attestations[Role.NODE])
    rig.use(Role.NODE, recorder)
    await rig.fetch(rig.empty_vault())
    rig.store.reads = 0
    assert await refused_by(rig, Role.NODE, lambda _, __: recorder.made[0]) == "report data"


@pytest.mark.parametrize("attacker", ATTACKERS, ids=str)
async def test_the_evidence_of_another_host_replayed_is_refused(rig, attacker):
    stranger = Machine(intel=rig.rack.intel, role=attacker, network=NETWORK, name="another-host")
    for shown in (stranger.evidence(), stranger.evidence(bytes(64))):
        rig.mutual[other(attacker)].refused_total.clear()
        assert await refused_by(rig, attacker, lambda _, __, shown=shown: shown) == "report data"


async def test_a_node_that_reflects_the_backup_services_evidence_is_refused(rig):
    assert await refused_by(rig, Role.NODE, lambda _, seen: seen) == "report data"


# --- the contract's word ----------------------------------------------------------------------------


@pytest.mark.parametrize("attacker", ATTACKERS, ids=str)
async def test_a_tls_key_changed_after_attestation_is_refused(rig, attacker):
    """The contract names the new key, whose machine proves everything; evidence of it was never registered."""
    kept = tuple(one for one in rig.chain.record.evidence if one.tls_public_key != KEYS[attacker].tls_key)
    before = KeyPair.generate(b"\x09" * 32).tls_key
    rig.chain.record = replace(rig.chain.record, evidence=(*kept, *stamped(before)))
    fault = await attack(rig, attacker)
    assert isinstance(fault, (PeerRefused, PeerNotAttested))
    assert list(rig.refusals(other(attacker))) == ["contract stamp"]
    assert await no_share_moved(rig)


@pytest.mark.parametrize("attacker", ATTACKERS, ids=str)
async def test_a_vote_withdrawn_between_registration_and_exchange_counts(rig, attacker):
    machine, allowed = rig.machines[attacker], rig.chain.allowed
    name = "node" if attacker is Role.NODE else "backup_service"
    rig.chain.allowed = replace(allowed, **{name: allowed.of(attacker) - {machine.image}})
    assert await refused_by(rig, attacker, lambda report_data, _: machine.evidence(report_data)) == "image digest"


@pytest.mark.parametrize("soft", ATTACKERS, ids=str)
async def test_a_peer_of_the_soft_launch_is_refused(rig, soft):
    rig.use(soft, None)
    for attacker in ATTACKERS:
        fault = await attack(rig, attacker)
        assert isinstance(fault, (PeerRefused, ProtocolViolation))
        assert "one side is attested, the other is not" in str(fault)
        assert await no_share_moved(rig)


# --- time ---------------------------------------------------------------------------------------------


async def test_shares_do_not_leave_the_node_when_evidence_expires_while_they_are_read(rig):
    def late():
        rig.clock.ahead_seconds = EIGHT_DAYS_S

    rig.store.before_read = late
    vault = rig.empty_vault()
    with pytest.raises(PeerRefused, match="expired while the exchange lasted"):
        await rig.fetch(vault)
    assert isinstance(rig.node_faults[0], EvidenceExpired)
    assert vault.index() == ()


async def test_shares_do_not_leave_the_vault_when_evidence_expires_while_they_are_opened(rig):
    def late():
        rig.clock.ahead_seconds = EIGHT_DAYS_S

    rig.vault.before_open = late
    with pytest.raises(EvidenceExpired):
        await rig.hand_out()
    assert await rig.store.staged() is None
    assert isinstance(rig.node_faults[0], PeerRefused)


@pytest.mark.parametrize("late", list(Role), ids=str)
async def test_shares_that_come_after_evidence_expired_are_not_kept(rig, late):
    """The giver's clock is the attacker's; the taker looks at its own."""
    machine = rig.machines[other(late)]
    rig.use(other(late), Forger(lambda report_data, _: machine.evidence(report_data)))

    def pass_over():
        rig.clock.ahead_seconds = EIGHT_DAYS_S

    if late is Role.BACKUP_SERVICE:
        rig.store.before_read = pass_over
        vault = rig.empty_vault()
        with pytest.raises(EvidenceExpired):
            await rig.fetch(vault)
        assert vault.index() == ()
    else:
        rig.vault.before_open = pass_over
        with pytest.raises(PeerRefused, match="expired"):
            await rig.hand_out()
        assert await rig.store.staged() is None


# --- this side --------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", list(Role), ids=str)
async def test_a_machine_without_its_tee_gives_and_takes_nothing(rig, role):
    def broken(_report_data, _seen):
        raise AttestationUnavailable("no guest agent: there is no socket at /var/run/dstack.sock")

    rig.use(role, Forger(broken))
    with pytest.raises((AttestationUnavailable, PeerRefused)) as caught:
        await rig.fetch(rig.empty_vault())
    assert await no_share_moved(rig)
    if role is Role.NODE:
        assert "dstack.sock" not in str(caught.value)
