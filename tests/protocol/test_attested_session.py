"""Sessions of the hard launch in pairs, without sockets (rules 8 and 9: docstring of `session`).

Every legal move, every refusal; and what somebody with evidence that is good for something else gets for it.
"""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.domain.attestation import Check
from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import (
    EvidenceExpired,
    NoBackup,
    PeerRefused,
    ProtocolViolation,
)
from sharekeeper.protocol.messages import (
    MAX_EVIDENCE_FRAME_BYTES,
    Hello,
    KeyShares,
    Receipt,
    Refusal,
    ShownEvidence,
    decode_message,
    encode_message,
)
from sharekeeper.protocol.session import BackupClient, BackupServer, RecoveryClient, RecoveryServer
from sharekeeper.protocol.session_tables import ENDED, Direction, State
from sharekeeper.spec import MAX_CONTROL_FRAME_BYTES, MAX_SHARES_FRAME_BYTES

from .attestation_values import (
    BACKUP_SERVICE_NONCE,
    NODE_NONCE,
    NOW_S,
    WEB,
    accept,
    attested,
    attested_pair,
    evidence,
    meet,
    report_data,
    show,
    verdict,
)
from .exchange_values import KEYSET, SHARES, pair

KINDS = pytest.mark.parametrize("kind", ["backup", "recovery"])
VERSIONS = pytest.mark.parametrize("web", [False, True], ids=["p2p", "web"])
CLASSES = [BackupClient, BackupServer, RecoveryClient, RecoveryServer]


def giver_and_taker(kind, client, server):
    return (server, client) if kind == "backup" else (client, server)


# --- rule 8: the exchange that succeeds -------------------------------------------------------------


@KINDS
def test_shares_travel_after_both_sides_have_accepted_the_others_evidence(kind):
    client, server = attested_pair(kind)
    meet(client, server)
    giver, taker = giver_and_taker(kind, client, server)
    assert taker.receive(giver.send_shares(SHARES)) == KeyShares(shares=SHARES)
    giver.receive(taker.send_receipt())
    assert giver.state is taker.state is State.DONE


@pytest.mark.parametrize("kind", ["backup", "recovery"])
def test_a_session_of_version_2_begins_with_evidence(kind):
    client, server = attested_pair(kind, web=True)
    assert {client.state, server.state} == {State.GREETED}
    meet(client, server, web=True)
    giver, taker = giver_and_taker(kind, client, server)
    taker.receive(giver.send_shares(SHARES))
    if kind == "recovery":
        giver.receive(taker.send_receipt())
    assert giver.state is taker.state is State.DONE


@KINDS
def test_both_sides_mean_the_same_report_data_of_either_side(kind):
    client, server = attested_pair(kind)
    server.receive(client.send_hello())
    client.receive(server.send_hello())
    for side in Role:
        assert client.report_data(side) == server.report_data(side) == report_data(client, side)
    assert client.report_data(Role.NODE) != client.report_data(Role.BACKUP_SERVICE)


def test_evidence_is_made_for_the_nonce_that_the_peer_gave():
    client, server = attested_pair("backup")
    assert decode_message(client.send_hello()).nonce == BACKUP_SERVICE_NONCE
    server.receive(encode_message(Hello(role=client.role, exchange=client.exchange, nonce=b"other" + bytes(27))))
    made_for = report_data(server, Role.NODE, peer_nonce=b"other" + bytes(27))
    assert server.report_data(Role.NODE) == made_for


def test_the_answerer_shows_nothing_before_it_has_accepted():
    client, server = attested_pair("backup")
    server.receive(client.send_hello())
    client.receive(server.send_hello())
    with pytest.raises(RuntimeError, match="does not send a ShownEvidence"):
        show(server)
    server.receive(show(client))
    with pytest.raises(RuntimeError, match="does not send a ShownEvidence"):
        show(server)
    server.accept_evidence(verdict(Role.BACKUP_SERVICE))
    show(server)
    assert server.state is State.READY


