"""What other nodes may ask of this one: one signature per channel, or any number of questions of a key event."""

import logging
from typing import Final

from sharekeeper.adapters.tls_channel import AuthenticatedChannel
from sharekeeper.errors import PeerFault
from sharekeeper.ops.logs import log_event
from sharekeeper_devnet.network.channels import RequestRefused, receive_any, send
from sharekeeper_devnet.network.key_events import KeyEvents
from sharekeeper_devnet.network.messages import (
    AgreementRequest,
    CommitRequest,
    DealingRequest,
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
        """The peer has its answer, or a refusal with the reason. Never raises a `PeerFault`."""
        try:
            await self._serve(channel)
        except RequestRefused as refusal:
            log_event(_LOG, logging.WARNING, "request refused", peer=str(channel.peer), reason=str(refusal))
            await _refuse(channel, str(refusal))
        except PeerFault as error:
            log_event(_LOG, logging.INFO, "peer lost", peer=str(channel.peer), reason=str(error))

    async def _serve(self, channel: AuthenticatedChannel) -> None:
        while True:
            match await receive_any(channel):
                case CommitRequest() as question:
                    await self._signer.serve(channel, question)
                    return
                case DealingRequest() | AgreementRequest() | ShareRequest() as question:
                    await send(channel, self._key_events.answer(channel.peer, question))
                case message:
                    raise RequestRefused(f"{type(message).__name__} is no question")


async def _refuse(channel: AuthenticatedChannel, reason: str) -> None:
    try:
        await send(channel, Refusal(reason=reason))
    except PeerFault as error:
        log_event(_LOG, logging.INFO, "peer lost", peer=str(channel.peer), reason=str(error))
