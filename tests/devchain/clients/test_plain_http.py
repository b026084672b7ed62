"""The faults every client meets, as the wire has them: HTTP status, cause, and what the data says."""

import asyncio
import io
import json

import pytest

from tests.devchain.clients.world import ALICE_ID, COUNTER, FAULTS, TIME_OUT, Fault, call_of
from tests.devchain.conftest import ALICE, Client
from tests.devchain.oracle import conforms


async def answer_of(client: Client, method: str, params: object) -> tuple[int, dict]:
    body = json.dumps({"jsonrpc": "2.0", "id": "1", "method": method, "params": params}).encode()
    async with client.session.post(client.chain.rpc_url, data=io.BytesIO(body)) as response:
        return response.status, json.loads(await response.text())


async def check(client: Client, fault: Fault) -> dict:
    status, answer = await answer_of(client, *await fault.ask(client))
    assert status == fault.status
    error = answer.get("error")
    assert (error["cause"]["name"] if error else None) == fault.cause
    assert fault.detail in json.dumps(error["data"] if error else answer["result"]).replace('\\"', '"')
    return answer


@pytest.mark.parametrize("name", FAULTS)
async def test_every_fault_has_its_status_and_cause(far_client, name):
    answer = await check(far_client, FAULTS[name])
    error = answer.get("error")
    if error and error["cause"]["name"] == "INVALID_TRANSACTION":
        conforms("InvalidTxError", error["data"]["TxExecutionError"]["InvalidTxError"])


async def test_a_transaction_that_no_block_takes_up_times_out_and_still_counts_when_blocks_come(halted):
    request = await TIME_OUT.ask(halted)

    async def ask(_client: Client) -> tuple[str, object]:
        return request

    waiting = Fault(ask=ask, status=TIME_OUT.status, cause=TIME_OUT.cause, detail=TIME_OUT.detail)
    for _ in range(2):
        answer = await check(halted, waiting)
        assert answer["error"]["cause"]["info"] == {"cause": "NOT_OBSERVED"}
    for _ in range(2):
        await halted.chain.produce_block()
    assert bytes((await halted.view("get"))["result"]) == (1).to_bytes(8, "little")


async def test_the_same_bytes_sent_through_every_method_have_one_outcome_and_count_once(client):
    signed = await client.sign(ALICE_ID, ALICE, COUNTER, [call_of()])
    final = await client.rpc("send_tx", {"signed_tx_base64": signed, "wait_until": "FINAL"})
    again = await client.rpc("send_tx", {"signed_tx_base64": signed, "wait_until": "FINAL"})
    committed = await client.rpc("broadcast_tx_commit", [signed])
    unheard = await client.rpc("broadcast_tx_async", [signed])
    found = await client.rpc("tx", {"signed_tx_base64": signed, "wait_until": "FINAL"})
    assert final == again == committed == found
    assert unheard == final["transaction"]["hash"]
    assert bytes((await client.view("get"))["result"]) == (1).to_bytes(8, "little")


async def test_the_same_bytes_sent_at_once_by_many_count_once(client):
    signed = await client.sign(ALICE_ID, ALICE, COUNTER, [call_of()])
    sent = [client.rpc("send_tx", {"signed_tx_base64": signed, "wait_until": "FINAL"}) for _ in range(10)]
    first, *others = await asyncio.gather(*sent)
    assert all(each == first for each in others)
    assert bytes((await client.view("get"))["result"]) == (1).to_bytes(8, "little")


async def test_a_transaction_that_failed_has_the_same_outcome_when_it_is_sent_again(client):
    signed = await client.sign(ALICE_ID, ALICE, COUNTER, [call_of("fail")])
    params = {"signed_tx_base64": signed, "wait_until": "FINAL"}
    first = await client.rpc("send_tx", params)
    assert "Failure" in first["status"]
    before = await client.balance(ALICE_ID)
    assert await client.rpc("send_tx", params) == first
    assert await client.balance(ALICE_ID) == before
