"""The only place that knows both the daemons and the adapters: reads the configuration, wires, runs, ends.

Imports are made where they are needed, so that each daemon loads only its own half.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sharekeeper.config import (
    BackupServiceConfig,
    NearConfig,
    NetAddress,
    NodeAgentConfig,
    load_backup_service,
    load_node_agent,
)
from sharekeeper.domain.identity import NetworkId
from sharekeeper.errors import ChainFault
from sharekeeper.ops.logs import configure_logs, log_event
from sharekeeper.ops.report import Report

if TYPE_CHECKING:
    from sharekeeper.adapters.near_rpc import NearRpc
    from sharekeeper.keys import BackupServiceKeyFiles, NodeKeyFiles
    from sharekeeper.ports import Clock

_LOG: Final = logging.getLogger(__name__)
_START_RETRY_SECONDS: Final = 1.0
APPROVALS_DIRECTORY: Final = "approvals"
"""Name of the approvals directory inside the backup service's `state_dir`."""


def run_backup_service(config_path: Path, *, json_logs: bool = False) -> None:
    """The backup service has run until SIGTERM or SIGINT.

    Raises:
        ConfigInvalid, KeysMissing: before anything starts.
        AlreadyRunning: another process holds its state directory or vault.
        AddressInUse, WrongNetwork, HostFault: it cannot start.
    """
    from sharekeeper.keys import load_backup_service_keys  # noqa: PLC0415

    config = load_backup_service(config_path)
    keys = load_backup_service_keys(config.keys_dir)
    configure_logs(as_json=json_logs)
    asyncio.run(_until_signal(_backup_service(config, keys)))


def run_node_agent(config_path: Path, *, json_logs: bool = False) -> None:
    """The node agent has run until SIGTERM or SIGINT; the MPC node is left as it is. Raises as `run_backup_service`."""
    from sharekeeper.keys import load_node_keys  # noqa: PLC0415

    config = load_node_agent(config_path)
    keys = load_node_keys(config.keys_dir)
    configure_logs(as_json=json_logs)
    asyncio.run(_until_signal(_node_agent(config, keys)))


async def _until_signal(work: Coroutine[Any, Any, None]) -> None:
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


# --- backup service ----------------------------------------------------------------------------------


async def _backup_service(config: BackupServiceConfig, keys: "BackupServiceKeyFiles") -> None:
    from sharekeeper.adapters.approvals import DirectoryApprovalStore  # noqa: PLC0415
    from sharekeeper.adapters.clock import SystemClock  # noqa: PLC0415
    from sharekeeper.adapters.memory import FileMemory  # noqa: PLC0415
    from sharekeeper.adapters.tls_channel import connect  # noqa: PLC0415
    from sharekeeper.adapters.transactions import NearCaller  # noqa: PLC0415
    from sharekeeper.adapters.vault import AgeVault  # noqa: PLC0415
    from sharekeeper.backup_service.report import report_backup_service  # noqa: PLC0415
    from sharekeeper.backup_service.service import (  # noqa: PLC0415
        BackupService,
        BackupServicePorts,
        BackupServiceSettings,
    )
    from sharekeeper.crypto.sealing import recipient_of  # noqa: PLC0415
    from sharekeeper.domain.identity import TlsKey  # noqa: PLC0415
    from sharekeeper.domain.protocol_state import BackupServiceKeys  # noqa: PLC0415
    from sharekeeper.ports import Channel  # noqa: PLC0415

    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        page = await _Foundation.lay(stack, config.state_dir, config.health_address, "backup_service_status")
        rpc, network = await _chain(stack, config.near, clock, page)
        vault = AgeVault(
            config.vault_dir,
            state_dir=config.state_dir,
            network=network,
            account_id=config.account_id,
            recipients=(recipient_of(keys.vault_identity), config.operator_recipient),
            identity=keys.vault_identity,
            signing_key=keys.vault_signing,
            clock=clock,
        )
        await asyncio.to_thread(vault.acquire)
        stack.callback(vault.close)

        async def dial(host: str, port: int, peer: TlsKey) -> Channel:
            return await connect(host, port, keys.tls, peer)

        async def verify() -> Sequence[str]:
            report = await asyncio.to_thread(vault.verify, deep=True)
            return [f"{finding.entry}: {finding.detail}" for finding in report.problems]

        service = BackupService(
            BackupServiceSettings(
                account_id=config.account_id,
                network=network,
                own=BackupServiceKeys(tls_public_key=keys.tls.tls_key, signer_key=keys.account.signer_key),
                policy=config.policy,
                node_agent_port=config.node_agent_port,
                grace_seconds=config.old_keyset_grace_seconds,
            ),
            BackupServicePorts(
                chain=rpc,
                caller=NearCaller(
                    rpc=rpc,
                    account_id=config.account_id,
                    key=keys.account,
                    contract_id=config.near.contract_id,
                    clock=clock,
                ),
                vault=vault,
                verify_vault=verify,
                approvals=DirectoryApprovalStore(config.state_dir / APPROVALS_DIRECTORY),
                memory=FileMemory(config.state_dir, keys.tls.tls_key),
                connect=dial,
                clock=clock,
            ),
        )
        page.report = lambda: report_backup_service(service, clock.wall_ns())
        log_event(_LOG, logging.INFO, "backup service started", account_id=config.account_id, policy=config.policy)
        await service.run()


