"""The caller against an endpoint that takes transactions as neard does, and fails at the worst moments.

`Pool` keeps one access key and the transactions it was sent; each fault is scripted per broadcast. The same
caller against real blocks and contract code: `test_transactions_on_chain.py`.
"""

import asyncio
import base64
import hashlib
import json
from contextlib import asynccontextmanager

import base58
import pytest
from aiohttp import web

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.transactions import (
    NearCaller,
    add_full_access_key,
    add_key,
    create_account,
    delete_key,
    deploy_contract,
    function_call,
    transfer,
)
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId, SignerKey
from sharekeeper.errors import (
    ChainAnswerInvalid,
    ChainUnavailable,
    TransactionFailed,
    TransactionUnknown,
    UnknownAccount,
)

ALICE = AccountId("alice.test.near")
CONTRACT = AccountId("mpc.test.near")
KEY = KeyPair.generate(bytes(range(32)))
OTHER = SignerKey(bytes([9]) * 32)
HASH = base58.b58encode(bytes([4]) * 32).decode()
NONCE_OFFSET = 4 + len(ALICE) + 33


class Pool:
    """One endpoint's view: `faults` say what happens to each broadcast in turn, after them all is well."""

    def __init__(self, *faults):
        self.faults = list(faults)
        self.nonce = 41
        self.height = 1000
        self.broadcasts = []
        self.pending = {}
        self.final = {}
        self.key_exists = True
        self.outcome = {"SuccessValue": base64.b64encode(b'{"recovery_id":7}').decode()}
        self.receipt = {"SuccessValue": ""}

    async def handle(self, request):
        call = json.loads(await request.read())
        answer = await getattr(self, call["method"])(request, call["params"])
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], **answer})

    async def block(self, _request, _params):
        self.height += 1
        name = base58.b58encode(hashlib.sha256(str(self.height).encode()).digest()).decode()
        return {"result": {"header": {"height": self.height, "hash": name, "timestamp_nanosec": "1"}}}

    async def query(self, _request, params):
        at = {"block_height": 1, "block_hash": params["block_id"]}
        if not self.key_exists:
            return {"result": {"error": f"access key {KEY.signer_key} does not exist while viewing", **at}}
        return {"result": {"nonce": self.nonce, "permission": "FullAccess", **at}}

    async def send_tx(self, request, params):
        assert params["wait_until"] == "FINAL"
        blob = params["signed_tx_base64"]
        self.broadcasts.append(blob)
        name = tx_hash(blob)
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            return await fault(self, request, blob)
        if nonce_of(blob) <= self.nonce:
            return refused({"InvalidNonce": {"tx_nonce": nonce_of(blob), "ak_nonce": self.nonce}})
        self.execute(blob)
        return self.final_answer(name)

    async def tx(self, _request, params):
        assert params["sender_account_id"] == ALICE
        name = params["tx_hash"]
        if name in self.pending:
            self.pending[name][1] -= 1
            if self.pending[name][1] > 0:
                return {"result": {"final_execution_status": "INCLUDED"}}
            self.execute(self.pending.pop(name)[0])
        if name in self.final:
            return self.final_answer(name)
        return error("UNKNOWN_TRANSACTION", data=f"Transaction {name} doesn't exist")

    def execute(self, blob):
        assert tx_hash(blob) not in self.final, "executed twice"
        self.nonce = max(self.nonce, nonce_of(blob))
        self.final[tx_hash(blob)] = blob

    def final_answer(self, name):
        receipts = [{"id": name, "outcome": {"status": status}} for status in (self.outcome, self.receipt)]
        outcome = {"id": name, "outcome": {"status": {"SuccessReceiptId": name}}}
        body = {"status": self.outcome, "transaction_outcome": outcome, "receipts_outcome": receipts}
        return {"result": {"final_execution_status": "FINAL", **body}}


def tx_hash(blob):
    return base58.b58encode(hashlib.sha256(base64.b64decode(blob)[:-65]).digest()).decode()


def nonce_of(blob):
    return int.from_bytes(base64.b64decode(blob)[NONCE_OFFSET : NONCE_OFFSET + 8], "little")


def error(cause, *, info=None, data=None):
    return {"error": {"name": "HANDLER_ERROR", "cause": {"name": cause, "info": info}, "data": data}}


