"""dstack's guest agent, as applications in a CVM meet it: JSON over HTTP over a unix socket (dstack 0.5.8).

Bytes are hex. A request is a POST with a JSON object, or a GET with a query; errors are status 400 with
`{"error": ...}`, 404 for an unknown method.
"""

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from cryptography.hazmat.primitives import serialization

from sharekeeper_devnet.tee.certificates import derived_key
from sharekeeper_devnet.tee.guest import Guest
from sharekeeper_devnet.tee.quotes import REPORT_DATA_BYTES

VERSION: Final = "0.5.8"
_ALGORITHMS: Final = frozenset({"", "k256", "secp256k1", "ed25519"})
_BAD_REQUEST: Final = 400
_NOT_FOUND: Final = 404
_SHUTDOWN_SECONDS: Final = 0.2
_SIGNATURE_BYTES: Final = 65


class GuestAgentServer:
    """The guest agents' socket of one CVM. `guest` makes the CVM when it is first asked (its start)."""

    def __init__(self, socket: Path, guest: Callable[[], Guest]) -> None:
        self._socket = socket
        self._guest = guest
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """The socket is there and answers; one that an earlier server left is replaced."""
        application = web.Application()
        methods: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any] | None]] = {
            "GetQuote": self._get_quote,
            "GetKey": self._get_key,
            "GetTlsKey": self._get_tls_key,
            "EmitEvent": self._emit_event,
            "Info": self._info,
            "Version": self._version,
        }
        for name, method in methods.items():
            application.router.add_route("*", f"/{name}", _handler(method))
        application.router.add_route("*", "/{unknown:.*}", _not_found)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await self._runner.setup()
        self._socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, self._socket).start()

    async def stop(self) -> None:
        """The socket is gone."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._socket.unlink(missing_ok=True)

    def _get_quote(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        report_data = _hex(request, "report_data")
        if len(report_data) > REPORT_DATA_BYTES:
            raise ValueError("Report data is too long")
        padded = report_data.ljust(REPORT_DATA_BYTES, b"\0")
        guest = self._guest()
        return {
            "quote": guest.quote(padded).hex(),
            "event_log": json.dumps(guest.event_log()),
            "report_data": padded.hex(),
            "vm_config": _vm_config(guest),
        }

    def _get_key(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        if request.get("algorithm", "") not in _ALGORITHMS:
            raise ValueError("Unsupported algorithm")
        key = self._guest().key(_text(request, "path"))
        return {"key": key.hex(), "signature_chain": [bytes(_SIGNATURE_BYTES).hex()] * 2}

    def _get_tls_key(self, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        key = derived_key(secrets.token_bytes(32), "tls")
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {"key": encoded.decode(), "certificate_chain": []}

    def _emit_event(self, request: Mapping[str, Any]) -> None:
        self._guest().emit(_text(request, "event"), _hex(request, "payload"))

    def _info(self, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        guest = self._guest()
        facts = guest.tcb_info()
        shown = ("device_id", "mr_aggregated", "os_image_hash", "compose_hash")
        return {
            "app_id": guest.app_id.hex(),
            "instance_id": "",
            "app_cert": "",
            "tcb_info": json.dumps(facts, indent=2),
            "app_name": json.loads(guest.app_compose).get("name", ""),
            **{name: facts[name] for name in shown},
            "key_provider_info": guest.shape.key_provider.decode(),
            "vm_config": _vm_config(guest),
        }

    def _version(self, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"version": VERSION, "rev": "TEE host stand-in"}


def _handler(
    method: Callable[[Mapping[str, Any]], Mapping[str, Any] | None],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            answer = method(await _arguments(request))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=_BAD_REQUEST)
        return web.Response() if answer is None else web.json_response(answer)

    return handle


async def _not_found(request: web.Request) -> web.Response:
    return web.json_response({"error": f"Service not found: {request.path[1:]}"}, status=_NOT_FOUND)


async def _arguments(request: web.Request) -> Mapping[str, Any]:
    if request.method == "GET":
        return request.query
    arguments = json.loads(await request.read() or b"{}")
    if not isinstance(arguments, dict):
        raise ValueError("Invalid request: expected an object")  # noqa: TRY004  # the caller's fault, status 400
    return arguments


def _text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f"Invalid request: {name} is no string")  # noqa: TRY004  # the caller's fault, status 400
    return value


def _hex(request: Mapping[str, Any], name: str) -> bytes:
    return bytes.fromhex(_text(request, name))


def _vm_config(guest: Guest) -> str:
    shape = guest.shape
    return json.dumps({"cpu_count": shape.vcpus, "memory_size": shape.memory_gb << 30, "image": shape.image})
