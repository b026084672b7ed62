import asyncio
import logging

import pytest

from sharekeeper.errors import ChainStale, ChainUnavailable, KeyRetired, PeerStalled
from sharekeeper.reconcile import Backoff, ChainWatch, Faults, Worker, uninterrupted

from .protocol_values import RUNNING, recovery
from .simulators import ManualClock, SimulatedChain


@pytest.fixture
def clock():
    return ManualClock()


# --- the chain ------------------------------------------------------------------------------------


async def test_a_block_is_viewed_once_however_often_it_is_looked_at(clock):
    clock.seconds = 5
    chain = SimulatedChain(clock, RUNNING)
    stamp = chain.age_seconds
    watch = ChainWatch(chain, clock)
    for _ in range(3):
        view = await watch.look()
        assert view.head.height == 1000
        chain.age_seconds = stamp
    assert (chain.heads, chain.states) == (3, 1)
    chain.height += 1
    assert (await watch.look()).head.height == 1001
    assert (chain.heads, chain.states) == (4, 2)


@pytest.mark.parametrize("age_seconds", [60.1, -60.1])
async def test_a_block_too_old_or_from_the_future_is_no_basis(clock, age_seconds):
    chain = SimulatedChain(clock, RUNNING)
    watch = ChainWatch(chain, clock)
    await watch.look()
    chain.height, chain.age_seconds = 1001, age_seconds
    with pytest.raises(ChainStale, match="clock is right"):
        await watch.look()
    assert watch.newest.head.height == 1000


async def test_a_block_of_just_a_minute_is_a_basis(clock):
    chain = SimulatedChain(clock, RUNNING)
    chain.age_seconds = 60
    assert (await ChainWatch(chain, clock).look()).state == RUNNING


async def test_an_endpoint_behind_what_the_machine_acted_on_is_no_basis(clock):
    chain = SimulatedChain(clock, RUNNING)
    watch = ChainWatch(chain, clock, floor=1001)
    with pytest.raises(ChainStale, match="lies before block 1001"):
        await watch.look()
    chain.height = 1001
    assert (await watch.look()).head.height == 1001


async def test_the_newest_view_stops_being_fresh_by_itself(clock):
    watch = ChainWatch(SimulatedChain(clock, RUNNING), clock)
    assert watch.fresh() is None
    await watch.look()
    assert watch.fresh() is not None
    clock.seconds += 61
    assert watch.fresh() is None
    assert watch.newest is not None


@pytest.mark.parametrize(("block_seconds", "pause"), [(1.2, 1.2), (0.001, 0.05), (30, 2.0)])
async def test_the_pace_of_looking_is_the_pace_of_blocks_within_bounds(clock, block_seconds, pause):
    chain = SimulatedChain(clock, RUNNING)
    watch = ChainWatch(chain, clock)
    await watch.look()
    clock.seconds += 3 * block_seconds
    chain.height += 3
    await watch.look()
    assert watch.pause_seconds == pytest.approx(pause)


# --- faults ---------------------------------------------------------------------------------------


def test_a_fault_is_logged_once_and_again_when_it_changes_and_when_it_is_over(clock, caplog):
    caplog.set_level(logging.INFO)
    faults = Faults(clock)
    for _ in range(5):
        faults.note("chain", ChainUnavailable("no answer"))
    assert [r.message for r in caplog.records] == ["no answer"]
    faults.note("chain", ChainStale("old"))
    faults.clear("chain")
    faults.clear("chain")
    assert [r.message for r in caplog.records][1:] == ["old", "chain: in order again"]
    assert faults.current() == ()
    assert faults.raised_total == {"chain_unavailable": 1, "chain_stale": 1}


def test_a_fault_whose_text_varies_is_logged_once_a_minute_and_keeps_its_age(clock, caplog):
    faults = Faults(clock)
    for second in range(121):
        clock.seconds = second
        faults.note("chain", ChainStale(f"{second} s old"))
    assert [r.message for r in caplog.records] == ["0 s old", "60 s old", "120 s old"]
    (fault,) = faults.current()
    assert fault.message == "120 s old"
    assert fault.since_ns == ManualClock().wall_ns()


