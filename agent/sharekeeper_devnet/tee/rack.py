"""A rack of CVMs: the guest agents of several machines, and a PCCS, in one process (`devnet tee-rack`).

```toml
seed_file = "seed"                 # the hardware; made when it is not there
root_ca_file = "root-ca.der"       # written: what a rehearsal's machines verify under
pccs_listen = "127.0.0.1:8081"     # port 0: any

[[machine]]
socket = "alice-node.sock"
host = "alice"                     # machines of one host share its processor
app_compose_file = "alice-node.json"
image = "dstack-0.5.8"
vcpus = 8
memory_gb = 64
```

Paths are relative to the description. A machine starts when it is first asked, so its app-compose may be written
after the rack started; it starts anew when its app-compose is another one.
"""

import asyncio
import secrets
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sharekeeper.adapters.durable_file import write_file
from sharekeeper.config_values import NetAddress
from sharekeeper.errors import ConfigInvalid
from sharekeeper.toml_tables import ConfigRoot, Table, open_config, plain_text
from sharekeeper_devnet.tee.guest import GUEST_IMAGE, Guest, GuestShape
from sharekeeper_devnet.tee.guest_agent import GuestAgentServer
from sharekeeper_devnet.tee.pccs import Mood, Pccs
from sharekeeper_devnet.tee.pki import MockIntel

SEED_BYTES: Final = 32
_MAX_SOCKET_BYTES: Final = 107


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineDescription:
    """One CVM of the rack."""

    socket: Path
    host: str
    app_compose_file: Path
    shape: GuestShape


@dataclass(frozen=True, slots=True, kw_only=True)
class RackDescription:
    """What stands in the rack."""

    seed_file: Path
    root_ca_file: Path
    pccs_listen: NetAddress
    pccs_mood: Mood
    machines: tuple[MachineDescription, ...]


def load_rack(path: Path) -> RackDescription:
    """The description. Raises `ConfigInvalid` with every mistake, one per line."""
    root = open_config(path)
    values = {
        "seed_file": root.take("seed_file", root.path),
        "root_ca_file": root.take("root_ca_file", root.path),
        "pccs_listen": root.take("pccs_listen", _listen),
        "pccs_mood": root.take("pccs_mood", Mood, default=Mood.HONEST),
        "machines": [_machine(root, table) for table in root.tables("machine")],
    }
    root.finish()
    return RackDescription(**{**values, "machines": tuple(values["machines"])})


class Rack:
    """The machines of a description, running."""

    def __init__(self, description: RackDescription) -> None:
        """Raises `ConfigInvalid` if the seed is unusable, `StoreFailed` if it or the root cannot be written."""
        self._description = description
        self.intel = MockIntel.create(int(time.time()), seed=_seed(description.seed_file))
        self.pccs = Pccs(self.intel, mood=description.pccs_mood, listen=description.pccs_listen)
        write_file(description.root_ca_file, self.intel.root_ca, what="root certificate")

    async def run_until_told(self, ready: Callable[[str], None]) -> None:
        """Serves until SIGTERM or SIGINT; `ready` is called with the URL of the PCCS."""
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        async with AsyncExitStack() as stack:
            for machine in self._description.machines:
                server = GuestAgentServer(machine.socket, _Slot(self.intel, machine).guest)
                stack.push_async_callback(server.stop)
                await server.start()
            stack.push_async_callback(self.pccs.stop)
            ready(await self.pccs.start())
            await told.wait()


class _Slot:
    """Where one machine of the rack stands: its CVM, which is the one of the app-compose that is there now."""

    def __init__(self, intel: MockIntel, description: MachineDescription) -> None:
        self._intel = intel
        self._description = description
        self._guest: Guest | None = None

    def guest(self) -> Guest:
        description = self._description
        try:
            app_compose = description.app_compose_file.read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"{description.app_compose_file} cannot be read: {error.strerror}") from None
        if self._guest is None or self._guest.app_compose != app_compose:
            self._guest = Guest(
                intel=self._intel, host=description.host, shape=description.shape, app_compose=app_compose
            )
        return self._guest


def _machine(root: ConfigRoot, table: Table) -> MachineDescription:
    shape = {
        "image": table.take("image", plain_text, default=GUEST_IMAGE),
        "vcpus": table.take("vcpus", _between(1, 512), default=8),
        "memory_gb": table.take("memory_gb", _between(1, 4096), default=64),
    }
    return MachineDescription(
        socket=table.take("socket", lambda value: _socket(root.path(value))),
        host=table.take("host", plain_text),
        app_compose_file=table.take("app_compose_file", root.path),
        shape=GuestShape(**shape),
    )


def _socket(path: Path) -> Path:
    if len(str(path).encode()) > _MAX_SOCKET_BYTES:
        raise ValueError(f"is too long for a unix socket, at most {_MAX_SOCKET_BYTES} bytes: {path}")
    return path


def _listen(value: object) -> NetAddress:
    host, _, port = plain_text(value).rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError('must be an address like "127.0.0.1:8081"')
    return NetAddress(host=host, port=int(port))


def _between(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return value

    return parse


def _seed(path: Path) -> bytes:
    if not path.exists():
        write_file(path, secrets.token_bytes(SEED_BYTES), what="seed of the TEE host stand-in")
    seed = path.read_bytes()
    if len(seed) != SEED_BYTES:
        raise ConfigInvalid(f"{path} is no seed of the TEE host stand-in ({SEED_BYTES} bytes); remove it")
    return seed
