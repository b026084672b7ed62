"""JSON-RPC and REST: what answers hold, every refusal. Their form is tested in `test_rpc_bodies`."""

import asyncio
import base64
import io
import json
import time
from itertools import pairwise

import base58
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_near import transactions as py_near

from sharekeeper_devnet.chain.rpc.errors import RpcError
from sharekeeper_devnet.chain.rpc.params import Params
from tests.devchain.conftest import ALICE, CAROL, TERA, RpcFailure
from tests.devchain.oracle import conforms
from tests.devchain.wasm import COUNTER_WASM

COUNTER = "counter.test.near"


async def failure(client, method: str, params) -> RpcFailure:
    with pytest.raises(RpcFailure) as caught:
        await client.rpc(method, params)
    return caught.value


# bodies


@pytest.mark.parametrize("at", [{"finality": "final"}, {"finality": "optimistic"}, {"block_id": 0}])
async def test_an_answer_names_the_block_it_is_about(client, at):
    answer = await client.rpc("query", {"request_type": "view_account", "account_id": COUNTER, **at})
    block = await client.rpc("block", {"block_id": answer["block_height"]})
    assert block["header"]["hash"] == answer["block_hash"]
    if "block_id" in at:
        assert answer["block_height"] == 0


async def test_a_transaction_answer_fits_its_model_with_and_without_receipts(client):
    result = await client.call("increment", b'{"a": 1}')
    conforms("RpcTransactionResponse", result)
    arguments = [result["transaction"]["hash"], "alice.test.near"]
    plain, with_receipts = await client.rpc("tx", arguments), await client.rpc("EXPERIMENTAL_tx_status", arguments)
    conforms("RpcTransactionResponse", plain)
    conforms("RpcTransactionResponse", with_receipts)
    assert plain == result
    receipts = with_receipts.pop("receipts")
    assert with_receipts == plain
    assert [each["receipt_id"] for each in receipts] == [each["id"] for each in result["receipts_outcome"]]
    assert [each["predecessor_id"] for each in receipts] == ["alice.test.near", "system"]
    for receipt in receipts:
        conforms("ReceiptView", receipt)


async def test_every_action_is_shown_as_its_model_wants(client):
    key = py_near.create_function_call_access_key_action(CAROL.public.removeprefix("ed25519:"), 5, COUNTER, ["get"])
    actions = [
        py_near.create_create_account_action(),
        py_near.create_transfer_action(10**25),
        py_near.create_deploy_contract_action(COUNTER_WASM),
        py_near.create_full_access_key_action(ALICE.public),
        key,
        py_near.create_delete_access_key_action(CAROL.public),
        py_near.create_function_call_action("increment", b"x", 20 * TERA, 1),
    ]
    result = await client.send("alice.test.near", ALICE, "all.alice.test.near", actions)
    for view in result["transaction"]["actions"]:
        conforms("ActionView", view)
    names = [view if isinstance(view, str) else next(iter(view)) for view in result["transaction"]["actions"]]
    assert names == ["CreateAccount", "Transfer", "DeployContract", "AddKey", "AddKey", "DeleteKey", "FunctionCall"]
    assert result["transaction"]["actions"][4]["AddKey"]["access_key"]["permission"] == {
        "FunctionCall": {"allowance": "5", "receiver_id": COUNTER, "method_names": ["get"]}
    }


async def test_a_chunk_holds_the_transactions_and_receipts_of_its_block(client):
    result = await client.call("increment")
    taken = await client.rpc("chunk", {"block_id": result["transaction_outcome"]["block_hash"], "shard_id": 0})
    executed = await client.rpc("chunk", {"block_id": result["receipts_outcome"][0]["block_hash"], "shard_id": 0})
    for chunk in (taken, executed):
        conforms("RpcChunkResponse", chunk)
        again = await client.rpc("chunk", {"chunk_id": chunk["header"]["chunk_hash"]})
        assert again == chunk
    assert [each["hash"] for each in taken["transactions"]] == [result["transaction"]["hash"]]
    assert [each["receipt_id"] for each in executed["receipts"]] == [result["receipts_outcome"][0]["id"]]


