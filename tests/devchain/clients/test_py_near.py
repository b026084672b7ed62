"""py-near's Account, as programs in Python use it, against the dev chain."""

import pytest
from py_near.account import Account, ViewFunctionError
from py_near.exceptions.provider import JsonProviderError

from sharekeeper_devnet.chain import NEAR
from tests.contract.world import CONTRACT, key, node_signer
from tests.devchain.clients import world
from tests.devchain.clients.world import FAULTS, TIME_OUT, Session, check_session, secret
from tests.devchain.conftest import ALICE, Key

CONTRACT_KEY = Key.numbered(7)

REPORTED = {
    "unknown account": "UnknownAccount",
    "unknown access key": "ValueError",
    "unknown method": "InternalError",
    "unknown block": "InternalError",
    "garbage-collected block": "InternalError",
    "parse error": "InternalError",
    "panic of a view": "ViewFunctionError",
    "method a contract has not": "ViewFunctionError",
    "contract an account has not": "ViewFunctionError",
    "unknown transaction": "InternalError",
    "nonce too low": "InvalidNonce",
    "nonce too high": "InvalidTxError",
    "expired transaction": "Expired",
    "wrong key": "InvalidAccessKeyError",
    "unknown signer": "SignerDoesNotExist",
    "not enough balance": "NotEnoughBalance",
    "not enough allowance": "InvalidAccessKeyError",
    "method name mismatch": "InvalidAccessKeyError",
    "receiver mismatch": "InvalidAccessKeyError",
    "deposit with a function-call key": "InvalidTransactionError",
    "more than a function-call key may": "InvalidTransactionError",
    "contract panic": None,
}
"""The exception for each fault. py-near has one for all it does not know, and none for a transaction that fails."""


@pytest.fixture
async def login(chain):
    """Makes accounts that are closed at the end."""
    opened = []

    async def log_in(account_id: str, of: Key, url: str = chain.rpc_url) -> Account:
        account = Account(account_id, secret(of), url)
        opened.append(account)
        await account.startup()
        return account

    yield log_in
    for account in opened:
        await account.shutdown()


def bare(public_key: str) -> str:
    return public_key.removeprefix("ed25519:")


async def test_py_near_deploys_the_contract_calls_it_with_a_restricted_key_and_views_it(login):
    creator = await login(world.PARENT, ALICE)
    await creator.create_account(CONTRACT, bare(CONTRACT_KEY.public), world.CONTRACT_BALANCE)
    owner = await login(CONTRACT, CONTRACT_KEY)
    await owner.deploy_contract(world.CODE)
    started = await owner.function_call(CONTRACT, "init", world.INIT, world.GAS)
    assert "SuccessValue" in started.status
    participant = await login(world.ALICE_ID, ALICE)
    node_key = key(node_signer(world.PARTICIPANT))
    await participant.add_public_key(bare(node_key), CONTRACT, [world.METHOD], world.ALLOWANCE)
    restricted = await login(world.ALICE_ID, world.NODE_KEY)
    result = await restricted.function_call(CONTRACT, world.METHOD, world.ARGUMENTS, world.GAS)
    again = await owner.function_call(CONTRACT, "init", world.INIT, world.GAS)
    with pytest.raises(JsonProviderError) as refused:
        await restricted.function_call(CONTRACT, "init", world.INIT, world.GAS)
    assert "'MethodNameMismatch': {'method_name': 'init'}" in str(refused.value.error_json["data"])
    account = await owner.fetch_state()
    keys = await restricted.provider.get_access_key_list(world.ALICE_ID)
    assert len(await restricted.get_access_key_list()) == len(keys["keys"])
    check_session(
        Session(
            state=(await owner.view_function(CONTRACT, "state", {})).result,
            participant_info=(
                await owner.view_function(CONTRACT, "participant_info", {"account_id": world.PARTICIPANT})
            ).result,
            keys=keys["keys"],
            status=result.status,
            code_hash=account["code_hash"],
            again=str(again.status["Failure"]),
        )
    )


