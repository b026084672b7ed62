"""Values that configuration files of both launches name, and how they are read from TOML.

The functions take a TOML value and return ours, or raise `ValueError` with the rest of the sentence "name: ...".
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sharekeeper.domain.identity import AccountId
from sharekeeper.protocol.policy import PUBLIC_CHAIN_IDS, PUBLIC_GENESIS_HASHES
from sharekeeper.protocol.quorum import OWN
from sharekeeper.spec import MAINNET_GENESIS_HASH, MAX_URL_BYTES, TESTNET_GENESIS_HASH
from sharekeeper.toml_tables import Table, plain_text

_GENESIS_OF: Final = {"mainnet": MAINNET_GENESIS_HASH, "testnet": TESTNET_GENESIS_HASH}
_MAX_PORT: Final = 65535
_ENDPOINT_NAME: Final = re.compile(r"[a-z0-9._-]{1,32}")


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
class EndpointConfig:
    """A NEAR endpoint beside the own node, by the name that logs and metrics give it."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NearConfig:
    """Which chain, which contract, and the own node, `rpc_url`. `genesis_hash` None: not checked (dev chain).

    `quorum` of the own node and `endpoints` together must agree before the backup service releases shares.
    """

    rpc_url: str
    chain_id: str
    genesis_hash: str | None
    contract_id: AccountId
    endpoints: tuple[EndpointConfig, ...] = ()
    quorum: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorConfig:
    """Commands that start and stop the MPC node; see `adapters/supervisor.py` for what they must do."""

    start: tuple[str, ...]
    stop: tuple[str, ...]
    directory: Path
    """Working directory of both commands: that of the configuration file."""


def is_public(near: NearConfig) -> bool:
    """True for mainnet and testnet, by chain id or by genesis block."""
    return near.chain_id in PUBLIC_CHAIN_IDS or near.genesis_hash in PUBLIC_GENESIS_HASHES


def check_genesis(table: Table, chain_id: str, genesis_hash: str | None) -> None:
    """A public network is named with its own genesis block, or `table` has a mistake."""
    right = _GENESIS_OF.get(chain_id)
    if right is not None and genesis_hash != right:
        table.mistake("genesis_hash", f"{chain_id} has genesis hash {right}; write exactly that")


def outside_endpoints(table: Table, rpc_url: str | None) -> tuple[EndpointConfig, ...]:
    """The array `endpoints` of `table`, beside the own node at `rpc_url`; the same server twice is a mistake."""
    found: list[EndpointConfig] = []
    names, servers = {OWN}, {_server(rpc_url)}
    for entry in table.tables("endpoints"):
        name, url = entry.take("name", endpoint_name), entry.take("url", http_url)
        if name in names:
            entry.mistake("name", f"{name!r} is taken; {OWN!r} is the node at rpc_url")
        if url is not None and _server(url) in servers:
            entry.mistake("url", "has the host and port of another endpoint: asking one server twice proves nothing")
        names.add(name)
        servers.add(_server(url))
        found.append(EndpointConfig(name=name, url=url))
    return tuple(found)


def _server(url: str | None) -> tuple[str | None, int | None] | None:
    if url is None:
        return None
    parts = urlsplit(url)
    return parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


# --- values ------------------------------------------------------------------------------------


def endpoint_name(value: object) -> str:
    text = plain_text(value)
    if not _ENDPOINT_NAME.fullmatch(text):
        raise ValueError("must be 1 to 32 of a-z, 0-9, '.', '_' and '-'")
    return text


def natural(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("must be a whole number, 1 or more")
    return value


def truth(value: object) -> bool:
    if value is not True and value is not False:
        raise ValueError("must be true or false")
    return value


def http_url(value: object) -> str:
    text = plain_text(value)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError('must be a url like "http://127.0.0.1:3030"')  # not quoted: a provider's url may hold a key
    return text


def participant_url(value: object) -> str:
    text = http_url(value)
    if len(text.encode()) > MAX_URL_BYTES:
        raise ValueError(f"must have at most {MAX_URL_BYTES} bytes")
    return text


def base_url(value: object) -> str:
    text = http_url(value).removesuffix("/")
    parts = urlsplit(text)
    if parts.path or parts.query or parts.fragment or parts.username:
        raise ValueError('must be scheme, host and port alone, like "https://node.example": the path is signed')
    return text


def transfer_version(value: object) -> Transfer:
    try:
        return Transfer(plain_text(value))
    except ValueError:
        raise ValueError(f"must be one of {', '.join(Transfer)}") from None


def address(value: object) -> NetAddress:
    """`host:port`. Raises `ValueError`."""
    text = plain_text(value)
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


def port_number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_PORT:
        raise ValueError(f"must be a port in 1..{_MAX_PORT}")
    return value


def seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
        raise ValueError("must be a number of seconds, 0 or more")
    return float(value)
