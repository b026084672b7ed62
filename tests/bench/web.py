"""Version 2 against version 1: blocks, milliseconds, many domains, many clients, memory."""

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

from aiohttp import web as aiohttp_web

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.tls_channel import connect
from sharekeeper.adapters.vault import AgeVault
from sharekeeper.adapters.web_client import WebClient
from sharekeeper.adapters.web_server import WebServer
from sharekeeper.backup_service.exchanges import Exchanges
from sharekeeper.backup_service.web_exchanges import WebExchanges, WebPorts
from sharekeeper.crypto.sealing import recipient_of
from sharekeeper.domain.ephemeral import EphemeralKeys, ExchangeId
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import PeerNotAuthenticated
from sharekeeper.protocol.messages import KeyShares
from sharekeeper.protocol.monitoring import FetchShares
from sharekeeper.protocol.session import WebBackupClient, WebBackupServer
from sharekeeper.reconcile import ChainWatch
from sharekeeper.spec import PUBLIC_DATA_PATH
from tests.bench import Row, lifecycle
from tests.bench.transfer import _ours as by_version_1
from tests.integration.world import World, world
from tests.protocol.exchange_values import BACKUP_SERVICE, NODE, facts, keyset, shares_of
from tests.protocol.web_values import HEIGHT, client, published
from tests.protocol.web_values import server as answering

BLOCK_MS = 600
CHAIN_ROUNDS = 5
ROUNDS = {1: 15, 100: 15, 1000: 7, 10_000: 5}
REQUESTS = 300
CLIENTS = (1, 10, 100)
HOST = "127.0.0.1"


async def measure(directory: Path) -> list[Row]:
    rows = await _blocks(directory / "blocks")
    rows += await _recoveries(directory / "recoveries")
    rows += await _many_domains()
    return rows + await _clients()


# --- blocks -----------------------------------------------------------------------------------------


async def _blocks(directory: Path) -> list[Row]:
    """What a backup takes by each version, and how much of version 2 is more than its two transactions."""
    seconds: dict[str, list[float]] = {"p2p": [], "web": [], "transaction": []}
    for version in ("p2p", "web"):
        async with world(
            directory / version, names=("alice",), threshold=1, block_ms=BLOCK_MS, transfer=version
        ) as net:
            await net.with_backup("alice")
            await net["alice"].service.stop()
            for number in range(CHAIN_ROUNDS):
                seconds[version].append(await _fetched(net, directory / f"{version}{number}"))
                if version == "web":
                    seconds["transaction"].append(await _transaction(net))
    p2p, web, transaction = (statistics.mean(values) / (BLOCK_MS / 1e3) for values in seconds.values())
    detail = f"version 1 {p2p * BLOCK_MS:.0f} ms, version 2 {web * BLOCK_MS:.0f} ms, one transaction {transaction:.1f}"
    return [
        Row(what="backup by version 2", value=web, unit="block times", detail=f"blocks of {BLOCK_MS} ms"),
        Row(
            what="ephemeral keys, less inclusion and finality of both records",
            value=web - p2p - 2 * transaction,
            unit="block times",
            bar=1,
            detail=detail,
        ),
    ]


async def _fetched(net: World, directory: Path) -> float:
    """Seconds of one backup into an empty vault, begun at a moment that has nothing to do with blocks."""
    alice, clock = net["alice"], SystemClock()
    keys = alice.service.keys
    vault = AgeVault(
        directory / "vault",
        state_dir=directory / "state",
        network=net.network,
        account_id=alice.account_id,
        recipients=(recipient_of(keys.vault_identity), str(alice.offline.to_public())),
        identity=keys.vault_identity,
        signing_key=keys.vault_signing,
        clock=clock,
    )
    watch = ChainWatch(net.rpc, clock)
    watch.pause_seconds = BLOCK_MS / 1e3
    step = FetchShares(keyset=net.keyset, node=alice.info("old"))
    await asyncio.sleep(BLOCK_MS / 1e3 * int.from_bytes(os.urandom(1)) / 256)
    start = time.perf_counter()
    try:
        await _exchanges(net, vault, watch).fetch(step)
        return time.perf_counter() - start
    finally:
        vault.close()


