"""The process supervisor of localnet: what systemd does for a real machine, without root.

    python -m sharekeeper_devnet.supervise start NAME --dir DIR [--ready URL] [--deadline S] -- COMMAND...
    python -m sharekeeper_devnet.supervise stop NAME --dir DIR [--grace S] [--kill]
    python -m sharekeeper_devnet.supervise status NAME --dir DIR
    python -m sharekeeper_devnet.supervise sweep --dir DIR [--grace S] [--kill]

Each prints one JSON line whose `changed` is true only when something changed, and exits 0; `status` exits 3
when the daemon does not run; a failure exits with the status of `SupervisorFailed` and names the cause.

A daemon runs in a session of its own, reads nothing, and writes to DIR/NAME.log (mode 0600). DIR/NAME.pid holds
its pid and the kernel's start time of that pid, so a pid that was given to another process is never signalled.
"""

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sharekeeper.errors import SupervisorFailed

NOT_RUNNING_EXIT: Final = 3
"""Exit status of `status` for a daemon that does not run (as systemctl has it)."""

_POLL_SECONDS: Final = 0.05
_LOG_TAIL_BYTES: Final = 1200


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """Which process a daemon is.

    Attributes:
        pid: its process id, which is its session and process group too.
        started: the kernel's start time of that pid, in clock ticks since boot.
        command: the command it was started with.
    """

    pid: int
    started: int
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is true of a daemon after a verb, and whether the verb changed it."""

    name: str
    running: bool
    changed: bool
    pid: int | None = None


class Daemon:
    """One supervised daemon: a name in a directory."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._directory = directory.absolute()
        self._pid_file = self._directory / f"{name}.pid"
        self._log_file = self._directory / f"{name}.log"

    def start(self, command: Sequence[str], *, ready: str | None, deadline_seconds: float) -> Outcome:
        """The daemon runs, and `ready` (an http URL) answers 2xx.

        A daemon that already runs with this command is only waited for. Raises `SupervisorFailed` when it runs
        with another command, ends before it is ready, or is not ready in time (it is stopped then).
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            record = self._alive()
            if record is not None and record.command != tuple(command):
                raise SupervisorFailed(f"{self.name} runs with another command; stop it first")
            changed = record is None
            if record is None:
                record = self._spawn(command)
        if ready is not None:
            self._wait_until_ready(record, ready, deadline_seconds)
        return Outcome(name=self.name, running=True, changed=changed, pid=record.pid)

    def stop(self, *, grace_seconds: float) -> Outcome:
        """The daemon and all it started are gone: SIGTERM first, SIGKILL after `grace_seconds` (0: at once)."""
        if not self._directory.is_dir():
            return Outcome(name=self.name, running=False, changed=False)
        with self._locked():
            record = self._recorded()
            changed = record is not None and _end(self.name, record, grace_seconds)
            self._pid_file.unlink(missing_ok=True)
        return Outcome(name=self.name, running=False, changed=changed)

    def status(self) -> Outcome:
        """Whether the daemon runs; changes nothing."""
        record = self._alive()
        return Outcome(
            name=self.name, running=record is not None, changed=False, pid=None if record is None else record.pid
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._directory / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _recorded(self) -> ProcessRecord | None:
        try:
            value = json.loads(self._pid_file.read_text())
            return ProcessRecord(pid=value["pid"], started=value["started"], command=tuple(value["command"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise SupervisorFailed(
                f"{self._pid_file} is not a pid file of this supervisor; end the process by hand, then remove the file"
            ) from None

    def _alive(self) -> ProcessRecord | None:
        record = self._recorded()
        return record if record is not None and _start_time(record.pid) == record.started else None

    def _spawn(self, command: Sequence[str]) -> ProcessRecord:
        log = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = subprocess.Popen(  # noqa: S603  # running what it is told is a supervisor's work
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._directory,
                # The child records itself before it becomes the command: killed at any moment, we leave no
                # daemon that the next stop cannot find. Safe, since this process has one thread here.
                preexec_fn=lambda: self._record_self(command),  # noqa: PLW1509
            )
        except OSError as error:
            raise SupervisorFailed(f"{self.name} cannot be started: {error}") from error
        finally:
            os.close(log)
        record = self._recorded()
        if record is None or record.pid != process.pid:
            raise SupervisorFailed(f"{self.name} was stopped while it started")
        return record

    def _record_self(self, command: Sequence[str]) -> None:
        record = ProcessRecord(pid=os.getpid(), started=_start_time(os.getpid()) or 0, command=tuple(command))
        fresh = self._pid_file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(record)))
        fresh.replace(self._pid_file)

    def _wait_until_ready(self, record: ProcessRecord, url: str, deadline_seconds: float) -> None:
        end = time.monotonic() + deadline_seconds
        with _handle(record) as handle:
            while not _answers(url):
                if handle is None or _exited(handle, _POLL_SECONDS):
                    raise SupervisorFailed(f"{self.name} ended before it was ready; {self._log_end()}")
                if time.monotonic() > end:
                    _end(self.name, record, 0)
                    raise SupervisorFailed(
                        f"{self.name} did not answer at {url} within {deadline_seconds:g} s and was stopped; "
                        f"{self._log_end()}"
                    )

    def _log_end(self) -> str:
        text = self._log_file.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return f"the end of {self._log_file}: {text or '(empty)'}"


def supervised(root: Path) -> tuple[int, ...]:
    """The pids of the daemons that run, recorded anywhere under `root`; each is the leader of a session of its own."""
    outcomes = (Daemon(path.stem, path.parent).status() for path in root.rglob("*.pid"))
    return tuple(outcome.pid for outcome in outcomes if outcome.pid is not None)


def sweep(root: Path, *, grace_seconds: float) -> tuple[str, ...]:
    """No daemon recorded anywhere under `root` runs; the names of those that did.

    Daemons may start others (the node agent starts the MPC node), so it looks again until nothing ran.
    """
    stopped: list[str] = []
    while True:
        daemons = [Daemon(path.stem, path.parent) for path in sorted(root.rglob("*.pid"))]
        with ThreadPoolExecutor(max_workers=16) as pool:
            outcomes = list(pool.map(lambda daemon: daemon.stop(grace_seconds=grace_seconds), daemons))
        names = [outcome.name for outcome in outcomes if outcome.changed]
        if not names:
            return tuple(stopped)
        stopped += names


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None for a process that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@contextlib.contextmanager
def _handle(record: ProcessRecord) -> Iterator[int | None]:
    """A pidfd of exactly the recorded process, or None when it is gone: what is done through it meets no other."""
    if _start_time(record.pid) != record.started:
        yield None
        return
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle if _start_time(record.pid) == record.started else None
    finally:
        os.close(handle)


def _exited(handle: int, timeout_seconds: float | None) -> bool:
    """Whether the process ended, after waiting at most `timeout_seconds` (None: for ever)."""
    return bool(select.select([handle], [], [], timeout_seconds)[0])


def _end(name: str, record: ProcessRecord, grace_seconds: float) -> bool:
    """The recorded process and the rest of its process group are gone; False when it was gone before."""
    with _handle(record) as handle:
        if handle is None:
            return False
        try:
            with contextlib.suppress(ProcessLookupError):
                if grace_seconds > 0:
                    signal.pidfd_send_signal(handle, signal.SIGTERM)
                    _exited(handle, grace_seconds)
                os.killpg(record.pid, signal.SIGKILL)
        except PermissionError:
            raise SupervisorFailed(
                f"{name} (process {record.pid}) belongs to another user; stop it as that user"
            ) from None
        _exited(handle, None)
        return True


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=1)
    try:
        connection.request("GET", parts.path or "/")
        return 200 <= connection.getresponse().status < 300  # noqa: PLR2004  # the 2xx of HTTP
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="supervise", description="Start, stop and watch daemons of localnet.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("start", "stop", "status", "sweep"):
        one = verbs.add_parser(verb)
        if verb != "sweep":
            one.add_argument("name")
        one.add_argument("--dir", type=Path, required=True, help="directory of pid files and logs")
        if verb == "start":
            one.add_argument("--ready", help="http URL that answers 2xx once the daemon is ready")
            one.add_argument("--deadline", type=float, default=20.0, help="seconds until it must be ready")
        if verb in {"stop", "sweep"}:
            one.add_argument("--grace", type=float, default=10.0, help="seconds between SIGTERM and SIGKILL")
            one.add_argument("--kill", action="store_true", help="SIGKILL at once")
    return parser


def _perform(options: argparse.Namespace, command: list[str]) -> tuple[dict[str, object], int]:
    """The JSON line to print, and the exit status."""
    if options.verb == "sweep":
        stopped = sweep(options.dir, grace_seconds=0 if options.kill else options.grace)
        return {"stopped": stopped, "changed": bool(stopped)}, 0
    daemon = Daemon(options.name, options.dir)
    if options.verb == "start":
        return asdict(daemon.start(command, ready=options.ready, deadline_seconds=options.deadline)), 0
    if options.verb == "stop":
        return asdict(daemon.stop(grace_seconds=0 if options.kill else options.grace)), 0
    outcome = daemon.status()
    return asdict(outcome), 0 if outcome.running else NOT_RUNNING_EXIT


def main(arguments: Sequence[str] | None = None) -> int:
    """Performs one verb; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    parser = _parser()
    options, command = parser.parse_args(words[:cut]), words[cut + 1 :]
    if (options.verb == "start") != bool(command):
        parser.error("start takes a command after --, the other verbs take none")
    os.umask(0o077)
    try:
        line, status = _perform(options, command)
    except SupervisorFailed as error:
        line, status = {"changed": False, "error": error.code, "message": str(error)}, error.exit_status
    print(json.dumps(line))  # noqa: T201  # the one line is the interface
    return status


if __name__ == "__main__":
    sys.exit(main())
