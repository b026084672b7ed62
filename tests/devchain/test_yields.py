"""Calls that yield: resumed by the contract, or told that their time ran out; pending receipts survive a stop."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.ledger import ExecutionStatus
from sharekeeper_devnet.chain.receipt import ActionReceipt, decode_receipt, encode_receipt
from tests.devchain.conftest import TERA
from tests.devchain.ledger_world import CONTRACTS, World, call, logs, script_genesis, value
from tests.devchain.promise_wat import REGISTER, At, Script, amount
from tests.devchain.test_promises import reads, says, stored

TIMEOUT = 12


@pytest.fixture
def world(tmp_path):
    opened = World(tmp_path, script_genesis(yield_timeout_blocks=TIMEOUT))
    yield opened
    opened.ledger.close()


def yields(callback: bytes) -> Script:
    """A script that yields to `callback` and keeps the data id under `id`."""
    script = Script()
    script.promise_return(script.promise_yield_create("run", callback, 20 * TERA, 0, 7))
    script.storage_write("id", REGISTER, 7, 9)
    return script


def resumes(payload: bytes) -> Script:
    """A script that resumes what waits under `id` and logs whether there was something."""
    script = Script()
    script.storage_read("id", 7)
    script.log_number(script.promise_yield_resume(REGISTER, 7, payload))
    return script


def test_a_yield_waits_until_it_is_resumed_and_returns_what_the_callback_returns(world):
    waiting = world.start(yields(reads(1, returning=0)))
    for _ in range(5):
        world.produce_block()
    inclusion = world.ledger.progress(waiting)
    assert inclusion.result() is None
    assert world.ledger.tip.status_of(inclusion) is ExecutionStatus.INCLUDED_FINAL
    assert logs(world.run(resumes(b"signed"))) == [("one.near", "1")]
    inclusion = world.ledger.progress(waiting)
    assert value(inclusion) == b"signed"
    assert [line for _, line in logs(inclusion)] == ["1", "1"]


def test_a_yield_nobody_resumes_is_told_so_when_its_time_has_run_out(world):
    inclusion = world.finish(world.start(yields(reads(1))))
    made = next(each for each in inclusion.receipts if _is_yield(each))
    assert [line for _, line in logs(inclusion)] == ["1", "2"]
    assert made.executed_height == made.height + TIMEOUT + 1
    assert logs(world.run(resumes(b"late"))) == [("one.near", "0")]


def _is_yield(record) -> bool:
    return isinstance(record.receipt.body, ActionReceipt) and record.receipt.body.is_promise_yield


def test_time_runs_out_too_when_heights_are_skipped(world):
    waiting = world.start(yields(reads(1)))
    for _ in range(3):
        world.produce_block()
    world.produce_block(500)
    world.produce_block()
    assert [line for _, line in logs(world.ledger.progress(waiting))] == ["1", "2"]


def test_the_first_of_two_resumptions_counts(world):
    waiting = world.start(yields(reads(1, returning=0)))
    for _ in range(3):
        world.produce_block()
    hashes = [world.start(resumes(payload), gas=20 * TERA) for payload in (b"first", b"second")]
    assert [line for each in hashes for _, line in logs(world.finish(each))] == ["1", "1"]
    assert value(world.ledger.progress(waiting)) == b"first"


def test_a_yield_resumed_by_the_call_that_made_it_runs_with_that_data(world):
    script = yields(reads(1, returning=0))
    script.log_number(script.promise_yield_resume(REGISTER, 7, b"at once"))
    inclusion = world.run(script)
    assert value(inclusion) == b"at once"
    assert not any(_is_yield(each) for each in inclusion.receipts)
    assert list(world.ledger.state_at(world.ledger.tip.head).scan(b"y:one.near:")) == []
    assert [line for _, line in logs(inclusion)] == ["1", "1", "1"]


def test_no_contract_resumes_the_yield_of_another(world):
    world.start(yields(reads(1)))
    for _ in range(3):
        world.produce_block()
    script = Script()
    script.log_number(script.promise_yield_resume(stored(world, "one.near", b"id"), b"stolen"))
    assert logs(world.run(script, "two.near")) == [("two.near", "0")]


def test_a_yield_that_a_failing_call_made_never_was(world):
    script = yields(reads(1))
    script.panic()
    inclusion = world.run(script)
    assert not any(_is_yield(each) for each in inclusion.receipts)
    assert list(world.ledger.state_at(world.ledger.tip.head).scan(b"y:one.near:")) == []


def test_waiting_receipts_and_what_they_wait_for_survive_a_stop_at_every_block(world):
    script = Script()
    asked = script.promise_create("two.near", "run", says("two"), amount(3), 10 * TERA)
    script.promise_create("three.near", "run", says("three"), amount(0), 10 * TERA)
    slow = script.promise_yield_create("run", reads(1), 10 * TERA, 0, 7)
    indices = b"".join(index.to_bytes(8, "little") for index in (0, 1, 2))
    joined = script.promise_and(At(indices), 3)
    script.promise_return(script.promise_then(joined, "one.near", "run", reads(3, returning=0), amount(0), 10 * TERA))
    tx_hash = world.start(script)
    blocks = 0
    while world.ledger.progress(tx_hash) is None or world.ledger.progress(tx_hash).result() is None:
        world.produce_block()
        world.restart()
        blocks += 1
        assert blocks < 40
    assert value(world.ledger.progress(tx_hash)) == b"two"
    assert (asked.index, slow.index) == (0, 2)
    assert world.balance("two.near") == 1_000 * 10**24 + 3


def test_nothing_that_came_for_a_receipt_stays_behind(world):
    world.finish(world.start(yields(reads(1))))
    state = world.ledger.state_at(world.ledger.tip.head)
    waiting = [
        key for name in CONTRACTS for prefix in ("r", "y") for key, _ in state.scan(f"{prefix}:{name}:".encode())
    ]
    assert waiting == []


# any tree of receipts


@st.composite
def scripts(draw, depth: int = 0) -> Script:
    """A script that makes promises of promises: calls that return, fail, yield, send money, follow each other."""
    script, made = Script(), []
    for _ in range(draw(st.integers(0, 3 if depth < 2 else 0))):
        kind = draw(st.sampled_from(["call", "then", "transfer", "yield", "nobody", "delete"]))
        receiver = draw(st.sampled_from(CONTRACTS))
        inner = bytes(draw(scripts(depth + 1)))
        gas, money = draw(st.integers(0, 40)) * TERA, amount(draw(st.integers(0, 10**24)))
        match kind:
            case "then" if made:
                made.append(script.promise_then(draw(st.sampled_from(made)), receiver, "run", inner, money, gas))
            case "transfer":
                made.append(script.promise_batch_create(receiver))
                script.promise_batch_action_transfer(made[-1], money)
            case "yield":
                made.append(script.promise_yield_create("run", inner, gas, draw(st.integers(0, 2)), 7))
                if draw(st.booleans()):
                    script.promise_yield_resume(REGISTER, 7, b"data")
            case "nobody":
                made.append(script.promise_create("nobody.near", "run", inner, money, gas))
            case "delete":
                made.append(script.promise_batch_create(draw(st.sampled_from(CONTRACTS))))
                script.promise_batch_action_delete_account(made[-1], receiver)
            case _:
                made.append(script.promise_create(receiver, "run", inner, money, gas))
    if made and draw(st.booleans()):
        script.promise_return(draw(st.sampled_from(made)))
    if draw(st.integers(0, 4)) == 0:
        script.panic()
    return script


@given(trees=st.lists(scripts(), min_size=1, max_size=3), stops=st.sets(st.integers(0, 25)))
@settings(max_examples=25, deadline=None)
def test_money_is_conserved_every_receipt_runs_once_and_a_stop_changes_nothing(tmp_path_factory, trees, stops):
    ends = []
    for restarting in (False, True):
        world = World(tmp_path_factory.mktemp("chain"), script_genesis(yield_timeout_blocks=5))
        hashes = [
            world.submit(name, [call(script, gas=250 * TERA, deposit=10**24)])
            for script, name in zip(trees, CONTRACTS, strict=False)
        ]
        for block in range(30):
            executed = world.produce_block()
            assert len({each.receipt.id for each in executed}) == len(executed)
            for record in executed:
                assert decode_receipt(encode_receipt(record.receipt)) == record.receipt
            if restarting and block in stops and all(world.ledger.progress(each) for each in hashes):
                world.restart()
        inclusions = [world.ledger.progress(each) for each in hashes]
        for inclusion in inclusions:
            assert all(each.executed_height is not None for each in inclusion.receipts)
            assert world.ledger.tip.status_of(inclusion) is ExecutionStatus.FINAL
        root = world.ledger.tip.head.state_root
        accounts = {
            name: chain_state.read_account(world.ledger.state_at(world.ledger.tip.head), name) for name in CONTRACTS
        }
        ends.append((root, accounts, inclusions))
        world.ledger.close()
    assert ends[0] == ends[1]
