"""The node's side of the two exchanges (spec: "Backup" and "Recovery Protocol", MPC node, version 1)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.keyshare import KeyShare, Purpose
from sharekeeper.domain.protocol_state import Recovery, running_part
from sharekeeper.errors import ProtocolViolation, ViewsDiffer
from sharekeeper.exchange import receive, serve_exchange, take
from sharekeeper.mutual_attestation import MutualAttestation
from sharekeeper.ports import Channel, KeyShareStore
from sharekeeper.protocol.messages import Hello, KeyShares, Receipt
from sharekeeper.protocol.recovery_protocol import names, recovers
from sharekeeper.protocol.session import BackupServer, Nonces, RecoveryServer, Session
from sharekeeper.reconcile import Memory, View, uninterrupted


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Who we are, and what a session needs. `look` is the newest final view, asked from the chain.

    `attestation` None: soft launch, nobody shows evidence.
    """

    account_id: AccountId
    network: NetworkId
    tls_key: TlsKey
    store: KeyShareStore
    memory: Memory
    look: Callable[[], Awaitable[View]]
    attestation: MutualAttestation | None = None
    import_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while staged shares are decided on or changed."""

    async def serve(self, channel: Channel) -> Purpose:
        """One exchange with the authenticated backup service is complete; returns which.

        Raises:
            PeerFault: the backup service, or its view of the contract; it has been told.
            ChainFault, HostFault, AttestationUnavailable, AttestationRefused: this side; it has been told that
                there is a fault.
        """
        return await serve_exchange(channel, lambda purpose, hello: self._act(purpose, channel, hello))

    async def _act(self, purpose: Purpose, channel: Channel, hello: bytes) -> None:
        match purpose:
            case Purpose.BACKUP:
                await self._serve_backup(channel, hello)
            case Purpose.RECOVERY:
                await self._take_recovery(channel, hello)
            case _:
                raise ProtocolViolation(f"a node takes no part in a {purpose}: ask the other backup service")

    async def _serve_backup(self, channel: Channel, hello: bytes) -> None:
        """Spec: "Backup", step 3: exactly the shares of the keyset in force, to the registered backup service.

        In hard launch they are read only when its evidence is accepted, and sent while that is valid.
        """
        keyset = await self.keyset_in_force()
        session = BackupServer(
            account_id=self.account_id,
            network=self.network,
            keyset=keyset,
            node_tls_key=self.tls_key,
            backup_service_tls_key=channel.peer,
            nonces=self.nonces(),
        )
        await self._meet(channel, session, hello)
        shares = await self.shares_of(keyset)
        self.check_unexpired(session)
        await channel.send_frame(session.send_shares(shares))
        del shares
        await receive(channel, session, Receipt)

    async def shares_of(self, keyset: Keyset) -> tuple[KeyShare, ...]:
        """The shares of that keyset. Raises `ViewsDiffer` if they are not on disk yet, `HostFault`."""
        shares = await self.store.read(keyset)
        if shares is None:
            raise ViewsDiffer(f"the node does not hold the shares of epoch {keyset.epoch_id} yet; try again")
        return shares

    async def keyset_in_force(self) -> Keyset:
        """The keyset in force at the newest final block, whose participant is this machine.

        Raises:
            ViewsDiffer: another machine is that participant's node.
            ChainFault: there is no fresh view.
        """
        view = await self.look()
        running = running_part(view.state)
        if running is None or not names(running, self.account_id, self.tls_key):
            raise ViewsDiffer(f"at block {view.head.height} this machine is not the participant's node; try again")
        return running.keyset

    async def _take_recovery(self, channel: Channel, hello: bytes) -> None:
        """Spec: "Recovery Protocol": the recovering node gets its key shares; they are staged, durable, not in use.

        1. This machine is the recovering node at the newest final block. 2. Both sides name the same
        recovery and keyset and, in hard launch, have shown their evidence. 3. The shares are those of that keyset.
        4. The evidence is still valid, the recovery still lasts. 5. Durable. 6. Receipt.
        """
        recovery = await self.own_recovery()  # 1
        session = RecoveryServer(
            account_id=self.account_id,
            network=self.network,
            keyset=recovery.previous.keyset,
            node_tls_key=self.tls_key,
            backup_service_tls_key=channel.peer,
            recovery_id=recovery.recovery_id,
            nonces=self.nonces(),
        )
        await self._meet(channel, session, hello)  # 2
        shares = (await receive(channel, session, KeyShares)).shares  # 3
        self.check_unexpired(session)  # 4
        await self.stage(recovery, shares)  # 4, 5
        await channel.send_frame(session.send_receipt())  # 6

    async def _meet(self, channel: Channel, session: Session, hello: bytes) -> None:
        """Both sides have said the same hello and, if they must, shown their evidence."""
        await take(channel, session, Hello, hello)
        await channel.send_frame(session.send_hello())
        if self.attestation is not None:
            await self.attestation.answer(channel, session)

    def nonces(self) -> Nonces | None:
        """What a new session is given: a fresh nonce in hard launch, None in soft launch."""
        return None if self.attestation is None else self.attestation.nonces()

    def check_unexpired(self, session: Session) -> None:
        """Returns when no evidence of `session` has expired at this moment. Raises `EvidenceExpired`."""
        if self.attestation is not None:
            self.attestation.check_unexpired(session)

    async def own_recovery(self) -> Recovery:
        """The recovery of this machine at the newest final block. Raises `ViewsDiffer`, `ChainFault`."""
        return _own_recovery(await self.look(), self)

    async def stage(self, recovery: Recovery, shares: tuple[KeyShare, ...]) -> None:
        """The checked shares are durable, not in use, and the recovery lasted when they became so.

        Raises:
            ViewsDiffer: it is over.
            ChainFault, HostFault: no fresh view, or the disk.
        """
        async with self.import_lock:
            view = await self.look()
            if _own_recovery(view, self).recovery_id != recovery.recovery_id:
                raise ViewsDiffer(f"recovery {recovery.recovery_id} is over at block {view.head.height}")
            await self.memory.remember(self.memory.history, view.head.height)
            await uninterrupted(self.store.stage(recovery.recovery_id, recovery.previous.keyset, shares))


def _own_recovery(view: View, own: Sessions) -> Recovery:
    state = view.state
    if not isinstance(state, Recovery) or not recovers(state, own.account_id, own.tls_key):
        raise ViewsDiffer(f"at block {view.head.height} no recovery of this machine is under way; try again")
    return state
