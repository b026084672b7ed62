"""The node's side of the two exchanges over web endpoints (spec: "Version 2", "Node"; docs/wire-format.md).

Each turn it answers the record with which a backup service opens an exchange, once; then it serves that exchange,
once, in hard launch only after both sides have shown their evidence. Each of the account's two slots has an exchange of
its own, and a fault in one leaves the other's alone. The pair lives here and nowhere else: after a restart the exchange
is unknown.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.ephemeral import X25519_KEY_BYTES, EphemeralKeys, ExchangeId
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.domain.protocol_state import AccountRecord, Recovery
from sharekeeper.errors import (
    PeerFault,
    PeerNotAttested,
    PinChanged,
    ProtocolViolation,
    PurposeDiffers,
    SharekeeperError,
    UnknownExchange,
    ViewsDiffer,
)
from sharekeeper.exchange import public
from sharekeeper.node_agent.sessions import Sessions
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import ChainReader, Clock, ContractCaller
from sharekeeper.protocol.key_exchange import AnswerRecord, KeyExchangeServer, decide_answer, unanswered
from sharekeeper.protocol.messages import KeyShares, ShownEvidence
from sharekeeper.protocol.sealed_body import NONCE_BYTES, SealedBodies
from sharekeeper.protocol.session import Nonces, Session, WebBackupServer, WebRecoveryServer
from sharekeeper.protocol.session_tables import State
from sharekeeper.reconcile import Backoff, ChainWatch, Faults, View, Worker
from sharekeeper.secret import Secret
from sharekeeper.spec import SLOTS

_LOG: Final = logging.getLogger(__name__)
_FINAL_SECONDS: Final = 10.0
"""How long a request waits until this side, too, sees its own answer final."""
_GONE: Final = "this node has no key of that exchange: it was used, replaced, or lost in a restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSessionPorts:
    """What version 2 works with. `expected_peers`, `account` and `ended` (purpose, result) are the node agent's."""

    chain: ChainReader
    caller: ContractCaller
    clock: Clock
    watch: ChainWatch
    faults: Faults
    tls: KeyPair
    expected_peers: Callable[[], Awaitable[tuple[TlsKey, ...]]]
    account: Callable[[View], Awaitable[AccountRecord]]
    ended: Callable[[str, str], None]
    entropy: Callable[[int], bytes] = os.urandom


class WebSessions:
    """The exchanges under way, by slot. `adapters.web_server` asks `expected_peers`, `admit` and `serve`."""

    def __init__(self, sessions: Sessions, ports: WebSessionPorts) -> None:
        self._sessions = sessions
        self._ports = ports
        self._slots: Final = tuple(SlotSession(slot, sessions, ports) for slot in range(SLOTS))

    async def turn(self, view: View, *, held: bool) -> None:
        """The exchange that is open at `view` in either slot is answered or about to be.

        `held`: the shares of the keyset in force are on disk.

        Raises:
            PeerFault: the record that opens an exchange is not acceptable; the other slot had its turn.
            ChainFault: the views.
        """
        keys = await self._ports.chain.ephemeral_keys(self._sessions.account_id, view.head)
        faults = []
        for slot, its_keys in zip(self._slots, keys, strict=True):
            try:
                await slot.turn(view, its_keys, held=held)
            except SharekeeperError as error:
                faults.append(error)
        if faults:
            raise faults[0]

    async def stop(self) -> None:
        """No answer is under way, and no pair is held."""
        for slot in self._slots:
            await slot.stop()

    async def expected_peers(self) -> tuple[TlsKey, ...]:
        """The backup services to serve, as `NodeAgent.expected_peers`."""
        return await self._ports.expected_peers()

    def admit(self, peer: TlsKey, purpose: Purpose | None, exchange_id: ExchangeId) -> None:
        """Returns when that exchange with `peer` is under way and not used up. `purpose` None: evidence comes.

        Raises:
            UnknownExchange: another one is, or none, or this machine restarted since.
            PurposeDiffers: it has another purpose.
            PeerNotAttested: the peer must show evidence first.
        """
        self._slot(peer, exchange_id).admitted(purpose)

    async def attest(self, peer: TlsKey, exchange_id: ExchangeId, body: bytes) -> bytes:
        """The own evidence message; that in `body` was accepted. Raises as `SlotSession.attest`, and `UnknownExchange`."""
        return await self._slot(peer, exchange_id).attest(body)

    async def serve(self, peer: TlsKey, purpose: Purpose, exchange_id: ExchangeId, body: bytes) -> bytes:
        """The sealed answer: for a backup the shares, for a recovery the receipt of what is now durable.

        Raises as `SlotSession.serve`, and `UnknownExchange`.
        """
        return await self._slot(peer, exchange_id).serve(purpose, body)

    def _slot(self, peer: TlsKey, exchange_id: ExchangeId) -> "SlotSession":
        found = next((slot for slot in self._slots if slot.has(peer, exchange_id)), None)
        if found is None:
            raise UnknownExchange(_GONE)
        return found


