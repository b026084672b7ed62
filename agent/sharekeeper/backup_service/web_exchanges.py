"""The two exchanges of the backup service over web endpoints (spec: "Version 2"; docs/wire-format.md).

Each opens an exchange on the contract, waits for the node's answer to be final, and makes one signed request; in hard
launch, one more before that, in which both sides show their evidence.
"""

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from sharekeeper.backup_service.exchanges import Release
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.ephemeral import X25519_KEY_BYTES, ExchangeId
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.domain.protocol_state import ParticipantInfo
from sharekeeper.errors import PeerFault, ProtocolViolation, SharekeeperError, UnknownExchange
from sharekeeper.exchange import host_of, public
from sharekeeper.mutual_attestation import MutualAttestation
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import ChainReader, Clock, ContractCaller, Vault
from sharekeeper.protocol.key_exchange import KeyExchangeClient
from sharekeeper.protocol.messages import KeyShares, Receipt, ShownEvidence
from sharekeeper.protocol.monitoring import FetchShares, HandOut
from sharekeeper.protocol.sealed_body import NONCE_BYTES, SealedBodies
from sharekeeper.protocol.session import Nonces, Session, WebBackupClient, WebRecoveryClient
from sharekeeper.reconcile import ChainWatch, uninterrupted
from sharekeeper.secret import Secret
from sharekeeper.spec import EPHEMERAL_KEY_BLOCKS

T = TypeVar("T")
_LOG: Final = logging.getLogger(__name__)
EXCHANGE_ID_BYTES: Final = 16
_LOOKS_PER_BLOCK: Final = 4
"""How often the node's answer is looked for: a block's time lost here is a block longer for the whole exchange."""


