"""The evidence a machine holds: made at the start, made anew, dated, shown, judged; and its alarms."""

import asyncio
import json
from dataclasses import replace

import pytest

from sharekeeper.attestation.evidence import decode_evidence, evidence_digest
from sharekeeper.attesting import (
    COLLATERAL_ALARM_SECONDS,
    COLLATERAL_TOPIC,
    FIRST_RETRY_SECONDS,
    LATE_INTERVALS,
    LOOK_SECONDS,
    START_ALARM_SECONDS,
    TOPIC,
    Attesting,
    AttestingSettings,
)
from sharekeeper.cli.attestation_input import decode_shown
from sharekeeper.errors import AttestationRefused, AttestationUnavailable, ChainUnavailable
from sharekeeper.protocol.codec import canonical_json
from sharekeeper.reconcile import Faults
from sharekeeper.spec import MAX_EVIDENCE_BYTES
from tests.attestation.chains import AllowingChain
from tests.attestation.machines import Machine, allowed_code
from tests.attestation.test_collateral_source import NOW as NOW_S
from tests.attestation.test_collateral_source import MovableClock

HOUR, WEEK = 3600.0, 7 * 86400.0


class Tee:
    """The port of a machine of the stand-in, without sockets: fails with `fault`, refuses with `refusal`."""

    def __init__(self, machine, collateral):
        self.machine, self.collateral = machine, collateral
        self.fault = self.refusal = self.no_verdict = None
        self.announced = 0
        self.checked = []

    async def announce(self):
        if self.fault is not None:
            raise self.fault
        self.announced += 1

    async def prove(self, report_data):
        if self.fault is not None:
            raise self.fault
        return self.machine.evidence(report_data, collateral=self.collateral)

    async def check(self, evidence, *, role, report_data, at):
        self.checked.append((evidence, role, report_data, at))
        for failure in (self.refusal, self.no_verdict):
            if failure is not None:
                raise failure
        return "verdict"


class Held:
    """Collateral as `CollateralSource` tells of it."""

    def __init__(self):
        self.fault, self.expires, self.refreshed, self.own = None, NOW_S + 30 * 86400, 0, True

    async def refresh(self):
        self.refreshed += 1

    def holds(self, quote):
        return self.own

    def expires_at_s(self):
        return self.expires


class World:
    def __init__(self, intel):
        self.machine = Machine(intel=intel)
        self.clock = MovableClock()
        self.tee = Tee(self.machine, intel.collateral())
        self.held = Held()
        self.chain = AllowingChain(allowed_code(self.machine), self.clock)
        self.faults = Faults(self.clock)
        self.attesting = self.made()

    def made(self):
        settings = AttestingSettings(
            role=self.machine.role,
            report_data=self.machine.report_data,
            reattest_seconds=HOUR,
            validity_seconds=WEEK,
        )
        return Attesting(
            settings,
            attestation=self.tee,
            announce=self.tee.announce,
            collateral=self.held,
            chain=self.chain,
            clock=self.clock,
        )

    async def after(self, seconds):
        self.clock.seconds += seconds
        await self.attesting.turn(self.faults)

    def fault(self, topic=TOPIC):
        return next((fault for fault in self.faults.current() if fault.topic == topic), None)


@pytest.fixture
def world(intel):
    return World(intel)


# --- made, dated, shown ---------------------------------------------------------------------------


async def test_before_the_first_evidence_there_is_no_stamp_and_nothing_to_show(world):
    assert world.attesting.stamp() is None
    assert world.attesting.public_data()["evidence"] is None


async def test_the_stamp_is_that_of_the_evidence_and_of_the_time_it_was_made(world):
    await world.after(5)
    stamp = world.attesting.stamp()
    assert stamp.digest == evidence_digest(world.attesting.newest.evidence)
    assert stamp.attested_at == world.clock.wall_ns() // 10**9
    assert world.fault() is None


async def test_the_image_is_announced_before_the_first_evidence_and_once(world):
    for _ in range(3):
        await world.after(HOUR)
    assert world.tee.announced == 1


async def test_evidence_is_made_anew_after_each_interval_and_not_before(world):
    await world.after(0)
    first = world.attesting.stamp()
    await world.after(HOUR - 1)
    assert world.attesting.stamp() == first
    await world.after(1)
    assert world.attesting.stamp().attested_at == first.attested_at + HOUR
    assert world.held.refreshed == 2


async def test_public_data_shows_evidence_as_verifiers_read_it(world):
    await world.after(0)
    keys = {
        "tls_public_key": str(world.machine.tls.tls_key),
        "account_public_key": str(world.machine.account.signer_key),
    }
    page = json.dumps({**keys, **world.attesting.public_data()}).encode()
    shown = decode_shown(page, "page")
    assert shown.evidence == world.attesting.newest.evidence
    assert shown.report_data == world.machine.report_data
    assert decode_evidence(canonical_json(json.loads(page)["evidence"])) == shown.evidence
    assert json.loads(page)["evidence_digest"] == world.attesting.stamp().digest


async def test_evidence_counts_for_its_validity_and_no_longer(world):
    await world.after(0)
    world.tee.fault = AttestationUnavailable("no guest agent")
    await world.after(WEEK - 1)
    assert world.attesting.stamp() is not None
    await world.after(1)
    assert world.attesting.stamp() is None
    assert world.attesting.public_data() == {"evidence": None, "evidence_digest": None, "attested_at": None}


async def test_evidence_made_without_collateral_is_made_again_once_there_is_some_for_this_machine(world):
    collateral, world.tee.collateral, world.held.own = world.tee.collateral, None, False
    await world.after(0)
    first = world.attesting.stamp()
    await world.after(60)
    assert world.attesting.stamp() == first
    world.tee.collateral, world.held.own = collateral, True
    await world.after(60)
    assert world.attesting.newest.evidence.collateral == collateral


