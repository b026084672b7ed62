"""Configuration of the two daemons: one TOML file each, every mistake in one message (docs/architecture.md, bad input).

Paths are relative to the file. Unknown names are mistakes, with the nearest known name beside them.
Nothing is read but the file itself; what it names is checked by whoever uses it.
"""

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from sharekeeper.domain.identity import AccountId
from sharekeeper.errors import ConfigInvalid
from sharekeeper.protocol.policy import PUBLIC_CHAIN_IDS, PUBLIC_GENESIS_HASHES, HandOutPolicy
from sharekeeper.spec import (
    MAINNET_GENESIS_HASH,
    MAX_URL_BYTES,
    NODE_AGENT_PORT,
    NODE_WEB_PORT,
    OLD_KEYSET_GRACE_SECONDS,
    SLOTS,
    TESTNET_GENESIS_HASH,
)

T = TypeVar("T")

CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""Set by systemd for units with credentials; it wins over `keys_dir`."""

_GENESIS_OF: Final = {"mainnet": MAINNET_GENESIS_HASH, "testnet": TESTNET_GENESIS_HASH}
_MAX_PORT: Final = 65535


class Transfer(StrEnum):
    """How key shares travel; both machines of an operator must say the same. Neither side ever falls back."""

    P2P = "p2p"
    WEB = "web"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetAddress:
    """A listening address: an IP address or host name, and a port (0 lets the system choose)."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NearConfig:
    """Which chain, which contract, and the endpoint that serves them. `genesis_hash` None: not checked (dev chain)."""

    rpc_url: str
    chain_id: str
    genesis_hash: str | None
    contract_id: AccountId


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
class SupervisorConfig:
    """Commands that start and stop the MPC node; see `adapters/supervisor.py` for what they must do."""

    start: tuple[str, ...]
    stop: tuple[str, ...]
    directory: Path
    """Working directory of both commands: that of the configuration file."""


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
    common = common_values(root)
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
        "transfer": table.take("transfer", _transfer, default=Transfer.P2P),
        "node_agent_port": table.take("node_agent_port", _port, default=NODE_AGENT_PORT),
        "node_web_port": table.take("node_web_port", _port, default=NODE_WEB_PORT),
        "node_web_url": table.take("node_web_url", _base_url, default=None),
        "slot": table.take("slot", _slot, default=0),
        "old_keyset_grace_seconds": table.take("old_keyset_grace_seconds", _seconds, default=OLD_KEYSET_GRACE_SECONDS),
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
    common = common_values(root)
    table = root.table("node_agent")
    transfer = table.take("transfer", _transfer, default=Transfer.P2P)
    listen, web_listen = (
        table.take(name, address, default=_REQUIRED if transfer is of else None)
        for name, of in (("listen", Transfer.P2P), ("web_listen", Transfer.WEB))
    )
    values = {
        **common,
        "url": table.take("url", _participant_url),
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


def common_values(root: "ConfigRoot") -> dict[str, Any]:
    """`account_id`, `keys_dir` and `near`, which every daemon is told; mistakes are collected in `root`."""
    credentials = _credentials()
    keys_dir = root.take("keys_dir", root.path, default=credentials or _REQUIRED)
    return {
        "account_id": root.take("account_id", AccountId),
        "keys_dir": credentials or keys_dir,
        "near": _near(root.table("near")),
    }


def _credentials() -> Path | None:
    named = os.environ.get(CREDENTIALS_VARIABLE)
    return Path(named) if named else None


def _near(table: "_Table") -> NearConfig | None:
    mistakes_before = len(table.mistakes)
    values = {
        "rpc_url": table.take("rpc_url", _http_url),
        "chain_id": table.take("chain_id", _text),
        "contract_id": table.take("contract_id", AccountId),
        "genesis_hash": table.take("genesis_hash", _text, default=None),
    }
    if len(table.mistakes) > mistakes_before:
        return None
    near = NearConfig(**values)
    right = _GENESIS_OF.get(near.chain_id)
    if right is not None and near.genesis_hash != right:
        table.mistake("genesis_hash", f"{near.chain_id} has genesis hash {right}; write exactly that")
    return near


def is_public(near: NearConfig) -> bool:
    """True for mainnet and testnet, by chain id or by genesis block."""
    return near.chain_id in PUBLIC_CHAIN_IDS or near.genesis_hash in PUBLIC_GENESIS_HASHES


# --- values ------------------------------------------------------------------------------------
# Each takes a TOML value and returns ours, or raises ValueError with the rest of the sentence "name: ...".


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text in quotes")
    return value


def _http_url(value: object) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError('must be a url like "http://127.0.0.1:3030"')  # not quoted: a provider's url may hold a key
    return text


def _participant_url(value: object) -> str:
    text = _http_url(value)
    if len(text.encode()) > MAX_URL_BYTES:
        raise ValueError(f"must have at most {MAX_URL_BYTES} bytes")
    return text


def _base_url(value: object) -> str:
    text = _http_url(value).removesuffix("/")
    parts = urlsplit(text)
    if parts.path or parts.query or parts.fragment or parts.username:
        raise ValueError('must be scheme, host and port alone, like "https://node.example": the path is signed')
    return text


def _transfer(value: object) -> Transfer:
    try:
        return Transfer(_text(value))
    except ValueError:
        raise ValueError(f"must be one of {', '.join(Transfer)}") from None


def address(value: object) -> NetAddress:
    """`host:port`. Raises `ValueError`."""
    text = _text(value)
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > _MAX_PORT:
        raise ValueError(f'must be an address like "127.0.0.1:8079", not {text!r}')
    return NetAddress(host=host.strip("[]"), port=int(port))


def loopback_address(value: object) -> NetAddress:
    """`host:port` on this machine's loopback. Raises `ValueError`."""
    found = address(value)
    if found.host == "localhost":
        return found
    try:
        loopback = ipaddress.ip_address(found.host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ValueError(f"must be an address of this machine's loopback, not {found.host!r}")
    return found


def _port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_PORT:
        raise ValueError(f"must be a port in 1..{_MAX_PORT}")
    return value


def _slot(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < SLOTS:
        raise ValueError("must be 0 or 1: an account has two slots for backup services")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
        raise ValueError("must be a number of seconds, 0 or more")
    return float(value)


def _recipient(value: object) -> str:
    from sharekeeper.crypto.sealing import check_recipients  # noqa: PLC0415  # the node agent seals nothing

    text = _text(value)
    try:
        check_recipients((text,))
    except ConfigInvalid:
        raise ValueError(
            'must be an age recipient: "age1..." (from `age-keygen -y`); never write a secret key here'
        ) from None
    return text


def _policy(value: object) -> HandOutPolicy:
    try:
        return HandOutPolicy(_text(value))
    except ValueError:
        raise ValueError(f"must be one of {', '.join(policy.value for policy in HandOutPolicy)}") from None


def _command(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        raise ValueError('must be a list of words, like ["systemctl", "start", "mpc-node.service"]')
    return tuple(value)


# --- tables -----------------------------------------------------------------------------------

_REQUIRED: Final = object()


class _Table:
    """One TOML table under reading: each name is taken once, what is left over is unknown."""

    def __init__(self, content: Mapping[str, Any], prefix: str, mistakes: list[str]) -> None:
        self._content = content
        self._prefix = prefix
        self._known: list[str] = []
        self._tables: list[_Table] = []
        self.mistakes = mistakes

    def mistake(self, name: str, sentence: str) -> None:
        self.mistakes.append(f"{self._prefix}{name}: {sentence}")

    def take(self, name: str, parse: Callable[[Any], T], *, default: Any = _REQUIRED) -> Any:  # noqa: ANN401
        """The parsed value, the default, or None after noting a mistake (then no configuration is returned)."""
        self._known.append(name)
        if name not in self._content:
            if default is _REQUIRED:
                self.mistake(name, "is missing")
                return None
            return default
        try:
            return parse(self._content[name])
        except (ValueError, TypeError) as error:
            self.mistake(name, str(error))
            return None

    def table(self, name: str) -> "_Table":
        self._known.append(name)
        content = self._content.get(name, {})
        if not isinstance(content, dict):
            self.mistake(name, f"must be a table: write [{self._prefix}{name}]")
            content = {}
        elif name not in self._content:
            self.mistake(name, f"is missing: write [{self._prefix}{name}]")
        inner = _Table(content, f"{self._prefix}{name}.", self.mistakes)
        self._tables.append(inner)
        return inner

    def note_unknown(self) -> None:
        for name in self._content:
            if name not in self._known:
                near = difflib.get_close_matches(name, self._known, n=1)
                self.mistake(name, f"is unknown; did you mean {near[0]!r}?" if near else "is unknown; remove it")
        for inner in self._tables:
            inner.note_unknown()


class ConfigRoot(_Table):
    """A whole configuration file: its tables, and every mistake found so far; `finish` raises them all."""

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        super().__init__(content, "", [])
        self._path = path
        self.directory = path.absolute().parent

    def path(self, value: object) -> Path:
        """A path, relative to the configuration file."""
        return self.directory / _text(value)

    def finish(self) -> None:
        self.note_unknown()
        if self.mistakes:
            lines = "\n".join(f"  {mistake}" for mistake in self.mistakes)
            raise ConfigInvalid(f"{self._path} has {len(self.mistakes)} mistake(s):\n{lines}")


def open_config(path: Path) -> ConfigRoot:
    """The file at `path`, parsed. Raises `ConfigInvalid` if it cannot be read or is not TOML."""
    try:
        return ConfigRoot(path, tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}") from None
