"""What a node of the reference network may do at one final block: sign, make keys, or stay idle and say why.

Level-triggered: each standing is decided from the contract's state alone, never from what was seen before
(spec todo #948).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.keyset import Curve, DomainPublicKey, KeyEventId, KeysetDigest
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.domain.protocol_state import (
    BlockRef,
    Initializing,
    KeyEvent,
    Participant,
    Participants,
    ProtocolState,
    Resharing,
    Running,
)
from sharekeeper.errors import ChainAnswerInvalid, SharekeeperError
from sharekeeper.protocol.codec import DecodeError
from sharekeeper_devnet.network.keeping import ShareKeeper
from sharekeeper_devnet.network.requests import SignatureRequest, decode_requests
from sharekeeper_devnet.network.sharing import Attempt, Party


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

    def threshold(self, domain_id: int) -> int:
        """How many shares of that domain make a signature."""
        thresholds = {domain.domain_id: domain.reconstruction_threshold for domain in self.running.domains}
        return thresholds.get(domain_id, self.running.threshold)

    def peer(self, tls_key: TlsKey) -> Participant | None:
        """The other participant that key is pinned to, or None."""
        return next((member for member in self.peers if member.info.tls_public_key == tls_key), None)

    def open_request(self, request_id: int) -> SignatureRequest | None:
        """The request as the contract shows it, if it still wants an answer and this node holds a share for it."""
        for request in self.requests:
            if request.request_id == request_id and request.is_open(self.block.height):
                return request if request.domain_id in self.shares else None
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class MakingKeys:
    """The node takes part in a key event, as participant `own`: nobody signs meanwhile.

    `attempt` is the one in progress, None between attempts. `old_share` is this node's share of the domain's key in
    a resharing, None in a key generation and for a new participant. `public_key` and `old_threshold` are those of
    the key that is reshared, None in a key generation.
    """

    block: BlockRef
    event: KeyEvent
    attempt: Attempt | None
    own: int
    peers: tuple[Participant, ...]
    old_share: KeyShare | None
    public_key: DomainPublicKey | None
    old_threshold: int | None

    @property
    def reason(self) -> str:
        """Why the node does not sign."""
        what = "generated" if self.public_key is None else "reshared"
        return f"the key of domain {self.event.domain.domain_id} is being {what} for epoch {self.event.epoch_id}"

    def has_voted(self) -> bool:
        """True when the contract has counted this node's vote for the attempt in progress."""
        return self.event.instance is not None and self.own in self.event.instance.completed


Standing = Idle | Signing | MakingKeys


def pins(standing: Standing) -> frozenset[TlsKey]:
    """The TLS keys this node talks to at that standing."""
    match standing:
        case Signing() | MakingKeys():
            return frozenset(member.info.tls_public_key for member in standing.peers)
        case Idle():
            return frozenset()


def decide_membership(state: ProtocolState, account_id: AccountId, tls_key: TlsKey) -> Running | str:
    """The Running state this node belongs to, or the sentence why it must not take part.

    Spec, Recovery Protocol: in Recovery every node waits for Running; a node whose TLS key the contract does
    not name is either not part of the network yet or no longer.
    """
    if not isinstance(state, Running):
        return _not_running(state)
    me = state.participants.find(account_id)
    if me is None:
        return f"{account_id} is not a participant"
    if me.info.tls_public_key != tls_key:
        return f"the contract names {me.info.tls_public_key} as the TLS key of {account_id}; this node has {tls_key}"
    return state


def _not_running(state: ProtocolState) -> str:
    return f"the protocol state is {type(state).__name__}; nodes sign in Running only"


def decide_parties(state: Initializing | Resharing) -> tuple[Participants, Participants]:
    """Who deals and who gets shares in the key event: the same in a key generation, old and new in a resharing."""
    match state:
        case Initializing():
            return state.generating.participants, state.generating.participants
        case Resharing():
            return state.previous.participants, state.resharing.participants


def decide_part(state: Initializing | Resharing, account_id: AccountId, tls_key: TlsKey) -> int | str:
    """This node's participant id in the key event, or the sentence why it takes no part in it."""
    named = [member for parties in decide_parties(state) if (member := parties.find(account_id)) is not None]
    for member in named:
        if member.info.tls_public_key == tls_key:
            return member.participant_id
    if named:
        return f"the key event names another TLS key of {account_id} than {tls_key}, which this node has"
    return f"{account_id} takes no part in the key event"