async def test_evidence_that_nobody_would_read_is_no_evidence(world):
    world.tee.collateral = "x" * MAX_EVIDENCE_BYTES
    await world.after(0)
    assert world.attesting.stamp() is None
    assert "too large" in world.fault().message


# --- judged ---------------------------------------------------------------------------------------


async def test_the_machine_judges_its_own_evidence_at_the_newest_block(world):
    await world.after(0)
    await world.after(60)
    assert world.attesting.verdict == "verdict"
    [first, second] = world.tee.checked
    assert first[:3] == (world.attesting.newest.evidence, world.machine.role, world.machine.report_data)
    assert second[3].timestamp_ns > first[3].timestamp_ns


async def test_a_withdrawn_vote_is_an_alarm_before_any_exchange_and_the_evidence_stays_to_be_looked_at(world):
    await world.after(0)
    world.tee.refusal = AttestationRefused("check 12 (image digest): not voted", check="image digest")
    await world.after(60)
    fault = world.fault()
    assert fault.alarm
    assert "no peer accepts this machine's evidence, so no share moves: check 12" in fault.message
    assert world.attesting.verdict is None
    assert world.attesting.stamp() is not None
    world.tee.refusal = None
    await world.after(60)
    assert world.fault() is None
    assert world.attesting.verdict == "verdict"


async def test_a_chain_that_does_not_answer_changes_no_judgement(world):
    await world.after(0)
    world.chain.fault = ChainUnavailable("nobody answers")
    await world.after(60)
    assert world.attesting.verdict == "verdict"
    assert world.fault() is None
    world.chain.fault, world.tee.refusal = None, AttestationRefused("no")
    await world.after(60)
    world.chain.fault = ChainUnavailable("nobody answers")
    await world.after(60)
    assert world.fault().alarm


async def test_evidence_that_cannot_be_judged_is_no_alarm(world):
    world.tee.no_verdict = AttestationUnavailable("no collateral")
    await world.after(0)
    assert not world.fault().alarm
    assert world.attesting.stamp() is not None


# --- alarms ---------------------------------------------------------------------------------------


async def test_a_machine_that_never_gets_evidence_raises_an_alarm_after_a_while(world):
    world.tee.fault = AttestationUnavailable("no guest agent")
    await world.after(START_ALARM_SECONDS - 1)
    assert not world.fault().alarm
    await world.after(1)
    assert world.fault().alarm
    world.tee.fault = None
    await world.after(60)
    assert world.fault() is None
    assert world.attesting.stamp() is not None


async def test_evidence_that_cannot_be_renewed_for_long_is_an_alarm_days_before_it_expires(world):
    await world.after(0)
    world.tee.fault = AttestationUnavailable("no quote")
    await world.after(HOUR)
    assert not world.fault().alarm
    await world.after((LATE_INTERVALS - 1) * HOUR)
    assert world.fault().alarm
    assert "its last one counts until 2027-01-22 08:00 UTC: no quote" in world.fault().message
    assert world.attesting.stamp() is not None


async def test_a_boot_that_names_another_image_is_an_alarm_at_once_and_makes_no_evidence(world):
    world.tee.fault = AttestationRefused("RTMR3 names another image")
    await world.after(0)
    assert world.fault().alarm
    assert world.attesting.newest is None


@pytest.mark.parametrize(
    ("expires", "alarm"),
    [(NOW_S + COLLATERAL_ALARM_SECONDS, False), (NOW_S + COLLATERAL_ALARM_SECONDS - 1, True), (None, True)],
)
async def test_an_outage_of_all_pccss_is_an_alarm_once_collateral_runs_out(world, expires, alarm):
    world.held.fault, world.held.expires = AttestationUnavailable("no PCCS gives collateral"), expires
    await world.after(0)
    assert world.fault(COLLATERAL_TOPIC).alarm is alarm
    world.held.fault = None
    await world.after(0)
    assert world.fault(COLLATERAL_TOPIC) is None


# --- the loop ---------------------------------------------------------------------------------


async def test_failures_are_tried_again_soon_and_then_less_often(world):
    world.tee.fault = AttestationUnavailable("no quote")
    pauses = []
    for _ in range(8):
        await world.after(0)
        pauses.append(world.attesting._pause_seconds())
    assert pauses[:3] == [FIRST_RETRY_SECONDS, 2 * FIRST_RETRY_SECONDS, 4 * FIRST_RETRY_SECONDS]
    assert pauses[-1] == LOOK_SECONDS
    world.tee.fault = None
    await world.after(0)
    assert world.attesting._pause_seconds() == LOOK_SECONDS
    await world.after(HOUR - 10)
    assert world.attesting._pause_seconds() == 10


async def test_the_loop_runs_until_it_is_cancelled(world):
    slept = asyncio.Event()

    async def sleep(_seconds):
        slept.set()
        world.clock.seconds += HOUR
        await asyncio.sleep(0)

    world.clock.sleep = sleep
    running = asyncio.ensure_future(world.attesting.run(world.faults))
    await asyncio.wait_for(slept.wait(), 5)
    first = world.attesting.stamp()
    while world.attesting.stamp() == first:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_each_start_makes_new_evidence(world):
    await world.after(0)
    first = world.attesting.stamp()
    world.attesting = world.made()
    await world.after(10)
    assert world.attesting.stamp() == replace(
        first, digest=evidence_digest(world.attesting.newest.evidence), attested_at=first.attested_at + 10
    )
