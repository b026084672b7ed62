"""What a quorum of endpoints, or the operator in its place, lets pass before the first share byte leaves.

Real vault, approvals, overrides and sessions; chain, endpoints and wire are simulated, so that they can change between
two frames.
"""

import asyncio
from dataclasses import replace

import pytest

from sharekeeper.backup_service.report import report_backup_service
from sharekeeper.domain.backup import QuorumOverride
from sharekeeper.errors import ChainAnswerInvalid, ChainUnavailable, PolicyRefused, WrongNetwork
from sharekeeper.protocol.quorum import Standing
from tests.protocol.exchange_values import shares_of
from tests.unit.contract_views import read, views
from tests.unit.protocol_values import ALICE, NEW, RUNNING, keyset, node_keys, record, recovery, signer, tls

from .test_hand_out import OWN, Bench

TRUTH = record(candidate=NEW, backup_service=OWN)


@pytest.fixture
async def bench(tmp_path):
    """Own node and two others, of which two must agree."""
    made = await Bench(tmp_path).ready()
    made.truth.quorum = 2
    made.truth.others = {"a": honest, "b": honest}
    yield made
    await made.service._worker.stop()
    made.vault.close()
    for task in made.node.tasks:
        task.cancel()


def honest(said):
    return said


def silent(_said):
    return None


def forks(said):
    fork = replace(said.block, hash="another")
    return replace(said, final=fork, block=fork)


def far_behind(said):
    old = replace(said.block, height=said.block.height - 50)
    return replace(said, final=old, block=None, views=None, fault=ChainUnavailable("UNKNOWN_BLOCK"))


def garbage(said):
    return replace(said, final=None, block=None, views=None, fault=ChainAnswerInvalid("HTML"))


def foreign(said):
    return replace(said, final=None, block=None, views=None, fault=WrongNetwork("serves chain_id 'x'"))


def shows(state, account=TRUTH):
    return lambda said: replace(said, views=views(state, account))


HOSTILE = [silent, forks, far_behind, garbage, foreign, shows(RUNNING), shows(recovery(recovery_id=8))]


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_one_hostile_endpoint_of_three_holds_nothing_up(bench, hostile):
    bench.truth.others["b"] = hostile
    await bench.turns()
    assert bench.node.got_shares()
    assert bench.caller.calls[0] == ("confirm_key_share_delivery", {"recovery_id": 7})


@pytest.mark.parametrize("first", HOSTILE)
@pytest.mark.parametrize(
    "second", [silent, shows(recovery(new=node_keys(12))), shows(replace(RUNNING, keyset=keyset(4)))]
)
async def test_without_a_quorum_that_shows_the_recovery_the_node_is_not_even_dialled(bench, first, second):
    bench.truth.others = {"a": first, "b": second}
    await bench.turns()
    assert bench.node.dialled == []
    assert "no_quorum" in bench.codes()
    assert bench.approvals.pending()[0].used_for is None


@pytest.mark.parametrize(
    "other",
    [
        shows(RUNNING),
        shows(recovery(recovery_id=8)),
        shows(recovery(new=node_keys(12))),
        shows(recovery(confirmed=True)),
        shows(replace(recovery(), previous=replace(RUNNING, keyset=keyset(4)))),
        shows(recovery(), replace(TRUTH, backup_services=(None, None))),
        shows(
            recovery(),
            replace(TRUTH, backup_services=(replace(OWN, tls_public_key=tls(99), signer_key=signer(99)), None)),
        ),
    ],
    ids=["running", "other id", "other machine", "confirmed", "older keyset", "not registered", "replaced"],
)
async def test_a_quorum_that_agrees_on_something_else_outvotes_the_own_node_and_any_override(bench, other):
    bench.truth.others = {"a": other, "b": other}
    await override(bench)
    await bench.turns()
    assert bench.node.dialled == []
    assert not bench.node.got_shares()
    assert bench.codes() >= {"no_quorum", "chain_contradiction"}
    told = {fault.topic: fault.message for fault in bench.service.faults.current()}
    assert "own lies: at block 1000 it shows" in told["endpoint own"]
    assert "a and b show" in told["hand-out"]
    assert bench.overrides.pending()[0].used_at_ns is None


async def test_the_fault_of_an_endpoint_stays_while_nothing_is_agreed(bench):
    bench.truth.others = {"a": forks, "b": honest}
    await bench.service.endpoints.compare()
    assert "endpoint a" in {fault.topic for fault in bench.service.faults.current()}
    bench.truth.others = {"a": shows(RUNNING), "b": silent}
    await bench.service.endpoints.compare()
    assert {fault.topic for fault in bench.service.faults.current()} >= {"endpoint a", "quorum"}
    bench.truth.others = {"a": honest, "b": honest}
    await bench.service.endpoints.compare()
    assert bench.service.faults.current() == ()


