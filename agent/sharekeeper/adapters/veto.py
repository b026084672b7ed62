"""The own node inside the TEE decides, endpoints outside may only veto (design decision 9; `protocol/quorum.py`, rule 5).

Each endpoint outside is compared with the own node at the newest height that both have as final. All are asked at once,
under one deadline: one that hangs costs that deadline and decides nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.quorum import final_block_named, views_at
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.errors import ChainFault, ChainUnavailable
from sharekeeper.ports import ChainTruth, Clock
from sharekeeper.protocol.quorum import OWN, ReadViews, Statement, Survey, decide_veto, read_views
from sharekeeper.spec import RPC_TIMEOUT_SECONDS

VETO_SECONDS: Final = RPC_TIMEOUT_SECONDS
"""How long an endpoint outside may take to contradict the own node."""

_Pair = tuple[Statement, Statement]


class VetoReader(ChainTruth):
    """The endpoints of one contract, the own node first. `account_id`: whose record is read beside the state."""

    def __init__(self, endpoints: Mapping[str, NearRpc], *, account_id: AccountId, clock: Clock) -> None:
        self._own = endpoints[OWN]
        self._others = {name: rpc for name, rpc in endpoints.items() if name != OWN}
        self._account_id = account_id
        self._clock = clock

    @property
    def endpoints(self) -> Sequence[str]:
        return OWN, *self._others

    @property
    def quorum(self) -> int:
        """The own node is enough."""
        return 1

    async def survey(self) -> Survey:
        """As the port says."""
        return await self._survey(introduced=False)

    async def compare(self) -> Survey:
        """As the port says."""
        return await self._survey(introduced=True)

    async def own_views(self, block_hash: str) -> ReadViews:
        """As the port says."""
        return read_views(await views_at(self._own, self._account_id, await final_block_named(self._own, block_hash)))

    async def _survey(self, *, introduced: bool) -> Survey:
        try:
            final = await self._own.final_block()
            own = await self._stated(OWN, self._own, final, final.height)
        except ChainFault as fault:
            own, final = Statement(endpoint=OWN, fault=fault), None
        compared = [] if final is None else [self._compared(name, own, final, introduced) for name in self._others]
        pairs = await asyncio.gather(*compared)
        return decide_veto(own, pairs, now_ns=self._clock.wall_ns())

    async def _compared(self, name: str, own: Statement, own_final: BlockRef, introduced: bool) -> _Pair:
        """What that endpoint and the own node say at the height that both have as final; a fault stands for silence."""
        try:
            async with asyncio.timeout(VETO_SECONDS):
                return await self._pair(name, own, own_final, introduced)
        except TimeoutError:
            return Statement(endpoint=name, fault=ChainUnavailable(f"no answer within {VETO_SECONDS:g} s")), own
        except ChainFault as fault:
            return Statement(endpoint=name, fault=fault), own

    async def _pair(self, name: str, own: Statement, own_final: BlockRef, introduced: bool) -> _Pair:
        rpc = self._others[name]
        if introduced:
            await rpc.network()
        final = await rpc.final_block()
        height = min(final.height, own_final.height)
        one = await self._stated(name, rpc, final, height)
        return one, own if height == own_final.height else await self._stated(OWN, self._own, own_final, height)

    async def _stated(self, name: str, rpc: NearRpc, final: BlockRef, height: int) -> Statement:
        block = final if final.height == height else await rpc.block_at(height)
        views = await views_at(rpc, self._account_id, block)
        return Statement(endpoint=name, final=final, block=block, views=views)