def _exchanges(net: World, vault: AgeVault, watch: ChainWatch) -> Exchanges | WebExchanges:
    alice, clock = net["alice"], SystemClock()
    keys = alice.service.keys
    if alice.transfer == "p2p":
        return Exchanges(
            account_id=alice.account_id,
            network=net.network,
            tls_key=keys.tls.tls_key,
            vault=vault,
            connect=lambda host, port, peer: connect(host, port, keys.tls, peer),
            node_agent_port=alice.port,
        )
    return WebExchanges(
        account_id=alice.account_id,
        network=net.network,
        vault=vault,
        chain=net.rpc,
        caller=net.caller(alice.account_id, keys.account),
        watch=watch,
        clock=clock,
        ports=WebPorts(web=WebClient(keys.tls, clock), tls=keys.tls, port=alice.port, node_url=None),
    )


async def _transaction(net: World) -> float:
    """Seconds from a decision until the effect of one call of the contract is in a final block."""
    alice = net["alice"]
    keys = alice.service.keys
    refresh = {"backup_service_info": {"public_key": str(keys.tls.tls_key)}}
    await asyncio.sleep(BLOCK_MS / 1e3 * int.from_bytes(os.urandom(1)) / 256)
    start = time.perf_counter()
    await net.caller(alice.account_id, keys.account).call("register_backup_service", refresh)
    return time.perf_counter() - start


async def _recoveries(directory: Path) -> list[Row]:
    """As `lifecycle` measures it; by version 2 two more transactions are needed, those of the records."""
    rows = []
    for version, transactions, bar in (("p2p", 2, 3), ("web", 4, 4)):
        async with world(directory / version, block_ms=BLOCK_MS, transfer=version) as net:
            await net.with_backup("alice")
            need = await lifecycle._transaction_blocks(net)
            await net["alice"].node("old").stop()
            await net.replace("alice")
            entered = await lifecycle._first_height(net, lifecycle.Recovery)
            taken = await lifecycle._first_height(net, lifecycle.Running) - entered
            rows.append(
                Row(
                    what=f"Recovery final -> Running final, less its transactions, {version}",
                    value=taken - transactions * need,
                    unit="blocks",
                    bar=bar,
                    detail=f"{taken} blocks, of which {transactions} transactions of {need:.1f}",
                )
            )
    return rows


# --- many domains -----------------------------------------------------------------------------------


class Node:
    """The node's side without a chain: any exchange that `keys` shows is served."""

    def __init__(self, keys: Keyset) -> None:
        self.keyset, self.shares = keys, shares_of(keys)
        self.exchange = WebBackupServer(**facts(keyset=keys)).exchange
        self.size = 0

    def open(self):
        """A client whose opening record the node has answered, and the keys as the contract shows them."""
        opener = client(self.exchange, exchange_id=ExchangeId(os.urandom(16).hex()))
        self.side = answering(published(opener), self.exchange)
        self.on_chain = EphemeralKeys(backup_service=published(opener), node=published(self.side))
        return opener

    async def expected_peers(self):
        return (BACKUP_SERVICE.tls_key,)

    def admit(self, peer, purpose, exchange_id):
        pass

    async def serve(self, peer, purpose, exchange_id, body):
        bodies = self.side.derive(self.on_chain, HEIGHT)
        frame = WebBackupServer(**facts(keyset=self.keyset)).send_shares(self.shares)
        sealed = bodies.seal(frame, os.urandom(24))
        self.size = len(sealed)
        return sealed


