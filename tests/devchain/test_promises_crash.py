"""A node killed at random moments while contracts call contracts: every transaction sent is applied once.

Transaction `n` moves 2^n yoctoNEAR along two ways, each over several receipts, so that the sums that arrive say
which transactions were applied, and a transaction applied twice would show.
"""

import asyncio
import base64
import random
import signal
from dataclasses import replace
from pathlib import Path

import aiohttp
import base58
import pytest
from click.testing import CliRunner
from py_near import transactions as py_near

from sharekeeper_devnet.chain import NEAR, GenesisAccount
from sharekeeper_devnet.chain.genesis import encode_genesis
from sharekeeper_devnet.chain.ledger import ExecutionStatus
from sharekeeper_devnet.neard import main
from tests.devchain.conftest import TERA, Key
from tests.devchain.ledger_world import USER, World, burns, script_genesis
from tests.devchain.promise_wat import Script, amount
from tests.devchain.test_crash import start, verify

TRANSACTIONS = 20
KILLS = 6
KEYS = [Key.numbered(10 + number) for number in range(TRANSACTIONS)]
SINKS = ("sink.near", "late.near")


def crash_genesis():
    started = script_genesis(yield_timeout_blocks=15)
    user, *contracts = started.accounts
    keys = tuple(GenesisAccount.with_full_access_key(USER, key.public).keys[0] for key in KEYS)
    sinks = [GenesisAccount(account_id=name, balance=NEAR) for name in SINKS]
    return replace(started, accounts=(replace(user, keys=keys), *contracts, *sinks))


def transfers(receiver_id: str, yocto: int) -> bytes:
    script = Script()
    script.promise_batch_action_transfer(script.promise_batch_create(receiver_id), amount(yocto))
    return bytes(script)


def two_ways(yocto: int) -> bytes:
    """One half goes on over two contracts and a callback, the other when a yield has timed out."""
    script = Script()
    away = script.promise_create("two.near", "run", bytes(Script()), amount(0), 5 * TERA)
    script.promise_then(away, "three.near", "run", transfers(SINKS[0], yocto), amount(yocto), 20 * TERA)
    script.promise_return(script.promise_yield_create("run", transfers(SINKS[1], yocto), 20 * TERA, 0, 7))
    return bytes(script)


def sign_all(block_hash: bytes) -> list[str]:
    """Each transaction has a key of its own, so that they may be taken up in any order."""
    signed = []
    for number, key in enumerate(KEYS):
        call = py_near.create_function_call_action("run", two_ways(2**number), 150 * TERA, 2 * 2**number)
        arguments = (USER, key.secret, "one.near", 1, [call], block_hash)
        signed.append(py_near.sign_and_serialize_transaction(*arguments))
    return signed


async def rpc(session: aiohttp.ClientSession, url: str, method: str, params: object) -> dict:
    async with session.post(url, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) as response:
        return await response.json()


async def flood(session: aiohttp.ClientSession, url: str, signed: list[str], chance: random.Random) -> None:
    """Sends transactions again and again, each several times at once, until the node is gone."""
    while True:
        some = chance.sample(signed, 3)
        sendings = [rpc(session, url, "broadcast_tx_async", [each]) for each in some for _ in range(3)]
        answers = await asyncio.gather(*sendings, return_exceptions=True)
        if any(isinstance(answer, Exception) for answer in answers):
            return
        await asyncio.sleep(0.05)


async def finish(session: aiohttp.ClientSession, url: str, signed: list[str]) -> list[dict]:
    """What every transaction came to, all of them sent once more."""
    params = [{"signed_tx_base64": each, "wait_until": "FINAL"} for each in signed]
    return [
        answer["result"] for answer in await asyncio.gather(*(rpc(session, url, "send_tx", each) for each in params))
    ]


@pytest.mark.timeout(120)
async def test_whatever_is_sent_however_often_is_applied_once_though_the_node_is_killed_again_and_again(tmp_path):
    home = tmp_path / "home"
    arguments = ["--chain-id", "dev", "--rpc-addr", "127.0.0.1:0", "--block-time-ms", "10"]
    assert CliRunner().invoke(main, ["--home", str(home), "init", *arguments]).exit_code == 0
    (home / "genesis.json").write_text(encode_genesis(crash_genesis()))
    chance, signed = random.Random(11), []
    async with aiohttp.ClientSession() as session:
        for _ in range(KILLS):
            process, url = await start(home)
            if not signed:
                status = await rpc(session, url, "status", [])
                signed = sign_all(base58.b58decode(status["result"]["genesis_hash"]))
            flooding = asyncio.create_task(flood(session, url, signed, chance))
            await asyncio.sleep(0.1 + chance.random() * 0.5)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await flooding
        process, url = await start(home)
        try:
            answers = await finish(session, url, signed)
            for name in SINKS:
                query = {"request_type": "view_account", "finality": "final", "account_id": name}
                arrived = int((await rpc(session, url, "query", query))["result"]["amount"]) - NEAR
                assert arrived == 2**TRANSACTIONS - 1
        finally:
            process.kill()
            await process.wait()
    for answer in answers:
        assert answer["status"] == {"SuccessValue": ""}
        assert answer["final_execution_status"] == "FINAL"
    check_store(home / "data", signed)


def check_store(directory: Path, signed: list[str]) -> None:
    """Each transaction is in one block, each receipt was executed once, and no money came or went."""
    assert verify(directory) > 0
    world = World(directory, crash_genesis())
    try:
        store = world.ledger.store
        heights = range(world.ledger.tip.head.height + 1)
        taken = [each for height in heights for each in store.transactions_in(height)]
        assert len({each.transaction.hash for each in taken}) == len(taken) == TRANSACTIONS
        assert {base64.b64encode(each.transaction.encoded).decode() for each in taken} == set(signed)
        assert {world.ledger.tip.status_of(each) for each in taken} == {ExecutionStatus.FINAL}
        executed = [each for height in heights for each in store.receipts_in(height)]
        assert len({each.receipt.id for each in executed}) == len(executed)
        world.burnt = sum(each.outcome.tokens_burnt for each in taken) + sum(map(burns, executed))
        assert world.money() == sum(account.balance for account in world.genesis.accounts)
    finally:
        world.ledger.close()