def test_a_fault_that_comes_and_goes_is_logged_once_a_minute(clock, caplog):
    caplog.set_level(logging.INFO)
    faults = Faults(clock)
    for second in range(121):
        clock.seconds = second
        faults.note("chain", ChainUnavailable("no answer"))
        faults.clear("chain")
    assert [r.message for r in caplog.records] == ["no answer", "chain: in order again"] * 3


def test_a_fault_that_came_back_within_the_minute_and_stays_is_logged_in_the_end(clock, caplog):
    faults = Faults(clock)
    faults.note("chain", ChainUnavailable("no answer"))
    faults.clear("chain")
    for second in (1, 30, 59, 60, 61):
        clock.seconds = second
        faults.note("chain", ChainUnavailable("no answer again"))
    assert [r.message for r in caplog.records] == ["no answer", "no answer again"]


def test_what_waiting_does_not_cure_is_an_alarm(clock, caplog):
    faults = Faults(clock)
    faults.note("backup", PeerStalled("slow"))
    clock.seconds = 1
    faults.note("duty", KeyRetired("gone"))
    assert [(fault.topic, fault.alarm) for fault in faults.current()] == [("backup", False), ("duty", True)]
    assert [r.levelname for r in caplog.records] == ["WARNING", "ERROR"]


# --- back-off -------------------------------------------------------------------------------------


def test_waits_double_up_to_a_bound_and_end_when_the_basis_changes(clock):
    backoff = Backoff(clock)
    waits = []
    for _ in range(8):
        assert backoff.due("a")
        backoff.tried("a", block_seconds=1.0)
        before = clock.seconds
        while not backoff.due("a"):
            clock.seconds += 0.25
        waits.append(clock.seconds - before)
    assert waits == [1, 2, 4, 8, 16, 16, 16, 16]
    backoff.tried("a", block_seconds=1.0)
    assert not backoff.due("a")
    assert backoff.due("b")


def test_no_wait_is_longer_than_half_a_minute(clock):
    backoff = Backoff(clock)
    for _ in range(100):
        backoff.tried("a", block_seconds=10.0)
    clock.seconds += 29.9
    assert not backoff.due("a")
    clock.seconds += 0.1
    assert backoff.due("a")


def test_equal_states_are_one_basis(clock):
    backoff = Backoff(clock)
    backoff.tried(recovery(), block_seconds=1.0)
    assert not backoff.due(recovery())
    assert backoff.due(recovery(confirmed=True))


# --- the worker -----------------------------------------------------------------------------------


class Acts:
    def __init__(self):
        self.log = []
        self.release = asyncio.Event()

    async def __call__(self, decision):
        self.log.append(f"begin {decision}")
        try:
            await self.release.wait()
            self.log.append(f"end {decision}")
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.log.append(f"cut {decision}")
            raise


async def test_a_changed_decision_ends_the_action_before_another_begins(clock):
    acts = Acts()
    worker = Worker(acts)
    for decision in ("a", "a", "b", None):
        await worker.follow(decision)
        await asyncio.sleep(0)
    assert acts.log == ["begin a", "cut a", "begin b", "cut b"]


async def test_waiting_ends_with_the_action(clock):
    acts = Acts()
    worker = Worker(acts)
    await worker.follow("a")
    acts.release.set()
    for _ in range(5):
        await worker.wait(clock, 1)
    assert acts.log == ["begin a", "end a"]
    assert worker.basis is None
    await worker.follow("a")
    assert worker.basis == "a"
    await worker.stop()


async def test_an_unexpected_error_of_an_action_is_not_swallowed(clock):
    async def fail(_decision):
        raise ZeroDivisionError

    worker = Worker(fail)
    await worker.follow("a")
    await asyncio.sleep(0)
    with pytest.raises(ZeroDivisionError):
        await worker.wait(clock, 1)


async def test_uninterrupted_work_is_over_before_its_cancellation_is_felt():
    log, go = [], asyncio.Event()

    async def work():
        await go.wait()
        log.append("written")
        return 7

    async def caller():
        try:
            return await uninterrupted(work())
        finally:
            log.append("left")

    task = asyncio.create_task(caller())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    assert log == []
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["written", "left"]

    go.set()
    assert await uninterrupted(work()) == 7
