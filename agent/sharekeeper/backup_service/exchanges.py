"""The two exchanges of the backup service (spec: "Backup" and "Recovery", version 1)."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.protocol_state import ParticipantInfo
from sharekeeper.errors import NoBackup, SharekeeperError, StoreFailed
from sharekeeper.exchange import dialled, host_of, receive, refuse
from sharekeeper.ports import Channel, Connect, Vault
from sharekeeper.protocol.messages import Hello, KeyShares, Receipt
from sharekeeper.protocol.monitoring import FetchShares, HandOut
from sharekeeper.protocol.session import BackupClient, RecoveryClient, Session
from sharekeeper.reconcile import uninterrupted


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanges:
    """Who we are, and with what we exchange."""

    account_id: AccountId
    network: NetworkId
    tls_key: TlsKey
    vault: Vault
    connect: Connect
    node_agent_port: int

    async def fetch(self, step: FetchShares) -> StoredBackup:
        """The shares of `step.keyset` are durable in the vault, and the node has our receipt.

        Spec: "Backup", steps 2 and 3. The receipt is sent after the vault has read the backup back.

        Raises:
            PeerFault: the node; nothing was stored, or what was stored is whole and a repeat changes nothing.
            HostFault: the vault; the node has been told that nothing was kept.
        """
        session = BackupClient(
            account_id=self.account_id,
            network=self.network,
            keyset=step.keyset,
            node_tls_key=step.node.tls_public_key,
            backup_service_tls_key=self.tls_key,
        )
        async with self._greeted(step.node, session) as channel:
            shares = (await receive(channel, session, KeyShares)).shares
            try:
                stored = await uninterrupted(self.vault.store(step.keyset, shares, channel.peer))
            except SharekeeperError:
                await refuse(channel, session, StoreFailed("the backup service could not store the shares"))
                raise
            await channel.send_frame(session.send_receipt())
        return stored

    async def hand_out(self, step: HandOut, release: Callable[[], Awaitable[None]]) -> None:
        """The recovering node has the shares durably; its receipt says so.

        Spec: "Recovery", backup service, steps 2 and 3. `release` is awaited right before the first share
        byte leaves, after handshake and hellos: it raises if the shares may not leave any more.

        Raises:
            PeerFault: the node, or no receipt.
            NoBackup, HostFault: the vault.
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
        )
        async with self._greeted(recovery.recovering.info, session) as channel:
            try:
                frame = session.send_shares(await self.vault.open(step.backup_id))
            except SharekeeperError:
                await refuse(channel, session, NoBackup("the backup service has no usable backup of this keyset"))
                raise
            await release()
            await channel.send_frame(frame)
            del frame
            await receive(channel, session, Receipt)

    @contextlib.asynccontextmanager
    async def _greeted(self, node: ParticipantInfo, session: Session) -> AsyncIterator[Channel]:
        """A channel to the node on which both sides have said the same hello."""
        async with dialled(self.connect, host_of(node.url), self.node_agent_port, node.tls_public_key) as channel:
            await channel.send_frame(session.send_hello())
            await receive(channel, session, Hello)
            yield channel
