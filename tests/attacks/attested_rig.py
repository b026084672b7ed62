"""Both sides of an exchange in hard launch: real TLS, real guest agents, PCCS, quotes and checks; a simulated chain.

Either side may be the attacker's: then its port `Attestation` is a `Forger`, which shows what the attack says and
takes whatever it is shown.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.adapters.memory_vault import MemoryVault
from sharekeeper.adapters.tls_channel import connect
from sharekeeper.backup_service.exchanges import Exchanges
from sharekeeper.domain.identity import Role
from sharekeeper.errors import SharekeeperError
from sharekeeper.mutual_attestation import MutualAttestation
from sharekeeper.node_agent.sessions import Sessions
from sharekeeper.ports import Attestation
from sharekeeper.protocol.monitoring import FetchShares, HandOut
from sharekeeper.reconcile import ChainWatch, Faults
from tests.attestation.machines import Machine, allowed_code
from tests.attestation.rack import RunningRack, running_rack
from tests.protocol.attestation_values import stamped, verdict
from tests.protocol.exchange_values import ALICE, BACKUP_SERVICE, KEYSET, NETWORK, NODE, SHARES
from tests.unit.simulators import PlainMemory, SimulatedChain

from .channels import node
from .web_rig import INFO, RECORD, RECOVERY, RUNNING

KEYS = {Role.NODE: NODE, Role.BACKUP_SERVICE: BACKUP_SERVICE}
FAR_S = 10**12


class MovableClock(SystemClock):
    """The system's, `ahead_seconds` ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_seconds = 0.0

    def wall_ns(self):
        return super().wall_ns() + int(self.ahead_seconds * 10**9)


class VotedChain(SimulatedChain):
    """The operators voted for `allowed`; both machines have valid stamps unless the record says otherwise."""

    def __init__(self, allowed) -> None:
        super().__init__(
            SystemClock(), RUNNING, replace(RECORD, evidence=stamped(NODE.tls_key, BACKUP_SERVICE.tls_key))
        )
        self.allowed = allowed

    async def allowed_code(self, _at):
        return self.allowed


class Forger(Attestation):
    """A machine of the attacker's: `shows(report_data, seen)` is its evidence, `seen` what it was shown last."""

    def __init__(self, shows) -> None:
        self.shows, self.seen = shows, None

    async def prove(self, report_data):
        return self.shows(report_data, self.seen)

    async def check(self, evidence, *, role, report_data, at):
        self.seen = evidence
        return verdict(role, expires_at_s=FAR_S)


class Recorder(Attestation):
    """An honest machine that remembers what it showed and was shown."""

    def __init__(self, real: Attestation) -> None:
        self.real, self.made, self.shown = real, [], []

    async def prove(self, report_data):
        self.made.append(await self.real.prove(report_data))
        return self.made[-1]

    async def check(self, evidence, *, role, report_data, at):
        self.shown.append(evidence)
        return await self.real.check(evidence, role=role, report_data=report_data, at=at)


class WatchedStore(DirectoryKeyShareStore):
    """Counts who reads the shares; `before_read` may act first."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.reads = 0
        self.before_read: Callable[[], None] = lambda: None

    async def read(self, keyset):
        self.reads += 1
        self.before_read()
        return await super().read(keyset)


class WatchedVault(MemoryVault):
    """Counts how often a backup was opened to be sent; `before_open` may act first."""

    opened = 0

    def before_open(self) -> None: ...

    async def open(self, backup_id):
        self.opened += 1
        self.before_open()
        return await super().open(backup_id)


class Rig:
    """A node that holds its shares, and a backup service; both on one rack."""

    def __init__(self, rack: RunningRack, directory: Path) -> None:
        self.rack, self.directory = rack, directory
        self.machines = {role: self.machine(role) for role in Role}
        self.chain = VotedChain(allowed_code(*self.machines.values()))
        self.clock = MovableClock()
        self.attestations: dict[Role, Attestation] = {}
        self.mutual: dict[Role, MutualAttestation | None] = {}
        self.store = WatchedStore(directory / "keyshares")
        self.vault = WatchedVault(network=NETWORK, account_id=ALICE, clock=self.clock, entropy=lambda size: b"e" * size)
        self.released = 0
        self.node_faults: list[SharekeeperError] = []

    def machine(self, role: Role, **settings) -> Machine:
        """A machine with the TLS key of that side."""
        made = Machine(intel=self.rack.intel, **{"role": role, "network": NETWORK, **settings})
        made.tls = KEYS[role]
        return made

    async def prepare(self) -> None:
        for role, machine in self.machines.items():
            self.use(role, await self.rack.attestation(machine, self.chain))
        await self.store.store_permanent(KEYSET, SHARES)
        self.backup = await self.vault.store(KEYSET, SHARES, NODE.tls_key)

    def use(self, role: Role, attestation: Attestation | None) -> None:
        """That side proves and checks with this port; None: it runs the soft launch."""
        if attestation is None:
            self.mutual[role] = None
            return
        self.attestations[role] = attestation
        self.mutual[role] = MutualAttestation(
            attestation,
            account_id=ALICE,
            chain=self.chain,
            look=ChainWatch(self.chain, SystemClock()).look,
            clock=self.clock,
            faults=Faults(self.clock),
        )

    def refusals(self, role: Role) -> dict[str, int]:
        """By which checks that side refused its peer."""
        return self.mutual[role].refused_total

    async def fetch(self, vault=None):
        """The backup service fetches a backup from the node."""
        async with self._met() as exchanges:
            return await exchanges(vault or self.vault).fetch(FetchShares(keyset=KEYSET, node=INFO))

    async def hand_out(self) -> None:
        """The backup service hands the shares to the node, which recovers."""
        self.chain.state = RECOVERY

        async def release(_verdict):
            self.released += 1

        async with self._met() as exchanges:
            await exchanges(self.vault).hand_out(HandOut(recovery=RECOVERY, backup_id=self.backup.backup_id), release)

    @asynccontextmanager
    async def _met(self):
        sessions = Sessions(
            account_id=ALICE,
            network=NETWORK,
            tls_key=NODE.tls_key,
            store=self.store,
            memory=PlainMemory(),
            look=ChainWatch(self.chain, SystemClock()).look,
            attestation=self.mutual[Role.NODE],
        )
        served = asyncio.Event()

        async def serve(channel):
            try:
                await sessions.serve(channel)
            except SharekeeperError as fault:
                self.node_faults.append(fault)
                raise
            finally:
                served.set()

        async with node(handler=serve) as listening:

            async def dial(host, _port, peer):
                return await connect(host, listening.port, BACKUP_SERVICE, peer)

            def exchanges(vault):
                return Exchanges(
                    account_id=ALICE,
                    network=NETWORK,
                    tls_key=BACKUP_SERVICE.tls_key,
                    vault=vault,
                    connect=dial,
                    node_agent_port=listening.port,
                    attestation=self.mutual[Role.BACKUP_SERVICE],
                )

            try:
                yield exchanges
            finally:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(served.wait(), 5)

    def empty_vault(self) -> WatchedVault:
        return WatchedVault(network=NETWORK, account_id=ALICE, clock=self.clock, entropy=lambda size: b"v" * size)


@asynccontextmanager
async def attested_rig(directory: Path) -> AsyncIterator[Rig]:
    """Both machines are on the rack, voted for, and stamped on the contract."""
    async with running_rack(directory) as rack:
        rig = Rig(rack, directory)
        await rig.prepare()
        yield rig
