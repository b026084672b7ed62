"""One exchange of key shares, as a state machine without I/O. Both purposes, both sides.

Rules:

1. The backup service opens: it sends its hello first, the node answers with its own. In a hello each side
   says the whole exchange as it sees it on the contract. They must be equal; only the role differs.
2. Backup: the node gives, the backup service takes. Recovery: the backup service gives, the node takes.
3. The giver sends its shares once, after both hellos. The taker checks them against its own keyset.
4. The taker sends its receipt once, after the shares are durable. The giver believes a transfer only then
   (design decision 3), and only when the receipt names this exchange and the very bytes it sent.
5. Either side may end the exchange with a refusal while it lasts. A refusal is not answered.
6. A move that the tables lack is refused. After any violation the session is poisoned: it raises the first
   fault for ever, and `refusal` holds the frame that tells the peer, if there is something to tell.

7. Version 2 has no hellos: the two signed records on the contract and the transcript under which each body is
   sealed say what hellos say. Its sessions begin greeted, and a backup ends with the shares.

A session is one exchange on one channel; that a repeated transfer changes nothing is up to vault and store.
"""

from enum import Enum, auto
from typing import ClassVar, Final

from sharekeeper.domain.identity import AccountId, NetworkId, Role, TlsKey
from sharekeeper.domain.keyset import Keyset, Sha256Hex
from sharekeeper.domain.keyshare import KeyShare, Purpose, SharesMismatch, check_shares
from sharekeeper.errors import (
    PeerFault,
    PeerRefused,
    ProtocolViolation,
    SharekeeperError,
    SharesRefused,
    ViewsDiffer,
)
from sharekeeper.protocol.messages import (
    Exchange,
    Hello,
    KeyShares,
    Message,
    Receipt,
    Refusal,
    decode_message,
    encode_message,
    payload_digest,
)
from sharekeeper.spec import MAX_CONTROL_FRAME_BYTES, MAX_SHARES_FRAME_BYTES

Event = Hello | KeyShares | Receipt
"""What `receive` returns: the peer's hello (equal views), its shares (checked), its receipt (delivered)."""


class State(Enum):
    """How far the exchange has come, seen from one side."""

    START = auto()
    HELLO_SENT = auto()
    HELLO_RECEIVED = auto()
    GREETED = auto()
    SHARES_SENT = auto()
    SHARES_RECEIVED = auto()
    DONE = auto()
    FAILED = auto()


class Direction(Enum):
    """Of a message, seen from one side."""

    SEND = auto()
    RECEIVE = auto()


Moves = dict[tuple[State, Direction, type[Message]], State]

OPENER: Final[Moves] = {
    (State.START, Direction.SEND, Hello): State.HELLO_SENT,
    (State.HELLO_SENT, Direction.RECEIVE, Hello): State.GREETED,
}
ANSWERER: Final[Moves] = {
    (State.START, Direction.RECEIVE, Hello): State.HELLO_RECEIVED,
    (State.HELLO_RECEIVED, Direction.SEND, Hello): State.GREETED,
}
GIVER: Final[Moves] = {
    (State.GREETED, Direction.SEND, KeyShares): State.SHARES_SENT,
    (State.SHARES_SENT, Direction.RECEIVE, Receipt): State.DONE,
}
TAKER: Final[Moves] = {
    (State.GREETED, Direction.RECEIVE, KeyShares): State.SHARES_RECEIVED,
    (State.SHARES_RECEIVED, Direction.SEND, Receipt): State.DONE,
}
LAST_GIVEN: Final[Moves] = {(State.GREETED, Direction.SEND, KeyShares): State.DONE}
LAST_TAKEN: Final[Moves] = {(State.GREETED, Direction.RECEIVE, KeyShares): State.DONE}
ENDED: Final = frozenset({State.DONE, State.FAILED})


