"""The process above one host: starts its container, starts it again when the host asked for a reboot.

    python -m tests.molecule.hosts.keeper NAME

SIGTERM is an orderly shutdown. SIGKILL of its process group and of the host's PID 1 is a power failure.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

from tests.molecule.hosts.commands import succeeds
from tests.molecule.hosts.state import Host, load

_REBOOT: Final = 133
"""The container's exit status when its systemd was told to reboot."""

_CGROUPS: Final = Path("/sys/fs/cgroup")
# CAP_SYS_TIME would set this machine's clock, CAP_SYS_MODULE load modules into its kernel.
_DROPPED: Final = "CAP_SYS_RESOURCE,CAP_SYS_TIME,CAP_SYS_MODULE"


def command(host: Host, root: Path) -> list[str]:
    """systemd-nspawn without machined. bpf: else IPAddressDeny= is accepted and not enforced."""
    return [
        *("systemd-nspawn", "--quiet", f"--directory={root}"),
        *(f"--machine={host.machine}", f"--hostname={host.name}", f"--network-bridge={host.bridge}"),
        *("--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--settings=no"),
        *("--capability=all", f"--drop-capability={_DROPPED}", "--system-call-filter=bpf @keyring"),
        *(f"--bind={host.disk_directory(disk)}:{disk.path}" for disk in host.disks),
        *("--kill-signal=SIGRTMIN+3", "--console=pipe", "/usr/local/sbin/host-init"),
    ]


def cgroups(host: Host) -> Iterator[Path]:
    """The host's own cgroup in every hierarchy except cpuset, where a new one has no processors.

    Under systemd there is none to make: the scope that the keeper runs in is one.
    """
    if Path("/run/systemd/system").is_dir():
        return
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        hierarchy = _CGROUPS / (controllers.removeprefix("name=") or "unified")
        if controllers != "cpuset" and hierarchy.is_dir():
            yield hierarchy / path.strip("/") / f"sharekeeper-{host.machine}"


def enter_cgroups(host: Host) -> None:
    """This process, and so the container, is in cgroups of its own."""
    for cgroup in cgroups(host):
        cgroup.mkdir(exist_ok=True)
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))


def keep(host: Host) -> int:
    """Returns the container's exit status once it ended and is not to start again."""
    enter_cgroups(host)
    while True:
        succeeds(["ip", "link", "del", host.interface])
        container = subprocess.Popen(command(host, host.root), stdin=subprocess.DEVNULL)

        def shut_down(number: int, _frame: FrameType | None, *, running: subprocess.Popen[bytes] = container) -> None:
            running.send_signal(number)

        signal.signal(signal.SIGTERM, shut_down)
        status = container.wait()
        if status != _REBOOT:
            return status


if __name__ == "__main__":
    sys.exit(keep(load(sys.argv[1])))
