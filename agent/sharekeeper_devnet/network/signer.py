"""Every other node's side of a threshold signature: sign what the contract asks for, and nothing else."""

import logging
from typing import Final

from sharekeeper.adapters.tls_channel import AuthenticatedChannel
from sharekeeper.domain.protocol_state import Participant
from sharekeeper.ops.logs import log_event
from sharekeeper_devnet.network.channels import RequestRefused, receive, send
from sharekeeper_devnet.network.curves import share_identifier
from sharekeeper_devnet.network.frost import SigningRound
from sharekeeper_devnet.network.messages import CommitReply, CommitRequest, SignReply, SignRequest
from sharekeeper_devnet.network.shares import RandomBytes, fresh_nonces, verifying_share
from sharekeeper_devnet.network.standing import Signing, StandingReader

_LOG: Final = logging.getLogger(__name__)


class Signer:
    """Serves one leader per channel: one commitment, one signature share, then the channel ends."""

    def __init__(self, *, reader: StandingReader, random_bytes: RandomBytes) -> None:
        self._reader = reader
        self._random_bytes = random_bytes

    async def serve(self, channel: AuthenticatedChannel, question: CommitRequest) -> None:
        """The leader, who sent `question`, has its signature share. Raises `RequestRefused`, `PeerFault`."""
        standing, leader = await self._accepted(channel, question)
        share = standing.shares[question.domain_id]
        own_id = share_identifier(standing.me.participant_id)
        nonces = fresh_nonces(share, own_id, self._random_bytes)
        await send(channel, CommitReply(commitment=nonces.commitment, verifying_share=verifying_share(share)))
        request = await receive(channel, SignRequest)
        signing_round = _round(standing, question, request)
        try:
            signature_share = nonces.sign(signing_round)
        except ValueError as error:
            raise RequestRefused(str(error)) from None
        await send(channel, SignReply(share=signature_share))
        log_event(_LOG, logging.INFO, "share sent", request=question.request_id, leader=leader.account_id)

    async def _accepted(self, channel: AuthenticatedChannel, question: CommitRequest) -> tuple[Signing, Participant]:
        """What this node will sign, and for whom.

        Checked at the newest final block: 1. this node takes part; 2. the channel's key is another participant's;
        3. both mean the same keyset; 4. the contract shows exactly this request as open.

        Raises:
            RequestRefused: at the first that does not hold.
        """
        standing = await self._reader.read()
        if not isinstance(standing, Signing):
            raise RequestRefused(f"this node does not sign: {standing.reason}")
        leader = standing.peer(channel.peer)
        if leader is None:
            raise RequestRefused("the contract does not name your TLS key")
        if question.keyset != standing.running.keyset.digest():
            raise RequestRefused("the Running keyset is another one")
        request = standing.open_request(question.request_id)
        if request is None:
            raise RequestRefused(f"the contract shows no open request {question.request_id}")
        if (request.domain_id, request.payload) != (question.domain_id, question.payload):
            raise RequestRefused(f"request {question.request_id} on the contract asks for another payload or domain")
        return standing, leader


def _round(standing: Signing, question: CommitRequest, request: SignRequest) -> SigningRound:
    """The round of the contract's payload; its signers are at least threshold participants."""
    members = {share_identifier(member.participant_id) for member in standing.running.participants.members}
    named = {commitment.identifier for commitment in request.commitments}
    if len(named) < standing.threshold(question.domain_id) or not named <= members:
        raise RequestRefused("the round does not consist of at least threshold participants")
    try:
        return SigningRound.of(
            message=question.payload,
            group_key=standing.shares[question.domain_id].public_key,
            commitments=request.commitments,
        )
    except ValueError as error:
        raise RequestRefused(str(error)) from None
