"""Third-party clients against the dev chain: py-near's Account, near-jsonrpc-client."""

import hashlib

import base58
import near_jsonrpc_models as models
import pytest
from near_jsonrpc_client import NearClientAsync, RpcError
from py_near import transactions
from py_near.account import Account, ViewFunctionError
from py_near.exceptions.provider import InvalidNonce, UnknownAccount

from sharekeeper_devnet.chain import NEAR
from tests.devchain.conftest import ALICE, BOB, CAROL, TERA
from tests.devchain.wasm import COUNTER_WASM

COUNTER = "counter.test.near"


@pytest.fixture
async def account(chain):
    client = Account("alice.test.near", "ed25519:" + base58.b58encode(ALICE.secret).decode(), chain.rpc_url)
    await client.startup()
    yield client
    await client.shutdown()


async def test_py_near_creates_an_account_adds_keys_deploys_calls_and_views(account, chain):
    created = await account.create_account("app.alice.test.near", CAROL.public.removeprefix("ed25519:"), 20 * NEAR)
    assert created.status == {"SuccessValue": ""}
    app = Account("app.alice.test.near", "ed25519:" + base58.b58encode(CAROL.secret).decode(), chain.rpc_url)
    await app.startup()
    try:
        assert (await app.deploy_contract(COUNTER_WASM)).status == {"SuccessValue": ""}
        await app.add_public_key(BOB.public.removeprefix("ed25519:"), "app.alice.test.near", ["increment"], NEAR)
        keys = {key.public_key for key in await app.get_access_key_list()}
        assert {str(key).removeprefix("ed25519:") for key in keys} == {
            key.public.removeprefix("ed25519:") for key in (CAROL, BOB)
        }
        await app.delete_public_key(BOB.public.removeprefix("ed25519:"))
        assert len(await app.get_access_key_list()) == 1
    finally:
        await app.shutdown()
    result = await account.function_call("app.alice.test.near", "increment", {}, 30 * TERA, 0)
    assert result.logs == ["counted"]
    answer = await account.view_function("app.alice.test.near", "echo", {"a": 1})
    assert answer.result == {"a": 1}


async def test_py_near_moves_money_and_sees_balances(account):
    before = await account.get_balance("bob.test.near")
    await account.send_money("bob.test.near", 3 * NEAR)
    assert await account.get_balance("bob.test.near") == before + 3 * NEAR


async def test_py_near_recognises_the_errors(account, chain):
    with pytest.raises(UnknownAccount):
        await account.get_balance("nobody.near")
    with pytest.raises(ViewFunctionError):
        await account.view_function(COUNTER, "missing", {})
    await account.send_money("bob.test.near", 1)
    block = await account._provider.get_block(chain.tip.head.height)
    action = transactions.create_transfer_action(1)
    block_hash = base58.b58decode(block["header"]["hash"])
    arguments = ("alice.test.near", ALICE.secret, "bob.test.near", 1, [action], block_hash)
    with pytest.raises(InvalidNonce):
        await account._provider.json_rpc("send_tx", [transactions.sign_and_serialize_transaction(*arguments)])


@pytest.fixture
async def typed(chain):
    client = NearClientAsync(rpc_urls=chain.rpc_url)
    yield client
    await client._transport.close()


async def test_near_jsonrpc_client_reads_its_typed_answers(typed):
    status = await typed.status()
    assert status.chain_id == "dev"
    block = await typed.block(params=models.RpcBlockRequest({"finality": "final"}))
    assert block.header.hash.root
    view = await typed.query(
        params=models.RpcQueryRequest({"request_type": "view_account", "finality": "final", "account_id": COUNTER})
    )
    assert view.root.code_hash.root == base58.b58encode(hashlib.sha256(COUNTER_WASM).digest()).decode()
    assert (await typed.gas_price(params=models.RpcGasPriceRequest(block_id=None))).gas_price.root == "100000000"


async def test_near_jsonrpc_client_reads_typed_errors(typed):
    request = models.RpcQueryRequest({"request_type": "view_account", "finality": "final", "account_id": "no.near"})
    with pytest.raises(RpcError) as caught:
        await typed.query(params=request)
    assert "UNKNOWN_ACCOUNT" in repr(caught.value.error)
