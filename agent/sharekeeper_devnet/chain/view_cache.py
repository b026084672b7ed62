"""Answers of view calls: the same question about the same block has the same answer, so it is computed once."""

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias

from sharekeeper_devnet.runtime import Outcome

MAX_BYTES = 16 * 2**20
ENTRY_BYTES = 512
"""What an entry counts for beside its own bytes."""

Question: TypeAlias = tuple[bytes, str, str, bytes]
"""Hash of the block, account, method and arguments."""


class ViewCache:
    """The answers last asked for, up to a number of bytes. Belongs to one thread."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self.bytes = 0
        self._answers: OrderedDict[Question, Outcome | None] = OrderedDict()

    def answer(self, question: Question, compute: Callable[[], Outcome | None]) -> Outcome | None:
        """What `compute` found for this question, now or before."""
        if question in self._answers:
            self._answers.move_to_end(question)
            return self._answers[question]
        outcome = compute()
        self._answers[question] = outcome
        self.bytes += _size(question, outcome)
        while self.bytes > self._max_bytes:
            self.bytes -= _size(*self._answers.popitem(last=False))
        return outcome


def _size(question: Question, outcome: Outcome | None) -> int:
    size = ENTRY_BYTES + sum(map(len, question))
    if outcome is not None:
        size += len(outcome.return_value) + sum(map(len, outcome.logs))
    return size
