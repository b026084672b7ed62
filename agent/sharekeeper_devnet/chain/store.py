"""The chain on disk: one SQLite file, one SQL transaction per block.

State rows carry the height that wrote them, so the state at any height can be read and nothing written is ever
changed. A block, its state changes, its outcomes and the receipts it made become visible together or not at all,
whatever kills the process. `synchronous=FULL` because a block that a client was told of must also survive a power cut.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharekeeper_devnet.chain.block import Block, decode_outcome, encode_outcome
from sharekeeper_devnet.chain.inclusion import Inclusion, TakenUp
from sharekeeper_devnet.chain.receipt import ReceiptRecord, decode_receipt, encode_receipt
from sharekeeper_devnet.chain.transaction import decode_signed_transaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS blocks (
    height INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, prev_hash BLOB NOT NULL, prev_height INTEGER NOT NULL,
    ordinal INTEGER NOT NULL, timestamp_ns INTEGER NOT NULL, prev_state_root BLOB NOT NULL, state_root BLOB NOT NULL,
    tx_root BLOB NOT NULL, outcome_root BLOB NOT NULL, gas_used INTEGER NOT NULL, chunk_hash BLOB NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS state (
    key BLOB NOT NULL, height INTEGER NOT NULL, value BLOB, cause TEXT NOT NULL, PRIMARY KEY (key, height)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS state_by_height ON state (height, key);
CREATE TABLE IF NOT EXISTS transactions (
    hash BLOB PRIMARY KEY, encoded BLOB NOT NULL, height INTEGER NOT NULL, outcome TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS transactions_by_height ON transactions (height);
CREATE TABLE IF NOT EXISTS receipts (
    number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, encoded BLOB NOT NULL, tx_hash BLOB NOT NULL,
    height INTEGER NOT NULL, executed_height INTEGER, outcome TEXT
);
CREATE INDEX IF NOT EXISTS receipts_by_transaction ON receipts (tx_hash);
CREATE INDEX IF NOT EXISTS receipts_by_executed_height ON receipts (executed_height);
"""
BLOCK_COLUMNS = (
    "height, hash, prev_hash, prev_height, ordinal, timestamp_ns, prev_state_root, state_root, "
    "tx_root, outcome_root, gas_used"
)
RECEIPT_COLUMNS = "id, encoded, tx_hash, height, executed_height, outcome"
ON_EXECUTION = "ON CONFLICT (id) DO UPDATE SET executed_height = excluded.executed_height, outcome = excluded.outcome"
MAX_HEIGHT = 2**63 - 1
FILE_NAME = "chain.sqlite"


