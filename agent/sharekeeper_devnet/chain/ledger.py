"""The chain itself: admits transactions, makes blocks, answers from any height. Belongs to one thread.

What a transaction goes through, as on NEAR: block H takes it up, charges its signer and turns it into a receipt;
the receipt runs in H when signer and receiver are one account, else in the next block. Receipts that a receipt
makes run in later blocks. A block is final when two more stand on it. Nothing is ever undone, so the head is as
durable as the final block.
"""

from dataclasses import dataclass
from enum import StrEnum

from sharekeeper_devnet.chain import admission
from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.block import Block, genesis_block
from sharekeeper_devnet.chain.draft import Draft, state_root
from sharekeeper_devnet.chain.execution import BlockContext
from sharekeeper_devnet.chain.genesis import EPOCH_LENGTH, GAS_LIMIT, Genesis
from sharekeeper_devnet.chain.inclusion import Inclusion
from sharekeeper_devnet.chain.pool import Pool
from sharekeeper_devnet.chain.primitives import ZERO_HASH, hash_text, sha256
from sharekeeper_devnet.chain.queue import ReceiptQueue
from sharekeeper_devnet.chain.receipt import ReceiptRecord
from sharekeeper_devnet.chain.rejection import InvalidTransactionError
from sharekeeper_devnet.chain.state import ContractStorage, Overlay
from sharekeeper_devnet.chain.store import StateAt, StateChange, Store
from sharekeeper_devnet.chain.transaction import SignedTransaction
from sharekeeper_devnet.chain.view_cache import ViewCache
from sharekeeper_devnet.runtime import CallContext, Outcome, run

INITIAL_STATE = "initial_state"


class GenesisMismatchError(Exception):
    """The data directory belongs to a chain with another genesis."""


class UnknownTransactionError(Exception):
    """No block has the transaction and it does not wait for one; the message is its hash."""


class Finality(StrEnum):
    """Which of the newest blocks a question is about."""

    OPTIMISTIC = "optimistic"
    NEAR_FINAL = "near-final"
    FINAL = "final"


class ExecutionStatus(StrEnum):
    """How far a transaction has come."""

    NONE = "NONE"
    INCLUDED = "INCLUDED"
    EXECUTED_OPTIMISTIC = "EXECUTED_OPTIMISTIC"
    INCLUDED_FINAL = "INCLUDED_FINAL"
    EXECUTED = "EXECUTED"
    FINAL = "FINAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tip:
    """The newest blocks: the head, the block before, and the newest final one."""

    head: Block
    near_final: Block
    final: Block

    def block(self, finality: Finality) -> Block:
        """The newest block of that finality."""
        match finality:
            case Finality.OPTIMISTIC:
                return self.head
            case Finality.NEAR_FINAL:
                return self.near_final
            case Finality.FINAL:
                return self.final

    def after(self, block: Block) -> "Tip":
        """The tip when `block` stands on the head."""
        return Tip(head=block, near_final=self.head, final=self.near_final)

    def status_of(self, inclusion: Inclusion) -> ExecutionStatus:
        """How far the transaction has come."""
        included_final = inclusion.height <= self.final.height
        executed_height = inclusion.executed_height
        if executed_height is None:
            return ExecutionStatus.INCLUDED_FINAL if included_final else ExecutionStatus.INCLUDED
        if executed_height <= self.final.height:
            return ExecutionStatus.FINAL
        return ExecutionStatus.EXECUTED if included_final else ExecutionStatus.EXECUTED_OPTIMISTIC


REACHED = {
    ExecutionStatus.NONE: frozenset(ExecutionStatus),
    ExecutionStatus.INCLUDED: frozenset(ExecutionStatus) - {ExecutionStatus.NONE},
    ExecutionStatus.INCLUDED_FINAL: frozenset(
        {ExecutionStatus.INCLUDED_FINAL, ExecutionStatus.EXECUTED, ExecutionStatus.FINAL}
    ),
    ExecutionStatus.EXECUTED_OPTIMISTIC: frozenset(
        {ExecutionStatus.EXECUTED_OPTIMISTIC, ExecutionStatus.EXECUTED, ExecutionStatus.FINAL}
    ),
    ExecutionStatus.EXECUTED: frozenset({ExecutionStatus.EXECUTED, ExecutionStatus.FINAL}),
    ExecutionStatus.FINAL: frozenset({ExecutionStatus.FINAL}),
}
"""For each status a client may wait for, the statuses that satisfy it."""


