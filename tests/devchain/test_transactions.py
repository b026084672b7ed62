"""Transactions: what they change, what refuses them, how they come to be final."""

import asyncio
import base64
import hashlib

import base58
import pytest
from py_near import transactions as py_near

from sharekeeper_devnet.chain import NEAR
from tests.devchain.conftest import ALICE, BOB, CAROL, TERA, Key, RpcFailure
from tests.devchain.oracle import conforms
from tests.devchain.wasm import COUNTER_WASM

GAS_PRICE = 10**8
COUNTER = "counter.test.near"


def number(result: dict) -> int:
    return int.from_bytes(base64.b64decode(result["status"]["SuccessValue"]), "little")


def action_error(result: dict) -> dict:
    return result["status"]["Failure"]["ActionError"]


async def refused(client, *arguments, **fields):
    """The InvalidTxError of a transaction that is not taken up."""
    with pytest.raises(RpcFailure) as caught:
        await client.send(*arguments, **fields)
    assert caught.value.cause == "INVALID_TRANSACTION"
    assert caught.value.http_status == 200
    conforms("InvalidTxError", caught.value.invalid_tx)
    return caught.value.invalid_tx


def transfer(amount: int = 1):
    return py_near.create_transfer_action(amount)


def call(method_name: str = "increment", args: bytes = b"", gas: int = 30 * TERA, deposit: int = 0):
    return py_near.create_function_call_action(method_name, args, gas, deposit)


async def add_call_key(client, key: Key, *, allowance: int = NEAR, methods=("increment",), receiver_id=COUNTER) -> None:
    action = py_near.create_function_call_access_key_action(
        key.public.removeprefix("ed25519:"), allowance, receiver_id, list(methods)
    )
    result = await client.send("alice.test.near", ALICE, "alice.test.near", [action])
    assert "SuccessValue" in result["status"]


async def access_key(client, key: Key, account_id: str = "alice.test.near") -> dict:
    return await client.query("view_access_key", account_id=account_id, public_key=key.public)


# what they change


async def test_a_call_changes_the_contract_and_its_answer_is_final(client):
    result = await client.call("increment")
    assert result["final_execution_status"] == "FINAL"
    assert number(result) == 1
    assert result["receipts_outcome"][0]["outcome"]["logs"] == ["counted"]
    assert bytes((await client.view("get", finality="final"))["result"]) == (1).to_bytes(8, "little")


async def test_a_transfer_moves_exactly_its_deposit_and_costs_the_signer_gas(client):
    alice, bob = await client.balance("alice.test.near"), await client.balance("bob.test.near")
    result = await client.send("alice.test.near", ALICE, "bob.test.near", [transfer(5 * NEAR)])
    outcomes = [result["transaction_outcome"], *result["receipts_outcome"]]
    burnt = sum(int(each["outcome"]["tokens_burnt"]) for each in outcomes)
    assert 0 < burnt < NEAR // 1000
    assert await client.balance("bob.test.near") == bob + 5 * NEAR
    assert await client.balance("alice.test.near") == alice - 5 * NEAR - burnt


async def test_unused_gas_is_refunded(client):
    before = await client.balance("alice.test.near")
    result = await client.call("increment", gas=300 * TERA)
    spent = before - await client.balance("alice.test.near")
    outcomes = [result["transaction_outcome"], *result["receipts_outcome"]]
    assert spent == sum(int(each["outcome"]["tokens_burnt"]) for each in outcomes)
    paid = [each["outcome"] for each in outcomes if int(each["outcome"]["tokens_burnt"])]
    assert spent == sum(outcome["gas_burnt"] for outcome in paid) * GAS_PRICE
    assert spent < 10 * TERA * GAS_PRICE


