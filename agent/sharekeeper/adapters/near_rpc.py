"""The chain as the agent reads it: final blocks, contract views, access keys, all from one NEAR endpoint.

Every view names the block it is read at, so that all reads of one decision agree (design decision 6).
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import base58

from sharekeeper.adapters.json_rpc import JsonRpc, RpcRefused
from sharekeeper.domain.attestation import AllowedCode
from sharekeeper.domain.ephemeral import EphemeralSlots
from sharekeeper.domain.identity import AccountId, NetworkId, SignerKey
from sharekeeper.domain.protocol_state import AccountRecord, BlockRef, ProtocolState
from sharekeeper.errors import (
    ChainAnswerInvalid,
    ChainContradiction,
    ChainUnavailable,
    UnknownAccount,
    WrongNetwork,
)
from sharekeeper.ports import ChainReader, Clock
from sharekeeper.protocol.codec import DecodeError, array, field, integer, parse_json, text
from sharekeeper.protocol.contract_json import (
    decode_account,
    decode_allowed_code,
    decode_ephemeral_keys,
    read_state,
)
from sharekeeper.spec import RPC_TIMEOUT_SECONDS

_T = TypeVar("_T")
_HASH_BYTES: Final = 32
_NANOSECONDS: Final = 10**9
_NO_CODE: Final = "NO_CONTRACT_CODE"
_MISSING: Final = frozenset({"UNKNOWN_ACCOUNT", _NO_CODE})
_GONE: Final = "GARBAGE_COLLECTED_BLOCK"
_NO_KEY: Final = "UNKNOWN_ACCESS_KEY"
ALLOWED_CODE_VIEWS: Final = ("allowed_node_code_hashes", "allowed_backup_service_code_hashes", "allowed_measurements")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An access key as the chain has it.

    A restricted key calls `methods` of `receiver_id`, all of them when `methods` is empty; a full-access
    key has no receiver.
    """

    nonce: int
    full_access: bool
    receiver_id: str | None
    methods: tuple[str, ...]


