"""Promises: receipts that contracts make, what they carry, and whose result becomes the transaction's.

After every block, balances, open receipts and burnt gas add up to what the chain started with.
"""

import pytest
from py_near import transactions as py_near

from sharekeeper_devnet.chain import NEAR, draft
from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.block import SuccessReceipt, SuccessValue
from sharekeeper_devnet.chain.borsh import DecodeError
from sharekeeper_devnet.chain.ledger import ExecutionStatus
from sharekeeper_devnet.chain.rejection import InvalidTransactionError
from sharekeeper_devnet.chain.state import ContractStorage
from sharekeeper_devnet.chain.transaction import (
    AccessKey,
    AddKey,
    DeleteAccount,
    FullAccess,
    FunctionCallAccess,
    decode_signed_transaction,
)
from sharekeeper_devnet.runtime import CallContext, PublicKey, run
from tests.devchain.conftest import ALICE, BOB, CAROL, TERA
from tests.devchain.ledger_world import USER, World, call, failure, logs, value
from tests.devchain.promise_wat import REGISTER, SCRIPT_WASM, At, Script, amount


@pytest.fixture
def world(tmp_path):
    opened = World(tmp_path)
    yield opened
    opened.ledger.close()


def says(text: str) -> bytes:
    """A script that returns `text`."""
    script = Script()
    script.value_return(text)
    return bytes(script)


def fails() -> bytes:
    script = Script()
    script.panic()
    return bytes(script)


def reads(count: int, *, returning: int | None = None) -> bytes:
    """A script that logs the number of results, then the state of each; returns one of them."""
    script = Script()
    script.log_number(script.promise_results_count())
    for index in range(count):
        script.log_number(script.promise_result(index, index))
    if returning is not None:
        script.value_return(REGISTER, returning)
    return bytes(script)


def stored(world: World, account_id: str, key: bytes) -> bytes | None:
    return ContractStorage(world.ledger.state_at(world.ledger.tip.head), account_id).get(key)


# whose result it is, and when each receipt runs


def test_a_callback_sees_what_the_promise_returned_and_its_own_value_is_the_transactions(world):
    script = Script()
    asked = script.promise_create("two.near", "run", says("hello"), amount(0), 10 * TERA)
    then = script.promise_then(asked, "one.near", "run", reads(1, returning=0), amount(0), 10 * TERA)
    script.promise_return(then)
    inclusion = world.run(script)
    assert value(inclusion) == b"hello"
    assert logs(inclusion) == [("one.near", "1"), ("one.near", "1")]
    assert isinstance(inclusion.receipt_outcome.status, SuccessReceipt)


def test_without_promise_return_the_value_is_that_of_the_first_call(world):
    script = Script()
    script.promise_create("two.near", "run", says("later"), amount(0), 10 * TERA)
    script.value_return("now")
    assert value(world.run(script)) == b"now"


def test_a_value_returned_after_a_promise_is_the_result(world):
    script = Script()
    script.promise_return(script.promise_create("two.near", "run", says("later"), amount(0), 10 * TERA))
    script.value_return("now")
    assert value(world.run(script)) == b"now"


def test_a_transaction_counts_as_executed_before_its_refund_arrives(world):
    tx_hash = world.start(Script())
    for _ in range(2):
        world.produce_block()
    inclusion = world.ledger.progress(tx_hash)
    assert [each.executed_height for each in inclusion.receipts] == [2, None]
    assert world.ledger.tip.status_of(inclusion) is ExecutionStatus.EXECUTED_OPTIMISTIC


def test_a_receipt_runs_in_a_later_block_than_the_one_that_made_it(world):
    script = Script()
    asked = script.promise_create("two.near", "run", says("hello"), amount(0), 10 * TERA)
    script.promise_then(asked, "three.near", "run", reads(1), amount(0), 10 * TERA)
    inclusion = world.run(script)
    runs = {each.receipt.receiver_id: each for each in inclusion.executed() if not each.receipt.is_refund}
    heights = [inclusion.height, *(runs[name].executed_height for name in ("one.near", "two.near", "three.near"))]
    assert heights == [1, 2, 3, 4]
    for each in inclusion.receipts[1:]:
        assert each.executed_height > each.height


