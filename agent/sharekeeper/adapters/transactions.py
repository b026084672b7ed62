"""Transactions: signed once, re-sent as the same bytes until final, looked up whenever in doubt (design decision 7).

The only file that knows py-near. Its Rust part panics on malformed account ids (an exception that escapes
`except Exception`), so only domain values and checked integers reach it.
"""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NewType

import base58
from py_near import transactions as py_near

from sharekeeper.adapters.json_rpc import NotSent, RpcRefused
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId, SignerKey
from sharekeeper.errors import (
    ChainAnswerInvalid,
    ChainFault,
    ChainUnavailable,
    TransactionFailed,
    TransactionUnknown,
    UnknownAccount,
)
from sharekeeper.ports import Clock, ContractCaller
from sharekeeper.protocol.codec import DecodeError, array, canonical_json, field, parse_json, text
from sharekeeper.spec import TRANSACTION_GAS, TRANSACTION_TIMEOUT_SECONDS, TRANSACTION_VALID_BLOCKS

_BROADCAST_SECONDS: Final = 12.0  # neard gives up waiting after 10 and says so
_LOOK_UP_SECONDS: Final = 5.0
_FIRST_BACKOFF_SECONDS: Final = 0.2
_MAX_BACKOFF_SECONDS: Final = 2.0
_MAX_SIGNINGS: Final = 3
_MAX_UNSETTLED: Final = 16
_MAX_METHOD_BYTES: Final = 256
_U64: Final = 2**64
_U128: Final = 2**128
_PANIC: Final = "Smart contract panicked: "
_CONGESTED: Final = frozenset({"ShardCongested", "ShardStuck"})
_SIGN_ANEW: Final = frozenset({"InvalidNonce", "Expired"})

Action = NewType("Action", object)
"""One action of a transaction; made only by the functions below."""


def function_call(method: str, args: Mapping[str, Any], *, gas: int = TRANSACTION_GAS, deposit: int = 0) -> Action:
    """Calls a contract method with JSON arguments. `gas` in gas units, `deposit` in yoctoNEAR."""
    if not 1 <= len(method.encode()) <= _MAX_METHOD_BYTES:
        raise ValueError(f"a method name has 1 to {_MAX_METHOD_BYTES} bytes")
    body = canonical_json(dict(args))
    return Action(py_near.create_function_call_action(method, body, _below(gas, _U64), _below(deposit, _U128)))


def add_key(key: SignerKey, *, contract_id: AccountId, methods: Sequence[str], allowance: int | None = None) -> Action:
    """Adds an access key that may call `methods` of the contract only; no `allowance` (yoctoNEAR) means no limit."""
    if not methods or not all(1 <= len(name.encode()) <= _MAX_METHOD_BYTES for name in methods):
        raise ValueError("a restricted access key names its methods: an empty list would allow all of them")
    limit = None if allowance is None else _below(allowance, _U128)
    return Action(py_near.create_function_call_access_key_action(key.raw, limit, contract_id, list(methods)))  # type: ignore[arg-type]  # None: no limit


def add_full_access_key(key: SignerKey) -> Action:
    """Adds a key that may do everything with the account."""
    return Action(py_near.create_full_access_key_action(key.raw))


def delete_key(key: SignerKey) -> Action:
    """Deletes an access key."""
    return Action(py_near.create_delete_access_key_action(key.raw))


def create_account() -> Action:
    """Creates the receiver."""
    return Action(py_near.create_create_account_action())  # type: ignore[no-untyped-call]


def transfer(amount: int) -> Action:
    """Transfers `amount` yoctoNEAR."""
    return Action(py_near.create_transfer_action(_below(amount, _U128)))


