"""Whether this computer can keep hosts at all, asked by doing once, in small, what every host needs. Takes a second."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.molecule.hosts import image, keeper, machine, network
from tests.molecule.hosts.commands import HostsError, require_machine, run
from tests.molecule.hosts.state import DIRECTORY, Host

_HOST: Final = Host(name="probe", address="10.90.254.2")
_SECONDS: Final = 30
# This computer's programs, in the place of Debian's.
_LINKS: Final = ("bin", "lib", "lib64", "sbin")
_INSIDE: Final = image.INIT.replace("exec /sbin/init", "ip link show host0 >/dev/null")


def probe() -> None:
    """A container like a host's starts here, with its layers, cgroups, cable and rights. Raises `HostsError`."""
    require_machine()
    directory = DIRECTORY / "probe"
    shutil.rmtree(directory, ignore_errors=True)
    try:
        with _network(), _root(directory) as root:
            _boot(root)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _network() -> Iterator[None]:
    try:
        network.ensure_network(_HOST)
        yield
    except OSError as error:
        raise HostsError(f"hosts cannot be routed on this computer: {error}") from None
    finally:
        network.remove_network(_HOST)


@contextlib.contextmanager
def _root(directory: Path) -> Iterator[Path]:
    """A file system with the programs of this computer, in layers as a host's is."""
    lower, root = directory / "lower", directory / "root"
    for part in (lower / "usr", lower / "etc", lower / "tmp", root, directory / "upper", directory / "work"):
        part.mkdir(parents=True, exist_ok=True)
    for link in _LINKS:
        (lower / link).symlink_to(f"usr/{link}")
    machine.mount_layers(lower, directory, root)
    try:
        yield root
    finally:
        run(["umount", str(root)])


def _boot(root: Path) -> None:
    """systemd-nspawn ends well, with what its first process does in a host before systemd takes over."""
    words = [*keeper.command(_HOST, root)[:-1], "--bind-ro=/usr", "/bin/sh", "-ec", _INSIDE]
    try:
        for cgroup in keeper.cgroups(_HOST):
            cgroup.mkdir(exist_ok=True)
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostsError(f"a host cannot run on this computer: {error}") from None
    finally:
        machine.sweep(_HOST)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise HostsError(f"systemd-nspawn cannot run a host on this computer (status {done.returncode}): {said}")
