"""Starts and stops the MPC node of a CVM through the container engine beside it (hard launch; docs/hard-launch.md).

The compose file names the service, and the engine labels its container with that name. HTTP over the engine's unix
socket, three calls of its API.
"""

import asyncio
import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from sharekeeper.errors import SupervisorFailed
from sharekeeper.ports import NodeSupervisor
from sharekeeper.protocol.codec import DecodeError, array, parse_json, text

ENGINE_SOCKET: Final = Path("/var/run/docker.sock")
SERVICE: Final = "mpc"
"""The MPC node's service in the compose file."""

ANSWER_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30
"""What the MPC node has to end by itself before it is killed."""

_LABEL: Final = "com.docker.compose.service"
_MAX_ANSWER_BYTES: Final = 1024 * 1024
_OK, _DONE, _UNCHANGED = 200, 204, 304


class ContainerSupervisor(NodeSupervisor):
    """The MPC node as one container. One call at a time."""

    def __init__(self, socket: Path = ENGINE_SOCKET, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._socket = socket
        self._answer_seconds = answer_seconds
        self._lock = asyncio.Lock()

    async def ensure_running(self) -> bool:
        """As the port says."""
        return await self._change("start")

    async def ensure_stopped(self) -> bool:
        """As the port says."""
        return await self._change(f"stop?t={STOP_SECONDS}")

    async def _change(self, verb: str) -> bool:
        async with self._lock:
            status, body = await self._call("POST", f"/containers/{await self._container()}/{verb}")
        if status not in {_DONE, _UNCHANGED}:
            raise SupervisorFailed(f"the container engine refused to {verb} the MPC node: HTTP {status}: {_hint(body)}")
        return status == _DONE

    async def _container(self) -> str:
        """The id of the one container of the service, whether it runs or not."""
        wanted = quote(json.dumps({"label": [f"{_LABEL}={SERVICE}"]}))
        status, body = await self._call("GET", f"/containers/json?all=true&filters={wanted}")
        if status != _OK:
            raise SupervisorFailed(f"the container engine does not list its containers: HTTP {status}: {_hint(body)}")
        try:
            found = [text(each, "Id") for each in array({"containers": parse_json(body)}, "containers")]
        except DecodeError as error:
            raise SupervisorFailed(f"the container engine's list cannot be read: {error}") from None
        if len(found) != 1:
            raise SupervisorFailed(
                f"there are {len(found)} containers of service {SERVICE!r}, not one: the CVM's compose file must have it"
            )
        return quote(found[0], safe="")

    async def _call(self, method: str, target: str) -> tuple[int, bytes]:
        connector = aiohttp.UnixConnector(str(self._socket), force_close=True)
        try:
            async with (
                asyncio.timeout(self._answer_seconds),
                aiohttp.ClientSession(connector=connector, trust_env=False) as session,
                session.request(method, f"http://engine{target}", allow_redirects=False) as response,
            ):
                return response.status, await _read(response)
        except TimeoutError:
            raise SupervisorFailed(f"the container engine did not answer within {self._answer_seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise SupervisorFailed(
                f"no answer from the container engine at {self._socket} ({type(error).__name__}): "
                "the compose file must mount it"
            ) from None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > _MAX_ANSWER_BYTES:
            raise SupervisorFailed(f"the container engine answered with more than {_MAX_ANSWER_BYTES} bytes")
    return bytes(data)


def _hint(body: bytes) -> str:
    try:
        said: Any = text(parse_json(body), "message")
    except DecodeError:
        said = body.decode(errors="replace")
    return " ".join(said.split())[:200] or "no reason"
