"""Sessions in pairs, without sockets: every legal move, every refusal (rules: docstring of `session`)."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.keyset import Curve, Sha256Hex
from sharekeeper.domain.keyshare import ORDER, Purpose, SharesMismatch
from sharekeeper.errors import (
    NoBackup,
    PeerRefused,
    PolicyRefused,
    ProtocolViolation,
    SharesRefused,
    StoreFailed,
    ViewsDiffer,
)
from sharekeeper.protocol.messages import (
    Hello,
    KeyShares,
    Receipt,
    Refusal,
    decode_message,
    encode_message,
    payload_digest,
)
from sharekeeper.protocol.session import (
    BackupClient,
    BackupServer,
    RecoveryClient,
    RecoveryServer,
)
from sharekeeper.protocol.session_tables import ENDED, Direction, State
from sharekeeper.spec import MAX_CONTROL_FRAME_BYTES, MAX_SHARES_FRAME_BYTES

from .exchange_values import (
    KEYSET,
    NETWORK,
    RECOVERY_ID,
    SHARES,
    STRANGER,
    facts,
    greeted,
    keyset,
    pair,
    scalar,
    shares_of,
    with_share,
)

KINDS = pytest.mark.parametrize("kind", ["backup", "recovery"])
CLASSES = [BackupClient, BackupServer, RecoveryClient, RecoveryServer]


def new(session_class, **changes):
    recovery = {"recovery_id": RECOVERY_ID} if session_class.purpose is Purpose.RECOVERY else {}
    return session_class(**(facts() | recovery | changes))


def in_state(session_class, state):
    """A session of that class driven to that state by its own peer, or None if the class never gets there."""
    giver_is_client = session_class.purpose is Purpose.RECOVERY
    client = new(RecoveryClient if giver_is_client else BackupClient)
    server = new(RecoveryServer if giver_is_client else BackupServer)
    giver, taker = (client, server) if giver_is_client else (server, client)
    mine = client if isinstance(client, session_class) else server
    frames = {}
    steps = [
        lambda: frames.update(frame=client.send_hello()),
        lambda: server.receive(frames["frame"]),
        lambda: frames.update(frame=server.send_hello()),
        lambda: client.receive(frames["frame"]),
        lambda: frames.update(frame=giver.send_shares(SHARES)),
        lambda: taker.receive(frames["frame"]),
        lambda: frames.update(frame=taker.send_receipt()),
        lambda: giver.receive(frames["frame"]),
        lambda: None,
    ]
    for step in steps:
        if mine.state is state:
            return mine
        step()
    return None


# --- rules 1 to 4: the exchange that succeeds -------------------------------------------------------


@KINDS
def test_exchange_ends_with_both_sides_done_and_the_very_shares(kind):
    giver, taker = greeted(kind)
    event = taker.receive(giver.send_shares(SHARES))
    assert event == KeyShares(shares=SHARES)
    assert giver.state is State.SHARES_SENT
    receipt = giver.receive(taker.send_receipt())
    assert isinstance(receipt, Receipt)
    assert receipt.exchange == giver.exchange == taker.exchange
    assert giver.state is taker.state is State.DONE


@KINDS
def test_hello_says_the_whole_exchange_and_the_senders_role(kind):
    client, server = pair(kind)
    assert server.receive(client.send_hello()) == Hello(role=client.role, exchange=server.exchange)
    assert client.receive(server.send_hello()) == Hello(role=server.role, exchange=client.exchange)
    assert client.exchange.keyset_digest == KEYSET.digest()


@KINDS
def test_receipt_names_the_bytes_that_were_sent(kind):
    giver, taker = greeted(kind)
    frame = giver.send_shares(SHARES)
    taker.receive(frame)
    receipt = decode_message(taker.send_receipt())
    assert receipt == Receipt(role=taker.role, exchange=taker.exchange, payload_digest=payload_digest(frame))


@KINDS
def test_only_the_taker_after_the_hellos_accepts_a_large_frame(kind):
    giver, taker = greeted(kind)
    assert taker.receive_limit == MAX_SHARES_FRAME_BYTES
    assert giver.receive_limit == MAX_CONTROL_FRAME_BYTES
    taker.receive(giver.send_shares(SHARES))
    assert taker.receive_limit == MAX_CONTROL_FRAME_BYTES
    assert {session.receive_limit for session in pair(kind)} == {MAX_CONTROL_FRAME_BYTES}


# --- rule 1: views that differ ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault", "text"),
    [
        ({"account_id": AccountId("bob.test.near")}, ProtocolViolation, "another account id"),
        ({"network": replace(NETWORK, chain_id="mainnet")}, ProtocolViolation, "another network"),
        ({"network": replace(NETWORK, genesis_hash="1" * 44)}, ProtocolViolation, "another network"),
        ({"network": replace(NETWORK, contract_id=AccountId("v2.test.near"))}, ProtocolViolation, "another network"),
        ({"node_tls_key": STRANGER.tls_key}, ProtocolViolation, "another node tls key"),
        ({"backup_service_tls_key": STRANGER.tls_key}, ProtocolViolation, "another backup service tls key"),
        ({"keyset": keyset(epoch=6)}, ViewsDiffer, "keyset_digest"),
        ({"keyset": keyset(attempt=1)}, ViewsDiffer, "keyset_digest"),
    ],
)
@KINDS
def test_hello_that_differs_is_refused_on_either_side(kind, changes, fault, text):
    for opener_differs in (True, False):
        classes = (BackupClient, BackupServer) if kind == "backup" else (RecoveryClient, RecoveryServer)
        client = new(classes[0], **(changes if opener_differs else {}))
        server = new(classes[1], **({} if opener_differs else changes))
        with pytest.raises(fault, match=text):
            server.receive(client.send_hello())
        with pytest.raises(PeerRefused, match=fault.code):
            client.receive(server.refusal)


def test_client_checks_the_servers_hello_too():
    client = new(BackupClient)
    client.send_hello()
    other = new(BackupServer, keyset=keyset(epoch=4))
    answer = encode_message(Hello(role=other.role, exchange=other.exchange))
    with pytest.raises(ViewsDiffer):
        client.receive(answer)
    assert decode_message(client.refusal).code == "views_differ"


def test_hello_of_another_recovery_is_refused():
    client, server = new(RecoveryClient, recovery_id=8), new(RecoveryServer)
    with pytest.raises(ViewsDiffer, match="recovery_id 8, this side on 7"):
        server.receive(client.send_hello())


@pytest.mark.parametrize(("client", "server"), [(BackupClient, RecoveryServer), (RecoveryClient, BackupServer)])
def test_hello_for_the_other_purpose_is_refused(client, server):
    with pytest.raises(ProtocolViolation, match="another purpose"):
        new(server).receive(new(client).send_hello())


@pytest.mark.parametrize("session_class", CLASSES)
def test_hello_reflected_to_its_sender_is_refused(session_class):
    session = new(session_class)
    own = encode_message(Hello(role=session.role, exchange=session.exchange))
    if (State.START, Direction.SEND, Hello) in session.moves:
        assert session.send_hello() == own
    with pytest.raises(ProtocolViolation, match="reflection"):
        session.receive(own)


# --- rule 3: the shares -----------------------------------------------------------------------------


def wrong_shares():
    secp, ed25519, bls = (ORDER[curve] for curve in (Curve.SECP256K1, Curve.ED25519, Curve.BLS12381))
    yield "none", (), "0 shares for 3 domains"
    yield "one missing", SHARES[:2], "2 shares for 3 domains"
    yield "one more", (*SHARES, SHARES[0]), "4 shares for 3 domains"
    yield "other order", (SHARES[1], SHARES[0], SHARES[2]), "domain 0: share of key event"
    yield "older epoch", shares_of(keyset(epoch=4)), "domain 0: share of key event"
    yield "other attempt", shares_of(keyset(attempt=1)), "domain 0: share of key event"
    yield "other curve", with_share(SHARES, 1, curve=Curve.SECP256K1, public_key=bytes(33)), "domain 1: share on"
    yield "other public key", with_share(SHARES, 2, public_key=bytes(96)), "domain 2: share of another public key"
    for index, order in enumerate((secp, ed25519, bls)):
        for name, value in (("zero", 0), ("order", order), ("most", 2**256 - 1)):
            wrong = with_share(SHARES, index, private_share=scalar(value, SHARES[index].curve))
            yield f"{name} scalar {index}", wrong, f"domain {index}: private share out of range"


@pytest.mark.parametrize(
    ("shares", "text"), [pytest.param(shares, text, id=name) for name, shares, text in wrong_shares()]
)
@KINDS
def test_shares_that_are_not_the_keysets_are_refused_and_the_giver_learns_why(kind, shares, text):
    giver, taker = greeted(kind)
    with pytest.raises(SharesRefused, match=text):
        taker.receive(encode_message(KeyShares(shares=shares)))
    giver.send_shares(SHARES)
    with pytest.raises(PeerRefused, match="shares_refused"):
        giver.receive(taker.refusal)


@KINDS
def test_giver_never_sends_shares_of_another_keyset(kind):
    giver, _ = greeted(kind)
    with pytest.raises(SharesMismatch):
        giver.send_shares(shares_of(keyset(attempt=1)))
    assert giver.state is State.READY


# --- rule 4: the receipt ----------------------------------------------------------------------------


def receipts(giver, taker):
    good = Receipt(role=taker.role, exchange=taker.exchange, payload_digest=Sha256Hex.of(b"other"))
    yield good, "for other bytes than were sent"
    yield replace(good, role=giver.role), "reflection"
    for name, value in (
        ("account_id", AccountId("bob.test.near")),
        ("network", replace(NETWORK, chain_id="mainnet")),
        ("keyset_digest", keyset(epoch=4).digest()),
        ("node_tls_key", STRANGER.tls_key),
        ("backup_service_tls_key", STRANGER.tls_key),
    ):
        yield replace(good, exchange=replace(good.exchange, **{name: value})), "for another exchange"


@pytest.mark.parametrize("index", range(7))
@KINDS
def test_receipt_of_anything_else_is_refused(kind, index):
    giver, taker = greeted(kind)
    taker.receive(giver.send_shares(SHARES))
    receipt, text = list(receipts(giver, taker))[index]
    with pytest.raises(ProtocolViolation, match=text):
        giver.receive(encode_message(receipt))
    assert giver.state is State.FAILED


def test_receipt_of_another_recovery_is_refused():
    giver, taker = greeted("recovery")
    frame = giver.send_shares(SHARES)
    exchange = replace(taker.exchange, recovery_id=6)
    receipt = Receipt(role=taker.role, exchange=exchange, payload_digest=payload_digest(frame))
    with pytest.raises(ProtocolViolation, match="for another exchange"):
        giver.receive(encode_message(receipt))


# --- rule 5: refusals -------------------------------------------------------------------------------


@KINDS
def test_refusal_reaches_the_peer_with_code_and_text_and_is_not_answered(kind):
    client, server = pair(kind)
    server.receive(client.send_hello())
    frame = server.refuse(StoreFailed("the disk is full; free some space"))
    with pytest.raises(PeerRefused, match=r"the disk is full; free some space \(store_failed\)"):
        client.receive(frame)
    assert client.refusal is None
    with pytest.raises(StoreFailed):
        server.receive(frame)


@pytest.mark.parametrize("session_class", CLASSES)
def test_refusal_is_accepted_in_every_state_before_the_end(session_class):
    refusal = encode_message(Refusal.of(NoBackup("none held")))
    for state in State:
        session = in_state(session_class, state)
        if session is None or state in ENDED:
            continue
        with pytest.raises(PeerRefused):
            session.receive(refusal)
        assert session.state is State.FAILED


def test_complete_exchange_can_not_be_refused():
    done = in_state(BackupClient, State.DONE)
    with pytest.raises(RuntimeError, match="nothing to refuse"):
        done.refuse(PolicyRefused("too late"))
    assert done.state is State.DONE


# --- rule 6: everything the tables lack ------------------------------------------------------------


FRAMES = {
    Hello: lambda session: encode_message(Hello(role=session.role, exchange=session.exchange)),
    KeyShares: lambda _: encode_message(KeyShares(shares=SHARES)),
    Receipt: lambda session: encode_message(
        Receipt(role=session.role, exchange=session.exchange, payload_digest=Sha256Hex.of(b""))
    ),
}


def missing_moves(direction):
    """Every class, state it reaches and message that its table lacks in that direction."""
    for session_class, state, kind in itertools.product(CLASSES, State, FRAMES):
        if in_state(session_class, state) is not None and (state, direction, kind) not in new(session_class).moves:
            yield session_class, state, kind


@pytest.mark.parametrize(("session_class", "state", "kind"), list(missing_moves(Direction.RECEIVE)))
def test_message_that_the_table_lacks_is_refused_and_poisons_the_session(session_class, state, kind):
    session = in_state(session_class, state)
    with pytest.raises(ProtocolViolation, match="out of order"):
        session.receive(FRAMES[kind](session))
    assert session.state is State.FAILED
    assert decode_message(session.refusal).code == "protocol_violation"


@pytest.mark.parametrize(("session_class", "state", "kind"), list(missing_moves(Direction.SEND)))
def test_sending_what_the_table_lacks_is_a_programming_error_that_changes_nothing(session_class, state, kind):
    session = in_state(session_class, state)
    send = {Hello: session.send_hello, KeyShares: lambda: session.send_shares(SHARES), Receipt: session.send_receipt}
    with pytest.raises(RuntimeError, match="does not send a"):
        send[kind]()
    assert session.state is state


@pytest.mark.parametrize("session_class", CLASSES)
def test_every_state_but_those_of_the_other_side_is_reached(session_class):
    reached = {state for state in State if in_state(session_class, state) is not None}
    from_table = {State.START, *new(session_class).moves.values()}
    assert reached == from_table


@given(frame=st.binary(max_size=60), index=st.integers(0, 3))
def test_any_bytes_poison_the_session_and_leave_a_refusal(frame, index):
    session = new(CLASSES[index])
    with pytest.raises(ProtocolViolation):
        session.receive(frame)
    assert decode_message(session.refusal).code == "protocol_violation"


@KINDS
def test_poisoned_session_raises_its_first_fault_for_ever(kind):
    client, server = pair(kind)
    good = client.send_hello()
    with pytest.raises(ProtocolViolation) as first:
        server.receive(b"\xff")
    for attempt in (lambda: server.receive(good), server.send_hello, lambda: server.refuse(NoBackup("none"))):
        with pytest.raises(ProtocolViolation) as again:
            attempt()
        assert again.value is first.value


@pytest.mark.parametrize(
    ("session_class", "changes"),
    [(BackupClient, {"recovery_id": 7}), (RecoveryServer, {"recovery_id": None})],
)
def test_recovery_id_belongs_to_recoveries_alone(session_class, changes):
    with pytest.raises(ValueError, match="a recovery has a recovery_id"):
        new(session_class, **changes)
