"""Every body of every method, results and errors, against the models generated from nearcore's OpenAPI."""

import io
import json
from types import SimpleNamespace

import pytest
from py_near import transactions as py_near

from sharekeeper_devnet.chain import NEAR
from sharekeeper_devnet.chain.rpc import methods as rpc_methods
from sharekeeper_devnet.runtime import gas
from tests.devchain.conftest import ALICE, BOB, TERA, Client, RpcFailure
from tests.devchain.oracle import causes, conforms
from tests.devchain.rpc_cases import BIG, CALL, COUNTER, FINAL, KEY, LEGACY, METHODS, NEVER, NO_BLOCK, STATE, VIEWS
from tests.devchain.wasm import COUNTER_WASM


def much_state() -> list:
    """Actions that make an account whose data is too much to be shown."""
    puts = [py_near.create_function_call_action("put", bytes([each]) * 2_000, 20 * TERA, 0) for each in range(13)]
    create, code = py_near.create_create_account_action(), py_near.create_deploy_contract_action(COUNTER_WASM)
    return [create, py_near.create_transfer_action(10 * NEAR), code, *puts]


@pytest.fixture
async def scene(client: Client, monkeypatch) -> SimpleNamespace:
    """A chain with a transaction that ran, one that failed, one that was dropped, and one no block takes up."""
    call = py_near.create_function_call_action("increment", b"", 30 * TERA, 0)
    fail = py_near.create_function_call_action("fail", b"no", 30 * TERA, 0)
    key = py_near.create_function_call_access_key_action(BOB.public.removeprefix("ed25519:"), 5, COUNTER, ["get"])
    signed = await client.sign("alice.test.near", ALICE, COUNTER, [call])
    done = await client.rpc("send_tx", {"signed_tx_base64": signed, "wait_until": "EXECUTED_OPTIMISTIC"})
    failed = await client.send("alice.test.near", ALICE, COUNTER, [fail], wait_until="EXECUTED_OPTIMISTIC")
    await client.send("alice.test.near", ALICE, "alice.test.near", [key], wait_until="EXECUTED_OPTIMISTIC")
    await client.send("alice.test.near", ALICE, BIG, much_state(), wait_until="FINAL")
    invalid = await client.sign("alice.test.near", ALICE, COUNTER, [call], nonce=1)
    waiting = await client.sign("alice.test.near", ALICE, COUNTER, [call])
    dropped = await client.rpc("broadcast_tx_async", [invalid])
    taken_in = done["transaction_outcome"]["block_hash"]
    genesis = await client.rpc("block", [0])
    answers = SimpleNamespace(
        client=client,
        signed=signed,
        tx_hash=done["transaction"]["hash"],
        failed_tx_hash=failed["transaction"]["hash"],
        invalid=invalid,
        dropped_tx_hash=dropped,
        waiting=waiting,
        receipt_ids=[each["id"] for each in done["receipts_outcome"]],
        taken_in=taken_in,
        executed_in=done["receipts_outcome"][0]["block_hash"],
        chunk_hash=(await client.rpc("block", [taken_in]))["chunks"][0]["chunk_hash"],
        genesis_hash=genesis["header"]["hash"],
        epoch_id=genesis["header"]["epoch_id"],
    )
    client.chain._driver._producer.cancel()
    methods = client.chain._server._methods
    monkeypatch.setattr(methods, "_polling_timeout_s", 0.02)
    answers.waiting_tx_hash = await client.rpc("broadcast_tx_async", [waiting])
    return answers


async def envelope(client: Client, method: str, params) -> tuple[int, dict]:
    """HTTP status and JSON of an answer, whichever it is."""
    body = json.dumps({"jsonrpc": "2.0", "id": "7", "method": method, "params": params})
    async with client.session.post(client.chain.rpc_url, data=io.BytesIO(body.encode())) as response:
        return response.status, json.loads(await response.text())


def check_error(error: dict, model: str, name: str) -> None:
    """An error is what the model says, and has what the models leave open: code, message and data."""
    codes = {"PARSE_ERROR": -32700, "METHOD_NOT_FOUND": -32601}
    code = codes.get(error["cause"]["name"], -32000)
    assert error["name"] == name
    assert error["code"] == code
    assert error["message"] == {-32700: "Parse error", -32601: "Method not found", -32000: "Server error"}[code]
    assert error["data"]
    kind = {"HANDLER_ERROR": "HandlerError", "INTERNAL_ERROR": "InternalError"}.get(name, "RequestValidationError")
    described = {"name": error["name"], "cause": error["cause"]}
    conforms(f"ErrorWrapperFor{model}{kind}", described)


async def check_refusal(client: Client, method: str, params, model: str, *expected) -> None:
    """The answer is an error of that model with the expected cause and HTTP status."""
    status, answer = await envelope(client, method, params)
    assert "error" in answer, f"{method} {params} was answered"
    assert (answer["error"]["cause"]["name"], status) == expected
    check_error(answer["error"], model, "HANDLER_ERROR")