async def test_changes_name_what_changed_and_why(client):
    result = await client.call("increment")
    tx_hash, receipt_id = result["transaction"]["hash"], result["receipts_outcome"][0]["id"]

    async def changes(kind, account_id, block_hash, **more):
        params = {"changes_type": kind, "account_ids": [account_id], "block_id": block_hash, **more}
        answer = await client.rpc("changes", params)
        conforms("RpcStateChangesInBlockResponse", answer)
        return answer["changes"]

    executed_in = result["receipts_outcome"][0]["block_hash"]
    (data,) = await changes("data_changes", COUNTER, executed_in, key_prefix_base64=base64.b64encode(b"cou").decode())
    assert data == {
        "cause": {"type": "receipt_processing", "receipt_hash": receipt_id},
        "type": "data_update",
        "change": {
            "account_id": COUNTER,
            "key_base64": base64.b64encode(b"counter").decode(),
            "value_base64": base64.b64encode((1).to_bytes(8, "little")).decode(),
        },
    }
    taken_in = result["transaction_outcome"]["block_hash"]
    (key,) = await changes("all_access_key_changes", "alice.test.near", taken_in)
    assert (key["type"], key["cause"]) == (
        "access_key_update",
        {"type": "transaction_processing", "tx_hash": tx_hash},
    )
    (account,) = await changes("account_changes", "alice.test.near", taken_in)
    assert account["type"] == "account_update"
    removed = await client.call("forget")
    where = removed["receipts_outcome"][0]["block_hash"]
    (gone,) = await changes("data_changes", COUNTER, where, key_prefix_base64="")
    assert gone["type"] == "data_deletion"
    (code,) = await changes("contract_code_changes", COUNTER, (await client.rpc("block", [0]))["header"]["hash"])
    assert (code["type"], code["cause"]) == ("contract_code_update", {"type": "initial_state"})


# blocks


async def test_blocks_form_a_chain_and_are_named_by_height_and_hash_alike(client):
    await client.call("increment")
    head = (await client.rpc("block", {"finality": "optimistic"}))["header"]["height"]
    blocks = [await client.rpc("block", [height]) for height in range(head + 1)]
    for before, block in pairwise(blocks):
        assert block["header"]["prev_hash"] == before["header"]["hash"]
        assert block["header"]["prev_height"] == before["header"]["height"]
        assert block["header"]["timestamp"] > before["header"]["timestamp"]
        assert await client.rpc("block", {"block_id": block["header"]["hash"]}) == block
    for before, block in zip(blocks, blocks[2:], strict=False):
        assert block["header"]["last_final_block"] == before["header"]["hash"]


async def test_final_is_two_blocks_behind_the_head(manual_client):
    for _ in range(5):
        await manual_client.chain.produce_block()
    heights = [
        (await manual_client.rpc("block", {"finality": finality}))["header"]["height"]
        for finality in ("optimistic", "near-final", "final")
    ]
    assert heights == [5, 4, 3]


async def test_skipped_heights_have_no_block_and_finality_counts_blocks(manual_client):
    client = manual_client
    await client.chain.produce_block()
    await client.chain.skip_to(1_000)
    await client.chain.produce_block()
    head = (await client.rpc("block", {"finality": "optimistic"}))["header"]
    assert (head["height"], head["prev_height"]) == (1_001, 1_000)
    assert (await client.rpc("block", {"finality": "final"}))["header"]["height"] == 1
    assert (await failure(client, "block", [500])).cause == "UNKNOWN_BLOCK"
    with pytest.raises(ValueError, match="not above the head"):
        await client.chain.skip_to(1_001)


async def test_a_query_at_an_old_block_sees_the_state_of_that_block(client):
    first = await client.call("increment")
    await client.call("increment")
    at = {"block_id": first["receipts_outcome"][0]["block_hash"]}
    assert bytes((await client.view("get", **at))["result"]) == (1).to_bytes(8, "little")
    before = await client.view("height", block_id=0)
    assert bytes(before["result"]) == bytes(8)
    values = await client.query("view_state", account_id=COUNTER, prefix_base64="", block_id=0)
    assert values["values"] == []
    values = await client.query("view_state", account_id=COUNTER, prefix_base64="", **at)
    assert len(values["values"]) == 1


