"""What other nodes may ask of this one: one signature per channel, or any number of questions."""

import logging
from typing import Final

from sharekeeper.adapters.tls_channel import AuthenticatedChannel
from sharekeeper.domain.identity import TlsKey
from sharekeeper.errors import PeerFault, ProtocolViolation
from sharekeeper.ops.logs import log_event
from sharekeeper_devnet.network.channels import RequestRefused, receive_any, send
from sharekeeper_devnet.network.key_events import KeyEvents
from sharekeeper_devnet.network.messages import (
    AgreementRequest,
    CommitRequest,
    DealingRequest,
    Message,
    PrecomputeRequest,
    PresignedRequest,
    Refusal,
    ShareRequest,
)
from sharekeeper_devnet.network.signer import Signer

_LOG: Final = logging.getLogger(__name__)


class Service:
    """The handler of the node's listener."""

    def __init__(self, *, signer: Signer, key_events: KeyEvents) -> None:
        self._signer = signer
        self._key_events = key_events

    async def serve(self, channel: AuthenticatedChannel) -> None:
        """The peer has its answers, or refusals with the reason. Never raises a `PeerFault`."""
        try:
            while True:
                question = await receive_any(channel)
                if isinstance(question, CommitRequest):
                    await self._sign(channel, question)
                    return
                await send(channel, await self._answer(channel.peer, question))
        except PeerFault as error:
            log_event(_LOG, logging.INFO, "peer lost", peer=str(channel.peer), reason=str(error))

    async def _sign(self, channel: AuthenticatedChannel, question: CommitRequest) -> None:
        try:
            await self._signer.serve(channel, question)
        except RequestRefused as refusal:
            await send(channel, _refusal(channel.peer, refusal))

    async def _answer(self, peer: TlsKey, question: Message) -> Message:
        try:
            match question:
                case DealingRequest() | AgreementRequest() | ShareRequest():
                    return self._key_events.answer(peer, question)
                case PrecomputeRequest():
                    return await self._signer.precompute(peer, question)
                case PresignedRequest():
                    return await self._signer.sign_presigned(peer, question)
                case _:
                    raise ProtocolViolation(f"{type(question).__name__} is no question")
        except RequestRefused as refusal:
            return _refusal(peer, refusal)


def _refusal(peer: TlsKey, refusal: RequestRefused) -> Refusal:
    log_event(_LOG, logging.WARNING, "request refused", peer=str(peer), reason=str(refusal))
    return Refusal(reason=str(refusal))