def deploy_contract(wasm: bytes) -> Action:
    """Deploys the wasm code on the receiver."""
    return Action(py_near.create_deploy_contract_action(wasm))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """A signed transaction. `base_height` is the block it names; it cannot be executed long after it."""

    blob: str
    hash: str
    nonce: int
    base_height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Executed:
    """Final on chain: what it returned, or the sentence it failed with."""

    value: bytes
    failure: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    """The endpoint will not take the transaction: name and details of the reason."""

    kind: str
    detail: object

    def __str__(self) -> str:
        return f"{self.kind} {json.dumps(self.detail)[:300]}" if self.detail else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """Not final. `sent`: an endpoint may hold it; `absent`: the endpoint asked has never seen it."""

    why: str
    sent: bool = True
    absent: bool = False


class NearCaller(ContractCaller):
    """One access key of one account. Calls of one caller go out one after the other.

    `timeout_seconds` bounds each call from its first broadcast on. A call that ended with
    `TransactionUnknown` and is made again re-sends the same bytes, so it cannot be executed twice.
    """

    def __init__(
        self,
        *,
        rpc: NearRpc,
        account_id: AccountId,
        key: KeyPair,
        contract_id: AccountId,
        clock: Clock,
        timeout_seconds: float = TRANSACTION_TIMEOUT_SECONDS,
    ) -> None:
        self._rpc = rpc
        self._account_id = account_id
        self._key = key
        self._contract_id = contract_id
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._one_at_a_time = asyncio.Lock()
        self._last_nonce = 0
        self._unsettled: dict[str, _Signed] = {}

    @property
    def account_id(self) -> AccountId:
        """The account that calls."""
        return self._account_id

    @property
    def signer_key(self) -> SignerKey:
        """The access key that signs."""
        return self._key.signer_key

    async def call(self, method: str, args: Mapping[str, Any]) -> Any:  # noqa: ANN401  # the contract's JSON
        """Calls the contract. Result and errors: see `send_actions`."""
        return await self.send_actions(self._contract_id, [function_call(method, args)])

    async def send_actions(self, receiver_id: AccountId, actions: Sequence[Action]) -> Any:  # noqa: ANN401  # JSON
        """The actions are final and succeeded, all receipts included; returns the JSON result (None when empty).

        Raises:
            TransactionFailed: executed and failed (message: the contract's), or it can never be executed.
            TransactionUnknown: not final before the deadline; make the same call again.
            UnknownAccount: the account has no such access key.
            ChainUnavailable: nothing was sent.
            ChainAnswerInvalid: it succeeded, but its result is not JSON.
        """
        async with self._one_at_a_time:
            name = self._fingerprint(receiver_id, actions)
            for _ in range(_MAX_SIGNINGS):
                before = self._unsettled.get(name)
                signed = before or await self._sign(receiver_id, actions)
                ended = await self._send(name, signed, may_be_held=before is not None)
                if isinstance(ended, _Executed):
                    return _result(signed, ended)
                if ended.kind not in _SIGN_ANEW:
                    break
            raise TransactionFailed(f"the transaction was refused: {ended}")

    def _fingerprint(self, receiver_id: AccountId, actions: Sequence[Action]) -> str:
        """Names what the transaction does, whatever its nonce and block."""
        return str(
            py_near.calc_trx_hash(self._account_id, self._private_key(), receiver_id, 0, list(actions), bytes(32))
        )

    async def _sign(self, receiver_id: AccountId, actions: Sequence[Action]) -> _Signed:
        head = await self._rpc.head()
        key = await self._rpc.access_key(self._account_id, self.signer_key, head)
        if key is None:
            raise UnknownAccount(
                f"{self._account_id} has no access key {self.signer_key}: its operator must grant it first"
            )
        nonce = max(key.nonce, self._last_nonce) + 1
        parts = (
            self._account_id,
            self._private_key(),
            receiver_id,
            _below(nonce, _U64),
            list(actions),
            base58.b58decode(head.hash),
        )
        self._last_nonce = nonce
        return _Signed(
            blob=py_near.sign_and_serialize_transaction(*parts),
            hash=py_near.calc_trx_hash(*parts),
            nonce=nonce,
            base_height=head.height,
        )

    def _private_key(self) -> bytes:
        return self._key.seed.reveal() + self._key.public_raw

    async def _send(self, name: str, signed: _Signed, *, may_be_held: bool) -> _Executed | _Refused:
        """As `_settle`; the bytes stay remembered while their fate is open, through errors and cancellation too."""
        self._unsettled[name] = signed
        if len(self._unsettled) > _MAX_UNSETTLED:
            del self._unsettled[next(iter(self._unsettled))]
        try:
            ended = await self._settle(signed, may_be_held=may_be_held)
        except ChainUnavailable:
            del self._unsettled[name]
            raise
        del self._unsettled[name]
        return ended

    async def _settle(self, signed: _Signed, *, may_be_held: bool) -> _Executed | _Refused:
        """Executed, or refused and never to be executed.

        1. Broadcast. 2. A refusal of bytes that no endpoint can hold is the end. 3. Otherwise look the hash up:
        a refusal may mean that they were executed already. 4. Only when they can never be executed any more
        is the refusal the end. 5. Again, until the deadline.
        """
        deadline = self._clock.monotonic() + self._timeout_seconds
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            reply = await self._broadcast(signed, deadline - self._clock.monotonic())
            if isinstance(reply, _Executed) or (isinstance(reply, _Refused) and not may_be_held):
                return reply
            may_be_held = may_be_held or (isinstance(reply, _Open) and reply.sent)
            if may_be_held:
                ended = await self._look_up_or_void(signed, reply)
                if ended is not None:
                    return ended
            if self._clock.monotonic() + backoff >= deadline:
                raise self._undecided(signed, reply, may_be_held=may_be_held)
            await self._clock.sleep(backoff)
            backoff = min(2 * backoff, _MAX_BACKOFF_SECONDS)

    async def _look_up_or_void(self, signed: _Signed, reply: _Refused | _Open) -> _Executed | _Refused | None:
        """What became of bytes that an endpoint may hold; None when that is not known yet.

        Whether they are void is read before the look-up: an execution between the two must be found.
        """
        void = isinstance(reply, _Refused) and await self._can_never_be_executed(signed, reply)
        found = await self._look_up(signed)
        if isinstance(found, _Executed):
            return found
        return reply if isinstance(reply, _Refused) and void and found.absent else None

    async def _broadcast(self, signed: _Signed, left_seconds: float) -> _Executed | _Refused | _Open:
        params = {"signed_tx_base64": signed.blob, "wait_until": "FINAL"}
        seconds = min(_BROADCAST_SECONDS, max(left_seconds, 0.1))
        try:
            answer = await self._rpc.endpoint.attempt("send_tx", params, timeout_seconds=seconds)
        except NotSent as error:
            return _Open(why=str(error), sent=False)
        except RpcRefused as error:
            return self._refusal(error)
        except (ChainUnavailable, ChainAnswerInvalid) as error:
            return _Open(why=str(error))
        return _outcome(signed, answer)

    def _refusal(self, error: RpcRefused) -> _Refused | _Open:
        if error.cause in ("PARSE_ERROR", "METHOD_NOT_FOUND", "REQUEST_VALIDATION_ERROR"):
            return _Refused(kind=error.cause, detail=error.data)
        if error.cause != "INVALID_TRANSACTION":
            return _Open(why=str(error))
        refused = _invalid_transaction(error)
        if refused.kind == "InvalidNonce" and isinstance(refused.detail, dict):
            taken = refused.detail.get("ak_nonce")
            self._last_nonce = max(self._last_nonce, taken if isinstance(taken, int) else 0)
        return _Open(why=str(refused), sent=False) if refused.kind in _CONGESTED else refused

    async def _look_up(self, signed: _Signed) -> _Executed | _Open:
        params = {"tx_hash": signed.hash, "sender_account_id": self._account_id, "wait_until": "NONE"}
        try:
            answer = await self._rpc.endpoint.request("tx", params, timeout_seconds=_LOOK_UP_SECONDS)
        except RpcRefused as error:
            observed = not (isinstance(error.info, dict) and error.info.get("cause") == "NOT_OBSERVED")
            unknown = error.cause == "UNKNOWN_TRANSACTION" or (error.cause == "TIMEOUT_ERROR" and not observed)
            return _Open(why=str(error), absent=unknown)
        except ChainFault as error:
            return _Open(why=str(error))
        return _outcome(signed, answer)

    async def _can_never_be_executed(self, signed: _Signed, refused: _Refused) -> bool:
        """By final state: the nonce is used up, the key is gone, or the transaction expired."""
        try:
            head = await self._rpc.head()
            key = await self._rpc.access_key(self._account_id, self.signer_key, head)
        except ChainFault:
            return False
        expired = refused.kind == "Expired" and head.height > signed.base_height + TRANSACTION_VALID_BLOCKS
        return key is None or key.nonce >= signed.nonce or expired

    def _undecided(self, signed: _Signed, reply: _Refused | _Open, *, may_be_held: bool) -> ChainFault:
        why = reply.why if isinstance(reply, _Open) else str(reply)
        if not may_be_held:
            return ChainUnavailable(f"nothing was sent within {self._timeout_seconds:g} s: {why}")
        return TransactionUnknown(
            f"transaction {signed.hash} is not final after {self._timeout_seconds:g} s ({why}): try again, it is safe"
        )


