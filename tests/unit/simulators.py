"""Ports that do what a test says: a clock that stands still, a chain that may lie."""

import asyncio
from collections.abc import Callable
from typing import Any

from sharekeeper.domain.ephemeral import EphemeralKeys
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.protocol_state import AccountRecord, BlockRef, ProtocolState
from sharekeeper.errors import ChainFault, ChainUnavailable, PolicyRefused, SharekeeperError
from sharekeeper.ports import ChainReader, ChainTruth, Clock, ContractCaller
from sharekeeper.protocol.onboarding import KeyHistory
from sharekeeper.protocol.quorum import OWN, ReadViews, Statement, decide_survey
from sharekeeper.reconcile import Memory

from .contract_views import views
from .protocol_values import ALICE, NETWORK, NOW_NS, signer

SECOND = 10**9


class ManualClock(Clock):
    """Moves only when told; `sleep` yields once."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wall_ns(self):
        return NOW_NS + int(self.seconds * SECOND)

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        await asyncio.sleep(0)


class SimulatedChain(ChainReader):
    """Shows `state` and `record` at block `height`; fails with `fault` while there is one. Counts requests."""

    def __init__(self, clock: ManualClock, state: ProtocolState, record: AccountRecord | None = None) -> None:
        self.clock, self.state, self.record = clock, state, record
        self.height, self.age_seconds = 1000, 0.0
        self.fault: SharekeeperError | None = None
        self.heads = self.states = self.accounts = 0
        self.ephemeral = EphemeralKeys(backup_service=None, node=None)

    async def network(self):
        return NETWORK

    async def head(self):
        self.heads += 1
        if self.fault is not None:
            raise self.fault
        stamp = self.clock.wall_ns() - int(self.age_seconds * SECOND)
        return BlockRef(height=self.height, hash=str(self.height), timestamp_ns=stamp)

    async def protocol_state(self, at):
        self.states += 1
        return self.state

    async def account(self, account_id: AccountId, at):
        self.accounts += 1
        return self.record

    async def ephemeral_keys(self, account_id: AccountId, at):
        return self.ephemeral


class SimulatedTruth(ChainTruth):
    """Endpoints around a simulated chain: each shows it as it is, unless `others` say otherwise.

    `others`: name, and what that endpoint says in place of the truth; None: it is silent.
    """

    quorum = 1

    def __init__(self, chain: SimulatedChain) -> None:
        self.chain = chain
        self.others: dict[str, Callable[[Statement], Statement | None]] = {}
        self.surveys = self.comparisons = 0
        self.own: ReadViews | SharekeeperError = PolicyRefused("that block is not final")

    @property
    def endpoints(self):
        return (OWN, *(name for name in self.others if name != OWN))

    async def survey(self):
        self.surveys += 1
        try:
            head, fault = await self.chain.head(), None
        except ChainFault as error:
            head, fault = None, error
        told = []
        for name in self.endpoints:
            shown = None if head is None else views(self.chain.state, self.chain.record)
            truth = Statement(endpoint=name, final=head, block=head, views=shown, fault=fault)
            said = self.others.get(name, lambda honest: honest)(truth)
            told.append(said or Statement(endpoint=name, fault=ChainUnavailable("it did not answer in time")))
        return decide_survey(told, quorum=self.quorum, now_ns=self.chain.clock.wall_ns())

    async def compare(self):
        self.comparisons += 1
        self.surveys -= 1
        return await self.survey()

    async def own_views(self, block_hash):
        if isinstance(self.own, SharekeeperError):
            raise self.own
        return self.own


class RecordingCaller(ContractCaller):
    """Keeps the calls; fails with `fault` while there is one."""

    account_id = ALICE
    signer_key = signer(1)

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.fault: SharekeeperError | None = None

    async def call(self, method, args):
        self.calls.append((method, dict(args)))
        if self.fault is not None:
            raise self.fault


class PlainMemory(Memory):
    """Memory without a disk; fails with `fault` while there is one."""

    def __init__(self, history: KeyHistory | None = None, floor_height: int = 0) -> None:
        self._history, self._floor = history or KeyHistory(), floor_height
        self.fault: SharekeeperError | None = None

    @property
    def history(self):
        return self._history

    @property
    def floor_height(self):
        return self._floor

    async def remember(self, history, height):
        if self.fault is not None:
            raise self.fault
        self._history, self._floor = history, max(self._floor, height)