@KINDS
def test_memory_is_taken_for_what_may_come_and_for_no_more(kind):
    client, server = attested_pair(kind)
    assert client.receive_limit == server.receive_limit == MAX_CONTROL_FRAME_BYTES
    server.receive(client.send_hello())
    client.receive(server.send_hello())
    assert server.receive_limit == MAX_EVIDENCE_FRAME_BYTES
    assert client.receive_limit == MAX_CONTROL_FRAME_BYTES
    frame = show(client)
    assert client.receive_limit == MAX_EVIDENCE_FRAME_BYTES
    accept(server, frame)
    assert server.receive_limit == MAX_CONTROL_FRAME_BYTES
    accept(client, show(server))
    giver, taker = giver_and_taker(kind, client, server)
    assert (giver.receive_limit, taker.receive_limit) == (MAX_CONTROL_FRAME_BYTES, MAX_SHARES_FRAME_BYTES)


def test_soft_sessions_know_no_evidence():
    for session in pair("backup"):
        assert not session.attested
        assert not any(ShownEvidence in move for move in session.moves)
        session.check_unexpired(2**63)
        with pytest.raises(RuntimeError, match="no evidence in soft launch"):
            session.report_data(Role.NODE)


# --- by construction: no way to the shares around a verdict -----------------------------------------


def paths(session, state=None, seen=()):
    """Every way through a session's table to its end, as the moves on it."""
    state = state or session.state
    onward = [(move, after) for move, after in session.moves.items() if move[0] is state]
    if not onward:
        yield seen
    for move, after in onward:
        yield from paths(session, after, (*seen, move[1:]))


@VERSIONS
@pytest.mark.parametrize("session_class", CLASSES)
def test_every_way_to_the_shares_leads_through_the_own_evidence_and_a_verdict_on_the_peers(session_class, web):
    for path in paths(attested(session_class, web=web)):
        before = list(itertools.takewhile(lambda move: move[1] is not KeyShares, path))
        assert len(before) < len(path)
        assert [move for move in before if move[1] is ShownEvidence and move[0] is not Direction.RECEIVE] in (
            [(Direction.SEND, ShownEvidence), (Direction.ACCEPT, ShownEvidence)],
            [(Direction.ACCEPT, ShownEvidence), (Direction.SEND, ShownEvidence)],
        )


def drive(session, state):
    """The session in that state, brought there by its own peer; None if it never gets there."""
    kind = session.purpose.value
    web = not session.greets
    client, server = attested_pair(kind, web=web)
    client, server = (session, server) if session.role is Role.BACKUP_SERVICE else (client, session)
    giver, taker = giver_and_taker(kind, client, server)
    frame = [b""]

    def move(made):
        frame[0] = made

    def shown(by):
        by.receive(frame[0])

    def accepted(by):
        by.accept_evidence(verdict(by.peer_role))

    hellos = [
        lambda: move(client.send_hello()),
        lambda: server.receive(frame[0]),
        lambda: move(server.send_hello()),
        lambda: client.receive(frame[0]),
    ]
    steps = [] if web else hellos
    steps += [
        lambda: move(show(client)),
        lambda: shown(server),
        lambda: accepted(server),
        lambda: move(show(server)),
        lambda: shown(client),
        lambda: accepted(client),
        lambda: move(giver.send_shares(SHARES)),
        lambda: taker.receive(frame[0]),
    ]
    if not web or kind == "recovery":
        steps += [lambda: move(taker.send_receipt()), lambda: giver.receive(frame[0])]
    for step in [*steps, lambda: None]:
        if session.state is state:
            return session
        step()
    return None


FRAMES = {
    Hello: lambda session: encode_message(Hello(role=session.role, exchange=session.exchange, nonce=b"x" * 32)),
    ShownEvidence: lambda _: encode_message(ShownEvidence(evidence=evidence(Role.NODE, b"any"))),
    KeyShares: lambda _: encode_message(KeyShares(shares=SHARES)),
    Receipt: lambda session: encode_message(
        Receipt(role=session.role, exchange=session.exchange, payload_digest=Sha256Hex.of(b""))
    ),
}
SENDS = {
    Hello: lambda session: session.send_hello(),
    ShownEvidence: lambda session: session.send_evidence(evidence(session.role, b"any"), verdict(session.role)),
    KeyShares: lambda session: session.send_shares(SHARES),
    Receipt: lambda session: session.send_receipt(),
}


