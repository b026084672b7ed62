"""One host's life: made, started, halted, killed, rebooted, destroyed."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from sharekeeper_devnet.supervise import Daemon
from tests.molecule.hosts.commands import HostsError, run, succeeds
from tests.molecule.hosts.image import IMAGE, ensure_image, write_files
from tests.molecule.hosts.keeper import cgroups
from tests.molecule.hosts.network import ensure_network, remove_network
from tests.molecule.hosts.state import CHECKOUT, KEY, Host, ensure_key, locked
from tests.molecule.hosts.tpm2 import FILES as TPM2_FILES

_UP_SECONDS: Final = 60
_HALT_SECONDS: Final = 30
_FILLER: Final = ".filler"


def create(host: Host) -> bool:
    """The host runs; True if it was made now. `await_ssh` says when it answers. Raises `HostsError`."""
    if host.directory.exists():
        start(host)
        return False
    ensure_image()
    with locked():
        ensure_key()
    ensure_network(host)
    for part in ("upper", "work", "root"):
        (host.directory / part).mkdir(parents=True)
    host.save()
    _mount(host)
    _furnish(host)
    start(host)
    return True


def start(host: Host) -> bool:
    """The host runs or boots; True if it did not before."""
    _mount(host)
    ensure_network(host)
    scope = ["systemd-run", "--scope", "--quiet", "--collect", "--property=Delegate=yes"]
    under_systemd = Path("/run/systemd/system").is_dir()
    words = [sys.executable, "-m", "tests.molecule.hosts.keeper", host.name]
    environment = ["env", f"PYTHONPATH={CHECKOUT}:{CHECKOUT / 'agent'}"]
    outcome = _keeper(host).start(
        [*(scope if under_systemd else []), *environment, *words], ready=None, deadline_seconds=0
    )
    return outcome.changed


def halt(host: Host) -> bool:
    """The host shut down in good order; True if it ran."""
    changed = _keeper(host).stop(grace_seconds=_HALT_SECONDS).changed
    sweep(host)
    return changed


def kill(host: Host) -> bool:
    """A power failure: every process of the host is gone at once, its disk stays as it was; True if it ran."""
    inside = _leader(host)
    changed = _keeper(host).stop(grace_seconds=0).changed
    if inside is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(inside, signal.SIGKILL)
        _wait(lambda: _ended(inside), 10, f"{host.name} did not die")
    sweep(host)
    return changed


def reboot(host: Host) -> None:
    """The host shut down in good order, booted, and answers SSH."""
    before = _leader(host)
    enter(host, ["systemctl", "reboot"])
    _wait(lambda: _leader(host) not in (before, None), _HALT_SECONDS, f"{host.name} did not go down")
    await_ssh(host)


def destroy(host: Host) -> bool:
    """Nothing is left of the host; True if there was something."""
    if not host.directory.exists():
        return False
    kill(host)
    for mounted in (*(host.disk_directory(disk) for disk in host.disks), host.root):
        while mounted.is_mount():
            run(["umount", str(mounted)])
    remove_network(host)
    shutil.rmtree(host.directory)
    return True


def enter(host: Host, words: Sequence[str]) -> int:
    """Runs a command inside, without the network; its exit status."""
    inside = _leader(host)
    if inside is None:
        raise HostsError(f"{host.name} does not run; start it first")
    done = subprocess.run(
        ["nsenter", "--target", str(inside), *("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w"), "--", *words],
        check=False,
    )
    return done.returncode


def fill(host: Host, path: str) -> None:
    """The host's disk at `path` is full: not one more byte can be written there."""
    target = _disk(host, path) / _FILLER
    with contextlib.suppress(OSError), target.open("ab", buffering=0) as filler:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while filler.write(b"\0" * size):
                    pass


def drain(host: Host, path: str) -> None:
    """The host's disk at `path` has room again."""
    (_disk(host, path) / _FILLER).unlink(missing_ok=True)