def refused(reason):
    return error("INVALID_TRANSACTION", data={"TxExecutionError": {"InvalidTxError": reason}})


# --- faults: what happens to one broadcast


def refuse(reason):
    async def fault(_pool, _request, _blob):
        return refused(reason)

    return fault


async def execute_and_drop_the_connection(pool, request, blob):
    pool.execute(blob)
    request.transport.abort()
    return {}


async def drop_the_connection(_pool, request, _blob):
    request.transport.abort()
    return {}


async def give_up_waiting(pool, _request, blob):
    pool.pending[tx_hash(blob)] = [blob, 2]
    return error("TIMEOUT_ERROR", info={"cause": "PENDING"})


async def execute_another_of_that_nonce(pool, request, blob):
    pool.nonce = nonce_of(blob)
    request.transport.abort()
    return {}


async def answer_about_another(pool, _request, blob):
    pool.execute(blob)
    answer = pool.final_answer(HASH)
    answer["result"]["status"] = {"SuccessValue": base64.b64encode(b'{"recovery_id":8}').decode()}
    return answer


async def answer_malformed(pool, _request, blob):
    pool.execute(blob)
    answer = pool.final_answer(tx_hash(blob))
    answer["result"]["status"] = {"SuccessValue": "!"}
    return answer


@asynccontextmanager
async def caller(pool, **changes):
    app = web.Application()
    app.router.add_post("/", pool.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    clock = SystemClock()
    try:
        async with NearRpc(url=url, contract_id=CONTRACT, chain_id="d", genesis_hash=None, clock=clock) as rpc:
            given = {"account_id": ALICE, "key": KEY, "contract_id": CONTRACT, "timeout_seconds": 3.0, **changes}
            yield NearCaller(rpc=rpc, clock=clock, **given)
    finally:
        await runner.cleanup()


async def call(pool, **changes):
    async with caller(pool, **changes) as near:
        return await near.call("conclude_recovery", {"recovery_id": 7})


# --- what a call gives -------------------------------------------------------------------------


async def test_a_call_is_final_and_gives_the_contracts_json():
    pool = Pool()
    assert await call(pool) == {"recovery_id": 7}
    assert [nonce_of(blob) for blob in pool.broadcasts] == [42]


async def test_a_call_that_returns_nothing_gives_none():
    pool = Pool()
    pool.outcome = {"SuccessValue": ""}
    assert await call(pool) is None


async def test_a_result_that_is_not_json_is_told_as_a_success_with_an_odd_result():
    pool = Pool()
    pool.outcome = {"SuccessValue": base64.b64encode(b"\xff").decode()}
    with pytest.raises(ChainAnswerInvalid, match="succeeded"):
        await call(pool)
    assert len(pool.broadcasts) == 1


PANIC = {"ActionError": {"index": 0, "kind": {"FunctionCallError": {"ExecutionError": "Smart contract panicked: no"}}}}
NO_ACCOUNT = {"ActionError": {"index": 0, "kind": {"AccountDoesNotExist": {"account_id": "x.near"}}}}


@pytest.mark.parametrize(("failure", "words"), [(PANIC, "^no$"), (NO_ACCOUNT, "AccountDoesNotExist"), ("odd", "odd")])
async def test_a_failure_on_chain_is_told_in_the_contracts_own_words(failure, words):
    pool = Pool()
    pool.outcome = {"Failure": failure}
    with pytest.raises(TransactionFailed, match=words):
        await call(pool)


async def test_a_failed_side_receipt_fails_the_call():
    pool = Pool()
    pool.receipt = {"Failure": PANIC}
    with pytest.raises(TransactionFailed, match=r"^no$"):
        await call(pool)


async def test_an_account_without_the_key_sends_nothing():
    pool = Pool()
    pool.key_exists = False
    with pytest.raises(UnknownAccount, match=str(KEY.signer_key)):
        await call(pool)
    assert pool.broadcasts == []


# --- when the answer is lost --------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        execute_and_drop_the_connection,
        give_up_waiting,
        answer_about_another,
        answer_malformed,
    ],
)
async def test_an_executed_transaction_is_found_by_its_hash(fault):
    pool = Pool(fault)
    assert await call(pool) == {"recovery_id": 7}
    assert len(pool.final) == 1


async def test_lost_bytes_are_sent_again_unchanged():
    pool = Pool(drop_the_connection, drop_the_connection)
    assert await call(pool) == {"recovery_id": 7}
    assert len(pool.broadcasts) == 3
    assert len(set(pool.broadcasts)) == 1