async def test_a_deposit_arrives_with_a_call_and_returns_when_the_call_fails(client):
    before = await client.balance(COUNTER)
    await client.call("increment", deposit=3 * NEAR)
    assert await client.balance(COUNTER) == before + 3 * NEAR
    alice = await client.balance("alice.test.near")
    result = await client.call("fail", b"no", deposit=3 * NEAR)
    assert action_error(result)["index"] == 0
    assert await client.balance(COUNTER) == before + 3 * NEAR
    assert alice - await client.balance("alice.test.near") < NEAR


async def test_an_account_is_created_with_key_contract_and_money_in_one_transaction(client):
    actions = [
        py_near.create_create_account_action(),
        transfer(10 * NEAR),
        py_near.create_full_access_key_action(CAROL.public),
        py_near.create_deploy_contract_action(COUNTER_WASM),
        call("increment"),
    ]
    result = await client.send("alice.test.near", ALICE, "app.alice.test.near", actions)
    assert number(result) == 1
    account = await client.query("view_account", account_id="app.alice.test.near")
    assert account["amount"] == str(10 * NEAR)
    assert base58.b58decode(account["code_hash"]) == hashlib.sha256(COUNTER_WASM).digest()
    assert account["storage_usage"] == 100 + 82 + len(COUNTER_WASM) + (7 + 8 + 40)
    assert (await access_key(client, CAROL, "app.alice.test.near"))["permission"] == "FullAccess"


async def test_a_batch_that_fails_leaves_nothing_behind(client):
    actions = [py_near.create_create_account_action(), transfer(NEAR), call("increment")]
    result = await client.send("alice.test.near", ALICE, "half.alice.test.near", actions)
    assert action_error(result) == {
        "index": 2,
        "kind": {
            "FunctionCallError": {"CompilationError": {"CodeDoesNotExist": {"account_id": "half.alice.test.near"}}}
        },
    }
    with pytest.raises(RpcFailure) as caught:
        await client.query("view_account", account_id="half.alice.test.near")
    assert caught.value.cause == "UNKNOWN_ACCOUNT"


async def test_a_transfer_brings_an_implicit_account_into_being_with_its_key(client):
    raw = base58.b58decode(CAROL.public.removeprefix("ed25519:"))
    result = await client.send("alice.test.near", ALICE, raw.hex(), [transfer(NEAR)])
    assert result["status"] == {"SuccessValue": ""}
    assert (await access_key(client, CAROL, raw.hex()))["permission"] == "FullAccess"
    assert await client.balance(raw.hex()) == NEAR


async def test_a_new_keys_nonce_is_above_all_it_could_have_used_before(client):
    await add_call_key(client, BOB)
    tip = client.chain.tip.head.height
    nonce = (await access_key(client, BOB))["nonce"]
    assert nonce % 10**6 == 0
    assert 0 <= nonce <= tip * 10**6


async def test_a_deleted_key_is_gone_and_cannot_be_deleted_again(client):
    await add_call_key(client, BOB)
    usage = (await client.query("view_account", account_id="alice.test.near"))["storage_usage"]
    delete = py_near.create_delete_access_key_action(BOB.public)
    await client.send("alice.test.near", ALICE, "alice.test.near", [delete])
    assert "does not exist while viewing" in (await access_key(client, BOB))["error"]
    assert (await client.query("view_account", account_id="alice.test.near"))["storage_usage"] < usage
    result = await client.send("alice.test.near", ALICE, "alice.test.near", [delete])
    assert list(action_error(result)["kind"]) == ["DeleteKeyDoesNotExist"]


async def test_the_same_bytes_sent_many_times_are_applied_once(client):
    signed = await client.sign("alice.test.near", ALICE, COUNTER, [call()])
    answers = await asyncio.gather(
        *(client.rpc("send_tx", {"signed_tx_base64": signed, "wait_until": "FINAL"}) for _ in range(5))
    )
    answers.append(await client.rpc("send_tx", {"signed_tx_base64": signed, "wait_until": "FINAL"}))
    assert [answer["transaction_outcome"] for answer in answers] == [answers[0]["transaction_outcome"]] * 6
    assert bytes((await client.view("get"))["result"]) == (1).to_bytes(8, "little")