async def _many_domains() -> list[Row]:
    rows, taken = [], {}
    for domains, rounds in ROUNDS.items():
        taken[domains], size = await _by_version_2(domains, rounds)
        before, _ = await by_version_1(domains)
        rows.append(
            Row(
                what=f"backup exchange by version 2 / by version 1, {domains} domains",
                value=taken[domains] / before,
                unit="x",
                detail=f"{taken[domains] * 1e3:.1f} ms against {before * 1e3:.1f} ms, {size} bytes, without the chain",
            )
        )
    growth = taken[10_000] / taken[1000]
    rows.append(
        Row(
            what="10,000 domains in one exchange / 1,000 domains", value=growth, unit="x", bar=15, detail="10 is linear"
        )
    )
    return rows


async def _by_version_2(domains: int, rounds: int) -> tuple[float, int]:
    """Fewest seconds from the answered record to checked shares, and the size of the sealed body."""
    node = Node(keyset(domains=domains))
    server = WebServer(HOST, 0, NODE, node, SystemClock(), pages={})
    await server.start()
    try:
        times = [await _one_fetch(node, f"http://{HOST}:{server.port}") for _ in range(rounds)]
    finally:
        await server.stop()
    return min(times), node.size


async def _one_fetch(node: Node, url: str) -> float:
    opener = node.open()
    web = WebClient(BACKUP_SERVICE, SystemClock())
    start = time.perf_counter()
    bodies = opener.derive(node.on_chain, HEIGHT)
    answer = await web.request(url, Purpose.BACKUP, opener.record.exchange_id, b"", NODE.tls_key)
    event = WebBackupClient(**facts(keyset=node.keyset)).receive(bodies.open(answer))
    seconds = time.perf_counter() - start
    if not isinstance(event, KeyShares):
        raise SystemExit("the node served no shares")
    return seconds


# --- many clients -----------------------------------------------------------------------------------


class Echo:
    """Exchanges that are over at once."""

    async def expected_peers(self):
        return (BACKUP_SERVICE.tls_key,)

    def admit(self, peer, purpose, exchange_id):
        pass

    async def serve(self, peer, purpose, exchange_id, body):
        return b"sealed" + body


async def serve_for_ever() -> None:
    """The endpoint in a process of its own, so that its memory can be measured; prints its port."""

    async def page(_request):
        return aiohttp_web.json_response({})

    server = WebServer(HOST, 0, NODE, Echo(), SystemClock(), pages={PUBLIC_DATA_PATH: page})
    await server.start()
    print(server.port, flush=True)
    await asyncio.Event().wait()


async def _clients() -> list[Row]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.web", stdout=asyncio.subprocess.PIPE
    )
    try:
        url = f"http://{HOST}:{int(await process.stdout.readline())}"
        before = _resident(process.pid)
        rows = [await _throughput(url, number) for number in CLIENTS]
        grown = _resident(process.pid) - before
        detail = f"{before:.0f} MB at rest, after {len(CLIENTS) * REQUESTS} exchanges"
        return [
            *rows,
            Row(what="memory the endpoint takes for 100 clients", value=grown, unit="MB", bar=32, detail=detail),
        ]
    finally:
        process.kill()
        await process.wait()


async def _throughput(url: str, number: int) -> Row:
    """Signed exchanges a second; a node serves eight at a time and tells the others so, and they ask again."""
    left, busy, plain = REQUESTS, 0, time.perf_counter()
    web = WebClient(BACKUP_SERVICE, SystemClock())
    for _ in range(50):
        await web.reach(url)
    plain = 50 / (time.perf_counter() - plain)

    async def one() -> None:
        nonlocal left, busy
        while left > 0:
            left -= 1
            try:
                await web.request(url, Purpose.RECOVERY, ExchangeId("ab" * 16), bytes(4096), NODE.tls_key)
            except PeerNotAuthenticated:
                busy += 1

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(number)))
    taken = time.perf_counter() - start
    return Row(
        what=f"signed exchanges of 4 KB a second, {number} clients",
        value=(REQUESTS - busy) / taken,
        unit="1/s",
        detail=f"{busy} of {REQUESTS} told to come again; unsigned pages by one client {plain:.0f}/s",
    )


def _resident(pid: int) -> float:
    """Resident memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    asyncio.run(serve_for_ever())