async def test_bytes_refused_for_a_spent_nonce_are_signed_anew_only_when_they_never_ran():
    pool = Pool(execute_another_of_that_nonce)
    assert await call(pool) == {"recovery_id": 7}
    assert [nonce_of(blob) for blob in pool.broadcasts] == [42, 42, 43]
    assert len(pool.final) == 1


async def test_bytes_that_expired_unseen_are_signed_anew():
    async def drop_and_let_a_day_pass(pool, request, blob):
        pool.height += 90_000
        return await drop_the_connection(pool, request, blob)

    pool = Pool(drop_and_let_a_day_pass, refuse("Expired"))
    assert await call(pool) == {"recovery_id": 7}
    assert len(set(pool.broadcasts)) == 2


async def test_bytes_refused_as_expired_too_early_are_not_signed_anew():
    pool = Pool(drop_the_connection, *[refuse("Expired")] * 9)
    with pytest.raises(TransactionUnknown, match="Expired"):
        await call(pool, timeout_seconds=0.5)
    assert len(set(pool.broadcasts)) == 1


async def test_a_key_that_was_deleted_meanwhile_ends_the_call():
    async def lose_bytes_and_key(pool, request, blob):
        pool.key_exists = False
        return await drop_the_connection(pool, request, blob)

    gone = {"InvalidAccessKeyError": {"AccessKeyNotFound": {"account_id": ALICE}}}
    with pytest.raises(TransactionFailed, match="AccessKeyNotFound"):
        await call(Pool(lose_bytes_and_key, refuse(gone)))


async def test_a_nonce_taken_before_the_first_broadcast_is_replaced_at_once():
    pool = Pool(refuse({"InvalidNonce": {"tx_nonce": 42, "ak_nonce": 50}}))
    assert await call(pool) == {"recovery_id": 7}
    assert [nonce_of(blob) for blob in pool.broadcasts] == [42, 51]


async def test_signing_anew_is_bounded():
    pool = Pool(*[refuse("Expired")] * 10)
    with pytest.raises(TransactionFailed, match="Expired"):
        await call(pool)
    assert len(pool.broadcasts) == 3


async def test_a_transaction_that_can_never_be_valid_is_refused_at_once():
    pool = Pool(*[refuse({"InvalidAccessKeyError": {"MethodNameMismatch": {"method_name": "x"}}})] * 9)
    with pytest.raises(TransactionFailed, match="MethodNameMismatch"):
        await call(pool)
    assert len(pool.broadcasts) == 1


@pytest.mark.parametrize("cause", ["PARSE_ERROR", "METHOD_NOT_FOUND"])
async def test_an_endpoint_that_cannot_read_transactions_ends_the_call(cause):
    async def refuse_all(_pool, _request, _blob):
        return error(cause, data="eof")

    with pytest.raises(TransactionFailed, match=cause):
        await call(Pool(refuse_all))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (error("INVALID_TRANSACTION", info={"TxExecutionError": {"InvalidTxError": "InvalidChain"}}), "InvalidChain"),
        (error("INVALID_TRANSACTION", data="some new reason"), "some new reason"),
    ],
)
async def test_a_refusal_is_told_wherever_the_endpoint_puts_its_reason(answer, words):
    async def refuse_so(_pool, _request, _blob):
        return answer

    with pytest.raises(TransactionFailed, match=words):
        await call(Pool(refuse_so))


async def test_an_endpoint_that_routes_a_transaction_on_may_have_sent_it():
    async def route(pool, _request, blob):
        pool.pending[tx_hash(blob)] = [blob, 1]
        return error("REQUEST_ROUTED")

    pool = Pool(route)
    assert await call(pool) == {"recovery_id": 7}
    assert len(pool.broadcasts) == 1


async def test_a_look_up_that_fails_decides_nothing():
    class Forgetful(Pool):
        async def tx(self, request, params):
            self.tries = getattr(self, "tries", 0) + 1
            if self.tries == 1:
                request.transport.abort()
            if self.tries == 2:
                return error("DOES_NOT_TRACK_SHARD")
            return await super().tx(request, params)

        async def query(self, request, params):
            if self.broadcasts and self.tries < 3:
                return error("TOO_MANY_ACCESS_KEYS")
            return await super().query(request, params)

    pool = Forgetful(execute_and_drop_the_connection)
    assert await call(pool) == {"recovery_id": 7}
    assert len(pool.final) == 1


