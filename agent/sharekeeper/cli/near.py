"""Where a command finds the chain: a daemon's configuration, or options that say the same."""

import functools
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.cli.common import ACCOUNT_ID, FILE
from sharekeeper.config import load_backup_service, load_node_agent
from sharekeeper.config_values import NearConfig
from sharekeeper.domain.identity import AccountId, NetworkId
from sharekeeper.errors import ConfigInvalid
from sharekeeper.ports import Clock
from sharekeeper.spec import RPC_TIMEOUT_SECONDS

_OPTIONS = (
    click.option("--config", "config_path", type=FILE, metavar="FILE", help="A daemon's TOML file; or else:"),
    click.option("--rpc-url", metavar="URL", help="The NEAR endpoint."),
    click.option("--chain-id", metavar="NAME", help="mainnet, testnet or a dev chain's."),
    click.option("--contract-id", type=ACCOUNT_ID, help="The MPC contract's account."),
    click.option("--genesis-hash", metavar="HASH", help="The chain's first block; any if not given."),
)


def near_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options above; passes `near` (a `NearConfig`) and `config_path` (or None)."""

    @functools.wraps(command)
    def wrapped(
        *,
        config_path: Path | None,
        rpc_url: str | None,
        chain_id: str | None,
        contract_id: AccountId | None,
        genesis_hash: str | None,
        **others: Any,  # noqa: ANN401  # the command's own
    ) -> Any:  # noqa: ANN401  # the command's own
        options = {"--rpc-url": rpc_url, "--chain-id": chain_id, "--contract-id": contract_id}
        if config_path is not None:
            if any((*options.values(), genesis_hash)):
                raise click.UsageError("give --config or the chain's own options, not both")
            return command(near=near_of(config_path), config_path=config_path, **others)
        missing = [name for name, value in options.items() if value is None]
        if rpc_url is None or chain_id is None or contract_id is None:
            raise click.UsageError(f"give --config FILE, or {' and '.join(missing)}")
        near = NearConfig(rpc_url=rpc_url, chain_id=chain_id, genesis_hash=genesis_hash, contract_id=contract_id)
        return command(near=near, config_path=None, **others)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def near_of(config_path: Path) -> NearConfig:
    """The chain of a daemon's configuration, whichever daemon it is of. Raises `ConfigInvalid`."""
    return (load_node_agent if is_node_agent(config_path) else load_backup_service)(config_path).near


def is_node_agent(config_path: Path) -> bool:
    """True if the file is the node agent's. Raises `ConfigInvalid` if it is neither's."""
    try:
        tables = tomllib.loads(config_path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"{config_path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigInvalid(f"{config_path} is not TOML: {error}") from None
    if ("node_agent" in tables) == ("backup_service" in tables):
        raise ConfigInvalid(f"{config_path} must have one of the tables [backup_service] and [node_agent]")
    return "node_agent" in tables


def near_rpc(near: NearConfig, clock: Clock, *, timeout_seconds: float = RPC_TIMEOUT_SECONDS) -> NearRpc:
    """A reader of that chain, not connected yet."""
    return NearRpc(
        url=near.rpc_url,
        contract_id=near.contract_id,
        chain_id=near.chain_id,
        genesis_hash=near.genesis_hash,
        clock=clock,
        timeout_seconds=timeout_seconds,
    )


@asynccontextmanager
async def connected(near: NearConfig) -> AsyncIterator[tuple[NearRpc, NetworkId]]:
    """A reader of the chain, after checking that it is the right one. Raises `WrongNetwork`, `ChainUnavailable`."""
    async with near_rpc(near, SystemClock()) as rpc:
        yield rpc, await rpc.network()
