"""JSON-RPC 2.0 over HTTP to one NEAR endpoint: deadlines, retries, limits, and errors by their meaning.

neard sends its JSON-RPC envelope with 4xx and 5xx too, so the envelope is read first and the HTTP status
second; gateways in front of it answer HTML. Messages name the endpoint by host only: a provider's url
may carry a key.
"""

import asyncio
import itertools
import json
import re
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp

from sharekeeper.errors import ChainAnswerInvalid, ChainUnavailable, ConfigInvalid
from sharekeeper.ports import Clock
from sharekeeper.protocol.codec import DecodeError, parse_json
from sharekeeper.spec import MAX_RPC_ANSWER_BYTES

_CHUNK_BYTES: Final = 64 * 1024
_FIRST_BACKOFF_SECONDS: Final = 0.1
_MAX_BACKOFF_SECONDS: Final = 1.0
_ARRAY: Final = re.compile(rb'"result":\s*\[')
_LONG_ARRAY_BYTES: Final = 64 * 1024
_PASSING_STATUSES: Final = frozenset({408, 429})
_PASSING_CAUSES: Final = frozenset(
    {"INTERNAL_ERROR", "NO_SYNCED_BLOCKS", "NOT_SYNCED_YET", "UNAVAILABLE_SHARD", "UNKNOWN_BLOCK"}
)
"""Refusals that another moment, or another machine behind the same endpoint, may not repeat."""


class NotSent(ChainUnavailable):
    """There was no connection, so nothing of the request left this machine."""


class RpcRefused(ChainAnswerInvalid):
    """The endpoint understood the request and refused it for good.

    `cause` is neard's name of the reason, `info` its details (any JSON), `data` the older text (any JSON).
    """

    def __init__(self, message: str, *, cause: str, info: object, data: object) -> None:
        super().__init__(message)
        self.cause = cause
        self.info = info
        self.data = data


class JsonRpc:
    """One endpoint. Use `async with`, or `close()` it. Raises `ConfigInvalid` on a url that is not http(s)."""

    def __init__(self, url: str, *, clock: Clock) -> None:
        self.host = _host(url)
        self._url = url
        self._clock = clock
        self._ids = itertools.count(1)
        self._open_session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Every connection to the endpoint is closed; a later request opens new ones."""
        if self._open_session is not None:
            await self._open_session.close()
            self._open_session = None

    async def request(self, method: str, params: object, *, timeout_seconds: float) -> Any:  # noqa: ANN401  # JSON
        """The `result` of a request that may be repeated; failures that may pass are retried until the deadline.

        One attempt may take half of `timeout_seconds`, so that one dead connection does not use it up.

        Raises:
            ChainUnavailable: no answer before the deadline; the message gives the last reason.
            RpcRefused: a refusal for good.
            ChainAnswerInvalid: the answer is not JSON-RPC, or larger than `MAX_RPC_ANSWER_BYTES`.
        """
        deadline = self._clock.monotonic() + timeout_seconds
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            left = deadline - self._clock.monotonic()
            try:
                return await self.attempt(method, params, timeout_seconds=min(left, timeout_seconds / 2))
            except ChainUnavailable as error:
                if self._clock.monotonic() + backoff >= deadline:
                    raise ChainUnavailable(f"no answer to {method} within {timeout_seconds:g} s: {error}") from error
            await self._clock.sleep(backoff)
            backoff = min(2 * backoff, _MAX_BACKOFF_SECONDS)

    async def attempt(self, method: str, params: object, *, timeout_seconds: float) -> Any:  # noqa: ANN401  # JSON
        """The `result` of a request that is sent at most once. Same errors as `request`; `NotSent` if it was not."""
        request_id = next(self._ids)
        body = json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}).encode()
        try:
            async with asyncio.timeout(timeout_seconds):
                status, answer = await self._post(body)
        except TimeoutError:
            raise ChainUnavailable(f"{self.host} did not answer {method} within {timeout_seconds:.3g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise NotSent(f"no connection to {self.host}: {_connect_fault(error)}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ChainUnavailable(f"the connection to {self.host} broke: {type(error).__name__}") from None
        return self._result(status, answer, request_id)

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        session = self._session()
        async with session.post(self._url, data=body, allow_redirects=False) as response:
            return response.status, await self._read(response)

    def _session(self) -> aiohttp.ClientSession:
        if self._open_session is None:
            self._open_session = aiohttp.ClientSession(
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._open_session

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_RPC_ANSWER_BYTES:
                raise ChainAnswerInvalid(f"{self.host} sent more than {MAX_RPC_ANSWER_BYTES} bytes in one answer")
            chunks.append(chunk)
        return b"".join(chunks)

    def _result(self, status: int, body: bytes, request_id: int) -> Any:  # noqa: ANN401  # JSON
        try:
            envelope = parse_answer(body)
        except DecodeError:
            envelope = None
        if not isinstance(envelope, dict) or ("result" not in envelope and "error" not in envelope):
            raise self._no_envelope(status)
        error = envelope.get("error")
        if envelope.get("id") != request_id and not (error is not None and envelope.get("id") is None):
            raise ChainAnswerInvalid(f"{self.host} answered another request than it was asked")
        if error is not None:
            raise self._refusal(error)
        return envelope.get("result")

    def _no_envelope(self, status: int) -> ChainUnavailable | ChainAnswerInvalid:
        if status >= 500 or status in _PASSING_STATUSES:  # noqa: PLR2004  # HTTP's own number
            return ChainUnavailable(f"{self.host} answered HTTP {status}")
        cure = "check rpc_url" if status == 200 else "check rpc_url and the access it grants"  # noqa: PLR2004
        return ChainAnswerInvalid(f"{self.host} answered HTTP {status} without JSON-RPC: {cure}")

    def _refusal(self, error: object) -> ChainUnavailable | RpcRefused:
        fields = error if isinstance(error, dict) else {}
        reason = fields.get("cause") if isinstance(fields.get("cause"), dict) else {}
        cause = str((reason or {}).get("name") or fields.get("name") or "UNKNOWN")
        data = fields.get("data")
        message = f"{self.host} refused: {cause}" + (f": {data[:300]}" if isinstance(data, str) else "")
        if cause in _PASSING_CAUSES:
            return ChainUnavailable(message)
        return RpcRefused(message, cause=cause, info=(reason or {}).get("info"), data=data)


def parse_answer(body: bytes) -> Any:  # noqa: ANN401  # JSON
    """As `parse_json`; but what a view returned is `bytes` where it is long, equal arrays being one object.

    NEAR writes it as an array of numbers, one for each byte. It is the same in most blocks.
    """
    found = _ARRAY.search(body)
    start = found.end() - 1 if found else len(body)
    end = body.find(b"]", start) + 1
    if end - start < _LONG_ARRAY_BYTES:
        return parse_json(body)
    try:
        returned = _bytes_of_array(body[start:end])
    except (ValueError, TypeError, RecursionError):
        return parse_json(body)
    envelope = parse_json(body[:start] + b"[]" + body[end:])
    answer = envelope.get("result") if isinstance(envelope, dict) else None
    if not isinstance(answer, dict) or answer.get("result") != []:
        return parse_json(body)
    answer["result"] = returned
    return envelope


@lru_cache(maxsize=2)
def _bytes_of_array(array: bytes) -> bytes:
    return bytes(json.loads(array))


def _connect_fault(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its TLS certificate is not valid for that name"
    return error.os_error.strerror or type(error.os_error).__name__


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigInvalid("rpc_url is not a url") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigInvalid("rpc_url must be an http or https url with a host")
    return f"{parts.hostname}:{port}" if port else parts.hostname
