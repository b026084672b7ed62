"""near-jsonrpc-client, typed by nearcore's own schema, against the dev chain.

It cannot sign, so py-near does, and it drops what an error says beside its cause.
"""

import base64
import json

import near_jsonrpc_models as models
import pytest
from near_jsonrpc_client import NearClientAsync, RpcClientError, RpcError
from py_near import transactions as py_near

from tests.contract.world import CONTRACT, key, node_signer
from tests.devchain.clients import world
from tests.devchain.clients.world import FAULTS, TIME_OUT, Session, check_session
from tests.devchain.conftest import ALICE, Client, Key

CONTRACT_KEY = Key.numbered(7)
UNTYPED = {"unknown method"}
"""What a typed client cannot ask."""


@pytest.fixture
async def connect():
    """Makes clients that are closed at the end."""
    opened = []

    def connection(client: Client) -> NearClientAsync:
        opened.append(NearClientAsync(rpc_urls=client.chain.rpc_url))
        return opened[-1]

    yield connection
    for each in opened:
        await each.close()


async def ask(typed: NearClientAsync, method: str, params: object):
    """The typed answer to a request written as JSON."""
    kinds = {
        "query": models.RpcQueryRequest,
        "send_tx": models.RpcSendTransactionRequest,
        "tx": models.RpcTransactionStatusRequest,
        "block": models.RpcBlockRequest,
        "gas_price": models.RpcGasPriceRequest,
    }
    return await getattr(typed, method)(params=kinds[method].model_validate(params))


class Signer:
    """Signs as one account with one key and sends typed."""

    def __init__(self, client: Client, typed: NearClientAsync, account_id: str, of: Key) -> None:
        self.client, self.typed, self.account_id, self.key = client, typed, account_id, of

    async def send(self, receiver_id: str, *actions) -> dict:
        signed = await self.client.sign(self.account_id, self.key, receiver_id, list(actions))
        answer = await ask(self.typed, "send_tx", {"signed_tx_base64": signed, "wait_until": "FINAL"})
        return answer.model_dump(mode="json")

    async def call(self, method: str, args: object) -> dict:
        action = py_near.create_function_call_action(method, json.dumps(args).encode(), world.GAS, 0)
        return await self.send(CONTRACT, action)


async def view(typed: NearClientAsync, method: str, args: object):
    params = models.RpcCallFunctionRequest.model_validate(
        {
            "account_id": CONTRACT,
            "method_name": method,
            "args_base64": base64.b64encode(json.dumps(args).encode()).decode(),
            "finality": "final",
        }
    )
    answer = await typed.experimental_call_function(params=params)
    return json.loads(bytes(answer.result))


async def test_the_typed_client_deploys_the_contract_calls_it_with_a_restricted_key_and_views_it(client, connect):
    typed = connect(client)
    parent = Signer(client, typed, world.PARENT, ALICE)
    await parent.send(
        CONTRACT,
        py_near.create_create_account_action(),
        py_near.create_transfer_action(world.CONTRACT_BALANCE),
        py_near.create_full_access_key_action(CONTRACT_KEY.public),
    )
    owner = Signer(client, typed, CONTRACT, CONTRACT_KEY)
    await owner.send(CONTRACT, py_near.create_deploy_contract_action(world.CODE))
    await owner.call("init", world.INIT)
    bare = key(node_signer(world.PARTICIPANT)).removeprefix("ed25519:")
    restricts = py_near.create_function_call_access_key_action(bare, world.ALLOWANCE, CONTRACT, [world.METHOD])
    await Signer(client, typed, world.ALICE_ID, ALICE).send(world.ALICE_ID, restricts)
    restricted = Signer(client, typed, world.ALICE_ID, world.NODE_KEY)
    outcome = await restricted.call(world.METHOD, world.ARGUMENTS)
    again = await owner.call("init", world.INIT)
    with pytest.raises(RpcError) as refused:
        await restricted.call("init", world.INIT)
    assert refused.value.error.error.root.cause.root.name == "INVALID_TRANSACTION"
    keys = await ask(
        typed,
        "query",
        {"request_type": "view_access_key_list", "finality": "final", "account_id": world.ALICE_ID},
    )
    code = await typed.experimental_view_code(
        params=models.RpcViewCodeRequest.model_validate({"account_id": CONTRACT, "finality": "final"})
    )
    check_session(
        Session(
            state=await view(typed, "state", {}),
            participant_info=await view(typed, "participant_info", {"account_id": world.PARTICIPANT}),
            keys=keys.model_dump(mode="json")["keys"],
            status=outcome["status"],
            code_hash=code.hash.root,
            again=str(again["status"]["Failure"]),
        )
    )


async def test_the_typed_client_reads_what_the_node_is(client, connect):
    typed = connect(client)
    status = await typed.status()
    assert status.chain_id == "dev"
    block = await ask(typed, "block", {"finality": "final"})
    assert block.header.height <= status.sync_info.latest_block_height + 1
    assert (await ask(typed, "gas_price", {"block_id": None})).gas_price.root == "100000000"
    assert (await typed.network_info()).num_active_peers == 0
    config = await typed.experimental_protocol_config(
        params=models.RpcProtocolConfigRequest.model_validate({"finality": "final"})
    )
    assert config.runtime_config.storage_amount_per_byte.root == str(10**19)
    light = await typed.next_light_client_block(
        params=models.RpcLightClientNextBlockRequest(last_block_hash=status.genesis_hash)
    )
    assert light.inner_lite is None or light.inner_lite.height > 0


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in UNTYPED])
async def test_the_typed_client_reads_every_fault(far_client, connect, name):
    fault = FAULTS[name]
    method, params = await fault.ask(far_client)
    if fault.cause is None and method == "send_tx":
        outcome = await ask(connect(far_client), method, params)
        assert fault.detail in str(outcome.model_dump(mode="json")["status"]["Failure"])
        return
    with pytest.raises(RpcClientError) as caught:
        await ask(connect(far_client), method, params)
    if fault.cause is None:
        assert type(caught.value) is RpcClientError
        assert fault.detail in str(caught.value)
    else:
        assert isinstance(caught.value, RpcError)
        assert caught.value.error.error.root.cause.root.name == fault.cause


async def test_the_typed_client_reads_a_transaction_that_no_block_takes_up(halted, connect):
    with pytest.raises(RpcError) as caught:
        await ask(connect(halted), *await TIME_OUT.ask(halted))
    cause = caught.value.error.error.root.cause.root
    assert (cause.name, cause.info.root.cause) == ("TIMEOUT_ERROR", "NOT_OBSERVED")


async def test_the_typed_client_sees_the_same_outcome_of_the_same_bytes_and_they_count_once(client, connect):
    typed = connect(client)
    signed = await client.sign(world.ALICE_ID, ALICE, world.COUNTER, [world.call_of()])
    params = {"signed_tx_base64": signed, "wait_until": "FINAL"}
    first, second = [await ask(typed, "send_tx", params) for _ in range(2)]
    found = await ask(typed, "tx", params)
    assert first == second == found
    assert bytes((await client.view("get"))["result"]) == (1).to_bytes(8, "little")
