"""The leader's side of a threshold signature: commitments from any threshold-1 peers, then their shares.

With commitments made ahead (`presigning.py`) the shares are all that is asked for.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from sharekeeper.adapters.tls_channel import AuthenticatedChannel, connect
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.keyset import Curve
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.domain.protocol_state import Participant
from sharekeeper.errors import HostFault, PeerClosed, PeerFault, ProtocolViolation, SharekeeperError
from sharekeeper.ops.logs import log_event
from sharekeeper_devnet.network.channels import PEER_TIMEOUTS, PeerLine, p2p_address, receive, send
from sharekeeper_devnet.network.curves import interpolate, share_identifier
from sharekeeper_devnet.network.frost import SharesInvalid, SigningNonces, SigningRound, aggregate
from sharekeeper_devnet.network.messages import CommitReply, CommitRequest, PresignedRequest, SignReply, SignRequest
from sharekeeper_devnet.network.presigning import Precomputed, Presigning
from sharekeeper_devnet.network.requests import SignatureRequest
from sharekeeper_devnet.network.shares import RandomBytes, fresh_nonces, verifies, verifying_share
from sharekeeper_devnet.network.standing import Signing

_LOG: Final = logging.getLogger(__name__)


class NotSigned(Exception):
    """No signature came about now, mostly for want of signers; another turn may find more. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """A peer that committed, over a channel that waits for round two."""

    peer: Participant
    channel: AuthenticatedChannel
    reply: CommitReply


class _Committed(Protocol):
    """A peer that committed, now or ahead."""

    @property
    def peer(self) -> Participant:
        """Who."""

    @property
    def reply(self) -> CommitReply:
        """To what."""


C = TypeVar("C", bound=_Committed)