async def test_calls_of_unknown_fate_are_remembered_up_to_a_limit():
    async with caller(Pool(*[drop_the_connection] * 99), timeout_seconds=0.1) as near:
        for number in range(18):
            with pytest.raises(TransactionUnknown):
                await near.call("vote", {"n": number})
        assert len(near._unsettled) == 16


async def test_a_congested_shard_is_waited_for():
    pool = Pool(refuse({"ShardCongested": {"shard_id": 0, "congestion_level": 1.0}}))
    assert await call(pool) == {"recovery_id": 7}
    assert len(set(pool.broadcasts)) == 1


async def test_a_refusal_of_bytes_that_may_be_elsewhere_is_no_failure():
    pool = Pool(drop_the_connection, *[refuse({"NotEnoughBalance": {"balance": "0"}})] * 9)
    with pytest.raises(TransactionUnknown, match="NotEnoughBalance"):
        await call(pool, timeout_seconds=0.5)


async def test_a_call_whose_fate_was_unknown_is_made_again_with_the_same_bytes():
    pool = Pool(*[drop_the_connection] * 3)
    async with caller(pool, timeout_seconds=0.5) as near:
        with pytest.raises(TransactionUnknown, match="try again"):
            await near.call("vote", {"n": 1})
        pool.faults.clear()
        assert await near.call("vote", {"n": 1}) == {"recovery_id": 7}
        assert len(set(pool.broadcasts)) == 1
        await near.call("vote", {"n": 2})
    assert len(pool.final) == 2


async def test_a_cancelled_call_is_made_again_with_the_same_bytes():
    async def hang(pool, _request, blob):
        pool.execute(blob)
        await asyncio.sleep(30)

    pool = Pool(hang)
    async with caller(pool) as near:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(near.call("vote", {}), 0.3)
        assert await near.call("vote", {}) == {"recovery_id": 7}
    assert len(set(pool.broadcasts)) == 1


async def test_an_endpoint_that_went_away_after_signing_was_sent_nothing(unused_tcp_port):
    async with caller(Pool(), timeout_seconds=0.5) as near:
        signed = await near._sign(CONTRACT, [function_call("vote", {})])
        clock = SystemClock()
        url = f"http://127.0.0.1:{unused_tcp_port}"
        async with NearRpc(url=url, contract_id=CONTRACT, chain_id="d", genesis_hash=None, clock=clock) as gone:
            near._rpc = gone
            with pytest.raises(ChainUnavailable, match="nothing was sent"):
                await near._send("vote", signed, may_be_held=False)


async def test_concurrent_calls_take_their_turns():
    pool = Pool()
    async with caller(pool) as near:
        await asyncio.gather(*(near.call("vote", {"n": n}) for n in range(5)))
    assert [nonce_of(blob) for blob in pool.broadcasts] == [42, 43, 44, 45, 46]


async def test_all_kinds_of_actions_go_out_signed_by_the_key():
    pool = Pool()
    actions = [
        create_account(),
        transfer(10**24),
        add_full_access_key(OTHER),
        add_key(OTHER, contract_id=CONTRACT, methods=["respond"], allowance=5),
        delete_key(OTHER),
        deploy_contract(b"\0asm"),
        function_call("init", {}),
    ]
    async with caller(pool) as near:
        await near.send_actions(AccountId("new.test.near"), actions)
        assert (near.account_id, near.signer_key) == (ALICE, KEY.signer_key)
    blob = base64.b64decode(pool.broadcasts[0])
    assert KEY.sign(hashlib.sha256(blob[:-65]).digest()) == blob[-64:]


@pytest.mark.parametrize(
    "make",
    [
        lambda: transfer(-1),
        lambda: transfer(2**128),
        lambda: function_call("", {}),
        lambda: function_call("m" * 257, {}),
        lambda: function_call("m", {}, gas=2**64),
        lambda: add_key(OTHER, contract_id=CONTRACT, methods=[]),
        lambda: add_key(OTHER, contract_id=CONTRACT, methods=["a"], allowance=-1),
    ],
)
def test_an_action_that_cannot_be_meant_is_refused_before_it_is_encoded(make):
    with pytest.raises(ValueError):
        make()
