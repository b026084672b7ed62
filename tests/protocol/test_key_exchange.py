"""The key exchange as pairs without sockets: agreement, and every way in which it must fail."""

from dataclasses import replace

import pytest
from nacl.bindings import crypto_kx_client_session_keys

from sharekeeper.domain.ephemeral import EphemeralKeys, ExchangeId, X25519Key
from sharekeeper.domain.identity import AccountId, Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.domain.protocol_state import NotInitialized
from sharekeeper.errors import (
    PurposeDiffers,
    RecordExpired,
    RecordForeign,
    RecordForged,
    RecordReplaced,
    Reflected,
    UnknownExchange,
    WeakKey,
)
from sharekeeper.protocol.contract_json import decode_ephemeral_keys
from sharekeeper.protocol.key_exchange import AnswerRecord, NoAnswer, decide_answer
from sharekeeper.secret import Secret
from tests.unit import protocol_values as network_values

from . import second_implementation
from .exchange_values import ALICE, BACKUP_SERVICE, NETWORK, NODE, STRANGER
from .web_values import (
    BACKUP,
    CLIENT_SECRET,
    EXCHANGE_ID,
    EXPIRES_ON,
    HEIGHT,
    PURPOSES,
    RECOVERY,
    SERVER_SECRET,
    changed,
    client,
    opened,
    published,
    server,
    signed,
)

LOW_ORDER = [
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]
"""The points of low order on Curve25519 (libsodium's blocklist): each makes the shared secret all zero."""


@pytest.mark.parametrize("purpose", PURPOSES)
def test_both_sides_agree_and_each_direction_has_a_key_of_its_own(purpose):
    opener, answerer, keys = opened(PURPOSES[purpose])
    there, back = opener.derive(keys, HEIGHT), answerer.derive(keys, HEIGHT)
    assert back.open(there.seal(b"shares", bytes(24))) == b"shares"
    assert there.open(back.seal(b"receipt", bytes(24))) == b"receipt"


def test_the_keys_are_those_of_a_second_implementation_of_crypto_kx():
    theirs = second_implementation.public_key(SERVER_SECRET)
    ours = second_implementation.public_key(CLIENT_SECRET)
    expected = second_implementation.session_keys(CLIENT_SECRET, theirs, is_client=True)
    assert crypto_kx_client_session_keys(ours, CLIENT_SECRET, theirs) == expected
    assert second_implementation.session_keys(SERVER_SECRET, ours, is_client=False) == expected[::-1]
    assert client().record.public_key.raw == ours


def test_a_body_sealed_by_the_node_opens_in_the_second_implementation():
    _, answerer, keys = opened()
    bodies = answerer.derive(keys, HEIGHT)
    body = bodies.seal(b"shares", bytes(range(24)))
    receive, _ = second_implementation.session_keys(
        CLIENT_SECRET, second_implementation.public_key(SERVER_SECRET), is_client=True
    )
    data = bodies.transcript.canonical(Role.NODE)
    assert second_implementation.unseal(receive, body, data) == b"shares"
    assert second_implementation.seal(receive, bytes(range(24)), b"shares", data) == body


def test_without_an_answer_there_is_no_key_yet_and_an_older_answer_is_none():
    opener = client()
    assert opener.derive(EphemeralKeys(backup_service=published(opener), node=None), HEIGHT) is None
    older = client(exchange_id=ExchangeId("aa" * 16))
    answer = published(server(published(older)))
    assert opener.derive(EphemeralKeys(backup_service=published(opener), node=answer), HEIGHT) is None
    assert not opener.forgotten


def test_the_record_reads_back_from_the_contract_as_it_was_given():
    opener = client(RECOVERY)
    stored = opener.arguments()["record"] | {"account_id": ALICE, "submitted_in": HEIGHT}
    keys = decode_ephemeral_keys({"backup_services": [stored, None], "nodes": [None, None]})[0]
    assert keys.backup_service.record == opener.record
    server(keys.backup_service, RECOVERY)


# --- a pair is used once --------------------------------------------------------------------------


@pytest.mark.parametrize("who", [0, 1])
def test_a_pair_is_forgotten_once_used(who):
    sides = opened()
    side, keys = sides[who], sides[2]
    side.derive(keys, HEIGHT)
    assert side.forgotten
    with pytest.raises(UnknownExchange):
        side.derive(keys, HEIGHT)