def missing(direction, frames):
    """Every class of either version, state it reaches and message that its table lacks in that direction."""
    for session_class, web, state, kind in itertools.product(CLASSES, (False, True), State, frames):
        session = drive(attested(session_class, web=web), state)
        if session is not None and (state, direction, kind) not in session.moves:
            yield pytest.param(
                session_class, web, state, kind, id=f"{session_class.__name__}-{web}-{state.name}-{kind}"
            )


@pytest.mark.parametrize(("session_class", "web", "state", "kind"), list(missing(Direction.RECEIVE, FRAMES)))
def test_message_that_the_table_lacks_is_refused_and_poisons_the_session(session_class, web, state, kind):
    session = drive(attested(session_class, web=web), state)
    with pytest.raises(ProtocolViolation, match="out of order"):
        session.receive(FRAMES[kind](session))
    assert session.state is State.FAILED
    with pytest.raises(ProtocolViolation):
        session.accept_evidence(verdict())


@pytest.mark.parametrize(("session_class", "web", "state", "kind"), list(missing(Direction.SEND, SENDS)))
def test_sending_what_the_table_lacks_is_a_programming_error_that_changes_nothing(session_class, web, state, kind):
    session = drive(attested(session_class, web=web), state)
    with pytest.raises(RuntimeError, match="does not send a"):
        SENDS[kind](session)
    assert session.state is state


@VERSIONS
@pytest.mark.parametrize("session_class", CLASSES)
def test_a_verdict_is_taken_where_evidence_was_received_and_nowhere_else(session_class, web):
    for state in State:
        session = drive(attested(session_class, web=web), state)
        if session is None or state is State.EVIDENCE_RECEIVED:
            continue
        with pytest.raises(RuntimeError, match="does not accept a ShownEvidence"):
            session.accept_evidence(verdict())
        assert session.state is state


@VERSIONS
@pytest.mark.parametrize("session_class", CLASSES)
def test_every_state_of_the_table_is_reached_and_refusals_are_accepted_before_the_end(session_class, web):
    made = attested(session_class, web=web)
    greeting = {State.HELLO_SENT, State.HELLO_RECEIVED} if web else set()
    states = {made.state, *made.moves.values()} - greeting
    assert states == {state for state in State if drive(attested(session_class, web=web), state) is not None}
    refusal = encode_message(Refusal.of(NoBackup("none held")))
    for state in states - ENDED:
        session = drive(attested(session_class, web=web), state)
        with pytest.raises(PeerRefused):
            session.receive(refusal)
        assert session.state is State.FAILED


def bad_verdicts():
    yield "without checks", ()
    for ok in (False, None):
        yield f"with {ok}", (*verdict().checks, Check(number=6, name="report data", ok=ok, detail="other"))


@pytest.mark.parametrize("checks", [pytest.param(checks, id=name) for name, checks in bad_verdicts()])
def test_a_verdict_with_a_check_that_did_not_succeed_accepts_nothing(checks):
    bad = replace(verdict(), checks=checks)
    server = drive(attested(BackupServer), State.EVIDENCE_RECEIVED)
    with pytest.raises(RuntimeError, match="proves nothing"):
        server.accept_evidence(bad)
    assert server.state is State.EVIDENCE_RECEIVED
    client = drive(attested(BackupClient), State.GREETED)
    with pytest.raises(RuntimeError, match="proves nothing"):
        client.send_evidence(evidence(Role.BACKUP_SERVICE, b""), bad)
    assert client.state is State.GREETED


