"""What the daemons of both launches stand on, and the parts of their wiring that do not differ.

What only one daemon needs is imported where it is wired, so that each process loads its own half.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.durable_file import FileLock, ensure_directory
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.tls_channel import ChannelListener
from sharekeeper.adapters.transactions import NearCaller
from sharekeeper.config_values import NearConfig, NetAddress
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId, NetworkId
from sharekeeper.errors import ChainFault
from sharekeeper.ops.health import HealthServer, public_data_page, public_pages
from sharekeeper.ops.logs import log_event
from sharekeeper.ops.report import Report
from sharekeeper.ops.status import STATUS_SCHEMA, UNSAFE_NO_ATTESTATION, with_launch
from sharekeeper.ports import ContractCaller
from sharekeeper.spec import PUBLIC_DATA_PATH

if TYPE_CHECKING:
    from sharekeeper.adapters.web_server import Exchanges, WebServer
    from sharekeeper.backup_service.service import BackupService
    from sharekeeper.node_agent.agent import NodeAgent

_LOG: Final = logging.getLogger(__name__)
_START_RETRY_SECONDS: Final = 1.0

PublicData = Callable[[], Mapping[str, Any]]
"""What the page of public data shows at the moment it is asked."""


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """`work` has ended, by itself or because a signal asked for it. Raises what `work` raised."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(asked.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not working.done():
        log_event(_LOG, logging.INFO, "stopping: a signal asked for it")
        working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


class Foundation:
    """What both daemons stand on: the state directory's lock, the health pages, the chain."""

    network: NetworkId

    def __init__(self, near: NearConfig, kind: str, *, attested: bool) -> None:
        self._kind = kind
        self._attested = attested
        self.clock = SystemClock()
        self.rpc = NearRpc(
            url=near.rpc_url,
            contract_id=near.contract_id,
            chain_id=near.chain_id,
            genesis_hash=near.genesis_hash,
            clock=self.clock,
        )
        self.report: Callable[[], Report] = partial(self._starting, "starting")
        """What the health pages show."""

    @classmethod
    async def lay(
        cls,
        stack: contextlib.AsyncExitStack,
        near: NearConfig,
        *,
        state_dir: Path,
        health_address: NetAddress,
        kind: str,
        attested: bool,
    ) -> "Foundation":
        """Lock and pages are there until `stack` unwinds, and the network is known; waits until the chain answers.

        `kind`: the type of the status. `attested`: hard launch.

        Raises:
            AlreadyRunning, StoreFailed: the state directory.
            AddressInUse: the health pages.
            WrongNetwork: the endpoint serves another chain.
        """
        if not attested:
            log_event(_LOG, logging.WARNING, UNSAFE_NO_ATTESTATION)
        ensure_directory(state_dir, what="state directory")
        stack.callback(FileLock.take(state_dir / "lock", what="the state directory's lock").release)
        base = cls(near, kind, attested=attested)
        stack.push_async_callback(base.rpc.close)
        server = await HealthServer.start(health_address, base.render)
        stack.push_async_callback(server.stop)
        base.network = await base._network()
        return base

    def caller(self, account_id: AccountId, key: KeyPair) -> ContractCaller:
        """Signs contract calls of that account with that access key."""
        return NearCaller(
            rpc=self.rpc, account_id=account_id, key=key, contract_id=self.rpc.contract_id, clock=self.clock
        )

    def render(self) -> Report:
        """What the pages show now."""
        return with_launch(self.report(), attested=self._attested)

    def _starting(self, reason: str) -> Report:
        status = {"schema": STATUS_SCHEMA, "type": self._kind, "healthy": False, "reasons": [reason], "faults": []}
        return Report(reasons=(reason,), metrics=(), status=status)

    async def _network(self) -> NetworkId:
        told = None
        while True:
            try:
                return await self.rpc.network()
            except ChainFault as error:
                if not error.retryable:
                    raise
                reason = f"waiting for the chain: {error}"
                self.report = partial(self._starting, reason)
                if told != error.code:
                    log_event(_LOG, logging.WARNING, reason, code=error.code)
                told = error.code
                await self.clock.sleep(_START_RETRY_SECONDS)


# --- the daemons -------------------------------------------------------------------------------------


async def run_service(base: Foundation, service: "BackupService") -> None:
    """The backup service runs, its report on the health pages, until cancelled."""
    from sharekeeper.backup_service.report import report_backup_service  # noqa: PLC0415

    base.report = lambda: report_backup_service(service, base.clock.wall_ns())
    settings = service.settings
    log_event(_LOG, logging.INFO, "backup service started", account_id=settings.account_id, policy=settings.policy)
    await service.run()


async def run_agent(
    stack: contextlib.AsyncExitStack,
    base: Foundation,
    agent: "NodeAgent",
    tls: KeyPair,
    *,
    listen: NetAddress,
    public_data: PublicData,
) -> None:
    """The node agent runs, its report on the health pages, and is met at `listen`, until cancelled. Raises `HostFault`."""
    from sharekeeper.node_agent.report import report_node_agent  # noqa: PLC0415

    base.report = lambda: report_node_agent(agent, base.clock.wall_ns())
    listener: ChannelListener | WebServer
    if agent.web is None:
        listener = ChannelListener(listen.host, listen.port, tls, agent.expected_peers, agent.serve)
    else:
        listener = web_server(base, listen, tls, agent.web, public_data)
    await listener.start()
    stack.push_async_callback(listener.stop)
    log_event(_LOG, logging.INFO, "node agent started", account_id=agent.settings.account_id, port=listener.port)
    await agent.run(listener)


def web_server(
    base: Foundation, address: NetAddress, tls: KeyPair, exchanges: "Exchanges", public_data: PublicData
) -> "WebServer":
    """Version 2's endpoints, beside the pages that other machines may read."""
    from sharekeeper.adapters.web_server import WebServer  # noqa: PLC0415

    pages = {**public_pages(base.render), PUBLIC_DATA_PATH: public_data_page(public_data)}
    return WebServer(address.host, address.port, tls, exchanges, base.clock, pages=pages)


def public_keys_of(tls: KeyPair, account: KeyPair) -> Mapping[str, Any]:
    """The keys that the page of public data shows."""
    return {"tls_public_key": str(tls.tls_key), "account_public_key": str(account.signer_key)}
