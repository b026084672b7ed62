"""The chain itself: admits transactions, makes blocks, answers from any height. Belongs to one thread.

What a transaction goes through, as on NEAR: block H takes it up, charges its signer and turns it into a receipt;
the receipt runs in H when signer and receiver are one account, else in the next block. A block is final when two
more stand on it. Nothing is ever undone, so the head is as durable as the final block.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from sharekeeper_devnet.chain import admission
from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.block import (
    Block,
    ExecutionOutcome,
    Inclusion,
    SuccessReceipt,
    encode_outcome,
    genesis_block,
    next_block,
)
from sharekeeper_devnet.chain.execution import BlockContext, execute_receipt
from sharekeeper_devnet.chain.fees import transaction_cost
from sharekeeper_devnet.chain.genesis import EPOCH_LENGTH, GAS_LIMIT, Genesis
from sharekeeper_devnet.chain.pool import Pool
from sharekeeper_devnet.chain.primitives import ZERO_HASH, hash_text, sha256
from sharekeeper_devnet.chain.rejection import InvalidTransactionError
from sharekeeper_devnet.chain.state import ContractStorage, Overlay
from sharekeeper_devnet.chain.store import StateAt, StateChange, Store
from sharekeeper_devnet.chain.transaction import SignedTransaction
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
        if inclusion.receipt_height is None:
            return ExecutionStatus.INCLUDED_FINAL if included_final else ExecutionStatus.INCLUDED
        if inclusion.receipt_height <= self.final.height:
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
        self._open_receipts = store.open_receipts()

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
        if self._store.inclusion(transaction.hash) is not None:
            return
        try:
            admission.check_form(transaction)
            self._check_age(transaction)
            admission.charge(transaction, Overlay(self.state_at(self.tip.head)), self.tip.head.height + 1)
            self.pool.add(transaction)
        except InvalidTransactionError as error:
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

    def produce_block(self, now_ns: int, height: int | None = None) -> list[Inclusion]:
        """A new block is the head: of `height`, or the next one; returns the transactions it executed receipts of.

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
        draft = _Draft(Overlay(self.state_at(head)), context)
        taken = self._take_up(draft)
        executed = self._run_receipts(draft, taken)
        block = draft.seal(head, taken, executed)
        inclusions = {each.transaction.hash: each for each in (*taken, *executed)}
        self._store.append(block, draft.changes, list(inclusions.values()))
        for inclusion in taken:
            self.pool.remove(inclusion.transaction)
        done = {inclusion.transaction.hash for inclusion in executed}
        self._open_receipts = [each for each in (*self._open_receipts, *taken) if each.transaction.hash not in done]
        self.tip = self.tip.after(block)
        return executed

    def _take_up(self, draft: "_Draft") -> list[Inclusion]:
        taken = []
        for transaction in list(self.pool.in_order()) if len(self.pool) else ():
            if draft.gas_used >= GAS_LIMIT // 2:
                break
            try:
                self._check_age(transaction)
                taken.append(draft.take_up(transaction))
            except InvalidTransactionError as error:
                self.pool.reject(transaction, error)
        return taken

    def _run_receipts(self, draft: "_Draft", taken: Iterable[Inclusion]) -> list[Inclusion]:
        local = [each for each in taken if each.transaction.signer_id == each.transaction.receiver_id]
        executed = []
        for inclusion in (*local, *self._open_receipts):
            if draft.gas_used >= GAS_LIMIT:
                break
            executed.append(draft.run_receipt(inclusion))
        return executed


class _Draft:
    """A block in the making."""

    def __init__(self, state: Overlay, context: BlockContext) -> None:
        self._state = state
        self._context = context
        self.changes: dict[bytes, StateChange] = {}
        self.gas_used = 0

    def take_up(self, transaction: SignedTransaction) -> Inclusion:
        """Charges the signer; the receipt is not run yet."""
        state = Overlay(self._state)
        cost = admission.charge(transaction, state, self._context.height)
        self._merge(state, f"transaction_processing {transaction.hash.hex()}")
        self.gas_used += cost.gas_burnt
        receipt_id = sha256(b"receipt", transaction.hash)
        outcome = ExecutionOutcome(
            executor_id=transaction.signer_id,
            gas_burnt=cost.gas_burnt,
            logs=(),
            status=SuccessReceipt(receipt_id=receipt_id),
        )
        return Inclusion(transaction=transaction, height=self._context.height, outcome=outcome, receipt_id=receipt_id)

    def run_receipt(self, inclusion: Inclusion) -> Inclusion:
        """Runs the receipt of a transaction that was taken up in this block or before."""
        transaction = inclusion.transaction
        state = Overlay(self._state)
        cost = transaction_cost(transaction.signer_id, transaction.receiver_id, transaction.actions)
        outcome = execute_receipt(transaction, cost, state, self._context)
        self._merge(state, f"receipt_processing {inclusion.receipt_id.hex()}")
        self.gas_used += outcome.gas_burnt
        return replace(inclusion, receipt_height=self._context.height, receipt_outcome=outcome)

    def _merge(self, state: Overlay, cause: str) -> None:
        self._state.merge(state)
        for key, value in state.changes.items():
            self.changes[key] = StateChange(key=key, value=value, cause=cause)

    def seal(self, head: Block, taken: list[Inclusion], executed: list[Inclusion]) -> Block:
        """The finished block on `head`."""
        outcomes = [each.outcome for each in taken]
        outcomes += [each.receipt_outcome for each in executed if each.receipt_outcome is not None]
        return next_block(
            head,
            height=self._context.height,
            timestamp_ns=self._context.timestamp_ns,
            state_root=state_root(head.state_root, self.changes.values()),
            tx_root=sha256(*(each.transaction.hash for each in taken)) if taken else ZERO_HASH,
            outcome_root=sha256(*(encode_outcome(each).encode() for each in outcomes)) if outcomes else ZERO_HASH,
            gas_used=self.gas_used,
        )


def state_root(before: bytes, changes: Iterable[StateChange]) -> bytes:
    """The digest of the state after `changes`; the same as `before` without any."""
    parts = [
        part
        for change in sorted(changes, key=lambda each: each.key)
        for part in (change.key, b"-" if change.value is None else b"+" + change.value)
    ]
    return sha256(before, *parts) if parts else before


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
        store.append(block, changes, [])
    return block


def _tip(store: Store, head: Block) -> Tip:
    near_final = store.block_by_hash(head.prev_hash) or head
    return Tip(head=head, near_final=near_final, final=store.block_by_hash(near_final.prev_hash) or near_final)
