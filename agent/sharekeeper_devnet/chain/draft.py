"""A block in the making: what it takes up, what it executes, what it leaves for later blocks."""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from sharekeeper_devnet.chain import admission
from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.block import Block, ExecutionOutcome, SuccessReceipt, encode_outcome, next_block
from sharekeeper_devnet.chain.execution import BlockContext, ReceiptRun
from sharekeeper_devnet.chain.fees import GAS_PRICE
from sharekeeper_devnet.chain.genesis import GAS_LIMIT
from sharekeeper_devnet.chain.inclusion import TakenUp
from sharekeeper_devnet.chain.primitives import ZERO_HASH, sha256
from sharekeeper_devnet.chain.queue import ReceiptQueue
from sharekeeper_devnet.chain.receipt import (
    ActionReceipt,
    DataReceipt,
    Receipt,
    ReceiptRecord,
    first_receipt_id,
    receipt_id,
)
from sharekeeper_devnet.chain.state import Overlay
from sharekeeper_devnet.chain.store import StateChange
from sharekeeper_devnet.chain.transaction import SignedTransaction


class Draft:
    """A block in the making.

    Receipts run in this order until the gas of a block is used up: those of transactions from an account to itself,
    then those of earlier blocks, oldest first. A receipt made here waits for a later block.
    """

    def __init__(self, state: Overlay, context: BlockContext, queue: ReceiptQueue) -> None:
        """`state` and `queue` are changed; neither may be anybody else's."""
        self._state = state
        self._context = context
        self._local: deque[ReceiptRecord] = deque()
        self._records: dict[bytes, ReceiptRecord] = {}
        self.queue = queue
        self.changes: dict[bytes, StateChange] = {}
        self.taken: list[TakenUp] = []
        self.executed: list[ReceiptRecord] = []
        self.gas_used = 0

    @property
    def records(self) -> Iterable[ReceiptRecord]:
        """The receipts that were made or executed here."""
        return self._records.values()

    def take_up(self, transaction: SignedTransaction) -> None:
        """Charges the signer and makes the receipt, which is not run yet.

        Raises:
            InvalidTransactionError: the transaction cannot be taken up; nothing has changed.
        """
        state = Overlay(self._state)
        cost = admission.charge(transaction, state, self._context.height)
        self._merge(state, f"transaction_processing {transaction.hash.hex()}")
        self.gas_used += cost.gas_burnt
        body = ActionReceipt(
            signer_id=transaction.signer_id, signer_public_key=transaction.public_key, actions=transaction.actions
        )
        receipt = Receipt(
            id=first_receipt_id(transaction.hash),
            predecessor_id=transaction.signer_id,
            receiver_id=transaction.receiver_id,
            body=body,
        )
        outcome = ExecutionOutcome(
            executor_id=transaction.signer_id,
            gas_burnt=cost.gas_burnt,
            tokens_burnt=cost.gas_burnt * GAS_PRICE,
            logs=(),
            status=SuccessReceipt(receipt_id=receipt.id),
            receipt_ids=(receipt.id,),
        )
        self.taken.append(TakenUp(transaction=transaction, outcome=outcome))
        record = ReceiptRecord(receipt=receipt, tx_hash=transaction.hash, height=self._context.height)
        self._note(record)
        if transaction.signer_id == transaction.receiver_id:
            self._local.append(record)

    def _note(self, record: ReceiptRecord) -> None:
        """The receipt was made or executed; in the order in which they were made they stay."""
        self._records[record.receipt.id] = record

    def run_receipts(self) -> None:
        """Receipts have run as far as the gas of one block reaches; the others wait for the next."""
        while self.gas_used < GAS_LIMIT and (self._local or len(self.queue)):
            self._process(self._local.popleft() if self._local else self.queue.pop())
        for record in self._records.values():
            if record.executed_height is None:
                self.queue.add(record)

    def _process(self, record: ReceiptRecord) -> None:
        match record.receipt.body:
            case ActionReceipt() as body:
                self._execute(record, body)
            case DataReceipt() as data:
                self._deliver(record, data)

    def _deliver(self, record: ReceiptRecord, data: DataReceipt) -> None:
        """Data reaches who waits for it; what comes for a receipt that runs no more is lost."""
        self._note(replace(record, executed_height=self._context.height))
        waiting = self.queue.waiting_for(data.data_id)
        account_id = record.receipt.receiver_id
        if waiting is None:
            return
        state = Overlay(self._state)
        chain_state.write_received(state, account_id, data.data_id, data.data)
        if data.is_promise_resume:
            state.set(chain_state.yield_key(account_id, data.data_id), None)
        self._merge(state, f"receipt_processing {record.receipt.id.hex()}")
        body = waiting.receipt.body
        if isinstance(body, ActionReceipt) and self._has_all(account_id, body):
            self.queue.release(waiting)
            self._execute(waiting, body)

    def _has_all(self, account_id: str, body: ActionReceipt) -> bool:
        return all(chain_state.has_received(self._state, account_id, each) for each in body.input_data_ids)

    def _execute(self, record: ReceiptRecord, body: ActionReceipt) -> None:
        receipt, state = record.receipt, Overlay(self._state)
        results = tuple(chain_state.take_received(state, receipt.receiver_id, each) for each in body.input_data_ids)
        execution = ReceiptRun(receipt, body, results, state, self._context).execute()
        self._merge(state, f"receipt_processing {receipt.id.hex()}")
        self.gas_used += 0 if receipt.is_refund else execution.outcome.gas_burnt
        executed = replace(record, executed_height=self._context.height, outcome=execution.outcome)
        self._note(executed)
        self.executed.append(executed)
        for made in execution.receipts:
            self._note(ReceiptRecord(receipt=made, tx_hash=record.tx_hash, height=self._context.height))

    def end_yields(self, previous_height: int, timeout_blocks: int) -> None:
        """Receipts whose time to be resumed ran out since the block of `previous_height` are told so."""
        for record in list(self.queue.yielded()):
            if previous_height < record.height + timeout_blocks <= self._context.height:
                self._end_yield(record)

    def _end_yield(self, record: ReceiptRecord) -> None:
        body, account_id = record.receipt.body, record.receipt.receiver_id
        for data_id in body.input_data_ids if isinstance(body, ActionReceipt) else ():
            receipt = Receipt(
                id=receipt_id(data_id, self._context.height),
                predecessor_id=account_id,
                receiver_id=account_id,
                body=DataReceipt(data_id=data_id, data=None, is_promise_resume=True),
            )
            made = ReceiptRecord(receipt=receipt, tx_hash=record.tx_hash, height=self._context.height)
            self._note(made)
            self.queue.add(made)

    def _merge(self, state: Overlay, cause: str) -> None:
        self._state.merge(state)
        for key, value in state.changes.items():
            self.changes[key] = StateChange(key=key, value=value, cause=cause)

    def seal(self, head: Block) -> Block:
        """The finished block on `head`."""
        outcomes = [each.outcome for each in self.taken]
        outcomes += [each.outcome for each in self.executed if each.outcome is not None]
        return next_block(
            head,
            height=self._context.height,
            timestamp_ns=self._context.timestamp_ns,
            state_root=state_root(head.state_root, self.changes.values()),
            tx_root=sha256(*(each.transaction.hash for each in self.taken)) if self.taken else ZERO_HASH,
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
