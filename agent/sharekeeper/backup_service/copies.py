"""What the account's two backup services exchange (hard launch; docs/wire-format.md, "Between backup services")."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sharekeeper.backup_service.endpoints import Decide
from sharekeeper.backup_service.exchanges import open_exchange, take_shares
from sharekeeper.config_values import NetAddress
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import PeerUnreachable, PinChanged, ProtocolViolation
from sharekeeper.exchange import dialled, receive, serve_exchange, take
from sharekeeper.mutual_attestation import MutualAttestation
from sharekeeper.ports import ChainReader, Channel, Connect, Vault
from sharekeeper.protocol.copies import GiveCopy, NoCopy, decide_copy, sibling_of
from sharekeeper.protocol.copy_session import CheckAsker, CheckHolder, CopyHolder, CopyTaker, SiblingSession
from sharekeeper.protocol.messages import Hello, Receipt
from sharekeeper.protocol.monitoring import FetchCopy, Holdings
from sharekeeper.protocol.quorum import ReadViews
from sharekeeper.protocol.session import Session
from sharekeeper.reconcile import ChainWatch

S = TypeVar("S", bound=SiblingSession)


class Gate(Protocol):
    """What a copy needs of `endpoints.ReleaseGate`."""

    async def pass_copy(self, step: GiveCopy, decide: Decide) -> None:
        """Returns unless an endpoint contradicts. Raises `NoQuorum`, `ChainAnswerInvalid`."""


class NewestViews:
    """State and account at the newest final block; each block is asked for once, however often strangers knock."""

    def __init__(self, watch: ChainWatch, chain: ChainReader, account_id: AccountId) -> None:
        self._watch = watch
        self._chain = chain
        self._account_id = account_id
        self._last: tuple[str, ReadViews] | None = None

    async def read(self) -> ReadViews:
        """Both, fresh. Raises `ChainFault`."""
        view = await self._watch.look()
        if self._last is None or self._last[0] != view.head.hash:
            account = await self._chain.account(self._account_id, view.head)
            self._last = (view.head.hash, ReadViews(state=view.state, account=account))
        return self._last[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Who we are, and what copies need. `address`: where the sibling listens."""

    account_id: AccountId
    network: NetworkId
    tls_key: TlsKey
    address: NetAddress
    vault: Vault
    holdings: Callable[[], Holdings]
    connect: Connect
    views: NewestViews
    gate: Gate
    attestation: MutualAttestation

    # --- this side opens ------------------------------------------------------------------------

    async def fetch(self, step: FetchCopy) -> StoredBackup:
        """The shares of `step.keyset`, which the sibling gave, are durable in the vault, and it has our receipt.

        Raises:
            PeerFault: the sibling, or there is none; nothing was stored, or a repeat changes nothing.
            HostFault: the vault.
            AttestationUnavailable, AttestationRefused, ChainFault: this side's evidence, or the look at the sibling's.
        """
        peer = await self._registered()
        session = self._session(CopyTaker, step.keyset, holder=peer, opener=self.tls_key)
        async with dialled(self.connect, self.address.host, self.address.port, peer) as channel:
            await open_exchange(channel, session, self.attestation)
            return await take_shares(channel, session, self.vault, self.attestation)

    async def check(self, held: StoredBackup) -> TlsKey:
        """The sibling, whose TLS key is returned, holds the very shares of `held` and has just opened them.

        Raises:
            PeerFault: it does not, or could not be asked.
            SharekeeperError: as `fetch`.
        """
        peer = await self._registered()
        session = self._session(CheckAsker, held.keyset, holder=peer, opener=self.tls_key)
        session.hold(await self.vault.open(held.backup_id))
        async with dialled(self.connect, self.address.host, self.address.port, peer) as channel:
            await open_exchange(channel, session, self.attestation)
            await receive(channel, session, Receipt)
            self.attestation.check_unexpired(session)
        return peer

    # --- this side answers ----------------------------------------------------------------------

    async def serve(self, channel: Channel) -> Purpose:
        """One exchange with the sibling, which proved its TLS key, is complete; returns which.

        Raises:
            PeerFault: the sibling, or its view of the contract; it has been told.
            ChainFault, HostFault, AttestationUnavailable, AttestationRefused: this side; it has been told that
                there is a fault.
        """
        return await serve_exchange(channel, lambda purpose, hello: self._act(purpose, channel, hello))

    async def _act(self, purpose: Purpose, channel: Channel, hello: bytes) -> None:
        match purpose:
            case Purpose.COPY:
                await self._give(channel, hello)
            case Purpose.CHECK:
                await self._prove(channel, hello)
            case _:
                raise ProtocolViolation(f"a backup service serves no {purpose} to its sibling")

    async def _give(self, channel: Channel, hello: bytes) -> None:
        """A release of shares, which the sibling gets only if all of this is so, in this order.

        1. The contract calls for it (`protocol/copies.py`). 2. Both sides name the same exchange and have shown their
        evidence. 3. The backup opens. 4. The contract calls for the same at the newest final block, and no endpoint
        contradicts. 5. No evidence has expired.
        """
        step = await self._decided(channel.peer)  # 1
        session = self._session(CopyHolder, step.keyset, holder=self.tls_key, opener=channel.peer)
        await self._meet(channel, session, hello)  # 2
        frame = session.send_shares(await self.vault.open(step.backup_id))  # 3
        await self._release(step)  # 4
        self.attestation.check_unexpired(session)  # 5
        await channel.send_frame(frame)
        del frame
        await receive(channel, session, Receipt)

    async def _prove(self, channel: Channel, hello: bytes) -> None:
        """The sibling knows that this machine holds the same shares; none were sent."""
        step = await self._decided(channel.peer)
        session = self._session(CheckHolder, step.keyset, holder=self.tls_key, opener=channel.peer)
        await self._meet(channel, session, hello)
        session.hold(await self.vault.open(step.backup_id))
        self.attestation.check_unexpired(session)
        await channel.send_frame(session.send_receipt())

    async def _meet(self, channel: Channel, session: Session, hello: bytes) -> None:
        await take(channel, session, Hello, hello)
        await channel.send_frame(session.send_hello())
        await self.attestation.answer(channel, session)

    async def _release(self, step: GiveCopy) -> None:
        if await self._decided(step.taker) != step:
            raise PinChanged("what the contract calls for changed before a share left")
        await self.gate.pass_copy(step, lambda views: self._decide(views, step.taker))

    # --- both -----------------------------------------------------------------------------------

    async def expected_peers(self) -> tuple[TlsKey, ...]:
        """The TLS key of the sibling in force at the newest final block, or nobody. Raises `ChainFault`."""
        peer = sibling_of((await self.views.read()).account, self.tls_key)
        return () if peer is None else (peer,)

    async def _registered(self) -> TlsKey:
        peers = await self.expected_peers()
        if not peers:
            raise PeerUnreachable("the contract has no other backup service of this account in force: register one")
        return peers[0]

    async def _decided(self, taker: TlsKey) -> GiveCopy:
        """What the newest final block calls for. Raises the fault of `NoCopy`, `ChainFault`, `VaultCorrupt`."""
        step = self._decide(await self.views.read(), taker)
        if isinstance(step, NoCopy):
            raise step.fault(step.reason)
        return step

    def _decide(self, views: ReadViews, taker: TlsKey) -> GiveCopy | NoCopy:
        return decide_copy(
            state=views.state,
            record=views.account,
            account_id=self.account_id,
            own=self.tls_key,
            taker=taker,
            holdings=self.holdings(),
        )

    def _session(self, kind: type[S], keyset: Keyset, *, holder: TlsKey, opener: TlsKey) -> S:
        return kind(
            account_id=self.account_id,
            network=self.network,
            keyset=keyset,
            node_tls_key=holder,
            backup_service_tls_key=opener,
            nonces=self.attestation.nonces(),
        )
