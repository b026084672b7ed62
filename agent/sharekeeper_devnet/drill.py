"""The drills of a local MPC network (drill_plan.py), and their report.

    python -m sharekeeper_devnet.drill [--drill NAME] [--playbook FILE] [--sweep] [words for ansible-playbook ...]

Everything is written below SHAREKEEPER_RUN (default: `run` in the checkout). However the drill ends, no process
of it is left: INT, TERM and HUP become INT for Ansible, whose `always:` does not run on any of them, and then
every daemon is stopped by its pid file. After KILL the next drill does that before it starts. A signal that comes
while Ansible forks can be lost on it and its workers, so what is left is found by its environment and killed.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Final, Self, TextIO

from sharekeeper.errors import AlreadyRunning, ConfigInvalid, HostFault, SharekeeperError, StoreFailed
from sharekeeper_devnet.drill_facts import Report, Verdict
from sharekeeper_devnet.drill_marks import Mark, MarksInvalid, read_marks
from sharekeeper_devnet.drill_page import report_html
from sharekeeper_devnet.drill_plan import PLANS, Plan
from sharekeeper_devnet.drill_report import build_report, report_json
from sharekeeper_devnet.drill_text import report_text
from sharekeeper_devnet.supervise import supervised, sweep

FAILED_EXIT: Final = 1
"""Exit status of a drill whose report says `failed`, unless Ansible or a signal gave another one."""

_LOCK: Final = ".drill.lock"
_ANSIBLE: Final = ".ansible"
"""What Ansible leaves in the run directory when another playbook meets localnet's inventory."""

_GRACE_SECONDS: Final = 5.0
_INTERRUPT_SECONDS: Final = 10.0
_DYING_SECONDS: Final = 0.1
_MARKS_VARIABLE: Final = "SHAREKEEPER_DRILL_MARKS"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TOOLS: Final = ("sharekeeper", "ansible-core", "aiohttp", "cryptography", "py-near", "pyrage", "wasmtime")


class Drill:
    """One drill below one run directory."""

    def __init__(self, checkout: Path, run_directory: Path) -> None:
        self.checkout = checkout
        self.run_directory = run_directory
        self.report_directory = run_directory / "report"
        self._marks = self.report_directory / "marks.jsonl"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """This process alone works below the run directory.

        Raises:
            AlreadyRunning: another drill works there, or elsewhere on this computer with localnet's addresses.
            ConfigInvalid: the directory holds other things than a drill's.
            StoreFailed: it cannot be written.
        """
        self._claim()
        try:
            lock = os.open(self.run_directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreFailed(f"{self.run_directory} cannot be used: {error.strerror}; {_OTHER_DIRECTORY}") from None
        try:
            self._lock(lock)
            with _localnet():
                yield
        finally:
            os.close(lock)

    def end(self) -> None:
        """No process of a drill below the run directory is left: Ansible's first, then the daemons."""
        self._kill(daemons=False)
        sweep(self.run_directory, grace_seconds=_GRACE_SECONDS)
        self._kill(daemons=True)

    def clear(self) -> None:
        """Nothing of an earlier drill runs, and its machines and report are gone."""
        self.end()
        for entry in self.run_directory.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
        self.report_directory.mkdir(mode=0o700)

    def play(self, playbook: Path, words: Sequence[str], relay: "_Relay") -> int:
        """Runs the playbook to its end; no process is left. Returns its exit status, 128 + n after signal n."""
        try:
            process = subprocess.Popen(  # noqa: S603  # our own playbook
                [sys.executable, "-m", "ansible", "playbook", str(playbook), *words],
                cwd=self.checkout,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches this process alone, which passes it on
            )
            status = relay.wait(process)
        finally:
            self.end()
        return 128 + relay.received if relay.received else status

    def report(self, plan: Plan, drill_id: str, status: int) -> Report:
        """Writes report.json, report.html and report.txt; returns the report."""
        failure = None if status == 0 else f"the playbook did not come to its end (exit status {status})"
        marks: tuple[Mark, ...] = ()
        try:
            marks = read_marks(self._marks)
        except FileNotFoundError:
            failure = failure or "the playbook left no marks"
        except MarksInvalid as error:
            failure = str(error)
        versions = {**tool_versions(), "plan": self._fingerprint()}
        report = build_report(marks, plan=plan, drill_id=drill_id, versions=versions, failure=failure)
        for name, text in (
            ("report.json", report_json(report)),
            ("report.html", report_html(report)),
            ("report.txt", report_text(report)),
        ):
            (self.report_directory / name).write_text(text, encoding="utf-8")
        return report

    def _fingerprint(self) -> str:
        """SHA-256 over names and contents of all that decides what a drill does: playbooks, roles, inventory, wasm."""
        digest = hashlib.sha256()
        for pattern in (
            "playbooks/**/*.yml",
            "playbooks/templates/*",
            "roles/**/*",
            "inventory/**/*",
            "agent/contract/*.wasm",
        ):
            for path in sorted(path for path in self.checkout.glob(pattern) if path.is_file()):
                name = path.relative_to(self.checkout).as_posix()
                digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return f"sha256:{digest.hexdigest()}"

    def _claim(self) -> None:
        try:
            self.run_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            ours = (self.run_directory / _LOCK).exists()
            foreign = [
                entry.name for entry in self.run_directory.iterdir() if entry.is_dir() and entry.name != _ANSIBLE
            ]
        except OSError as error:
            raise StoreFailed(f"{self.run_directory} cannot be used: {error.strerror}; {_OTHER_DIRECTORY}") from None
        if foreign and not ours:
            raise ConfigInvalid(
                f"{self.run_directory} holds other things than a drill ({min(foreign)}); {_OTHER_DIRECTORY}"
            )

    def _lock(self, lock: int) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode()
            raise AlreadyRunning(
                f"another drill (process {holder}) works in {self.run_directory}; wait for its end, or "
                f"{_OTHER_DIRECTORY}"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)

    def _processes(self, *, daemons: bool) -> list[int]:
        """Every process that has this drill's marks in its environment; with or without the supervised daemons."""
        marker = os.fsencode(f"{_MARKS_VARIABLE}={self._marks}")
        sessions = set() if daemons else set(supervised(self.run_directory))
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                pid = int(entry.name) if entry.name.isdecimal() else 0
                if pid not in {0, os.getpid()} and marker in (entry / "environ").read_bytes().split(b"\0"):
                    found += [] if os.getsid(pid) in sessions else [pid]
        return found

    def _kill(self, *, daemons: bool) -> None:
        while pids := self._processes(daemons=daemons):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_DYING_SECONDS)

    def _environment(self) -> dict[str, str]:
        scratch = self.run_directory / ".ansible"
        return {
            **os.environ,
            "LC_ALL": "C.UTF-8",  # Ansible refuses a locale that is not UTF-8
            "SHAREKEEPER_RUN": str(self.run_directory),
            _MARKS_VARIABLE: str(self._marks),
            "ANSIBLE_CONFIG": str(self.checkout / "ansible.cfg"),
            "ANSIBLE_HOME": str(scratch),
            "ANSIBLE_LOCAL_TEMP": str(scratch / "tmp"),
            "ANSIBLE_LOG_PATH": str(self.report_directory / "drill.log"),
            "ANSIBLE_FORCE_COLOR": str(sys.stdout.isatty()),
        }


