"""What a block changed: the `changes` and `block_effects` methods under their names of today and of before."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.ledger import Ledger
from sharekeeper_devnet.chain.primitives import hash_text
from sharekeeper_devnet.chain.rpc.blocks import find_block
from sharekeeper_devnet.chain.rpc.params import Params, invalid
from sharekeeper_devnet.chain.rpc.views import View, change_view

Question: TypeAlias = Callable[[Ledger], View]

PREFIXES: Mapping[str, Callable[[str], bytes]] = {
    "account_changes": chain_state.account_key,
    "contract_code_changes": chain_state.code_key,
    "all_access_key_changes": chain_state.access_key_prefix,
    "data_changes": chain_state.data_prefix,
}
TOUCHED = {b"a": "account_touched", b"c": "contract_code_touched", b"d": "data_touched", b"k": "access_key_touched"}
"""Kind of a change by the first byte of its key."""


def changes(params: Params) -> Question:
    """State changes of some accounts in one block, with their values and causes.

    Raises:
        RpcError: the request is malformed.
    """
    watched = _watched(params)
    reference = params.block_reference()

    def ask(ledger: Ledger) -> View:
        block = find_block(ledger, reference)
        found = [
            change_view(change, account_id)
            for account_id, prefix in watched
            for change in ledger.store.changes_in(block.height, prefix)
        ]
        return {"block_hash": hash_text(block.hash), "changes": found}

    return ask


def _watched(params: Params) -> list[tuple[str, bytes]]:
    """Account ids, each with the prefix of the keys asked about."""
    kind = params.text("changes_type")
    if kind == "single_access_key_changes":
        return [(each, chain_state.access_key_key(each, key)) for each, key in params.account_keys("keys")]
    prefix_of = PREFIXES.get(kind)
    if prefix_of is None:
        raise invalid(f"the dev chain does not serve changes of type `{kind[:40]}`")
    data_prefix = params.base64("key_prefix_base64") if kind == "data_changes" else b""
    return [(each, prefix_of(each) + data_prefix) for each in params.account_ids("account_ids")]


def block_effects(params: Params) -> Question:
    """Which accounts one block touched, and in what.

    Raises:
        RpcError: the request is malformed.
    """
    reference = params.block_reference()

    def ask(ledger: Ledger) -> View:
        block = find_block(ledger, reference)
        keys = [change.key.split(b":", 2) for change in ledger.store.changes_in(block.height, b"")]
        touched = sorted({(TOUCHED[key[0]], key[1].decode()) for key in keys if key[0] in TOUCHED})
        found = [{"type": kind, "account_id": account_id} for kind, account_id in touched]
        return {"block_hash": hash_text(block.hash), "changes": found}

    return ask