async def test_many_transactions_of_one_key_run_in_the_order_of_their_nonces(manual_client):
    client = manual_client
    nonces = [await client.next_nonce("alice.test.near", ALICE) for _ in range(6)]
    for nonce in (nonces[i] for i in (3, 0, 5, 1, 4, 2)):
        signed = await client.sign("alice.test.near", ALICE, COUNTER, [call()], nonce=nonce)
        await client.rpc("broadcast_tx_async", [signed])
    for _ in range(4):
        await client.chain.produce_block()
    assert bytes((await client.view("get"))["result"]) == (6).to_bytes(8, "little")


# what refuses them


async def test_an_unknown_signer_is_refused(client):
    error = await refused(client, "nobody.near", ALICE, "bob.test.near", [transfer()], nonce=1)
    assert error == {"SignerDoesNotExist": {"signer_id": "nobody.near"}}


async def test_a_key_the_account_does_not_have_is_refused(client):
    error = await refused(client, "alice.test.near", BOB, "bob.test.near", [transfer()], nonce=1)
    detail = {"account_id": "alice.test.near", "public_key": BOB.public}
    assert error == {"InvalidAccessKeyError": {"AccessKeyNotFound": detail}}


async def test_a_nonce_that_was_used_is_refused(client):
    await client.send("alice.test.near", ALICE, "bob.test.near", [transfer()], nonce=5)
    for nonce in (5, 4):
        error = await refused(client, "alice.test.near", ALICE, "bob.test.near", [transfer(2)], nonce=nonce)
        assert error == {"InvalidNonce": {"tx_nonce": nonce, "ak_nonce": 5}}


async def test_a_nonce_far_above_the_chains_height_is_refused(manual_client):
    upper_bound = (manual_client.chain.tip.head.height + 1) * 10**6
    fields = {"nonce": upper_bound}
    error = await refused(manual_client, "alice.test.near", ALICE, "bob.test.near", [transfer()], **fields)
    assert error == {"NonceTooLarge": {"tx_nonce": upper_bound, "upper_bound": upper_bound}}


async def test_a_transaction_is_refused_once_its_block_is_too_old(manual_client):
    client = manual_client
    block_hash = await client.block_hash()
    for _ in range(10):
        await client.chain.produce_block()
    arguments = ("alice.test.near", ALICE, "bob.test.near", [transfer()])
    await client.send(*arguments, block_hash=block_hash, nonce=1, wait_until="NONE")
    await client.chain.produce_block()
    assert await refused(client, *arguments, block_hash=block_hash, nonce=2) == "Expired"


async def test_a_transaction_on_a_block_of_another_chain_is_refused(client):
    error = await refused(client, "alice.test.near", ALICE, "bob.test.near", [transfer()], block_hash=b"\7" * 32)
    assert error == "Expired"


async def test_a_signature_by_another_key_is_refused(client):
    signed = bytearray(base64.b64decode(await client.sign("alice.test.near", ALICE, "bob.test.near", [transfer()])))
    signed[-1] ^= 1
    with pytest.raises(RpcFailure) as caught:
        await client.rpc("send_tx", {"signed_tx_base64": base64.b64encode(bytes(signed)).decode()})
    assert caught.value.invalid_tx == "InvalidSignature"


async def test_a_transaction_the_signer_cannot_pay_is_refused(client):
    error = await refused(client, "alice.test.near", ALICE, "bob.test.near", [transfer(10**6 * NEAR)])
    detail = error["NotEnoughBalance"]
    assert detail["signer_id"] == "alice.test.near"
    assert int(detail["cost"]) > 10**6 * NEAR > int(detail["balance"])


async def test_a_cost_beyond_128_bits_is_refused(client):
    error = await refused(client, "alice.test.near", ALICE, "bob.test.near", [transfer(2**128 - 1)])
    assert error == "CostOverflow"


