"""Configuration of the two daemons in soft launch: one TOML file each, every mistake in one message.

Paths are relative to the file. Unknown names are mistakes, with the nearest known name beside them.
Nothing is read but the file itself; what it names is checked by whoever uses it. Both files must say
`unsafe_no_attestation = true`: in soft launch no machine proves what it runs (docs/hard-launch.md).
"""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from sharekeeper.config_values import (
    NearConfig,
    NetAddress,
    SupervisorConfig,
    Transfer,
    address,
    base_url,
    check_genesis,
    http_url,
    is_public,
    loopback_address,
    natural,
    outside_endpoints,
    participant_url,
    port_number,
    seconds,
    transfer_version,
    truth,
)
from sharekeeper.domain.identity import AccountId
from sharekeeper.errors import ConfigInvalid
from sharekeeper.protocol.policy import SOFT_LAUNCH_POLICIES, HandOutPolicy
from sharekeeper.protocol.quorum import majority
from sharekeeper.spec import (
    NODE_AGENT_PORT,
    NODE_WEB_PORT,
    OLD_KEYSET_GRACE_SECONDS,
    SLOTS,
)
from sharekeeper.toml_tables import REQUIRED, ConfigRoot, Table, open_config, plain_text

CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""Set by systemd for units with credentials; it wins over `keys_dir`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupServiceConfig:
    """Everything the backup service is told. Durations in seconds.

    `node_web_url`: base url of the node's web endpoints behind a reverse proxy; None for the host of the
    participant's url and `node_web_port`. `slot`: which of the account's two this service registers in.
    """

    account_id: AccountId
    keys_dir: Path
    near: NearConfig
    vault_dir: Path
    state_dir: Path
    operator_recipient: str
    policy: HandOutPolicy
    transfer: Transfer
    node_agent_port: int
    node_web_port: int
    node_web_url: str | None
    slot: int
    old_keyset_grace_seconds: float
    health_address: NetAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAgentConfig:
    """Everything the node agent is told. `listen`: where the backup service is met, by the configured transfer."""

    account_id: AccountId
    keys_dir: Path
    near: NearConfig
    url: str
    transfer: Transfer
    listen: NetAddress
    keyshares_dir: Path
    state_dir: Path
    health_address: NetAddress
    supervisor: SupervisorConfig


def load_backup_service(path: Path) -> BackupServiceConfig:
    """The backup service's configuration. Raises `ConfigInvalid` with every mistake, one per line."""
    root = open_config(path)
    _admit_unsafe(root)
    common = common_values(root, quorum=True)
    table = root.table("backup_service")
    policy = table.take("policy", _policy, default=HandOutPolicy.APPROVE)
    near = common["near"]
    if policy is HandOutPolicy.AUTOMATIC and near is not None and is_public(near):
        table.mistake("policy", f'"automatic" is refused on {near.chain_id}; use "approve"')
    values = {
        **common,
        "vault_dir": table.take("vault_dir", root.path),
        "state_dir": table.take("state_dir", root.path),
        "operator_recipient": table.take("operator_recipient", _recipient),
        "policy": policy,
        "transfer": table.take("transfer", transfer_version, default=Transfer.P2P),
        "node_agent_port": table.take("node_agent_port", port_number, default=NODE_AGENT_PORT),
        "node_web_port": table.take("node_web_port", port_number, default=NODE_WEB_PORT),
        "node_web_url": table.take("node_web_url", base_url, default=None),
        "slot": table.take("slot", _slot, default=0),
        "old_keyset_grace_seconds": table.take("old_keyset_grace_seconds", seconds, default=OLD_KEYSET_GRACE_SECONDS),
        "health_address": table.take("health_address", loopback_address),
    }
    vault_dir, state_dir = values["vault_dir"], values["state_dir"]
    if vault_dir and state_dir and state_dir.resolve().is_relative_to(vault_dir.resolve()):
        table.mistake(
            "state_dir", "must lie outside vault_dir: whoever restores a vault must not restore its head record"
        )
    root.finish()
    return BackupServiceConfig(**values)


def load_node_agent(path: Path) -> NodeAgentConfig:
    """The node agent's configuration. Raises `ConfigInvalid` with every mistake, one per line."""
    root = open_config(path)
    _admit_unsafe(root)
    common = common_values(root)
    table = root.table("node_agent")
    transfer = table.take("transfer", transfer_version, default=Transfer.P2P)
    listen, web_listen = (
        table.take(name, address, default=REQUIRED if transfer is of else None)
        for name, of in (("listen", Transfer.P2P), ("web_listen", Transfer.WEB))
    )
    values = {
        **common,
        "url": table.take("url", participant_url),
        "transfer": transfer,
        "listen": web_listen if transfer is Transfer.WEB else listen,
        "keyshares_dir": table.take("keyshares_dir", root.path),
        "state_dir": table.take("state_dir", root.path),
        "health_address": table.take("health_address", loopback_address),
    }
    supervisor = table.table("supervisor")
    start, stop = supervisor.take("start", _command), supervisor.take("stop", _command)
    root.finish()
    commands = SupervisorConfig(start=start, stop=stop, directory=root.directory)
    return NodeAgentConfig(**values, supervisor=commands)


