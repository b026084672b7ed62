"""Every other node's side of a threshold signature: sign what the contract asks for, and nothing else."""

import logging
from typing import Final

from sharekeeper.adapters.tls_channel import AuthenticatedChannel
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.keyset import KeysetDigest
from sharekeeper.domain.protocol_state import Participant
from sharekeeper.ops.logs import log_event
from sharekeeper_devnet.network.channels import RequestRefused, receive, send
from sharekeeper_devnet.network.curves import share_identifier
from sharekeeper_devnet.network.frost import Commitment, SigningNonces, SigningRound
from sharekeeper_devnet.network.messages import (
    CommitReply,
    CommitRequest,
    PrecomputeReply,
    PrecomputeRequest,
    PresignedRequest,
    SignReply,
    SignRequest,
)
from sharekeeper_devnet.network.presigning import Bond, KeptNonces
from sharekeeper_devnet.network.shares import RandomBytes, fresh_nonces, verifying_share
from sharekeeper_devnet.network.standing import Signing, StandingReader

_LOG: Final = logging.getLogger(__name__)


class Signer:
    """Serves leaders: one commitment and one signature share per channel, or commitments ahead of requests."""

    def __init__(self, *, reader: StandingReader, random_bytes: RandomBytes, kept: KeptNonces) -> None:
        self._reader = reader
        self._random_bytes = random_bytes
        self._kept = kept

    async def serve(self, channel: AuthenticatedChannel, question: CommitRequest) -> None:
        """The leader, who sent `question`, has its signature share. Raises `RequestRefused`, `PeerFault`."""
        standing, leader = await self._accepted(channel.peer, question)
        share = standing.shares[question.domain_id]
        own_id = share_identifier(standing.me.participant_id)
        nonces = fresh_nonces(share, own_id, self._random_bytes)
        await send(channel, CommitReply(commitment=nonces.commitment, verifying_share=verifying_share(share)))
        request = await receive(channel, SignRequest)
        await send(channel, _signed(standing, question, request.commitments, nonces))
        log_event(_LOG, logging.INFO, "share sent", request=question.request_id, leader=leader.account_id)

    async def precompute(self, peer: TlsKey, question: PrecomputeRequest) -> PrecomputeReply:
        """Commitments for that leader, whose nonces this node keeps. Raises `RequestRefused`."""
        standing, _ = await self._standing(peer, question.keyset)
        if question.domain_id not in standing.shares:
            raise RequestRefused(f"this node signs for no domain {question.domain_id}")
        bond = Bond(peer=peer, keyset=question.keyset, domain_id=question.domain_id)
        share, own_id = standing.shares[question.domain_id], share_identifier(standing.me.participant_id)
        commitments = self._kept.renew(bond, share, own_id, self._random_bytes)
        return PrecomputeReply(commitments=commitments, verifying_share=verifying_share(share))

    async def sign_presigned(self, peer: TlsKey, question: PresignedRequest) -> SignReply:
        """This node's signature share with nonces it kept for that leader, which are gone then.

        Raises:
            RequestRefused: as `serve`, or no such nonces are kept.
        """
        standing, leader = await self._accepted(peer, question)
        bond = Bond(peer=peer, keyset=question.keyset, domain_id=question.domain_id)
        nonces = self._kept.take(bond, question.commitments)
        if nonces is None:
            raise RequestRefused("this node keeps no nonces for these commitments; ask for a fresh one")
        reply = _signed(standing, question, question.commitments, nonces)
        log_event(_LOG, logging.INFO, "share sent ahead", request=question.request_id, leader=leader.account_id)
        return reply

    async def _accepted(self, peer: TlsKey, question: CommitRequest | PresignedRequest) -> tuple[Signing, Participant]:
        """What this node will sign, and for whom.

        Checked at the newest final block: 1. this node takes part; 2. the channel's key is another participant's;
        3. both mean the same keyset; 4. the contract shows exactly this request as open.

        Raises:
            RequestRefused: at the first that does not hold.
        """
        standing, leader = await self._standing(peer, question.keyset)
        request = standing.open_request(question.request_id)
        if request is None:
            raise RequestRefused(f"the contract shows no open request {question.request_id}")
        if (request.domain_id, request.payload) != (question.domain_id, question.payload):
            raise RequestRefused(f"request {question.request_id} on the contract asks for another payload or domain")
        return standing, leader

    async def _standing(self, peer: TlsKey, keyset: KeysetDigest) -> tuple[Signing, Participant]:
        standing = await self._reader.read()
        if not isinstance(standing, Signing):
            raise RequestRefused(f"this node does not sign: {standing.reason}")
        leader = standing.peer(peer)
        if leader is None:
            raise RequestRefused("the contract does not name your TLS key")
        if keyset != standing.running.keyset.digest():
            raise RequestRefused("the Running keyset is another one")
        return standing, leader


def _signed(
    standing: Signing,
    question: CommitRequest | PresignedRequest,
    commitments: tuple[Commitment, ...],
    nonces: SigningNonces,
) -> SignReply:
    signing_round = _round(standing, question, commitments)
    try:
        return SignReply(share=nonces.sign(signing_round))
    except ValueError as error:
        raise RequestRefused(str(error)) from None


def _round(
    standing: Signing, question: CommitRequest | PresignedRequest, commitments: tuple[Commitment, ...]
) -> SigningRound:
    """The round of the contract's payload; its signers are at least threshold participants."""
    members = {share_identifier(member.participant_id) for member in standing.running.participants.members}
    named = {commitment.identifier for commitment in commitments}
    if len(named) < standing.threshold(question.domain_id) or not named <= members:
        raise RequestRefused("the round does not consist of at least threshold participants")
    try:
        return SigningRound.of(
            message=question.payload,
            group_key=standing.shares[question.domain_id].public_key,
            commitments=commitments,
        )
    except ValueError as error:
        raise RequestRefused(str(error)) from None