class Coordinator:
    """Collects signatures from this node and its peers."""

    def __init__(self, *, identity: KeyPair, random_bytes: RandomBytes, presigning: Presigning) -> None:
        self._identity = identity
        self._random_bytes = random_bytes
        self._presigning = presigning

    async def signature(self, standing: Signing, request: SignatureRequest) -> bytes:
        """The 64-byte signature of the request, verified.

        Cancelling it ends its channels. A peer that sends a wrong share or is lost in round two is named in the log and left out of the next try.

        Raises:
            NotSigned: fewer than threshold-1 peers are left.
        """
        if (made := await self._presigned(standing, request)) is not None:
            return made
        peers = standing.peers
        while True:
            outcome = await self._attempt(standing, request, peers)
            if isinstance(outcome, bytes):
                return outcome
            peers = tuple(peer for peer in peers if share_identifier(peer.participant_id) not in outcome)

    async def _attempt(
        self, standing: Signing, request: SignatureRequest, peers: Iterable[Participant]
    ) -> bytes | frozenset[int]:
        """The signature, or the identifiers of the peers that spoilt this round."""
        share, own_id = standing.shares[request.domain_id], share_identifier(standing.me.participant_id)
        nonces = fresh_nonces(share, own_id, self._random_bytes)
        verifying = {own_id: verifying_share(share)}
        async with self._commitments(standing, request, peers) as arriving:
            offers = await _consistent_offers(
                arriving, verifying, standing.threshold(request.domain_id), share.public_key
            )
            signing_round = _round(request, share, nonces, offers)
            question = SignRequest(commitments=signing_round.commitments)

            async def asked(offer: _Offer) -> SignReply:
                await send(offer.channel, question)
                return await receive(offer.channel, SignReply)

            shares = await _collected(offers, asked)
        shares[own_id] = nonces.sign(signing_round)
        verifying |= {identifier: offer.reply.verifying_share for identifier, offer in offers.items()}
        return _aggregated(signing_round, shares, verifying, offers)

    async def _presigned(self, standing: Signing, request: SignatureRequest) -> bytes | None:
        """The signature by commitments made ahead; None when there are too few, or a peer fails."""
        share, own_id = standing.shares[request.domain_id], share_identifier(standing.me.participant_id)
        verifying = {own_id: verifying_share(share)}
        ahead = self._presigning.offers(standing, request.domain_id)
        chosen = _consistent_set(ahead, verifying, standing.threshold(request.domain_id), share.public_key)
        if not chosen:
            return None
        self._presigning.spend(chosen.values())
        nonces = fresh_nonces(share, own_id, self._random_bytes)
        signing_round = _round(request, share, nonces, chosen)
        question = PresignedRequest(
            request_id=request.request_id,
            domain_id=request.domain_id,
            payload=request.payload,
            keyset=standing.running.keyset.digest(),
            commitments=signing_round.commitments,
        )

        async def asked(offer: Precomputed) -> SignReply:
            line = PeerLine(self._identity, offer.peer)
            try:
                return await line.ask(question, SignReply)
            finally:
                line.close()

        shares = await _collected(chosen, asked)
        shares[own_id] = nonces.sign(signing_round)
        verifying |= {identifier: offer.reply.verifying_share for identifier, offer in chosen.items()}
        outcome = _aggregated(signing_round, shares, verifying, chosen)
        return outcome if isinstance(outcome, bytes) else None

    @asynccontextmanager
    async def _commitments(
        self, standing: Signing, request: SignatureRequest, peers: Iterable[Participant]
    ) -> AsyncIterator["_Arriving"]:
        """The offers of all peers as they arrive; their channels stay open inside the block."""
        question = CommitRequest(
            request_id=request.request_id,
            domain_id=request.domain_id,
            payload=request.payload,
            keyset=standing.running.keyset.digest(),
        )
        queue: asyncio.Queue[_Offer | None] = asyncio.Queue()
        tasks = [asyncio.create_task(self._ask(peer, question, queue)) for peer in peers]
        try:
            yield _Arriving(queue=queue, expected=len(tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, peer: Participant, question: CommitRequest, queue: "asyncio.Queue[_Offer | None]") -> None:
        """Puts the peer's offer on the queue, or None, and holds its channel open until cancelled."""
        try:
            host, port = p2p_address(peer)
            channel = await connect(host, port, self._identity, peer.info.tls_public_key, timeouts=PEER_TIMEOUTS)
            async with _ended(channel):
                await send(channel, question)
                reply = await receive(channel, CommitReply)
                if reply.commitment.identifier != share_identifier(peer.participant_id):
                    raise ProtocolViolation("the peer committed under another identifier than its own")
                queue.put_nowait(_Offer(peer=peer, channel=channel, reply=reply))
                await asyncio.Event().wait()
        except (SharekeeperError, ValueError) as error:
            log_event(
                _LOG, logging.INFO, "peer skipped", request=question.request_id, peer=peer.account_id, reason=str(error)
            )
            queue.put_nowait(None)


@asynccontextmanager
async def _ended(channel: AuthenticatedChannel) -> AsyncIterator[None]:
    """The channel is at its end after the block."""
    try:
        yield
    finally:
        channel.abort(PeerClosed("this node is done with the channel"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arriving:
    """A queue that will get `expected` items."""

    queue: "asyncio.Queue[_Offer | None]"
    expected: int


async def _consistent_offers(
    arriving: _Arriving, own: Mapping[int, bytes], threshold: int, group_key: bytes
) -> dict[int, _Offer]:
    """The first threshold-1 offers whose verifying shares, with this node's own, belong to the group key.

    A peer whose verifying share does not fit those is named in the log.

    Raises:
        NotSigned: all peers have answered or failed, and there is no such set.
    """
    offers: dict[int, _Offer] = {}
    for left in range(arriving.expected, -1, -1):
        chosen = _consistent_set(offers, own, threshold, group_key)
        if chosen is not None:
            return chosen
        offer = await arriving.queue.get() if left else None
        if offer is not None:
            offers[offer.reply.commitment.identifier] = offer
    answered = ", ".join(offer.peer.account_id for offer in offers.values()) or "nobody"
    raise NotSigned(
        f"{threshold - 1} peers with shares of the group key are needed beside this node; answered have: {answered}"
    )


def _consistent_set(
    offers: Mapping[int, C], own: Mapping[int, bytes], threshold: int, group_key: bytes
) -> dict[int, C] | None:
    for identifiers in itertools.combinations(offers, threshold - len(own)):
        points = {**own, **{identifier: offers[identifier].reply.verifying_share for identifier in identifiers}}
        if _point_at(points, 0) == group_key:
            _name_misfits(offers, points)
            return {identifier: offers[identifier] for identifier in identifiers}
    return None


def _name_misfits(offers: Mapping[int, C], points: Mapping[int, bytes]) -> None:
    for identifier, offer in offers.items():
        if _point_at(points, identifier) != offer.reply.verifying_share:
            log_event(_LOG, logging.WARNING, "bad verifying share", peer=offer.peer.account_id)


def _point_at(points: Mapping[int, bytes], at: int) -> bytes | None:
    try:
        return interpolate(Curve.ED25519, points, at)
    except ValueError:  # the points add up to the identity: they are of no key
        return None


def _round(request: SignatureRequest, share: KeyShare, nonces: SigningNonces, offers: Mapping[int, C]) -> SigningRound:
    return SigningRound.of(
        message=request.payload,
        group_key=share.public_key,
        commitments=[nonces.commitment, *(offer.reply.commitment for offer in offers.values())],
    )


async def _collected(offers: Mapping[int, C], asked: Callable[[C], Awaitable[SignReply]]) -> dict[int, bytes]:
    """The signature shares of the peers that sent one, unchecked; a peer lost now is named in the log."""
    shares: dict[int, bytes] = {}

    async def ask(identifier: int, offer: C) -> None:
        try:
            shares[identifier] = (await asked(offer)).share
        except (PeerFault, HostFault, ValueError) as error:
            log_event(_LOG, logging.WARNING, "peer lost", peer=offer.peer.account_id, reason=str(error))

    await asyncio.gather(*(ask(identifier, offer) for identifier, offer in offers.items()))
    return shares


def _aggregated(
    signing_round: SigningRound, shares: Mapping[int, bytes], verifying: Mapping[int, bytes], offers: Mapping[int, C]
) -> bytes | frozenset[int]:
    if lost := frozenset(signing_round.identifiers) - frozenset(shares):
        return lost
    try:
        signature = aggregate(signing_round, shares, verifying)
    except SharesInvalid as error:
        for culprit in error.culprits:
            log_event(_LOG, logging.WARNING, "bad signature share", peer=offers[culprit].peer.account_id)
        return frozenset(error.culprits)
    if not verifies(signing_round.group_key, signing_round.message, signature):
        raise NotSigned("every share was right, yet the signature does not verify")
    return signature