def test_every_method_that_is_served_has_its_cases(chain):
    assert set(METHODS) | {"query"} == chain._server._methods.names


@pytest.mark.parametrize("method", METHODS)
async def test_every_result_of_a_method_is_what_its_model_says(scene, method):
    answers = METHODS[method]
    for make in answers.asked:
        status, answer = await envelope(scene.client, method, make(scene))
        assert (status, answer["jsonrpc"], answer["id"]) == (200, "2.0", "7")
        assert "error" not in answer, answer
        if answers.result is None:
            assert answer["result"] is None
        else:
            conforms(answers.result, answer["result"])


@pytest.mark.parametrize("method", [name for name, answers in METHODS.items() if answers.refused])
async def test_every_error_of_a_method_is_what_its_model_says(scene, method):
    answers = METHODS[method]
    for make, cause, http_status in answers.refused:
        await check_refusal(scene.client, method, make(scene), answers.error, cause, http_status)


@pytest.mark.parametrize("method", METHODS)
def test_every_cause_a_model_knows_is_shown_or_known_not_to_come(method):
    answers = METHODS[method]
    shown = {cause for _, cause, _ in answers.refused}
    assert shown <= causes(answers.error)
    assert not shown & (NEVER.keys() | answers.not_here)
    assert causes(answers.error) == shown | answers.not_here | (NEVER.keys() & causes(answers.error))


@pytest.mark.parametrize("kind", VIEWS)
async def test_every_result_of_a_query_is_what_its_model_says(scene, kind):
    for make in METHODS[f"EXPERIMENTAL_{kind}"].asked:
        params = {"request_type": kind, **make(scene)}
        answer = await scene.client.rpc("query", params)
        conforms(VIEWS[kind], answer)
        assert answer == await scene.client.rpc(f"EXPERIMENTAL_{kind}", params)


@pytest.mark.parametrize("kind", VIEWS)
async def test_every_error_of_a_query_is_what_its_model_says(scene, kind):
    for make, cause, http_status in METHODS[f"EXPERIMENTAL_{kind}"].refused:
        params = {"request_type": kind, **make(scene)}
        if cause in LEGACY or (kind, cause) == ("call_function", "NO_CONTRACT_CODE"):
            result = await scene.client.rpc("query", params)
            assert set(result) == {"error", "logs", "block_height", "block_hash"}
            words = "does not exist while viewing" if cause == "UNKNOWN_ACCESS_KEY" else "wasm execution failed with"
            assert words in result["error"]
        else:
            await check_refusal(scene.client, "query", params, "RpcQueryError", cause, http_status)


def test_every_cause_of_a_query_is_shown_or_known_not_to_come():
    shown = {cause for kind in VIEWS for _, cause, _ in METHODS[f"EXPERIMENTAL_{kind}"].refused}
    assert causes("RpcQueryError") == shown | (NEVER.keys() & causes("RpcQueryError"))


async def test_an_unknown_block_is_named_as_the_query_named_it(client):
    for block_id in (387_420_489, NO_BLOCK):
        params = {"request_type": "view_account", "account_id": COUNTER, "block_id": block_id}
        _, answer = await envelope(client, "query", params)
        assert answer["error"]["cause"]["info"] == {"block_reference": {"block_id": block_id}}


@pytest.mark.parametrize("kind", VIEWS)
async def test_state_five_epochs_back_is_garbage_collected(manual_client, kind):
    client = manual_client
    await client.chain.produce_block()
    block = (await client.rpc("block", [1]))["header"]
    question = {"request_type": kind, "account_id": COUNTER, "block_id": 1, **KEY, **CALL, **STATE}
    await client.chain.skip_to(5 * 43_200)
    await client.rpc("query", question)
    for _ in range(2):
        await client.chain.produce_block()
    await check_refusal(client, "query", question, "RpcQueryError", "GARBAGE_COLLECTED_BLOCK", 200)
    _, answer = await envelope(client, "query", question)
    assert answer["error"]["cause"]["info"] == {"block_height": 1, "block_hash": block["hash"]}
    assert (await client.rpc("block", [1]))["header"] == block
    assert (await client.rpc("query", {**question, "block_id": 5 * 43_200}))["block_height"] == 5 * 43_200


@pytest.mark.parametrize("method", [*METHODS, "query"])
async def test_what_cannot_be_read_and_a_fault_of_the_node_are_what_the_model_says(client, method, monkeypatch):
    model = "RpcQueryError" if method == "query" else METHODS[method].error
    status, answer = await envelope(client, method, "neither a list nor an object")
    assert status == 400
    check_error(answer["error"], model, "REQUEST_VALIDATION_ERROR")

    async def fail(*_):
        raise KeyError("private detail")

    monkeypatch.setattr(rpc_methods.Methods, "call", fail)
    status, answer = await envelope(client, method, [])
    assert status == 500
    check_error(answer["error"], model, "INTERNAL_ERROR")


