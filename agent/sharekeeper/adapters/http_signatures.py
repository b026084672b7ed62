"""RFC 9421 signatures of version 2's requests and responses, by the TLS keys the contract pins (docs/wire-format.md).

Exactly one form is made and accepted: one signature, these components, these parameters, Ed25519. A host name
is not covered, since a reverse proxy may stand between; the path, the exchange and the body are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, InvalidSignature, MappingKeyResolver
from http_message_signatures.algorithms import ED25519
from http_message_signatures.digests import ContentDigest

from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.ephemeral import ExchangeId
from sharekeeper.domain.identity import TlsKey
from sharekeeper.errors import PeerNotAuthenticated, Replayed
from sharekeeper.spec import EXCHANGE_HEADER, MAX_CLOCK_SKEW_SECONDS, MAX_REMEMBERED_NONCES, SIGNATURE_TAG

NONCE_BYTES: Final = 16
"""A request's nonce: this many random bytes, written as lower-case hex."""

_LABEL: Final = "sig"
_NS: Final = 1_000_000_000
_ANY_AUTHORITY: Final = "http://node"
"""Completes the url the library asks for; nothing of it is signed."""
_OF_REQUEST: Final = ("@method", "@path", "content-digest", EXCHANGE_HEADER)
_OF_RESPONSE: Final = ("@status", "content-digest", '"signature";req')
_REQUEST_COVERS: Final = [*(f'"{name}"' for name in _OF_REQUEST), '"@signature-params"']
_RESPONSE_COVERS: Final = ['"@status"', '"content-digest"', '"signature";req', '"@signature-params"']
_REQUEST_PARAMETERS: Final = {"created", "keyid", "alg", "nonce", "tag"}
_RESPONSE_PARAMETERS: Final = _REQUEST_PARAMETERS - {"nonce"}


@dataclass(slots=True, kw_only=True)
class HttpRequest:
    """A request as it is signed: method, path without query, header fields."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The absolute url the library asks for."""
        return _ANY_AUTHORITY + self.path


@dataclass(slots=True, kw_only=True)
class HttpResponse:
    """A response as it is signed, and the request it answers."""

    status_code: int
    request: HttpRequest
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedHead:
    """What a verified request said before its body, and who signed it; `digest` is its Content-Digest field."""

    peer: TlsKey
    exchange_id: ExchangeId
    nonce: str
    digest: str


def sign_request(
    method: str, path: str, exchange_id: ExchangeId, body: bytes, *, identity: KeyPair, nonce: bytes, now_ns: int
) -> HttpRequest:
    """The request with its header fields. `nonce`: 16 bytes fresh from the operating system."""
    request = HttpRequest(method=method, path=path, headers={EXCHANGE_HEADER: exchange_id})
    _sign(request, _OF_REQUEST, body, identity, now_ns, nonce=nonce.hex())
    return request


def verify_request(request: HttpRequest, peers: tuple[TlsKey, ...], now_ns: int) -> SignedHead:
    """What the head of `request` says, which the owner of one of `peers` signed just now.

    Not checked: the body (`check_body`), and whether the nonce was seen before (`NonceMemory`).

    Raises:
        PeerNotAuthenticated: no signature of one of them, or not in the one form.
        Replayed: signed outside the clock skew window.
    """
    covered, parameters = _verified(request, peers, now_ns, _REQUEST_COVERS, _REQUEST_PARAMETERS)
    peer = next(one for one in peers if str(one) == parameters["keyid"])
    nonce = str(parameters["nonce"])
    if len(nonce) != 2 * NONCE_BYTES or not set(nonce) <= set("0123456789abcdef"):
        raise PeerNotAuthenticated("the request's nonce is not 16 bytes in lower-case hex")
    try:
        exchange_id = ExchangeId(covered[f'"{EXCHANGE_HEADER}"'])
    except ValueError as error:
        raise PeerNotAuthenticated(f"the request's field {EXCHANGE_HEADER} is wrong: {error}") from None
    return SignedHead(peer=peer, exchange_id=exchange_id, nonce=nonce, digest=covered['"content-digest"'])


def sign_response(status: int, body: bytes, request: HttpRequest, *, identity: KeyPair, now_ns: int) -> HttpResponse:
    """The response with its header fields, bound to `request`."""
    response = HttpResponse(status_code=status, request=request, headers={})
    _sign(response, _OF_RESPONSE, body, identity, now_ns, nonce=None)
    return response


