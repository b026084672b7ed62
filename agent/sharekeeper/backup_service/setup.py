"""What a backup service is told and given, and the parts it makes of that."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sharekeeper.backup_service.copies import Copies, NewestViews
from sharekeeper.backup_service.endpoints import ReleaseGate
from sharekeeper.backup_service.exchanges import Exchanges
from sharekeeper.backup_service.sibling import Sibling, SiblingSettings
from sharekeeper.backup_service.web_exchanges import WebExchanges, WebPorts
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import AccountId, NetworkId
from sharekeeper.domain.protocol_state import BackupServiceKeys
from sharekeeper.errors import ConfigInvalid
from sharekeeper.mutual_attestation import MutualAttestation
from sharekeeper.ports import (
    ApprovalStore,
    Attestation,
    ChainReader,
    ChainTruth,
    Clock,
    Connect,
    ContractCaller,
    OverrideStore,
    Vault,
)
from sharekeeper.protocol.monitoring import Holdings
from sharekeeper.protocol.onboarding import Stamp
from sharekeeper.protocol.policy import HandOutPolicy
from sharekeeper.reconcile import ChainWatch, Faults, Memory

Verify = Callable[[], Awaitable[Sequence[str]]]
"""Opens every backup; returns one sentence for each problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupServiceSettings:
    """What the operator decided. Durations in seconds."""

    account_id: AccountId
    network: NetworkId
    own: BackupServiceKeys
    policy: HandOutPolicy
    node_agent_port: int
    grace_seconds: float
    slot: int = 0
    """Where it registers while no slot has its TLS key."""
    stamp: Stamp | None = None
    """Of the own evidence; None: soft launch, which names none."""
    sibling: SiblingSettings | None = None
    """Where the account's other backup service is, which gives and gets copies; hard launch alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupServicePorts:
    """What the service works with."""

    chain: ChainReader
    """The own node: the loop, and everything but releases, rests on it alone."""
    truth: ChainTruth
    """All endpoints: releases rest on their quorum."""
    overrides: OverrideStore
    caller: ContractCaller
    vault: Vault
    verify_vault: Verify
    approvals: ApprovalStore
    memory: Memory
    connect: Connect
    clock: Clock
    web: WebPorts | None = None
    """Not None: version 2 is spoken, and `connect` is never used."""
    attestation: Attestation | None = None
    """None: soft launch, in which no machine shows evidence (`unsafe_no_attestation`)."""


class Parts:
    """Makes what a service exchanges key shares with. Raises `ConfigInvalid` if the policy is not that of the launch."""

    def __init__(
        self, settings: BackupServiceSettings, ports: BackupServicePorts, watch: ChainWatch, faults: Faults
    ) -> None:
        _check_launch(settings, ports.attestation)
        self._settings = settings
        self._ports = ports
        self._watch = watch
        self.attestation: Final = None if ports.attestation is None else self._mutual(ports.attestation, faults)
        self._faults = faults

    def exchanges(self) -> Exchanges | WebExchanges:
        """Those with the node, of the version that is spoken."""
        if self._ports.web is not None:
            return self._web_exchanges(self._ports.web)
        return Exchanges(
            account_id=self._settings.account_id,
            network=self._settings.network,
            tls_key=self._settings.own.tls_public_key,
            vault=self._ports.vault,
            connect=self._ports.connect,
            node_agent_port=self._settings.node_agent_port,
            attestation=self.attestation,
        )

    def sibling(
        self, gate: ReleaseGate, holdings: Callable[[], Holdings], current: Callable[[], StoredBackup | None]
    ) -> Sibling | None:
        """The account's other backup service; None where its address is not known, which it never is in soft launch."""
        settings, attestation = self._settings.sibling, self.attestation
        if settings is None or attestation is None:
            return None
        copies = Copies(
            account_id=self._settings.account_id,
            network=self._settings.network,
            tls_key=self._settings.own.tls_public_key,
            address=settings.address,
            vault=self._ports.vault,
            holdings=holdings,
            connect=self._ports.connect,
            views=NewestViews(self._watch, self._ports.chain, self._settings.account_id),
            gate=gate,
            attestation=attestation,
        )
        return Sibling(
            settings, copies, watch=self._watch, clock=self._ports.clock, faults=self._faults, current=current
        )

    def _web_exchanges(self, web: WebPorts) -> WebExchanges:
        return WebExchanges(
            account_id=self._settings.account_id,
            network=self._settings.network,
            vault=self._ports.vault,
            chain=self._ports.chain,
            caller=self._ports.caller,
            watch=self._watch,
            clock=self._ports.clock,
            ports=web,
            attestation=self.attestation,
        )

    def _mutual(self, attestation: Attestation, faults: Faults) -> MutualAttestation:
        return MutualAttestation(
            attestation,
            account_id=self._settings.account_id,
            chain=self._ports.chain,
            look=self._watch.look,
            clock=self._ports.clock,
            faults=faults,
        )


def _check_launch(settings: BackupServiceSettings, attestation: Attestation | None) -> None:
    if (settings.policy is HandOutPolicy.ATTESTED) is (attestation is None):
        raise ConfigInvalid(
            f'policy "{settings.policy}" is not for this launch: where machines show evidence it is '
            f'"{HandOutPolicy.ATTESTED}" and no other, and nowhere else'
        )
    if settings.sibling is not None and attestation is None:
        raise ConfigInvalid("copies are for machines that show evidence: remove the sibling's address")
