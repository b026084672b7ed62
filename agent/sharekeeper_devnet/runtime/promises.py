"""The receipts a call asks for, as values: what it made, what it resumed, and whose result it returns.

A call numbers its promises from zero. A promise stands for one receipt, or joins several; a receipt that waits for
others names, for each, the id of the data it waits for, and each of these names the waiting receipt as receiver.
"""

import hashlib
from collections.abc import Container
from dataclasses import dataclass, field, replace

from sharekeeper_devnet.runtime import faults
from sharekeeper_devnet.runtime.actions import Action, FunctionCall

MAX_PROMISES = 1_024
MAX_INPUTS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class DataReceiver:
    """Who waits for the result of a receipt: `data_id` names the result, 32 bytes."""

    data_id: bytes
    receiver_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReceipt:
    """A receipt that a call made.

    Attributes:
        input_data_ids: the results it waits for, in the order in which it sees them.
        output_data_receivers: who waits for its result.
        is_promise_yield: it waits for a resumption, or for its time to run out.
    """

    receiver_id: str
    actions: tuple[Action, ...] = ()
    input_data_ids: tuple[bytes, ...] = ()
    output_data_receivers: tuple[DataReceiver, ...] = ()
    is_promise_yield: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """Data for a receipt that yielded.

    Attributes:
        is_promise_resume: false when the receipt was made by the same call, which then simply waits for data.
    """

    data_id: bytes
    data: bytes
    is_promise_resume: bool


@dataclass(slots=True)
class _Draft:
    """A receipt in the making."""

    receiver_id: str
    input_data_ids: tuple[bytes, ...] = ()
    actions: list[Action] = field(default_factory=list)
    output_data_receivers: list[DataReceiver] = field(default_factory=list)
    is_promise_yield: bool = False

    def finished(self) -> NewReceipt:
        return NewReceipt(
            receiver_id=self.receiver_id,
            actions=tuple(self.actions),
            input_data_ids=self.input_data_ids,
            output_data_receivers=tuple(self.output_data_receivers),
            is_promise_yield=self.is_promise_yield,
        )


@dataclass(frozen=True, slots=True)
class _Weight:
    receipt: int
    action: int
    weight: int


class PromiseBook:
    """The promises of one call. Every index a contract gives is checked here."""

    def __init__(self, action_id: bytes, yielded: Container[bytes]) -> None:
        """`action_id` is what data ids derive from; `yielded` holds those of the account's receipts that yielded."""
        self._action_id = action_id
        self._yielded = yielded
        self._drafts: list[_Draft] = []
        self._promises: list[tuple[int, ...] | int] = []
        self._weights: list[_Weight] = []
        self._data_ids = 0
        self.resumptions: list[Resumption] = []
        self.returned: int | None = None

    def new_data_id(self) -> bytes:
        """32 bytes that no other call hands out."""
        self._data_ids += 1
        return hashlib.sha256(b"data" + self._action_id + self._data_ids.to_bytes(8, "little")).digest()

    def receipts_of(self, promise: int) -> tuple[int, ...]:
        """The receipts the promise stands for."""
        found = self._promise(promise)
        return (found,) if isinstance(found, int) else found

    def receipt_of(self, promise: int) -> int:
        """The receipt of a promise that actions may be appended to."""
        found = self._promise(promise)
        if not isinstance(found, int):
            raise faults.HostFaultError(
                "CannotAppendActionToJointPromise", "Actions can only be appended to non-joint promise."
            )
        return found

    def receiver_of(self, receipt: int) -> str:
        """Whom the receipt goes to."""
        return self._drafts[receipt].receiver_id

    def create(self, receiver_id: str, after: tuple[int, ...] = ()) -> int:
        """The promise of a new receipt that waits for the receipts `after`."""
        data_ids = tuple(self.new_data_id() for _ in after)
        for receipt, data_id in zip(after, data_ids, strict=True):
            receiver = DataReceiver(data_id=data_id, receiver_id=receiver_id)
            self._drafts[receipt].output_data_receivers.append(receiver)
        return self._add(_Draft(receiver_id, data_ids))

    def create_yield(self, receiver_id: str) -> tuple[int, bytes]:
        """The promise of a new receipt that yields, and the data id that resumes it."""
        data_id = self.new_data_id()
        return self._add(_Draft(receiver_id, (data_id,), is_promise_yield=True)), data_id

    def join(self, promises: tuple[int, ...]) -> int:
        """The promise of all `promises` together."""
        receipts = tuple(receipt for promise in promises for receipt in self.receipts_of(promise))
        if len(receipts) > MAX_INPUTS:
            raise faults.over_count(
                "NumberInputDataDependenciesExceeded", "input data dependencies", len(receipts), MAX_INPUTS
            )
        return self._push(receipts)

    def append(self, receipt: int, action: Action, weight: int = 0) -> None:
        """`action` is the receipt's last; it shares what gas is left over by `weight`."""
        actions = self._drafts[receipt].actions
        if weight:
            self._weights.append(_Weight(receipt, len(actions), weight))
        actions.append(action)

    def resume(self, data_id: bytes, data: bytes) -> bool:
        """Whether a receipt yielded under `data_id`; it gets `data` then, unless it got other data before."""
        for draft in self._drafts:
            if draft.is_promise_yield and data_id in draft.input_data_ids:
                draft.is_promise_yield = False
                self.resumptions.append(Resumption(data_id=data_id, data=data, is_promise_resume=False))
                return True
        if data_id not in self._yielded:
            return False
        self.resumptions.append(Resumption(data_id=data_id, data=data, is_promise_resume=True))
        return True

    def give_back(self, promise: int) -> None:
        """The result of the call is that of `promise`."""
        found = self._promise(promise)
        if not isinstance(found, int):
            raise faults.HostFaultError("CannotReturnJointPromise", "Returning joint promise is currently prohibited.")
        self.returned = found

    def share_out(self, gas: int) -> int:
        """Adds `gas` to the calls that were made with a weight; returns how much of it they took, all or nothing."""
        total = sum(each.weight for each in self._weights)
        if not total:
            return 0
        shares = [gas * each.weight // total for each in self._weights]
        shares[-1] += gas - sum(shares)
        for each, share in zip(self._weights, shares, strict=True):
            actions = self._drafts[each.receipt].actions
            call = actions[each.action]
            if isinstance(call, FunctionCall):
                actions[each.action] = replace(call, gas=call.gas + share)
        return gas

    def finished(self) -> tuple[NewReceipt, ...]:
        """All receipts, in the order in which they were made."""
        return tuple(draft.finished() for draft in self._drafts)

    def _promise(self, promise: int) -> tuple[int, ...] | int:
        if promise >= len(self._promises):
            raise faults.invalid_index(
                "InvalidPromiseIndex", f"{promise} does not correspond to existing promises", "promise_idx", promise
            )
        return self._promises[promise]

    def _add(self, draft: _Draft) -> int:
        self._drafts.append(draft)
        return self._push(len(self._drafts) - 1)

    def _push(self, promise: tuple[int, ...] | int) -> int:
        if len(self._promises) >= MAX_PROMISES:
            raise faults.over_count("NumberPromisesExceeded", "promises", len(self._promises) + 1, MAX_PROMISES)
        self._promises.append(promise)
        return len(self._promises) - 1
