"""One exchange of key shares, as a state machine without I/O. Both purposes, both sides, both launches.

Rules:

1. The backup service opens: it sends its hello first, the node answers with its own. In a hello each side
   says the whole exchange as it sees it on the contract. They must be equal; only the role differs.
2. Backup: the node gives, the backup service takes. Recovery: the backup service gives, the node takes.
3. The giver sends its shares once, when both sides are ready. The taker checks them against its own keyset.
4. The taker sends its receipt once, after the shares are durable. The giver believes a transfer only then
   (design decision 3), and only when the receipt names this exchange and the very bytes it sent.
5. Either side may end the exchange with a refusal while it lasts. A refusal is not answered.
6. A move that the tables lack is refused. After any violation the session is poisoned: it raises the first
   fault for ever, and `refusal` holds the frame that tells the peer, if there is something to tell.

7. Version 2 has no hellos: the two signed records on the contract and the transcript under which each body is
   sealed say what hellos say. Its sessions begin after them, and a backup ends with the shares.

8. Soft launch: both sides are ready after the hellos. Hard launch (design decision 9): each hello brings a fresh
   nonce (in version 2 the ephemeral keys are the nonces); then the opener shows its evidence, and after that the
   answerer its own. Either is made over `report_data` of its side, so it is of no use in any other exchange. A
   side is ready only when somebody has verified the peer's evidence and put the verdict into `accept_evidence`,
   and has shown its own: no table leads to the shares around it. Launches do not mix.
9. A verdict does not last for ever: `check_unexpired` is asked again at the last moment before shares are given
   or kept.

A session is one exchange on one channel; that a repeated transfer changes nothing is up to vault and store.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from sharekeeper.attestation.report_data import exchange_report_data
from sharekeeper.domain.attestation import Evidence, Verdict
from sharekeeper.domain.identity import AccountId, NetworkId, Role, TlsKey
from sharekeeper.domain.keyset import Keyset, Sha256Hex
from sharekeeper.domain.keyshare import KeyShare, Purpose, SharesMismatch, check_shares
from sharekeeper.errors import (
    EvidenceExpired,
    PeerFault,
    PeerRefused,
    ProtocolViolation,
    SharekeeperError,
    SharesRefused,
    ViewsDiffer,
)
from sharekeeper.protocol.messages import (
    MAX_EVIDENCE_FRAME_BYTES,
    Exchange,
    Hello,
    KeyShares,
    Message,
    Receipt,
    Refusal,
    ShownEvidence,
    decode_message,
    encode_message,
    payload_digest,
)
from sharekeeper.protocol.session_tables import (
    ANSWERER,
    ATTESTED_ANSWERER,
    ATTESTED_OPENER,
    GIVER,
    LAST_GIVEN,
    LAST_TAKEN,
    OPENER,
    TAKER,
    Direction,
    Moves,
    State,
)
from sharekeeper.spec import MAX_CONTROL_FRAME_BYTES, MAX_SHARES_FRAME_BYTES

Event = Hello | ShownEvidence | KeyShares | Receipt
"""What `receive` returns: the peer's hello (equal views), evidence (unverified), shares (checked), receipt (delivered)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nonces:
    """What each side's evidence must be made for, 32 bytes each. `peer` is None until its hello says it."""

    own: bytes
    peer: bytes | None = None


