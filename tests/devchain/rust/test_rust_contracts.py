"""Two contracts of the NEAR project, compiled from Rust with near-sdk, used through the RPC as on NEAR."""

import base64
import json

import pytest
from near_jsonrpc_models import RpcTransactionResponse
from py_near import transactions as py_near

from sharekeeper_devnet.chain import NEAR
from tests.devchain.conftest import ALICE, BOB, CAROL, TERA, RpcFailure
from tests.devchain.rust.conftest import FUNGIBLE_TOKEN, LINKDROP

pytestmark = pytest.mark.needs("npm")
DROP, TOKEN = "drop.alice.test.near", "token.alice.test.near"


async def deploy(client, account_id: str, code: bytes) -> None:
    actions = [
        py_near.create_create_account_action(),
        py_near.create_transfer_action(50 * NEAR),
        py_near.create_full_access_key_action(ALICE.public),
        py_near.create_deploy_contract_action(code),
    ]
    result = await client.send("alice.test.near", ALICE, account_id, actions)
    assert result["status"] == {"SuccessValue": ""}


async def call(client, receiver_id, method, *, signer=("alice.test.near", ALICE), deposit=0, **arguments):
    action = py_near.create_function_call_action(method, json.dumps(arguments).encode(), 250 * TERA, deposit)
    result = await client.send(*signer, receiver_id, [action])
    RpcTransactionResponse.model_validate(result)
    return result


def value(result: dict) -> object:
    return json.loads(base64.b64decode(result["status"]["SuccessValue"]) or "null")


async def view(client, account_id, method, **arguments):
    answer = await client.view(method, json.dumps(arguments).encode(), account_id=account_id)
    return json.loads(bytes(answer["result"]))


@pytest.fixture
async def drop(client, rust_contract):
    await deploy(client, DROP, rust_contract(LINKDROP))
    return client


@pytest.fixture
async def token(client, rust_contract):
    await deploy(client, TOKEN, rust_contract(FUNGIBLE_TOKEN))
    await call(client, TOKEN, "new", owner_id="alice.test.near", total_supply="1000")
    return client


async def test_linkdrop_creates_an_account_and_its_callback_says_so(drop):
    new = f"new.{DROP}"
    arguments = {"new_account_id": new, "new_public_key": CAROL.public}
    result = await call(drop, DROP, "create_account", deposit=5 * NEAR, **arguments)
    assert value(result) is True
    assert await drop.balance(new) == 5 * NEAR
    keys = await drop.query("view_access_key_list", account_id=new)
    assert [each["public_key"] for each in keys["keys"]] == [CAROL.public]
    executors = [each["outcome"]["executor_id"] for each in result["receipts_outcome"]]
    assert executors[:2] == [DROP, new]
    assert executors.count(DROP) == 2


async def test_linkdrop_gives_the_money_back_when_the_account_cannot_be_created(drop):
    before = await drop.balance("alice.test.near")
    arguments = {"new_account_id": "bob.test.near", "new_public_key": CAROL.public}
    result = await call(drop, DROP, "create_account", deposit=5 * NEAR, **arguments)
    assert value(result) is False
    failed = [
        each["outcome"]["status"] for each in result["receipts_outcome"] if "Failure" in each["outcome"]["status"]
    ]
    assert failed[0]["Failure"]["ActionError"]["kind"] == {"AccountAlreadyExists": {"account_id": "bob.test.near"}}
    assert before - await drop.balance("alice.test.near") < NEAR // 10


async def test_a_drop_is_claimed_once_by_whoever_holds_its_key(drop):
    assert "SuccessValue" in (await call(drop, DROP, "send", deposit=3 * NEAR, public_key=CAROL.public))["status"]
    left = int(await view(drop, DROP, "get_key_balance", key=CAROL.public))
    assert 0 < left <= 3 * NEAR
    permission = (await drop.query("view_access_key", account_id=DROP, public_key=CAROL.public))["permission"]
    assert permission["FunctionCall"]["method_names"] == ["claim", "create_account_and_claim"]
    before = await drop.balance("bob.test.near")
    action = py_near.create_function_call_action("claim", b'{"account_id": "bob.test.near"}', 100 * TERA, 0)
    result = await drop.send(DROP, CAROL, DROP, [action])
    assert "SuccessValue" in result["status"]
    assert await drop.balance("bob.test.near") == before + left
    with pytest.raises(RpcFailure) as caught:
        await drop.send(DROP, CAROL, DROP, [action], nonce=10**9)
    assert list(caught.value.invalid_tx["InvalidAccessKeyError"]) == ["AccessKeyNotFound"]


async def test_the_token_moves_between_accounts_and_sends_back_what_storage_does_not_need(token):
    before = await token.balance("alice.test.near")
    result = await call(token, TOKEN, "transfer", deposit=NEAR, new_owner_id="bob.test.near", amount="400")
    assert "SuccessValue" in result["status"]
    assert await view(token, TOKEN, "get_balance", owner_id="bob.test.near") == "400"
    assert await view(token, TOKEN, "get_balance", owner_id="alice.test.near") == "600"
    assert await view(token, TOKEN, "get_total_supply") == "1000"
    assert before - await token.balance("alice.test.near") < NEAR // 10
    transfers = [each for each in result["receipts_outcome"] if each["outcome"]["executor_id"] == "alice.test.near"]
    assert len(transfers) == 2  # the contract's own transfer, and unused gas


async def test_the_token_lets_an_escrow_spend_its_allowance_and_no_more(token):
    await call(token, TOKEN, "inc_allowance", deposit=NEAR, escrow_account_id="bob.test.near", amount="50")
    bob = ("bob.test.near", BOB)
    arguments = {"owner_id": "alice.test.near", "new_owner_id": "bob.test.near"}
    result = await call(token, TOKEN, "transfer_from", signer=bob, deposit=NEAR, amount="30", **arguments)
    assert "SuccessValue" in result["status"]
    result = await call(token, TOKEN, "transfer_from", signer=bob, deposit=NEAR, amount="30", **arguments)
    sentence = result["status"]["Failure"]["ActionError"]["kind"]["FunctionCallError"]["ExecutionError"]
    assert sentence.startswith("Smart contract panicked: ")
    assert await view(token, TOKEN, "get_balance", owner_id="bob.test.near") == "30"
