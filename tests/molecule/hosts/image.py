"""The base image: a minimal Debian with what the roles would otherwise download, built once."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.molecule.hosts.commands import run
from tests.molecule.hosts.state import DIRECTORY, locked

IMAGE: Final = DIRECTORY / "base"

_STAMP: Final = DIRECTORY / "base.recipe"
_SUITE: Final = "bookworm"
# The third and fourth rows are what roles install: apt finds it there, on a real machine it downloads it. The last is what
# a host with a TPM2 of its own needs.
_PACKAGES: Final = (
    *("systemd", "systemd-sysv", "dbus", "python3", "python3-apt", "sudo", "iproute2", "iputils-ping", "kmod"),
    *("openssh-server", "ca-certificates", "procps", "curl"),
    *("age", "chrony", "nftables", "polkitd", "python3-venv", "unattended-upgrades", "zstd"),
    *("libtss2-esys-3.0.2-0", "libtss2-mu0", "libtss2-rc0"),
    *("swtpm", "tpm2-abrmd", "libtss2-tcti-tabrmd0"),
)
_LEFT_OUT: Final = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")

# A container manager leaves this undone: mounts must propagate for LoadCredential=, and the host's systemd must own
# its part of every cgroup hierarchy, or MemoryMax= and TasksMax= are accepted and not enforced.
INIT: Final = """\
#!/bin/sh
mount --make-rshared /
mount -o remount,bind,rw /sys/fs/cgroup
for hierarchy in /sys/fs/cgroup/*/; do mount -o remount,bind,rw "${hierarchy%/}" 2>/dev/null; done
exec /sbin/init
"""

_BYTECODE: Final = Path(__file__).with_name("bytecode.py").read_text(encoding="utf-8")
_PYTHON: Final = "usr/local/lib/python3.11/dist-packages"
_FILES: Final = {
    "usr/local/sbin/host-init": (INIT, 0o755),
    f"{_PYTHON}/bytecode.py": (_BYTECODE, 0o644),
    f"{_PYTHON}/bytecode.pth": ("import bytecode\n", 0o644),
    # Only keys open a host.
    "etc/ssh/sshd_config.d/10-keys-only.conf": (
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nUseDNS no\n",
        0o644,
    ),
    # The clock belongs to the machine below: chronyd measures it here and must not set it.
    "etc/default/chrony": ('DAEMON_OPTS="-F 1 -x"\n', 0o644),
    "etc/systemd/system/chrony.service.d/guest.conf": ("[Unit]\nConditionCapability=\n", 0o644),
}
_ENABLED: Final = ("systemd-networkd", "ssh")
_DISABLED: Final = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_reap.service",
    "e2scrub_all.timer",
    "tpm2-abrmd",
)
_PER_HOST: Final = ("etc/machine-id", "etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id")


def ensure_image() -> bool:
    """The base image of today's recipe is there; True if it was built now (about 40 s). Raises `HostsError`."""
    with locked():
        if _STAMP.exists() and _STAMP.read_text() == _recipe():
            return False
        _STAMP.unlink(missing_ok=True)
        if IMAGE.exists():
            shutil.rmtree(IMAGE)
        _build(IMAGE)
        _STAMP.write_text(_recipe())
        return True


def write_files(root: Path, files: Mapping[str, tuple[str, int]]) -> None:
    """Each file, by its path below `root`, with its content and mode."""
    for path, (content, mode) in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        target.chmod(mode)


def _recipe() -> str:
    return hashlib.sha256(Path(__file__).read_bytes() + _BYTECODE.encode()).hexdigest()


def _build(image: Path) -> None:
    run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}"),
            "--skip=cleanup/apt/lists",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
            *(_SUITE, str(image)),
        ]
    )
    write_files(image, _FILES)
    for key in image.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    for path in _PER_HOST:
        (image / path).unlink(missing_ok=True)
    (image / "etc/machine-id").touch()
    run(["chroot", str(image), "systemctl", "enable", *_ENABLED])
    run(["chroot", str(image), "systemctl", "disable", *_DISABLED])
