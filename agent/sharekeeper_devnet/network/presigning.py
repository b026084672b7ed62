"""Commitments made ahead of requests, so that a signature takes one round: what signer and leader keep of them.

Everything kept belongs to a `Bond`: the other node's TLS key, the keyset and the domain. It is used at most once, lies
in memory only, and is dropped as soon as the contract shows that TLS key or keyset no more: `purge` compares with the
state as it is, whether this node saw it change or not (spec todo #948).
"""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.keyset import KeysetDigest
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.domain.protocol_state import Participant
from sharekeeper.errors import SharekeeperError
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import Clock
from sharekeeper_devnet.network.channels import PeerLine
from sharekeeper_devnet.network.curves import share_identifier
from sharekeeper_devnet.network.frost import Commitment, SigningNonces
from sharekeeper_devnet.network.messages import CommitReply, PrecomputeReply, PrecomputeRequest
from sharekeeper_devnet.network.shares import RandomBytes, fresh_nonces
from sharekeeper_devnet.network.standing import Signing, pins

_LOG: Final = logging.getLogger(__name__)

BATCH: Final = 4
"""Commitments made at once for one leader and domain."""

_PAUSE_SECONDS: Final = 3.0
"""A peer that gave none is asked again after so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """What precomputed values are bound to; `peer` is the other node."""

    peer: TlsKey
    keyset: KeysetDigest
    domain_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Precomputed:
    """What a peer committed to ahead of a request, good for one signature."""

    peer: Participant
    reply: CommitReply


def is_current(bond: Bond, standing: Signing) -> bool:
    """True while the contract shows that TLS key among this node's peers, and that keyset."""
    return bond.peer in pins(standing) and bond.keyset == standing.running.keyset.digest()


class KeptNonces:
    """The signer's end: nonces whose commitments a leader has."""

    def __init__(self) -> None:
        self._kept: dict[Bond, dict[Commitment, SigningNonces]] = {}

    @property
    def bonds(self) -> Collection[Bond]:
        """What nonces are kept for."""
        return tuple(self._kept)

    def renew(self, bond: Bond, share: KeyShare, identifier: int, random_bytes: RandomBytes) -> tuple[Commitment, ...]:
        """Fresh commitments for that leader; the nonces it had before are gone, so that it holds no more of them."""
        made = [fresh_nonces(share, identifier, random_bytes) for _ in range(BATCH)]
        self._kept[bond] = {nonces.commitment: nonces for nonces in made}
        return tuple(self._kept[bond])

    def take(self, bond: Bond, commitments: Collection[Commitment]) -> SigningNonces | None:
        """The nonces of one of those commitments, which are kept no more; None when none is kept."""
        kept = self._kept.get(bond, {})
        found = next((commitment for commitment in commitments if commitment in kept), None)
        return None if found is None else kept.pop(found)

    def purge(self, standing: Signing) -> None:
        """Nothing is kept for a TLS key or keyset that the contract no longer shows."""
        self._kept = {bond: kept for bond, kept in self._kept.items() if is_current(bond, standing)}


class Presigning:
    """The leader's end: commitments of its peers, collected in the background."""

    def __init__(self, *, identity: KeyPair, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock
        self._stock: dict[Bond, list[Precomputed]] = {}
        self._filling: dict[Bond, asyncio.Task[None]] = {}

    @property
    def bonds(self) -> Collection[Bond]:
        """What commitments are kept of."""
        return tuple(bond for bond, stock in self._stock.items() if stock)

    def offers(self, standing: Signing, domain_id: int) -> dict[int, Precomputed]:
        """One commitment of each peer that has one left, by share identifier; see `spend`."""
        found = [self._stock.get(_bond(standing, peer, domain_id), []) for peer in standing.peers]
        return {stock[0].reply.commitment.identifier: stock[0] for stock in found if stock}

    def spend(self, used: Collection[Precomputed]) -> None:
        """Those commitments are never offered again."""
        for stock in self._stock.values():
            stock[:] = [each for each in stock if each not in used]

    async def act(self, standing: Signing) -> None:
        """What the contract no longer shows is dropped, and peers without stock are asked for some."""
        gone = [bond for bond in {*self._stock, *self._filling} if not is_current(bond, standing)]
        for bond in gone:
            await self._drop(bond)
        for peer in standing.peers:
            for domain_id in standing.shares:
                bond = _bond(standing, peer, domain_id)
                if not self._stock.get(bond) and bond not in self._filling:
                    self._filling[bond] = asyncio.create_task(self._fill(bond, peer))

    async def stop(self) -> None:
        """No task is left, nothing is kept."""
        for bond in [*self._stock, *self._filling]:
            await self._drop(bond)

    async def _drop(self, bond: Bond) -> None:
        if self._stock.pop(bond, None):
            log_event(_LOG, logging.INFO, "precomputed commitments dropped", peer=str(bond.peer))
        if task := self._filling.pop(bond, None):
            task.cancel()
            await asyncio.wait([task])

    async def _fill(self, bond: Bond, peer: Participant) -> None:
        line = PeerLine(self._identity, peer)
        question = PrecomputeRequest(domain_id=bond.domain_id, keyset=bond.keyset)
        try:
            reply = await line.ask(question, PrecomputeReply)
            self._stock[bond] = _checked(peer, reply)
        except (SharekeeperError, ValueError) as error:
            log_event(_LOG, logging.DEBUG, "nothing precomputed", peer=peer.account_id, reason=str(error))
            await self._clock.sleep(_PAUSE_SECONDS)
        finally:
            line.close()
            self._filling.pop(bond, None)


def _bond(standing: Signing, peer: Participant, domain_id: int) -> Bond:
    return Bond(peer=peer.info.tls_public_key, keyset=standing.running.keyset.digest(), domain_id=domain_id)


def _checked(peer: Participant, reply: PrecomputeReply) -> list[Precomputed]:
    own = share_identifier(peer.participant_id)
    if len(reply.commitments) > BATCH or any(each.identifier != own for each in reply.commitments):
        raise ValueError("the peer committed too often, or under another identifier than its own")
    return [
        Precomputed(peer=peer, reply=CommitReply(commitment=commitment, verifying_share=reply.verifying_share))
        for commitment in dict.fromkeys(reply.commitments)
    ]
