"""The TEE host stand-in inside a test's process: machines with guest agents on sockets, and PCCSs."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from sharekeeper.adapters.attestation import TeeAttestation
from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.collateral import CollateralSource
from sharekeeper.adapters.dstack import GuestAgent
from sharekeeper.attestation.compose_file import ComposeParameters
from sharekeeper.attestation.policy import AttestationPolicy, Rendered
from sharekeeper.domain.identity import Role
from sharekeeper_devnet.tee.guest_agent import GuestAgentServer
from sharekeeper_devnet.tee.pccs import Mood, Pccs
from sharekeeper_devnet.tee.pki import MockIntel
from tests.attestation.machines import Machine


class RunningRack:
    """What runs is stopped at the end of the test. `pccs`: the honest one that machines ask unless told."""

    def __init__(self, directory: Path, stack: AsyncExitStack) -> None:
        self.intel = MockIntel.create(int(time.time()), seed=b"a rack in a test")
        self.pccs: Pccs
        self.pccs_url = ""
        self._directory = directory
        self._stack = stack
        self._sockets = 0

    async def start_pccs(self, mood=Mood.HONEST):
        """Another PCCS and its URL."""
        pccs = Pccs(self.intel, mood=mood)
        url = await pccs.start()
        self._stack.push_async_callback(pccs.stop)
        return pccs, url

    async def socket(self, machine: Machine) -> Path:
        """A socket of the machine's guest agent; it answers for `machine.guest` of the moment."""
        self._sockets += 1
        path = self._directory / f"{self._sockets}.sock"
        server = GuestAgentServer(path, lambda: machine.guest)
        await server.start()
        self._stack.push_async_callback(server.stop)
        return path

    async def attestation(self, machine: Machine, chain, *, pccs_urls=None, **deadlines) -> TeeAttestation:
        """The port of that machine, as it runs in production but for the root."""
        clock = SystemClock()
        source = CollateralSource(
            [self.pccs_url] if pccs_urls is None else pccs_urls,
            self._directory / f"collateral-{self._sockets}-{machine.name}",
            clock=clock,
            root_ca=self.intel.root_ca,
            **deadlines,
        )
        common = ComposeParameters(
            account_id=machine.account_id, network=machine.network, transfer=machine.parameters.transfer
        )
        policy = AttestationPolicy(compose=Rendered(parameters=common))
        return TeeAttestation(
            guest=GuestAgent((await self.socket(machine),)),
            collateral=source,
            chain=chain,
            policies=dict.fromkeys(Role, policy),
            clock=clock,
            root_ca=self.intel.root_ca,
        )


@asynccontextmanager
async def running_rack(directory: Path) -> AsyncIterator[RunningRack]:
    """A rack with an honest PCCS."""
    async with AsyncExitStack() as stack:
        rack = RunningRack(directory, stack)
        rack.pccs, rack.pccs_url = await rack.start_pccs()
        yield rack