def _outcome(signed: _Signed, answer: object) -> _Executed | _Open:
    """What an answer of `send_tx` or `tx` says about the transaction; malformed answers say nothing."""
    try:
        if text(answer, "final_execution_status") != "FINAL":
            return _Open(why="not final yet")
        if text(field(answer, "transaction_outcome"), "id") != signed.hash:
            return _Open(why="the endpoint answered about another transaction")
        status = field(answer, "status")
        return _Executed(value=_success_value(status), failure=_failure(answer))
    except DecodeError as error:
        return _Open(why=f"the endpoint's answer is malformed: {error}")


def _success_value(status: object) -> bytes:
    if not isinstance(status, dict) or "Failure" in status:
        return b""
    try:
        return base64.b64decode(text(status, "SuccessValue"), validate=True)
    except DecodeError:
        raise
    except ValueError:
        raise DecodeError("field 'SuccessValue' is not base64") from None


def _failure(answer: object) -> str | None:
    """The first failure: of the transaction, then of any of its receipts."""
    receipts = [field(item, "outcome") for item in array(answer, "receipts_outcome")]
    for outcome in (answer, field(field(answer, "transaction_outcome"), "outcome"), *receipts):
        status = field(outcome, "status")
        if isinstance(status, dict) and "Failure" in status:
            return _sentence(status["Failure"])
    return None