def test_a_contract_that_calls_itself_does_so_in_the_next_block(world):
    script = Script()
    script.promise_return(script.promise_create("one.near", "run", says("self"), amount(0), 10 * TERA))
    inclusion = world.run(script)
    assert [each.executed_height for each in inclusion.executed() if not each.receipt.is_refund] == [2, 3]
    assert value(inclusion) == b"self"


def test_results_of_joined_promises_come_in_the_order_in_which_they_were_joined(world):
    script = Script()
    first = script.promise_create("two.near", "run", says("first"), amount(0), 10 * TERA)
    second = script.promise_create("three.near", "run", fails(), amount(0), 10 * TERA)
    third = script.promise_create("two.near", "run", says("third"), amount(0), 10 * TERA)
    indices = b"".join(number.to_bytes(8, "little") for number in (2, 1, 0))
    both = script.promise_and(At(indices), 3)
    script.promise_return(script.promise_then(both, "one.near", "run", reads(3, returning=2), amount(0), 10 * TERA))
    inclusion = world.run(script)
    assert [line for _, line in logs(inclusion)] == ["3", "1", "2", "1"]
    assert value(inclusion) == b"first"
    assert (first.index, second.index, third.index) == (0, 1, 2)


def test_a_returned_promise_answers_those_who_wait_for_the_returning_receipt(world):
    inner = Script()
    inner.promise_return(inner.promise_create("three.near", "run", says("deep"), amount(0), 10 * TERA))
    script = Script()
    asked = script.promise_create("two.near", "run", bytes(inner), amount(0), 50 * TERA)
    script.promise_return(script.promise_then(asked, "one.near", "run", reads(1, returning=0), amount(0), 10 * TERA))
    inclusion = world.run(script)
    assert value(inclusion) == b"deep"


def test_predecessor_is_who_made_the_receipt_and_signer_is_who_signed(world):
    who = Script()
    who.predecessor_account_id(0)
    who.storage_write("predecessor", REGISTER, 0, 9)
    who.signer_account_id(1)
    who.storage_write("signer", REGISTER, 1, 9)
    script = Script()
    script.promise_create("two.near", "run", bytes(who), amount(0), 10 * TERA)
    world.run(script)
    assert stored(world, "two.near", b"predecessor") == b"one.near"
    assert stored(world, "two.near", b"signer") == USER.encode()


# failures


def test_a_callback_sees_that_its_promise_failed_and_the_deposit_is_back_before_it_matters(world):
    before = world.balance("one.near")
    script = Script()
    asked = script.promise_create("two.near", "run", fails(), amount(7 * NEAR), 10 * TERA)
    script.promise_return(script.promise_then(asked, "one.near", "run", reads(1), amount(0), 10 * TERA))
    inclusion = world.run(script)
    assert value(inclusion) == b""
    assert [line for _, line in logs(inclusion)] == ["1", "2"]
    assert world.balance("one.near") == before
    assert world.balance("two.near") == 1_000 * NEAR


def test_a_failed_promise_without_a_callback_leaves_the_transaction_a_success(world):
    script = Script()
    script.promise_create("two.near", "run", fails(), amount(0), 10 * TERA)
    script.value_return("fine")
    assert value(world.run(script)) == b"fine"


def test_a_returned_promise_that_fails_is_the_failure_of_the_transaction(world):
    script = Script()
    script.promise_return(script.promise_create("nobody.near", "run", b"", amount(1), 10 * TERA))
    assert failure(world.run(script)) == {"AccountDoesNotExist": {"account_id": "nobody.near"}}


def test_a_call_that_fails_makes_no_receipts_and_writes_nothing(world):
    before, two = world.balance(USER), world.balance("two.near")
    script = Script()
    script.storage_write("key", "value", 0)
    script.promise_batch_action_transfer(script.promise_batch_create("two.near"), amount(5 * NEAR))
    script.panic()
    inclusion = world.run(script, deposit=3 * NEAR)
    assert "explicit guest panic" in str(failure(inclusion))
    assert [each.receipt.is_refund for each in inclusion.receipts] == [False, True, True]
    assert stored(world, "one.near", b"key") is None
    burnt = inclusion.outcome.tokens_burnt + inclusion.receipt_outcome.tokens_burnt
    assert (world.balance(USER), world.balance("two.near")) == (before - burnt, two)


