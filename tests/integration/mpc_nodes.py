"""Real reference nodes on the machines of `world.py`: each runs while its node agent wants it to."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sharekeeper.config import NetAddress, load_node_agent
from sharekeeper.domain.identity import AccountId
from sharekeeper_devnet.network import admin
from sharekeeper_devnet.network.config import MpcNodeConfig
from sharekeeper_devnet.network.mpc_node import MpcNode
from sharekeeper_devnet.network.proposing import add_domains_arguments, new_parameters_arguments

from .world import CLOCK, CONTRACT, Daemon, Operator, World

POLL_SECONDS = 0.05


class MpcNodes:
    """Starts and stops the nodes as the supervisors' files say; `broken` ones do not start whatever they say."""

    def __init__(self, net: World) -> None:
        self._net = net
        self._running: dict[Daemon, tuple[MpcNode, asyncio.Task[None]]] = {}
        self.broken: set[Daemon] = set()
        """Machines whose node is dead; their agents believe that it runs."""

    async def follow(self) -> None:
        """Never returns."""
        while True:
            for operator in self._net.operators.values():
                for machine, daemon in list(operator.daemons.items()):
                    if machine != "backup":
                        await self._settle(operator, machine, daemon)
            await asyncio.sleep(POLL_SECONDS)

    async def _settle(self, operator: Operator, machine: str, daemon: Daemon) -> None:
        wanted = daemon not in self.broken and operator.node_runs(machine)
        if wanted and daemon not in self._running:
            await self._start(operator, machine, daemon)
        elif not wanted and daemon in self._running:
            await self._stop(daemon)

    async def _start(self, operator: Operator, machine: str, daemon: Daemon) -> None:
        config = MpcNodeConfig(
            account_id=operator.account_id,
            keys_dir=daemon.directory / "keys",
            near=load_node_agent(daemon.config_path).near,
            keyshares_dir=daemon.directory / "keyshares",
            listen=NetAddress(host=operator.host(machine), port=8090),
            health_address=NetAddress(host="127.0.0.1", port=0),
        )
        keys = daemon.keys
        node = MpcNode(
            config=config,
            tls_key=keys.tls,
            account_key=keys.account,
            rpc=self._net.rpc,
            clock=CLOCK,
            poll_seconds=POLL_SECONDS,
        )
        await node.start()
        self._running[daemon] = (node, asyncio.create_task(node.run()))

    async def _stop(self, daemon: Daemon) -> None:
        node, task = self._running.pop(daemon)
        task.cancel()
        await asyncio.wait({task})
        await node.stop()

    async def stop(self) -> None:
        for daemon in list(self._running):
            await self._stop(daemon)


@asynccontextmanager
async def mpc_nodes(net: World) -> AsyncIterator[MpcNodes]:
    """The nodes run, and their agents decide when."""
    nodes = MpcNodes(net)
    following = asyncio.create_task(nodes.follow())
    try:
        yield nodes
    finally:
        following.cancel()
        await asyncio.wait({following})
        await nodes.stop()
        if not following.cancelled():
            following.result()


# --- what the operators vote for -------------------------------------------------------------------


async def vote(net: World, names: Sequence[str], method: str, args: dict[str, object]) -> None:
    """Those operators vote, each with the own full-access key."""
    for name in names:
        await net.caller(net[name].account_id, net[name].owner).call(method, args)


async def vote_domains(net: World, names: Sequence[str], *protocols: str) -> None:
    await vote(net, names, "vote_add_domains", await add_domains_arguments(net.rpc, protocols, 2))


async def vote_members(net: World, names: Sequence[str], members: Sequence[str], *, threshold: int = 2) -> None:
    accounts: list[AccountId] = [net[name].account_id for name in members]
    await vote(net, names, "vote_new_parameters", await new_parameters_arguments(net.rpc, accounts, threshold, {}))


async def cancel_keygen(net: World, names: Sequence[str]) -> None:
    shown = await net.rpc.view("state", {}, await net.rpc.head())
    next_id = shown["Initializing"]["domains"]["next_domain_id"]
    await vote(net, names, "vote_cancel_keygen", {"next_domain_id": next_id})


async def sign(net: World, message: bytes) -> admin.Signature:
    return await admin.sign(net.rpc, net.caller(CONTRACT, net.owner), CLOCK, message, 200)