@given(moves=st.lists(st.sampled_from(["hello", "evidence", "shares", "receipt", "accept", "receive"]), max_size=12))
def test_no_order_of_calls_makes_a_session_give_shares_without_a_verdict(moves):
    session = attested(BackupServer)
    peer = attested(BackupClient)
    frames = [peer.send_hello(), FRAMES[ShownEvidence](None), FRAMES[ShownEvidence](None)]
    calls = {
        "hello": session.send_hello,
        "evidence": lambda: session.send_evidence(evidence(Role.NODE, b""), verdict()),
        "shares": lambda: session.send_shares(SHARES),
        "receipt": session.send_receipt,
        "accept": lambda: session.accept_evidence(verdict(Role.BACKUP_SERVICE)),
        "receive": lambda: session.receive(frames.pop(0)),
    }
    for move in moves:
        try:
            made = calls[move]()
        except (RuntimeError, ProtocolViolation, IndexError):
            continue
        if move == "shares":
            assert isinstance(made, bytes)
            assert session.peer_verdict is not None


# --- rule 8: launches do not mix --------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize("client_attested", [True, False])
def test_a_soft_peer_and_an_attested_one_refuse_each_other(kind, client_attested):
    hard, soft = attested_pair(kind), pair(kind)
    client, server = (hard[0], soft[1]) if client_attested else (soft[0], hard[1])
    with pytest.raises(ProtocolViolation, match="one side is attested, the other is not"):
        server.receive(client.send_hello())
    with pytest.raises(PeerRefused, match=r"both must run the same \(protocol_violation\)"):
        client.receive(server.refusal)


@pytest.mark.parametrize("client_attested", [True, False])
def test_the_opener_checks_the_answerers_launch_too(client_attested):
    client = attested(BackupClient) if client_attested else pair("backup")[0]
    client.send_hello()
    nonce = None if client_attested else NODE_NONCE
    answer = encode_message(Hello(role=Role.NODE, exchange=client.exchange, nonce=nonce))
    with pytest.raises(ProtocolViolation, match="one side is attested, the other is not"):
        client.receive(answer)


@pytest.mark.parametrize("session_class", [BackupServer, RecoveryClient])
def test_a_giver_cannot_send_its_shares_before_it_has_seen_evidence(session_class):
    for state in State:
        session = drive(attested(session_class), state)
        if session is None or state is State.READY:
            continue
        with pytest.raises(RuntimeError, match="does not send a KeyShares"):
            session.send_shares(SHARES)


def greeted(kind):
    client, server = attested_pair(kind)
    server.receive(client.send_hello())
    client.receive(server.send_hello())
    return client, server


# --- rule 9: evidence that expires ------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["this side", "the peer"])
def test_evidence_that_expires_during_the_transfer_ends_it(whose):
    client, server = greeted("recovery")
    accept(server, show(client))
    own = verdict(expires_at_s=NOW_S + (10 if whose == "this side" else 99))
    peers = verdict(expires_at_s=NOW_S + (10 if whose == "the peer" else 99))
    client, server = greeted("recovery")
    client.send_evidence(evidence(Role.BACKUP_SERVICE, b""), own)
    client.receive(encode_message(ShownEvidence(evidence=evidence(Role.NODE, b""))))
    client.accept_evidence(peers)
    client.check_unexpired(NOW_S + 9.9)
    with pytest.raises(EvidenceExpired, match=f"the evidence of {whose} expired"):
        client.check_unexpired(NOW_S + 10)


def test_validity_is_not_asked_before_there_is_evidence():
    client, _ = greeted("backup")
    with pytest.raises(RuntimeError, match="this side has not shown its evidence yet"):
        client.check_unexpired(NOW_S)
    show(client)
    with pytest.raises(RuntimeError, match="the peer has not shown its evidence yet"):
        client.check_unexpired(NOW_S)


# --- who is who -------------------------------------------------------------------------------------


@pytest.mark.parametrize("session_class", [*CLASSES, *WEB.values()])
def test_each_side_knows_the_peers_key_and_whose_code_the_peer_must_run(session_class):
    web = session_class in WEB.values()
    base = next((made for made, other in WEB.items() if other is session_class), session_class)
    session = attested(base, web=web)
    keys = {Role.NODE: session.exchange.node_tls_key, Role.BACKUP_SERVICE: session.exchange.backup_service_tls_key}
    assert {session.role, session.peer_role} == set(Role)
    assert session.peer_tls_key == keys[session.peer_role]
    assert session.code_of(session.peer_role) is session.peer_role
    assert session.keyset is KEYSET