def await_ssh(host: Host) -> None:
    """The host answers SSH. Raises `HostsError` with the end of its console when it does not."""
    console = host.directory / "keeper.log"

    def answers() -> bool:
        if not _keeper(host).status().running:
            raise HostsError(f"{host.name} ended while it booted: {_end_of(console)}")
        try:
            with socket.create_connection((host.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    _wait(answers, _UP_SECONDS, f"{host.name} does not answer SSH at {host.address}", console)


def running(host: Host) -> bool:
    """Whether the host runs."""
    return _keeper(host).status().running


def _keeper(host: Host) -> Daemon:
    return Daemon("keeper", host.directory)


def _leader(host: Host) -> int | None:
    """The host's PID 1, as this machine counts processes."""
    keeper = _keeper(host).status().pid
    container = None if keeper is None else _child(keeper)
    return None if container is None else _child(container)


def _child(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(children[0]) if children else None


def _ended(pid: int) -> bool:
    """A PID 1 that is gone, or waits to be reaped, has taken every process of its host with it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _disk(host: Host, path: str) -> Path:
    for disk in host.disks:
        if disk.path == path:
            return host.disk_directory(disk)
    raise HostsError(f"{host.name} has no disk of its own at {path}; create it with --disk {host.name}:{path}=SIZE")


def _mount(host: Host) -> None:
    if not host.root.is_mount():
        mount_layers(IMAGE, host.directory, host.root)
    for disk in host.disks:
        directory = host.disk_directory(disk)
        directory.mkdir(parents=True, exist_ok=True)
        if not directory.is_mount():
            run(["mount", "-t", "tmpfs", "-o", f"size={disk.size},mode=0755", "sharekeeper", str(directory)])


def mount_layers(lower: Path, directory: Path, root: Path) -> None:
    """`root` shows `lower`, and what is written there goes below `directory`."""
    layers = f"lowerdir={lower},upperdir={directory / 'upper'},workdir={directory / 'work'}"
    run(["mount", "-t", "overlay", "sharekeeper", "-o", layers, str(root)])


def _furnish(host: Host) -> None:
    """What makes a host itself: name, address, SSH host key, who may enter."""
    files = {
        "etc/hostname": f"{host.name}\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {host.name}\n",
        "etc/resolv.conf": _resolver(),
        "etc/systemd/network/10-host0.network": (
            f"[Match]\nName=host0\n[Network]\nAddress={host.address}/24\nGateway={host.gateway}\nLLDP=no\nEmitLLDP=no\n"
        ),
        "root/.ssh/authorized_keys": KEY.with_suffix(".pub").read_text(encoding="ascii"),
    }
    (host.root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    for path, content in files.items():
        (host.root / path).write_text(content, encoding="utf-8")
    if host.tpm2:
        write_files(host.root, TPM2_FILES)
    for disk in host.disks:
        (host.root / disk.path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    # The package lists are as fresh as those of a machine that was installed today.
    os.utime(host.root / "var/lib/apt/lists")
    key = host.root / "etc/ssh/ssh_host_ed25519_key"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", str(key)])
    public = key.with_suffix(".pub").read_text(encoding="ascii")
    (host.directory / "known_hosts").write_text(f"{host.address} {public}", encoding="ascii")


def _resolver() -> str:
    """This machine's name servers, those behind systemd's stub where there is one."""
    behind = Path("/run/systemd/resolve/resolv.conf")
    return (behind if behind.exists() else Path("/etc/resolv.conf")).read_text(encoding="utf-8")


def sweep(host: Host) -> None:
    """What a container leaves on this machine is gone."""
    succeeds(["ip", "link", "del", host.interface])
    for cgroup in cgroups(host):
        for directory in sorted((path for path in cgroup.rglob("*") if path.is_dir()), reverse=True):
            _remove_cgroup(directory)
        if cgroup.is_dir():
            _remove_cgroup(cgroup)


def _remove_cgroup(directory: Path) -> None:
    """An empty cgroup goes at once; one whose last process is just ending, a moment later."""
    for _ in range(50):
        try:
            directory.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return


def _wait(condition: Callable[[], bool], seconds: float, failure: str, console: Path | None = None) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise HostsError(f"{failure} within {seconds:g} s{': ' + _end_of(console) if console else ''}")
        time.sleep(0.05)


def _end_of(console: Path) -> str:
    return console.read_bytes()[-800:].decode(errors="replace").strip() or "(nothing on its console)"