@pytest.mark.parametrize(
    ("actions", "error"),
    [
        ([call(gas=0)], "FunctionCallZeroAttachedGas"),
        ([call("")], "FunctionCallEmptyMethodName"),
        ([call("m" * 300)], {"FunctionCallMethodNameLengthExceeded": {"length": 300, "limit": 256}}),
        (
            [call(gas=200 * TERA), call(gas=101 * TERA)],
            {"TotalPrepaidGasExceeded": {"total_prepaid_gas": 301 * TERA, "limit": 300 * TERA}},
        ),
        (
            [transfer()] * 101,
            {"TotalNumberOfActionsExceeded": {"total_number_of_actions": 101, "limit": 100}},
        ),
        (
            [py_near.create_function_call_access_key_action(BOB.public.removeprefix("ed25519:"), 1, "A", [])],
            {"InvalidAccountId": {"account_id": "A"}},
        ),
        (
            [
                py_near.create_function_call_access_key_action(
                    BOB.public.removeprefix("ed25519:"), 1, "a.b", ["m" * 257]
                )
            ],
            {"AddKeyMethodNameLengthExceeded": {"length": 257, "limit": 256}},
        ),
        (
            [
                py_near.create_function_call_access_key_action(
                    BOB.public.removeprefix("ed25519:"), 1, "a.b", ["m" * 199] * 11
                )
            ],
            {"AddKeyMethodNamesNumberOfBytesExceeded": {"total_number_of_bytes": 2200, "limit": 2000}},
        ),
    ],
)
async def test_actions_over_a_limit_are_refused(client, actions, error):
    assert await refused(client, "alice.test.near", ALICE, "alice.test.near", actions) == {"ActionsValidation": error}


async def test_a_transaction_over_the_size_limit_is_refused(client):
    actions = [py_near.create_deploy_contract_action(bytes(1_600_000))]
    error = await refused(client, "alice.test.near", ALICE, "alice.test.near", actions)
    assert error["TransactionSizeExceeded"]["limit"] == 1_572_864


async def test_a_transaction_dropped_from_the_pool_is_refused_to_whoever_asks(manual_client):
    client = manual_client
    first = await client.sign("alice.test.near", ALICE, "bob.test.near", [transfer(1)], nonce=7)
    second = await client.sign("alice.test.near", ALICE, "bob.test.near", [transfer(2)], nonce=7)
    hashes = [await client.rpc("broadcast_tx_async", [signed]) for signed in (first, second)]
    for _ in range(2):
        await client.chain.produce_block()
    assert (await client.rpc("tx", [hashes[0], "alice.test.near"]))["status"] == {"SuccessValue": ""}
    with pytest.raises(RpcFailure) as caught:
        await client.rpc("tx", [hashes[1], "alice.test.near"])
    assert caught.value.invalid_tx == {"InvalidNonce": {"tx_nonce": 7, "ak_nonce": 7}}


# function-call keys


async def test_a_function_call_key_may_call_its_methods_and_nothing_else(client):
    await add_call_key(client, BOB)
    result = await client.send("alice.test.near", BOB, COUNTER, [call()])
    assert number(result) == 1
    cases = {
        "RequiresFullAccess": (COUNTER, [call(), call()]),
        "DepositWithFunctionCall": (COUNTER, [call(deposit=1)]),
    }
    for expected, (receiver_id, actions) in cases.items():
        assert await refused(client, "alice.test.near", BOB, receiver_id, actions) == {
            "InvalidAccessKeyError": expected
        }
    assert await refused(client, "alice.test.near", BOB, COUNTER, [transfer()]) == {
        "InvalidAccessKeyError": "RequiresFullAccess"
    }
    assert await refused(client, "alice.test.near", BOB, COUNTER, [call("get")]) == {
        "InvalidAccessKeyError": {"MethodNameMismatch": {"method_name": "get"}}
    }
    assert await refused(client, "alice.test.near", BOB, "bob.test.near", [call()]) == {
        "InvalidAccessKeyError": {"ReceiverMismatch": {"tx_receiver": "bob.test.near", "ak_receiver": COUNTER}}
    }


