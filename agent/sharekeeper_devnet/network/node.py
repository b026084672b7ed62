"""The process of the reference MPC node: `devnet-mpc-node run --config FILE`."""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.errors import SharekeeperError
from sharekeeper.keys import load_node_keys
from sharekeeper.ops.logs import configure_logs
from sharekeeper_devnet.network.config import MpcNodeConfig, load_mpc_node
from sharekeeper_devnet.network.mpc_node import MpcNode


async def run_node(config: MpcNodeConfig) -> NoReturn:
    """Runs the node until cancelled, then ends it in good order. Raises `KeysMissing`, `AddressInUse`."""
    clock = SystemClock()
    near = config.near
    keys = load_node_keys(config.keys_dir)
    async with NearRpc(
        url=near.rpc_url,
        contract_id=near.contract_id,
        chain_id=near.chain_id,
        genesis_hash=near.genesis_hash,
        clock=clock,
    ) as rpc:
        node = MpcNode(config=config, tls_key=keys.tls, account_key=keys.account, rpc=rpc, clock=clock)
        try:
            await node.start()
            await node.run()
        finally:
            await node.stop()


@click.group()
def main() -> None:
    """Small MPC node with real threshold keys, for rehearsal only."""


@main.command()
@click.option("--config", "path", required=True, type=click.Path(path_type=Path), help="The node's TOML file.")
def run(path: Path) -> None:
    """Run the node until SIGTERM or SIGINT."""
    configure_logs(as_json=False)
    try:
        asyncio.run(_run_until_signal(load_mpc_node(path)))
    except SharekeeperError as error:
        click.echo(f"devnet-mpc-node: {error}", err=True)
        sys.exit(error.exit_status)


async def _run_until_signal(config: MpcNodeConfig) -> None:
    node = asyncio.ensure_future(run_node(config))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, node.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await node


if __name__ == "__main__":
    main()
