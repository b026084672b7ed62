"""The chain reader against an endpoint that misbehaves in every way endpoints do."""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

import base58
import pytest
from aiohttp import web

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.json_rpc import JsonRpc, NotSent, RpcRefused
from sharekeeper.adapters.near_rpc import AccessKey, NearRpc
from sharekeeper.domain.identity import AccountId, SignerKey
from sharekeeper.domain.protocol_state import BlockRef, Running
from sharekeeper.errors import (
    ChainAnswerInvalid,
    ChainContradiction,
    ChainStale,
    ChainUnavailable,
    ConfigInvalid,
    UnknownAccount,
    WrongNetwork,
)
from sharekeeper.protocol.contract_json import decode_ephemeral_keys
from sharekeeper.protocol.freshness import check_fresh
from sharekeeper.spec import MAX_RPC_ANSWER_BYTES
from tests.unit.test_contract_json import ACCOUNT, MAINNET
from tests.unit.test_ephemeral import ANSWER, OPENING, as_shown

Answer = Callable[[web.Request, dict], Awaitable[web.StreamResponse] | object]
CONTRACT = AccountId("mpc.test.near")
KEY = SignerKey(bytes([9]) * 32)
GENESIS = base58.b58encode(bytes([3]) * 32).decode()
HASH = base58.b58encode(bytes([4]) * 32).decode()
OTHER_HASH = base58.b58encode(bytes([5]) * 32).decode()
AT = BlockRef(height=100, hash=HASH, timestamp_ns=1)


@asynccontextmanager
async def endpoint(*answers):
    """A server that gives the answers in turn, the last one for ever. Yields its url and the calls it saw."""
    calls = []

    async def handle(request: web.Request) -> web.StreamResponse:
        call = json.loads(await request.read())
        calls.append(call)
        answer = answers[min(len(calls), len(answers)) - 1]
        if callable(answer):
            return await answer(request, call)
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": answer})

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/", calls
    finally:
        await runner.cleanup()


def rpc(url, **changes):
    given = {"chain_id": "devnet", "genesis_hash": GENESIS, "timeout_seconds": 1.0, **changes}
    return NearRpc(url=url, contract_id=CONTRACT, clock=SystemClock(), **given)


def error(name="HANDLER_ERROR", cause="INTERNAL_ERROR", info=None, data=None, status=200):
    async def answer(_request, call):
        body = {"name": name, "cause": {"name": cause, "info": info}, "code": -32000, "message": "Server error"}
        envelope = {"jsonrpc": "2.0", "id": call["id"], "error": {**body, **({"data": data} if data else {})}}
        return web.json_response(envelope, status=status)

    return answer


def raw(body, status=200, content_type="text/html"):
    async def answer(_request, _call):
        return web.Response(body=body, status=status, content_type=content_type)

    return answer


async def hang(_request, _call):
    await asyncio.sleep(30)


async def reset(request, _call):
    request.transport.abort()
    return web.Response()


async def huge(request, _call):
    response = web.StreamResponse()
    await response.prepare(request)
    try:
        for _ in range(2 + MAX_RPC_ANSWER_BYTES // 2**20):
            await response.write(b" " * 2**20)
    except ConnectionError:
        pass
    return response


def block(height, name=HASH, **header):
    return {"header": {"height": height, "hash": name, "timestamp_nanosec": "1700000061800000000", **header}}


def viewed(value, at=HASH):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return {"result": list(data), "logs": [], "block_height": 100, "block_hash": at}


# --- transport ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        reset,
        raw(b"<html>Bad Gateway</html>", 502),
        raw(b"slow down", 429),
        raw(b"", 408),
        error("INTERNAL_ERROR", status=500),
        error(cause="NO_SYNCED_BLOCKS"),
        error(cause="UNKNOWN_BLOCK", status=422),
    ],
)
async def test_a_fault_that_passes_is_retried_within_the_deadline(fault):
    async with endpoint(fault, block(7)) as (url, calls), rpc(url) as chain:
        assert (await chain.head()).height == 7
        assert len(calls) == 2


async def test_one_hanging_connection_does_not_use_up_the_deadline():
    async with endpoint(hang, block(7)) as (url, _), rpc(url, timeout_seconds=0.6) as chain:
        assert (await chain.head()).height == 7


async def test_an_endpoint_that_hangs_for_ever_costs_one_deadline():
    async with endpoint(hang) as (url, _), rpc(url, timeout_seconds=0.5) as chain:
        started = time.monotonic()
        with pytest.raises(ChainUnavailable, match=r"within 0.5 s"):
            await chain.head()
        assert time.monotonic() - started < 0.9


