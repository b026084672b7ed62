"""The total loss in hard launch: attested parties on both sides, and what one wrong measurement stops."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.protocol.codec import decode_keyset
from sharekeeper_devnet.tee.guest import GuestShape
from tests.drills.running import processes_of, read_report, secrets_found, whole_drill

OPERATORS = ("alice", "bob", "carol")
WRONG = "alice_mpc2"
SHARED = "mpc/keyshares"

pytestmark = [pytest.mark.drill, pytest.mark.timeout(420)]


def keyset_of(run):
    return decode_keyset(json.loads((run / "operators" / "init.json").read_text())["keyset"])


@pytest.fixture(scope="module")
def drilled(tmp_path_factory):
    """A run directory after one whole drill, and what the drill printed."""
    run = tmp_path_factory.mktemp("hard") / "run"
    return run, whole_drill(run, "--drill", "hard-loss", seconds=400)


@pytest.fixture(scope="module")
def report(drilled):
    return read_report(drilled[0])


def test_the_drill_passes_and_says_that_every_machine_proved_itself(drilled, report):
    run, printed = drilled
    assert (report["verdict"], report["findings"], report["launch"]) == ("passed", [], "hard")
    assert "Hard launch, on the TEE host stand-in: 9 machines have proved what they run" in printed
    page = (run / "report" / "report.html").read_text()
    assert "What the machines proved" in page
    assert GuestShape().measurements.mrtd in page


def test_each_machine_shows_evidence_of_its_own_and_the_measurements_voted_for(report):
    machines = report["machines"]
    hosts = [f"{name}_{kind}" for name in OPERATORS for kind in ("mpc", "mpc2", "backup")]
    assert sorted(one["host"] for one in machines) == sorted(hosts)
    assert {one["checks"] for one in machines} == {14}
    assert len({one["digest"] for one in machines}) == len({one["tls_public_key"] for one in machines}) == 9
    shapes = {"node": GuestShape(), "backup-service": GuestShape(vcpus=4, memory_gb=16)}
    for one in machines:
        measured = shapes[one["role"]].measurements
        assert dict(one["measurements"]) == {name: getattr(measured, name) for name, _ in one["measurements"]}


def test_the_network_signs_again_under_the_same_key_and_no_share_was_lost(report):
    before, after = (stage["signature"] for stage in report["stages"])
    assert before["public_key"] == after["public_key"] == report["public_key"]
    outage = report["stages"][1]["outage"]
    recovered = {one["new_tls_key"] for one in outage["recoveries"]}
    assert recovered == {one["tls_public_key"] for one in report["machines"] if one["host"].endswith("mpc2")}
    assert (outage["rpo_epochs"], len(recovered)) == (0, 3)


def test_no_byte_of_a_share_or_private_key_is_in_a_log_or_report(drilled):
    run, printed = drilled
    keyset, shares = keyset_of(run), []
    for name in OPERATORS:
        held = asyncio.run(DirectoryKeyShareStore(run / f"{name}_mpc2" / SHARED).read(keyset))
        shares += [share.private_share.reveal() for share in held]
    assert len(shares) == 9
    assert secrets_found(run, printed, shares) == []


def test_nothing_runs_and_everything_is_private_to_its_owner(drilled):
    run, _ = drilled
    assert processes_of(run) == []
    for path in [*run.glob("*_backup/**/*"), *run.glob("*_mpc2/**/*"), *run.glob("rack/*")]:
        assert path.stat().st_mode & 0o077 == 0 or path.is_socket(), path


def test_one_wrong_measurement_stops_it_before_any_share_leaves_and_says_why(tmp_path):
    run = tmp_path / "run"
    words = ["--drill", "hard-loss", "-e", f"localnet_measured_wrongly={WRONG}"]
    drill = subprocess.run(
        [sys.executable, "-m", "sharekeeper_devnet.drill", *words],
        env={**os.environ, "SHAREKEEPER_RUN": str(run)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
        check=False,
    )
    assert drill.returncode != 0
    report = read_report(run)
    why = [finding for finding in report["findings"] if finding.startswith(f"{WRONG}: ")]
    wrong = GuestShape(memory_gb=65).measurements.rtmr0
    assert len(why) == 1
    assert "check 11 (measurements)" in why[0]
    assert wrong in why[0]
    assert why[0] in drill.stdout
    assert {one["host"] for one in report["machines"]} >= {"bob_mpc2", "carol_mpc2"}
    assert report["stages"][0]["signature"] is not None
    for name in OPERATORS:
        store = DirectoryKeyShareStore(run / f"{name}_mpc2" / SHARED)
        assert asyncio.run(store.read(keyset_of(run))) is None
        assert asyncio.run(store.staged()) is None
    assert processes_of(run) == []
