"""The drill of a whole life: keys from nothing, a recovery, a fourth operator, two recoveries more, and one public key."""

import json

import base58
import pytest
from nacl.signing import VerifyKey

from sharekeeper.protocol.codec import decode_shares
from tests.drills.running import processes_of, read_report, secrets_found, whole_drill

FOUNDERS = [f"{name}.test.near" for name in ("alice", "bob", "carol")]
ALL = [*FOUNDERS, "dan.test.near"]
NODES = ("alice_mpc2", "bob_mpc2", "carol_mpc2", "dan_mpc")

pytestmark = [pytest.mark.drill, pytest.mark.timeout(580)]


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A run directory after a whole life, and what the drill printed."""
    run = tmp_path_factory.mktemp("drill") / "run"
    return run, whole_drill(run, "--drill", "life", seconds=560)


@pytest.fixture(scope="module")
def report(lived):
    return read_report(lived[0])


@pytest.fixture(scope="module")
def stages(report):
    return report["stages"]


def test_the_drill_passes_and_its_report_says_so(lived, report):
    run, printed = lived
    assert (report["drill"], report["verdict"], report["findings"], report["transfer"]) == ("life", "passed", [], "p2p")
    assert (run / "report" / "report.txt").read_text() in printed


def test_the_network_signs_at_each_stage_under_the_same_public_key(report, stages):
    key = VerifyKey(base58.b58decode(report["public_key"].removeprefix("ed25519:")))
    proofs = [stage["signature"] for stage in stages]
    assert len({proof["message"] for proof in proofs}) == len(proofs) == 4
    for proof in proofs:
        assert proof["public_key"] == report["public_key"]
        key.verify(proof["message"].encode(), bytes.fromhex(proof["signature"]))


def test_the_network_starts_without_a_key_and_goes_through_every_state(lived, report):
    run, _ = lived
    assert json.loads((run / "operators" / "init.json").read_text())["keyset"]["domains"] == []
    states = [phase["title"] for phase in report["states"]]
    assert states == [
        *("Running", "Initializing", "Running", "Recovery", "Running", "Resharing", "Running"),
        *("Recovery", "Running", "Recovery", "Running"),
    ]


def test_three_of_four_sign_where_two_of_three_did(stages):
    networks = [(sorted(stage["participants"]), stage["threshold"], stage["epoch_id"]) for stage in stages]
    assert networks == [(FOUNDERS, 2, 1), (FOUNDERS, 2, 1), (ALL, 3, 2), (ALL, 3, 2)]


def test_every_key_event_is_told_with_its_attempts_blocks_and_seconds(stages):
    for stage, epoch_id, participants in ((stages[0], 1, 3), (stages[2], 2, 4)):
        events = stage["key_events"]
        assert [(one["domain_id"], one["epoch_id"], one["participants"]) for one in events] == [
            (domain_id, epoch_id, participants) for domain_id in range(3)
        ]
        assert all(one["attempts"] >= 1 and one["blocks"] > 0 and one["seconds"] > 0 for one in events)


def test_every_backup_service_holds_each_keyset_and_no_older_one(stages):
    for stage, accounts, epoch_id in ((stages[0], FOUNDERS, 1), (stages[2], ALL, 2)):
        held = {one["account_id"]: (one["epoch_id"], one["domains"]) for one in stage["backups"]}
        assert held == dict.fromkeys(accounts, (epoch_id, 3))
        assert [one["older_epochs"] for one in stage["backups"]] == [[]] * len(accounts)


def test_the_lost_machines_came_back_in_both_networks(stages):
    first, second = stages[1]["outage"], stages[3]["outage"]
    assert [one["account_id"] for one in first["recoveries"]] == first["lost"] == ["carol.test.near"]
    assert sorted(one["account_id"] for one in second["recoveries"]) == sorted(second["lost"]) == FOUNDERS[:2]
    assert first["impossible"] is None
    assert second["impossible"]["at"] < min(one["running"]["at"] for one in second["recoveries"])
    for outage in (first, second):
        assert outage["rpo_epochs"] == 0
        assert 0 < max(one["rto_seconds"] for one in outage["recoveries"]) < outage["rto_seconds"]


@pytest.fixture(scope="module")
def shares(lived):
    """What each node has on its disk at the end, by machine: the shares of one keyset."""
    found = {}
    for node in NODES:
        (path,) = (lived[0] / node / "keyshares" / "permanent").glob("*.json")
        found[node] = decode_shares(json.loads(path.read_bytes())["shares"])
    return found


def test_every_node_has_shares_of_the_new_epoch_alone_and_no_two_the_same(shares):
    held = [share for found in shares.values() for share in found]
    assert {share.key_id.epoch_id for share in held} == {2}
    assert len({share.private_share.reveal() for share in held}) == 3 * len(NODES)


def test_no_byte_of_a_share_or_private_key_is_in_a_log_or_report(lived, shares):
    run, printed = lived
    raw = [share.private_share.reveal() for found in shares.values() for share in found]
    assert secrets_found(run, printed, raw) == []


def test_nothing_runs_afterwards(lived):
    run, _ = lived
    assert not [run / f"{name}_mpc" for name in ("alice", "bob", "carol") if (run / f"{name}_mpc").exists()]
    assert processes_of(run) == []