def goes_silent(bench):
    bench.truth.others = {"a": silent, "b": silent}


def takes_it_back(bench):
    bench.truth.others = {"a": shows(RUNNING), "b": shows(RUNNING)}


def grows_old(bench):
    bench.truth.others = dict.fromkeys(
        ("a", "b"),
        lambda said: replace(said, block=replace(said.block, timestamp_ns=said.block.timestamp_ns - 61 * 10**9)),
    )


@pytest.mark.parametrize("change", [goes_silent, takes_it_back, grows_old])
async def test_the_quorum_is_asked_again_before_the_first_share_byte_and_may_have_changed(bench, change):
    bench.node.before_hello = lambda: change(bench)
    await bench.turns(1)
    assert bench.node.dialled
    assert bench.truth.surveys == 2
    assert not bench.node.got_shares()
    assert bench.approvals.pending()[0].used_for is None
    assert bench.service.delivered is None
    assert "no_quorum" in bench.codes()
    bench.node.before_hello = lambda: None
    bench.truth.others = {"a": honest, "b": honest}
    bench.clock.seconds += 5
    await bench.turns(2)
    assert bench.node.got_shares()


async def test_nothing_is_asked_of_the_other_endpoints_while_nothing_is_to_be_released(bench):
    bench.chain.state = RUNNING
    await bench.turns(6)
    assert bench.truth.surveys == 0


# --- destroying ---------------------------------------------------------------------------------


async def with_newer_keyset(bench):
    """A newer keyset is in force and in the vault, past the grace time."""
    newer = replace(RUNNING, keyset=keyset(6))
    await bench.vault.store(newer.keyset, shares_of(newer.keyset), tls(1))
    bench.chain.state, bench.chain.height = newer, 1001
    bench.clock.seconds += 3601
    return newer


async def test_older_keysets_are_destroyed_when_a_quorum_has_the_newer_one(bench):
    await with_newer_keyset(bench)
    bench.truth.others["b"] = silent
    await bench.turns()
    assert [backup.keyset.epoch_id for backup in bench.vault.index()] == [6]


@pytest.mark.parametrize("other", [silent, shows(RUNNING)])
async def test_the_own_node_alone_destroys_no_keyset_and_stores_one_all_the_same(bench, other):
    bench.truth.others = {"a": other, "b": other}
    await with_newer_keyset(bench)
    await override(bench)
    await bench.turns()
    assert [backup.keyset.epoch_id for backup in bench.vault.index()] == [5, 6]
    assert "no_quorum" in bench.codes()


# --- the operator's override ----------------------------------------------------------------------


async def override(bench, **changes):
    """The operator vouches for the own node, whose word at the named block is `bench.truth.own`."""
    bench.truth.own = read(recovery(), TRUTH)
    given = {
        "account_id": ALICE,
        "block_hash": "1" * 32,
        "recovery_id": 7,
        "tls_key": NEW.info.tls_public_key,
        "deadline_ns": bench.clock.wall_ns() + 60 * 10**9,
        "used_at_ns": None,
    }
    await bench.overrides.add(QuorumOverride(**given | changes))


async def test_an_override_stands_for_a_quorum_that_is_missing_once_and_loudly(bench, caplog):
    goes_silent(bench)
    used_when_shares_arrived = []
    bench.node.before_receipt = lambda: used_when_shares_arrived.append(bench.overrides.pending()[0].used_at_ns)
    await override(bench)
    await bench.turns()
    assert bench.node.got_shares()
    assert used_when_shares_arrived[0] is not None
    assert bench.service.gate.overridden_total == 1
    [line] = [line for line in caplog.records if "override" in line.message]
    assert line.levelname == "ERROR"
    assert bench.approvals.pending()[0].used_for == 7


async def test_an_override_is_used_up_by_one_try_even_if_the_node_did_not_get_the_shares(bench):
    goes_silent(bench)
    bench.node.receipts = False
    await override(bench)
    await bench.turns(2)
    assert bench.node.got_shares()
    bench.node.receipts = True
    dialled = len(bench.node.dialled)
    bench.clock.seconds += 5
    await bench.turns(3)
    assert len(bench.node.dialled) == dialled
    assert bench.codes() == {"no_quorum"}