def decide_attempt(state: Initializing | Resharing, event: KeyEvent, network: NetworkId, height: int) -> Attempt | None:
    """The attempt in progress at that height, and all it is bound to; None when there is none. Raises `ValueError`."""
    instance = event.instance
    if instance is None or height >= instance.expires_on:
        return None
    dealers, recipients = decide_parties(state)
    return Attempt(
        network=network,
        key_event=KeyEventId(epoch_id=event.epoch_id, domain_id=event.domain.domain_id, attempt_id=instance.attempt_id),
        curve=event.domain.curve,
        keyset=state.previous.keyset.digest(),
        threshold=event.domain.reconstruction_threshold,
        dealers=_parties(dealers),
        recipients=_parties(recipients),
    )


def _parties(participants: Participants) -> tuple[Party, ...]:
    return tuple(
        Party(participant_id=member.participant_id, tls_key=member.info.tls_public_key)
        for member in participants.members
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Old:
    share: KeyShare | None
    public_key: DomainPublicKey | None
    threshold: int | None


class StandingReader:
    """Reads the standing at the newest final block; all its views are of that block."""

    def __init__(self, *, rpc: NearRpc, store: DirectoryKeyShareStore, account_id: AccountId, tls_key: TlsKey) -> None:
        self._rpc = rpc
        self._store = store
        self._keeper = ShareKeeper(store=store, account_id=account_id, tls_key=tls_key)
        self._account_id = account_id
        self._tls_key = tls_key
        self._lock = asyncio.Lock()
        self._network: NetworkId | None = None
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
        if self._network is None:
            self._network = await self._rpc.network()
        block = await self._rpc.head()
        if self.latest.block == block and not isinstance(self.latest, Idle):
            return self.latest
        state = await self._rpc.protocol_state(block)
        await self._keeper.settle(state, block.height)
        match state:
            case Running():
                return await self._running(block, state)
            case Initializing() | Resharing():
                return await self._making_keys(block, state, self._network)
            case _:
                self._held = None
                return Idle(block=block, reason=_not_running(state))

    async def _running(self, block: BlockRef, state: Running) -> Standing:
        running = decide_membership(state, self._account_id, self._tls_key)
        if isinstance(running, str):
            self._held = None
            return Idle(block=block, reason=running)
        held = await self._shares(running)
        if held is None:
            return Idle(block=block, reason="this node holds no key shares of the Running keyset")
        me = next(member for member in running.participants.members if member.account_id == self._account_id)
        shares = {number: share for number, share in held.items() if share.curve is Curve.ED25519}
        return Signing(block=block, running=running, me=me, shares=shares, requests=await self._requests(block))

    async def _making_keys(self, block: BlockRef, state: Initializing | Resharing, network: NetworkId) -> Standing:
        own = decide_part(state, self._account_id, self._tls_key)
        if isinstance(own, str):
            self._held = None
            return Idle(block=block, reason=own)
        event = state.generating if isinstance(state, Initializing) else state.resharing
        try:
            attempt = decide_attempt(state, event, network, block.height)
        except ValueError as error:
            return Idle(block=block, reason=f"this node cannot take part in the key event: {error}")
        members = {member.participant_id: member for parties in decide_parties(state) for member in parties.members}
        old = await self._old(state, event)
        return MakingKeys(
            block=block,
            event=event,
            attempt=attempt,
            own=own,
            peers=tuple(member for number, member in members.items() if number != own),
            old_share=old.share,
            public_key=old.public_key,
            old_threshold=old.threshold,
        )

    async def _old(self, state: Initializing | Resharing, event: KeyEvent) -> "_Old":
        """What a resharing starts from."""
        if isinstance(state, Initializing):
            return _Old(share=None, public_key=None, threshold=None)
        number = event.domain.domain_id
        key = next((domain.public_key for domain in state.previous.keyset.domains if domain.domain_id == number), None)
        domain = next((domain for domain in state.previous.domains if domain.domain_id == number), None)
        if key is None or domain is None:
            raise ChainAnswerInvalid(f"domain {number} is being reshared, and was none before")
        held = await self._shares(state.previous)
        share = None if held is None else held.get(number)
        return _Old(share=share, public_key=key, threshold=domain.reconstruction_threshold)

    async def _shares(self, running: Running) -> Mapping[int, KeyShare] | None:
        """The shares of that keyset by domain id; read from disk once per keyset."""
        digest = running.keyset.digest()
        if self._held is None or self._held[0] != digest:
            self._held = None
            found = await self._store.read(running.keyset)
            if found is None:
                return None
            self._held = (digest, {share.key_id.domain_id: share for share in found})
        return self._held[1]

    async def _requests(self, block: BlockRef) -> tuple[SignatureRequest, ...]:
        value = await self._rpc.view("open_signature_requests", {}, block)
        try:
            return decode_requests(value)
        except DecodeError as error:
            raise ChainAnswerInvalid(f"view open_signature_requests: {error}") from None