async def test_a_key_without_method_names_may_call_all_of_its_contract(client):
    await add_call_key(client, BOB, methods=())
    assert number(await client.send("alice.test.near", BOB, COUNTER, [call("get")])) == 0


async def test_gas_counts_against_the_allowance_and_a_spent_allowance_refuses(client):
    await add_call_key(client, BOB, allowance=NEAR // 100)
    result = await client.send("alice.test.near", BOB, COUNTER, [call()])
    outcomes = [result["transaction_outcome"], *result["receipts_outcome"]]
    burnt = sum(int(each["outcome"]["tokens_burnt"]) for each in outcomes)
    left = int((await access_key(client, BOB))["permission"]["FunctionCall"]["allowance"])
    assert left == NEAR // 100 - burnt
    error = await refused(client, "alice.test.near", BOB, COUNTER, [call(gas=100 * TERA)])
    detail = error["InvalidAccessKeyError"]["NotEnoughAllowance"]
    assert (detail["account_id"], detail["public_key"], int(detail["allowance"])) == (
        "alice.test.near",
        BOB.public,
        left,
    )


# what fails on chain


@pytest.mark.parametrize(
    ("receiver_id", "actions", "kind"),
    [
        ("missing.near", [transfer()], {"AccountDoesNotExist": {"account_id": "missing.near"}}),
        (
            "bob.test.near",
            [py_near.create_create_account_action()],
            {"AccountAlreadyExists": {"account_id": "bob.test.near"}},
        ),
        (
            "carol.test.near",
            [py_near.create_create_account_action()],
            {"CreateAccountNotAllowed": {"account_id": "carol.test.near", "predecessor_id": "alice.test.near"}},
        ),
        (
            "toplevel",
            [py_near.create_create_account_action()],
            {
                "CreateAccountOnlyByRegistrar": {
                    "account_id": "toplevel",
                    "registrar_account_id": "registrar",
                    "predecessor_id": "alice.test.near",
                }
            },
        ),
        (
            "bob.test.near",
            [py_near.create_full_access_key_action(CAROL.public)],
            {"ActorNoPermission": {"account_id": "bob.test.near", "actor_id": "alice.test.near"}},
        ),
        (
            "alice.test.near",
            [py_near.create_full_access_key_action(ALICE.public)],
            {"AddKeyAlreadyExists": {"account_id": "alice.test.near", "public_key": ALICE.public}},
        ),
        (
            "alice.test.near",
            [py_near.create_deploy_contract_action(b"no wasm")],
            {"FunctionCallError": {"CompilationError": {"PrepareError": "Deserialization"}}},
        ),
        (COUNTER, [call("missing")], {"FunctionCallError": {"MethodResolveError": "MethodNotFound"}}),
        (
            COUNTER,
            [call("fail", b"sorry")],
            {"FunctionCallError": {"ExecutionError": "Smart contract panicked: sorry"}},
        ),
        (COUNTER, [call("spin", gas=TERA)], {"FunctionCallError": {"ExecutionError": "Exceeded the prepaid gas."}}),
    ],
)
async def test_a_failure_on_chain_is_an_answer_that_names_it(client, receiver_id, actions, kind):
    result = await client.send("alice.test.near", ALICE, receiver_id, actions)
    assert action_error(result) == {"index": 0, "kind": kind}
    conforms("RpcTransactionResponse", result)


async def test_an_account_must_keep_the_balance_its_storage_needs(client):
    actions = [
        py_near.create_create_account_action(),
        transfer(10**21),
        py_near.create_deploy_contract_action(COUNTER_WASM),
    ]
    result = await client.send("alice.test.near", ALICE, "poor.alice.test.near", actions)
    error = action_error(result)
    assert error["index"] is None
    assert error["kind"]["LackBalanceForState"]["account_id"] == "poor.alice.test.near"


async def test_a_panic_rolls_back_what_the_call_wrote(client):
    await client.call("increment")
    await client.call("fail", b"no")
    assert bytes((await client.view("get"))["result"]) == (1).to_bytes(8, "little")


# how they come to be final


async def test_a_receipt_runs_one_block_after_its_transaction_and_is_final_two_blocks_later(manual_client):
    client = manual_client
    signed = await client.sign("alice.test.near", ALICE, COUNTER, [call("height")])
    tx_hash = await client.rpc("broadcast_tx_async", [signed])

    async def status(wait_until):
        return await client.rpc(
            "tx", {"tx_hash": tx_hash, "sender_account_id": "alice.test.near", "wait_until": wait_until}
        )

    with pytest.raises(RpcFailure) as waiting:
        await status("NONE")
    assert waiting.value.cause == "UNKNOWN_TRANSACTION"
    seen = []
    for _ in range(4):
        await client.chain.produce_block()
        seen.append((await status("INCLUDED"))["final_execution_status"])
    assert seen == ["INCLUDED", "EXECUTED_OPTIMISTIC", "EXECUTED", "FINAL"]
    assert number(await status("FINAL")) == 2


async def test_a_receipt_to_oneself_runs_in_the_same_block(manual_client):
    client = manual_client
    signed = await client.sign("alice.test.near", ALICE, "alice.test.near", [transfer()])
    tx_hash = await client.rpc("broadcast_tx_async", [signed])
    await client.chain.produce_block()
    result = await client.rpc("tx", [tx_hash, "alice.test.near"])
    assert result["transaction_outcome"]["block_hash"] == result["receipts_outcome"][0]["block_hash"]


async def test_waiting_ends_with_408_and_the_state_of_the_transaction(manual_client):
    client = manual_client
    signed = await client.sign("alice.test.near", ALICE, COUNTER, [call()])
    with pytest.raises(RpcFailure) as caught:
        await client.rpc("send_tx", {"signed_tx_base64": signed, "wait_until": "FINAL"})
    assert (caught.value.http_status, caught.value.cause) == (408, "TIMEOUT_ERROR")
    assert caught.value.error["cause"]["info"] == {"cause": "NOT_OBSERVED"}
    await client.chain.produce_block()
    with pytest.raises(RpcFailure) as caught:
        await client.rpc("send_tx", {"signed_tx_base64": signed, "wait_until": "FINAL"})
    pending = caught.value.error["cause"]["info"]
    assert pending["cause"] == "PENDING"
    assert pending["status"]["final_execution_status"] == "INCLUDED"
    cause = {"name": "HANDLER_ERROR", "cause": caught.value.error["cause"]}
    conforms("ErrorWrapperForRpcTransactionErrorHandlerError", cause)


async def test_gas_beyond_a_blocks_limit_waits_for_the_next_block(manual_client):
    client = manual_client
    for _ in range(5):
        signed = await client.sign("alice.test.near", ALICE, COUNTER, [call("spin", gas=300 * TERA)])
        await client.rpc("broadcast_tx_async", [signed])
    used = []
    for _ in range(4):
        await client.chain.produce_block()
        block = await client.rpc("block", {"finality": "optimistic"})
        used.append(block["chunks"][0]["gas_used"] // (300 * TERA))
    assert used == [0, 4, 1, 0]


async def test_an_implicit_account_cannot_be_created_by_an_action(client):
    actions = [py_near.create_create_account_action()]
    result = await client.send("alice.test.near", ALICE, "ab" * 32, actions)
    assert action_error(result)["kind"] == {"OnlyImplicitAccountCreationAllowed": {"account_id": "ab" * 32}}


async def test_a_signer_must_keep_the_balance_its_storage_needs(client):
    deploy = py_near.create_deploy_contract_action(COUNTER_WASM)
    await client.send("alice.test.near", ALICE, "alice.test.near", [deploy])
    balance = await client.balance("alice.test.near")
    error = await refused(client, "alice.test.near", ALICE, "bob.test.near", [transfer(balance - NEAR // 1000)])
    assert error["LackBalanceForState"]["signer_id"] == "alice.test.near"
