"""PCCSs that hang or lie, against a machine as it runs in production: guest agent, collateral, verification."""

import time
from dataclasses import replace

import pytest

from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.errors import AttestationRefused, AttestationUnavailable
from sharekeeper_devnet.tee.pccs import Mood
from tests.attestation.machines import Machine, allowed_code
from tests.attestation.rack import running_rack

HEAD = BlockRef(height=1, hash="1" * 32, timestamp_ns=1)
DEADLINES = {"pccs_seconds": 0.2, "list_seconds": 1.0}
MOODS = [Mood.HANGS, Mood.LIES, Mood.DOWN, Mood.STALE, Mood.GARBAGE]


class Votes:
    """A chain on which the operators voted for one machine."""

    def __init__(self, machine) -> None:
        self._allowed = allowed_code(machine)

    async def allowed_code(self, _at):
        return self._allowed


@pytest.fixture
async def rack(tmp_path):
    async with running_rack(tmp_path) as running:
        yield running


@pytest.fixture
def machine(rack):
    return Machine(intel=rack.intel)


async def party(rack, machine, *moods):
    """A machine whose list of PCCSs has one of each mood."""
    urls = [(await rack.start_pccs(mood))[1] for mood in moods]
    return await rack.attestation(machine, Votes(machine), pccs_urls=urls, **DEADLINES)


async def check(verifier, machine, evidence):
    return await verifier.check(evidence, role=machine.role, report_data=machine.report_data, at=HEAD)


@pytest.mark.parametrize("mood", MOODS)
async def test_a_pccs_that_hangs_or_lies_is_passed_over_for_an_honest_one(rack, machine, mood):
    prover, verifier = await party(rack, machine), await party(rack, machine, mood, Mood.HONEST)
    evidence = await prover.prove(machine.report_data)
    assert evidence.collateral is None
    started = time.monotonic()
    assert (await check(verifier, machine, evidence)).tcb_status == "UpToDate"
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize("mood", MOODS)
async def test_without_an_honest_pccs_what_intel_signed_may_come_from_the_prover(rack, machine, mood):
    prover, verifier = await party(rack, machine, Mood.HONEST), await party(rack, machine, mood, mood)
    evidence = await prover.prove(machine.report_data)
    assert (await check(verifier, machine, evidence)).tcb_status == "UpToDate"
    with pytest.raises(AttestationUnavailable, match="no PCCS gives collateral"):
        await check(verifier, machine, replace(evidence, collateral=None))


async def test_collateral_that_the_prover_made_up_is_not_used(rack, machine):
    verifier = await party(rack, machine, Mood.HANGS)
    evidence = await (await party(rack, machine)).prove(machine.report_data)
    _, liar = await rack.start_pccs(Mood.LIES)
    forged = await rack.attestation(machine, Votes(machine), pccs_urls=[liar], **DEADLINES)
    assert (await forged.prove(machine.report_data)).collateral is None
    old = rack.intel.collateral(issued_at_s=int(time.time()) - 40 * 86_400)
    for offered in ("", "{}", old):
        with pytest.raises(AttestationUnavailable, match="prover's own collateral is not used"):
            await check(verifier, machine, replace(evidence, collateral=offered))


async def test_a_revoked_host_does_not_help_itself_with_collateral_from_before(rack, machine):
    evidence = await (await party(rack, machine, Mood.HONEST)).prove(machine.report_data)
    verifier = await rack.attestation(machine, Votes(machine), **DEADLINES)
    rack.pccs.revoked_hosts = (machine.name,)
    with pytest.raises(AttestationRefused) as caught:
        await check(verifier, machine, evidence)
    assert caught.value.check == "quote"


async def test_an_outage_leaves_what_was_verified_and_says_so(rack, machine):
    verifier = await rack.attestation(machine, Votes(machine), **DEADLINES)
    evidence = await (await party(rack, machine)).prove(machine.report_data)
    assert await check(verifier, machine, evidence)
    rack.pccs.mood = Mood.HANGS
    await verifier._collateral.refresh()
    assert "no answer within" in str(verifier._collateral.fault)
    assert await check(verifier, machine, evidence)
