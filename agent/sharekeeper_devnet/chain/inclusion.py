"""A transaction in a block, and the tree of receipts it became."""

from collections.abc import Iterator
from dataclasses import dataclass

from sharekeeper_devnet.chain.block import ExecutionOutcome, Status, SuccessReceipt
from sharekeeper_devnet.chain.receipt import ReceiptRecord
from sharekeeper_devnet.chain.transaction import SignedTransaction


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenUp:
    """A transaction that a block takes up, and what that did; its status names the first receipt."""

    transaction: SignedTransaction
    outcome: ExecutionOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """A transaction in a block, and all receipts that came of it.

    Attributes:
        height: the block that took it up.
        outcome: what taking it up did; its status names the first receipt.
        receipts: every receipt of the transaction, data receipts included, in the order in which they were made.
    """

    transaction: SignedTransaction
    height: int
    outcome: ExecutionOutcome
    receipts: tuple[ReceiptRecord, ...]

    @property
    def receipt_id(self) -> bytes:
        """The receipt the transaction became."""
        return self.receipts[0].receipt.id

    @property
    def receipt_height(self) -> int | None:
        """The block that executed that receipt; None before."""
        return self.receipts[0].executed_height

    @property
    def receipt_outcome(self) -> ExecutionOutcome | None:
        """What executing that receipt did; None before."""
        return self.receipts[0].outcome

    @property
    def executed_height(self) -> int | None:
        """The block that executed the last of its receipts; None before. Refunds are not waited for, as on NEAR."""
        heights = [
            each.executed_height for each in self.receipts if each.receipt.is_action and not each.receipt.is_refund
        ]
        known = [height for height in heights if height is not None]
        return max(known) if len(known) == len(heights) else None

    def executed(self) -> Iterator[ReceiptRecord]:
        """The receipts that were executed, each before those it made: the order of neard's `receipts_outcome`."""
        by_id = {each.receipt.id: each for each in self.receipts}
        open_ids = [self.receipt_id]
        while open_ids:
            record = by_id[open_ids.pop()]
            if record.outcome is not None:
                yield record
                open_ids += reversed(record.outcome.receipt_ids)

    def result(self) -> Status | None:
        """The status of the receipt whose result is that of the transaction; None while it waits."""
        by_id = {each.receipt.id: each for each in self.receipts}
        record = self.receipts[0]
        while record.outcome is not None and isinstance(record.outcome.status, SuccessReceipt):
            record = by_id[record.outcome.status.receipt_id]
        return None if record.outcome is None else record.outcome.status
