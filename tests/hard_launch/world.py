"""The small network of `tests/integration/world.py` in hard launch: every machine is a CVM of the TEE host stand-in.

A daemon is what `sharekeeper.hard_launch.app` runs on it, told by a measured configuration that its CVM's compose file
embeds, and by addresses that nobody measures.
"""

import asyncio
import functools
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.adapters.supervisor import CommandSupervisor
from sharekeeper.attestation.app_compose import build_app_compose
from sharekeeper.attestation.compose_file import ComposeParameters, Images, render_compose_file
from sharekeeper.config_values import SupervisorConfig
from sharekeeper.domain.attestation import VaultKind
from sharekeeper.domain.identity import Role
from sharekeeper.hard_launch import app
from sharekeeper.keys import generate, load_node_keys
from sharekeeper_devnet.tee.guest import Guest, GuestShape
from sharekeeper_devnet.tee.guest_agent import GuestAgentServer
from tests.attestation.machines import AGENT_IMAGE, MPC_IMAGE, NEAR_IMAGE
from tests.attestation.rack import RunningRack, running_rack
from tests.integration.world import Daemon, Operator, World, world
from tests.ports import free_port

from .values import addresses_toml

HOSTS = {"old": 1, "new": 2, "newer": 3, "backup": 4, "second-backup": 5}


class Cvm(Daemon):
    """One machine: its CVM, and while it runs its daemon. `addresses` may be changed before a start."""

    def __init__(self, directory: Path, role: Role, addresses, health_port: int) -> None:
        self.directory, self.role, self.health_port = directory, role, health_port
        self.addresses = {**addresses, "health_address": f"127.0.0.1:{health_port}"}
        self.parameters: ComposeParameters | None = None
        self.shape = GuestShape()
        self.image = AGENT_IMAGE
        self.guest: Guest | None = None
        self.socket: Path | None = None
        self.root_ca: bytes | None = None
        self._task = None
        generate(self._keys, Role.NODE)

    @property
    def _keys(self) -> Path:
        return self.directory / "mpc" / "keys" if self.role is Role.NODE else self.directory / "keys"

    @property
    def keys(self):
        return load_node_keys(self._keys)

    @property
    def compose_file(self) -> str:
        mpc = MPC_IMAGE if self.role is Role.NODE else None
        return render_compose_file(self.role, self.parameters, Images(agent=self.image, near=NEAR_IMAGE, mpc=mpc))

    async def put_in(self, rack: RunningRack, parameters: ComposeParameters, stack: AsyncExitStack) -> None:
        """The machine stands in the rack, and its CVM was started from its compose file."""
        self.parameters, self.root_ca = parameters, rack.intel.root_ca
        self.addresses = {"pccs": [rack.pccs_url], **self.addresses}
        self.guest = Guest(
            intel=rack.intel,
            host=str(self.directory),
            shape=self.shape,
            app_compose=build_app_compose("machine", self.compose_file),
        )
        short = stack.enter_context(tempfile.TemporaryDirectory())  # a socket's path has at most 107 bytes
        self.socket = Path(short) / "guest.sock"
        server = GuestAgentServer(self.socket, lambda: self.guest)
        await server.start()
        stack.push_async_callback(server.stop)

    def start(self) -> None:
        (self.directory / "measured.toml").write_text(self.parameters.measured_toml(self.role, self.image))
        (self.directory / "addresses.toml").write_text(addresses_toml(self.addresses))
        work = app.daemon(
            self.directory / "measured.toml",
            self.directory / "addresses.toml",
            home=self.directory,
            guest_agent_socket=self.socket,
            root_ca=self.root_ca,
            supervisor=CommandSupervisor(
                SupervisorConfig(
                    start=("/bin/sh", "-c", "touch running"),
                    stop=("/bin/sh", "-c", "rm -f running"),
                    directory=self.directory,
                )
            ),
        )
        self._task = asyncio.create_task(work)


