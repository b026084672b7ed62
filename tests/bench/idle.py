"""The backup service at rest: memory, processor, RPC calls per block, as its own process."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.bench import Row
from tests.integration.world import World, world

BLOCK_MS = 600
REST_SECONDS = 20
TICKS = os.sysconf("SC_CLK_TCK")


class CountingRelay:
    """Passes requests on to the chain and counts them."""

    def __init__(self, target: str) -> None:
        self.target, self.calls = target, 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/", self._pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        async with aiohttp.ClientSession() as self._http:
            await site.start()
            try:
                yield "http://{}:{}".format(*runner.addresses[0])
            finally:
                await runner.cleanup()

    async def _pass_on(self, request: web.Request) -> web.Response:
        self.calls += 1
        async with self._http.post(self.target, data=await request.read()) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")


async def measure(directory: Path) -> list[Row]:
    async with world(directory / "idle", domains=3, block_ms=BLOCK_MS) as network, contextlib.AsyncExitStack() as stack:
        alice, relay = network["alice"], CountingRelay(network.chain.rpc_url)
        alice.rpc_url = await stack.enter_async_context(relay.running())
        await network.grant("alice", alice.service)
        alice.node("old").start()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sharekeeper.cli.main", "backup-service", "run", "--config", str(alice.service.config_path),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            await network.until_healthy(alice.service)
            await alice.node("old").stop()
            return await _rest(network, relay, process.pid)
        finally:
            process.terminate()
            await process.wait()


async def _rest(network: World, relay: CountingRelay, pid: int) -> list[Row]:
    await asyncio.sleep(2)
    calls, cpu, height = relay.calls, _cpu_seconds(pid), (await network.rpc.head()).height
    await asyncio.sleep(REST_SECONDS)
    blocks = (await network.rpc.head()).height - height
    share = 100 * (_cpu_seconds(pid) - cpu) / REST_SECONDS
    asked = (relay.calls - calls) / blocks
    rss = _rss_megabytes(pid)
    return [
        Row(what="idle backup service: resident memory", value=rss, unit="MB", bar=80, detail="VmRSS"),
        Row(what="idle backup service: share of one core", value=share, unit="%", bar=1, detail=f"over {REST_SECONDS} s"),
        Row(what="idle backup service: RPC calls", value=asked, unit="per block", bar=2, detail=f"{blocks} blocks of {BLOCK_MS} ms"),
    ]  # fmt: skip


def _rss_megabytes(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1000


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