class SlotSession:
    """The exchange of one slot under way, if there is one."""

    def __init__(self, slot: int, sessions: Sessions, ports: WebSessionPorts) -> None:
        self._slot = slot
        self._topic = f"answer in slot {slot}"
        self._sessions = sessions
        self._ports = ports
        self._side: KeyExchangeServer | None = None
        self._attested: tuple[KeyExchangeServer, Session] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._answering = Worker(self._answer)
        self._backoff = Backoff(ports.clock)

    # --- answering ------------------------------------------------------------------------------

    async def turn(self, view: View, keys: EphemeralKeys, *, held: bool) -> None:
        """As `WebSessions.turn`, for this slot; a pair whose time is over is forgotten. `keys`: the slot's at `view`."""
        self._forget_stale(keys, view.head.height)
        step = await self._decide(view, keys, held=held) if unanswered(keys) else None
        await self._answering.follow(step if step is not None and self._backoff.due(step) else None)

    async def stop(self) -> None:
        """No answer is under way, and no pair is held."""
        await self._answering.stop()
        if self._side is not None:
            self._side.forget()

    async def _decide(self, view: View, keys: EphemeralKeys, *, held: bool) -> AnswerRecord | None:
        service = (await self._ports.account(view)).backup_services[self._slot]
        step = decide_answer(
            state=view.state,
            account_id=self._sessions.account_id,
            network=self._sessions.network,
            tls_key=self._sessions.tls_key,
            backup_service=None if service is None else service.tls_public_key,
            keys=keys,
            held=held,
            height=view.head.height,
        )
        return step if isinstance(step, AnswerRecord) else None

    def _forget_stale(self, keys: EphemeralKeys, height: int) -> None:
        side, opening = self._side, keys.backup_service
        if side is not None and (height >= side.record.expires_on or opening is None or opening.record != side.opening):
            side.forget()

    async def _answer(self, step: AnswerRecord) -> None:
        """The answer is final, or its fault noted and its next try, with the same record, put off."""
        with self._ports.faults.duty(self._topic):
            side = self._side_of(step)
            await self._ports.caller.call("submit_ephemeral_key", side.arguments())
            log_event(_LOG, logging.INFO, "exchange answered", exchange_id=side.record.exchange_id)
        self._backoff.tried(step, block_seconds=self._ports.watch.pause_seconds)

    def _side_of(self, step: AnswerRecord) -> KeyExchangeServer:
        """The one side that answers that record, whatever becomes of the call. Raises `PeerFault`."""
        if self._side is None or self._side.opening != step.opening.record:
            newest = self._ports.watch.newest
            self._side = KeyExchangeServer(
                step.exchange,
                opening=step.opening,
                secret=Secret(self._ports.entropy(X25519_KEY_BYTES)),
                tls=self._ports.tls,
                height=0 if newest is None else newest.head.height,
            )
        return self._side

    # --- serving --------------------------------------------------------------------------------

    def has(self, peer: TlsKey, exchange_id: ExchangeId) -> bool:
        """The last exchange here is that one, with `peer`; its pair may be used up."""
        side = self._side
        found = None if side is None else (side.record.exchange_id, side.exchange.backup_service_tls_key)
        return found == (exchange_id, peer)

    def admitted(self, purpose: Purpose | None) -> KeyExchangeServer:
        """This side of the exchange under way. `purpose`: what it must be for and, in hard launch, attested for.

        Raises:
            UnknownExchange, PurposeDiffers, PeerNotAttested: as `WebSessions.admit`.
        """
        side = self._side
        if side is None or side.forgotten:
            raise UnknownExchange(_GONE)
        if purpose is None:
            return side
        if side.exchange.purpose is not purpose:
            raise PurposeDiffers(f"that exchange was opened for a {side.exchange.purpose.value}")
        if self._sessions.attestation is not None and self._attested_session(side) is None:
            raise PeerNotAttested("no share travels before both sides have shown their evidence in this exchange")
        return side

    def _attested_session(self, side: KeyExchangeServer) -> Session | None:
        """The session in which both sides have shown their evidence, if `side` has come so far."""
        if self._attested is None or self._attested[0] is not side or self._attested[1].state is not State.READY:
            return None
        return self._attested[1]

    async def attest(self, body: bytes) -> bytes:
        """The own evidence message, made for this exchange; that in `body` was accepted.

        1. The exchange is under way, and both records are final. 2. The contract still registers this backup service.
        3. It still shows the same keyset and recovery. 4. The evidence, once. The pair is used up if anything fails.

        Raises:
            PeerFault: the backup service, or its view of the contract.
            SharekeeperError: a fault of this side, without its details.
        """
        side = self.admitted(None)
        return await self._concluded(side, self._exchange_evidence(side, body), to_end=False)

    async def _exchange_evidence(self, side: KeyExchangeServer, body: bytes) -> bytes:
        attestation = self._sessions.attestation
        if attestation is None:
            raise ProtocolViolation("one side is attested, the other is not: this machine runs the soft launch")
        async with self._one_at_a_time:
            if self._attested is None or self._attested[0] is not side:
                side.check_records(*await self._records())  # 1
                await self._check_registered(side)  # 2
                self._attested = side, (await self._session(side))[0]  # 3
            session = self._attested[1]
        shown = session.receive(body)  # 4
        if not isinstance(shown, ShownEvidence):
            raise ProtocolViolation("the backup service sent something else than its evidence")
        await attestation.verify(session, shown)
        return await attestation.prove(session)

    async def serve(self, purpose: Purpose, body: bytes) -> bytes:
        """The sealed answer: for a backup the shares, for a recovery the receipt of what is now durable.

        1. The exchange is under way and, in hard launch, attested. 2. Both records are final; the pair is used up,
        whatever follows. 3. The contract still registers this backup service. 4. It still shows the same keyset and
        recovery. 5. The exchange itself, as in version 1.

        Raises:
            PeerFault: the backup service, or its view of the contract.
            SharekeeperError: a fault of this side, without its details.
        """
        side = self.admitted(purpose)  # 1
        work = self._served(side, self._attested_session(side), body)
        return await self._concluded(side, work, to_end=True)

    async def _concluded(self, side: KeyExchangeServer, work: Coroutine[Any, Any, bytes], *, to_end: bool) -> bytes:
        """The answer that `work` gives. If it fails, or was the exchange's end, the pair is used up and the end counted."""
        result = "cancelled"
        try:
            answer = await work
            result = "durable"
        except SharekeeperError as error:
            result = error.code
            if not isinstance(error, PeerFault):
                self._ports.faults.note("exchange", error)
            raise public(error) from None
        finally:
            if to_end or result != "durable":
                side.forget()
                self._ports.ended(side.exchange.purpose.value, result)
        return answer

    async def _served(self, side: KeyExchangeServer, attested: Session | None, body: bytes) -> bytes:
        bodies = side.derive(*await self._records())  # 2
        try:
            await self._check_registered(side)  # 3
            now, recovery = await self._session(side)  # 4
            session = attested or now
            if recovery is None:
                return await self._serve_backup(session, bodies)
            return await self._take_recovery(recovery, session, bodies, body)
        finally:
            bodies.forget()

    async def _records(self) -> tuple[EphemeralKeys, int]:
        """The slot's records and the final block's height, as soon as this side sees its own answer final, or time is up."""
        clock = self._ports.clock
        deadline = clock.monotonic() + _FINAL_SECONDS
        while True:
            head = (await self._ports.watch.look()).head
            keys = (await self._ports.chain.ephemeral_keys(self._sessions.account_id, head))[self._slot]
            if not unanswered(keys) or clock.monotonic() >= deadline:
                return keys, head.height
            await clock.sleep(self._ports.watch.pause_seconds)

    async def _check_registered(self, side: KeyExchangeServer) -> None:
        if side.exchange.backup_service_tls_key not in await self._ports.expected_peers():
            raise PinChanged("the contract no longer registers this backup service")

    async def _session(self, side: KeyExchangeServer) -> tuple[Session, Recovery | None]:
        """A new session of the exchange, which is what the contract shows now; and the recovery, if it is for one.

        In hard launch it begins with evidence, for which the ephemeral keys are the nonces.

        Raises:
            ViewsDiffer: the contract shows another keyset or recovery, or none for this machine.
        """
        exchange, nonces = side.exchange, None
        if self._sessions.attestation is not None:
            nonces = Nonces(own=side.record.public_key.raw, peer=side.opening.public_key.raw)
        recovery = await self._sessions.own_recovery() if exchange.purpose is Purpose.RECOVERY else None
        keyset = await self._sessions.keyset_in_force() if recovery is None else recovery.previous.keyset
        session = (WebBackupServer if recovery is None else WebRecoveryServer)(
            account_id=self._sessions.account_id,
            network=self._sessions.network,
            keyset=keyset,
            node_tls_key=self._sessions.tls_key,
            backup_service_tls_key=exchange.backup_service_tls_key,
            recovery_id=None if recovery is None else recovery.recovery_id,
            nonces=nonces,
        )
        if session.exchange != exchange:
            raise ViewsDiffer(
                "the contract shows another keyset or recovery than when this exchange was opened; open anew"
            )
        return session, recovery

    async def _serve_backup(self, session: Session, bodies: SealedBodies) -> bytes:
        shares = await self._sessions.shares_of(session.keyset)
        self._sessions.check_unexpired(session)
        return bodies.seal(session.send_shares(shares), self._ports.entropy(NONCE_BYTES))  # 5

    async def _take_recovery(self, recovery: Recovery, session: Session, bodies: SealedBodies, body: bytes) -> bytes:
        event = session.receive(bodies.open(body))  # 5
        if not isinstance(event, KeyShares):
            raise ViewsDiffer("the backup service sent something else than key shares")
        self._sessions.check_unexpired(session)
        await self._sessions.stage(recovery, event.shares)
        return bodies.seal(session.send_receipt(), self._ports.entropy(NONCE_BYTES))