async def test_an_endpoint_that_is_not_there_is_unavailable(unused_tcp_port):
    async with JsonRpc(f"http://127.0.0.1:{unused_tcp_port}", clock=SystemClock()) as client:
        with pytest.raises(NotSent, match=f"127.0.0.1:{unused_tcp_port}"):
            await client.attempt("status", [], timeout_seconds=1)
        with pytest.raises(ChainUnavailable, match="no answer to status"):
            await client.request("status", [], timeout_seconds=0.2)


async def test_the_envelope_of_a_500_is_read_before_its_status():
    refusal = error(cause="UNKNOWN_ACCOUNT", data="account x.near does not exist while viewing", status=500)
    async with endpoint(refusal) as (url, calls), rpc(url) as chain:
        with pytest.raises(UnknownAccount, match=r"x\.near"):
            await chain.protocol_state(AT)
        assert len(calls) == 1


async def test_a_timeout_error_is_told_with_what_neard_said():
    refusal = error(cause="TIMEOUT_ERROR", info={"cause": "NOT_OBSERVED"}, status=408)
    async with endpoint(refusal) as (url, _), JsonRpc(url, clock=SystemClock()) as client:
        with pytest.raises(RpcRefused) as caught:
            await client.attempt("send_tx", {}, timeout_seconds=1)
        assert (caught.value.cause, caught.value.info) == ("TIMEOUT_ERROR", {"cause": "NOT_OBSERVED"})


async def test_an_answer_larger_than_the_limit_is_refused_unread():
    async with endpoint(huge) as (url, _), rpc(url, timeout_seconds=5) as chain:
        with pytest.raises(ChainAnswerInvalid, match=str(MAX_RPC_ANSWER_BYTES)):
            await chain.head()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (raw(b"<html>welcome</html>"), "without JSON-RPC"),
        (raw(b"[1,2]"), "without JSON-RPC"),
        (raw(b"{}"), "without JSON-RPC"),
        (raw(b'{"result": 1, "result": 2}'), "without JSON-RPC"),
        (raw(b'{"message": "no such key"}', 403), "HTTP 403"),
        (raw(b"", 301), "HTTP 301"),
        (raw(b'{"jsonrpc":"2.0","id":99,"result":{}}'), "another request"),
        (raw(b'{"jsonrpc":"2.0","id":null,"result":{}}'), "another request"),
    ],
)
async def test_an_answer_that_is_not_ours_is_refused_at_once(fault, words):
    async with endpoint(fault) as (url, calls), rpc(url) as chain:
        with pytest.raises(ChainAnswerInvalid, match=words):
            await chain.head()
        assert len(calls) == 1


async def test_messages_do_not_quote_the_path_of_the_url():
    async with endpoint(raw(b"no", 502)) as (url, _), rpc(url + "?key=topsecret", timeout_seconds=0.2) as chain:
        with pytest.raises(ChainUnavailable) as caught:
            await chain.head()
        assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:3030", "http://", "http://[::1", "http://x:99999"])
def test_a_url_that_is_not_http_is_a_configuration_fault(url):
    with pytest.raises(ConfigInvalid):
        rpc(url)


# --- blocks and network ------------------------------------------------------------------------


async def test_the_head_is_the_final_block_with_its_time():
    async with endpoint(block(7)) as (url, calls), rpc(url) as chain:
        assert await chain.head() == BlockRef(height=7, hash=HASH, timestamp_ns=1700000061800000000)
        assert calls[0]["params"] == {"finality": "final"}


async def test_a_final_block_may_stay_and_grow_and_never_goes_back():
    async with endpoint(block(7), block(7), block(9, OTHER_HASH), block(8)) as (url, _), rpc(url) as chain:
        assert [(await chain.head()).height for _ in range(3)] == [7, 7, 9]
        with pytest.raises(ChainContradiction, match="from 9 to 8"):
            await chain.head()


async def test_a_final_block_that_changes_is_a_contradiction():
    async with endpoint(block(7), block(7, OTHER_HASH)) as (url, _), rpc(url) as chain:
        await chain.head()
        with pytest.raises(ChainContradiction, match="block 7"):
            await chain.head()