_OTHER_DIRECTORY: Final = "name another directory in SHAREKEEPER_RUN"
_LOCALNET: Final = "\0sharekeeper-localnet"
"""An abstract socket: as wide as the addresses (a network namespace), and gone with its process."""


@contextlib.contextmanager
def _localnet() -> Iterator[None]:
    """This process alone uses localnet's addresses. Raises `AlreadyRunning`."""
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(_LOCALNET)
        except OSError:
            raise AlreadyRunning("another drill uses localnet's addresses on this computer; wait for its end") from None
        yield


class _Relay:
    """Turns INT, TERM and HUP into INT for Ansible while it runs; signals ignored at the start (nohup) stay so."""

    def __init__(self) -> None:
        self.received = 0
        self._until = 0.0
        self._target: subprocess.Popen[bytes] | None = None
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}

    def __enter__(self) -> Self:
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """The exit status of `process`, which gets INT for what comes and came; killed if it does not heed it."""
        self._target = process
        if self.received:
            process.send_signal(signal.SIGINT)
        while True:
            try:
                return process.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                if self.received and time.monotonic() > self._until:
                    process.kill()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.received = self.received or number
        self._until = time.monotonic() + _INTERRUPT_SECONDS
        if self._target is not None:
            self._target.send_signal(signal.SIGINT)


def tool_versions() -> dict[str, str]:
    """Names and versions of what a drill depends on."""
    system = {"Python": platform.python_version(), platform.system(): platform.release()}
    return {name: version for name in _TOOLS if (version := _version(name))} | system


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _checkout() -> Path:
    """The directory that holds playbooks and roles. Raises `ConfigInvalid`."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / "playbooks").is_dir():
        raise ConfigInvalid("a drill runs from a checkout of the project, which holds playbooks and roles")
    return checkout


def _parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="drill", description="Rehearse disasters of a local network, and measure them."
    )
    parser.add_argument("--drill", default="loss", help=f"which drill: {', '.join(PLANS)} (default: %(default)s)")
    parser.add_argument("--playbook", type=Path, help="another playbook than the drill's own")
    parser.add_argument("--sweep", action="store_true", help="only stop what an earlier drill left running")
    return parser.parse_known_args(arguments)


def _plan(name: str) -> Plan:
    """The drill of that name. Raises `ConfigInvalid`."""
    if name not in PLANS:
        raise ConfigInvalid(
            f"there is no drill {name}, but {', '.join(PLANS)}: in hard launch (LAUNCH=hard) only DRILL=loss is played"
        )
    return PLANS[name]


def _perform(arguments: Sequence[str] | None) -> int:
    checkout = _checkout()
    options, words = _parse(arguments)
    plan = _plan(options.drill)
    playbook: Path = options.playbook or checkout / "playbooks" / plan.playbook
    drill = Drill(checkout, Path(os.environ.get("SHAREKEEPER_RUN") or checkout / "run").absolute())
    if options.sweep and not drill.run_directory.is_dir():
        return 0
    with drill.held(), _Relay() as relay:
        if options.sweep:
            drill.end()
            return 0
        drill.clear()
        drill_id = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        status = drill.play(playbook.absolute(), ["-e", f"localnet_launch={plan.launch}", *words], relay)
        report = drill.report(plan, drill_id, status)
    _say(f"\n{report_text(report)}\nReport: {drill.report_directory}/report.html (and .json, .txt)")
    _say(f"Logs:   {drill.report_directory}/drill.log and {drill.run_directory}/*/processes/*.log")
    return status or (0 if report.verdict is Verdict.PASSED else FAILED_EXIT)


def _say(text: str, file: TextIO | None = None) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone: that is what HUP says
        print(text, file=file, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the drill; returns the exit status."""
    try:
        return _perform(arguments)
    except SharekeeperError as error:
        _say(f"drill: {error}", sys.stderr)
        return error.exit_status
    except OSError as error:
        fault = HostFault(f"{error.filename}: {error.strerror}")
        _say(f"drill: {fault}", sys.stderr)
        return fault.exit_status


if __name__ == "__main__":
    sys.exit(main())
