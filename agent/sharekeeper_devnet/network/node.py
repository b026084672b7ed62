"""The process of the reference MPC node: `devnet-mpc-node run --config FILE`."""

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.errors import SharekeeperError
from sharekeeper_devnet.network.config import MpcNodeConfig, load_mpc_node
from sharekeeper_devnet.network.key_file import read_key_file
from sharekeeper_devnet.network.mpc_node import MpcNode


async def run_node(config: MpcNodeConfig, stop: asyncio.Event) -> None:
    """The node has run until `stop`, and is at its end. Raises `KeysMissing`, `AddressInUse`."""
    clock = SystemClock()
    near = config.near
    tls_key = read_key_file(config.keys_dir / "tls_key")
    account_key = read_key_file(config.keys_dir / "account_key")
    async with NearRpc(
        url=near.rpc_url,
        contract_id=near.contract_id,
        chain_id=near.chain_id,
        genesis_hash=near.genesis_hash,
        clock=clock,
    ) as rpc:
        node = MpcNode(config=config, tls_key=tls_key, account_key=account_key, rpc=rpc, clock=clock)
        try:
            await node.start()
            await node.run(stop)
        finally:
            await node.stop()


@click.group()
def main() -> None:
    """Small MPC node with real threshold keys, for rehearsal only."""


@main.command()
@click.option("--config", "path", required=True, type=click.Path(path_type=Path), help="The node's TOML file.")
def run(path: Path) -> None:
    """Run the node until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(_run_until_signal(load_mpc_node(path)))
    except SharekeeperError as error:
        click.echo(f"devnet-mpc-node: {error}", err=True)
        sys.exit(error.exit_status)


async def _run_until_signal(config: MpcNodeConfig) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_node(config, stop)


if __name__ == "__main__":
    main()