def test_an_action_that_fails_after_a_call_takes_the_calls_receipts_back(world):
    script = Script()
    script.promise_batch_action_transfer(script.promise_batch_create("two.near"), amount(5 * NEAR))
    inclusion = world.finish(
        world.submit("one.near", [call(script, gas=50 * TERA), py_near.create_deploy_contract_action(SCRIPT_WASM)])
    )
    assert failure(inclusion) == {"ActorNoPermission": {"account_id": "one.near", "actor_id": USER}}
    assert world.balance("two.near") == 1_000 * NEAR


# money and gas


def test_gas_not_used_anywhere_goes_back_to_who_signed(world):
    before = world.balance(USER)
    script = Script()
    asked = script.promise_create("two.near", "run", says("hello"), amount(0), 100 * TERA)
    script.promise_then(asked, "three.near", "run", fails(), amount(0), 100 * TERA)
    inclusion = world.run(script)
    burnt = inclusion.outcome.tokens_burnt + sum(each.outcome.tokens_burnt for each in inclusion.executed())
    assert world.balance(USER) == before - burnt
    assert burnt < 10 * TERA * 10**8
    refunds = [each.receipt for each in inclusion.executed() if each.receipt.is_refund]
    assert {each.receiver_id for each in refunds} == {USER}


def test_an_allowance_pays_for_the_gas_of_all_receipts_and_gets_the_rest_back(world):
    key = py_near.create_function_call_access_key_action(BOB.public.removeprefix("ed25519:"), NEAR, "one.near", ["run"])
    world.finish(world.submit(USER, [key]))
    world.nonce = 10**6
    script = Script()
    script.promise_create("two.near", "run", says("hello"), amount(0), 100 * TERA)
    inclusion = world.finish(world.submit("one.near", [call(script)], key=BOB))
    burnt = inclusion.outcome.tokens_burnt + sum(each.outcome.tokens_burnt for each in inclusion.executed())
    state = world.ledger.state_at(world.ledger.tip.head)
    left = chain_state.read_access_key(state, USER, PublicKey.from_text(BOB.public)).permission.allowance
    assert left == NEAR - burnt


def test_gas_set_aside_for_receipts_is_not_burnt_when_the_call_runs_out_of_gas(world):
    script = Script()
    script.promise_create("two.near", "run", b"", amount(0), 20 * TERA)
    script.promise_create("two.near", "run", b"", amount(0), 20 * TERA)
    inclusion = world.run(script, gas=30 * TERA)
    assert "Exceeded the prepaid gas." in str(failure(inclusion))
    assert inclusion.receipt_outcome.gas_burnt < 10 * TERA


def burnt_by(script: Script, **context) -> int:
    call_context = CallContext(current_account_id="one.near", input=bytes(script), **context)
    outcome = run(SCRIPT_WASM, "run", call_context, {})
    assert outcome.status == "ok"
    return outcome.gas_burnt


def test_waiting_for_a_result_costs_the_fee_of_its_data():
    apart, after = Script(), Script()
    for script in (apart, after):
        script.promise_batch_create("two.near")
    apart.promise_batch_create("three.near")
    after.promise_batch_then(0, "three.near")
    assert 2 * 36_486_732_312 <= burnt_by(after) - burnt_by(apart) < 2 * 36_486_732_312 + TERA // 1_000


def test_a_result_somebody_waits_for_costs_by_the_byte():
    script = Script()
    script.value_return(bytes(10_000))
    more = burnt_by(script, output_receiver_ids=("two.near",)) - burnt_by(script)
    assert abs(more - 10_000 * (47_683_715 + 17_212_011)) < TERA // 1_000


def test_a_callee_pays_for_the_result_it_gives_to_a_callback(world):
    def burnt_in_two(waited_for: bool) -> int:
        script = Script()
        asked = script.promise_create("two.near", "run", says("x" * 1_000), amount(0), 10 * TERA)
        if waited_for:
            script.promise_then(asked, "one.near", "run", reads(1), amount(0), 10 * TERA)
        executed = list(world.run(script).executed())
        return next(each.outcome.gas_burnt for each in executed if each.receipt.receiver_id == "two.near")

    assert burnt_in_two(True) > burnt_in_two(False) + 1_000 * 47_683_715