async def test_answers_that_overtake_each_other_are_no_contradiction():
    async def slow(_request, call):
        await asyncio.sleep(0.2)
        return web.json_response({"id": call["id"], "result": block(7)})

    async with endpoint(slow, block(8, OTHER_HASH)) as (url, _), rpc(url) as chain:
        first = asyncio.create_task(chain.head())
        await asyncio.sleep(0.05)
        assert (await chain.head()).height == 8
        assert (await first).height == 7


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        block("7"),
        block(7, "0OIl"),
        block(7, "1" * 10_000_000),
        block(7, timestamp_nanosec=17),
        block(7, timestamp_nanosec="-1"),
        block(7, timestamp_nanosec="9" * 5000),
    ],
)
async def test_a_block_without_height_hash_or_time_is_an_invalid_answer(answer):
    async with endpoint(answer) as (url, _), rpc(url) as chain:
        with pytest.raises(ChainAnswerInvalid):
            await chain.head()


@pytest.mark.parametrize(("age", "fresh"), [(0, True), (59, True), (-59, True), (61, False), (-61, False)])
def test_a_block_is_fresh_within_a_minute_of_now(age, fresh):
    found = BlockRef(height=1, hash=HASH, timestamp_ns=10**18)
    if fresh:
        check_fresh(found, 10**18 + age * 10**9)
    else:
        with pytest.raises(ChainStale, match=f"{age} s old"):
            check_fresh(found, 10**18 + age * 10**9)


async def test_the_network_is_the_one_the_endpoint_serves():
    async with endpoint({"chain_id": "devnet", "genesis_hash": GENESIS}) as (url, _):
        for configured in (GENESIS, None):
            async with rpc(url, genesis_hash=configured) as chain:
                network = await chain.network()
                assert (network.chain_id, network.genesis_hash, network.contract_id) == ("devnet", GENESIS, CONTRACT)


async def test_a_status_without_genesis_is_an_invalid_answer():
    async with endpoint({"chain_id": "devnet"}) as (url, _), rpc(url) as chain:
        with pytest.raises(ChainAnswerInvalid, match="genesis_hash"):
            await chain.network()


@pytest.mark.parametrize("changes", [{"chain_id": "mainnet"}, {"genesis_hash": OTHER_HASH}])
async def test_another_network_than_the_configured_one_is_refused(changes):
    async with endpoint({"chain_id": "devnet", "genesis_hash": GENESIS}) as (url, _), rpc(url, **changes) as chain:
        with pytest.raises(WrongNetwork, match=next(iter(changes))):
            await chain.network()


# --- views ---------------------------------------------------------------------------------------


async def test_the_protocol_state_is_read_at_the_block_asked_for():
    async with endpoint(viewed(MAINNET)) as (url, calls), rpc(url) as chain:
        assert isinstance(await chain.protocol_state(AT), Running)
        query = calls[0]["params"]
        assert (query["block_id"], query["account_id"], query["method_name"]) == (HASH, CONTRACT, "state")
        assert len(calls) == 1


async def test_an_account_is_asked_for_by_name():
    async with endpoint(viewed(ACCOUNT)) as (url, calls), rpc(url) as chain:
        assert (await chain.account(AccountId("alpha.example.near"), AT)).is_participant
        assert json.loads(base64.b64decode(calls[0]["params"]["args_base64"])) == {"account_id": "alpha.example.near"}


def answered_with(height, block_hash=HASH):
    return {"header": {"height": height, "hash": block_hash, "timestamp_nanosec": "7"}}


async def test_a_block_is_asked_for_by_height_or_by_hash_and_is_the_one_asked_for():
    async with endpoint(answered_with(100)) as (url, calls), rpc(url) as chain:
        assert (await chain.block_at(100)).hash == HASH
        assert (await chain.block_named(HASH)).height == 100
        assert [call["params"] for call in calls] == [{"block_id": 100}, {"block_id": HASH}]
        with pytest.raises(ChainAnswerInvalid, match="with block 100, not 99"):
            await chain.block_at(99)
        with pytest.raises(ChainAnswerInvalid, match="another block"):
            await chain.block_named(OTHER_HASH)


async def test_a_final_block_below_the_last_one_is_no_contradiction_where_nothing_is_remembered():
    async with endpoint(answered_with(100), answered_with(90)) as (url, _), rpc(url) as chain:
        assert [(await chain.final_block()).height for _ in range(2)] == [100, 90]


async def test_a_view_of_no_named_block_is_of_the_newest_final_one():
    async with endpoint(viewed({"ä": 1}, at=OTHER_HASH)) as (url, calls), rpc(url) as chain:
        assert await chain.view("config", {}, None) == {"ä": 1}
        assert calls[0]["params"]["finality"] == "final"


