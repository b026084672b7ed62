"""Finding the block a question is about."""

from sharekeeper_devnet.chain.block import Block
from sharekeeper_devnet.chain.ledger import Finality, Ledger, epoch_height
from sharekeeper_devnet.chain.primitives import hash_text
from sharekeeper_devnet.chain.rpc import errors
from sharekeeper_devnet.chain.rpc.params import BlockReference, ByHash, ByHeight, Earliest

EPOCHS_OF_STATE = 5
"""How many epochs back state can be asked for, the newest final block's included: a node's `gc_num_epochs_to_keep`."""


def find_block(ledger: Ledger, reference: BlockReference) -> Block:
    """The block `reference` names.

    Raises:
        RpcError: UNKNOWN_BLOCK.
    """
    found = lookup(ledger, reference)
    if found is None:
        raise errors.unknown_block(_text(reference))
    return found


def find_state(ledger: Ledger, reference: BlockReference) -> Block:
    """The block `reference` names, whose state the node has.

    Raises:
        RpcError: UNKNOWN_BLOCK, which names the reference; GARBAGE_COLLECTED_BLOCK, for an older state.
    """
    found = lookup(ledger, reference)
    if found is None:
        raise errors.unknown_block(_text(reference), {"block_id": _block_id(reference)})
    if epoch_height(ledger.tip.final.height) - epoch_height(found.height) >= EPOCHS_OF_STATE:
        raise errors.garbage_collected_block(found)
    return found


def lookup(ledger: Ledger, reference: BlockReference) -> Block | None:
    """The block `reference` names, None when there is none."""
    match reference:
        case Finality():
            return ledger.tip.block(reference)
        case Earliest():
            return ledger.earliest
        case ByHeight(height=height):
            return ledger.store.block_by_height(height)
        case ByHash(digest=digest):
            return ledger.store.block_by_hash(digest)


def _block_id(reference: BlockReference) -> object:
    match reference:
        case ByHeight(height=height):
            return height
        case ByHash(digest=digest):
            return hash_text(digest)
        case _:
            return None


def _text(reference: BlockReference) -> str:
    kind = "BLOCK HEIGHT" if isinstance(reference, ByHeight) else "BLOCK"
    return f"{kind}: {_block_id(reference)}"