@pytest.mark.parametrize("who", [0, 1])
def test_a_forgotten_pair_derives_nothing(who):
    sides = opened()
    sides[who].forget()
    with pytest.raises(UnknownExchange):
        sides[who].derive(sides[2], HEIGHT)


def test_no_text_form_of_a_side_shows_its_secret():
    opener, answerer, _ = opened()
    shown = repr(vars(opener)) + repr(vars(answerer)) + str(opener.arguments())
    for secret in (CLIENT_SECRET, SERVER_SECRET):
        assert secret.hex() not in shown
        assert repr(secret) not in shown


# --- the opening record ---------------------------------------------------------------------------


def opening(**fields):
    return changed(published(client()), BACKUP_SERVICE, **fields)


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (opening(account_id=AccountId("bob.test.near")), RecordForeign),
        (published(server(published(client()))), RecordForeign),
        (signed(client().record, STRANGER), RecordForged),
        (signed(client().record, NODE), RecordForged),
        (signed(client().record, None, signature=bytes(64)), RecordForged),
        (signed(client().record, BACKUP_SERVICE, network=replace(NETWORK, chain_id="testnet")), RecordForged),
        (replace(published(client()), record=opening(expires_on=EXPIRES_ON + 1).record), RecordForged),
        (replace(published(client()), claimed_hash=Sha256Hex.of(b"other")), RecordForged),
        (published(client(RECOVERY)), PurposeDiffers),
        (opening(expires_on=HEIGHT), RecordExpired),
    ],
    ids=["account", "role", "stranger", "role key", "unsigned", "network", "field", "hash", "purpose", "expired"],
)
def test_the_node_does_not_answer_a_record_that_is_not_its_backup_services(record, fault):
    with pytest.raises(fault):
        server(record)


def test_the_record_of_another_recovery_is_refused():
    earlier = changed(published(client(RECOVERY)), BACKUP_SERVICE, recovery_id=RECOVERY.recovery_id - 1)
    with pytest.raises(PurposeDiffers):
        server(earlier, RECOVERY)


# --- the answer ------------------------------------------------------------------------------------


def answer(**fields):
    return changed(opened()[2].node, NODE, **fields)


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (answer(account_id=AccountId("bob.test.near")), RecordForeign),
        (published(client()), RecordForeign),
        (signed(opened()[2].node.record, STRANGER), RecordForged),
        (signed(opened()[2].node.record, BACKUP_SERVICE), RecordForged),
        (signed(opened()[2].node.record, None, signature=bytes(64)), RecordForged),
        (answer(purpose=Purpose.RECOVERY, recovery_id=7), PurposeDiffers),
        (answer(expires_on=HEIGHT), RecordExpired),
        (answer(answers=Sha256Hex.of(b"another opening")), RecordReplaced),
        (answer(public_key=client().record.public_key), Reflected),
    ],
    ids=["account", "role", "stranger", "role key", "unsigned", "purpose", "expired", "answers", "reflected"],
)
def test_the_backup_service_takes_no_answer_but_its_nodes_to_this_record(record, fault):
    opener, _, keys = opened()
    with pytest.raises(fault):
        opener.derive(replace(keys, node=record), HEIGHT)


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_an_all_zero_shared_secret_is_refused_by_both_sides(point):
    opener, _, keys = opened()
    with pytest.raises(WeakKey):
        opener.derive(replace(keys, node=answer(public_key=X25519Key(point))), HEIGHT)
    assert opener.forgotten
    weak = opening(public_key=X25519Key(point))
    answerer = server(weak)
    with pytest.raises(WeakKey):
        answerer.derive(EphemeralKeys(backup_service=weak, node=published(answerer)), HEIGHT)
    assert answerer.forgotten


def test_a_node_that_is_given_its_own_key_refuses():
    same = client(secret=Secret(SERVER_SECRET))
    answerer = server(published(same))
    with pytest.raises(Reflected):
        answerer.derive(EphemeralKeys(backup_service=published(same), node=published(answerer)), HEIGHT)


# --- the time between the two records, and after them ------------------------------------------------


