"""Questions about state at one block: accounts, access keys, contract code, data and view calls."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.block import Block
from sharekeeper_devnet.chain.ledger import Ledger
from sharekeeper_devnet.chain.primitives import ZERO_HASH, hash_text
from sharekeeper_devnet.chain.rpc import errors
from sharekeeper_devnet.chain.rpc.params import Params, invalid
from sharekeeper_devnet.chain.rpc.views import View, access_key_view, account_view, at_view, base64_text
from sharekeeper_devnet.chain.state import Account

Question: TypeAlias = Callable[[Ledger, Block], View]

VIEW_STATE_LIMIT_BYTES = 50_000


def parse(params: Params) -> Question:
    """What a `query` asks, ready to be answered at a block.

    Raises:
        RpcError: the request is malformed.
    """
    kind = params.text("request_type")
    parser = PARSERS.get(kind)
    if parser is None:
        raise invalid(f"the dev chain does not serve queries of type `{kind[:40]}`")
    return parser(params)


def _account(ledger: Ledger, block: Block, account_id: str) -> Account:
    account = chain_state.read_account(ledger.state_at(block), account_id)
    if account is None:
        raise errors.unknown_account(account_id, block)
    return account


def _view_account(params: Params) -> Question:
    account_id = params.account_id("account_id")
    return lambda ledger, block: {**account_view(_account(ledger, block, account_id)), **at_view(block)}


def _view_access_key(params: Params) -> Question:
    account_id, public_key = params.account_id("account_id"), params.public_key("public_key")

    def answer(ledger: Ledger, block: Block) -> View:
        key = chain_state.read_access_key(ledger.state_at(block), account_id, public_key)
        if key is None:
            raise errors.unknown_access_key(public_key, block)
        return {**access_key_view(key), **at_view(block)}

    return answer


def _view_access_key_list(params: Params) -> Question:
    account_id = params.account_id("account_id")

    def answer(ledger: Ledger, block: Block) -> View:
        _account(ledger, block, account_id)
        found = chain_state.access_keys(ledger.state_at(block), account_id)
        keys = [{"public_key": str(public_key), "access_key": access_key_view(key)} for public_key, key in found]
        return {"keys": keys, **at_view(block)}

    return answer


def _view_code(params: Params) -> Question:
    account_id = params.account_id("account_id")

    def answer(ledger: Ledger, block: Block) -> View:
        account = _account(ledger, block, account_id)
        if account.code_hash == ZERO_HASH:
            raise errors.no_contract_code(account_id, block)
        code = ledger.state_at(block).get(chain_state.code_key(account_id)) or b""
        return {"code_base64": base64_text(code), "hash": hash_text(account.code_hash), **at_view(block)}

    return answer


def _view_state(params: Params) -> Question:
    account_id, prefix = params.account_id("account_id"), params.base64("prefix_base64")

    def answer(ledger: Ledger, block: Block) -> View:
        _account(ledger, block, account_id)
        whole = chain_state.data_prefix(account_id)
        found = [(key[len(whole) :], value) for key, value in ledger.state_at(block).scan(whole)]
        if sum(len(key) + len(value) for key, value in found) > VIEW_STATE_LIMIT_BYTES:
            raise errors.too_large_contract_state(account_id, block)
        values = [
            {"key": base64_text(key), "value": base64_text(value)} for key, value in found if key.startswith(prefix)
        ]
        return {"values": values, "proof": [], **at_view(block)}

    return answer


def _call_function(params: Params) -> Question:
    account_id, method_name = params.account_id("account_id"), params.text("method_name")
    args = params.base64("args_base64")

    def answer(ledger: Ledger, block: Block) -> View:
        _account(ledger, block, account_id)
        outcome = ledger.view(block, account_id, method_name, args)
        if outcome is None:
            raise errors.nothing_to_call(account_id, block)
        if outcome.failure is not None:
            raise errors.contract_execution_error(outcome.failure, outcome.logs, block)
        return {"result": outcome.return_value, "logs": list(outcome.logs), **at_view(block)}

    return answer


PARSERS: Mapping[str, Callable[[Params], Question]] = {
    "view_account": _view_account,
    "view_access_key": _view_access_key,
    "view_access_key_list": _view_access_key_list,
    "view_code": _view_code,
    "view_state": _view_state,
    "call_function": _call_function,
}
"""Readers of what a query asks, by its `request_type`; `EXPERIMENTAL_<request_type>` is a method of its own."""