@pytest.mark.parametrize(
    "answer",
    [
        viewed(MAINNET, at=OTHER_HASH),
        viewed(b"not json"),
        viewed({"Hibernating": {}}),
        {"result": 10**9, "block_hash": HASH},
        {"result": [256], "block_hash": HASH},
        {"result": ["a"], "block_hash": HASH},
        {"block_hash": HASH},
        [],
        {"error": "wasm execution failed with error: the sky fell", "logs": []},
    ],
)
async def test_a_view_that_is_no_protocol_state_is_an_invalid_answer(answer):
    async with endpoint(answer) as (url, _), rpc(url) as chain:
        with pytest.raises(ChainAnswerInvalid):
            await chain.protocol_state(AT)


async def test_an_account_record_without_a_field_is_an_invalid_answer():
    async with endpoint(viewed({"account_id": "a.near"})) as (url, _), rpc(url) as chain:
        with pytest.raises(ChainAnswerInvalid, match="is_participant"):
            await chain.account(AccountId("a.near"), AT)


async def test_both_ephemeral_keys_are_read_at_the_block_asked_for():
    shown = {"backup_services": [as_shown(OPENING), None], "nodes": [as_shown(ANSWER), None]}
    async with endpoint(viewed(shown)) as (url, calls), rpc(url) as chain:
        keys = await chain.ephemeral_keys(OPENING.account_id, AT)
    assert keys == decode_ephemeral_keys(shown)
    params = calls[0]["params"]
    assert (params["method_name"], params["block_id"]) == ("ephemeral_keys", HASH)
    assert json.loads(base64.b64decode(params["args_base64"])) == {"account_id": OPENING.account_id}


async def test_an_ephemeral_key_that_cannot_be_read_is_an_invalid_answer():
    async with endpoint(viewed({"backup_services": [{}, None], "nodes": [None, None]})) as (url, _), rpc(url) as chain:
        with pytest.raises(ChainAnswerInvalid, match=r"view ephemeral_keys of mpc\.test\.near: field 'signature'"):
            await chain.ephemeral_keys(OPENING.account_id, AT)


async def test_a_block_that_was_garbage_collected_means_decide_again():
    async with endpoint(error(cause="GARBAGE_COLLECTED_BLOCK")) as (url, calls), rpc(url) as chain:
        with pytest.raises(ChainUnavailable, match="newer block"):
            await chain.protocol_state(AT)
        assert len(calls) == 1


RESTRICTED = {"FunctionCall": {"allowance": None, "receiver_id": CONTRACT, "method_names": ["respond"]}}


@pytest.mark.parametrize(
    ("permission", "full", "receiver", "methods"),
    [
        ("FullAccess", True, None, ()),
        (RESTRICTED, False, CONTRACT, ("respond",)),
        ({"GasKeyFullAccess": {}}, False, None, ()),
    ],
)
async def test_an_access_key_has_its_nonce_and_permission(permission, full, receiver, methods):
    answer = {"nonce": 5, "permission": permission, "block_height": 100, "block_hash": HASH}
    async with endpoint(answer) as (url, _), rpc(url) as chain:
        found = await chain.access_key(AccountId("a.near"), KEY, AT)
    assert found == AccessKey(nonce=5, full_access=full, receiver_id=receiver, methods=methods)


@pytest.mark.parametrize(
    "answer",
    [
        {"error": f"access key {KEY} does not exist while viewing", "logs": [], "block_hash": HASH},
        error(cause="UNKNOWN_ACCESS_KEY"),
    ],
)
async def test_a_missing_access_key_is_none_in_both_of_neards_forms(answer):
    async with endpoint(answer) as (url, _), rpc(url) as chain:
        assert await chain.access_key(AccountId("a.near"), KEY, AT) is None


@pytest.mark.parametrize(
    "answer",
    [
        {
            "error": 'wasm execution failed with error: CompilationError(CodeDoesNotExist { account_id: "mpc.test.near" })',
            "logs": [],
            "block_hash": HASH,
        },
        error(cause="NO_CONTRACT_CODE"),
    ],
)
async def test_a_missing_contract_is_an_unknown_account_in_both_of_neards_forms(answer):
    async with endpoint(answer) as (url, _), rpc(url) as chain:
        with pytest.raises(UnknownAccount):
            await chain.protocol_state(AT)


@pytest.mark.parametrize("answer", [error(cause="TOO_MANY_ACCESS_KEYS"), {"nonce": 1, "block_hash": HASH}])
async def test_an_access_key_that_cannot_be_read_is_not_taken_for_missing(answer):
    async with endpoint(answer) as (url, _), rpc(url) as chain:
        with pytest.raises(ChainAnswerInvalid):
            await chain.access_key(AccountId("a.near"), KEY, AT)