async def test_py_near_moves_money_and_sees_balances(login):
    alice = await login(world.ALICE_ID, ALICE)
    before = await alice.get_balance(world.POOR_ID)
    await alice.send_money(world.POOR_ID, 3 * NEAR)
    assert await alice.get_balance(world.POOR_ID) == before + 3 * NEAR


async def test_py_near_deletes_a_key(login):
    alice = await login(world.ALICE_ID, ALICE)
    before = len(await alice.get_access_key_list())
    await alice.delete_public_key(bare(world.SPENT.public))
    assert len(await alice.get_access_key_list()) == before - 1


async def attempt(login, client, name):
    """The fault as a program that uses py-near runs into it, or the bare request where py-near has no way to."""
    alice = await login(world.ALICE_ID, ALICE)
    spent, restricted = [await login(world.ALICE_ID, each) for each in (world.SPENT, world.RESTRICTED)]
    provider = alice.provider
    view = alice.view_function
    programs = {
        "unknown account": lambda: alice.get_balance(world.NOBODY),
        "unknown access key": lambda: alice.get_access_key(world.STRANGER.secret),
        "unknown block": lambda: provider.get_block(world.NO_BLOCK),
        "panic of a view": lambda: view(world.COUNTER, "fail", {}),
        "method a contract has not": lambda: view(world.COUNTER, "missing", {}),
        "contract an account has not": lambda: view(world.ALICE_ID, "get", {}),
        "unknown transaction": lambda: provider.get_tx(world.NO_TRANSACTION, world.ALICE_ID),
        "not enough allowance": lambda: spent.function_call(world.COUNTER, "increment", {}),
        "method name mismatch": lambda: restricted.function_call(world.COUNTER, "get", {}),
        "receiver mismatch": lambda: restricted.function_call(world.ALICE_ID, "increment", {}),
        "deposit with a function-call key": lambda: restricted.function_call(world.COUNTER, "increment", {}, amount=1),
        "more than a function-call key may": lambda: restricted.send_money(world.POOR_ID, 1),
        "contract panic": lambda: alice.function_call(world.COUNTER, "fail", {}, world.CALL_GAS),
    }
    if name in programs:
        return await programs[name]()
    return await provider.json_rpc(*await FAULTS[name].ask(client))


@pytest.mark.parametrize("name", REPORTED)
async def test_py_near_reports_every_fault(login, far_client, name):
    if REPORTED[name] is None:
        result = await attempt(login, far_client, name)
        assert FAULTS[name].detail in str(result.status["Failure"])
        return
    with pytest.raises((JsonProviderError, ViewFunctionError, ValueError)) as caught:
        await attempt(login, far_client, name)
    assert type(caught.value).__name__ == REPORTED[name]
    told = getattr(caught.value, "error_json", None) or str(caught.value)
    assert FAULTS[name].detail in str(told).replace("\\'", "'")


def test_every_fault_has_its_report():
    assert set(REPORTED) == set(FAULTS)


async def test_py_near_reports_a_transaction_that_no_block_takes_up(login, halted):
    alice = await login(world.ALICE_ID, ALICE, halted.chain.rpc_url)
    method, params = await TIME_OUT.ask(halted)
    with pytest.raises(JsonProviderError) as caught:
        await alice.provider.json_rpc(method, params)
    assert caught.value.error_json["cause"]["message"] == "Status: 408"
    assert '"TIMEOUT_ERROR"' in caught.value.error_json["data"]


async def test_py_near_sees_the_same_outcome_of_the_same_bytes_and_they_count_once(login, client):
    alice = await login(world.ALICE_ID, ALICE)
    signed = await client.sign(world.ALICE_ID, ALICE, world.COUNTER, [world.call_of()])
    first, second = [await alice.provider.send_tx_and_wait(signed) for _ in range(2)]
    tx_hash = await alice.provider.send_tx(signed)
    found = await alice.provider.get_tx(tx_hash, world.ALICE_ID)
    assert first.status == second.status == found.status == {"SuccessValue": "AQAAAAAAAAA="}
    assert first.transaction.hash == second.transaction.hash == tx_hash
    assert bytes((await client.view("get"))["result"]) == (1).to_bytes(8, "little")
