"""A node killed at any moment: what the RPC said stays true."""

import asyncio
import base64
import contextlib
import json
import random
import signal
import sqlite3
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import base58
import pytest
from click.testing import CliRunner
from py_near import transactions as py_near

from sharekeeper_devnet.chain.ledger import Ledger, state_root
from sharekeeper_devnet.chain.primitives import ZERO_HASH
from sharekeeper_devnet.chain.store import Store
from sharekeeper_devnet.chain.transaction import decode_signed_transaction
from sharekeeper_devnet.neard import main
from tests.devchain.conftest import ALICE, genesis

KILLS = 6


@dataclass
class Witness:
    """What one client was told, over all lives of the node."""

    url: str = ""
    height: int = 0
    finals: dict[int, str] = field(default_factory=dict)
    answered: list[str] = field(default_factory=list)
    nonce: int = 0

    async def rpc(self, session: aiohttp.ClientSession, method: str, params: object):
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with session.post(self.url, json=body) as response:
            return (await response.json())["result"]

    async def watch(self, session: aiohttp.ClientSession) -> None:
        """Sends transfers and looks at blocks until the node is gone."""
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            while True:
                head = (await self.rpc(session, "block", {"finality": "optimistic"}))["header"]
                assert head["height"] >= self.height
                self.height = head["height"]
                final = (await self.rpc(session, "block", {"finality": "final"}))["header"]
                assert self.finals.setdefault(final["height"], final["hash"]) == final["hash"]
                await self.transfer(session, base58.b58decode(final["hash"]))

    async def transfer(self, session: aiohttp.ClientSession, block_hash: bytes) -> None:
        self.nonce += 1
        arguments = ("alice.test.near", ALICE.secret, "bob.test.near", self.nonce)
        signed = py_near.sign_and_serialize_transaction(*arguments, [py_near.create_transfer_action(1)], block_hash)
        result = await self.rpc(session, "send_tx", {"signed_tx_base64": signed, "wait_until": "FINAL"})
        assert result["final_execution_status"] == "FINAL"
        self.answered.append(result["transaction"]["hash"])

    async def check(self, session: aiohttp.ClientSession) -> None:
        """Everything said before still holds."""
        status = await self.rpc(session, "status", [])
        assert status["sync_info"]["latest_block_height"] >= self.height
        for height, block_hash in self.finals.items():
            assert (await self.rpc(session, "block", [height]))["header"]["hash"] == block_hash
        for tx_hash in self.answered:
            assert (await self.rpc(session, "tx", [tx_hash, "alice.test.near"]))["status"] == {"SuccessValue": ""}
        query = {"request_type": "view_access_key", "finality": "optimistic", "account_id": "alice.test.near"}
        nonce = (await self.rpc(session, "query", {**query, "public_key": ALICE.public}))["nonce"]
        assert len(self.answered) <= nonce <= self.nonce


async def start(home: Path) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sharekeeper_devnet.neard", "--home", str(home), "run"),
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "agent")},
    )
    line = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
    return process, line.split("RPC on ")[1].strip()


def verify(directory: Path) -> int:
    """Checks every block of the chain in `directory` against the one before and its own changes."""
    store = Store(directory)
    try:
        head = store.head()
        block, count = head, 0
        while block.ordinal:
            changes = store.changes_in(block.height, b"")
            assert state_root(block.prev_state_root, changes) == block.state_root
            before = store.block_by_hash(block.prev_hash)
            assert (before.height, before.ordinal, before.state_root) == (
                block.prev_height,
                block.ordinal - 1,
                block.prev_state_root,
            )
            block, count = before, count + 1
        assert state_root(ZERO_HASH, store.changes_in(block.height, b"")) == block.state_root
        return count
    finally:
        store.close()


@pytest.mark.timeout(120)
async def test_a_node_killed_again_and_again_takes_nothing_back(tmp_path):
    home, accounts = tmp_path / "home", tmp_path / "accounts.json"
    balance = str(10**27)
    names = ("alice.test.near", "bob.test.near")
    entries = [{"account_id": name, "public_key": ALICE.public, "balance": balance} for name in names]
    accounts.write_text(json.dumps(entries))
    arguments = ["--chain-id", "dev", "--accounts", str(accounts), "--rpc-addr", "127.0.0.1:0", "--block-time-ms", "10"]
    assert CliRunner().invoke(main, ["--home", str(home), "init", *arguments]).exit_code == 0
    chance, witness = random.Random(7), Witness()
    async with aiohttp.ClientSession() as session:
        for _ in range(KILLS):
            process, witness.url = await start(home)
            await witness.check(session)
            watching = asyncio.create_task(witness.watch(session))
            await asyncio.sleep(0.3 + chance.random() * 0.4)
            process.send_signal(signal.SIGKILL)
            await process.wait()
            await watching
        process, witness.url = await start(home)
        try:
            await witness.check(session)
            query = {"request_type": "view_account", "finality": "optimistic", "account_id": "bob.test.near"}
            received = int((await witness.rpc(session, "query", query))["amount"]) - int(balance)
        finally:
            process.kill()
            await process.wait()
    assert len(witness.answered) >= KILLS
    assert len(witness.answered) <= received <= witness.nonce
    assert verify(home / "data") >= max(witness.finals)


def test_a_block_that_cannot_be_written_whole_is_not_written_and_its_transactions_wait(tmp_path):
    ledger = Ledger(Store(tmp_path), genesis())
    ledger.produce_block(1)
    tip = ledger.tip
    arguments = ("alice.test.near", ALICE.secret, "bob.test.near", 1, [py_near.create_transfer_action(1)])
    signed = base64.b64decode(py_near.sign_and_serialize_transaction(*arguments, tip.head.hash))
    transaction = decode_signed_transaction(signed)
    ledger.submit(transaction)
    run = ledger.store._connection.execute
    run("CREATE TEMP TRIGGER full BEFORE INSERT ON main.transactions BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(sqlite3.IntegrityError, match="disk full"):
        ledger.produce_block(2)
    assert ledger.tip == tip
    assert ledger.store.head() == tip.head
    assert ledger.store.changes_in(tip.head.height + 1, b"") == []
    run("DROP TRIGGER full")
    for _ in range(2):
        ledger.produce_block(2)
    assert ledger.progress(transaction.hash).receipt_height == tip.head.height + 2
    ledger.close()
    assert verify(tmp_path) == 3


def test_a_receipt_left_open_by_a_stop_runs_after_the_next_start(tmp_path):
    ledger = Ledger(Store(tmp_path), genesis())
    arguments = ("alice.test.near", ALICE.secret, "bob.test.near", 1, [py_near.create_transfer_action(1)])
    signed = base64.b64decode(py_near.sign_and_serialize_transaction(*arguments, ledger.tip.head.hash))
    transaction = decode_signed_transaction(signed)
    ledger.submit(transaction)
    ledger.produce_block(1)
    assert ledger.progress(transaction.hash).receipt_height is None
    ledger.close()
    ledger = Ledger(Store(tmp_path), genesis())
    (executed,) = ledger.produce_block(2)
    assert executed == ledger.progress(transaction.hash).receipts[0]
    assert executed.executed_height == 2
    ledger.close()


def test_an_empty_block_costs_less_than_two_milliseconds_of_cpu(tmp_path):
    ledger = Ledger(Store(tmp_path), genesis())
    for _ in range(20):
        ledger.produce_block(1)
    started = time.process_time()
    for _ in range(200):
        ledger.produce_block(1)
    assert (time.process_time() - started) / 200 < 0.002
    ledger.close()
