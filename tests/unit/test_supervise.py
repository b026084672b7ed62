"""The process supervisor of localnet, with real processes."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sharekeeper.errors import SupervisorFailed
from sharekeeper_devnet.supervise import Daemon, sweep
from tests.ports import free_port

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
PARENT = (
    "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "print(p.pid, flush=True); time.sleep(600)"
)
SERVER = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 503); self.end_headers()
    def log_message(self, *words): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def supervise(*words: str | Path, command: tuple[str, ...] = ()) -> tuple[int, dict[str, object]]:
    argv = [sys.executable, "-m", "sharekeeper_devnet.supervise", *map(str, words)]
    result = subprocess.run(
        argv + (["--", *command] if command else []), capture_output=True, text=True, timeout=30, check=False
    )
    assert result.stdout.count("\n") == 1, result.stderr
    return result.returncode, json.loads(result.stdout)


def start(directory: Path, code: str = SLEEPER, *arguments: str, options: tuple[str, ...] = (), name: str = "daemon"):
    return supervise("start", name, "--dir", directory, *options, command=(sys.executable, "-c", code, *arguments))


def wait_for(condition, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def directory(tmp_path):
    yield tmp_path / "processes"
    sweep(tmp_path, grace_seconds=0)


@pytest.fixture
def port():
    return str(free_port())


def test_start_runs_the_command_in_a_session_of_its_own_with_a_private_log(directory):
    status, line = start(directory)
    pid = line["pid"]
    assert (status, line) == (0, {"name": "daemon", "running": True, "changed": True, "pid": pid})
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path(os.devnull)
    log = directory / "daemon.log"
    assert wait_for(lambda: log.read_text() == "up\n")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "daemon.pid").stat().st_mode) == 0o600


def test_a_second_start_changes_nothing(directory):
    _, first = start(directory)
    status, second = start(directory)
    assert (status, second) == (0, {**first, "changed": False})


def test_start_refuses_another_command_under_the_same_name(directory):
    _, first = start(directory)
    status, line = start(directory, SLEEPER, "other")
    assert status == SupervisorFailed.exit_status
    assert "another command" in line["message"]
    assert runs(first["pid"])


def test_start_of_a_program_that_does_not_exist_says_so(directory):
    status, line = supervise("start", "ghost", "--dir", directory, command=("/no/such/program",))
    assert status == SupervisorFailed.exit_status
    assert "/no/such/program" in line["message"]
    assert supervise("status", "ghost", "--dir", directory)[0] == 3


def test_start_waits_for_readiness(directory, port):
    ready = ("--ready", f"http://127.0.0.1:{port}/ready")
    assert start(directory, SERVER, port, options=ready)[1]["running"] is True
    assert start(directory, SERVER, port, options=ready)[1]["changed"] is False


def test_start_reports_a_daemon_that_ends_before_it_is_ready_with_the_end_of_its_log(directory, port):
    code = "import sys; print('the reason'); sys.exit(7)"
    status, line = start(directory, code, options=("--ready", f"http://127.0.0.1:{port}/"))
    assert status == SupervisorFailed.exit_status
    assert "ended before it was ready" in line["message"]
    assert "the reason" in line["message"]


def test_start_stops_a_daemon_that_never_becomes_ready(directory, port):
    ready = ("--ready", f"http://127.0.0.1:{port}/unready", "--deadline", "0.5")
    status, line = start(directory, SERVER, port, options=ready)
    assert status == SupervisorFailed.exit_status
    assert "within 0.5 s" in line["message"]
    assert supervise("status", "daemon", "--dir", directory)[0] == 3


def test_stop_ends_the_daemon_and_a_second_stop_changes_nothing(directory):
    _, started = start(directory)
    assert supervise("stop", "daemon", "--dir", directory) == (
        0,
        {"name": "daemon", "running": False, "changed": True, "pid": None},
    )
    assert not runs(started["pid"])
    assert supervise("stop", "daemon", "--dir", directory)[1]["changed"] is False


def test_stop_in_a_directory_that_is_not_there_changes_nothing(tmp_path):
    assert supervise("stop", "daemon", "--dir", tmp_path / "absent")[1]["changed"] is False
    assert not (tmp_path / "absent").exists()


def test_stop_kills_a_process_that_ignores_term_after_the_grace_time(directory):
    _, started = start(directory, STUBBORN)
    assert wait_for(lambda: (directory / "daemon.log").read_text() == "up\n")
    before = time.monotonic()
    assert supervise("stop", "daemon", "--dir", directory, "--grace", "0.5")[1]["changed"] is True
    assert time.monotonic() - before >= 0.5
    assert not runs(started["pid"])


def test_stop_with_kill_does_not_wait(directory):
    _, started = start(directory, STUBBORN)
    before = time.monotonic()
    assert supervise("stop", "daemon", "--dir", directory, "--kill")[1]["changed"] is True
    assert time.monotonic() - before < 5
    assert not runs(started["pid"])


def test_stop_takes_the_children_of_the_daemon_with_it(directory):
    start(directory, PARENT)
    log = directory / "daemon.log"
    assert wait_for(lambda: log.read_text().endswith("\n"))
    child = int(log.read_text())
    assert runs(child)
    supervise("stop", "daemon", "--dir", directory)
    assert wait_for(lambda: not runs(child))


def test_a_pid_that_was_given_to_another_process_is_left_alone(directory):
    directory.mkdir()
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL) as stranger:
        record = {"pid": stranger.pid, "started": 1, "command": [sys.executable]}
        (directory / "daemon.pid").write_text(json.dumps(record))
        assert supervise("status", "daemon", "--dir", directory)[1]["running"] is False
        assert supervise("stop", "daemon", "--dir", directory)[1]["changed"] is False
        assert stranger.poll() is None
        stranger.kill()


def test_a_zombie_does_not_run(directory):
    directory.mkdir()
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL) as process:
        started = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])
        record = {"pid": process.pid, "started": started, "command": [sys.executable]}
        (directory / "daemon.pid").write_text(json.dumps(record))
        assert Daemon("daemon", directory).status().running is True
        os.kill(process.pid, signal.SIGKILL)
        assert wait_for(lambda: not runs(process.pid))
        assert Daemon("daemon", directory).status().running is False
        assert Daemon("daemon", directory).stop(grace_seconds=5).changed is False


def test_a_damaged_pid_file_stops_everything_with_its_name(directory):
    directory.mkdir()
    (directory / "daemon.pid").write_text('{"pid": 1')
    status, line = supervise("stop", "daemon", "--dir", directory)
    assert status == SupervisorFailed.exit_status
    assert str(directory / "daemon.pid") in line["message"]
    (directory / "daemon.pid").unlink()


def test_status_tells_a_dead_daemon_by_its_exit_status(directory):
    _, started = start(directory)
    assert supervise("status", "daemon", "--dir", directory) == (0, {**started, "changed": False})
    os.kill(started["pid"], signal.SIGKILL)
    assert wait_for(lambda: not runs(started["pid"]))
    assert supervise("status", "daemon", "--dir", directory)[0] == 3
    assert start(directory)[1]["changed"] is True


def test_sweep_stops_every_daemon_below_a_directory(tmp_path):
    pids = [start(tmp_path / host / "processes", name=host)[1]["pid"] for host in ("alice", "bob")]
    status, line = supervise("sweep", "--dir", tmp_path)
    assert (status, sorted(line["stopped"]), line["changed"]) == (0, ["alice", "bob"], True)
    assert not any(map(runs, pids))
    assert supervise("sweep", "--dir", tmp_path)[1] == {"stopped": [], "changed": False}


def test_sweep_stops_a_daemon_that_another_one_starts_meanwhile(tmp_path):
    keeper = (
        "import subprocess, sys, time\n"
        "while True:\n"
        "    subprocess.run([sys.executable, '-m', 'sharekeeper_devnet.supervise', 'start', 'kept', '--dir', sys.argv[1],"
        " '--', sys.executable, '-c', 'import time; time.sleep(600)'], stdout=subprocess.DEVNULL)\n"
        "    time.sleep(0.01)\n"
    )
    start(tmp_path, keeper, str(tmp_path), name="keeper")
    assert wait_for((tmp_path / "kept.pid").exists)
    sweep(tmp_path, grace_seconds=0)
    assert not list(tmp_path.glob("*.pid"))
    assert Daemon("kept", tmp_path).status().running is False


def test_a_command_is_needed_for_start_alone(tmp_path, capfd):
    argv = [sys.executable, "-m", "sharekeeper_devnet.supervise"]
    for words in (["start", "x", "--dir", str(tmp_path)], ["stop", "x", "--dir", str(tmp_path), "--", "true"]):
        assert subprocess.run(argv + words, check=False).returncode == 2
    assert "start takes a command" in capfd.readouterr().err