def _sentence(failure: object) -> str:
    """The contract's own sentence if it panicked with one, else the chain's reason as JSON."""
    try:
        kind = field(field(failure, "ActionError"), "kind")
        said = text(field(kind, "FunctionCallError"), "ExecutionError")
    except DecodeError:
        return json.dumps(failure)[:500]
    return said.removeprefix(_PANIC)[:500]


def _invalid_transaction(error: RpcRefused) -> _Refused:
    for source in (error.data, error.info):
        try:
            reason = field(field(source, "TxExecutionError"), "InvalidTxError")
        except DecodeError:
            continue
        if isinstance(reason, dict) and len(reason) == 1:
            kind, detail = next(iter(reason.items()))
            return _Refused(kind=kind, detail=detail)
        return _Refused(kind=str(reason)[:300], detail=None)
    return _Refused(kind="INVALID_TRANSACTION", detail=error.data or error.info)


def _result(signed: _Signed, executed: _Executed) -> Any:  # noqa: ANN401  # the contract's JSON
    if executed.failure is not None:
        raise TransactionFailed(executed.failure)
    try:
        return parse_json(executed.value) if executed.value else None
    except DecodeError:
        raise ChainAnswerInvalid(f"transaction {signed.hash} succeeded with a result that is not JSON") from None


def _below(value: int, bound: int) -> int:
    if not 0 <= value < bound:
        raise ValueError(f"not in 0..{bound - 1}: {value}")
    return value