async def test_an_unknown_method_is_what_the_model_says(client):
    status, answer = await envelope(client, "no_such_method", [])
    assert status == 400
    check_error(answer["error"], "RpcStatusError", "REQUEST_VALIDATION_ERROR")


async def test_a_node_without_new_blocks_says_since_when(client):
    client.chain._driver._producer.cancel()
    client.chain._driver._produced_at -= 3600
    await check_refusal(client, "health", [], "RpcStatusError", "NO_NEW_BLOCKS", 200)


async def test_a_light_client_at_the_newest_final_block_gets_nothing_newer(manual_client):
    block = (await manual_client.rpc("block", FINAL))["header"]
    assert await manual_client.rpc("next_light_client_block", [block["hash"]]) == {}
    for _ in range(4):
        await manual_client.chain.produce_block()
    newer = await manual_client.rpc("next_light_client_block", [block["hash"]])
    assert newer["inner_lite"]["height"] == 2


async def test_the_protocol_configuration_tells_what_the_chain_charges(client):
    config = (await client.rpc("EXPERIMENTAL_protocol_config", FINAL))["runtime_config"]
    costs = config["wasm_config"]["ext_costs"]
    assert costs["base"] == gas.HOST_CALL
    assert costs["storage_read_base"] == gas.STORAGE_READ_BASE
    fees = config["transaction_costs"]["action_creation_config"]["transfer_cost"]
    receipt = config["transaction_costs"]["action_receipt_creation_config"]
    result = await client.send("alice.test.near", ALICE, "bob.test.near", [py_near.create_transfer_action(1)])
    assert result["transaction_outcome"]["outcome"]["gas_burnt"] == fees["send_not_sir"] + receipt["send_not_sir"]
    burnt = result["receipts_outcome"][0]["outcome"]["gas_burnt"]
    assert burnt == fees["execution"] + receipt["execution"]


async def test_the_last_block_of_an_epoch_tells_its_validators(manual_client):
    await manual_client.chain.skip_to(43_199)
    answer = await manual_client.rpc("validators", {"block_id": 43_199})
    conforms("RpcValidatorResponse", answer)


async def test_whoever_asks_for_less_is_told_all_that_is_known(manual_client):
    client = manual_client
    call = py_near.create_function_call_action("increment", b"", 30 * TERA, 0)
    signed = await client.sign("alice.test.near", ALICE, COUNTER, [call])
    sent = {"signed_tx_base64": signed}
    assert await client.rpc("send_tx", {**sent, "wait_until": "NONE"}) == {"final_execution_status": "NONE"}
    seen = []
    for _ in range(4):
        await client.chain.produce_block()
        for method, until in (("send_tx", "INCLUDED"), ("tx", "NONE")):
            answer = await client.rpc(method, {**sent, "wait_until": until})
            conforms("RpcTransactionResponse", answer)
        seen.append((answer["final_execution_status"], answer["status"]))
    value = {"SuccessValue": "AQAAAAAAAAA="}
    assert seen[0] == ("INCLUDED", "Started")
    assert seen[1] == ("EXECUTED_OPTIMISTIC", value)
    assert seen[-1] == ("FINAL", value)


async def test_block_effects_name_what_a_block_touched(client):
    result = await client.call("increment")
    where = result["receipts_outcome"][0]["block_hash"]
    touched = (await client.rpc("block_effects", {"block_id": where}))["changes"]
    assert {"type": "data_touched", "account_id": COUNTER} in touched
    taken = (await client.rpc("block_effects", {"block_id": result["transaction_outcome"]["block_hash"]}))["changes"]
    assert {"type": "access_key_touched", "account_id": "alice.test.near"} in taken


async def test_a_refusal_of_a_transaction_says_why_as_the_model_has_it(scene):
    with pytest.raises(RpcFailure) as caught:
        await scene.client.rpc("send_tx", [scene.invalid])
    conforms("InvalidTxError", caught.value.invalid_tx)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("RpcGasPriceResponse", {"gas_price": "1", "more": 1}),
        ("RpcGasPriceResponse", {"gas_price": 1}),
        ("RpcGasPriceResponse", {}),
        ("RpcProtocolConfigResponse", {"chain_id": "dev"}),
        ("InvalidTxError", {"InvalidNonce": {"tx_nonce": 1, "ak_nonce": 2, "upper_bound": 3}}),
    ],
)
def test_the_oracle_takes_no_field_too_many_or_too_few(name, body):
    with pytest.raises((AssertionError, ValueError)):
        conforms(name, body)
