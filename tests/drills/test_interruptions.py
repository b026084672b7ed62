"""However a drill ends, nothing of it is left running; and what is in its way is said in one line."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from sharekeeper.errors import AddressInUse, AlreadyRunning, ConfigInvalid, StoreFailed
from sharekeeper_devnet.drill_plan import PLANS
from tests.drills.running import (
    CHECKOUT,
    free_address,
    half_drill,
    processes_of,
    read_report,
    read_until,
    started,
    wait_for,
)

WAITING = "Wait for ever"


def run_to_end(command, run, **options):
    return subprocess.run(
        command,
        env={**os.environ, "SHAREKEEPER_RUN": str(run)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        **options,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_drill_leaves_no_process_and_says_so_in_its_report(tmp_path, number):
    run = tmp_path / "run"
    with started(half_drill(), run) as drill:
        read_until(drill, WAITING)
        assert wait_for(lambda: any("sleep 3600" in line for line in processes_of(run)), 10)
        assert any("neard" in line for line in processes_of(run))
        drill.send_signal(number)
        output, _ = drill.communicate(timeout=30)
        assert drill.returncode == 128 + number
    assert wait_for(lambda: not processes_of(run), 5), processes_of(run)
    assert "FAILED" in output
    assert json.loads((run / "report" / "report.json").read_text())["verdict"] == "failed"


@pytest.mark.parametrize("name", PLANS)
def test_the_playbook_played_by_hand_is_handed_to_its_drill(tmp_path, name):
    run = tmp_path / "run"
    playbook = f"playbooks/{PLANS[name].playbook}"
    ansible = [sys.executable, "-m", "ansible", "playbook", "-i", "inventory/localnet", playbook]
    with started(ansible, run, cwd=CHECKOUT) as drill:
        read_until(drill, "Start the chain")
        drill.send_signal(signal.SIGTERM)
        output, _ = drill.communicate(timeout=30)
        assert drill.returncode == 128 + signal.SIGTERM
    assert wait_for(lambda: not processes_of(run), 5), processes_of(run)
    assert "FAILED" in output
    assert (run / "report" / "report.html").exists()
    assert read_report(run)["drill"] == name


def test_what_outlives_a_killed_drill_is_swept(tmp_path):
    run = tmp_path / "run"
    with started(half_drill(), run) as drill:
        read_until(drill, WAITING)
        assert wait_for(lambda: any("sleep 3600" in line for line in processes_of(run)), 10)
        drill.kill()
    assert any("neard" in line for line in processes_of(run)), "nobody is there to stop the chain"
    swept = run_to_end([sys.executable, "-m", "sharekeeper_devnet.drill", "--sweep"], run)
    assert (swept.returncode, swept.stdout, swept.stderr) == (0, "", "")
    assert processes_of(run) == []


def test_a_drill_starts_clean_after_a_killed_one(tmp_path):
    run = tmp_path / "run"
    address = free_address()
    with started(half_drill(address=address), run) as drill:
        read_until(drill, WAITING)
        drill.kill()
    first_genesis = (run / "near" / "genesis.json").read_text()
    with started(half_drill(address=address), run) as drill:
        read_until(drill, WAITING)
        assert (run / "near" / "genesis.json").read_text() != first_genesis
        drill.send_signal(signal.SIGINT)
        drill.communicate(timeout=30)
    assert processes_of(run) == []


def test_a_second_drill_elsewhere_on_this_computer_is_refused_in_one_line(tmp_path):
    with started(half_drill(), tmp_path / "one") as drill:
        read_until(drill, "Start the chain")
        refused = run_to_end(half_drill(), tmp_path / "other")
        drill.send_signal(signal.SIGINT)
        drill.communicate(timeout=30)
    assert refused.returncode == AlreadyRunning.exit_status
    assert refused.stderr == "drill: another drill uses localnet's addresses on this computer; wait for its end\n"


def test_a_second_drill_on_the_same_directory_is_refused_in_one_line(tmp_path):
    run = tmp_path / "run"
    with started(half_drill(), run) as drill:
        read_until(drill, "Start the chain")
        second = run_to_end(half_drill(), run)
        assert second.returncode == AlreadyRunning.exit_status
        assert f"another drill (process {drill.pid}) works in {run}" in second.stderr
        assert second.stderr.count("\n") == 1
        drill.send_signal(signal.SIGINT)
        drill.communicate(timeout=30)


def test_a_drill_that_does_not_exist_is_refused_in_one_line_before_anything_starts(tmp_path):
    result = run_to_end([*half_drill(), "--drill", "hard-life"], tmp_path / "run")
    assert result.returncode == ConfigInvalid.exit_status
    assert result.stderr == (
        "drill: there is no drill hard-life, but loss, life, hard-loss: in hard launch (LAUNCH=hard) only DRILL=loss is "
        "played\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_directory_that_is_not_a_drills_is_refused_and_left_alone(tmp_path):
    (tmp_path / "photographs").mkdir()
    result = run_to_end(half_drill(), tmp_path)
    assert result.returncode == ConfigInvalid.exit_status
    assert "photographs" in result.stderr
    assert (tmp_path / "photographs").is_dir()


def test_a_run_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    result = run_to_end(half_drill(), tmp_path / "file" / "run")
    assert result.returncode == StoreFailed.exit_status
    assert "SHAREKEEPER_RUN" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_full_disk_is_told_before_anything_starts(tmp_path):
    result = run_to_end([*half_drill(), "-e", "localnet_free_megabytes=999999999"], tmp_path / "run")
    assert result.returncode != 0
    assert "MB free and the drill needs 999999999" in result.stdout
    assert not (tmp_path / "run" / "near").exists()


def test_a_taken_address_is_named_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run_to_end(half_drill(address=address), tmp_path / "run")
    assert result.returncode != 0
    assert f"cannot listen on {address} (taken)" in result.stdout
    assert AddressInUse.__name__ not in result.stdout
    assert not (tmp_path / "run" / "near").exists()


AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")


def python_of_nobody(environment):
    """A Python that another user can run with our libraries: ours may lie in a home that only its owner reads."""
    probe = "import subprocess, sys, yaml, cryptography; subprocess.run([sys.executable, '-c', ''], check=True)"
    for python in (sys.executable, "/usr/bin/python3"):
        if (
            subprocess.run(
                [*AS_NOBODY, python, "-c", probe], env=environment, capture_output=True, check=False
            ).returncode
            == 0
        ):
            return python
    pytest.skip("no Python here can be run by another user")


@pytest.mark.needs("setpriv")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_drill_needs_no_root():
    with tempfile.TemporaryDirectory(prefix="drill-") as scratch:
        copy = Path(scratch)
        copy.chmod(0o755)
        for name in ("agent", "playbooks", "roles", "inventory", "tests", "ansible.cfg"):
            source = CHECKOUT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        run = copy / "run"
        run.mkdir()
        os.chown(run, 65534, 65534)
        words = ["-e", f"localnet_rpc_address={free_address()}", "--playbook", str(copy / "tests/drills/half.yml")]
        libraries = f"{copy / 'agent'}:{sysconfig.get_path('purelib')}"
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": libraries, "SHAREKEEPER_RUN": str(run)}
        with subprocess.Popen(
            [*AS_NOBODY, python_of_nobody(environment), "-m", "sharekeeper_devnet.drill", *words],
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as drill:
            read_until(drill, WAITING)
            assert (run / "near" / "genesis.json").stat().st_uid == 65534
            drill.terminate()
            drill.communicate(timeout=30)
        assert processes_of(run) == []
