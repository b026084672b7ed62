"""The port `Attestation` over a guest agent's socket, PCCSs, and what the contract allows."""

from dataclasses import replace

import pytest

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.dstack import GuestAgent
from sharekeeper.attestation.events import IMAGE_DIGEST
from sharekeeper.domain.identity import Role
from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.errors import AttestationRefused, AttestationUnavailable, ChainUnavailable
from sharekeeper_devnet.tee.pccs import Mood
from tests.attestation.chains import AllowingChain
from tests.attestation.machines import Machine, allowed_code, code_hash
from tests.attestation.rack import running_rack

AT = BlockRef(height=7, hash="7", timestamp_ns=1)
DATA = bytes(range(64))


@pytest.fixture
async def rack(tmp_path):
    async with running_rack(tmp_path) as running:
        yield running


@pytest.fixture
def service(rack):
    return Machine(intel=rack.intel, name="service")


@pytest.fixture
def node(rack):
    return Machine(intel=rack.intel, name="node", role=Role.NODE)


@pytest.fixture
def chain(service, node):
    return AllowingChain(allowed_code(service, node), SystemClock())


# --- proving and checking -------------------------------------------------------------------------


async def test_each_role_accepts_the_others_evidence_made_for_it(rack, chain, service, node):
    ours, theirs = await rack.attestation(service, chain), await rack.attestation(node, chain)
    for prover, verifier, machine in ((ours, theirs, service), (theirs, ours, node)):
        evidence = await prover.prove(DATA)
        verdict = await verifier.check(evidence, role=machine.role, report_data=DATA, at=AT)
        assert verdict.code_hash == machine.image
        assert verdict.measurements == machine.guest.measurements
    assert chain.asked_at == [AT, AT]


async def test_every_quote_is_made_anew_over_what_was_asked(rack, chain, service):
    port = await rack.attestation(service, chain)
    evidence = await port.prove(DATA)
    with pytest.raises(AttestationRefused, match="report data"):
        await port.check(evidence, role=service.role, report_data=bytes(64), at=AT)
    assert (await port.prove(bytes(64))).quote != evidence.quote


async def test_evidence_of_the_other_role_is_refused(rack, chain, service, node):
    port = await rack.attestation(service, chain)
    evidence = await (await rack.attestation(node, chain)).prove(DATA)
    with pytest.raises(AttestationRefused):
        await port.check(evidence, role=Role.BACKUP_SERVICE, report_data=DATA, at=AT)


async def test_what_the_contract_no_longer_allows_is_refused_at_once(rack, chain, service):
    port = await rack.attestation(service, chain)
    evidence = await port.prove(DATA)
    await port.check(evidence, role=service.role, report_data=DATA, at=AT)
    chain.allowed = replace(chain.allowed, backup_service=frozenset())
    with pytest.raises(AttestationRefused, match="image"):
        await port.check(evidence, role=service.role, report_data=DATA, at=AT)


async def test_a_chain_that_does_not_answer_is_the_chains_fault(rack, chain, service):
    port = await rack.attestation(service, chain)
    evidence = await port.prove(DATA)
    chain.fault = ChainUnavailable("no endpoint answers")
    with pytest.raises(ChainUnavailable):
        await port.check(evidence, role=service.role, report_data=DATA, at=AT)


async def test_evidence_carries_collateral_that_a_peer_without_any_pccs_accepts(rack, chain, service, node):
    evidence = await (await rack.attestation(node, chain)).prove(DATA)
    alone = await rack.attestation(service, chain, pccs_urls=[])
    assert (await alone.check(evidence, role=Role.NODE, report_data=DATA, at=AT)).tcb_status == "UpToDate"


async def test_without_any_pccs_evidence_is_shown_without_collateral_and_not_accepted_by_one_as_poor(
    rack, chain, service
):
    port = await rack.attestation(service, chain, pccs_urls=[])
    evidence = await port.prove(DATA)
    assert evidence.collateral is None
    with pytest.raises(AttestationUnavailable, match="no PCCS is configured"):
        await port.check(evidence, role=service.role, report_data=DATA, at=AT)


async def test_a_pccs_that_lies_does_not_come_between_two_machines(rack, chain, service, node):
    _, lying = await rack.start_pccs(Mood.LIES)
    port = await rack.attestation(service, chain, pccs_urls=[lying])
    evidence = await (await rack.attestation(node, chain)).prove(DATA)
    await port.check(evidence, role=Role.NODE, report_data=DATA, at=AT)


async def test_what_is_no_quote_is_refused_by_the_first_check(rack, chain, service):
    port = await rack.attestation(service, chain)
    evidence = await port.prove(DATA)
    with pytest.raises(AttestationRefused, match=r"check 1 \(quote\)"):
        await port.check(replace(evidence, quote=b"no quote"), role=service.role, report_data=DATA, at=AT)


async def test_a_guest_agent_whose_quote_nobody_can_read_proves_nothing(rack, chain, service, monkeypatch):
    port = await rack.attestation(service, chain)
    monkeypatch.setattr(service.guest, "quote", lambda report_data: b"no quote")
    with pytest.raises(AttestationUnavailable, match="nobody can read"):
        await port.prove(DATA)


async def test_a_machine_without_guest_agent_proves_nothing(rack, chain, service, tmp_path):
    port = await rack.attestation(service, chain)
    port._guest = GuestAgent((tmp_path / "absent",))
    with pytest.raises(AttestationUnavailable, match="no socket"):
        await port.prove(DATA)


# --- the image digest -----------------------------------------------------------------------------


@pytest.fixture
async def fresh(rack, chain, service):
    """The port of a machine whose RTMR3 names no image yet."""
    service.guest.reboot()
    return await rack.attestation(service, chain)


def images(machine):
    return [event.payload for event in machine.guest.events if event.name == IMAGE_DIGEST[machine.role]]


async def test_the_image_is_named_once_per_boot_however_often_it_starts(fresh, service):
    for _ in range(3):
        await fresh.announce_image(service.role, service.image)
    assert images(service) == [service.image]
    service.guest.reboot()
    await fresh.announce_image(service.role, service.image)
    assert images(service) == [service.image]


async def test_evidence_made_after_the_announcement_is_accepted(fresh, service):
    with pytest.raises(AttestationRefused):
        await fresh.check(await fresh.prove(DATA), role=service.role, report_data=DATA, at=AT)
    await fresh.announce_image(service.role, service.image)
    await fresh.check(await fresh.prove(DATA), role=service.role, report_data=DATA, at=AT)


async def test_a_boot_that_named_another_image_is_refused(fresh, service):
    await fresh.announce_image(service.role, code_hash("another"))
    with pytest.raises(AttestationRefused, match="reboot the CVM"):
        await fresh.announce_image(service.role, service.image)
    assert len(images(service)) == 1


async def test_a_boot_that_named_its_image_twice_is_refused(fresh, service):
    for _ in range(2):
        service.guest.emit(IMAGE_DIGEST[service.role], bytes.fromhex(service.image))
    with pytest.raises(AttestationRefused, match="2 events"):
        await fresh.announce_image(service.role, service.image)


async def test_a_guest_agent_that_forgets_events_is_noticed(fresh, service, monkeypatch):
    monkeypatch.setattr(service.guest, "emit", lambda name, payload: None)
    with pytest.raises(AttestationUnavailable, match="event log does not have it"):
        await fresh.announce_image(service.role, service.image)
