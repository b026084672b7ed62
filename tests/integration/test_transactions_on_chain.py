"""Reader and caller against real blocks, access keys and contract code on the dev chain."""

import asyncio
import json
import time

import pytest
import wasmtime

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.near_rpc import AccessKey, NearRpc
from sharekeeper.adapters.transactions import (
    NearCaller,
    add_key,
    create_account,
    delete_key,
    deploy_contract,
    function_call,
    transfer,
)
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.protocol_state import Running
from sharekeeper.errors import ChainAnswerInvalid, TransactionFailed, UnknownAccount, WrongNetwork
from sharekeeper.protocol.freshness import check_fresh
from sharekeeper_devnet.chain import NEAR, DevChain, Genesis, GenesisAccount
from tests.unit.test_contract_json import MAINNET

ALICE = AccountId("alice.test.near")
CONTRACT = AccountId("mpc.alice.test.near")
OPERATOR = KeyPair.generate(bytes([1]) * 32)
NODE = KeyPair.generate(bytes([2]) * 32)
ANSWER, REFUSAL, STATE = b'{"recovery_id":7}', b"it is not your turn", json.dumps(MAINNET).encode()


def _escaped(data):
    return "".join(f"\\{byte:02x}" for byte in data)


WASM = wasmtime.wat2wasm(f"""(module
  (import "env" "value_return" (func $return (param i64 i64)))
  (import "env" "panic_utf8" (func $panic (param i64 i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "{_escaped(ANSWER)}")
  (data (i32.const 64) "{_escaped(REFUSAL)}")
  (data (i32.const 128) "{_escaped(STATE)}")
  (func (export "conclude_recovery") (call $return (i64.const {len(ANSWER)}) (i64.const 0)))
  (func (export "cancel_recovery") (call $panic (i64.const {len(REFUSAL)}) (i64.const 64)))
  (func (export "state") (call $return (i64.const {len(STATE)}) (i64.const 128))))""")


@pytest.fixture
async def chain(tmp_path):
    alice = GenesisAccount.with_full_access_key(ALICE, str(OPERATOR.signer_key))
    genesis = Genesis(chain_id="devnet", genesis_time_ns=time.time_ns(), accounts=(alice,))
    async with DevChain(tmp_path, genesis, block_time_ms=20) as running:
        yield running


@pytest.fixture
async def rpc(chain):
    given = {"contract_id": CONTRACT, "chain_id": "devnet", "genesis_hash": None, "clock": SystemClock()}
    async with NearRpc(url=chain.rpc_url, **given) as client:
        yield client


def caller(rpc, key):
    return NearCaller(rpc=rpc, account_id=ALICE, key=key, contract_id=CONTRACT, clock=SystemClock())


@pytest.fixture
async def operator(rpc):
    operator = caller(rpc, OPERATOR)
    await operator.send_actions(CONTRACT, [create_account(), transfer(10 * NEAR), deploy_contract(bytes(WASM))])
    methods = ["conclude_recovery", "cancel_recovery"]
    await operator.send_actions(ALICE, [add_key(NODE.signer_key, contract_id=CONTRACT, methods=methods)])
    return operator


async def test_the_network_and_a_fresh_final_head_are_read(rpc):
    network = await rpc.network()
    assert network.chain_id == "devnet"
    first = await rpc.head()
    check_fresh(first, time.time_ns())
    await asyncio.sleep(0.1)
    assert (await rpc.head()).height > first.height


async def test_another_genesis_than_configured_is_another_network(rpc, chain):
    genesis_hash = (await rpc.network()).genesis_hash
    given = {"contract_id": CONTRACT, "clock": SystemClock()}
    async with NearRpc(url=chain.rpc_url, chain_id="devnet", genesis_hash=genesis_hash, **given) as same:
        assert (await same.network()).genesis_hash == genesis_hash
    async with NearRpc(url=chain.rpc_url, chain_id="devnet", genesis_hash="1" * 32, **given) as other:
        with pytest.raises(WrongNetwork):
            await other.network()