class Web(Protocol):
    """What the exchanges need of `adapters.web_client.WebClient`."""

    async def reach(self, base_url: str) -> None:
        """A node agent seems to answer there. Raises `PeerFault`."""

    async def request(
        self, base_url: str, purpose: Purpose, exchange_id: ExchangeId, body: bytes, peer: TlsKey
    ) -> bytes:
        """The sealed body `peer` signed in answer. Raises `PeerFault`, `UnknownExchange` among them."""

    async def attest(self, base_url: str, exchange_id: ExchangeId, evidence: bytes, peer: TlsKey) -> bytes:
        """The evidence message `peer` signed in answer to ours. Raises as `request`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPorts:
    """What version 2 works with. `node_url`: base url of every node, or None for its participant's host and `port`."""

    web: Web
    tls: KeyPair
    port: int
    node_url: str | None
    entropy: Callable[[int], bytes] = os.urandom

    def url_of(self, node: ParticipantInfo) -> str:
        """Base url of that node's endpoints. Raises `PeerUnreachable` if its own url names no host."""
        if self.node_url is not None:
            return self.node_url
        host = host_of(node.url)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebExchanges:
    """Who we are, and with what we exchange. `attestation` None: soft launch, nobody shows evidence."""

    account_id: AccountId
    network: NetworkId
    vault: Vault
    chain: ChainReader
    caller: ContractCaller
    watch: ChainWatch
    clock: Clock
    ports: WebPorts
    attestation: MutualAttestation | None = None

    async def fetch(self, step: FetchShares) -> StoredBackup:
        """The shares of `step.keyset` are durable in the vault.

        Raises:
            PeerFault: the node; nothing was stored.
            ChainFault: the chain, or a contract that does not take the record.
            HostFault: the vault.
            AttestationUnavailable, AttestationRefused: this side's evidence.
        """
        return await _once_more(lambda: self._fetch(step))

    async def hand_out(self, step: HandOut, release: Release) -> None:
        """The recovering node has the shares durably; its sealed and signed receipt says so.

        `release` is awaited right before the first share byte leaves, sealed as it is: it raises if the shares
        may not leave any more.

        Raises:
            PeerFault: the node, or no receipt; `EvidenceExpired` if the exchange lasted too long, and no share left.
            ChainFault: the chain, or a contract that does not take the record.
            NoBackup, HostFault: the vault.
            AttestationUnavailable, AttestationRefused: this side's evidence.
            SharekeeperError: what `release` raises; no share has left.
        """
        await _once_more(lambda: self._hand_out(step, release))

    async def _fetch(self, step: FetchShares) -> StoredBackup:
        new = partial(
            WebBackupClient,
            account_id=self.account_id,
            network=self.network,
            keyset=step.keyset,
            node_tls_key=step.node.tls_public_key,
            backup_service_tls_key=self.ports.tls.tls_key,
        )
        async with self._agreed(new, step.node) as agreed:
            event = agreed.session.receive(agreed.bodies.open(await agreed.ask(b"")))
        if not isinstance(event, KeyShares):
            raise ProtocolViolation("the node answered with something else than key shares")
        self._check_unexpired(agreed.session)
        return await uninterrupted(self.vault.store(step.keyset, event.shares, step.node.tls_public_key))

    async def _hand_out(self, step: HandOut, release: Release) -> None:
        recovery = step.recovery
        new = partial(
            WebRecoveryClient,
            account_id=self.account_id,
            network=self.network,
            keyset=recovery.previous.keyset,
            node_tls_key=recovery.recovering.info.tls_public_key,
            backup_service_tls_key=self.ports.tls.tls_key,
            recovery_id=recovery.recovery_id,
        )
        async with self._agreed(new, recovery.recovering.info) as agreed:
            session = agreed.session
            frame = session.send_shares(await self.vault.open(step.backup_id))
            body = agreed.bodies.seal(frame, self.ports.entropy(NONCE_BYTES))
            del frame
            await release(session.peer_verdict)
            self._check_unexpired(session)
            event = session.receive(agreed.bodies.open(await agreed.ask(body)))
        if not isinstance(event, Receipt):
            raise ProtocolViolation("the node answered with something else than a receipt")

    def _check_unexpired(self, session: Session) -> None:
        if self.attestation is not None:
            self.attestation.check_unexpired(session)

    @contextlib.asynccontextmanager
    async def _agreed(self, new: Callable[..., Session], node: ParticipantInfo) -> AsyncIterator["_Agreed"]:
        """Keys agreed with the node and, if they must be, both machines' evidence accepted.

        Keys and pair are forgotten when the block ends, however it ends. No transaction is spent on a node that cannot
        be reached. `new` makes the session; only its `nonces` are missing.
        """
        url = self.ports.url_of(node)
        await self.ports.web.reach(url)
        height = (await self.watch.look()).head.height
        side = KeyExchangeClient(
            new().exchange,
            exchange_id=ExchangeId(self.ports.entropy(EXCHANGE_ID_BYTES).hex()),
            secret=Secret(self.ports.entropy(X25519_KEY_BYTES)),
            tls=self.ports.tls,
            expires_on=height + EPHEMERAL_KEY_BLOCKS,
        )
        bodies: SealedBodies | None = None
        try:
            await self.caller.call("submit_ephemeral_key", side.arguments())
            bodies = await self._answered(side)
            nonces = None if self.attestation is None else _nonces(bodies)
            agreed = _Agreed(session=new(nonces=nonces), bodies=bodies, side=side, url=url, web=self.ports.web)
            if self.attestation is not None:
                await agreed.attest(self.attestation)
            yield agreed
        finally:
            side.forget()
            if bodies is not None:
                bodies.forget()

    async def _answered(self, side: KeyExchangeClient) -> SealedBodies:
        """The keys, once the node's answer is final. Raises as `KeyExchangeClient.derive`."""
        while True:
            head = (await self.watch.look()).head
            slots = await self.chain.ephemeral_keys(self.account_id, head)
            bodies = side.derive(side.slot_opened(slots), head.height)
            if bodies is not None:
                return bodies
            await self.clock.sleep(self.watch.pause_seconds / _LOOKS_PER_BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Agreed:
    """One exchange with keys: one request for shares, or with shares, may be made."""

    session: Session
    bodies: SealedBodies
    side: KeyExchangeClient
    url: str
    web: Web

    async def ask(self, body: bytes) -> bytes:
        """The node's sealed answer to the sealed `body`. Raises as `Web.request`."""
        exchange = self.side.exchange
        return await self.web.request(
            self.url, exchange.purpose, self.side.record.exchange_id, body, exchange.node_tls_key
        )

    async def attest(self, attestation: MutualAttestation) -> None:
        """Both sides' evidence is accepted; the node is told if its own is not.

        Raises as `Web.attest` and `MutualAttestation`.
        """
        shown = self.session.receive(await self._show(await attestation.prove(self.session)))
        if not isinstance(shown, ShownEvidence):
            raise ProtocolViolation("the node answered with something else than its evidence")
        try:
            await attestation.verify(self.session, shown)
        except SharekeeperError as fault:
            with contextlib.suppress(PeerFault):
                await self._show(self.session.refuse(public(fault)))
            raise

    async def _show(self, frame: bytes) -> bytes:
        """The node's answer to evidence, or to a refusal in its place."""
        return await self.web.attest(self.url, self.side.record.exchange_id, frame, self.side.exchange.node_tls_key)


def _nonces(bodies: SealedBodies) -> Nonces:
    """The ephemeral keys are made for one exchange: each is its owner's nonce."""
    agreed = bodies.transcript
    return Nonces(own=agreed.backup_service_key.raw, peer=agreed.node_key.raw)


async def _once_more(exchange: Callable[[], Awaitable[T]]) -> T:
    """The result of `exchange`; a node that knows its key no more, say after a restart, gets one new exchange."""
    try:
        return await exchange()
    except UnknownExchange as error:
        log_event(_LOG, logging.INFO, f"opening a new exchange: {error}", code=error.code)
    return await exchange()
