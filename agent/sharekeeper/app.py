"""The only place that knows both the daemons and the adapters: reads the configuration, wires, runs, ends.

What only one daemon needs is imported where it is wired, so that each process loads its own half.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.durable_file import FileLock, ensure_directory
from sharekeeper.adapters.memory import FileMemory
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.tls_channel import ChannelListener, connect
from sharekeeper.adapters.transactions import NearCaller
from sharekeeper.config import BackupServiceConfig, NodeAgentConfig, load_backup_service, load_node_agent
from sharekeeper.config_values import NearConfig, NetAddress, Transfer
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.protocol_state import BackupServiceKeys, NodeKeys, ParticipantInfo
from sharekeeper.errors import ChainFault
from sharekeeper.keys import BackupServiceKeyFiles, NodeKeyFiles, load_backup_service_keys, load_node_keys
from sharekeeper.ops.health import HealthServer, public_data_page, public_pages
from sharekeeper.ops.logs import configure_logs, log_event
from sharekeeper.ops.report import Report
from sharekeeper.ops.status import STATUS_SCHEMA, UNSAFE_NO_ATTESTATION, with_launch
from sharekeeper.ports import Channel, ContractCaller
from sharekeeper.spec import PUBLIC_DATA_PATH

if TYPE_CHECKING:
    from sharekeeper.adapters.quorum import QuorumReader
    from sharekeeper.adapters.web_server import WebServer
    from sharekeeper.backup_service.service import BackupServicePorts
    from sharekeeper.backup_service.web_exchanges import WebPorts
    from sharekeeper.node_agent.web_sessions import WebSessions

_LOG: Final = logging.getLogger(__name__)
_START_RETRY_SECONDS: Final = 1.0
APPROVALS_DIRECTORY: Final = "approvals"
OVERRIDES_DIRECTORY: Final = "overrides"
"""Names of the directories inside the backup service's `state_dir` that hold what the operator consented to."""


def run_backup_service(config_path: Path, *, json_logs: bool = False) -> None:
    """The backup service has run until SIGTERM or SIGINT.

    Raises:
        ConfigInvalid, KeysMissing: before anything starts.
        AlreadyRunning: another process holds its state directory or vault.
        AddressInUse, WrongNetwork, HostFault: it cannot start.
    """
    config = load_backup_service(config_path)
    keys = load_backup_service_keys(config.keys_dir)
    configure_logs(as_json=json_logs)
    asyncio.run(_until_signal(_backup_service(config, keys)))


def run_node_agent(config_path: Path, *, json_logs: bool = False) -> None:
    """The node agent has run until SIGTERM or SIGINT; the MPC node is left as it is. Raises as `run_backup_service`."""
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


async def _backup_service(config: BackupServiceConfig, keys: BackupServiceKeyFiles) -> None:
    from sharekeeper.backup_service.quorum_report import SINGLE_ENDPOINT  # noqa: PLC0415
    from sharekeeper.backup_service.report import report_backup_service  # noqa: PLC0415
    from sharekeeper.backup_service.service import BackupService, BackupServiceSettings  # noqa: PLC0415

    async with contextlib.AsyncExitStack() as stack:
        log_event(_LOG, logging.WARNING, UNSAFE_NO_ATTESTATION)
        base = await _Foundation.lay(stack, config, "backup_service_status")
        settings = BackupServiceSettings(
            account_id=config.account_id,
            network=base.network,
            own=BackupServiceKeys(tls_public_key=keys.tls.tls_key, signer_key=keys.account.signer_key),
            policy=config.policy,
            node_agent_port=config.node_agent_port,
            grace_seconds=config.old_keyset_grace_seconds,
            slot=config.slot,
        )
        service = BackupService(settings, await _backup_service_ports(stack, config, keys, base))
        base.report = lambda: report_backup_service(service, base.clock.wall_ns())
        log_event(_LOG, logging.INFO, "backup service started", account_id=config.account_id, policy=config.policy)
        if service.endpoints.alone:
            log_event(_LOG, logging.WARNING, SINGLE_ENDPOINT)
        await service.run()


async def _backup_service_ports(
    stack: contextlib.AsyncExitStack, config: BackupServiceConfig, keys: BackupServiceKeyFiles, base: "_Foundation"
) -> "BackupServicePorts":
    """The adapters of the backup service; the vault is locked until `stack` unwinds. Raises as the vault does."""
    from sharekeeper.adapters.approvals import DirectoryApprovalStore, DirectoryOverrideStore  # noqa: PLC0415
    from sharekeeper.adapters.vault import AgeVault  # noqa: PLC0415
    from sharekeeper.backup_service.service import BackupServicePorts  # noqa: PLC0415
    from sharekeeper.crypto.sealing import recipient_of  # noqa: PLC0415

    vault = AgeVault(
        config.vault_dir,
        state_dir=config.state_dir,
        network=base.network,
        account_id=config.account_id,
        recipients=(recipient_of(keys.vault_identity), config.operator_recipient),
        identity=keys.vault_identity,
        signing_key=keys.vault_signing,
        clock=base.clock,
    )
    await asyncio.to_thread(vault.acquire)
    stack.callback(vault.close)

    async def dial(host: str, port: int, peer: TlsKey) -> Channel:
        return await connect(host, port, keys.tls, peer)

    async def verify() -> Sequence[str]:
        report = await asyncio.to_thread(vault.verify, deep=True)
        return [f"{finding.entry}: {finding.detail}" for finding in report.problems]

    return BackupServicePorts(
        chain=base.rpc,
        truth=await _truth(stack, config, base),
        overrides=DirectoryOverrideStore(config.state_dir / OVERRIDES_DIRECTORY),
        caller=base.caller(config.account_id, keys.account),
        vault=vault,
        verify_vault=verify,
        approvals=DirectoryApprovalStore(config.state_dir / APPROVALS_DIRECTORY),
        memory=FileMemory(config.state_dir, keys.tls.tls_key),
        connect=dial,
        clock=base.clock,
        web=_web_ports(config, keys, base) if config.transfer is Transfer.WEB else None,
    )


