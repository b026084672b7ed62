"""Asks several NEAR endpoints the same and lets `protocol/quorum.py` decide (design decision 6; ADR 12).

Every endpoint has its own deadline and all are asked at once. Once a quorum has answered, the others have a moment
left: an endpoint that hangs costs that moment in each round until it is left out. Only where that gives no agreement
is everybody given the whole deadline.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.config_values import NearConfig
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.errors import ChainFault, ChainUnavailable, PolicyRefused
from sharekeeper.ports import ChainTruth, Clock
from sharekeeper.protocol.quorum import (
    OWN,
    ReadViews,
    Statement,
    Survey,
    candidate_heights,
    decide_survey,
    is_fresh,
    read_views,
)
from sharekeeper.spec import RPC_TIMEOUT_SECONDS

SETTLE_SECONDS: Final = 0.5
"""How long the others may still answer once a quorum has."""
_ROUND_SECONDS: Final = 2 * RPC_TIMEOUT_SECONDS
"""Deadline of one round: each endpoint answers one to three reads in it."""


class _NotAwaited(ChainUnavailable):
    """The endpoint may still have answered, but a quorum had."""


class QuorumReader(ChainTruth):
    """The endpoints of one contract, the own node first. `account_id`: whose record is read beside the state."""

    def __init__(self, endpoints: Mapping[str, NearRpc], *, quorum: int, account_id: AccountId, clock: Clock) -> None:
        """Raises `ValueError` if `quorum` is not more than half of `endpoints`, or more than all."""
        if not len(endpoints) < 2 * quorum <= 2 * len(endpoints):
            raise ValueError(f"a quorum of {len(endpoints)} endpoints is not {quorum}")
        self._endpoints = dict(endpoints)
        self._quorum = quorum
        self._account_id = account_id
        self._clock = clock

    @property
    def endpoints(self) -> Sequence[str]:
        return tuple(self._endpoints)

    @property
    def quorum(self) -> int:
        return self._quorum

    async def survey(self) -> Survey:
        """As the port says."""
        survey, hurried = await self._survey(self._final, patient=False)
        if survey.agreed is None and hurried:
            survey, _ = await self._survey(self._final, patient=True)
        return survey

    async def compare(self) -> Survey:
        """As the port says."""
        survey, _ = await self._survey(self._introduced, patient=True)
        return survey

    async def own_views(self, block_hash: str) -> ReadViews:
        """As the port says."""
        own = self._endpoints[OWN]
        return read_views(await views_at(own, self._account_id, await final_block_named(own, block_hash)))

    # --- one survey -------------------------------------------------------------------------------

    async def _survey(
        self, first: Callable[[str], Coroutine[Any, Any, Statement]], *, patient: bool
    ) -> tuple[Survey, bool]:
        """The survey, and whether an endpoint was not waited for."""
        questions = {name: first(name) for name in self._endpoints}
        heard = await self._round(questions, self._enough_finals, patient=patient)
        hurried, latest = _hurried(heard), self._decided(heard)
        for number, height in enumerate(candidate_heights(self._fresh_finals(heard), self._quorum)):
            asked = {
                name: self._stated(one, height)
                for name, one in heard.items()
                if one.final and (patient or one.final.height >= height)
            }
            told = await self._round(asked, self._enough_agree, patient=patient)
            hurried = hurried or _hurried(told)
            survey = self._decided({**heard, **told})
            if survey.agreed is not None:
                return survey, False
            latest = survey if number == 0 else latest
        return latest, hurried

    async def _final(self, name: str) -> Statement:
        return Statement(endpoint=name, final=await self._endpoints[name].final_block())

    async def _introduced(self, name: str) -> Statement:
        """As `_final`, from an endpoint that serves the right network."""
        network = await self._endpoints[name].network()
        return replace(await self._final(name), network=network)

    async def _stated(self, one: Statement, height: int) -> Statement:
        """What the endpoint shows at that height; an endpoint that stops on the way has said what it said."""
        rpc = self._endpoints[one.endpoint]
        try:
            on_top = one.final is not None and one.final.height == height
            block = one.final if on_top and one.final is not None else await rpc.block_at(height)
        except ChainFault as fault:
            return replace(one, fault=fault)
        try:
            return replace(one, block=block, views=await views_at(rpc, self._account_id, block))
        except ChainFault as fault:
            return replace(one, block=block, fault=fault)

    # --- rounds -----------------------------------------------------------------------------------

    async def _round(
        self,
        asked: Mapping[str, Coroutine[Any, Any, Statement]],
        enough: Callable[[Mapping[str, Statement]], bool],
        *,
        patient: bool,
    ) -> dict[str, Statement]:
        """What each endpoint asked said; silence is a fault. Nothing is left under way."""
        tasks = {name: asyncio.ensure_future(_said(name, question)) for name, question in asked.items()}
        try:
            await self._wait(tasks, enough, patient=patient)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        return {name: _not_awaited(name) if task.cancelled() else task.result() for name, task in tasks.items()}

    async def _wait(
        self,
        tasks: Mapping[str, asyncio.Future[Statement]],
        enough: Callable[[Mapping[str, Statement]], bool],
        *,
        patient: bool,
    ) -> None:
        deadline = self._clock.monotonic() + _ROUND_SECONDS
        settled, pending = False, set(tasks.values())
        while pending and (left := deadline - self._clock.monotonic()) > 0:
            _, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            answers = {name: task.result() for name, task in tasks.items() if task.done()}
            if not (patient or settled) and enough(answers):
                settled, deadline = True, self._clock.monotonic() + SETTLE_SECONDS

    def _enough_finals(self, answers: Mapping[str, Statement]) -> bool:
        return len(self._fresh_finals(answers)) >= self._quorum

    def _enough_agree(self, answers: Mapping[str, Statement]) -> bool:
        return self._decided(answers).agreed is not None

    def _fresh_finals(self, heard: Mapping[str, Statement]) -> list[BlockRef]:
        now_ns = self._clock.wall_ns()
        return [one.final for one in heard.values() if one.final is not None and is_fresh(one.final, now_ns)]

    def _decided(self, heard: Mapping[str, Statement]) -> Survey:
        ordered = [heard[name] for name in self._endpoints if name in heard]
        return decide_survey(ordered, quorum=self._quorum, now_ns=self._clock.wall_ns())


async def final_block_named(own: NearRpc, block_hash: str) -> BlockRef:
    """The block of that hash, final at the own node. Raises `PolicyRefused`, `ChainFault`."""
    block = await own.block_named(block_hash)
    final = await own.final_block()
    if block.height > final.height or await own.block_at(block.height) != block:
        raise PolicyRefused(f"block {block_hash} is not final at the own node, whose newest final is {final.height}")
    return block


async def views_at(rpc: NearRpc, account_id: AccountId, block: BlockRef) -> tuple[bytes, ...]:
    """The bytes of view `state` and of the account's `participant_info` at that block. Raises `ChainFault`."""
    state = await rpc.view_bytes("state", {}, block)
    return state, await rpc.view_bytes("participant_info", {"account_id": account_id}, block)


async def _said(name: str, question: Awaitable[Statement]) -> Statement:
    try:
        return await question
    except ChainFault as fault:
        return Statement(endpoint=name, fault=fault)


def _not_awaited(name: str) -> Statement:
    return Statement(endpoint=name, fault=_NotAwaited("it did not answer in time"))


def _hurried(heard: Mapping[str, Statement]) -> bool:
    return any(isinstance(one.fault, _NotAwaited) for one in heard.values())


@asynccontextmanager
async def endpoints_of(
    near: NearConfig, own: NearRpc, genesis_hash: str | None, clock: Clock
) -> AsyncIterator[dict[str, NearRpc]]:
    """The own node and the other endpoints, of that genesis block if it is known; the others are closed afterwards."""
    async with AsyncExitStack() as stack:
        endpoints = {OWN: own}
        for endpoint in near.endpoints:
            rpc = NearRpc(
                url=endpoint.url,
                contract_id=near.contract_id,
                chain_id=near.chain_id,
                genesis_hash=genesis_hash,
                clock=clock,
                timeout_seconds=RPC_TIMEOUT_SECONDS,
            )
            endpoints[endpoint.name] = await stack.enter_async_context(rpc)
        yield endpoints