def verify_response(response: HttpResponse, body: bytes, peer: TlsKey, now_ns: int) -> None:
    """Returns when the owner of `peer` signed exactly this status and body in answer to this request, just now.

    Raises:
        PeerNotAuthenticated: no signature of `peer`, not in the one form, of another request, or of another body.
        Replayed: signed outside the clock skew window.
    """
    covered, _ = _verified(response, (peer,), now_ns, _RESPONSE_COVERS, _RESPONSE_PARAMETERS)
    check_body(covered['"content-digest"'], body)


def check_body(digest: str, body: bytes) -> None:
    """Returns when `body` is what the signed Content-Digest says. Raises `PeerNotAuthenticated`."""
    if digest != ContentDigest.create(body):
        raise PeerNotAuthenticated("the body is not the one that was signed")


class NonceMemory:
    """The nonces of verified requests, as long as their signatures are within the window: a second use is refused.

    Only requests of the pinned key get here, so nobody else can fill it. Bounded; when full it refuses.
    """

    def __init__(self, limit: int = MAX_REMEMBERED_NONCES) -> None:
        self._limit = limit
        self._seen: dict[tuple[TlsKey, str], int] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def use(self, peer: TlsKey, nonce: str, now_ns: int) -> None:
        """`nonce` is used now. Raises `Replayed` if it was used before, or if too many are remembered."""
        window_ns = int(2 * MAX_CLOCK_SKEW_SECONDS * _NS)
        for known, seen_ns in list(self._seen.items()):
            if now_ns - seen_ns <= window_ns:
                break
            del self._seen[known]
        if (peer, nonce) in self._seen:
            raise Replayed("this request was answered before; sign a new one")
        if len(self._seen) >= self._limit:
            raise Replayed(f"{self._limit} requests came within {2 * MAX_CLOCK_SKEW_SECONDS:g} s; try again later")
        self._seen[peer, nonce] = now_ns


# --- the library ----------------------------------------------------------------------------------


class _Verifier(HTTPMessageVerifier):
    """Leaves the signature's time to `_check_time`, which is told what time it is."""

    def validate_created_and_expires(self, sig_input: Any, max_age: Any = None) -> None:  # noqa: ANN401  # library
        pass


def _sign(
    message: HttpRequest | HttpResponse,
    components: tuple[str, ...],
    body: bytes,
    identity: KeyPair,
    now_ns: int,
    *,
    nonce: str | None,
) -> None:
    key_id = str(identity.tls_key)
    private = Ed25519PrivateKey.from_private_bytes(identity.seed.reveal())
    resolver = MappingKeyResolver(public_keys={}, private_keys={key_id: private})
    HTTPMessageSigner(signature_algorithm=ED25519, key_resolver=resolver).sign(
        message,
        key_id=key_id,
        created=datetime.fromtimestamp(now_ns // _NS, UTC),
        nonce=nonce,
        label=_LABEL,
        tag=SIGNATURE_TAG,
        covered_component_ids=components,
        body=body,
    )


def _verified(
    message: HttpRequest | HttpResponse, peers: tuple[TlsKey, ...], now_ns: int, covers: list[str], parameters: set[str]
) -> tuple[dict[str, str], dict[str, Any]]:
    """The covered components and the parameters of the message's one signature, which names one of `peers`."""
    public = {str(peer): Ed25519PublicKey.from_public_bytes(peer.raw) for peer in peers}
    resolver = MappingKeyResolver(public_keys=public, private_keys={})
    verifier = _Verifier(signature_algorithm=ED25519, key_resolver=resolver)
    try:
        results = verifier.verify(message, expect_tag=SIGNATURE_TAG)
    except InvalidSignature as error:
        names = " or ".join(public)
        raise PeerNotAuthenticated(f"the message is not signed by {names}: {_reason(error)}") from None
    result = results[0]
    if len(results) != 1 or list(result.covered_components) != covers or set(result.parameters) != parameters:
        raise PeerNotAuthenticated("the message's signature does not cover exactly what it must")
    _check_time(int(result.parameters["created"]), now_ns)
    return result.covered_components, result.parameters


def _reason(error: InvalidSignature) -> str:
    text = str(error) or "the signature is wrong"
    return "".join(character for character in text if character.isprintable())[:120]


def _check_time(created: int, now_ns: int) -> None:
    skew = abs(now_ns / _NS - created)
    if skew > MAX_CLOCK_SKEW_SECONDS:
        raise Replayed(
            f"the message was signed {skew:.0f} s away from this machine's clock, at most {MAX_CLOCK_SKEW_SECONDS:g} s "
            "are allowed: check both clocks"
        )