async def test_an_override_takes_no_approvals_place(bench):
    goes_silent(bench)
    await override(bench)
    for path in bench.approvals_dir.glob("*.json"):
        path.unlink()
    await bench.turns()
    assert bench.node.dialled == []
    assert bench.codes() == {"policy_refused"}


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        ({"recovery_id": 8}, None),
        ({"tls_key": tls(12)}, None),
        ({"deadline_ns": 1}, None),
        ({"account_id": "bob.test.near"}, None),
        ({}, read(RUNNING, TRUTH)),
        ({}, read(recovery(new=node_keys(12)), TRUTH)),
        ({}, read(recovery(recovery_id=8), TRUTH)),
        ({}, read(recovery(), replace(TRUTH, backup_services=(None, None)))),
        ({}, PolicyRefused("that block is not final")),
        ({}, ChainUnavailable("unknown block")),
    ],
)
async def test_an_override_for_anything_else_releases_nothing(bench, changes, own):
    goes_silent(bench)
    await override(bench, **changes)
    bench.truth.own = own or bench.truth.own
    await bench.turns()
    assert bench.node.dialled == []
    assert bench.overrides.pending()[0].used_at_ns is None
    assert bench.codes() & {"no_quorum", "policy_refused", "chain_unavailable"}


def passes_its_deadline(bench):
    bench.clock.seconds += 61


def is_contradicted_by_the_own_node(bench):
    bench.truth.own = read(RUNNING, TRUTH)


def is_overtaken(bench):
    """The own node still shows the recovery at the block that the override names, and not any more at its newest."""
    bench.chain.state, bench.chain.height = RUNNING, 1001


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (passes_its_deadline, "no_quorum"),
        (is_contradicted_by_the_own_node, "no_quorum"),
        (takes_it_back, "no_quorum"),
        (is_overtaken, "pin_changed"),
    ],
)
async def test_an_override_is_looked_at_again_before_the_first_share_byte(bench, change, code):
    goes_silent(bench)
    await override(bench)
    bench.node.before_hello = lambda: change(bench)
    await bench.turns(1)
    assert bench.node.dialled
    assert not bench.node.got_shares()
    assert code in bench.codes()
    assert bench.overrides.pending()[0].used_at_ns is None
    assert bench.approvals.pending()[0].used_for is None


async def test_an_override_that_cannot_be_written_down_releases_nothing(bench):
    goes_silent(bench)
    await override(bench)

    async def spend(_override, _now_ns):
        raise PolicyRefused("it was used already")

    bench.overrides.spend = spend
    await bench.turns(2)
    assert not bench.node.got_shares()
    assert bench.codes() == {"policy_refused"}


# --- the comparison -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hostile", "code"),
    [
        (silent, "chain_unavailable"),
        (forks, "chain_contradiction"),
        (far_behind, "chain_stale"),
        (garbage, "chain_answer_invalid"),
        (foreign, "wrong_network"),
        (shows(replace(RUNNING, keyset=keyset(4))), "chain_contradiction"),
    ],
)
async def test_an_endpoint_that_does_not_agree_is_a_fault_with_its_name_until_it_does(bench, hostile, code):
    watch = bench.service.endpoints
    bench.truth.others["b"] = hostile
    await watch.compare()
    [fault] = bench.service.faults.current()
    assert (fault.topic, fault.code) == ("endpoint b", code)
    assert fault.message.startswith("b ")
    assert watch.faults_total == {("b", code): 1}
    bench.truth.others["b"] = honest
    await watch.compare()
    assert bench.service.faults.current() == ()
    assert {one.standing for one in watch.last.judgements} == {Standing.AGREES}


async def test_one_endpoint_alone_is_compared_with_nobody_and_said_to_be_alone(bench):
    bench.truth.others, bench.truth.quorum = {}, 1
    bench.chain.state = RUNNING
    await bench.turns()
    await asyncio.wait_for(bench.service.endpoints.run(), 1)
    assert bench.truth.comparisons == 0
    report = report_backup_service(bench.service, bench.clock.wall_ns())
    assert report.reasons == []
    assert "one NEAR endpoint alone" in report.warnings[0]
    assert report.status["warnings"] == report.warnings
    bench.truth.others, bench.truth.quorum = {"a": honest}, 2
    assert report_backup_service(bench.service, bench.clock.wall_ns()).warnings == []


async def test_a_garbled_answer_of_the_only_endpoint_releases_nothing_and_leaves_no_fault_behind(bench):
    bench.truth.others, bench.truth.quorum = {"own": garbage}, 1
    await bench.turns(2)
    assert bench.codes() == {"no_quorum"}
    bench.truth.others = {}
    bench.clock.seconds += 31
    await bench.turns(3)
    assert bench.node.got_shares()
    assert bench.codes() == set()


async def test_where_no_quorum_agrees_the_fault_quotes_every_endpoint(bench):
    bench.truth.others = {"a": forks, "b": shows(RUNNING)}
    await bench.service.endpoints.compare()
    [fault] = bench.service.faults.current()
    assert fault.topic == "quorum"
    assert all(f"{name}: block 1000" in fault.message for name in ("own", "a", "b"))
    bench.truth.others = {"a": honest, "b": honest}
    await bench.service.endpoints.compare()
    assert bench.service.faults.current() == ()
