"""Drills as processes, and what they leave behind."""

import base64
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import base58

from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
HALF = CHECKOUT / "tests" / "drills" / "half.yml"


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


def half_drill(*, address: str | None = None) -> list[str]:
    """The command of a drill that starts a chain and then waits for ever."""
    listen = address or free_address()
    words = ["--playbook", str(HALF), "-e", f"localnet_rpc_address={listen}"]
    return [sys.executable, "-m", "sharekeeper_devnet.drill", *words]


def whole_drill(run: Path, *words: str, seconds: float) -> str:
    """Plays a drill to its end, which must be a good one; returns what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "sharekeeper_devnet.drill", *words],
        env={**os.environ, "SHAREKEEPER_RUN": str(run)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def read_report(run: Path) -> dict[str, Any]:
    return json.loads((run / "report" / "report.json").read_text())


def secrets_found(run: Path, printed: str, shares: Iterable[bytes]) -> list[str]:
    """Where a share, a private key or a spelling of one stands in what the drill shows or logs."""
    paths = [*(run / "report").iterdir(), *run.glob("*/processes/*.log")]
    assert len(paths) > 10
    places = {**{str(path): path.read_bytes() for path in paths}, "standard output": printed.encode()}
    keys = [
        path.read_bytes().strip()
        for path in (*run.glob("*/keys/*"), *run.glob("*/mpc/keys/*"), *run.glob("operators/*.test.near"))
    ]
    assert len(keys) > 10
    assert all(key.startswith((b"ed25519:", b"AGE-SECRET-KEY-1")) for key in keys)
    needles = [*keys, *(form for share in shares for form in _spellings(share))]
    return [place for place, content in places.items() if any(needle in content for needle in needles)]


def _spellings(secret: bytes) -> Iterator[bytes]:
    yield from (secret, secret[::-1])
    for raw in (secret, secret[::-1]):
        yield from (raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), base58.b58encode(raw))


@contextlib.contextmanager
def started(command: list[str], run: Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    """The drill, with its output as text; killed at the end if it still runs."""
    environment = {**os.environ, "SHAREKEEPER_RUN": str(run)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    ) as drill:
        try:
            yield drill
        finally:
            drill.kill()


def read_until(drill: subprocess.Popen[str], words: str) -> str:
    """What the drill prints, up to a line with `words`."""
    text = ""
    for line in drill.stdout:
        text += line
        if words in line:
            return text
    raise AssertionError(f"the drill ended without {words!r}:\n{text}")


def processes_of(run: Path) -> list[str]:
    """The command lines of all processes that have the run directory in their command or environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            if os.fsencode(run) in command + environment and command:
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