class Session:
    """One side of one exchange; see the subclasses. The module's docstring has the rules."""

    purpose: ClassVar[Purpose]
    role: ClassVar[Role]
    transfer: ClassVar[Moves]
    greets: ClassVar[bool] = True
    """It begins with hellos."""

    def __init__(
        self,
        *,
        account_id: AccountId,
        network: NetworkId,
        keyset: Keyset,
        node_tls_key: TlsKey,
        backup_service_tls_key: TlsKey,
        recovery_id: int | None = None,
        nonces: Nonces | None = None,
    ) -> None:
        """All as this side sees it on the contract; of the TLS keys one is its own, the other the channel's peer.

        `nonces`: hard launch. The own one is fresh from the operating system; the peer's comes with its hello, and
        is given here only where there are no hellos. None: soft launch, nobody shows evidence.

        Raises:
            ValueError: a recovery without `recovery_id`, a backup with one, or equal TLS keys.
        """
        self.exchange: Final = Exchange(
            account_id=account_id,
            network=network,
            purpose=self.purpose,
            recovery_id=recovery_id,
            keyset_digest=keyset.digest(),
            node_tls_key=node_tls_key,
            backup_service_tls_key=backup_service_tls_key,
        )
        self.moves: Final = self._opening(attested=nonces is not None) | self.transfer
        self.keyset: Final = keyset
        self._nonces = nonces
        self._state = self._start
        self._own_verdict: Verdict | None = None
        self._peer_verdict: Verdict | None = None
        self._fault: SharekeeperError | None = None
        self._refusal: bytes | None = None
        self._payload_digest = Sha256Hex.of(b"")

    @classmethod
    def _opening(cls, *, attested: bool) -> Moves:
        """Everything before the shares (rule 1)."""
        if cls.role is Role.BACKUP_SERVICE:
            return ATTESTED_OPENER if attested else OPENER
        return ATTESTED_ANSWERER if attested else ANSWERER

    @property
    def _start(self) -> State:
        if self.greets:
            return State.START
        return State.GREETED if self.attested else State.READY

    @property
    def attested(self) -> bool:
        """Shares travel only between machines that have shown evidence: hard launch."""
        return self._nonces is not None

    @property
    def state(self) -> State:
        """How far the exchange has come."""
        return self._state

    @property
    def peer_role(self) -> Role:
        """On which side of the exchange the peer stands."""
        return Role.NODE if self.role is Role.BACKUP_SERVICE else Role.BACKUP_SERVICE

    def code_of(self, side: Role) -> Role:
        """Which role's code the machine on that side must run: that is what its evidence is checked for."""
        return side

    @property
    def peer_tls_key(self) -> TlsKey:
        """The key the peer proves."""
        return self.exchange.backup_service_tls_key if self.role is Role.NODE else self.exchange.node_tls_key

    @property
    def peer_verdict(self) -> Verdict | None:
        """What the peer's evidence proved, once it was accepted."""
        return self._peer_verdict

    @property
    def refusal(self) -> bytes | None:
        """After a fault of the peer: the frame that tells it, for the caller to send before closing."""
        return self._refusal

    @property
    def receive_limit(self) -> int:
        """The largest frame that may come next, in bytes."""
        for kind, limit in ((KeyShares, MAX_SHARES_FRAME_BYTES), (ShownEvidence, MAX_EVIDENCE_FRAME_BYTES)):
            if (self._state, Direction.RECEIVE, kind) in self.moves:
                return limit
        return MAX_CONTROL_FRAME_BYTES

    def receive(self, frame: bytes) -> Event:
        """The peer's message in `frame`, decoded, in order and checked; evidence is for the caller to verify.

        Raises:
            ProtocolViolation: not a message, out of order, reflected, or of another party, exchange or launch.
            ViewsDiffer: the peer acts on another keyset or recovery; one side is behind the chain.
            SharesRefused: the shares are not those of the keyset.
            PeerRefused: the peer ended the exchange; the text carries its code and message.
            SharekeeperError: the session had failed before; the first fault again.
        """
        self._raise_if_failed()
        try:
            event, after = self._accept(frame)
        except PeerFault as fault:
            self._fail(fault)
            if not isinstance(fault, PeerRefused):
                self._refusal = encode_message(Refusal.of(fault))
            raise
        self._state = after
        return event

    def send_hello(self) -> bytes:
        """The frame of this side's hello."""
        nonce = None if self._nonces is None else self._nonces.own
        return self._send(Hello(role=self.role, exchange=self.exchange, nonce=nonce))

    def report_data(self, side: Role) -> bytes:
        """The 64 bytes that the evidence of the machine on that side must be made over. Both nonces are known by now."""
        nonces = self._nonces
        if nonces is None or nonces.peer is None:
            raise RuntimeError("there is no evidence in soft launch, nor before the hellos")
        own, peer = (nonces.own, nonces.peer) if side is self.role else (nonces.peer, nonces.own)
        return exchange_report_data(self.exchange, side, own_nonce=own, peer_nonce=peer)

    def send_evidence(self, evidence: Evidence, verdict: Verdict) -> bytes:
        """The frame of this side's evidence. `verdict`: what a verifier says of it."""
        _check_succeeded(verdict)
        frame = self._send(ShownEvidence(evidence=evidence))
        self._own_verdict = verdict
        return frame

    def accept_evidence(self, verdict: Verdict) -> None:
        """The evidence that was received last is the peer's, made over its `report_data`: `verdict` says so."""
        self._raise_if_failed()
        _check_succeeded(verdict)
        self._state = self._after(Direction.ACCEPT, ShownEvidence)
        self._peer_verdict = verdict

    def check_unexpired(self, now_s: float) -> None:
        """Returns when both sides' evidence is still valid at `now_s` (seconds since 1970); always in soft launch.

        Raises:
            EvidenceExpired: it is not; a new exchange, with new evidence, may follow.
        """
        if not self.attested:
            return
        for side, verdict in (("this side", self._own_verdict), ("the peer", self._peer_verdict)):
            if verdict is None:
                raise RuntimeError(f"{side} has not shown its evidence yet")
            if now_s >= verdict.expires_at_s:
                raise EvidenceExpired(f"the evidence of {side} expired while the exchange lasted; try again")

    def send_shares(self, shares: tuple[KeyShare, ...]) -> bytes:
        """The frame of the shares; it holds secrets. Raises `SharesMismatch` if they are not the keyset's."""
        check_shares(self.keyset, shares)
        frame = self._send(KeyShares(shares=shares))
        self._payload_digest = payload_digest(frame)
        return frame

    def send_receipt(self) -> bytes:
        """The frame of the receipt. The caller has made the shares durable before."""
        return self._send(Receipt(role=self.role, exchange=self.exchange, payload_digest=self._payload_digest))

    def refuse(self, fault: SharekeeperError) -> bytes:
        """The frame of a refusal for a fault on this side, whose text the peer may read. The session has failed."""
        self._raise_if_failed()
        if self._state is State.DONE:
            raise RuntimeError("the exchange is complete: there is nothing to refuse")
        self._fail(fault)
        return encode_message(Refusal.of(fault))

    def _send(self, message: Hello | ShownEvidence | KeyShares | Receipt) -> bytes:
        self._raise_if_failed()
        after = self._after(Direction.SEND, type(message))
        frame = encode_message(message)
        self._state = after
        return frame

    def _after(self, direction: Direction, kind: type[Message]) -> State:
        """Where a move of this side's own leads. Raises `RuntimeError` if the table lacks it."""
        after = self.moves.get((self._state, direction, kind))
        if after is None:
            does = direction.name.lower()
            raise RuntimeError(f"a {type(self).__name__} does not {does} a {kind.__name__} in {self._state}")
        return after

    def _accept(self, frame: bytes) -> tuple[Event, State]:
        message = decode_message(frame)
        if isinstance(message, Refusal):
            raise PeerRefused(f"the peer refused: {message.message} ({message.code})")
        after = self.moves.get((self._state, Direction.RECEIVE, type(message)))
        if after is None:
            raise ProtocolViolation(f"the peer sent a {type(message).__name__} out of order")
        match message:
            case Hello():
                self._check_hello(message)
            case KeyShares():
                self._check_shares(message)
                self._payload_digest = payload_digest(frame)
            case Receipt():
                self._check_receipt(message)
            case _:
                pass
        return message, after

    def _check_hello(self, hello: Hello) -> None:
        _check_role(self.role, hello)
        _check_exchange(self.exchange, hello.exchange)
        if (hello.nonce is None) is self.attested:
            ours, theirs = ("hard", "soft") if self.attested else ("soft", "hard")
            raise ProtocolViolation(
                f"one side is attested, the other is not: this machine runs the {ours} launch, its peer the {theirs}; "
                "both must run the same"
            )
        if self._nonces is not None:
            if hello.nonce == self._nonces.own:
                raise ProtocolViolation("the peer's hello has this side's own nonce: a reflection")
            self._nonces = Nonces(own=self._nonces.own, peer=hello.nonce)

    def _check_shares(self, message: KeyShares) -> None:
        try:
            check_shares(self.keyset, message.shares)
        except SharesMismatch as error:
            raise SharesRefused(f"the peer's shares are not those of the keyset on the contract: {error}") from None

    def _check_receipt(self, receipt: Receipt) -> None:
        _check_role(self.role, receipt)
        if receipt.exchange != self.exchange:
            raise ProtocolViolation("the peer's receipt is for another exchange")
        if receipt.payload_digest != self._payload_digest:
            raise ProtocolViolation("the peer's receipt is for other bytes than were sent")

    def _fail(self, fault: SharekeeperError) -> None:
        self._fault = fault
        self._state = State.FAILED

    def _raise_if_failed(self) -> None:
        if self._fault is not None:
            raise self._fault


