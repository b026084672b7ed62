"""What an operator of a rehearsal does on the chain: ask for a signature."""

from dataclasses import dataclass
from typing import ClassVar, Final

from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.transactions import NearCaller
from sharekeeper.domain.keyset import Curve, DomainKey
from sharekeeper.domain.protocol_state import BlockRef, running_part
from sharekeeper.errors import ChainAnswerInvalid, OperatorFault, SharekeeperError
from sharekeeper.ports import Clock
from sharekeeper.protocol.codec import DecodeError, integer, text
from sharekeeper.protocol.policy import PUBLIC_CHAIN_IDS
from sharekeeper.spec import RPC_TIMEOUT_SECONDS
from sharekeeper_devnet.network.requests import SignatureRequest, decode_request
from sharekeeper_devnet.network.shares import verifies

POLL_SECONDS: Final = 0.3


class Unanswered(SharekeeperError):
    """No signature before the deadline: fewer than threshold nodes sign."""

    code: ClassVar[str] = "unanswered"
    exit_status: ClassVar[int] = 4
    retryable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature of the network over a message, verified. `seconds` from the call of `sign` to the final answer."""

    request_id: int
    signature: bytes
    public_key: str
    seconds: float


async def refuse_public_network(rpc: NearRpc) -> None:
    """The endpoint serves no public network. Raises `OperatorFault` when it does."""
    status = await rpc.endpoint.request("status", [], timeout_seconds=RPC_TIMEOUT_SECONDS)
    try:
        chain_id = text(status, "chain_id")
    except DecodeError as error:
        raise ChainAnswerInvalid(f"status of {rpc.endpoint.host}: {error}") from None
    if chain_id in PUBLIC_CHAIN_IDS:
        raise OperatorFault(f"{rpc.endpoint.host} serves {chain_id}; devnet commands are for rehearsal chains only")


async def sign(rpc: NearRpc, caller: NearCaller, clock: Clock, message: bytes, timeout_blocks: int) -> Signature:
    """The network's signature of `message` with the keyset's first Ed25519 key, verified independently.

    Raises:
        Unanswered: none within `timeout_blocks` final blocks of the request.
        OperatorFault: the keyset has no Ed25519 key.
        TransactionFailed: the contract refused the request (it takes none outside Running).
    """
    started = clock.monotonic()
    head = await rpc.head()
    domain = await _signing_domain(rpc, head)
    request = {"domain_id": domain.domain_id, "payload": message.hex()}
    request_id = _request_id(await caller.call("sign", {"request": request}))
    deadline = (await rpc.head()).height + timeout_blocks
    signature = await _answer(rpc, clock, request_id, deadline)
    if not verifies(domain.public_key.raw, message, signature):
        raise ChainAnswerInvalid(f"the signature of request {request_id} does not verify under {domain.public_key}")
    return Signature(
        request_id=request_id,
        signature=signature,
        public_key=str(domain.public_key),
        seconds=clock.monotonic() - started,
    )


async def _answer(rpc: NearRpc, clock: Clock, request_id: int, deadline: int) -> bytes:
    while True:
        head = await rpc.head()
        request = await _request(rpc, request_id, head)
        if request is None:
            raise Unanswered(f"the contract has forgotten request {request_id}; ask again")
        if request.signature is not None:
            return request.signature
        if head.height >= min(deadline, request.expires_on):
            raise Unanswered(
                f"nobody answered request {request_id} by block {head.height}: "
                "fewer than threshold nodes sign; look at GET /health of each"
            )
        await clock.sleep(POLL_SECONDS)


async def _request(rpc: NearRpc, request_id: int, at: BlockRef) -> SignatureRequest | None:
    value = await rpc.view("signature_request", {"request_id": request_id}, at)
    try:
        return None if value is None else decode_request(value)
    except DecodeError as error:
        raise ChainAnswerInvalid(f"view signature_request: {error}") from None


async def _signing_domain(rpc: NearRpc, at: BlockRef) -> DomainKey:
    running = running_part(await rpc.protocol_state(at))
    for domain in running.keyset.domains if running is not None else ():
        if domain.public_key.curve is Curve.ED25519:
            return domain
    raise OperatorFault(f"{rpc.contract_id} has no Ed25519 key to sign with; deploy a keyset of two domains or more")


def _request_id(value: object) -> int:
    try:
        return integer(value, "request_id")
    except DecodeError as error:
        raise ChainAnswerInvalid(f"result of sign: {error}") from None