@dataclass
class AttestedOperator(Operator):
    """An operator whose machines are CVMs. `vault`: of both backup services; in memory, each knows the other's address."""

    vault: VaultKind = VaultKind.SEALED
    measured: dict = field(default_factory=dict)

    def address(self, machine: str) -> str:
        return f"127.91.{self.number}.{HOSTS[machine]}:{self.port}"

    def node(self, machine: str) -> Cvm:
        return self._cvm(
            machine, Role.NODE, {"url": self.url(machine), "listen": self.address(machine), **self._public(machine)}
        )

    def _service(self, machine: str, slot: int) -> Cvm:
        other = "second-backup" if machine == "backup" else "backup"
        sibling = {"sibling": self.address(other)} if self.vault is VaultKind.MEMORY else {}
        return self._cvm(
            machine,
            Role.BACKUP_SERVICE,
            {
                "node_agent_port": self.port,
                "node_web_port": self.port,
                "listen": self.address(machine),
                **sibling,
                **self._public(machine),
            },
        )

    def _public(self, machine: str) -> dict[str, str]:
        return (
            {}
            if self.transfer == "web" and machine in {"old", "new", "newer"}
            else {"public_listen": f"127.91.{self.number}.{HOSTS[machine]}:{self.port + 1}"}
        )

    def _cvm(self, machine: str, role: Role, addresses: dict) -> Cvm:
        if machine not in self.daemons:
            (self.directory / machine).mkdir(parents=True)
            self.daemons[machine] = Cvm(self.directory / machine, role, addresses, free_port())
        return self.daemons[machine]

    def parameters(self, machine: str, net: World) -> ComposeParameters:
        """What is measured of that machine."""
        common = ComposeParameters(
            account_id=self.account_id,
            network=net.network,
            transfer=self.transfer,
            near_rpc_url=self.rpc_url,
            **self.measured,
        )
        slots = {"backup": 0, "second-backup": 1}
        return replace(common, vault=self.vault, slot=slots[machine]) if machine in slots else common

    def store(self, machine: str) -> DirectoryKeyShareStore:
        return DirectoryKeyShareStore(self.node(machine).directory / "mpc" / "keyshares")


class AttestedWorld:
    """The network, and the rack that all its machines stand in."""

    def __init__(self, net: World, rack: RunningRack, stack: AsyncExitStack) -> None:
        self.net, self.rack, self._stack = net, rack, stack

    async def put(self, name: str, *machines: str) -> None:
        """Those machines of that operator stand in the rack."""
        operator = self.net[name]
        for machine in machines:
            cvm = operator._service(machine, 0) if "backup" in machine else operator.node(machine)
            await cvm.put_in(self.rack, operator.parameters(machine, self.net), self._stack)

    async def vote(self, method: str, *, allow: bool = True, **value) -> None:
        """Every participant votes that."""
        for operator in self.net.operators.values():
            caller = self.net.caller(operator.account_id, operator.owner)
            await caller.call(method, {**value, "allow": allow})

    async def allow_everything(self) -> None:
        """Every participant has voted for the images and the one shape of all machines."""
        for image in (AGENT_IMAGE, NEAR_IMAGE, MPC_IMAGE):
            await self.vote("vote_node_code_hash", code_hash=image)
        for image in (AGENT_IMAGE, NEAR_IMAGE):
            await self.vote("vote_backup_service_code_hash", code_hash=image)
        await self.vote("vote_measurements", measurements=as_json(GuestShape()))


def as_json(shape: GuestShape) -> dict[str, str]:
    """The entry that is voted for to allow that shape."""
    names = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "key_provider_event_digest")
    return {name: getattr(shape.measurements, name) for name in names}


@asynccontextmanager
async def attested_world(directory: Path, **settings) -> AsyncIterator[AttestedWorld]:
    """A network in Running whose operators have voted; no daemon runs yet, and no machine stands in the rack."""
    operator = functools.partial(
        AttestedOperator, **{k: settings.pop(k) for k in ("vault", "measured") if k in settings}
    )
    async with (
        world(directory / "net", operator=operator, **settings) as net,
        running_rack(directory) as rack,
        AsyncExitStack() as stack,
    ):
        one = AttestedWorld(net, rack, stack)
        await one.allow_everything()
        try:
            yield one
        finally:
            daemons = [daemon for operator in net.operators.values() for daemon in operator.daemons.values()]
            await asyncio.gather(*(daemon.stop() for daemon in daemons))