# --- node agent --------------------------------------------------------------------------------------


async def _node_agent(config: NodeAgentConfig, keys: "NodeKeyFiles") -> None:
    from sharekeeper.adapters.clock import SystemClock  # noqa: PLC0415
    from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore  # noqa: PLC0415
    from sharekeeper.adapters.memory import FileMemory  # noqa: PLC0415
    from sharekeeper.adapters.supervisor import CommandSupervisor  # noqa: PLC0415
    from sharekeeper.adapters.tls_channel import ChannelListener  # noqa: PLC0415
    from sharekeeper.adapters.transactions import NearCaller  # noqa: PLC0415
    from sharekeeper.domain.protocol_state import NodeKeys, ParticipantInfo  # noqa: PLC0415
    from sharekeeper.node_agent.agent import NodeAgent, NodeAgentPorts, NodeAgentSettings  # noqa: PLC0415
    from sharekeeper.node_agent.report import report_node_agent  # noqa: PLC0415

    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        page = await _Foundation.lay(stack, config.state_dir, config.health_address, "node_agent_status")
        rpc, network = await _chain(stack, config.near, clock, page)
        info = ParticipantInfo(url=config.url, tls_public_key=keys.tls.tls_key)
        agent = NodeAgent(
            NodeAgentSettings(
                account_id=config.account_id,
                network=network,
                own=NodeKeys(info=info, signer_key=keys.account.signer_key),
            ),
            NodeAgentPorts(
                chain=rpc,
                caller=NearCaller(
                    rpc=rpc,
                    account_id=config.account_id,
                    key=keys.account,
                    contract_id=config.near.contract_id,
                    clock=clock,
                ),
                store=DirectoryKeyShareStore(config.keyshares_dir),
                supervisor=CommandSupervisor(config.supervisor),
                memory=FileMemory(config.state_dir, keys.tls.tls_key),
                clock=clock,
            ),
        )
        page.report = lambda: report_node_agent(agent, clock.wall_ns())
        listener = ChannelListener(config.listen.host, config.listen.port, keys.tls, agent.expected_peer, agent.serve)
        await listener.start()
        stack.push_async_callback(listener.stop)
        log_event(_LOG, logging.INFO, "node agent started", account_id=config.account_id, port=listener.port)
        await agent.run(listener)


# --- both -----------------------------------------------------------------------------------------------


class _Foundation:
    """What both daemons stand on: the state directory's lock, and the health pages, which show `report`."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.report: Callable[[], Report] = lambda: self._starting("starting")

    def render(self) -> Report:
        """What the pages show at this moment."""
        return self.report()

    def starting(self, reason: str) -> None:
        """The pages say that the daemon is not up yet, and why."""
        self.report = lambda: self._starting(reason)

    def _starting(self, reason: str) -> Report:
        status = {"schema": 1, "type": self._kind, "healthy": False, "reasons": [reason]}
        return Report(reasons=(reason,), metrics=(), status=status)

    @classmethod
    async def lay(
        cls, stack: contextlib.AsyncExitStack, state_dir: Path, address: NetAddress, kind: str
    ) -> "_Foundation":
        """Lock and pages are there until `stack` unwinds. Raises `AlreadyRunning`, `StoreFailed`, `AddressInUse`."""
        from sharekeeper.adapters.durable_file import FileLock, ensure_directory  # noqa: PLC0415
        from sharekeeper.ops.health import HealthServer  # noqa: PLC0415

        ensure_directory(state_dir, what="state directory")
        stack.callback(FileLock.take(state_dir / "lock", what="the state directory's lock").release)
        page = cls(kind)
        server = await HealthServer.start(address, page.render)
        stack.push_async_callback(server.stop)
        return page


async def _chain(
    stack: contextlib.AsyncExitStack, near: NearConfig, clock: "Clock", page: _Foundation
) -> "tuple[NearRpc, NetworkId]":
    """The endpoint, and the network it really serves; waits until it answers. Raises `WrongNetwork`."""
    from sharekeeper.adapters.near_rpc import NearRpc  # noqa: PLC0415

    rpc = NearRpc(
        url=near.rpc_url,
        contract_id=near.contract_id,
        chain_id=near.chain_id,
        genesis_hash=near.genesis_hash,
        clock=clock,
    )
    stack.push_async_callback(rpc.close)
    told = None
    while True:
        try:
            return rpc, await rpc.network()
        except ChainFault as error:
            if not error.retryable:
                raise
            page.starting(f"chain: {error}")
            if told != error.code:
                log_event(_LOG, logging.WARNING, f"waiting for the chain: {error}", code=error.code)
            told = error.code
            await clock.sleep(_START_RETRY_SECONDS)
