"""`devnet-neard`: the dev chain behind neard's command line.

::

    devnet-neard --home H init --chain-id dev [--account-id ID] [--accounts FILE] [--rpc-addr HOST:PORT]
    devnet-neard --home H run

A chain of one node for development and drills. It speaks NEAR's JSON-RPC and proves nothing about consensus.
"""

import asyncio
import logging
import signal
import sys
import time
from pathlib import Path

import click

from sharekeeper_devnet.chain import (
    NEAR,
    DevChain,
    Genesis,
    GenesisAccount,
    GenesisMismatchError,
    InvalidGenesisError,
    StoreLockedError,
)
from sharekeeper_devnet.chain.devchain import DEFAULT_BLOCK_TIME_MS
from sharekeeper_devnet.chain.genesis import decode_accounts
from sharekeeper_devnet.chain.home import (
    DATA,
    GENESIS,
    MIN_BLOCK_TIME_MS,
    NODE_KEY,
    VALIDATOR_KEY,
    Home,
    InvalidHomeError,
    NodeConfig,
    ensure_key,
    is_initialised,
    parse_address,
    read_genesis,
    read_home,
    write_home,
)
from sharekeeper_devnet.chain.primitives import is_account_id
from sharekeeper_devnet.runtime import use_disk_cache

logger = logging.getLogger("sharekeeper_devnet")

VALIDATOR_BALANCE = 10**9 * NEAR
PUBLIC_CHAINS = frozenset({"mainnet", "testnet"})
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _address(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[str, int] | None:
    """Host and port of an option that may be absent."""
    try:
        return None if text is None else parse_address(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _account_id(_context: click.Context, _option: click.Parameter, text: str) -> str:
    if not is_account_id(text):
        raise click.BadParameter(f"{text!r} is no account id")
    return text


@click.group()
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: Path.home() / ".near",
    show_default="~/.near",
    help="Directory of the node's files and data.",
)
@click.pass_context
def main(context: click.Context, home: Path) -> None:
    """A single-node NEAR chain for development and drills, with neard's command line."""
    context.obj = home.absolute()


@main.command()
@click.option("--chain-id", required=True, help="Name of the chain; never that of a public one.")
@click.option(
    "--account-id",
    default="test.near",
    show_default=True,
    callback=_account_id,
    help="Account of the node; a new genesis gives it 10^9 NEAR.",
)
@click.option("--genesis", "genesis_file", type=_FILE, help="Start from this genesis.json instead of a new one.")
@click.option("--accounts", "accounts_file", type=_FILE, help="JSON list of {account_id, public_key, balance}.")
@click.option(
    "--rpc-addr", default="127.0.0.1:3030", show_default=True, callback=_address, help="Address the RPC listens on."
)
@click.option(
    "--block-time-ms",
    default=DEFAULT_BLOCK_TIME_MS,
    show_default=True,
    type=click.IntRange(min=MIN_BLOCK_TIME_MS),
    help="Milliseconds between blocks.",
)
@click.pass_obj
def init(
    home: Path,
    *,
    chain_id: str,
    account_id: str,
    genesis_file: Path | None,
    accounts_file: Path | None,
    rpc_addr: tuple[str, int],
    block_time_ms: int,
) -> None:
    """Make the files of a node; a home that has them is left as it is."""
    if is_initialised(home):
        _confirm(home, chain_id)
        return
    if chain_id in PUBLIC_CHAINS:
        raise click.UsageError(f"{chain_id} is a public chain; a dev chain must not pass for it")
    if genesis_file is not None and accounts_file is not None:
        raise click.UsageError("--accounts makes a new genesis, --genesis takes one that is there: give one of them")
    config = NodeConfig(host=rpc_addr[0], port=rpc_addr[1], block_time_ms=block_time_ms)
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        ensure_key(home / NODE_KEY, "")
        validator_key = ensure_key(home / VALIDATOR_KEY, account_id)
        if genesis_file is None:
            genesis = _new_genesis(chain_id, account_id, str(validator_key), accounts_file)
        else:
            genesis = _given_genesis(chain_id, genesis_file)
        write_home(home, config, genesis)
    except (InvalidGenesisError, InvalidHomeError, OSError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"made the home of a {chain_id} node in {home}")


def _new_genesis(chain_id: str, account_id: str, public_key: str, accounts_file: Path | None) -> Genesis:
    validator = GenesisAccount.with_full_access_key(account_id, public_key, VALIDATOR_BALANCE)
    accounts = () if accounts_file is None else decode_accounts(accounts_file.read_text())
    return Genesis(chain_id=chain_id, genesis_time_ns=time.time_ns(), accounts=(validator, *accounts))


def _given_genesis(chain_id: str, path: Path) -> Genesis:
    genesis = read_genesis(path)
    if genesis.chain_id != chain_id:
        raise InvalidHomeError(f"{path} is the genesis of {genesis.chain_id}, not of {chain_id}")
    return genesis


def _confirm(home: Path, chain_id: str) -> None:
    """Says that the home is there, or fails when it belongs to another chain."""
    try:
        found = read_genesis(home / GENESIS).chain_id
    except InvalidHomeError as error:
        raise click.ClickException(str(error)) from None
    if found != chain_id:
        raise click.ClickException(f"{home} is the home of a {found} node; choose another --home")
    click.echo(f"{home} is the home of a {chain_id} node already; nothing was changed")


@main.command()
@click.option("--rpc-addr", callback=_address, help="Address the RPC listens on, instead of config.json's.")
@click.pass_obj
def run(home: Path, *, rpc_addr: tuple[str, int] | None) -> None:
    """Run the node until SIGINT or SIGTERM."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        node = read_home(home)
    except InvalidHomeError as error:
        raise click.ClickException(str(error)) from None
    host, port = rpc_addr or (node.config.host, node.config.port)
    try:
        asyncio.run(_run(home, node, host, port))
    except (StoreLockedError, GenesisMismatchError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot run on {host}:{port} and {home}: {error}") from None


async def _run(home: Path, node: Home, host: str, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    compiled = home / DATA / "compiled"
    compiled.mkdir(parents=True, exist_ok=True, mode=0o700)
    use_disk_cache(compiled)
    chain = DevChain(
        home / DATA,
        node.genesis,
        block_time_ms=node.config.block_time_ms,
        host=host,
        port=port,
        polling_timeout_s=node.config.polling_timeout_s,
        identity=node.identity,
    )
    async with chain:
        logger.info(
            "chain %s at height %d, a block every %d ms, RPC on %s",
            node.genesis.chain_id,
            chain.tip.head.height,
            node.config.block_time_ms,
            chain.rpc_url,
        )
        await stopped.wait()
        logger.info("stopping at height %d", chain.tip.head.height)


if __name__ == "__main__":
    main()
