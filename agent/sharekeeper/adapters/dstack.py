"""The guest agent of a dstack CVM: the only door to the TEE's hardware (dstack 0.5.x; docs/attestation.md).

JSON over HTTP over a unix socket; bytes are hex. It quotes, derives keys that only this machine with this code
has, and extends RTMR3 with events. Whoever answers at the socket is believed in nothing but the keys it derives:
quotes are verified like everybody else's.
"""

import asyncio
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from sharekeeper.attestation.evidence import decode_event
from sharekeeper.domain.attestation import Event
from sharekeeper.errors import AttestationUnavailable
from sharekeeper.protocol.codec import DecodeError, field, integer, parse_json, text
from sharekeeper.secret import Secret
from sharekeeper.spec import MAX_EVENTS, REPORT_DATA_BYTES

SOCKET_PATHS: Final = (
    Path("/var/run/dstack.sock"),
    Path("/run/dstack.sock"),
    Path("/var/run/dstack/dstack.sock"),
    Path("/run/dstack/dstack.sock"),
)
"""Where dstack 0.5.x has its socket, in the order in which they are tried."""

CONNECT_SECONDS: Final = 2.0
ANSWER_SECONDS: Final = 20.0
"""Deadline of one call. A quote takes the host's quoting service a second or more, and Info makes one too."""

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""Largest answer. A quote has about 5 KB, an event log 10 KB, an app-compose a few."""

KEY_BYTES: Final = 32
RTMR3: Final = 3
_OK: Final = 200
_NOT_FOUND: Final = 404
_MAX_HINT_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """A fresh quote, unverified, and the RTMR3 events behind it, in order."""

    quote: bytes
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestInfo:
    """What the guest agent says about this CVM: the app-compose text it was started with, and its RTMR3 events."""

    app_compose: str
    events: tuple[Event, ...]


class GuestAgent:
    """The guest agent of this CVM. Every call is a connection of its own and can be repeated."""

    def __init__(
        self,
        paths: Sequence[Path] = SOCKET_PATHS,
        *,
        connect_seconds: float = CONNECT_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """`paths`: sockets to try, the first that is there is used; looked up at each call. Deadlines in seconds."""
        self._paths = tuple(paths)
        self._connect_seconds = connect_seconds
        self._answer_seconds = answer_seconds

    async def info(self) -> GuestInfo:
        """The app-compose and the events of this CVM, as the guest agent tells them. Raises `AttestationUnavailable`."""
        answer = await self._call("Info", {})
        with _understood("Info"):
            found = text(answer, "tcb_info")
            if not found:
                raise AttestationUnavailable(
                    "the guest agent shows no TCB info: it could not get a quote; check the host's quoting service (QGS)"
                )
            facts = parse_json(found.encode())
            return GuestInfo(app_compose=text(facts, "app_compose"), events=_events(field(facts, "event_log")))

    async def quote(self, report_data: bytes) -> Quoted:
        """A quote over `report_data`, made now. Raises `AttestationUnavailable`."""
        if len(report_data) != REPORT_DATA_BYTES:
            raise ValueError(f"report data has {REPORT_DATA_BYTES} bytes, not {len(report_data)}")
        answer = await self._call("GetQuote", {"report_data": report_data.hex()})
        with _understood("GetQuote"):
            log = parse_json(text(answer, "event_log").encode())
            quoted = Quoted(quote=bytes.fromhex(text(answer, "quote")), events=_events(log))
        if not quoted.quote:
            raise AttestationUnavailable("the guest agent made an empty quote: this machine is no TDX guest")
        return quoted

    async def key(self, path: str) -> Secret:
        """32 bytes that only this host's CPU with this OS image and app-compose derives, always the same for `path`.

        Nothing but `path` separates keys: purpose and algorithm do not change what dstack derives.

        Raises:
            AttestationUnavailable: no key; nothing of the answer is quoted.
        """
        answer = await self._call("GetKey", {"path": path, "purpose": "", "algorithm": "secp256k1"})
        try:
            key = Secret.from_hex(text(answer, "key"))
        except ValueError:
            raise AttestationUnavailable("the guest agent's GetKey answered without a key in hex") from None
        if len(key) != KEY_BYTES:
            raise AttestationUnavailable(f"the guest agent's GetKey answered {len(key)} bytes, not {KEY_BYTES}")
        return key

    async def emit_event(self, name: str, payload: bytes) -> None:
        """RTMR3 was extended with the event; no later code of this boot can take it back.

        After an error it may or may not have been: look into the event log. Raises `AttestationUnavailable`.
        """
        await self._call("EmitEvent", {"event": name, "payload": payload.hex()})

    # --- HTTP over the socket -------------------------------------------------------------------

    def _socket(self) -> Path:
        for path in self._paths:
            if _is_socket(path):
                return path
        raise AttestationUnavailable(
            f"no guest agent: there is no socket at {', '.join(map(str, self._paths))}; hard launch runs inside a CVM of "
            "dstack 0.5.x whose compose file mounts the socket into this container"
        )

    async def _call(self, method: str, request: Mapping[str, Any]) -> object:
        path = self._socket()
        try:
            async with asyncio.timeout(self._answer_seconds):
                status, body = await self._post(path, method, request)
        except TimeoutError:
            raise AttestationUnavailable(
                f"the guest agent at {path} did not answer {method} within {self._answer_seconds:g} s; check the host's "
                "quoting service and the guest agent's log"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise AttestationUnavailable(
                f"no answer to {method} from the guest agent at {path}: {_reason(error)}; check that dstack's guest agent "
                "runs and that this user may use its socket"
            ) from None
        if status != _OK:
            raise AttestationUnavailable(_refusal(method, status, body))
        if not body.strip():
            return None
        with _understood(method):
            return parse_json(body)

    async def _post(self, path: Path, method: str, request: Mapping[str, Any]) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_seconds)
        connector = aiohttp.UnixConnector(str(path), force_close=True)
        async with (
            aiohttp.ClientSession(
                connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            ) as session,
            session.post(f"http://dstack/{method}", json=dict(request), allow_redirects=False) as response,
        ):
            return response.status, await _read(method, response)


async def _read(method: str, response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            raise AttestationUnavailable(f"the guest agent answered {method} with more than {MAX_ANSWER_BYTES} bytes")
    return bytes(data)


@contextmanager
def _understood(method: str) -> Iterator[None]:
    """An answer of a form this release does not know becomes `AttestationUnavailable`."""
    try:
        yield
    except ValueError as error:
        raise AttestationUnavailable(
            f"the guest agent's answer to {method} is not that of dstack 0.5.x: {error}; use dstack 0.5.x"
        ) from None


def _events(log: object) -> tuple[Event, ...]:
    """The RTMR3 events of a log, in order. Those of the other registers are the boot's, which is compared as a whole."""
    if not isinstance(log, list):
        raise DecodeError("its event log is not an array")
    found = [event for event in log if integer(event, "imr") == RTMR3]
    if len(found) > MAX_EVENTS:
        raise DecodeError(f"its event log has {len(found)} RTMR3 events, at most {MAX_EVENTS} are read")
    return tuple(decode_event(event) for event in found)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def _refusal(method: str, status: int, body: bytes) -> str:
    if method == "EmitEvent" and status == _NOT_FOUND:
        return "this guest agent has no EmitEvent, which dstack 0.6 dropped: use dstack 0.5.x"
    return f"the guest agent refused {method} with HTTP {status}: {_hint(body)}; its log says more"


def _hint(body: bytes) -> str:
    """The guest agent's own words, in one printable line."""
    said = body[: 4 * _MAX_HINT_CHARACTERS].decode("utf-8", "replace")
    with suppress(ValueError):
        said = text(parse_json(body), "error")
    return "".join(each if each.isprintable() else " " for each in said)[:_MAX_HINT_CHARACTERS].strip() or "no reason"


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or type(error.os_error).__name__
    return type(error).__name__
