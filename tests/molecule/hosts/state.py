"""What is known of hosts between two commands: one directory each below `.build/molecule/hosts`."""

import contextlib
import fcntl
import ipaddress
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.molecule.hosts.commands import HostsError, run

CHECKOUT: Final = Path(__file__).resolve().parents[3]
DIRECTORY: Final = CHECKOUT / ".build" / "molecule"
KEY: Final = DIRECTORY / "id_ed25519"
"""The only key that opens a host: made once, never leaves this checkout."""

NETWORK: Final = ipaddress.ip_network("10.90.0.0/16")
"""Every scenario has a /24 of it, and the .1 there is this machine."""

BRIDGES: Final = "skmol"
"""How the name of every bridge begins."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
_DISK: Final = re.compile(r"(/[\w./-]+)=([0-9]+[KMG])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A small disk of its own, for faults: mounted at `path` in the host, of `size` as tmpfs writes it (16M)."""

    path: str
    size: str

    @classmethod
    def parse(cls, text: str) -> "Disk":
        """From `PATH=SIZE`. Raises `HostsError`."""
        found = _DISK.fullmatch(text)
        if found is None:
            raise HostsError(f"not a disk: {text!r}; write PATH=SIZE, like /var/lib/vault=16M")
        return cls(path=found[1], size=found[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host. The third octet of its address is its network, the last two make its names on this machine."""

    name: str
    address: str
    disks: tuple[Disk, ...] = ()
    tpm2: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise HostsError(f"not a host name: {self.name!r}; use lower-case letters, digits and dashes")
        try:
            address = ipaddress.IPv4Address(self.address)
        except ValueError:
            raise HostsError(f"{self.name}: not an IPv4 address: {self.address!r}") from None
        if address not in NETWORK or address.packed[3] in (0, 1, 255):
            raise HostsError(f"{self.name}: {self.address} is not in {NETWORK}, or ends in .0, .1 or .255")

    @property
    def network(self) -> int:
        return ipaddress.IPv4Address(self.address).packed[2]

    @property
    def bridge(self) -> str:
        return f"{BRIDGES}{self.network}"

    @property
    def gateway(self) -> str:
        return f"10.90.{self.network}.1"

    @property
    def machine(self) -> str:
        """The container's name on this machine, short enough for a network interface."""
        return f"m{self.network}-{ipaddress.IPv4Address(self.address).packed[3]}"

    @property
    def interface(self) -> str:
        """This machine's end of the host's network cable."""
        return f"vb-{self.machine}"

    @property
    def directory(self) -> Path:
        return DIRECTORY / "hosts" / self.name

    @property
    def root(self) -> Path:
        """Where the host's file system is mounted while the host exists."""
        return self.directory / "root"

    def disk_directory(self, disk: Disk) -> Path:
        return self.directory / "disks" / disk.path.strip("/").replace("/", "-")

    def save(self) -> None:
        (self.directory / "host.json").write_text(json.dumps(asdict(self)), encoding="utf-8")


def load(name: str) -> Host:
    """The host of that name. Raises `HostsError` if there is none."""
    try:
        value = json.loads((DIRECTORY / "hosts" / name / "host.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(host.name for host in every()) or "none"
        raise HostsError(f"there is no host {name!r}; hosts there are: {known}") from None
    disks = tuple(Disk(**disk) for disk in value["disks"])
    return Host(name=value["name"], address=value["address"], disks=disks, tpm2=value["tpm2"])


def every() -> tuple[Host, ...]:
    """All hosts of this checkout."""
    return tuple(load(path.parent.name) for path in sorted((DIRECTORY / "hosts").glob("*/host.json")))


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """One command at a time changes what hosts share: base image, key, bridges."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (DIRECTORY / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure_key() -> None:
    """The SSH key of the hosts is there."""
    if not KEY.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sharekeeper test hosts", "-f", str(KEY)])