@pytest.mark.parametrize("who", [0, 1])
def test_nothing_is_derived_after_the_keys_time(who):
    sides = opened()
    with pytest.raises(RecordExpired):
        sides[who].derive(sides[2], EXPIRES_ON)
    assert sides[who].derive(sides[2], EXPIRES_ON - 1) is not None


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("other", [None, published(client(exchange_id=ExchangeId("bb" * 16)))])
def test_an_opening_record_replaced_between_the_halves_ends_the_exchange(who, other):
    sides = opened()
    with pytest.raises(RecordReplaced):
        sides[who].derive(replace(sides[2], backup_service=other), HEIGHT)


@pytest.mark.parametrize("other", [None, answer(public_key=X25519Key(bytes([9]) * 32))])
def test_an_answer_replaced_after_it_was_given_ends_the_exchange_at_the_node(other):
    _, answerer, keys = opened()
    with pytest.raises(RecordReplaced):
        answerer.derive(replace(keys, node=other), HEIGHT)


# --- what the node answers ----------------------------------------------------------------------------


OWN = network_values.OLD.info.tls_public_key
NONE = EphemeralKeys(backup_service=None, node=None)


def decide(state=network_values.RUNNING, *, keys=None, held=True, tls_key=OWN, service=BACKUP_SERVICE.tls_key):
    return decide_answer(
        state=state,
        account_id=ALICE,
        network=NETWORK,
        tls_key=tls_key,
        backup_service=service,
        keys=keys or asks(BACKUP),
        held=held,
        height=HEIGHT,
    )


def asks(exchange, **changes):
    return EphemeralKeys(backup_service=published(client(exchange, **changes)), node=None)


@pytest.mark.parametrize(
    "state",
    [
        network_values.RUNNING,
        network_values.initializing(),
        network_values.resharing(),
        network_values.recovery(account_id=network_values.BOB),
    ],
    ids=["running", "initializing", "resharing", "another's recovery"],
)
def test_the_node_answers_a_backup_of_the_keyset_in_force(state):
    assert decide(state) == AnswerRecord(
        opening=asks(BACKUP).backup_service,
        exchange=replace(BACKUP, node_tls_key=OWN, keyset_digest=network_values.RUNNING.keyset.digest()),
    )


def test_the_node_answers_its_own_recovery():
    recovering = decide(network_values.recovery(), keys=asks(RECOVERY), tls_key=network_values.NEW.info.tls_public_key)
    assert isinstance(recovering, AnswerRecord)
    assert recovering.exchange.recovery_id == RECOVERY.recovery_id
    assert recovering.exchange.node_tls_key == network_values.NEW.info.tls_public_key


@pytest.mark.parametrize(
    "given",
    [
        {"keys": NONE},
        {"service": None},
        {"held": False},
        {"keys": opened()[2]},
        {"tls_key": network_values.NEW.info.tls_public_key},
        {"state": network_values.resharing(), "tls_key": network_values.NEW.info.tls_public_key},
        {"state": network_values.recovery()},
        {"state": NotInitialized()},
    ],
    ids=[
        "none open",
        "no service",
        "no shares",
        "answered",
        "other machine",
        "other machine in resharing",
        "replaced machine",
        "not initialised",
    ],
)
def test_the_node_answers_nothing_else(given):
    assert isinstance(decide(**given), NoAnswer)


def test_a_recovering_node_need_not_hold_shares_to_answer():
    new = network_values.NEW.info.tls_public_key
    assert isinstance(decide(network_values.recovery(), keys=asks(RECOVERY), tls_key=new, held=False), AnswerRecord)


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        (EphemeralKeys(backup_service=signed(client().record, STRANGER), node=None), RecordForged),
        (asks(RECOVERY), PurposeDiffers),
        (asks(BACKUP, expires_on=HEIGHT), RecordExpired),
    ],
    ids=["forged", "purpose", "expired"],
)
def test_an_opening_record_that_is_not_acceptable_is_a_fault_not_an_answer(keys, fault):
    with pytest.raises(fault):
        decide(keys=keys)


def test_a_stale_recovery_is_refused():
    new = network_values.NEW.info.tls_public_key
    with pytest.raises(PurposeDiffers):
        decide(network_values.recovery(recovery_id=8), keys=asks(RECOVERY), tls_key=new)


def test_the_exchange_id_is_the_openers():
    assert opened()[1].record.exchange_id == EXCHANGE_ID