async def test_views_are_read_at_one_final_block(rpc, operator):
    head = await rpc.head()
    assert isinstance(await rpc.protocol_state(head), Running)
    with pytest.raises(ChainAnswerInvalid, match="it is not your turn"):
        await rpc.view("cancel_recovery", {}, head)
    with pytest.raises(ChainAnswerInvalid, match="MethodNotFound"):
        await rpc.view("no_such_view", {}, head)


async def test_an_account_without_contract_has_no_views(rpc):
    with pytest.raises(UnknownAccount):
        await rpc.protocol_state(await rpc.head())


async def test_a_restricted_key_calls_its_methods_and_no_others(rpc, operator):
    node = caller(rpc, NODE)
    assert await node.call("conclude_recovery", {"recovery_id": 7}) == {"recovery_id": 7}
    with pytest.raises(TransactionFailed, match="MethodNameMismatch"):
        await node.call("state", {})
    with pytest.raises(TransactionFailed, match="ReceiverMismatch"):
        await node.send_actions(ALICE, [function_call("conclude_recovery", {})])


async def test_a_refusal_of_the_contract_is_its_own_sentence(rpc, operator):
    with pytest.raises(TransactionFailed, match=r"^it is not your turn$"):
        await caller(rpc, NODE).call("cancel_recovery", {"recovery_id": 7})


async def test_an_access_key_comes_and_goes(rpc, operator):
    found = await rpc.access_key(ALICE, NODE.signer_key, await rpc.head())
    assert isinstance(found, AccessKey)
    assert (found.receiver_id, found.methods) == (CONTRACT, ("conclude_recovery", "cancel_recovery"))
    await operator.send_actions(ALICE, [delete_key(NODE.signer_key)])
    assert await rpc.access_key(ALICE, NODE.signer_key, await rpc.head()) is None
    with pytest.raises(UnknownAccount, match=str(NODE.signer_key)):
        await caller(rpc, NODE).call("conclude_recovery", {})


async def test_a_key_deletes_itself_and_the_call_still_ends(rpc, operator):
    await operator.send_actions(ALICE, [delete_key(OPERATOR.signer_key)])
    assert await rpc.access_key(ALICE, OPERATOR.signer_key, await rpc.head()) is None


async def test_an_action_that_fails_on_chain_is_told(rpc, operator):
    with pytest.raises(TransactionFailed, match="AddKeyAlreadyExists"):
        await operator.send_actions(ALICE, [add_key(NODE.signer_key, contract_id=CONTRACT, methods=["respond"])])


async def test_two_callers_of_one_key_both_get_through(rpc, operator):
    one, two = caller(rpc, NODE), caller(rpc, NODE)
    answers = await asyncio.gather(*(each.call("conclude_recovery", {"n": n}) for n, each in enumerate([one, two])))
    assert answers == [{"recovery_id": 7}] * 2


async def test_a_node_that_restarts_between_blocks_loses_no_call(tmp_path):
    alice = GenesisAccount.with_full_access_key(ALICE, str(OPERATOR.signer_key))
    genesis = Genesis(chain_id="devnet", genesis_time_ns=time.time_ns(), accounts=(alice,))
    async with DevChain(tmp_path, genesis, block_time_ms=20) as first:
        url, port = first.rpc_url, int(first.rpc_url.rpartition(":")[2])
        clock = SystemClock()
        rpc = NearRpc(url=url, contract_id=CONTRACT, chain_id="devnet", genesis_hash=None, clock=clock)
        async with rpc:
            operator = caller(rpc, OPERATOR)
            signed = await operator._sign(CONTRACT, [create_account(), transfer(NEAR)])
            await first.stop()
            sending = asyncio.create_task(operator._send("create", signed, may_be_held=False))
            await asyncio.sleep(0.1)
            async with DevChain(tmp_path, genesis, block_time_ms=20, port=port):
                assert (await sending).failure is None
