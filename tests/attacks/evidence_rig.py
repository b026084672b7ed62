"""Both sides of version 1 in hard launch: the product's exchanges and sessions, with a wire between them.

Vault, key-share directory and state machines are real; chain, clock, wire and TEEs do what a test says.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.adapters.vault import AgeVault
from sharekeeper.backup_service.exchanges import Exchanges
from sharekeeper.domain.identity import Role
from sharekeeper.errors import SharekeeperError
from sharekeeper.mutual_attestation import MutualAttestation
from sharekeeper.node_agent.sessions import Sessions
from sharekeeper.protocol.messages import decode_message
from sharekeeper.protocol.monitoring import HandOut
from sharekeeper.reconcile import ChainWatch, Faults
from sharekeeper.secret import Secret
from tests.integration.wires import wire
from tests.protocol.attestation_values import TestTee, stamped
from tests.protocol.exchange_values import ALICE, BACKUP_SERVICE, KEYSET, NETWORK, NODE, SHARES, STRANGER
from tests.unit.simulators import ManualClock, PlainMemory, SimulatedChain
from tests.unit.vault_values import RECIPIENTS, SERVICE_IDENTITY, SIGNING_KEY

from .web_rig import FETCH, RECORD, RECOVERY, RUNNING

HAND_OUT = HandOut(recovery=RECOVERY, backup_id=KEYSET.backup_id(NETWORK, ALICE))
PRIVATE = SHARES[0].private_share.reveal().hex().encode()
ATTESTED_RECORD = replace(RECORD, evidence=stamped(NODE.tls_key, BACKUP_SERVICE.tls_key))


@dataclass
class Machine:
    """One side: its TEE, the faults its health would show, and what it demands of its peer."""

    role: Role
    chain: SimulatedChain
    tee: TestTee = field(init=False)

    def __post_init__(self) -> None:
        clock = self.chain.clock
        self.tee = TestTee(self.role, clock)
        self.faults = Faults(clock)
        self.watch = ChainWatch(self.chain, clock)
        self.attestation: MutualAttestation | None = MutualAttestation(
            self.tee,
            account_id=ALICE,
            chain=self.chain,
            look=self.watch.look,
            clock=clock,
            faults=self.faults,
        )

    @property
    def alarms(self) -> list[str]:
        return [fault.message for fault in self.faults.current() if fault.alarm]


class EvidenceRig:
    """A node and its backup service. `serve` may be replaced by one that lies."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.chain = SimulatedChain(self.clock, RUNNING, ATTESTED_RECORD)
        self.node, self.service = Machine(Role.NODE, self.chain), Machine(Role.BACKUP_SERVICE, self.chain)
        self.store = DirectoryKeyShareStore(directory / "keyshares")
        self.vault = AgeVault(
            directory / "vault",
            state_dir=directory / "state",
            network=NETWORK,
            account_id=ALICE,
            recipients=RECIPIENTS,
            identity=Secret(SERVICE_IDENTITY.encode()),
            signing_key=SIGNING_KEY,
            clock=self.clock,
        )
        self.serve = None
        self.sent_by_node: list[bytes] = []
        self.sent_by_service: list[bytes] = []
        self.node_faults: list[SharekeeperError] = []
        self.released: list[object] = []
        self.before_release = lambda: None
        self._tasks: list[asyncio.Task] = []

    def sessions(self) -> Sessions:
        return Sessions(
            account_id=ALICE,
            network=NETWORK,
            tls_key=NODE.tls_key,
            store=self.store,
            memory=PlainMemory(),
            look=self.node.watch.look,
            attestation=self.node.attestation,
        )

    async def connect(self, _host, _port, peer):
        service, node = wire(BACKUP_SERVICE.tls_key, peer)
        service.sent, node.sent = self.sent_by_service, self.sent_by_node
        self._tasks.append(asyncio.create_task(self._serve(node)))
        return service

    async def _serve(self, channel) -> None:
        try:
            await (self.serve or self.sessions().serve)(channel)
        except SharekeeperError as fault:
            self.node_faults.append(fault)

    def exchanges(self) -> Exchanges:
        return Exchanges(
            account_id=ALICE,
            network=NETWORK,
            tls_key=BACKUP_SERVICE.tls_key,
            vault=self.vault,
            connect=self.connect,
            node_agent_port=1,
            attestation=self.service.attestation,
        )

    async def fetch(self):
        await self.store.store_permanent(KEYSET, SHARES)
        try:
            return await self.exchanges().fetch(FETCH)
        finally:
            await self.settle()

    async def hand_out(self) -> None:
        await self.vault.store(KEYSET, SHARES, STRANGER.tls_key)
        self.chain.state = RECOVERY
        self.chain.height += 1
        try:
            await self.exchanges().hand_out(HAND_OUT, self.release)
        finally:
            await self.settle()

    async def release(self, peer) -> None:
        self.released.append(peer)
        self.before_release()

    async def settle(self) -> None:
        """The node's side is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(*self._tasks)

    def no_share_left(self) -> bool:
        return not any(PRIVATE in frame for frame in self.sent_by_node + self.sent_by_service)

    def kinds(self) -> list[tuple[str, str]]:
        """Who sent which messages: of the node first, then of the backup service."""
        return [
            (who, type(decode_message(frame)).__name__)
            for who, sent in (("node", self.sent_by_node), ("service", self.sent_by_service))
            for frame in sent
        ]
