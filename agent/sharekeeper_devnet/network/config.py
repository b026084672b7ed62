"""Configuration of the reference MPC node: one TOML file, every mistake in one message.

```toml
account_id = "alice.test.near"
keys_dir = "../node-agent/keys"      # tls_key and account_key: the same files as the node agent's
keyshares_dir = "keyshares"
listen = "127.90.0.11:8090"          # node to node; the address of the url on the contract
health_address = "127.0.0.1:9313"
[near]                               # as in the daemons' files
```
"""

from dataclasses import dataclass
from pathlib import Path

from sharekeeper.config import common_values
from sharekeeper.config_values import NearConfig, NetAddress, address, is_public, loopback_address
from sharekeeper.domain.identity import AccountId
from sharekeeper.toml_tables import open_config


@dataclass(frozen=True, slots=True, kw_only=True)
class MpcNodeConfig:
    """Everything the reference node is told."""

    account_id: AccountId
    keys_dir: Path
    near: NearConfig
    keyshares_dir: Path
    listen: NetAddress
    health_address: NetAddress


def load_mpc_node(path: Path) -> MpcNodeConfig:
    """The node's configuration. Raises `ConfigInvalid` with every mistake, one per line."""
    root = open_config(path)
    values = {
        **common_values(root),
        "keyshares_dir": root.take("keyshares_dir", root.path),
        "listen": root.take("listen", address),
        "health_address": root.take("health_address", loopback_address),
    }
    if values["near"] is not None and is_public(values["near"]):
        root.mistake("near.chain_id", "the reference node is for rehearsal only, never for a public network")
    root.finish()
    return MpcNodeConfig(**values)
