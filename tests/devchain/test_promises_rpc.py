"""Trees of receipts as clients see them: outcomes, receipts, chunks and statuses, each against nearcore's models."""

import base64

import aiohttp
import pytest

from sharekeeper_devnet.chain import DevChain
from tests.devchain.conftest import ALICE, TERA, Client
from tests.devchain.ledger_world import USER, call, script_genesis
from tests.devchain.oracle import conforms
from tests.devchain.promise_wat import Script, amount
from tests.devchain.test_promises import fails, reads, says
from tests.devchain.test_yields import yields


@pytest.fixture
async def client(tmp_path):
    started = script_genesis(yield_timeout_blocks=10)
    async with (
        DevChain(tmp_path / "data", started, block_time_ms=None, polling_timeout_s=0.2) as chain,
        aiohttp.ClientSession() as session,
    ):
        yield Client(chain, session)


async def start(client: Client, script: Script) -> str:
    signed = await client.sign(USER, ALICE, "one.near", [call(script)])
    return await client.rpc("broadcast_tx_async", [signed])


async def blocks(client: Client, count: int) -> None:
    for _ in range(count):
        await client.chain.produce_block()


async def status(client: Client, tx_hash: str, wait_until: str = "NONE") -> dict:
    params = {"tx_hash": tx_hash, "sender_account_id": USER, "wait_until": wait_until}
    return await client.rpc("EXPERIMENTAL_tx_status", params)


def asks_and_follows() -> Script:
    script = Script()
    asked = script.promise_create("two.near", "run", says("hello"), amount(5), 10 * TERA)
    script.promise_return(script.promise_then(asked, "one.near", "run", reads(1, returning=0), amount(0), 10 * TERA))
    return script


async def test_the_outcomes_of_a_tree_are_shown_each_before_those_it_made(client):
    tx_hash = await start(client, asks_and_follows())
    await blocks(client, 8)
    result = await status(client, tx_hash, "FINAL")
    conforms("RpcTransactionResponse", result)
    assert base64.b64decode(result["status"]["SuccessValue"]) == b"hello"
    outcomes = result["receipts_outcome"]
    seen = set(result["transaction_outcome"]["outcome"]["receipt_ids"])
    for outcome in outcomes:
        conforms("ExecutionOutcomeWithIdView", outcome)
        assert outcome["id"] in seen
        seen |= set(outcome["outcome"]["receipt_ids"])
    assert seen == {outcome["id"] for outcome in outcomes}
    callback = outcomes[0]["outcome"]["status"]["SuccessReceiptId"]
    (shown,) = [each for each in outcomes if each["id"] == callback]
    assert shown["outcome"]["status"] == result["status"]


async def test_the_receipts_of_a_tree_say_who_waits_for_whom(client):
    tx_hash = await start(client, asks_and_follows())
    await blocks(client, 8)
    receipts = (await status(client, tx_hash, "FINAL"))["receipts"]
    for receipt in receipts:
        conforms("ReceiptView", receipt)
    by_ends = {(each["predecessor_id"], each["receiver_id"]): each["receipt"]["Action"] for each in receipts}
    asked, callback = by_ends["one.near", "two.near"], by_ends["one.near", "one.near"]
    (receiver,) = asked["output_data_receivers"]
    assert receiver == {"data_id": callback["input_data_ids"][0], "receiver_id": "one.near"}
    assert by_ends["system", USER]["gas_price"] == "0"
    assert {each["signer_id"] for each in (asked, callback)} == {USER}


async def test_a_chunk_shows_the_data_it_delivered(client):
    await start(client, asks_and_follows())
    shown = []
    for _ in range(8):
        await client.chain.produce_block()
        chunk = await client.rpc("chunk", {"block_id": client.chain.tip.head.height, "shard_id": 0})
        conforms("RpcChunkResponse", chunk)
        shown += [each["receipt"]["Data"] for each in chunk["receipts"] if "Data" in each["receipt"]]
    assert [base64.b64decode(each["data"]) for each in shown] == [b"hello"]


async def test_a_yield_holds_the_transaction_back_until_it_ends(client):
    tx_hash = await start(client, yields(reads(1)))
    await blocks(client, 6)
    result = await status(client, tx_hash, "INCLUDED_FINAL")
    assert result["final_execution_status"] == "INCLUDED_FINAL"
    await blocks(client, 12)
    result = await status(client, tx_hash, "FINAL")
    conforms("RpcTransactionResponse", result)
    assert [each["receipt"]["Action"]["is_promise_yield"] for each in result["receipts"]].count(True) == 1
    logs = [line for each in result["receipts_outcome"] for line in each["outcome"]["logs"]]
    assert logs == ["1", "2"]


async def test_a_side_receipt_that_fails_is_shown_and_the_transaction_is_none_the_less_a_success(client):
    script = Script()
    script.promise_create("two.near", "run", fails(), amount(0), 10 * TERA)
    script.value_return("fine")
    tx_hash = await start(client, script)
    await blocks(client, 7)
    result = await status(client, tx_hash, "FINAL")
    assert base64.b64decode(result["status"]["SuccessValue"]) == b"fine"
    failed = [each for each in result["receipts_outcome"] if "Failure" in each["outcome"]["status"]]
    assert [each["outcome"]["executor_id"] for each in failed] == ["two.near"]
    conforms("RpcTransactionResponse", result)