class BackupClient(Session):
    """The backup service fetches a backup: it opens and takes."""

    purpose = Purpose.BACKUP
    role = Role.BACKUP_SERVICE
    transfer = TAKER


class BackupServer(Session):
    """The node serves a backup: it answers and gives."""

    purpose = Purpose.BACKUP
    role = Role.NODE
    transfer = GIVER


class WebBackupClient(BackupClient):
    """Version 2: the backup service receives the shares, and that is all."""

    transfer = LAST_TAKEN
    greets = False


class WebBackupServer(BackupServer):
    """Version 2: the node sends the shares, and that is all."""

    transfer = LAST_GIVEN
    greets = False


class RecoveryClient(Session):
    """The backup service hands the shares back: it opens and gives."""

    purpose = Purpose.RECOVERY
    role = Role.BACKUP_SERVICE
    transfer = GIVER


class RecoveryServer(Session):
    """The recovering node takes its shares: it answers and takes."""

    purpose = Purpose.RECOVERY
    role = Role.NODE
    transfer = TAKER


class WebRecoveryClient(RecoveryClient):
    """Version 2: the backup service sends the shares and receives the receipt."""

    greets = False


class WebRecoveryServer(RecoveryServer):
    """Version 2: the recovering node receives the shares and sends the receipt."""

    greets = False


def _check_succeeded(verdict: Verdict) -> None:
    if not verdict.checks or not all(check.ok for check in verdict.checks):
        raise RuntimeError("a verdict with a check that did not succeed proves nothing")


def _check_role(own: Role, message: Hello | Receipt) -> None:
    if message.role is own:
        raise ProtocolViolation(f"the peer speaks as {own}, which is this side: a reflection, or the wrong machine")


def _check_exchange(ours: Exchange, theirs: Exchange) -> None:
    """Parties and purpose first, since a difference there is no matter of time; then what the chain may change."""
    for name in ("account_id", "network", "purpose", "node_tls_key", "backup_service_tls_key"):
        if getattr(ours, name) != getattr(theirs, name):
            raise ProtocolViolation(f"the peer's hello names another {name.replace('_', ' ')} than this side expects")
    for name in ("recovery_id", "keyset_digest"):
        if getattr(ours, name) != getattr(theirs, name):
            raise ViewsDiffer(
                f"the peer acts on {name} {getattr(theirs, name)}, this side on {getattr(ours, name)}: "
                "one of them is behind the chain; try again"
            )