class NearRpc(ChainReader):
    """One NEAR endpoint and one contract.

    `genesis_hash` None accepts any genesis (dev chains). `timeout_seconds` bounds each read, its retries included.
    """

    def __init__(
        self,
        *,
        url: str,
        contract_id: AccountId,
        chain_id: str,
        genesis_hash: str | None,
        clock: Clock,
        timeout_seconds: float = RPC_TIMEOUT_SECONDS,
    ) -> None:
        self.endpoint = JsonRpc(url, clock=clock)
        self.contract_id = contract_id
        self._chain_id = chain_id
        self._genesis_hash = genesis_hash
        self._timeout_seconds = timeout_seconds
        self._highest: BlockRef | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Every connection to the endpoint is closed."""
        await self.endpoint.close()

    async def network(self) -> NetworkId:
        """The network the endpoint serves. One `status` request.

        Raises:
            WrongNetwork: chain id or genesis hash differ from the configured ones.
            ChainUnavailable, ChainAnswerInvalid: as every read.
        """
        status = await self._request("status", [])
        try:
            chain_id, genesis_hash = text(status, "chain_id"), _block_hash(status, "genesis_hash")
        except DecodeError as error:
            raise ChainAnswerInvalid(f"status of {self.endpoint.host}: {error}") from None
        for name, found, wanted in (
            ("chain_id", chain_id, self._chain_id),
            ("genesis_hash", genesis_hash, self._genesis_hash or genesis_hash),
        ):
            if found != wanted:
                raise WrongNetwork(f"{self.endpoint.host} serves {name} {found[:64]!r}, configured is {wanted!r}")
        return NetworkId(chain_id=chain_id, genesis_hash=genesis_hash, contract_id=self.contract_id)

    async def head(self) -> BlockRef:
        """The newest final block. One `block` request. Its age is not checked: see `protocol.freshness`.

        Raises:
            ChainContradiction: it is below the highest one seen before the request, or another of that height.
            ChainUnavailable, ChainAnswerInvalid: as every read.
        """
        before = self._highest
        block = await self.final_block()
        if before is not None and block.height < before.height:
            raise ChainContradiction(f"the final block went back from {before.height} to {block.height}")
        if self._highest is not None and block.height == self._highest.height and block.hash != self._highest.hash:
            raise ChainContradiction(f"final block {block.height} was {self._highest.hash} and is now {block.hash}")
        if self._highest is None or block.height > self._highest.height:
            self._highest = block
        return block

    async def final_block(self) -> BlockRef:
        """As `head`, and what was seen before is not looked at. Raises `ChainUnavailable`, `ChainAnswerInvalid`."""
        return await self._block({"finality": "final"})

    async def block_at(self, height: int) -> BlockRef:
        """The endpoint's block at that height, which need not be final. One request.

        Raises:
            ChainUnavailable: it has none there (yet); otherwise as every read.
            ChainAnswerInvalid: it answered with another block.
        """
        block = await self._block({"block_id": height})
        if block.height != height:
            raise ChainAnswerInvalid(f"{self.endpoint.host} answered with block {block.height}, not {height}")
        return block

    async def block_named(self, block_hash: str) -> BlockRef:
        """The block with that hash, which need not be final. One request. Raises as `block_at`."""
        block = await self._block({"block_id": block_hash})
        if block.hash != block_hash:
            raise ChainAnswerInvalid(f"{self.endpoint.host} answered with another block than {block_hash[:64]}")
        return block

    async def _block(self, reference: Mapping[str, Any]) -> BlockRef:
        answer = await self._request("block", reference)
        try:
            return _decode_block(field(answer, "header"))
        except DecodeError as error:
            raise ChainAnswerInvalid(f"block of {self.endpoint.host}: {error}") from None

    async def protocol_state(self, at: BlockRef) -> ProtocolState:
        """View `state` at that block. One request."""
        shown = await self.view_bytes("state", {}, at)
        try:
            return read_state(shown)
        except DecodeError as error:
            raise ChainAnswerInvalid(f"view state of {self.contract_id}: {error}") from None

    async def account(self, account_id: AccountId, at: BlockRef) -> AccountRecord:
        """View `participant_info` of the account at that block. One request."""
        return await self._decoded("participant_info", {"account_id": account_id}, at, decode_account)

    async def ephemeral_keys(self, account_id: AccountId, at: BlockRef) -> EphemeralSlots:
        """View `ephemeral_keys` of the account at that block, by slot, unverified. One request."""
        return await self._decoded("ephemeral_keys", {"account_id": account_id}, at, decode_ephemeral_keys)

    async def allowed_code(self, at: BlockRef) -> AllowedCode:
        """The three views of what is allowed at that block. Three requests."""
        shown = [await self.view(name, {}, at) for name in ALLOWED_CODE_VIEWS]
        try:
            return decode_allowed_code(*shown)
        except DecodeError as error:
            raise ChainAnswerInvalid(f"views of what {self.contract_id} allows: {error}") from None

    async def _decoded(self, method: str, args: Mapping[str, Any], at: BlockRef, decode: Callable[[object], _T]) -> _T:
        value = await self.view(method, args, at)
        try:
            return decode(value)
        except DecodeError as error:
            raise ChainAnswerInvalid(f"view {method} of {self.contract_id}: {error}") from None

    async def view(self, method: str, args: Mapping[str, Any], at: BlockRef | None) -> Any:  # noqa: ANN401  # JSON
        """The JSON result of a view, read as `view_bytes`. Also raises `ChainAnswerInvalid` if it is not JSON."""
        try:
            return parse_json(await self.view_bytes(method, args, at))
        except DecodeError as error:
            raise ChainAnswerInvalid(f"view {method} of {self.contract_id}: {error}") from None

    async def view_bytes(self, method: str, args: Mapping[str, Any], at: BlockRef | None) -> bytes:
        """What a view of the contract returned at that block (None: the newest final one). One request.

        Raises:
            ChainAnswerInvalid: the contract panicked, or the answer is of another block.
            UnknownAccount: there is no such account, or no contract on it.
            ChainUnavailable: no answer in time, or the endpoint does not have that block (any more).
        """
        encoded = base64.b64encode(json.dumps(args).encode()).decode("ascii")
        query = {"account_id": self.contract_id, "method_name": method, "args_base64": encoded}
        answer = await self._query("call_function", query, at)
        try:
            return _byte_array(answer, "result")
        except DecodeError as error:
            raise ChainAnswerInvalid(f"view {method} of {self.contract_id}: {error}") from None

    async def access_key(self, account_id: AccountId, key: SignerKey, at: BlockRef | None) -> AccessKey | None:
        """The access key at that block, None if the account has it not. One request. Same errors as `view`."""
        try:
            answer = await self._query("view_access_key", {"account_id": account_id, "public_key": str(key)}, at)
        except RpcRefused as error:
            if error.cause == _NO_KEY:
                return None
            raise
        try:
            return _decode_access_key(answer)
        except DecodeError as error:
            raise ChainAnswerInvalid(f"access key of {account_id}: {error}") from None

    async def _query(self, kind: str, query: Mapping[str, Any], at: BlockRef | None) -> Any:  # noqa: ANN401  # JSON
        block = {"finality": "final"} if at is None else {"block_id": at.hash}
        answer = await self._request("query", {"request_type": kind, **block, **query})
        if isinstance(answer, dict) and "error" in answer:
            refused = _legacy_refusal(str(answer["error"])[:500])
            raise _unknown_account(refused) if refused.cause in _MISSING else refused
        if at is not None and (not isinstance(answer, dict) or answer.get("block_hash") != at.hash):
            raise ChainAnswerInvalid(f"{self.endpoint.host} answered for another block than {at.height}")
        return answer

    async def _request(self, method: str, params: object) -> Any:  # noqa: ANN401  # JSON
        try:
            return await self.endpoint.request(method, params, timeout_seconds=self._timeout_seconds)
        except RpcRefused as error:
            if error.cause in _MISSING:
                raise _unknown_account(error) from None
            if error.cause == _GONE:
                raise ChainUnavailable(f"{error}: decide again at a newer block") from None
            raise


def _unknown_account(refused: RpcRefused) -> UnknownAccount:
    return UnknownAccount(f"{refused}: check the account id, and that it is on this network")


def _legacy_refusal(message: str) -> RpcRefused:
    """In neard a missing access key, a missing contract and a panic of a view are a `result` that holds `error`."""
    cause = "CONTRACT_EXECUTION_ERROR"
    if message.startswith("access key ") and "does not exist" in message:
        cause = _NO_KEY
    elif message.startswith("wasm execution failed with error: CompilationError(CodeDoesNotExist"):
        cause = _NO_CODE
    return RpcRefused(message, cause=cause, info=None, data=message)


def _decode_block(header: object) -> BlockRef:
    stamp = text(header, "timestamp_nanosec")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 20):  # noqa: PLR2004  # digits of a u64
        raise DecodeError("field 'timestamp_nanosec' is not a number of nanoseconds")
    return BlockRef(height=integer(header, "height"), hash=_block_hash(header, "hash"), timestamp_ns=int(stamp))


def _block_hash(value: object, name: str) -> str:
    found = text(value, name)
    try:
        raw = base58.b58decode(found) if len(found) <= 2 * _HASH_BYTES else b""
    except ValueError:
        raw = b""
    if len(raw) != _HASH_BYTES:
        raise DecodeError(f"field {name!r} is not a block hash")
    return found


def _byte_array(value: object, name: str) -> bytes:
    found = field(value, name)
    if isinstance(found, bytes):
        return found
    if not isinstance(found, list):
        raise DecodeError(f"field {name!r} is not an array of bytes")
    try:
        return bytes(found)
    except (TypeError, ValueError):
        raise DecodeError(f"field {name!r} is not an array of bytes") from None


def _decode_access_key(value: object) -> AccessKey:
    nonce, permission = integer(value, "nonce"), field(value, "permission")
    if not isinstance(permission, dict) or "FunctionCall" not in permission:
        full = permission == "FullAccess"
        return AccessKey(nonce=nonce, full_access=full, receiver_id=None, methods=())
    restricted = permission["FunctionCall"]
    methods = tuple(str(name) for name in array(restricted, "method_names"))
    return AccessKey(nonce=nonce, full_access=False, receiver_id=text(restricted, "receiver_id"), methods=methods)
