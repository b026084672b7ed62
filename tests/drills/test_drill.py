"""The whole drill: three operators lose every MPC machine and get the same key back, without root, in two minutes."""

import asyncio
import json

import base58
import pytest
from nacl.signing import VerifyKey

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.protocol.codec import decode_keyset
from tests.drills.running import processes_of, read_report, secrets_found, whole_drill

OPERATORS = ("alice", "bob", "carol")

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=["p2p", "web"])
def drilled(request, tmp_path_factory):
    """A run directory after one whole drill over that transfer, what the drill printed, and the transfer."""
    run = tmp_path_factory.mktemp("drill") / "run"
    return run, whole_drill(run, "-e", f"localnet_transfer={request.param}", seconds=280), request.param


@pytest.fixture(scope="module")
def report(drilled):
    return read_report(drilled[0])


@pytest.fixture(scope="module")
def outage(report):
    return report["stages"][1]["outage"]


def shares_of(run):
    keyset = decode_keyset(json.loads((run / "operators" / "init.json").read_text())["keyset"])
    for operator in OPERATORS:
        store = DirectoryKeyShareStore(run / f"{operator}_mpc2" / "keyshares")
        held = asyncio.run(store.read(keyset))
        assert held is not None, operator
        yield from held


def test_the_drill_passes_and_its_report_says_so(drilled, report):
    run, printed, transfer = drilled
    assert (report["schema"], report["type"], report["drill"]) == (2, "drill-report", "loss")
    assert (report["verdict"], report["findings"], report["transfer"]) == ("passed", [], transfer)
    assert "PASSED" in printed
    assert f"{run}/report/report.html" in printed
    assert (run / "report" / "report.txt").read_text() in printed


def test_both_signatures_hold_under_one_public_key(report, outage):
    before, after = (stage["signature"] for stage in report["stages"])
    assert before["public_key"] == after["public_key"] == report["public_key"]
    key = VerifyKey(base58.b58decode(report["public_key"].removeprefix("ed25519:")))
    for proof in (before, after):
        key.verify(proof["message"].encode(), bytes.fromhex(proof["signature"]))
    assert before["message"] != after["message"]
    assert after["at"] > outage["loss"]["at"] > before["at"]


def test_nobody_could_sign_between_the_loss_and_the_recoveries(report, outage):
    first = min(one["running"]["at"] for one in outage["recoveries"])
    assert outage["loss"]["at"] < outage["impossible"]["at"] < first < report["stages"][1]["signature"]["at"]


def test_the_operators_recovered_one_after_another_on_new_machines(outage):
    recoveries = sorted(outage["recoveries"], key=lambda one: one["recovery_id"])
    assert sorted(one["account_id"] for one in recoveries) == [f"{name}.test.near" for name in OPERATORS]
    assert len({one["new_tls_key"] for one in recoveries}) == len(OPERATORS)
    heights = [one[name]["height"] for one in recoveries for name in ("entered", "delivered", "running")]
    assert heights == sorted(set(heights))


def test_the_times_are_measured_and_no_share_was_lost(report, outage):
    assert 0 < max(one["rto_seconds"] for one in outage["recoveries"]) < outage["rto_seconds"] < 240
    assert outage["rpo_epochs"] == 0
    assert 0 <= outage["rpo_seconds"] < 240
    assert {"ansible-core", "aiohttp", "Python", "plan"} <= dict(report["versions"]).keys()


def test_no_byte_of_a_share_or_private_key_is_in_a_log_or_report(drilled):
    run, printed, _ = drilled
    shares = [share.private_share.reveal() for share in shares_of(run)]
    assert len(shares) == 3 * len(OPERATORS)
    assert secrets_found(run, printed, shares) == []


def test_the_lost_machines_are_gone_and_nothing_runs(drilled):
    run, *_ = drilled
    assert not [run / f"{name}_mpc" for name in OPERATORS if (run / f"{name}_mpc").exists()]
    assert not list(run.rglob("*.pid"))
    assert processes_of(run) == []


def test_everything_is_private_to_its_owner(drilled):
    run, *_ = drilled
    assert run.stat().st_mode & 0o077 == 0
    for path in [*run.glob("*_backup/**/*"), *run.glob("*_mpc2/**/*"), *run.glob("operators/*")]:
        assert path.stat().st_mode & 0o077 == 0, path