def test_weights_share_out_the_gas_that_is_left(world):
    script = Script()
    gas_of = Script()
    gas_of.log_number(gas_of.prepaid_gas())
    for weight, fixed in ((1, 0), (3, 5 * TERA), (0, 7 * TERA)):
        batch = script.promise_batch_create("two.near")
        script.promise_batch_action_function_call_weight(batch, "run", bytes(gas_of), amount(0), fixed, weight)
    inclusion = world.run(script)
    shares = [int(line) for _, line in logs(inclusion)]
    assert shares[2] == 7 * TERA
    assert 2.99 < (shares[1] - 5 * TERA) / shares[0] < 3.01
    first = inclusion.receipt_outcome
    sent = [each for each in inclusion.receipts if each.receipt.predecessor_id == "one.near"]
    assert sum(shares) + first.gas_burnt > 290 * TERA
    assert len(sent) == 3


def test_the_balance_a_contract_sees_falls_with_every_deposit_it_sends(world):
    script = Script()
    for _ in range(2):
        script.account_balance(At(bytes(16)))
        script.promise_batch_action_transfer(script.promise_batch_create("two.near"), amount(NEAR))
    inclusion = world.run(script, deposit=NEAR)
    assert value(inclusion) == b""
    assert world.balance("one.near") == 999 * NEAR
    assert world.balance("two.near") == 1_002 * NEAR


# every action


def test_a_batch_creates_funds_keys_deploys_and_calls_a_new_account(world):
    script = Script()
    batch = script.promise_batch_create("app.one.near")
    script.promise_batch_action_create_account(batch)
    script.promise_batch_action_transfer(batch, amount(10 * NEAR))
    script.promise_batch_action_add_key_with_full_access(batch, PublicKey.from_text(CAROL.public).borsh, 0)
    bob = PublicKey.from_text(BOB.public)
    script.promise_batch_action_add_key_with_function_call(batch, bob.borsh, 0, amount(5), "two.near", "get,set")
    script.promise_batch_action_deploy_contract(batch, SCRIPT_WASM)
    script.promise_batch_action_function_call(batch, "run", says("born"), amount(2), 10 * TERA)
    script.promise_return(batch)
    assert value(world.run(script)) == b"born"
    state = world.ledger.state_at(world.ledger.tip.head)
    assert world.balance("app.one.near") == 10 * NEAR + 2
    keys = dict(chain_state.access_keys(state, "app.one.near"))
    assert keys[PublicKey.from_text(CAROL.public)].permission == FullAccess()
    assert keys[bob].permission == FunctionCallAccess(allowance=5, receiver_id="two.near", method_names=("get", "set"))


def test_a_contract_deletes_its_key_and_then_itself_and_the_money_reaches_the_beneficiary(world):
    script = Script()
    batch = script.promise_batch_create("one.near")
    script.promise_batch_action_delete_key(batch, PublicKey.from_text(ALICE.public).borsh)
    script.promise_batch_action_delete_account(batch, "two.near")
    world.run(script)
    assert not world.exists("one.near")
    assert world.balance("two.near") == 2_000 * NEAR
    assert list(world.ledger.state_at(world.ledger.tip.head).scan(b"k:one.near:")) == []


def test_an_action_follows_what_it_waits_for_in_a_batch_of_its_own(world):
    script = Script()
    first = script.promise_batch_create("two.near")
    script.promise_batch_action_function_call(first, "run", says("x"), amount(0), 10 * TERA)
    then = script.promise_batch_then(first, "three.near")
    script.promise_batch_action_transfer(then, amount(NEAR))
    inclusion = world.run(script)
    assert world.balance("three.near") == 1_001 * NEAR
    transfers = [each for each in inclusion.executed() if each.receipt.receiver_id == "three.near"]
    assert [each.executed_height for each in transfers] == [4]


def test_stake_is_refused_by_name(world):
    script = Script()
    batch = script.promise_batch_create("one.near")
    script.promise_batch_action_stake(batch, amount(1), PublicKey.from_text(ALICE.public).borsh)
    assert "promise_batch_action_stake is not served" in str(failure(world.run(script)))