async def test_status_tells_who_the_node_is_and_that_its_head_is_fresh(client):
    status = await client.rpc("status", [])
    genesis_hash = (await client.rpc("block", [0]))["header"]["hash"]
    assert (status["chain_id"], status["genesis_hash"]) == ("dev", genesis_hash)
    assert status["sync_info"]["earliest_block_hash"] == genesis_hash
    later = await client.rpc("status", [])
    assert later["sync_info"]["latest_block_height"] >= status["sync_info"]["latest_block_height"]
    block = await client.rpc("block", {"block_id": status["sync_info"]["latest_block_hash"]})
    assert time.time() - block["header"]["timestamp"] / 1e9 < 10 or block["header"]["height"] == 0


# queries that find nothing


async def test_an_unknown_account_is_an_error_that_names_the_block(client):
    error = await failure(
        client, "query", {"request_type": "view_account", "finality": "final", "account_id": "no.near"}
    )
    assert (error.http_status, error.cause) == (200, "UNKNOWN_ACCOUNT")
    assert error.error["cause"]["info"]["requested_account_id"] == "no.near"
    assert error.error["data"] == "account no.near does not exist while viewing"


@pytest.mark.parametrize("request_type", ["view_code", "view_state", "view_access_key_list", "call_function"])
async def test_every_query_of_an_unknown_account_says_so(client, request_type):
    more = {"prefix_base64": "", "method_name": "get", "args_base64": ""}
    params = {"request_type": request_type, "finality": "final", "account_id": "no.near", **more}
    assert (await failure(client, "query", params)).cause == "UNKNOWN_ACCOUNT"


async def test_code_of_an_account_without_a_contract_is_an_error(client):
    params = {"request_type": "view_code", "finality": "final", "account_id": "alice.test.near"}
    error = await failure(client, "query", params)
    assert error.cause == "NO_CONTRACT_CODE"


async def test_a_missing_access_key_is_a_result_with_neards_sentence(client):
    answer = await client.query("view_access_key", account_id="alice.test.near", public_key=CAROL.public)
    assert answer["error"] == f"access key {CAROL.public} does not exist while viewing"
    assert set(answer) == {"error", "logs", "block_height", "block_hash"}


async def test_a_public_key_may_come_without_its_prefix(client):
    bare = ALICE.public.removeprefix("ed25519:")
    answer = await client.query("view_access_key", account_id="alice.test.near", public_key=bare)
    assert answer["permission"] == "FullAccess"


async def test_a_view_that_panics_is_a_result_with_neards_sentence_and_logs(client):
    answer = await client.view("signer")
    assert answer["error"] == (
        'wasm execution failed with error: HostError(ProhibitedInView { method_name: "signer_account_id" })'
    )
    answer = await client.view("missing")
    assert answer["error"] == "wasm execution failed with error: MethodResolveError(MethodNotFound)"
    answer = await client.view("get", account_id="alice.test.near")
    assert "CodeDoesNotExist" in answer["error"]


async def test_a_view_changes_nothing(client):
    answer = await client.view("increment")
    assert "ProhibitedInView" in answer["error"]
    assert bytes((await client.view("get"))["result"]) == bytes(8)


async def test_contract_state_over_the_limit_is_not_shown(client):
    for number in range(3):
        await client.call("put", bytes([number]) * 1_000)
    assert len((await client.query("view_state", account_id=COUNTER, prefix_base64=""))["values"]) == 3
    prefix = base64.b64encode(b"\1").decode()
    assert len((await client.query("view_state", account_id=COUNTER, prefix_base64=prefix))["values"]) == 1
    for number in range(10, 36):
        await client.call("put", bytes([number]) * 1_000, wait_until="EXECUTED_OPTIMISTIC")
    params = {"request_type": "view_state", "finality": "optimistic", "account_id": COUNTER, "prefix_base64": ""}
    assert (await failure(client, "query", params)).cause == "TOO_LARGE_CONTRACT_STATE"


