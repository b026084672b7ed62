"""near-api-js, which the wallets and pages of the network use, against the dev chain."""

import base64
import json
from pathlib import Path

import base58
import pytest

from tests.contract.world import CONTRACT, key, node_signer
from tests.devchain.clients import world
from tests.devchain.clients.world import FAULTS, Session, check_session, secret
from tests.devchain.conftest import ALICE, Key

pytestmark = pytest.mark.needs("node")
STORAGE_PRICE = 10**19

REPORTED = {
    "unknown account": "AccountDoesNotExistError",
    "unknown access key": "AccessKeyDoesNotExistError",
    "unknown method": "RpcMethodNotFoundError",
    "unknown block": "UnknownBlockError",
    "garbage-collected block": "GarbageCollectedBlockError",
    "parse error": "RpcRequestParseError",
    "panic of a view": "RpcError",
    "method a contract has not": "ContractMethodNotFoundError",
    "contract an account has not": "ContractCodeDoesNotExistError",
    "unknown transaction": "UnknownTransactionError",
    "nonce too low": "InvalidNonceError",
    "nonce too high": "NonceTooLargeError",
    "expired transaction": "TransactionExpiredError",
    "wrong key": "AccessKeyNotFoundActionError",
    "unknown signer": "SignerDoesNotExistError",
    "not enough balance": "NotEnoughBalanceError",
    "not enough allowance": "AccessKeyNotEnoughAllowanceActionError",
    "method name mismatch": "AccessKeyMethodNameMismatchActionError",
    "receiver mismatch": "AccessKeyReceiverMismatchActionError",
    "deposit with a function-call key": "AccessKeyDepositWithFunctionCallActionError",
    "more than a function-call key may": "AccessKeyRequiresFullAccessActionError",
    "contract panic": "ContractExecutionError",
}
"""The most special class near-api-js has for each fault."""


def account(account_id: str, of: Key, **more) -> dict:
    return {"id": account_id, "secret": secret(of), **more}


async def test_near_api_js_deploys_the_contract_calls_it_with_a_restricted_key_and_views_it(chain, near_api_js):
    taken = {
        "url": chain.rpc_url,
        "parent": account(world.PARENT, ALICE),
        "contract": account(CONTRACT, Key.numbered(7), publicKey=Key.numbered(7).public),
        "participant": account(
            world.ALICE_ID,
            ALICE,
            restrictedSecret=secret(world.NODE_KEY),
            restrictedPublicKey=key(node_signer(world.PARTICIPANT)),
        ),
        "call": {"method": world.METHOD, "args": world.ARGUMENTS},
        "code": base64.b64encode(world.CODE).decode(),
        "balance": str(world.CONTRACT_BALANCE),
        "init": world.INIT,
        "gas": str(world.GAS),
        "allowance": str(world.ALLOWANCE),
    }
    found = await near_api_js("session", taken)
    assert found["outcome"]["final_execution_status"] == "FINAL"
    assert found["receipts"] == len(found["outcome"]["receipts_outcome"])
    assert int(found["storageUsed"]) == found["storageUsage"] * STORAGE_PRICE
    assert found["otherMethod"]["message"] == "Access key does not allow method init"
    check_session(
        Session(
            state=found["state"],
            participant_info=found["participantInfo"],
            keys=found["keys"],
            status=found["outcome"]["status"],
            code_hash=found["codeHash"],
            again=found["again"]["message"],
        )
    )


async def test_near_api_js_names_every_fault(far_client, near_api_js):
    head = far_client.chain.tip.head.height
    taken = {
        "url": far_client.chain.rpc_url,
        "alice": account(world.ALICE_ID, ALICE, nonce=head * 10**6 - 1),
        "poor": account(world.POOR_ID, ALICE),
        "restricted": secret(world.RESTRICTED),
        "spent": secret(world.SPENT),
        "strangerSecret": secret(world.STRANGER),
        "strangerPublicKey": world.STRANGER.public,
        "counter": world.COUNTER,
        "nobody": world.NOBODY,
        "noTransaction": world.NO_TRANSACTION,
        "genesisHash": base58.b58encode(world.genesis_hash(far_client)).decode(),
    }
    seen = await near_api_js("faults", taken)
    assert {name: fault and fault["classes"][0] for name, fault in seen.items()} == REPORTED
    assert set(REPORTED) == set(FAULTS)
    assert "Smart contract panicked: {}" in seen["contract panic"]["message"]
    assert "HostError" in seen["panic of a view"]["message"]


async def test_near_api_js_reads_what_it_can_ask_a_node(chain, near_api_js):
    taken = {"url": chain.rpc_url, "alice": account(world.ALICE_ID, ALICE), "counter": world.COUNTER}
    found = await near_api_js("reads", taken)
    assert (found["network"], found["gasPrice"], found["validators"]) == ("dev", "100000000", 1)
    assert len(found["seatPrices"]) == 2
    assert found["chunkTransactions"] == [found["transaction"]]
    assert found["receipt"] == world.ALICE_ID
    assert {"type": "data_touched", "account_id": world.COUNTER} in found["touched"]
    assert found["accountChanges"] >= 1
    assert found["oneKeyChanges"] == found["keyChanges"]
    assert [each["type"] for each in found["keyChanges"]] == ["access_key_update"]
    assert (found["dataChanges"], found["codeChanges"]) == (["data_update"], ["contract_code_update"])
    assert found["contractState"] == 1
    assert found["lightClient"] >= found["height"]
    assert found["proof"]["classes"][0] == "RpcMethodNotFoundError"


async def test_near_api_js_sees_the_same_outcome_of_the_same_bytes_and_they_count_once(client, near_api_js):
    taken = {
        "url": client.chain.rpc_url,
        "alice": account(world.ALICE_ID, ALICE, nonce=client.chain.tip.head.height * 10**6 + 1),
        "counter": world.COUNTER,
    }
    answers = await near_api_js("twice", taken)
    assert answers["first"] == answers["second"] == answers["found"]
    assert bytes((await client.view("get"))["result"]) == (1).to_bytes(8, "little")


async def test_near_api_js_reports_a_transaction_that_no_block_takes_up(halted, near_api_js):
    taken = {
        "url": halted.chain.rpc_url,
        "alice": account(world.ALICE_ID, ALICE, nonce=halted.chain.tip.head.height * 10**6 - 1),
        "counter": world.COUNTER,
    }
    seen = await near_api_js("timeout", taken)
    assert seen["time-out"]["classes"][0] == "ProviderError"
    assert seen["time-out"]["cause"] == 408


def test_the_lock_names_no_host_and_the_version_the_program_was_written_for():
    directory = Path(__file__).parent / "near-api-js"
    lock = (directory / "package-lock.json").read_text()
    assert "://" not in lock
    packages = json.loads(lock)["packages"]
    wanted = json.loads((directory / "package.json").read_text())["dependencies"]["near-api-js"]
    assert packages["node_modules/near-api-js"]["version"] == wanted
    assert all("integrity" in package for name, package in packages.items() if name)
