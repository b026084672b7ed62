import asyncio
import os
import time
from pathlib import Path

import pytest

from sharekeeper.adapters.supervisor import CommandSupervisor
from sharekeeper.config import SupervisorConfig
from sharekeeper.errors import SupervisorFailed


def supervisor(tmp_path, *start, stop=("/bin/true",), timeout_seconds=5.0):
    config = SupervisorConfig(start=start, stop=stop, directory=tmp_path)
    return CommandSupervisor(config, timeout_seconds=timeout_seconds)


def shell(script):
    return ("/bin/sh", "-c", script)


def lives(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("script", "changed"),
    [
        ("echo '{\"changed\": true}'", True),
        ('echo hello; echo \'{"changed": true, "name": "mpc"}\'', True),
        ("echo '{\"changed\": false}'", False),
        ("true", False),
        ("echo started", False),
        ("echo '{\"changed\": 1}'", False),
    ],
)
async def test_a_command_says_whether_it_changed_anything(tmp_path, script, changed):
    assert await supervisor(tmp_path, *shell(script)).ensure_running() is changed


async def test_start_and_stop_are_different_commands_run_beside_the_configuration(tmp_path):
    both = supervisor(tmp_path, *shell("touch running"), stop=shell("rm running"))
    await both.ensure_running()
    assert (tmp_path / "running").exists()
    await both.ensure_stopped()
    assert not (tmp_path / "running").exists()


async def test_a_failed_command_is_told_with_its_last_words(tmp_path):
    with pytest.raises(SupervisorFailed, match="status 3: no such unit"):
        await supervisor(tmp_path, *shell("echo no such unit >&2; exit 3")).ensure_running()


async def test_a_command_that_cannot_be_run_names_the_setting(tmp_path):
    with pytest.raises(SupervisorFailed, match=r"correct node_agent\.supervisor\.start"):
        await supervisor(tmp_path, str(tmp_path / "absent")).ensure_running()


async def test_a_command_that_hangs_is_killed_with_all_it_started(tmp_path):
    slow = supervisor(tmp_path, *shell("sleep 60 & echo $! > child; wait"), timeout_seconds=0.5)
    with pytest.raises(SupervisorFailed, match=r"did not end within 0\.5 s"):
        await slow.ensure_running()
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not lives(child):
            break
        await asyncio.sleep(0.02)
    assert not lives(child)


async def test_cancelling_kills_the_command(tmp_path):
    task = asyncio.create_task(supervisor(tmp_path, *shell("echo $$ > self; exec sleep 60")).ensure_running())
    while not (tmp_path / "self").exists() or not (tmp_path / "self").read_text().strip():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not lives(int((tmp_path / "self").read_text()))


async def test_a_node_that_keeps_the_command_s_output_open_does_not_hold_it_up(tmp_path):
    started = time.monotonic()
    script = "sleep 30 & echo $! > child; echo '{\"changed\": true}'"
    assert await supervisor(tmp_path, *shell(script)).ensure_running()
    assert time.monotonic() - started < 3
    os.kill(int((tmp_path / "child").read_text()), 9)


async def test_much_output_is_read_and_not_kept(tmp_path):
    assert await supervisor(tmp_path, *shell("yes | head -c 2000000; true")).ensure_running() is False
