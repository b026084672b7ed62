"""The whole drill: three operators lose every MPC machine and get the same key back, without root, in two minutes."""

import asyncio
import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import base58
import pytest
from nacl.signing import VerifyKey

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.protocol.codec import decode_keyset
from tests.drills.running import processes_of

OPERATORS = ("alice", "bob", "carol")

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=["p2p", "web"])
def drilled(request, tmp_path_factory):
    """A run directory after one whole drill over that transfer, and what the drill printed."""
    run = tmp_path_factory.mktemp("drill") / "run"
    result = subprocess.run(
        [sys.executable, "-m", "sharekeeper_devnet.drill", "-e", f"localnet_transfer={request.param}"],
        env={**os.environ, "SHAREKEEPER_RUN": str(run)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    return run, result.stdout


@pytest.fixture(scope="module")
def report(drilled):
    return json.loads((drilled[0] / "report" / "report.json").read_text())


def shares_of(run: Path):
    keyset = decode_keyset(json.loads((run / "operators" / "init.json").read_text())["keyset"])
    for operator in OPERATORS:
        store = DirectoryKeyShareStore(run / f"{operator}_mpc2" / "keyshares")
        held = asyncio.run(store.read(keyset))
        assert held is not None, operator
        yield from held


def written(run: Path):
    """Everything a drill shows or logs."""
    paths = [*(run / "report").iterdir(), *run.glob("*/processes/*.log")]
    assert len(paths) > 10
    return {path: path.read_bytes() for path in paths}


def spellings(secret: bytes):
    yield from (secret, secret[::-1])
    for raw in (secret, secret[::-1]):
        yield from (raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), base58.b58encode(raw))


def test_the_drill_passes_and_its_report_says_so(drilled, report):
    run, printed = drilled
    assert (report["schema"], report["type"], report["verdict"], report["findings"]) == (
        1,
        "drill-report",
        "passed",
        [],
    )
    assert "PASSED" in printed
    assert f"{run}/report/report.html" in printed
    assert (run / "report" / "report.txt").read_text() in printed


def test_both_signatures_hold_under_one_public_key(report):
    before, after = report["signature_before"], report["signature_after"]
    assert before["public_key"] == after["public_key"]
    key = VerifyKey(base58.b58decode(before["public_key"].removeprefix("ed25519:")))
    for proof in (before, after):
        key.verify(proof["message"].encode(), bytes.fromhex(proof["signature"]))
    assert before["message"] != after["message"]
    assert after["at"] > report["loss"]["at"] > before["at"]


def test_nobody_could_sign_between_the_loss_and_the_recoveries(report):
    first = min(one["running"]["at"] for one in report["recoveries"])
    assert report["loss"]["at"] < report["impossible"]["at"] < first < report["signing_again"]["at"]


def test_the_operators_recovered_one_after_another_on_new_machines(report):
    recoveries = sorted(report["recoveries"], key=lambda one: one["recovery_id"])
    assert sorted(one["account_id"] for one in recoveries) == [f"{name}.test.near" for name in OPERATORS]
    assert len({one["new_tls_key"] for one in recoveries}) == len(OPERATORS)
    heights = [one[name]["height"] for one in recoveries for name in ("entered", "delivered", "running")]
    assert heights == sorted(set(heights))


def test_the_times_are_measured_and_no_share_was_lost(report):
    assert 0 < max(one["rto_seconds"] for one in report["recoveries"]) < report["rto_seconds"] < 240
    assert report["rpo_epochs"] == 0
    assert 0 <= report["rpo_seconds"] < 240
    assert {"ansible-core", "aiohttp", "Python", "plan"} <= dict(report["versions"]).keys()


def test_no_byte_of_a_share_or_private_key_is_in_a_log_or_report(drilled):
    run, printed = drilled
    places = {**written(run), "standard output": printed.encode()}
    secrets = [share.private_share.reveal() for share in shares_of(run)]
    assert len(secrets) == 3 * len(OPERATORS)
    keys = [*run.glob("*/keys/*"), *(run / "operators" / f"{name}.test.near" for name in OPERATORS)]
    assert len(keys) > 3 * len(OPERATORS)
    lines = [path.read_bytes().strip() for path in keys]
    assert all(line.startswith((b"ed25519:", b"AGE-SECRET-KEY-1")) for line in lines)
    for needle in [*lines, *(form for secret in secrets for form in spellings(secret))]:
        assert [place for place, content in places.items() if needle in content] == []


def test_the_lost_machines_are_gone_and_nothing_runs(drilled):
    run, _ = drilled
    assert not [run / f"{name}_mpc" for name in OPERATORS if (run / f"{name}_mpc").exists()]
    assert not list(run.rglob("*.pid"))
    assert processes_of(run) == []


def test_everything_is_private_to_its_owner(drilled):
    run, _ = drilled
    assert run.stat().st_mode & 0o077 == 0
    for path in [*run.glob("*_backup/**/*"), *run.glob("*_mpc2/**/*"), *run.glob("operators/*")]:
        assert path.stat().st_mode & 0o077 == 0, path
