"""Running the machine's own tools, and the one error of this package."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

PACKAGES: Final = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "nft": "nftables",
    "nsenter": "util-linux",
    "ssh-keygen": "openssh-client",
    "systemd-nspawn": "systemd-container",
}
"""The Debian package of every tool used here."""

_TIMEOUT_SECONDS: Final = 900


class HostsError(Exception):
    """What went wrong, in one sentence, and what to do."""


def require_machine() -> None:
    """This process may make hosts here. Raises `HostsError` that names what is missing."""
    if os.geteuid() != 0:
        raise HostsError("test hosts need root: run it as root, or with sudo")
    missing = sorted({package for tool, package in PACKAGES.items() if shutil.which(tool) is None})
    if missing:
        raise HostsError(f"test hosts need {', '.join(missing)}: apt install {' '.join(missing)}")


def run(words: Sequence[str], *, text: str | None = None) -> str:
    """What the command printed. Raises `HostsError` with the end of its error output when it fails."""
    try:
        done = subprocess.run(  # the machine's own tools
            words, input=text, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostsError(f"{words[0]} cannot be run: {error}") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-600:]
        raise HostsError(f"{' '.join(words[:4])} ... failed with status {done.returncode}: {said}")
    return done.stdout


def succeeds(words: Sequence[str]) -> bool:
    """Whether the command ends with status 0; what it prints is dropped."""
    done = subprocess.run(words, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
    return done.returncode == 0
