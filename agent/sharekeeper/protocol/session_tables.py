"""What each side of an exchange may do when: tables, and nothing else (rules: docstring of `session`)."""

from enum import Enum, auto
from typing import Final

from sharekeeper.protocol.messages import Hello, KeyShares, Message, Receipt, ShownEvidence


class State(Enum):
    """How far the exchange has come, seen from one side. `READY`: shares may travel."""

    START = auto()
    HELLO_SENT = auto()
    HELLO_RECEIVED = auto()
    GREETED = auto()
    EVIDENCE_SENT = auto()
    EVIDENCE_RECEIVED = auto()
    PEER_ATTESTED = auto()
    READY = auto()
    SHARES_SENT = auto()
    SHARES_RECEIVED = auto()
    DONE = auto()
    FAILED = auto()


class Direction(Enum):
    """What one side does with a message; `ACCEPT` is the verdict on the evidence that was received."""

    SEND = auto()
    RECEIVE = auto()
    ACCEPT = auto()


Moves = dict[tuple[State, Direction, type[Message]], State]

OPENER: Final[Moves] = {
    (State.START, Direction.SEND, Hello): State.HELLO_SENT,
    (State.HELLO_SENT, Direction.RECEIVE, Hello): State.READY,
}
ANSWERER: Final[Moves] = {
    (State.START, Direction.RECEIVE, Hello): State.HELLO_RECEIVED,
    (State.HELLO_RECEIVED, Direction.SEND, Hello): State.READY,
}
ATTESTED_OPENER: Final[Moves] = {
    (State.START, Direction.SEND, Hello): State.HELLO_SENT,
    (State.HELLO_SENT, Direction.RECEIVE, Hello): State.GREETED,
    (State.GREETED, Direction.SEND, ShownEvidence): State.EVIDENCE_SENT,
    (State.EVIDENCE_SENT, Direction.RECEIVE, ShownEvidence): State.EVIDENCE_RECEIVED,
    (State.EVIDENCE_RECEIVED, Direction.ACCEPT, ShownEvidence): State.READY,
}
ATTESTED_ANSWERER: Final[Moves] = {
    (State.START, Direction.RECEIVE, Hello): State.HELLO_RECEIVED,
    (State.HELLO_RECEIVED, Direction.SEND, Hello): State.GREETED,
    (State.GREETED, Direction.RECEIVE, ShownEvidence): State.EVIDENCE_RECEIVED,
    (State.EVIDENCE_RECEIVED, Direction.ACCEPT, ShownEvidence): State.PEER_ATTESTED,
    (State.PEER_ATTESTED, Direction.SEND, ShownEvidence): State.READY,
}
GIVER: Final[Moves] = {
    (State.READY, Direction.SEND, KeyShares): State.SHARES_SENT,
    (State.SHARES_SENT, Direction.RECEIVE, Receipt): State.DONE,
}
TAKER: Final[Moves] = {
    (State.READY, Direction.RECEIVE, KeyShares): State.SHARES_RECEIVED,
    (State.SHARES_RECEIVED, Direction.SEND, Receipt): State.DONE,
}
LAST_GIVEN: Final[Moves] = {(State.READY, Direction.SEND, KeyShares): State.DONE}
LAST_TAKEN: Final[Moves] = {(State.READY, Direction.RECEIVE, KeyShares): State.DONE}
PROVER: Final[Moves] = {(State.READY, Direction.SEND, Receipt): State.DONE}
ASKER: Final[Moves] = {(State.READY, Direction.RECEIVE, Receipt): State.DONE}
ENDED: Final = frozenset({State.DONE, State.FAILED})