class Session:
    """One side of one exchange; see the subclasses. The module's docstring has the rules."""

    purpose: ClassVar[Purpose]
    role: ClassVar[Role]
    moves: ClassVar[Moves]
    start: ClassVar[State] = State.START

    def __init__(
        self,
        *,
        account_id: AccountId,
        network: NetworkId,
        keyset: Keyset,
        node_tls_key: TlsKey,
        backup_service_tls_key: TlsKey,
        recovery_id: int | None = None,
    ) -> None:
        """All as this side sees it on the contract; of the TLS keys one is its own, the other the channel's peer.

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
        self._keyset = keyset
        self._state = self.start
        self._fault: SharekeeperError | None = None
        self._refusal: bytes | None = None
        self._payload_digest = Sha256Hex.of(b"")

    @property
    def state(self) -> State:
        """How far the exchange has come."""
        return self._state

    @property
    def refusal(self) -> bytes | None:
        """After a fault of the peer: the frame that tells it, for the caller to send before closing."""
        return self._refusal

    @property
    def receive_limit(self) -> int:
        """The largest frame that may come next, in bytes."""
        expects_shares = (self._state, Direction.RECEIVE, KeyShares) in self.moves
        return MAX_SHARES_FRAME_BYTES if expects_shares else MAX_CONTROL_FRAME_BYTES

    def receive(self, frame: bytes) -> Event:
        """The peer's message in `frame`, decoded, in order and checked.

        Raises:
            ProtocolViolation: not a message, out of order, reflected, or of another party or exchange.
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
        return self._send(Hello(role=self.role, exchange=self.exchange))

    def send_shares(self, shares: tuple[KeyShare, ...]) -> bytes:
        """The frame of the shares; it holds secrets. Raises `SharesMismatch` if they are not the keyset's."""
        check_shares(self._keyset, shares)
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

    def _send(self, message: Hello | KeyShares | Receipt) -> bytes:
        self._raise_if_failed()
        after = self.moves.get((self._state, Direction.SEND, type(message)))
        if after is None:
            raise RuntimeError(f"a {type(self).__name__} does not send a {type(message).__name__} in {self._state}")
        frame = encode_message(message)
        self._state = after
        return frame

    def _accept(self, frame: bytes) -> tuple[Event, State]:
        message = decode_message(frame)
        if isinstance(message, Refusal):
            raise PeerRefused(f"the peer refused: {message.message} ({message.code})")
        after = self.moves.get((self._state, Direction.RECEIVE, type(message)))
        if after is None:
            raise ProtocolViolation(f"the peer sent a {type(message).__name__} out of order")
        match message:
            case Hello():
                _check_role(self.role, message)
                _check_exchange(self.exchange, message.exchange)
            case KeyShares():
                self._check_shares(message)
                self._payload_digest = payload_digest(frame)
            case _:
                self._check_receipt(message)
        return message, after

    def _check_shares(self, message: KeyShares) -> None:
        try:
            check_shares(self._keyset, message.shares)
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
    """The backup service fetches a backup: sends hello, receives hello, receives shares, sends a receipt."""

    purpose = Purpose.BACKUP
    role = Role.BACKUP_SERVICE
    moves = OPENER | TAKER


class BackupServer(Session):
    """The node serves a backup: receives hello, sends hello, sends shares, receives a receipt."""

    purpose = Purpose.BACKUP
    role = Role.NODE
    moves = ANSWERER | GIVER


class WebBackupClient(BackupClient):
    """Version 2: the backup service receives the shares, and that is all."""

    moves = LAST_TAKEN
    start = State.GREETED


class WebBackupServer(BackupServer):
    """Version 2: the node sends the shares, and that is all."""

    moves = LAST_GIVEN
    start = State.GREETED


class RecoveryClient(Session):
    """The backup service hands the shares back: sends hello, receives hello, sends shares, receives a receipt."""

    purpose = Purpose.RECOVERY
    role = Role.BACKUP_SERVICE
    moves = OPENER | GIVER


class RecoveryServer(Session):
    """The recovering node takes its shares: receives hello, sends hello, receives shares, sends a receipt."""

    purpose = Purpose.RECOVERY
    role = Role.NODE
    moves = ANSWERER | TAKER


class WebRecoveryClient(RecoveryClient):
    """Version 2: the backup service sends the shares and receives the receipt."""

    moves = GIVER
    start = State.GREETED


class WebRecoveryServer(RecoveryServer):
    """Version 2: the recovering node receives the shares and sends the receipt."""

    moves = TAKER
    start = State.GREETED


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
