"""The HTTP server: JSON-RPC by POST, `/status`, `/health` and `/metrics` by GET."""

import json
import logging
import secrets
from functools import lru_cache
from http import HTTPStatus

from aiohttp import web

from sharekeeper_devnet.chain.rpc import errors
from sharekeeper_devnet.chain.rpc.errors import RpcError
from sharekeeper_devnet.chain.rpc.methods import Methods
from sharekeeper_devnet.chain.rpc.params import Params

logger = logging.getLogger("sharekeeper_devnet")

MAX_BODY_BYTES = 10 * 2**20
_PLACE = secrets.token_hex(16)
"""Stands for an array that is written afterwards; no client knows it."""


class Server:
    """Serves `methods` on one address."""

    def __init__(self, methods: Methods) -> None:
        self._methods = methods
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/", self._post)
        app.router.add_get("/status", self._get_status)
        app.router.add_get("/health", self._get_health)
        app.router.add_get("/metrics", self._get_metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> int:
        """Listens on `host` and `port` only (0: any free port); returns the port.

        Raises:
            OSError: the address cannot be bound.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Listens no more."""
        await self._runner.cleanup()

    async def _post(self, request: web.Request) -> web.Response:
        request_id: object = None
        try:
            envelope = await _read_envelope(request)
            request_id = envelope.get("id")
            result = await self._methods.call(_method_name(envelope), envelope.get("params"))
        except RpcError as error:
            return _answer(error.http_status, {"jsonrpc": "2.0", "error": error.body, "id": request_id})
        except Exception:
            logger.exception("a request failed")
            failure = errors.internal_error("the node failed to answer; its log says why")
            return _answer(failure.http_status, {"jsonrpc": "2.0", "error": failure.body, "id": request_id})
        return _answer(HTTPStatus.OK, {"jsonrpc": "2.0", "result": result, "id": request_id})

    async def _get_status(self, _request: web.Request) -> web.Response:
        return _answer(HTTPStatus.OK, await self._methods.status(Params(None)))

    async def _get_health(self, _request: web.Request) -> web.Response:
        return web.Response(status=HTTPStatus.OK if self._methods.is_healthy else HTTPStatus.INTERNAL_SERVER_ERROR)

    async def _get_metrics(self, _request: web.Request) -> web.Response:
        head, final = self._methods.head_heights
        text = (
            "# HELP near_block_height_head Height of the current head of the blockchain\n"
            "# TYPE near_block_height_head gauge\n"
            f"near_block_height_head {head}\n"
            "# HELP near_final_block_height Height of the newest final block\n"
            "# TYPE near_final_block_height gauge\n"
            f"near_final_block_height {final}\n"
            "# HELP near_sync_status Whether the node is syncing: 0 says it is not\n"
            "# TYPE near_sync_status gauge\n"
            "near_sync_status 0\n"
        )
        return web.Response(text=text, content_type="text/plain", charset="utf-8")


async def _read_envelope(request: web.Request) -> dict[str, object]:
    try:
        body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        message = f"a request has at most {MAX_BODY_BYTES} bytes"
        raise errors.parse_error(message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE) from None
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        raise errors.parse_error("the request is not JSON") from None
    if isinstance(envelope, list):
        raise errors.parse_error("batches are not served; send one request at a time")
    if not isinstance(envelope, dict) or envelope.get("jsonrpc") != "2.0":
        raise errors.parse_error('a request is an object with "jsonrpc": "2.0"')
    return envelope


def _method_name(envelope: dict[str, object]) -> str:
    method = envelope.get("method")
    if not isinstance(method, str):
        raise errors.parse_error("a request names its method as a string")
    return method


def _answer(status: HTTPStatus, body: object) -> web.Response:
    return web.Response(status=status, body=encode(body), content_type="application/json", charset="utf-8")


def encode(body: object) -> bytes:
    """JSON, with each `bytes` in `body` as an array of numbers."""
    arrays: list[bytes] = []

    def later(value: object) -> str:
        if not isinstance(value, bytes):
            raise TypeError(f"{type(value).__name__} is not JSON")
        arrays.append(value)
        return _PLACE

    pieces = json.dumps(body, default=later).encode().split(json.dumps(_PLACE).encode())
    return pieces[0] + b"".join(_array(data) + rest for data, rest in zip(arrays, pieces[1:], strict=True))


@lru_cache(maxsize=8)
def _array(data: bytes) -> bytes:
    """Most views return in a block what they returned in the one before."""
    return json.dumps(list(data), separators=(",", ":")).encode()
