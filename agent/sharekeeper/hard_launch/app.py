"""The hard launch: the only place that knows both its daemons and the adapters. Reads, wires, runs, ends.

Everything that decides comes from the measured configuration, from the contract as the NEAR node inside the TEE shows
it, and from the TEE itself. What only one daemon needs is imported where it is wired.
"""

import asyncio
import contextlib
import os
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sharekeeper.adapters.attestation import TeeAttestation
from sharekeeper.adapters.collateral import CollateralSource
from sharekeeper.adapters.dstack import SOCKET_PATHS, GuestAgent
from sharekeeper.adapters.memory import FileMemory
from sharekeeper.adapters.tls_channel import ChannelListener, connect
from sharekeeper.attestation.compose_file import STATE_PATH
from sharekeeper.attestation.policy import AttestationPolicy, Rendered
from sharekeeper.attestation.report_data import registration_report_data
from sharekeeper.attesting import Attesting, AttestingSettings
from sharekeeper.config_values import Transfer
from sharekeeper.domain.attestation import VaultKind
from sharekeeper.domain.identity import Role, TlsKey
from sharekeeper.domain.protocol_state import BackupServiceKeys, NodeKeys, ParticipantInfo
from sharekeeper.foundation import Foundation, public_keys_of, run_agent, run_service, until_signal, web_server
from sharekeeper.hard_launch.config import (
    BackupServiceAddresses,
    MeasuredConfig,
    NodeAddresses,
    load_backup_service_addresses,
    load_measured,
    load_node_addresses,
)
from sharekeeper.hard_launch.public import NoExchanges
from sharekeeper.keys import NodeKeyFiles, generate, load_node_keys
from sharekeeper.ops.logs import configure_logs
from sharekeeper.ports import Channel, NodeSupervisor
from sharekeeper.protocol.policy import HandOutPolicy
from sharekeeper.spec import OLD_KEYSET_GRACE_SECONDS

if TYPE_CHECKING:
    from sharekeeper.adapters.veto import VetoReader
    from sharekeeper.backup_service.setup import BackupServicePorts, Verify
    from sharekeeper.backup_service.sibling import SiblingSettings
    from sharekeeper.backup_service.web_exchanges import WebPorts
    from sharekeeper.ports import Vault

_MPC: Final = "mpc"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """What is around the daemon: its measured configuration, and the TEE it runs in."""

    measured: MeasuredConfig
    home: Path
    guest: GuestAgent
    root_ca: bytes | None

    @property
    def state_dir(self) -> Path:
        return self.home / "state"


def run(
    measured: Path,
    addresses: Path,
    *,
    json_logs: bool = True,
    home: Path = Path(STATE_PATH),
    guest_agent_socket: Path | None = None,
    root_ca: bytes | None = None,
    supervisor: NodeSupervisor | None = None,
) -> None:
    """The daemon of the measured role has run until SIGTERM or SIGINT. Its keys are made at the first start.

    What follows `json_logs` is for rehearsals, and nothing in the image passes it: a machine in production keeps its
    files in the volume of the compose file, finds the guest agent where dstack has it, trusts Intel's root alone, and
    starts and stops the MPC node through the container engine beside it.

    Args:
        measured: the measured configuration.
        addresses: the user-config, which nobody measures.
        json_logs: log lines are JSON.
        home: directory on the encrypted disk.
        guest_agent_socket: the guest agent's socket.
        root_ca: the certificate (DER) of another root than Intel's.
        supervisor: starts and stops the MPC node.

    Raises:
        ConfigInvalid, KeysMissing, KeysExist: before anything starts.
        AlreadyRunning: another process holds its directory.
        AddressInUse, WrongNetwork, HostFault: it cannot start.
    """
    work = daemon(
        measured,
        addresses,
        home=home,
        guest_agent_socket=guest_agent_socket,
        root_ca=root_ca,
        supervisor=supervisor,
    )
    configure_logs(as_json=json_logs)
    asyncio.run(until_signal(work))


