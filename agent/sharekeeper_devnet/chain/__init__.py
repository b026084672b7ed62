"""The dev chain: a single-node NEAR chain that answers clients as neard does.

`DevChain` runs one in this process; `devnet-neard` runs one as a process of its own.
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