class StoreLockedError(Exception):
    """Another process runs on this directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """A value a block wrote; None is removed. `cause` is what clients see of why."""

    key: bytes
    value: bytes | None
    cause: str


class StateAt:
    """The state as it was after the block of one height."""

    def __init__(self, connection: sqlite3.Connection, height: int) -> None:
        self._connection = connection
        self._height = height

    def get(self, key: bytes, /) -> bytes | None:
        row = self._connection.execute(
            "SELECT value FROM state WHERE key = ? AND height <= ? ORDER BY height DESC LIMIT 1", (key, self._height)
        ).fetchone()
        return None if row is None else row[0]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        rows = self._connection.execute(
            "SELECT key, value, max(height) FROM state WHERE key >= ? AND key < ? AND height <= ? GROUP BY key",
            (prefix, _after(prefix), self._height),
        )
        return ((key, value) for key, value, _ in rows.fetchall() if value is not None)


def _after(prefix: bytes) -> bytes:
    """The first byte string after all that start with `prefix`, which ends in a colon and so has one."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class Store:
    """The file, locked for this process. All methods belong to one thread."""

    def __init__(self, directory: Path) -> None:
        """Opens or creates the store.

        Raises:
            StoreLockedError: another process has it open.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(directory / "lock")
        self._connection = sqlite3.connect(directory / FILE_NAME, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(SCHEMA)

    def close(self) -> None:
        """Gives up file and lock."""
        self._connection.close()
        os.close(self._lock)

    def state_at(self, height: int) -> StateAt:
        """The state after the newest block up to `height`."""
        return StateAt(self._connection, height)

    def append(
        self,
        block: Block,
        changes: Mapping[bytes, StateChange],
        taken: Sequence[TakenUp] = (),
        receipts: Iterable[ReceiptRecord] = (),
    ) -> None:
        """Makes `block` the head, with everything it changed, in one step.

        `taken` are the transactions it took up, `receipts` those it made or executed.
        """
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            run(f"INSERT INTO blocks ({BLOCK_COLUMNS}, chunk_hash) VALUES ({_marks(12)})", _block_row(block))  # noqa: S608 - constants only
            self._connection.executemany(
                "INSERT INTO state (key, height, value, cause) VALUES (?, ?, ?, ?)",
                ((change.key, block.height, change.value, change.cause) for change in changes.values()),
            )
            self._connection.executemany(
                "INSERT INTO transactions (hash, encoded, height, outcome) VALUES (?, ?, ?, ?)",
                (
                    (each.transaction.hash, each.transaction.encoded, block.height, encode_outcome(each.outcome))
                    for each in taken
                ),
            )
            self._connection.executemany(
                f"INSERT INTO receipts ({RECEIPT_COLUMNS}) VALUES ({_marks(6)}) {ON_EXECUTION}",  # noqa: S608 - constants only
                map(_receipt_row, receipts),
            )
            run("COMMIT")
        except BaseException:
            run("ROLLBACK")
            raise

    def head(self) -> Block | None:
        """The newest block."""
        return self._block("ORDER BY height DESC LIMIT 1")

    def earliest(self) -> Block | None:
        """The genesis block."""
        return self._block("ORDER BY height LIMIT 1")

    def block_by_height(self, height: int) -> Block | None:
        """The block of that height; heights may have gaps."""
        return self._block("WHERE height = ?", height) if height <= MAX_HEIGHT else None

    def block_by_hash(self, digest: bytes) -> Block | None:
        """The block of that hash."""
        return self._block("WHERE hash = ?", digest)

    def block_by_chunk_hash(self, digest: bytes) -> Block | None:
        """The block whose chunk has that hash."""
        return self._block("WHERE chunk_hash = ?", digest)

    def _block(self, where: str, *arguments: int | bytes) -> Block | None:
        row = self._connection.execute(f"SELECT {BLOCK_COLUMNS} FROM blocks {where}", arguments).fetchone()  # noqa: S608 - constants only
        return None if row is None else _block_of(row)

    def has_transaction(self, tx_hash: bytes) -> bool:
        """Whether a block has the transaction."""
        found = self._connection.execute("SELECT 1 FROM transactions WHERE hash = ?", (tx_hash,)).fetchone()
        return found is not None

    def inclusion(self, tx_hash: bytes) -> Inclusion | None:
        """The transaction of that hash, when a block has it."""
        return next(iter(self._inclusions("WHERE hash = ?", tx_hash)), None)

    def transactions_in(self, height: int) -> list[Inclusion]:
        """Transactions the block of `height` took up."""
        return self._inclusions("WHERE height = ? ORDER BY rowid", height)

    def _inclusions(self, where: str, *arguments: int | bytes) -> list[Inclusion]:
        rows = self._connection.execute(f"SELECT encoded, height, outcome FROM transactions {where}", arguments)  # noqa: S608 - constants only
        return [self._inclusion_of(*row) for row in rows.fetchall()]

    def _inclusion_of(self, encoded: bytes, height: int, outcome: str) -> Inclusion:
        transaction = decode_signed_transaction(encoded)
        receipts = self._receipts("WHERE tx_hash = ? ORDER BY number", transaction.hash)
        return Inclusion(
            transaction=transaction, height=height, outcome=decode_outcome(outcome), receipts=tuple(receipts)
        )

    def receipt(self, receipt_id: bytes) -> ReceiptRecord | None:
        """The receipt of that id."""
        return next(iter(self._receipts("WHERE id = ?", receipt_id)), None)

    def receipts_in(self, height: int) -> list[ReceiptRecord]:
        """Receipts the block of `height` executed or delivered."""
        return self._receipts("WHERE executed_height = ? ORDER BY number", height)

    def open_receipts(self) -> list[ReceiptRecord]:
        """Receipts that no block has executed or delivered, in the order in which they were made."""
        return self._receipts("WHERE executed_height IS NULL ORDER BY number")

    def _receipts(self, where: str, *arguments: int | bytes) -> list[ReceiptRecord]:
        rows = self._connection.execute(f"SELECT {RECEIPT_COLUMNS} FROM receipts {where}", arguments)  # noqa: S608 - constants only
        return [_receipt_of(row) for row in rows.fetchall()]

    def changes_in(self, height: int, prefix: bytes) -> list[StateChange]:
        """What the block of `height` wrote under keys that start with `prefix`."""
        rows = self._connection.execute(
            "SELECT key, value, cause FROM state WHERE height = ? AND key >= ? ORDER BY key", (height, prefix)
        )
        return [StateChange(key=row[0], value=row[1], cause=row[2]) for row in rows if row[0].startswith(prefix)]


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreLockedError(f"another process runs on {path.parent}; stop it first") from None
    return descriptor


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _block_row(block: Block) -> tuple[int | bytes, ...]:
    return (
        block.height,
        block.hash,
        block.prev_hash,
        block.prev_height,
        block.ordinal,
        block.timestamp_ns,
        block.prev_state_root,
        block.state_root,
        block.tx_root,
        block.outcome_root,
        block.gas_used,
        block.chunk_hash,
    )


def _block_of(row: tuple[Any, ...]) -> Block:
    return Block(**dict(zip(BLOCK_COLUMNS.split(", "), row, strict=True)))


def _receipt_row(record: ReceiptRecord) -> tuple[object, ...]:
    return (
        record.receipt.id,
        encode_receipt(record.receipt),
        record.tx_hash,
        record.height,
        record.executed_height,
        None if record.outcome is None else encode_outcome(record.outcome),
    )


def _receipt_of(row: tuple[Any, ...]) -> ReceiptRecord:
    _, encoded, tx_hash, height, executed_height, outcome = row
    return ReceiptRecord(
        receipt=decode_receipt(encoded),
        tx_hash=tx_hash,
        height=height,
        executed_height=executed_height,
        outcome=None if outcome is None else decode_outcome(outcome),
    )
