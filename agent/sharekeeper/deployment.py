"""The contract on its account: which code runs there, deploying and initialising it (docs/runbooks/deploy-contract.md)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import base58

from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.transactions import NearCaller, deploy_contract, function_call
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.errors import ChainAnswerInvalid, OperatorFault
from sharekeeper.protocol.codec import DecodeError, array, field, text
from sharekeeper.spec import RPC_TIMEOUT_SECONDS

_NO_CODE: Final = "1" * 32  # base58 of 32 zero bytes
_NOT_INITIALIZED: Final = "NotInitialized"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What runs on the contract's account at one final block.

    `code` is None without a contract; `version` and `state` (the protocol state's name) are then None too.
    Whoever has a key of `full_access_keys` can put other code there.
    """

    height: int
    code: Sha256Hex | None
    version: str | None
    state: str | None
    full_access_keys: tuple[str, ...]


async def deployed(rpc: NearRpc, *, expected: Sha256Hex | None = None) -> Deployed:
    """Code, version, protocol state and full-access keys of the contract's account.

    Raises:
        OperatorFault: it does not run the code with the SHA-256 `expected`.
        ChainFault: as `ChainReader` says; other code may have no such views.
    """
    head = await rpc.head()
    code = await _code(rpc, rpc.contract_id, head)
    if expected not in (None, code):
        runs = "has no contract" if code is None else f"runs the code with SHA-256 {code}"
        raise OperatorFault(f"{rpc.contract_id} {runs}, not {expected}; do not trust it with a key")
    keys = await _full_access_keys(rpc, head)
    if code is None:
        return Deployed(height=head.height, code=None, version=None, state=None, full_access_keys=keys)
    version, state = await rpc.view("version", {}, head), await rpc.view("state", {}, head)
    return Deployed(
        height=head.height, code=code, version=str(version), state=_state_name(state), full_access_keys=keys
    )


async def deploy(rpc: NearRpc, caller: NearCaller, wasm: bytes, init: Mapping[str, Any]) -> bool:
    """The contract account runs `wasm` and is initialised; True if this call changed something.

    `caller` signs as the contract account. Code and `init` are one transaction: both take effect or neither.

    Raises:
        OperatorFault: the account runs other code already.
        ChainFault: see `NearCaller.send_actions`.
    """
    head = await rpc.head()
    wanted = Sha256Hex.of(wasm)
    found = await _code(rpc, caller.account_id, head)
    initialise = function_call("init", init)
    if found is None:
        await caller.send_actions(caller.account_id, [deploy_contract(wasm), initialise])
        return True
    if found != wanted:
        raise OperatorFault(
            f"{caller.account_id} runs other code already (SHA-256 {found}, not {wanted}); start from an account "
            "without a contract"
        )
    if _state_name(await rpc.view("state", {}, head)) != _NOT_INITIALIZED:
        return False
    await caller.send_actions(caller.account_id, [initialise])
    return True


def check_wasm(wasm: bytes, expected: Sha256Hex) -> None:
    """`wasm` is the file that was meant. Raises `OperatorFault`."""
    found = hashlib.sha256(wasm).hexdigest()
    if found != expected:
        raise OperatorFault(
            f"the contract file has SHA-256 {found}, not {expected}; build it again with `make contract-check`"
        )


async def _code(rpc: NearRpc, account_id: AccountId, at: BlockRef) -> Sha256Hex | None:
    answer = await _query(rpc, {"request_type": "view_account", "account_id": account_id}, at)
    try:
        shown = text(answer, "code_hash")
        return None if shown == _NO_CODE else Sha256Hex(base58.b58decode(shown).hex())
    except ValueError as error:
        raise ChainAnswerInvalid(f"account {account_id}: {error}") from None


async def _full_access_keys(rpc: NearRpc, at: BlockRef) -> tuple[str, ...]:
    answer = await _query(rpc, {"request_type": "view_access_key_list", "account_id": rpc.contract_id}, at)
    try:
        entries = array(answer, "keys")
        return tuple(
            text(entry, "public_key")
            for entry in entries
            if field(field(entry, "access_key"), "permission") == "FullAccess"
        )
    except DecodeError as error:
        raise ChainAnswerInvalid(f"access keys of {rpc.contract_id}: {error}") from None


async def _query(rpc: NearRpc, query: Mapping[str, Any], at: BlockRef) -> object:
    question = {"block_id": at.hash, **query}
    return await rpc.endpoint.request("query", question, timeout_seconds=RPC_TIMEOUT_SECONDS)


def _state_name(state: object) -> str:
    if isinstance(state, Mapping) and len(state) == 1:
        return str(next(iter(state)))
    if isinstance(state, str):
        return state
    raise ChainAnswerInvalid("the contract's state is not one protocol state")
