"""The two exchanges of the backup service (spec: "Backup" and "Recovery", version 1)."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from sharekeeper.domain.attestation import Verdict
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.protocol_state import ParticipantInfo
from sharekeeper.errors import NoBackup, SharekeeperError, StoreFailed
from sharekeeper.exchange import dialled, host_of, receive, refuse, told
from sharekeeper.mutual_attestation import MutualAttestation
from sharekeeper.ports import Channel, Connect, Vault
from sharekeeper.protocol.messages import Hello, KeyShares, Receipt
from sharekeeper.protocol.monitoring import FetchShares, HandOut
from sharekeeper.protocol.session import BackupClient, Nonces, RecoveryClient, Session
from sharekeeper.reconcile import uninterrupted

Release = Callable[[Verdict | None], Awaitable[None]]
"""Raises unless the shares may leave now, to a peer whose evidence proved that; None where no evidence was shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanges:
    """Who we are, and with what we exchange. `attestation` None: soft launch, nobody shows evidence."""

    account_id: AccountId
    network: NetworkId
    tls_key: TlsKey
    vault: Vault
    connect: Connect
    node_agent_port: int
    attestation: MutualAttestation | None = None

    async def fetch(self, step: FetchShares) -> StoredBackup:
        """The shares of `step.keyset` are durable in the vault, and the node has our receipt.

        Spec: "Backup", steps 2 and 3. The receipt is sent after the vault has read the backup back.

        Raises:
            PeerFault: the node; nothing was stored, or what was stored is whole and a repeat changes nothing.
            HostFault: the vault; the node has been told that nothing was kept.
            AttestationUnavailable, AttestationRefused, ChainFault: this side's evidence, or the look at the node's.
        """
        session = BackupClient(
            account_id=self.account_id,
            network=self.network,
            keyset=step.keyset,
            node_tls_key=step.node.tls_public_key,
            backup_service_tls_key=self.tls_key,
            nonces=self._nonces(),
        )
        async with self._met(step.node, session) as channel:
            return await take_shares(channel, session, self.vault, self.attestation)

    async def hand_out(self, step: HandOut, release: Release) -> None:
        """The recovering node has the shares durably; its receipt says so.

        Spec: "Recovery", backup service, steps 2 and 3. `release` is awaited right before the first share
        byte leaves, after handshake, hellos and evidence: it raises if the shares may not leave any more.

        Raises:
            PeerFault: the node, or no receipt; `EvidenceExpired` if the exchange lasted too long, and no share left.
            NoBackup, HostFault: the vault.
            AttestationUnavailable, AttestationRefused, ChainFault: this side's evidence, or the look at the node's.
            SharekeeperError: what `release` raises; no share has left.
        """
        recovery = step.recovery
        session = RecoveryClient(
            account_id=self.account_id,
            network=self.network,
            keyset=recovery.previous.keyset,
            node_tls_key=recovery.recovering.info.tls_public_key,
            backup_service_tls_key=self.tls_key,
            recovery_id=recovery.recovery_id,
            nonces=self._nonces(),
        )
        async with self._met(recovery.recovering.info, session) as channel:
            try:
                frame = session.send_shares(await self.vault.open(step.backup_id))
            except SharekeeperError:
                await refuse(channel, session, NoBackup("the backup service has no usable backup of this keyset"))
                raise
            await release(session.peer_verdict)
            await check_unexpired(channel, session, self.attestation)
            await channel.send_frame(frame)
            del frame
            await receive(channel, session, Receipt)

    def _nonces(self) -> Nonces | None:
        return None if self.attestation is None else self.attestation.nonces()

    @contextlib.asynccontextmanager
    async def _met(self, node: ParticipantInfo, session: Session) -> AsyncIterator[Channel]:
        """A channel to the node on which the opening is over."""
        async with dialled(self.connect, host_of(node.url), self.node_agent_port, node.tls_public_key) as channel:
            await open_exchange(channel, session, self.attestation)
            yield channel


async def open_exchange(channel: Channel, session: Session, attestation: MutualAttestation | None) -> None:
    """Both sides have said the same hello and, if they must, shown their evidence. Raises as `MutualAttestation.open`."""
    await channel.send_frame(session.send_hello())
    await receive(channel, session, Hello)
    if attestation is not None:
        await attestation.open(channel, session)


async def take_shares(
    channel: Channel, session: Session, vault: Vault, attestation: MutualAttestation | None
) -> StoredBackup:
    """The shares that the peer gives are durable in the vault, and it has our receipt. Raises as `Exchanges.fetch`."""
    shares = (await receive(channel, session, KeyShares)).shares
    await check_unexpired(channel, session, attestation)
    try:
        stored = await uninterrupted(vault.store(session.keyset, shares, channel.peer))
    except SharekeeperError:
        await refuse(channel, session, StoreFailed("the backup service could not store the shares"))
        raise
    await channel.send_frame(session.send_receipt())
    return stored


async def check_unexpired(channel: Channel, session: Session, attestation: MutualAttestation | None) -> None:
    """As `MutualAttestation.check_unexpired`; the peer is told."""
    if attestation is not None:
        async with told(channel, session):
            attestation.check_unexpired(session)
