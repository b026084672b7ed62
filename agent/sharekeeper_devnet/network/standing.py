"""What a node of the reference network may do at one final block: sign, or stay idle and say why.

Level-triggered: each standing is decided from the contract's state alone, never from what was seen before
(spec todo #948).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.domain.identity import AccountId, TlsKey
from sharekeeper.domain.keyset import Curve, KeysetDigest
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.domain.protocol_state import BlockRef, Participant, ProtocolState, Running
from sharekeeper.errors import ChainAnswerInvalid, SharekeeperError
from sharekeeper.ports import KeyShareStore
from sharekeeper.protocol.codec import DecodeError
from sharekeeper_devnet.network.requests import SignatureRequest, decode_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """The node does not take part, and why. `block` is None before the first block was read."""

    block: BlockRef | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """The node takes part in the Running network as `me`; `shares` are its Ed25519 shares by domain id."""

    block: BlockRef
    running: Running
    me: Participant
    shares: Mapping[int, KeyShare]
    requests: tuple[SignatureRequest, ...]

    @property
    def peers(self) -> tuple[Participant, ...]:
        """The other participants, in contract order."""
        return tuple(member for member in self.running.participants.members if member != self.me)

    def peer(self, tls_key: TlsKey) -> Participant | None:
        """The other participant that key is pinned to, or None."""
        return next((member for member in self.peers if member.info.tls_public_key == tls_key), None)

    def open_request(self, request_id: int) -> SignatureRequest | None:
        """The request as the contract shows it, if it still wants an answer and this node holds a share for it."""
        for request in self.requests:
            if request.request_id == request_id and request.is_open(self.block.height):
                return request if request.domain_id in self.shares else None
        return None


Standing = Idle | Signing


def pins(standing: Standing) -> frozenset[TlsKey]:
    """The TLS keys this node talks to at that standing."""
    match standing:
        case Signing():
            return frozenset(member.info.tls_public_key for member in standing.peers)
        case Idle():
            return frozenset()


def decide_membership(state: ProtocolState, account_id: AccountId, tls_key: TlsKey) -> Running | str:
    """The Running state this node belongs to, or the sentence why it must not take part.

    Spec, Recovery Protocol: in Recovery every node waits for Running; a node whose TLS key the contract does
    not name is either not part of the network yet or no longer.
    """
    if not isinstance(state, Running):
        return f"the protocol state is {type(state).__name__}; nodes sign in Running only"
    me = state.participants.find(account_id)
    if me is None:
        return f"{account_id} is not a participant"
    if me.info.tls_public_key != tls_key:
        return f"the contract names {me.info.tls_public_key} as the TLS key of {account_id}; this node has {tls_key}"
    return state


class StandingReader:
    """Reads the standing at the newest final block; all its views are of that block."""

    def __init__(self, *, rpc: NearRpc, store: KeyShareStore, account_id: AccountId, tls_key: TlsKey) -> None:
        self._rpc = rpc
        self._store = store
        self._account_id = account_id
        self._tls_key = tls_key
        self._lock = asyncio.Lock()
        self._right_network = False
        self._held: tuple[KeysetDigest, Mapping[int, KeyShare]] | None = None
        self.latest: Standing = Idle(block=None, reason="the chain has not been read yet")

    async def read(self) -> Standing:
        """The standing now; never raises for a fault of chain or disk, which is a reason to be idle."""
        async with self._lock:
            try:
                self.latest = await self._read()
            except SharekeeperError as error:
                self.latest = Idle(block=self.latest.block, reason=f"{error.code}: {error}")
            return self.latest

    async def _read(self) -> Standing:
        if not self._right_network:
            await self._rpc.network()
            self._right_network = True
        block = await self._rpc.head()
        if isinstance(self.latest, Signing) and self.latest.block == block:
            return self.latest
        state = await self._rpc.protocol_state(block)
        running = decide_membership(state, self._account_id, self._tls_key)
        if isinstance(running, str):
            self._held = None
            return Idle(block=block, reason=running)
        shares = await self._shares(running)
        if shares is None:
            return Idle(block=block, reason="this node holds no key shares of the Running keyset")
        me = next(member for member in running.participants.members if member.account_id == self._account_id)
        return Signing(block=block, running=running, me=me, shares=shares, requests=await self._requests(block))

    async def _shares(self, running: Running) -> Mapping[int, KeyShare] | None:
        """The Ed25519 shares of the Running keyset by domain id; read from disk once per keyset."""
        digest = running.keyset.digest()
        if self._held is None or self._held[0] != digest:
            self._held = None
            found = await self._store.read(running.keyset)
            if found is None:
                return None
            by_domain = {share.key_id.domain_id: share for share in found if share.curve is Curve.ED25519}
            self._held = (digest, by_domain)
        return self._held[1]

    async def _requests(self, block: BlockRef) -> tuple[SignatureRequest, ...]:
        value = await self._rpc.view("open_signature_requests", {}, block)
        try:
            return decode_requests(value)
        except DecodeError as error:
            raise ChainAnswerInvalid(f"view open_signature_requests: {error}") from None