def _admit_unsafe(root: ConfigRoot) -> None:
    """The operator has said that nobody attests; the soft launch is entered by no oversight."""
    if root.take("unsafe_no_attestation", truth, default=False) is False:
        root.mistake(
            "unsafe_no_attestation",
            "must be true: in soft launch no machine proves which code gets key shares; write "
            "unsafe_no_attestation = true before the first table, or use the hard launch (docs/hard-launch.md)",
        )


def common_values(root: ConfigRoot, *, quorum: bool = False) -> dict[str, Any]:
    """`account_id`, `keys_dir` and `near`, which every daemon is told; mistakes are collected in `root`.

    `quorum`: this daemon asks more endpoints than the own node.
    """
    credentials = _credentials()
    keys_dir = root.take("keys_dir", root.path, default=credentials or REQUIRED)
    return {
        "account_id": root.take("account_id", AccountId),
        "keys_dir": credentials or keys_dir,
        "near": _near(root.table("near"), quorum=quorum),
    }


def _credentials() -> Path | None:
    named = os.environ.get(CREDENTIALS_VARIABLE)
    return Path(named) if named else None


def _near(table: Table, *, quorum: bool) -> NearConfig | None:
    mistakes_before = len(table.mistakes)
    values = {
        "rpc_url": table.take("rpc_url", http_url),
        "chain_id": table.take("chain_id", plain_text),
        "contract_id": table.take("contract_id", AccountId),
        "genesis_hash": table.take("genesis_hash", plain_text, default=None),
    }
    more = _quorum(table, values["rpc_url"]) if quorum else {}
    if len(table.mistakes) > mistakes_before:
        return None
    near = NearConfig(**values, **more)
    if quorum:
        _check_independence(table, near)
    check_genesis(table, near.chain_id, near.genesis_hash)
    return near


def _quorum(table: Table, rpc_url: str | None) -> dict[str, Any]:
    """`endpoints` and `quorum` of all endpoints, the own node included; the same server twice is a mistake."""
    found = outside_endpoints(table, rpc_url)
    number = len(found) + 1
    quorum = table.take("quorum", natural, default=majority(number))
    if quorum is not None and not majority(number) <= quorum <= number:
        table.mistake("quorum", f"must be {majority(number)}..{number} of {number} endpoints, the own node included")
    return {"endpoints": found, "quorum": quorum}


def _check_independence(table: Table, near: NearConfig) -> None:
    """On a public network one endpoint alone is chosen in so many words, and no stranger on the way may answer."""
    alone = table.take("single_endpoint", truth, default=False)
    if alone and near.endpoints:
        table.mistake("single_endpoint", "contradicts [[near.endpoints]]: remove it")
    if not is_public(near):
        return
    if not alone and not near.endpoints:
        table.mistake(
            "endpoints",
            f"are missing: {near.chain_id} needs NEAR endpoints of others beside rpc_url before key shares are "
            "released; write [[near.endpoints]], or single_endpoint = true if one endpoint shall decide alone",
        )
    for number, endpoint in enumerate(near.endpoints, 1):
        if not endpoint.url.startswith("https://") and not _is_private(urlsplit(endpoint.url).hostname or ""):
            table.mistake(f"endpoints[{number}].url", f"must be https on {near.chain_id}, or a private address")


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


def _slot(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < SLOTS:
        raise ValueError("must be 0 or 1: an account has two slots for backup services")
    return value


def _recipient(value: object) -> str:
    from sharekeeper.crypto.sealing import check_recipients  # noqa: PLC0415  # the node agent seals nothing

    text = plain_text(value)
    try:
        check_recipients((text,))
    except ConfigInvalid:
        raise ValueError(
            'must be an age recipient: "age1..." (from `age-keygen -y`); never write a secret key here'
        ) from None
    return text


def _policy(value: object) -> HandOutPolicy:
    try:
        policy = HandOutPolicy(plain_text(value))
    except ValueError:
        raise ValueError(f"must be one of {', '.join(policy.value for policy in SOFT_LAUNCH_POLICIES)}") from None
    if policy not in SOFT_LAUNCH_POLICIES:
        raise ValueError(f'"{policy}" is for the hard launch, whose image has a configuration of its own')
    return policy


def _command(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        raise ValueError('must be a list of words, like ["systemctl", "start", "mpc-node.service"]')
    return tuple(value)