@pytest.mark.parametrize("block_id", [387_420_489, 2**64 - 1, "4reLvkAWfqk5fsqio1KLudk46cqRz9erQdaHkWZKMJDZ"])
async def test_an_unknown_block_is_422(client, block_id):
    for method, params in (("block", {}), ("query", {"request_type": "view_account", "account_id": "a.near"})):
        error = await failure(client, method, {**params, "block_id": block_id})
        assert (error.http_status, error.cause) == (422, "UNKNOWN_BLOCK")
        assert str(block_id) in error.error["data"]


async def test_an_unknown_transaction_or_chunk_is_an_error(client):
    for tx_hash in ("nope", base58.b58encode(bytes(32)).decode()):
        error = await failure(client, "tx", [tx_hash, "alice.test.near"])
        assert error.cause == "UNKNOWN_TRANSACTION"
        assert error.error["cause"]["info"]["requested_transaction_hash"] == tx_hash
    error = await failure(client, "chunk", {"chunk_id": base58.b58encode(bytes(32)).decode()})
    assert error.cause == "UNKNOWN_CHUNK"


# requests that cannot be read


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("block", {}),
        ("block", {"block_id": -1}),
        ("block", {"block_id": True}),
        ("block", {"block_id": 2**64}),
        ("block", {"block_id": "zz"}),
        ("block", {"finality": "surely"}),
        ("block", "final"),
        ("query", {}),
        ("query", {"finality": "final"}),
        ("query", {"finality": "final", "request_type": "view_everything"}),
        ("query", {"finality": "final", "request_type": "view_account"}),
        ("query", {"finality": "final", "request_type": "view_account", "account_id": "A"}),
        ("query", {"finality": "final", "request_type": "view_access_key", "account_id": "a.near", "public_key": "x"}),
        (
            "query",
            {
                "finality": "final",
                "request_type": "call_function",
                "account_id": "a.near",
                "method_name": "m",
                "args_base64": "%",
            },
        ),
        ("send_tx", {"signed_tx_base64": "AAAA"}),
        ("send_tx", {"signed_tx_base64": 1}),
        ("send_tx", {"signed_tx_base64": "", "wait_until": "SOON"}),
        ("broadcast_tx_async", ["not base64"]),
        ("broadcast_tx_commit", []),
        ("tx", []),
        ("tx", {"tx_hash": "x", "wait_until": 1}),
        ("chunk", {"chunk_id": "x"}),
        ("chunk", {"block_id": 0}),
        ("next_light_client_block", {"last_block_hash": "x"}),
        ("validators", {"block_id": "x"}),
        ("changes", {"changes_type": "single_access_key_changes", "keys": ALICE.public, "finality": "final"}),
        ("changes", {"changes_type": "single_access_key_changes", "keys": [ALICE.public], "finality": "final"}),
        ("changes", {"changes_type": "single_access_key_changes", "keys": [{}], "finality": "final"}),
        ("chunk", {"block_id": 0, "shard_id": []}),
        ("EXPERIMENTAL_changes", {"changes_type": "magic", "account_ids": [], "finality": "final"}),
        ("EXPERIMENTAL_changes", {"changes_type": "account_changes", "account_ids": "a", "finality": "final"}),
    ],
)
async def test_parameters_that_do_not_fit_are_a_parse_error(client, method, params):
    error = await failure(client, method, params)
    assert (error.http_status, error.cause) == (400, "PARSE_ERROR")
    assert (error.error["name"], error.error["code"]) == ("REQUEST_VALIDATION_ERROR", -32700)
    assert error.error["cause"]["info"]["error_message"]


async def test_an_unknown_method_is_named(client):
    error = await failure(client, "no_such_method", [])
    assert error.cause == "METHOD_NOT_FOUND"
    assert (error.error["code"], error.error["data"]) == (-32601, "no_such_method")


