"""Runs a ledger: block production at its pace, one thread for the ledger, and waiting for transactions."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sharekeeper_devnet.chain.block import ActionFailure
from sharekeeper_devnet.chain.genesis import Genesis
from sharekeeper_devnet.chain.inclusion import Inclusion
from sharekeeper_devnet.chain.ledger import REACHED, ExecutionStatus, Ledger, Tip
from sharekeeper_devnet.chain.primitives import hash_text
from sharekeeper_devnet.chain.receipt import ActionReceipt, ReceiptRecord
from sharekeeper_devnet.chain.store import Store
from sharekeeper_devnet.chain.transaction import FunctionCall, SignedTransaction

logger = logging.getLogger("sharekeeper_devnet")

Answer = TypeVar("Answer")

STALE_AFTER_BLOCK_TIMES = 10
STALE_AFTER_SECONDS = 15.0


class NotReachedError(Exception):
    """A transaction did not come as far as was waited for; `inclusion` is None while no block has it."""

    def __init__(self, inclusion: Inclusion | None) -> None:
        super().__init__("the transaction has not come that far in time")
        self.inclusion = inclusion


class Driver:
    """A ledger that lives: everything on it runs in one thread, blocks come by themselves."""

    def __init__(self, directory: Path, genesis: Genesis, block_time_ms: int | None) -> None:
        """Nothing runs yet; `block_time_ms` None means that blocks come only from `produce_block`."""
        self._directory = directory
        self._genesis = genesis
        self._block_time_s = None if block_time_ms is None else block_time_ms / 1000
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._ledger: Ledger | None = None
        self._producer: asyncio.Task[None] | None = None
        self._new_block = asyncio.Event()
        self._produced_at = time.monotonic()

    async def start(self) -> None:
        """Blocks come from now on.

        Raises:
            StoreLockedError: another process runs on the directory.
            GenesisMismatchError: the directory holds a chain with another genesis.
        """
        loop = asyncio.get_running_loop()
        try:
            self._ledger = await loop.run_in_executor(self._thread, self._open)
        except BaseException:
            self._thread.shutdown()
            raise
        if self._block_time_s is not None:
            self._producer = asyncio.create_task(self._produce_forever(self._block_time_s))

    def _open(self) -> Ledger:
        store = Store(self._directory)
        try:
            return Ledger(store, self._genesis)
        except BaseException:
            store.close()
            raise

    async def stop(self) -> None:
        """No more blocks; the directory is free for another process."""
        if self._producer is not None:
            self._producer.cancel()
            await asyncio.gather(self._producer, return_exceptions=True)
        if self._ledger is not None:
            await self.ask(Ledger.close)
            self._ledger = None
        self._thread.shutdown()

    @property
    def _open_ledger(self) -> Ledger:
        if self._ledger is None:
            raise RuntimeError("the chain is not running")
        return self._ledger

    @property
    def tip(self) -> Tip:
        """The newest blocks."""
        return self._open_ledger.tip

    @property
    def genesis(self) -> Genesis:
        """What the chain started with."""
        return self._genesis

    @property
    def is_healthy(self) -> bool:
        """Whether blocks keep coming; a chain whose blocks are made by hand always is."""
        if self._block_time_s is None:
            return True
        allowed = max(STALE_AFTER_SECONDS, STALE_AFTER_BLOCK_TIMES * self._block_time_s)
        return time.monotonic() - self._produced_at < allowed

    async def ask(self, question: Callable[[Ledger], Answer]) -> Answer:
        """What `question` finds out in the ledger's thread; its exceptions come through."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, question, self._open_ledger)

    async def produce_block(self, height: int | None = None) -> None:
        """A new block is the head: of `height`, or the next one.

        Raises:
            ValueError: `height` is not above the head's.
        """
        executed = await self.ask(lambda ledger: ledger.produce_block(time.time_ns(), height))
        self._produced_at = time.monotonic()
        for record in executed:
            _log_execution(record)
        seen, self._new_block = self._new_block, asyncio.Event()
        seen.set()

    async def _produce_forever(self, block_time_s: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + block_time_s, loop.time())
            await asyncio.sleep(due - loop.time())
            try:
                await self.produce_block()
            except Exception:
                logger.exception("a block could not be made; trying again")

    async def submit(self, transaction: SignedTransaction) -> None:
        """`transaction` waits for a block.

        Raises:
            InvalidTransactionError: it can never be taken up as things stand.
        """
        await self.ask(lambda ledger: ledger.submit(transaction))

    async def wait_for(self, tx_hash: bytes, until: ExecutionStatus, timeout_s: float) -> Inclusion | None:
        """The transaction once it has come as far as `until`; None only when that is NONE and no block has it.

        Raises:
            InvalidTransactionError: it was dropped.
            UnknownTransactionError: nobody knows it.
            NotReachedError: `timeout_s` seconds were not enough.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            new_block = self._new_block
            inclusion = await self.ask(lambda ledger: ledger.progress(tx_hash))
            status = ExecutionStatus.NONE if inclusion is None else self.tip.status_of(inclusion)
            if status in REACHED[until]:
                return inclusion
            try:
                await asyncio.wait_for(new_block.wait(), deadline - loop.time())
            except TimeoutError:
                raise NotReachedError(inclusion) from None


def _log_execution(record: ReceiptRecord) -> None:
    receipt, outcome = record.receipt, record.outcome
    if outcome is None or receipt.is_refund or not isinstance(receipt.body, ActionReceipt):
        return
    actions = [
        each.method_name if isinstance(each, FunctionCall) else type(each).__name__ for each in receipt.body.actions
    ]
    logger.info(
        "receipt of transaction %s, from %s to %s (%s), %s in block %s",
        hash_text(record.tx_hash),
        receipt.predecessor_id,
        receipt.receiver_id,
        ", ".join(actions),
        f"failed: {outcome.status}" if isinstance(outcome.status, ActionFailure) else "succeeded",
        record.executed_height,
    )