def daemon(
    measured: Path,
    addresses: Path,
    *,
    home: Path,
    guest_agent_socket: Path | None,
    root_ca: bytes | None,
    supervisor: NodeSupervisor | None,
) -> Coroutine[Any, Any, None]:
    """The daemon of the measured role, to be run until cancelled; nothing but the two files was read. As `run`."""
    config = load_measured(measured)
    machine = _Machine(
        measured=config,
        home=home,
        guest=GuestAgent(SOCKET_PATHS if guest_agent_socket is None else (guest_agent_socket,)),
        root_ca=root_ca,
    )
    if config.role is Role.NODE:
        return _node_agent(machine, load_node_addresses(addresses, config.transfer), supervisor)
    return _backup_service(machine, load_backup_service_addresses(addresses, config))


def _keys(directory: Path) -> NodeKeyFiles:
    """The TLS key and the account key, made here if there are none. A backup service has no more: its vault's are the TEE's."""
    generate(directory, Role.NODE)
    return load_node_keys(directory)


# --- both --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attested:
    """A machine that attests itself: what its daemon is wired to."""

    base: Foundation
    keys: NodeKeyFiles
    attestation: TeeAttestation
    attesting: Attesting

    def public_data(self) -> Mapping[str, Any]:
        """The public keys, and the evidence over them."""
        return {**public_keys_of(self.keys.tls, self.keys.account), **self.attesting.public_data()}


async def _attested(
    stack: contextlib.AsyncExitStack,
    machine: _Machine,
    addresses: NodeAddresses | BackupServiceAddresses,
    keys: NodeKeyFiles,
) -> _Attested:
    """The foundation is laid, and the TEE is ready to prove and to check. Raises as `Foundation.lay`."""
    measured = machine.measured
    base = await Foundation.lay(
        stack,
        measured.near,
        state_dir=machine.state_dir,
        health_address=addresses.health_address,
        kind="node_agent_status" if measured.role is Role.NODE else "backup_service_status",
        attested=True,
    )
    collateral = CollateralSource(
        addresses.pccs, machine.home / "collateral", clock=base.clock, root_ca=machine.root_ca
    )
    attestation = TeeAttestation(
        guest=machine.guest,
        collateral=collateral,
        chain=base.rpc,
        policies=_policies(measured),
        clock=base.clock,
        root_ca=machine.root_ca,
    )
    attesting = Attesting(
        AttestingSettings(
            role=measured.role,
            report_data=registration_report_data(keys.tls.tls_key, keys.account.signer_key),
            reattest_seconds=measured.parameters.reattest_seconds,
            validity_seconds=measured.parameters.evidence_validity_seconds,
        ),
        attestation=attestation,
        announce=partial(attestation.announce_image, measured.role, measured.image),
        collateral=collateral,
        chain=base.rpc,
        clock=base.clock,
    )
    return _Attested(base=base, keys=keys, attestation=attestation, attesting=attesting)


def _policies(measured: MeasuredConfig) -> Mapping[Role, AttestationPolicy]:
    """Every machine of the account must have been measured with the same configuration; a backup service its own vault."""
    policy = AttestationPolicy(
        compose=Rendered(parameters=replace(measured.parameters, vault=None, slot=None)),
        accepted_advisories=measured.parameters.accepted_advisories,
        evidence_validity_seconds=measured.parameters.evidence_validity_seconds,
    )
    return dict.fromkeys(Role, policy)