async def test_an_action_that_is_not_served_is_named(client):
    stake = py_near.create_staking_action(1, ALICE.public)
    signed = await client.sign("alice.test.near", ALICE, "alice.test.near", [stake])
    error = await failure(client, "send_tx", {"signed_tx_base64": signed})
    assert "does not serve the action STAKE" in error.error["data"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"[]", 400, "batches are not served"),
        (b'[{"jsonrpc":"2.0","method":"status","params":[],"id":1}]', 400, "batches are not served"),
        (b"3", 400, "a request is an object"),
        (b'{"method":"status"}', 400, "a request is an object"),
        (b'{"jsonrpc":"2.0","id":1}', 400, "names its method"),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', 400, "names its method"),
        (b" " * (11 * 2**20), 413, "at most 10485760 bytes"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else None,
)
async def test_a_request_that_is_none_gets_one_json_rpc_error(client, body, status, message):
    async with client.session.post(client.chain.rpc_url, data=io.BytesIO(body)) as response:
        answer = json.loads(await response.text())
        assert response.status == status
    assert answer["error"]["cause"]["name"] == "PARSE_ERROR"
    assert message in answer["error"]["data"]
    assert (await client.rpc("status", []))["chain_id"] == "dev"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("block_id", "finality", "account_id", "public_key", "wait_until", "signed_tx_base64", "account_ids")


@settings(max_examples=300, deadline=None)
@given(JSON | st.dictionaries(st.sampled_from(NAMES), JSON))
def test_any_parameters_are_read_or_refused(value):
    readers = (
        lambda params: params.block_reference(0),
        lambda params: params.account_id("account_id"),
        lambda params: params.account_ids("account_ids"),
        lambda params: params.public_key("public_key"),
        lambda params: params.wait_until(),
        lambda params: params.transaction(),
    )
    for read in readers:
        try:
            read(Params(value))
        except RpcError as error:
            assert error.body["name"] == "REQUEST_VALIDATION_ERROR"  # noqa: PT017 - either outcome is right


# REST


async def test_get_status_is_the_same_object_as_the_method(manual_client):
    async with manual_client.session.get(manual_client.chain.rpc_url + "/status") as response:
        assert response.status == 200
        body = await response.json()
    conforms("RpcStatusResponse", body)
    assert {**body, "uptime_sec": 0} == {**await manual_client.rpc("status", []), "uptime_sec": 0}


async def test_get_health_is_200_while_blocks_come(client):
    async with client.session.get(client.chain.rpc_url + "/health") as response:
        assert response.status == 200


async def test_health_fails_when_no_blocks_come(client):
    client.chain._driver._producer.cancel()
    client.chain._driver._produced_at -= 3600
    async with client.session.get(client.chain.rpc_url + "/health") as response:
        assert response.status == 500
    assert (await failure(client, "health", [])).cause == "NO_NEW_BLOCKS"


async def test_get_metrics_tells_the_heights(client):
    async with client.session.get(client.chain.rpc_url + "/metrics") as response:
        assert response.status == 200
        text = await response.text()
    values = dict(line.split() for line in text.splitlines() if not line.startswith("#"))
    assert int(values["near_block_height_head"]) >= int(values["near_final_block_height"])


async def test_a_fault_of_the_node_is_500_and_says_no_more_than_that(client, monkeypatch):
    def fail(_query):
        raise KeyError("private detail")

    monkeypatch.setattr("sharekeeper_devnet.chain.rpc.query.parse", fail)
    error = await failure(client, "query", {"request_type": "view_account", "finality": "final"})
    assert (error.http_status, error.error["name"]) == (500, "INTERNAL_ERROR")
    assert "private detail" not in json.dumps(error.error)


async def test_blocks_keep_coming_after_one_could_not_be_made(client, monkeypatch):
    ledger = client.chain._driver._ledger
    with monkeypatch.context() as patched:
        patched.setattr(ledger.store, "append", lambda *_: 1 / 0)
        await asyncio.sleep(0.1)
        stuck = client.chain.tip.head.height
    await client.call("increment")
    assert client.chain.tip.head.height > stuck
