"""What both daemons are made of: watch final blocks, decide, act, and try again (design decision 6).

Level-triggered: each turn compares the state now with what is held now. Nothing depends on having seen
a change, so a restart at any point loses nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Protocol, TypeVar

from sharekeeper.domain.protocol_state import BlockRef, ProtocolState
from sharekeeper.errors import ChainStale, SharekeeperError
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import ChainReader, Clock
from sharekeeper.protocol.freshness import check_fresh
from sharekeeper.protocol.onboarding import KeyHistory

_LOG: Final = logging.getLogger(__name__)
_NS: Final = 1_000_000_000
_FIRST_PAUSE_SECONDS: Final = 0.5
_SHORTEST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 2.0
_BACKOFF_BLOCKS: Final = 16
_BACKOFF_CAP_SECONDS: Final = 30.0
_SAME_FAULT_SECONDS: Final = 60.0

D = TypeVar("D")
T = TypeVar("T")


# --- the chain ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The protocol state at one final block."""

    head: BlockRef
    state: ProtocolState


class ChainWatch:
    """The newest final view: at most one `head` and one `state` request a block while `look` is called at its pace."""

    def __init__(self, chain: ChainReader, clock: Clock, *, floor: int = 0) -> None:
        """`floor`: the height this machine already acted on; an endpoint below it is behind."""
        self._chain = chain
        self._clock = clock
        self._floor = floor
        self._one_at_a_time = asyncio.Lock()
        self.newest: View | None = None
        self.pause_seconds = _FIRST_PAUSE_SECONDS
        """About one block time: how long to wait between two looks."""

    async def look(self) -> View:
        """The state at the newest final block, which is fresh.

        Raises:
            ChainStale: the block is too old, or below what this machine already acted on.
            ChainFault: as `ChainReader` says; the view before stays the newest.
        """
        async with self._one_at_a_time:
            return await self._look()

    async def _look(self) -> View:
        head = await self._chain.head()
        check_fresh(head, self._clock.wall_ns())
        if head.height < self._floor:
            raise ChainStale(
                f"the endpoint's final block {head.height} lies before block {self._floor}, on which this machine "
                "already acted: wait until the NEAR node is in sync"
            )
        before = self.newest
        if before is not None and before.head == head:
            return before
        state = await self._chain.protocol_state(head)
        if before is not None and before.state == state:
            state = before.state  # one object for one state: comparing it again is quick, whatever its size
        view = View(head=head, state=state)
        self._adapt_pace(before, head)
        self.newest = view
        return view

    def fresh(self) -> View | None:
        """The newest view if it is still fresh, without asking the chain."""
        if self.newest is None:
            return None
        try:
            check_fresh(self.newest.head, self._clock.wall_ns())
        except ChainStale:
            return None
        return self.newest

    def _adapt_pace(self, before: View | None, head: BlockRef) -> None:
        if before is not None and head.height > before.head.height:
            block_seconds = (head.timestamp_ns - before.head.timestamp_ns) / _NS / (head.height - before.head.height)
            self.pause_seconds = min(max(block_seconds, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)


# --- faults ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with one duty right now. `alarm`: waiting does not help."""

    topic: str
    code: str
    message: str
    alarm: bool
    since_ns: int


class Faults:
    """The faults in force, one per topic.

    Each is logged when it appears or changes, and when it is over; one that comes and goes, or only changes its
    words, at most once a minute.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._current: dict[str, Fault] = {}
        self._logged_at: dict[tuple[str, str], float] = {}
        self._told: dict[str, str] = {}
        self.raised_total: dict[str, int] = {}
        """How often a fault with that code appeared."""

    def current(self) -> tuple[Fault, ...]:
        """The faults in force, oldest first."""
        return tuple(sorted(self._current.values(), key=lambda fault: fault.since_ns))

    def note(self, topic: str, error: SharekeeperError, *, alarm: bool | None = None) -> None:
        """`error` stands in the way of `topic` now. It is an alarm unless trying again can help."""
        is_alarm = not error.retryable if alarm is None else alarm
        fault = Fault(topic=topic, code=error.code, message=str(error), alarm=is_alarm, since_ns=self._clock.wall_ns())
        before = self._current.get(topic)
        same_kind = before is not None and before.code == fault.code
        if before is None or not same_kind:
            self.raised_total[fault.code] = self.raised_total.get(fault.code, 0) + 1
        elif before.message == fault.message and self._told.get(topic) == fault.code:
            return
        self._current[topic] = replace(fault, since_ns=before.since_ns) if before and same_kind else fault
        self._log(fault)

    def _log(self, fault: Fault) -> None:
        now, kind = self._clock.monotonic(), (fault.topic, fault.code)
        if now - self._logged_at.get(kind, -_SAME_FAULT_SECONDS) < _SAME_FAULT_SECONDS:
            return
        self._logged_at[kind] = now
        self._told[fault.topic] = fault.code
        level = logging.ERROR if fault.alarm else logging.WARNING
        log_event(_LOG, level, fault.message, topic=fault.topic, code=fault.code)

    def clear(self, topic: str) -> None:
        """Nothing stands in the way of `topic`."""
        if self._current.pop(topic, None) is not None and self._told.pop(topic, None) is not None:
            log_event(_LOG, logging.INFO, f"{topic}: in order again", topic=topic)

    @contextlib.contextmanager
    def duty(self, topic: str) -> Iterator[None]:
        """What is done inside is all that `topic` takes: its fault is noted and goes no further; without one it is clear."""
        try:
            yield
        except SharekeeperError as error:
            self.note(topic, error)
        else:
            self.clear(topic)


class Backoff:
    """When an action that left things as they were may be tried again.

    Waits double up to a bound, and end when the basis changes. An action that succeeded waits too, should
    the view not show its effect yet.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._basis: object = None
        self._tries = 0
        self._due_at = 0.0

    def due(self, basis: object) -> bool:
        """True if `basis` is new, was not tried, or has waited long enough."""
        return basis != self._basis or self._clock.monotonic() >= self._due_at

    def tried(self, basis: object, *, block_seconds: float) -> None:
        """An action on `basis` is over just now."""
        self._tries = self._tries + 1 if basis == self._basis else 1
        self._basis = basis
        longest = min(max(_BACKOFF_BLOCKS * block_seconds, 1.0), _BACKOFF_CAP_SECONDS)
        wait = min(block_seconds * 2.0 ** min(self._tries - 1, 10), longest)
        self._due_at = self._clock.monotonic() + wait


# --- actions --------------------------------------------------------------------------------------


class Worker(Generic[D]):
    """At most one action, and only while it is still what is decided.

    An action whose decision changed is cancelled and has ended before another begins.
    """

    def __init__(self, act: Callable[[D], Awaitable[None]]) -> None:
        self._act = act
        self._task: asyncio.Task[None] | None = None
        self.basis: D | None = None
        """The decision of the action under way."""

    async def follow(self, decision: D | None) -> None:
        """The action of `decision` is under way, and no other; None ends whatever is under way."""
        self.reap()
        if self._task is not None and (decision is None or decision != self.basis):
            await self._end()
        if self._task is None and decision is not None:
            self.basis = decision
            self._task = asyncio.ensure_future(self._act(decision))

    async def wait(self, clock: Clock, seconds: float) -> None:
        """Returns after `seconds`, or as soon as the action is over. Raises what the action raised."""
        pause = asyncio.ensure_future(clock.sleep(seconds))
        waiting = {pause} if self._task is None else {pause, self._task}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
        self.reap()

    def reap(self) -> None:
        """An action that is over is forgotten. Raises what it raised."""
        if self._task is not None and self._task.done():
            task, self._task, self.basis = self._task, None, None
            task.result()

    async def stop(self) -> None:
        """No action is under way."""
        await self._end()

    async def _end(self) -> None:
        task, self._task, self.basis = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`; cancellation waits until it is done, for changes of the disk that must not overlap."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


# --- memory -----------------------------------------------------------------------------------------


class Memory(Protocol):
    """The little a machine must remember across restarts, about its present TLS key (`adapters/memory.py`)."""

    @property
    def history(self) -> KeyHistory:
        """What the chain once said about the key."""

    @property
    def floor_height(self) -> int:
        """The highest final block on which this machine durably acted; 0 when none."""

    async def remember(self, history: KeyHistory, height: int) -> None:
        """Both are durable; facts and height only ever grow. Raises `StoreFailed`."""
