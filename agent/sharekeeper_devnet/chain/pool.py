"""Transactions that wait for a block."""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator

from sharekeeper_devnet.chain.rejection import InvalidTransactionError
from sharekeeper_devnet.chain.transaction import SignedTransaction

MAX_POOL_BYTES = 100 * 2**20
MAX_REMEMBERED_REJECTIONS = 10_000


class Pool:
    """Waiting transactions by hash, and why the ones that were dropped were dropped."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, SignedTransaction] = {}
        self._bytes = 0
        self._rejections: OrderedDict[bytes, InvalidTransactionError] = OrderedDict()

    def __contains__(self, tx_hash: bytes) -> bool:
        return tx_hash in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, transaction: SignedTransaction) -> None:
        """`transaction` waits; once, however often it is added.

        Raises:
            InvalidTransactionError: the pool is full.
        """
        if transaction.hash in self._waiting:
            return
        size = len(transaction.encoded)
        if self._bytes + size > MAX_POOL_BYTES:
            raise InvalidTransactionError({"ShardCongested": {"shard_id": 0, "congestion_level": 1.0}})
        self._waiting[transaction.hash] = transaction
        self._bytes += size
        self._rejections.pop(transaction.hash, None)

    def remove(self, transaction: SignedTransaction) -> None:
        """`transaction` no longer waits."""
        if self._waiting.pop(transaction.hash, None) is not None:
            self._bytes -= len(transaction.encoded)

    def reject(self, transaction: SignedTransaction, why: InvalidTransactionError) -> None:
        """`transaction` does not wait, and whoever asks is told `why`."""
        self.remove(transaction)
        self._rejections[transaction.hash] = why
        if len(self._rejections) > MAX_REMEMBERED_REJECTIONS:
            self._rejections.popitem(last=False)

    def rejection(self, tx_hash: bytes) -> InvalidTransactionError | None:
        """Why the transaction was dropped, when it was."""
        return self._rejections.get(tx_hash)

    def in_order(self) -> Iterator[SignedTransaction]:
        """By arrival, but those of one key by nonce."""
        by_key: defaultdict[tuple[str, bytes], list[SignedTransaction]] = defaultdict(list)
        waiting = list(self._waiting.values())
        for transaction in waiting:
            by_key[_key(transaction)].append(transaction)
        queues = {key: deque(sorted(group, key=lambda each: each.nonce)) for key, group in by_key.items()}
        return (queues[_key(transaction)].popleft() for transaction in waiting)


def _key(transaction: SignedTransaction) -> tuple[str, bytes]:
    return transaction.signer_id, transaction.public_key.borsh
