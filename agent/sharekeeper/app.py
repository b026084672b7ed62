"""The soft launch: the only place that knows both its daemons and the adapters. Reads, wires, runs, ends.

What only one daemon needs is imported where it is wired, so that each process loads its own half.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sharekeeper.adapters.memory import FileMemory
from sharekeeper.adapters.tls_channel import connect
from sharekeeper.config import BackupServiceConfig, NodeAgentConfig, load_backup_service, load_node_agent
from sharekeeper.config_values import Transfer
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.protocol_state import BackupServiceKeys, NodeKeys, ParticipantInfo
from sharekeeper.foundation import Foundation, public_keys_of, run_agent, run_service, until_signal
from sharekeeper.keys import BackupServiceKeyFiles, NodeKeyFiles, load_backup_service_keys, load_node_keys
from sharekeeper.ops.logs import configure_logs, log_event
from sharekeeper.ports import Channel

if TYPE_CHECKING:
    from sharekeeper.adapters.quorum import QuorumReader
    from sharekeeper.backup_service.setup import BackupServicePorts
    from sharekeeper.backup_service.web_exchanges import WebPorts

_LOG: Final = logging.getLogger(__name__)
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
    asyncio.run(until_signal(_backup_service(config, keys)))


def run_node_agent(config_path: Path, *, json_logs: bool = False) -> None:
    """The node agent has run until SIGTERM or SIGINT; the MPC node is left as it is. Raises as `run_backup_service`."""
    config = load_node_agent(config_path)
    keys = load_node_keys(config.keys_dir)
    configure_logs(as_json=json_logs)
    asyncio.run(until_signal(_node_agent(config, keys)))


# --- backup service ----------------------------------------------------------------------------------


async def _backup_service(config: BackupServiceConfig, keys: BackupServiceKeyFiles) -> None:
    from sharekeeper.backup_service.quorum_report import SINGLE_ENDPOINT  # noqa: PLC0415
    from sharekeeper.backup_service.service import BackupService  # noqa: PLC0415
    from sharekeeper.backup_service.setup import BackupServiceSettings  # noqa: PLC0415

    async with contextlib.AsyncExitStack() as stack:
        base = await _lay(stack, config, "backup_service_status")
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
        if service.endpoints.alone:
            log_event(_LOG, logging.WARNING, SINGLE_ENDPOINT)
        await run_service(base, service)


async def _backup_service_ports(
    stack: contextlib.AsyncExitStack, config: BackupServiceConfig, keys: BackupServiceKeyFiles, base: Foundation
) -> "BackupServicePorts":
    """The adapters of the backup service; the vault is locked until `stack` unwinds. Raises as the vault does."""
    from sharekeeper.adapters.approvals import DirectoryApprovalStore, DirectoryOverrideStore  # noqa: PLC0415
    from sharekeeper.adapters.vault import AgeVault  # noqa: PLC0415
    from sharekeeper.backup_service.setup import BackupServicePorts  # noqa: PLC0415
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


async def _truth(stack: contextlib.AsyncExitStack, config: BackupServiceConfig, base: Foundation) -> "QuorumReader":
    """All endpoints of the configuration; those beside the own node are closed when `stack` unwinds."""
    from sharekeeper.adapters.quorum import QuorumReader, endpoints_of  # noqa: PLC0415

    endpoints = await stack.enter_async_context(
        endpoints_of(config.near, base.rpc, base.network.genesis_hash, base.clock)
    )
    return QuorumReader(endpoints, quorum=config.near.quorum, account_id=config.account_id, clock=base.clock)


def _web_ports(config: BackupServiceConfig, keys: BackupServiceKeyFiles, base: Foundation) -> "WebPorts":
    from sharekeeper.adapters.web_client import WebClient  # noqa: PLC0415
    from sharekeeper.backup_service.web_exchanges import WebPorts  # noqa: PLC0415

    client = WebClient(keys.tls, base.clock)
    return WebPorts(web=client, tls=keys.tls, port=config.node_web_port, node_url=config.node_web_url)


# --- node agent --------------------------------------------------------------------------------------


async def _node_agent(config: NodeAgentConfig, keys: NodeKeyFiles) -> None:
    from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore  # noqa: PLC0415
    from sharekeeper.adapters.supervisor import CommandSupervisor  # noqa: PLC0415
    from sharekeeper.node_agent.agent import NodeAgent, NodeAgentPorts, NodeAgentSettings  # noqa: PLC0415

    async with contextlib.AsyncExitStack() as stack:
        base = await _lay(stack, config, "node_agent_status")
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
        public_data = partial(public_keys_of, keys.tls, keys.account)
        await run_agent(stack, base, agent, keys.tls, listen=config.listen, public_data=public_data)


# --- both --------------------------------------------------------------------------------------------


async def _lay(
    stack: contextlib.AsyncExitStack, config: BackupServiceConfig | NodeAgentConfig, kind: str
) -> Foundation:
    return await Foundation.lay(
        stack,
        config.near,
        state_dir=config.state_dir,
        health_address=config.health_address,
        kind=kind,
        attested=False,
    )