async def _show_publicly(
    stack: contextlib.AsyncExitStack, one: _Attested, addresses: NodeAddresses | BackupServiceAddresses
) -> None:
    """The public data is shown at `public_listen` until `stack` unwinds. Raises `AddressInUse`."""
    server = web_server(one.base, addresses.public_listen, one.keys.tls, NoExchanges(), one.public_data)
    await server.start()
    stack.push_async_callback(server.stop)


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    """All of `works` run, none of which returns, until the first that fails. Raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


# --- backup service ----------------------------------------------------------------------------------


async def _backup_service(machine: _Machine, addresses: BackupServiceAddresses) -> None:
    from sharekeeper.backup_service.service import BackupService  # noqa: PLC0415
    from sharekeeper.backup_service.setup import BackupServiceSettings  # noqa: PLC0415

    parameters, keys = machine.measured.parameters, _keys(machine.home / "keys")
    async with contextlib.AsyncExitStack() as stack:
        one = await _attested(stack, machine, addresses, keys)
        settings = BackupServiceSettings(
            account_id=parameters.account_id,
            network=one.base.network,
            own=BackupServiceKeys(tls_public_key=keys.tls.tls_key, signer_key=keys.account.signer_key),
            policy=HandOutPolicy.ATTESTED,
            node_agent_port=addresses.node_agent_port,
            grace_seconds=OLD_KEYSET_GRACE_SECONDS,
            slot=parameters.slot or 0,
            stamp=one.attesting.stamp,
            sibling=_sibling(addresses, parameters.vault),
        )
        service = BackupService(settings, await _backup_service_ports(stack, machine, addresses, one))
        await _show_publicly(stack, one, addresses)
        works = [run_service(one.base, service), one.attesting.run(service.faults)]
        if service.sibling is not None:
            listen, sibling = addresses.listen, service.sibling
            listener = ChannelListener(listen.host, listen.port, keys.tls, sibling.expected_peers, sibling.serve)
            await listener.start()
            stack.push_async_callback(listener.stop)
            works.append(sibling.run(listener))
        await _together(*works)


def _sibling(addresses: BackupServiceAddresses, vault: VaultKind | None) -> "SiblingSettings | None":
    """Where the account's other backup service is; to a vault in memory it is indispensable."""
    from sharekeeper.backup_service.sibling import SiblingSettings  # noqa: PLC0415

    if addresses.sibling is None:
        return None
    return SiblingSettings(address=addresses.sibling, demanded=vault is VaultKind.MEMORY)


async def _backup_service_ports(
    stack: contextlib.AsyncExitStack, machine: _Machine, addresses: BackupServiceAddresses, one: _Attested
) -> "BackupServicePorts":
    """The adapters of the backup service; the vault is held until `stack` unwinds. Raises as the vault does."""
    from sharekeeper.backup_service.setup import BackupServicePorts  # noqa: PLC0415
    from sharekeeper.hard_launch.consent import NoApprovals, NoOverrides  # noqa: PLC0415

    async def dial(host: str, port: int, peer: TlsKey) -> Channel:
        return await connect(host, port, one.keys.tls, peer)

    vault, verify = await _vault(stack, machine, one)
    measured, base = machine.measured, one.base
    return BackupServicePorts(
        chain=base.rpc,
        truth=await _truth(stack, measured, addresses, base),
        overrides=NoOverrides(),
        caller=base.caller(measured.parameters.account_id, one.keys.account),
        vault=vault,
        verify_vault=verify,
        approvals=NoApprovals(),
        memory=FileMemory(machine.state_dir, one.keys.tls.tls_key),
        connect=dial,
        clock=base.clock,
        web=_web_ports(addresses, one) if measured.transfer is Transfer.WEB else None,
        attestation=one.attestation,
    )


async def _vault(stack: contextlib.AsyncExitStack, machine: _Machine, one: _Attested) -> "tuple[Vault, Verify]":
    """The vault of the measured kind, and what verifies it. Nobody outside this TEE can open a backup of either kind.

    Raises:
        AttestationUnavailable: `sealed`, and the TEE does not derive the keys.
        AlreadyRunning, StoreFailed: as the vault.
    """
    if machine.measured.parameters.vault is VaultKind.MEMORY:
        from sharekeeper.adapters.memory_vault import MemoryVault  # noqa: PLC0415

        held = MemoryVault(
            network=one.base.network,
            account_id=machine.measured.parameters.account_id,
            clock=one.base.clock,
            entropy=os.urandom,
        )
        return held, held.verify
    return await _sealed_vault(stack, machine, one)