class Ledger:
    """The chain on a store."""

    def __init__(self, store: Store, genesis: Genesis) -> None:
        """Continues the chain in `store`, or starts it from `genesis`.

        Raises:
            GenesisMismatchError: the store holds a chain with another genesis.
        """
        self._store = store
        self.genesis = genesis
        self.pool = Pool()
        first = _write_genesis(store, genesis)
        self.earliest = store.earliest() or first
        if self.earliest.hash != first.hash:
            raise GenesisMismatchError(
                "the data directory belongs to another genesis.json; restore that file or remove the data directory"
            )
        self.tip = _tip(store, store.head() or first)
        self._queue = ReceiptQueue(store.open_receipts())
        self._views = ViewCache()

    def close(self) -> None:
        """Gives up the store."""
        self._store.close()

    # reading

    @property
    def store(self) -> Store:
        """Blocks, transactions and changes as they are on disk."""
        return self._store

    def state_at(self, block: Block) -> StateAt:
        """The state after `block`."""
        return self._store.state_at(block.height)

    def view(self, block: Block, account_id: str, method_name: str, args: bytes) -> Outcome | None:
        """What a view call on the state after `block` does; None when the account has no contract."""
        question = (block.hash, account_id, method_name, args)
        return self._views.answer(question, lambda: self._view(block, account_id, method_name, args))

    def _view(self, block: Block, account_id: str, method_name: str, args: bytes) -> Outcome | None:
        state = self.state_at(block)
        account = chain_state.read_account(state, account_id)
        if account is None or account.code_hash == ZERO_HASH:
            return None
        context = CallContext(
            current_account_id=account_id,
            input=args,
            block_height=block.height,
            block_timestamp=block.timestamp_ns,
            epoch_height=epoch_height(block.height),
            account_balance=account.amount,
            storage_usage=account.storage_usage,
            random_seed=block.hash,
            is_view=True,
        )
        code = state.get(chain_state.code_key(account_id)) or b""
        return run(code, method_name, context, ContractStorage(state, account_id))

    # transactions

    def submit(self, transaction: SignedTransaction) -> None:
        """`transaction` waits for a block, unless a block has it already.

        Raises:
            InvalidTransactionError: it can never be taken up as things stand.
        """
        if self._store.has_transaction(transaction.hash):
            return
        try:
            admission.check_form(transaction)
            self._check_age(transaction)
            admission.charge(transaction, Overlay(self.state_at(self.tip.head)), self.tip.head.height + 1)
            self.pool.add(transaction)
        except InvalidTransactionError as error:
            if transaction.hash not in self.pool:  # a copy with another signature has the same hash
                self.pool.reject(transaction, error)
            raise

    def progress(self, tx_hash: bytes) -> Inclusion | None:
        """The transaction as blocks have it; None while it waits for one.

        Raises:
            InvalidTransactionError: it was dropped.
            UnknownTransactionError: no block has it and it does not wait.
        """
        inclusion = self._store.inclusion(tx_hash)
        if inclusion is not None or tx_hash in self.pool:
            return inclusion
        raise self.pool.rejection(tx_hash) or UnknownTransactionError(hash_text(tx_hash))

    def _check_age(self, transaction: SignedTransaction) -> None:
        block = self._store.block_by_hash(transaction.block_hash)
        period = self.genesis.transaction_validity_period
        if block is None or self.tip.head.height - block.height > period:
            raise InvalidTransactionError("Expired")

    # blocks

    def produce_block(self, now_ns: int, height: int | None = None) -> list[ReceiptRecord]:
        """A new block is the head: of `height`, or the next one; returns the receipts it executed.

        Raises:
            ValueError: `height` is not above the head's.
        """
        head = self.tip.head
        height = head.height + 1 if height is None else height
        if height <= head.height:
            raise ValueError(f"height {height} is not above the head's {head.height}")
        context = BlockContext(
            height=height,
            timestamp_ns=max(now_ns, head.timestamp_ns + 1),
            epoch_height=epoch_height(height),
            random_seed=sha256(b"random seed", head.hash, height.to_bytes(8, "little")),
        )
        draft = Draft(Overlay(self.state_at(head)), context, self._queue.copy())
        self._take_up(draft)
        draft.run_receipts()
        draft.end_yields(head.height, self.genesis.yield_timeout_blocks)
        block = draft.seal(head)
        self._store.append(block, draft.changes, draft.taken, draft.records)
        for each in draft.taken:
            self.pool.remove(each.transaction)
        self._queue = draft.queue
        self.tip = self.tip.after(block)
        return draft.executed

    def _take_up(self, draft: Draft) -> None:
        for transaction in list(self.pool.in_order()) if len(self.pool) else ():
            if draft.gas_used >= GAS_LIMIT // 2:
                break
            try:
                self._check_age(transaction)
                draft.take_up(transaction)
            except InvalidTransactionError as error:
                self.pool.reject(transaction, error)


def epoch_height(height: int) -> int:
    """The number of the epoch `height` lies in."""
    return height // EPOCH_LENGTH + 1


def _write_genesis(store: Store, genesis: Genesis) -> Block:
    """The genesis block, which is in the store then, unless one was there."""
    state = Overlay(store.state_at(0))
    genesis.write_state(state)
    changes = {key: StateChange(key=key, value=value, cause=INITIAL_STATE) for key, value in state.changes.items()}
    block = genesis_block(
        genesis_digest=genesis.digest,
        height=genesis.genesis_height,
        timestamp_ns=genesis.genesis_time_ns,
        state_root=state_root(ZERO_HASH, changes.values()),
    )
    if store.head() is None:
        store.append(block, changes)
    return block


def _tip(store: Store, head: Block) -> Tip:
    near_final = store.block_by_hash(head.prev_hash) or head
    return Tip(head=head, near_final=near_final, final=store.block_by_hash(near_final.prev_hash) or near_final)
