"""The dev chain: a single-node NEAR chain that answers clients as neard does.

`DevChain` runs one in this process; `devnet-neard` runs one as a process of its own.
"""