async def _sealed_vault(stack: contextlib.AsyncExitStack, machine: _Machine, one: _Attested) -> "tuple[Vault, Verify]":
    from sharekeeper.adapters.tee_keys import vault_identity, vault_signing_key  # noqa: PLC0415
    from sharekeeper.adapters.vault import AgeVault  # noqa: PLC0415
    from sharekeeper.adapters.vault_writer import SealedTo  # noqa: PLC0415
    from sharekeeper.crypto.sealing import recipient_of  # noqa: PLC0415

    account_id, network = machine.measured.parameters.account_id, one.base.network
    identity = await vault_identity(machine.guest, network, account_id)
    vault = AgeVault(
        machine.home / "vault",
        state_dir=machine.state_dir,
        network=network,
        account_id=account_id,
        recipients=(recipient_of(identity),),
        identity=identity,
        signing_key=await vault_signing_key(machine.guest, network, account_id),
        clock=one.base.clock,
        sealed_to=SealedTo.TEE_ALONE,
    )
    await asyncio.to_thread(vault.acquire)
    stack.callback(vault.close)

    async def verify() -> Sequence[str]:
        report = await asyncio.to_thread(vault.verify, deep=True)
        return [f"{finding.entry}: {finding.detail}" for finding in report.problems]

    return vault, verify


async def _truth(
    stack: contextlib.AsyncExitStack, measured: MeasuredConfig, addresses: BackupServiceAddresses, base: Foundation
) -> "VetoReader":
    """The own node decides; endpoints outside, which may only veto, are closed when `stack` unwinds."""
    from sharekeeper.adapters.quorum import endpoints_of  # noqa: PLC0415
    from sharekeeper.adapters.veto import VetoReader  # noqa: PLC0415

    near = replace(measured.near, endpoints=addresses.endpoints)
    endpoints = await stack.enter_async_context(endpoints_of(near, base.rpc, near.genesis_hash, base.clock))
    return VetoReader(endpoints, account_id=measured.parameters.account_id, clock=base.clock)


def _web_ports(addresses: BackupServiceAddresses, one: _Attested) -> "WebPorts":
    from sharekeeper.adapters.web_client import WebClient  # noqa: PLC0415
    from sharekeeper.backup_service.web_exchanges import WebPorts  # noqa: PLC0415

    client = WebClient(one.keys.tls, one.base.clock)
    return WebPorts(web=client, tls=one.keys.tls, port=addresses.node_web_port, node_url=addresses.node_web_url)


# --- node agent --------------------------------------------------------------------------------------


async def _node_agent(machine: _Machine, addresses: NodeAddresses, supervisor: NodeSupervisor | None) -> None:
    from sharekeeper.adapters.containers import ContainerSupervisor  # noqa: PLC0415
    from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore  # noqa: PLC0415
    from sharekeeper.node_agent.agent import NodeAgent, NodeAgentPorts, NodeAgentSettings  # noqa: PLC0415

    shared = machine.home / _MPC
    account_id, keys = machine.measured.parameters.account_id, _keys(shared / "keys")
    async with contextlib.AsyncExitStack() as stack:
        one = await _attested(stack, machine, addresses, keys)
        info = ParticipantInfo(url=addresses.url, tls_public_key=keys.tls.tls_key)
        own = NodeKeys(info=info, signer_key=keys.account.signer_key)
        agent = NodeAgent(
            NodeAgentSettings(account_id=account_id, network=one.base.network, own=own, stamp=one.attesting.stamp),
            NodeAgentPorts(
                chain=one.base.rpc,
                caller=one.base.caller(account_id, keys.account),
                store=DirectoryKeyShareStore(shared / "keyshares"),
                supervisor=supervisor or ContainerSupervisor(),
                memory=FileMemory(machine.state_dir, keys.tls.tls_key),
                clock=one.base.clock,
                web_identity=keys.tls if machine.measured.transfer is Transfer.WEB else None,
                attestation=one.attestation,
            ),
        )
        if agent.web is None:
            await _show_publicly(stack, one, addresses)
        await _together(
            run_agent(stack, one.base, agent, keys.tls, listen=addresses.listen, public_data=one.public_data),
            one.attesting.run(agent.faults),
        )
