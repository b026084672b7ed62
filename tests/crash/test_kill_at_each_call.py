"""kill -9 before each system call of each change: afterwards the old state or the new one holds, never neither."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.conftest import memory_directory
from tests.crash.scenarios import SCENARIOS, calls_of

REPOSITORY = Path(__file__).resolve().parents[2]


def points() -> list:
    """One test for each call an undisturbed run makes."""
    found = []
    directory = memory_directory()
    try:
        for name, scenario in SCENARIOS.items():
            calls = calls_of(scenario, directory / name)
            found += [pytest.param(name, at, id=f"{name}-{at:02d}-{call}") for at, call in enumerate(calls)]
    finally:
        shutil.rmtree(directory)
    return found


POINTS = points()


@pytest.fixture(scope="module")
def victim():
    command = [sys.executable, "-m", "tests.crash.victim"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()
        process.wait(timeout=10)


def run_and_kill(victim, name, at, root) -> int:
    victim.stdin.write(f"{name} {at} {root}\n")
    victim.stdin.flush()
    return int(victim.stdout.readline())


@pytest.mark.parametrize(("name", "at"), POINTS)
def test_after_a_kill_the_old_state_or_the_new_one_holds_and_a_retry_succeeds(victim, root, name, at):
    SCENARIOS[name].prepare(root)
    status = run_and_kill(victim, name, at, root)
    assert os.WIFSIGNALED(status), f"the process was not killed: status {status}"
    assert os.WTERMSIG(status) == signal.SIGKILL
    SCENARIOS[name].check(root)


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_undisturbed_process_ends_well(victim, root, name):
    SCENARIOS[name].prepare(root)
    assert run_and_kill(victim, name, 100_000, root) == 0
    SCENARIOS[name].check(root)


def test_the_scenarios_reach_every_kind_of_call():
    kinds = {point.id.rsplit("-", 1)[1] for point in POINTS}
    assert kinds == {"mkdir", "chmod", "create", "append", "write", "fsync", "rename", "unlink", "rmdir"}
