"""Receipts that no block has executed yet."""

from collections import deque
from collections.abc import Iterable, Iterator

from sharekeeper_devnet.chain.receipt import ActionReceipt, ReceiptRecord


class ReceiptQueue:
    """Receipts that are due, in the order in which they were made, and receipts that wait for data.

    What is in it follows from the receipts alone, so a queue filled from disk is the one that was there before.
    """

    def __init__(self, records: Iterable[ReceiptRecord] = ()) -> None:
        self._due: deque[ReceiptRecord] = deque()
        self._postponed: dict[bytes, ReceiptRecord] = {}
        for record in records:
            self.add(record)

    def copy(self) -> "ReceiptQueue":
        """The same receipts in a queue of their own."""
        copied = ReceiptQueue()
        copied._due, copied._postponed = self._due.copy(), self._postponed.copy()
        return copied

    def add(self, record: ReceiptRecord) -> None:
        """`record` is due, or is postponed when it waits for data."""
        inputs = _inputs(record)
        if not inputs:
            self._due.append(record)
        for data_id in inputs:
            self._postponed[data_id] = record

    def __len__(self) -> int:
        """How many are due."""
        return len(self._due)

    def pop(self) -> ReceiptRecord:
        """The receipt that is due next; it is no longer in the queue."""
        return self._due.popleft()

    def waiting_for(self, data_id: bytes) -> ReceiptRecord | None:
        """The receipt that waits for that data."""
        return self._postponed.get(data_id)

    def release(self, record: ReceiptRecord) -> None:
        """The receipt no longer waits for data, because it has it all."""
        for data_id in _inputs(record):
            del self._postponed[data_id]

    def yielded(self) -> Iterator[ReceiptRecord]:
        """The receipts that wait to be resumed."""
        for record in self._postponed.values():
            if isinstance(record.receipt.body, ActionReceipt) and record.receipt.body.is_promise_yield:
                yield record


def _inputs(record: ReceiptRecord) -> tuple[bytes, ...]:
    body = record.receipt.body
    return body.input_data_ids if isinstance(body, ActionReceipt) else ()