async def _truth(stack: contextlib.AsyncExitStack, config: BackupServiceConfig, base: "_Foundation") -> "QuorumReader":
    """All endpoints of the configuration; those beside the own node are closed when `stack` unwinds."""
    from sharekeeper.adapters.quorum import QuorumReader, endpoints_of  # noqa: PLC0415

    endpoints = await stack.enter_async_context(
        endpoints_of(config.near, base.rpc, base.network.genesis_hash, base.clock)
    )
    return QuorumReader(endpoints, quorum=config.near.quorum, account_id=config.account_id, clock=base.clock)


def _web_ports(config: BackupServiceConfig, keys: BackupServiceKeyFiles, base: "_Foundation") -> "WebPorts":
    from sharekeeper.adapters.web_client import WebClient  # noqa: PLC0415
    from sharekeeper.backup_service.web_exchanges import WebPorts  # noqa: PLC0415

    client = WebClient(keys.tls, base.clock)
    return WebPorts(web=client, tls=keys.tls, port=config.node_web_port, node_url=config.node_web_url)


# --- node agent --------------------------------------------------------------------------------------


async def _node_agent(config: NodeAgentConfig, keys: NodeKeyFiles) -> None:
    from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore  # noqa: PLC0415
    from sharekeeper.adapters.supervisor import CommandSupervisor  # noqa: PLC0415
    from sharekeeper.node_agent.agent import NodeAgent, NodeAgentPorts, NodeAgentSettings  # noqa: PLC0415
    from sharekeeper.node_agent.report import report_node_agent  # noqa: PLC0415

    async with contextlib.AsyncExitStack() as stack:
        log_event(_LOG, logging.WARNING, UNSAFE_NO_ATTESTATION)
        base = await _Foundation.lay(stack, config, "node_agent_status")
        info = ParticipantInfo(url=config.url, tls_public_key=keys.tls.tls_key)
        own = NodeKeys(info=info, signer_key=keys.account.signer_key)
        agent = NodeAgent(
            NodeAgentSettings(account_id=config.account_id, network=base.network, own=own),
            NodeAgentPorts(
                chain=base.rpc,
                caller=base.caller(config.account_id, keys.account),
                store=DirectoryKeyShareStore(config.keyshares_dir),
                supervisor=CommandSupervisor(config.supervisor),
                memory=FileMemory(config.state_dir, keys.tls.tls_key),
                clock=base.clock,
                web_identity=keys.tls if config.transfer is Transfer.WEB else None,
            ),
        )
        base.report = lambda: report_node_agent(agent, base.clock.wall_ns())
        host, port = config.listen.host, config.listen.port
        listener: ChannelListener | WebServer
        if agent.web is None:
            listener = ChannelListener(host, port, keys.tls, agent.expected_peers, agent.serve)
        else:
            listener = _web_server(config.listen, keys, agent.web, base)
        await listener.start()
        stack.push_async_callback(listener.stop)
        log_event(_LOG, logging.INFO, "node agent started", account_id=config.account_id, port=listener.port)
        await agent.run(listener)


def _web_server(address: NetAddress, keys: NodeKeyFiles, exchanges: "WebSessions", base: "_Foundation") -> "WebServer":
    """Version 2's endpoints, beside the pages that other machines may read."""
    from sharekeeper.adapters.web_server import WebServer  # noqa: PLC0415

    shown = {"tls_public_key": str(keys.tls.tls_key), "account_public_key": str(keys.account.signer_key)}
    pages = {**public_pages(base.render), PUBLIC_DATA_PATH: public_data_page(shown)}
    return WebServer(address.host, address.port, keys.tls, exchanges, base.clock, pages=pages)


# --- both --------------------------------------------------------------------------------------------


class _Foundation:
    """What both daemons stand on: the state directory's lock, the health pages, the chain."""

    network: NetworkId

    def __init__(self, near: NearConfig, kind: str) -> None:
        self._kind = kind
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
        cls, stack: contextlib.AsyncExitStack, config: BackupServiceConfig | NodeAgentConfig, kind: str
    ) -> "_Foundation":
        """Lock and pages are there until `stack` unwinds, and the network is known; waits until the chain answers.

        Raises:
            AlreadyRunning, StoreFailed: the state directory.
            AddressInUse: the health pages.
            WrongNetwork: the endpoint serves another chain.
        """
        ensure_directory(config.state_dir, what="state directory")
        stack.callback(FileLock.take(config.state_dir / "lock", what="the state directory's lock").release)
        base = cls(config.near, kind)
        stack.push_async_callback(base.rpc.close)
        server = await HealthServer.start(config.health_address, base.render)
        stack.push_async_callback(server.stop)
        base.network = await base._network()
        return base

    def caller(self, account_id: AccountId, key: KeyPair) -> ContractCaller:
        """Signs contract calls of that account with that access key."""
        return NearCaller(
            rpc=self.rpc, account_id=account_id, key=key, contract_id=self.rpc.contract_id, clock=self.clock
        )

    def render(self) -> Report:
        return with_launch(self.report(), attested=False)

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
