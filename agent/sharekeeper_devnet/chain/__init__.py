"""The dev chain: a single-node NEAR chain that answers clients as neard does.

`DevChain` runs one in this process; `devnet-neard` runs one as a process of its own.

Transactions become receipts, receipts make receipts, data and refunds, each in a later block, as on NEAR. What
differs: one shard and one producer, so no congestion and no missing chunks; the gas price is constant and contracts
earn no part of the gas burnt in them; ids of receipts and data are derived in a way of their own, and blocks carry
no merkle proofs; the random seed is one per block; gas of wasm is within about a third of NEAR's. Not served: Stake,
delegated and global-contract actions, gas keys, and the host functions for
staking, for yields with ids, for refund addresses, and for hashes and curves other than SHA-256 and Ed25519. Whoever
uses one of these is refused by its name.
"""

from sharekeeper_devnet.chain.devchain import DevChain
from sharekeeper_devnet.chain.genesis import NEAR, Genesis, GenesisAccount, InvalidGenesisError
from sharekeeper_devnet.chain.ledger import GenesisMismatchError
from sharekeeper_devnet.chain.rpc.views import NodeIdentity
from sharekeeper_devnet.chain.store import StoreLockedError

__all__ = [
    "NEAR",
    "DevChain",
    "Genesis",
    "GenesisAccount",
    "GenesisMismatchError",
    "InvalidGenesisError",
    "NodeIdentity",
    "StoreLockedError",
]
