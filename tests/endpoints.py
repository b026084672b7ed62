"""NEAR endpoints on real sockets in front of a dev chain: honest, or hostile in one of many ways.

A mode is a function of request and honest answer. It may change the answer, wait, or return bytes that are no answer.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import base58
from aiohttp import web

FLAP_SECONDS = 0.4
Answer = dict[str, Any] | bytes
Mode = Callable[["Endpoint", dict[str, Any], dict[str, Any]], Answer | Awaitable[Answer]]


class Endpoint:
    """One endpoint; `mode` may be changed at any time. Counts requests by method."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.mode: Mode = honest
        self.calls: list[str] = []
        self.url = ""

    async def ask(self, method: str, params: Any) -> Any:
        """The honest answer's result, None if it is an error."""
        body = {"jsonrpc": "2.0", "id": 0, "method": method, "params": params}
        async with self._http.post(self.target, json=body) as answer:
            return (await answer.json()).get("result")

    async def _serve(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.calls.append(asked["method"])
        async with self._http.post(self.target, json=asked) as answer:
            status, honestly = answer.status, await answer.json()
        told = self.mode(self, asked, honestly)
        if not isinstance(told, dict | bytes):
            told = await told
        if isinstance(told, bytes):
            return web.Response(body=told, content_type="text/html")
        return web.json_response(told, status=status)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Endpoint"]:
        app = web.Application()
        app.router.add_post("/", self._serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        async with aiohttp.ClientSession() as self._http:
            await site.start()
            self.url = "http://{}:{}".format(*runner.addresses[0])
            try:
                yield self
            finally:
                await runner.cleanup()


@contextlib.asynccontextmanager
async def endpoints(target: str, *names: str) -> AsyncIterator[dict[str, Endpoint]]:
    """Honest endpoints in front of `target`."""
    async with contextlib.AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(Endpoint(target).running()) for name in names}


# --- modes --------------------------------------------------------------------------------------


def honest(endpoint, asked, answer):
    return answer


def is_view(asked, method=None):
    params = asked["params"] if isinstance(asked["params"], dict) else {}
    return (
        asked["method"] == "query" and params.get("method_name") is not None and method in (None, params["method_name"])
    )


def lies(change: Callable[[Any], Any], method: str = "state") -> Mode:
    """Shows another state at every block: `change` of the true one. Blocks are the true ones."""

    def mode(endpoint, asked, answer):
        if is_view(asked, method) and "result" in answer.get("result", {}):
            shown = json.dumps(change(json.loads(bytes(answer["result"]["result"])))).encode()
            answer["result"]["result"] = list(shown)
        return answer

    return mode


def forks(endpoint, asked, answer):
    """Follows another chain: every block hash is another one, and it knows the state at its own."""
    if asked["method"] == "block" and "result" in answer:
        answer["result"]["header"]["hash"] = other(answer["result"]["header"]["hash"])
        return answer
    if is_view(asked) and "block_id" in asked["params"]:
        return _asked_anew(endpoint, asked)
    return answer


async def _asked_anew(endpoint, asked):
    """The view at the true block, said to be at the endpoint's own."""
    named = asked["params"]["block_id"]
    found = await endpoint.ask("query", asked["params"] | {"block_id": other(named)})
    return unknown_block(asked) if found is None else answered(asked, found | {"block_hash": named})


def answered(asked, result):
    return {"jsonrpc": "2.0", "id": asked["id"], "result": result}


def unknown_block(asked):
    error = {"name": "HANDLER_ERROR", "cause": {"name": "UNKNOWN_BLOCK", "info": {}}, "code": -32000}
    return {"jsonrpc": "2.0", "id": asked["id"], "error": error}


def other(block_hash: str) -> str:
    """Another hash, and its other is the first."""
    return base58.b58encode(bytes(byte ^ 0x55 for byte in base58.b58decode(block_hash))).decode()


def lags(blocks: int) -> Mode:
    """Stands still `blocks` behind from its first answer on, and knows no later block."""
    stopped: dict[int, int] = {}

    async def mode(endpoint, asked, answer):
        if asked["method"] != "block" or "result" not in answer:
            return answer
        height = answer["result"]["header"]["height"]
        last = stopped.setdefault(0, height - blocks)
        if asked["params"] == {"finality": "final"}:
            return answer | {"result": await endpoint.ask("block", {"block_id": last})}
        if height > last:
            return unknown_block(asked)
        return answer

    return mode


def flaps(hostile: Mode) -> Mode:
    """`hostile` and honest in turn, for a moment each."""

    def mode(endpoint, asked, answer):
        turn = int(time.monotonic() / FLAP_SECONDS) % 2
        return hostile(endpoint, asked, answer) if turn else answer

    return mode


async def hangs(endpoint, asked, answer):
    await asyncio.sleep(3600)


def dawdles(seconds: float) -> Mode:
    """Answers everything truly, each time that much later."""

    async def mode(endpoint, asked, answer):
        await asyncio.sleep(seconds)
        return answer

    return mode


def garbage(endpoint, asked, answer):
    return b"<html>welcome</html>"


def other_network(endpoint, asked, answer):
    """Another chain altogether: another genesis block, other blocks."""
    if asked["method"] == "status":
        answer["result"] |= {"chain_id": "elsewhere", "genesis_hash": other(answer["result"]["genesis_hash"])}
        return answer
    return forks(endpoint, asked, answer)
