"""Requests to the node agent's web endpoints, over plain HTTP or HTTPS (docs/wire-format.md).

Security does not rest on the transport: requests and answers are signed and bodies sealed. HTTPS is for
a reverse proxy on the way; its certificate is checked against the system's trust.
"""

import io
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
from multidict import CIMultiDictProxy

from sharekeeper.adapters.http_signatures import NONCE_BYTES, HttpRequest, HttpResponse, sign_request, verify_response
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.ephemeral import ExchangeId
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import (
    PeerClosed,
    PeerNotAuthenticated,
    PeerRefused,
    PeerStalled,
    PeerUnreachable,
    ProtocolViolation,
    UnknownExchange,
)
from sharekeeper.ports import Clock
from sharekeeper.protocol.messages import MAX_EVIDENCE_FRAME_BYTES, Refusal, decode_message
from sharekeeper.spec import (
    ATTESTATION_PATH,
    HANDSHAKE_TIMEOUT_SECONDS,
    MAX_CONTROL_FRAME_BYTES,
    MAX_SEALED_BODY_BYTES,
    PUBLIC_DATA_PATH,
    SESSION_TIMEOUT_SECONDS,
    SHARES_BACKUP_PATH,
    SHARES_RECOVER_PATH,
    STALL_TIMEOUT_SECONDS,
)

_ENDPOINTS: Final = {Purpose.BACKUP: ("GET", SHARES_BACKUP_PATH), Purpose.RECOVERY: ("POST", SHARES_RECOVER_PATH)}
_OK: Final = 200
_MAX_HINT_CHARACTERS: Final = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class WebTimeouts:
    """Deadlines in seconds: of the connection, between two bytes, of the whole request."""

    connect_seconds: float = HANDSHAKE_TIMEOUT_SECONDS
    stall_seconds: float = STALL_TIMEOUT_SECONDS
    session_seconds: float = SESSION_TIMEOUT_SECONDS


DEFAULT_TIMEOUTS: Final = WebTimeouts()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class WebClient:
    """The backup service as a client of its node; each request is a connection of its own."""

    def __init__(
        self,
        identity: KeyPair,
        clock: Clock,
        *,
        timeouts: WebTimeouts = DEFAULT_TIMEOUTS,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`identity`: the backup service's TLS key, which signs every request."""
        self._identity = identity
        self._clock = clock
        self._timeouts = timeouts
        self._entropy = entropy
        self._trust = ssl.create_default_context()

    async def reach(self, base_url: str) -> None:
        """Something answers at `base_url` as a node agent does. It proves nothing, but may save a transaction.

        Raises:
            PeerFault: as `request`; `PeerNotAuthenticated` when what answers is no node agent.
        """
        answer = await self._send(HttpRequest(method="GET", path=PUBLIC_DATA_PATH), base_url, b"")
        if answer.status != _OK:
            raise PeerNotAuthenticated(f"{base_url} answered {answer.status}: no node agent serves version 2 there")

    async def request(
        self, base_url: str, purpose: Purpose, exchange_id: ExchangeId, body: bytes, peer: TlsKey
    ) -> bytes:
        """The body with which the owner of `peer` answered this very request; it is sealed.

        Redirects are not followed, and no proxy is taken from the environment.

        Raises:
            PeerUnreachable: no connection.
            PeerStalled, PeerClosed: no whole answer in time, or the connection broke.
            PeerNotAuthenticated: an answer that `peer` did not sign; a refusal among them, if it says so.
            Replayed: a signature outside the clock skew window.
            UnknownExchange: the node has no key of this exchange (signed).
            PeerRefused: the node refused (signed); the text carries its code and message.
            ProtocolViolation: an answer that is too long, or no message.
        """
        limit = MAX_SEALED_BODY_BYTES
        return await self._exchange(base_url, _ENDPOINTS[purpose], exchange_id, body, peer, limit=limit)

    async def attest(self, base_url: str, exchange_id: ExchangeId, evidence: bytes, peer: TlsKey) -> bytes:
        """The evidence message with which the owner of `peer` answered ours. Raises as `request`."""
        limit = MAX_EVIDENCE_FRAME_BYTES
        return await self._exchange(base_url, ("POST", ATTESTATION_PATH), exchange_id, evidence, peer, limit=limit)

    async def _exchange(
        self,
        base_url: str,
        endpoint: tuple[str, str],
        exchange_id: ExchangeId,
        body: bytes,
        peer: TlsKey,
        *,
        limit: int,
    ) -> bytes:
        """The body, at most `limit` bytes, of the answer that `peer` signed to this signed request."""
        method, path = endpoint
        nonce, now_ns = self._entropy(NONCE_BYTES), self._clock.wall_ns()
        signed = sign_request(method, path, exchange_id, body, identity=self._identity, nonce=nonce, now_ns=now_ns)
        answer = await self._send(signed, base_url, body, limit)
        response = HttpResponse(status_code=answer.status, request=signed, headers=answer.headers)
        if "signature" not in answer.headers:
            raise PeerNotAuthenticated(f"the node answered {answer.status} unsigned: {_hint(answer.body)}")
        verify_response(response, answer.body, peer, self._clock.wall_ns())
        if answer.status != _OK:
            _raise_refusal(answer.body)
        return answer.body

    async def _send(
        self, request: HttpRequest, base_url: str, body: bytes, limit: int = MAX_SEALED_BODY_BYTES
    ) -> _Answer:
        """The answer; one of status 200 has at most `limit` bytes."""
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, ssl=self._trust),
            timeout=aiohttp.ClientTimeout(
                total=self._timeouts.session_seconds,
                sock_connect=self._timeouts.connect_seconds,
                sock_read=self._timeouts.stall_seconds,
            ),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
            trust_env=False,
        )
        url = base_url + request.path
        try:
            async with (
                session,
                session.request(
                    request.method,
                    url,
                    data=io.BytesIO(body) if body else None,
                    headers=dict(request.headers),
                    allow_redirects=False,
                ) as response,
            ):
                return _Answer(status=response.status, headers=response.headers, body=await _read(response, limit))
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise PeerUnreachable(f"no connection to {base_url}: {_reason(error)}") from None
        except TimeoutError:
            raise PeerStalled(f"{base_url} did not answer in time") from None
        except aiohttp.InvalidURL:
            raise PeerUnreachable(f"{base_url[:80]!r} is no url") from None
        except (aiohttp.ClientError, OSError) as error:
            raise PeerClosed(f"the connection to {base_url} broke: {type(error).__name__}") from None


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    limit = limit if response.status == _OK else MAX_CONTROL_FRAME_BYTES
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            raise ProtocolViolation(f"the node answered with more than {limit} bytes")
    return bytes(data)


def _raise_refusal(body: bytes) -> None:
    """Raises what the node's signed refusal says."""
    refusal = decode_message(body)
    if not isinstance(refusal, Refusal):
        raise ProtocolViolation(f"the node refused with a {type(refusal).__name__}")
    text = f"the peer refused: {refusal.message} ({refusal.code})"
    raise UnknownExchange(text) if refusal.code == UnknownExchange.code else PeerRefused(text)


def _hint(body: bytes) -> str:
    """What an unsigned answer says, which proves nothing, in one printable line."""
    text = body[: 4 * _MAX_HINT_CHARACTERS].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else " " for character in text)[:_MAX_HINT_CHARACTERS].strip()


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not valid for that name"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or type(error.os_error).__name__
    return "no answer before the deadline"