# transactions


def test_a_transaction_deletes_an_account_and_pays_out_what_is_left_of_it(world):
    inclusion = world.finish(
        world.submit("two.near", [DeleteAccount(beneficiary_id="three.near")], signer_id="two.near")
    )
    assert inclusion.result() == SuccessValue(value=b"")
    assert not world.exists("two.near")
    spent = inclusion.outcome.tokens_burnt + inclusion.receipt_outcome.tokens_burnt
    assert world.balance("three.near") == 2_000 * NEAR - spent


def test_what_a_receipt_adds_goes_with_the_account_it_deletes(world):
    key = AddKey(public_key=PublicKey.from_text(CAROL.public), access_key=AccessKey(nonce=0, permission=FullAccess()))
    actions = [key, DeleteAccount(beneficiary_id="three.near")]
    inclusion = world.finish(world.submit("two.near", actions, signer_id="two.near"))
    assert inclusion.result() == SuccessValue(value=b"")
    assert list(world.ledger.state_at(world.ledger.tip.head).scan(b"k:two.near:")) == []


def test_nobody_deletes_the_account_of_another(world):
    inclusion = world.finish(world.submit("two.near", [DeleteAccount(beneficiary_id=USER)]))
    assert failure(inclusion) == {"ActorNoPermission": {"account_id": "two.near", "actor_id": USER}}


def test_an_account_with_much_state_is_not_deleted(world):
    script = Script()
    for index in range(3):
        script.storage_write(f"key{index}", bytes(4_000), 0)
    world.run(script)
    delete = [DeleteAccount(beneficiary_id=USER)]
    inclusion = world.finish(world.submit("one.near", delete, signer_id="one.near"))
    assert failure(inclusion) == {"DeleteAccountWithLargeState": {"account_id": "one.near"}}


def test_a_deletion_must_be_the_last_action(world):
    actions = [DeleteAccount(beneficiary_id=USER), DeleteAccount(beneficiary_id=USER)]
    with pytest.raises(InvalidTransactionError) as caught:
        world.submit("one.near", actions, signer_id="one.near")
    assert caught.value.reason == {"ActionsValidation": "DeleteActionMustBeFinal"}


def test_a_stake_transaction_is_refused_by_name(world):
    encoded = world.sign(USER, [py_near.create_transfer_action(1)]).encoded
    transfer = encoded.index(bytes([1, 0, 0, 0, 3]))
    with pytest.raises(DecodeError, match="does not serve the action STAKE"):
        decode_signed_transaction(encoded[: transfer + 4] + b"\4" + encoded[transfer + 5 :])


# more than a block holds


def test_receipts_beyond_the_gas_of_a_block_wait_for_the_next_in_their_order(world, monkeypatch):
    script = Script()
    for index in range(6):
        inner = Script()
        inner.storage_write(f"key{index}", b"value", 0)
        script.promise_create("two.near", "run", bytes(inner), amount(0), 10 * TERA)
    tx_hash = world.start(script)
    for _ in range(2):
        world.produce_block()
    monkeypatch.setattr(draft, "GAS_LIMIT", 3 * TERA)
    ran = []
    for _ in range(6):
        ran.append([each.receipt.id for each in world.produce_block() if not each.receipt.is_refund])
        world.restart()
    calls = [each.receipt.id for each in world.ledger.progress(tx_hash).receipts if not each.receipt.is_refund]
    assert [each for block in ran for each in block] == calls[1:]
    assert max(map(len, ran)) < 6


def test_the_same_bytes_sent_before_in_and_after_a_block_and_a_stop_are_applied_once(world):
    transaction = world.sign("two.near", [py_near.create_transfer_action(5)])
    for _ in range(5):
        for _ in range(3):
            world.ledger.submit(transaction)
        world.produce_block()
        world.restart()
    assert world.balance("two.near") == 1_000 * NEAR + 5
    heights = range(world.ledger.tip.head.height + 1)
    assert [len(world.ledger.store.transactions_in(height)) for height in heights] == [0, 1, 0, 0, 0, 0]
