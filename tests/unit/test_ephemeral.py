"""Ephemeral key records: one canonical text, one form of every value, and both ways through the contract's JSON."""

import contextlib
import copy
import hashlib
from dataclasses import replace

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.domain.ephemeral import EphemeralRecord, ExchangeId, PublishedRecord, X25519Key
from sharekeeper.domain.identity import AccountId, NetworkId, Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.protocol.codec import DecodeError
from sharekeeper.protocol.contract_json import decode_ephemeral_keys, encode_ephemeral_record

from .test_contract_json import JSON

NETWORK = NetworkId(chain_id="dev", genesis_hash="GENESIS", contract_id=AccountId("mpc.test.near"))
KEY = X25519Key(bytes(range(200, 232)))
KEY_TEXT = "x25519:" + base58.b58encode(KEY.raw).decode()
ID = ExchangeId("0123456789abcdef" * 2)
OPENING = EphemeralRecord(
    account_id=AccountId("alice.test.near"),
    role=Role.BACKUP_SERVICE,
    purpose=Purpose.BACKUP,
    recovery_id=None,
    exchange_id=ID,
    public_key=KEY,
    expires_on=120,
    answers=None,
)
ANSWER = replace(
    OPENING, role=Role.NODE, purpose=Purpose.RECOVERY, recovery_id=7, answers=Sha256Hex.of(b"opening record")
)
SIGNATURE = bytes(range(64))


def as_shown(record: EphemeralRecord) -> dict:
    """What the contract shows of `record` once it has accepted it."""
    given_record = encode_ephemeral_record(record, NETWORK, SIGNATURE)["record"]
    return given_record | {"account_id": str(record.account_id), "submitted_in": 100}


def view(service: object, node: object, *, slot: int = 0) -> dict:
    """View `ephemeral_keys` with records in one slot."""
    places = {"backup_services": [None, None], "nodes": [None, None]}
    places["backup_services"][slot], places["nodes"][slot] = service, node
    return places


def test_the_canonical_text_of_an_opening_record_has_a_dash_for_what_it_lacks():
    assert OPENING.canonical(NETWORK).decode() == (
        "sharekeeper-ephemeral-v1\ndev\nGENESIS\nmpc.test.near\nalice.test.near\nbackup-service\nbackup\n-\n"
        f"{ID}\n{KEY_TEXT}\n120\n-\n"
    )


def test_the_canonical_text_of_an_answer_names_recovery_and_answered_hash():
    answered = hashlib.sha256(b"opening record").hexdigest()
    assert ANSWER.canonical(NETWORK).decode() == (
        "sharekeeper-ephemeral-v1\ndev\nGENESIS\nmpc.test.near\nalice.test.near\nnode\nrecovery\n7\n"
        f"{ID}\n{KEY_TEXT}\n120\n{answered}\n"
    )
    assert ANSWER.hash(NETWORK) == hashlib.sha256(ANSWER.canonical(NETWORK)).hexdigest()


CHANGES = {
    "account": {"account_id": AccountId("bob.test.near")},
    "purpose": {"purpose": Purpose.RECOVERY, "recovery_id": 7},
    "role": {"role": Role.NODE, "answers": Sha256Hex.of(b"")},
    "exchange id": {"exchange_id": ExchangeId("f" * 32)},
    "key": {"public_key": X25519Key(bytes(32))},
    "expiry": {"expires_on": 121},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_field_changes_the_hash(change):
    assert replace(OPENING, **change).hash(NETWORK) != OPENING.hash(NETWORK)


@pytest.mark.parametrize(
    "change", [{"chain_id": "other"}, {"genesis_hash": "OTHER"}, {"contract_id": AccountId("other.near")}]
)
def test_every_part_of_the_network_changes_the_hash(change):
    assert OPENING.hash(replace(NETWORK, **change)) != OPENING.hash(NETWORK)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"purpose": Purpose.COPY}, "a copy is no exchange of version 2"),
        ({"purpose": Purpose.CHECK}, "a check is no exchange of version 2"),
        ({"recovery_id": 7}, "a recovery has a recovery_id, a backup has none"),
        ({"purpose": Purpose.RECOVERY}, "a recovery has a recovery_id, a backup has none"),
        ({"answers": Sha256Hex.of(b"")}, "the backup service answers none"),
        ({"role": Role.NODE}, "the node answers a record"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(OPENING, **changes)


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "0" * 31 + "A", "0" * 31 + "g", "0" * 32 + "\n"])
def test_an_exchange_id_has_one_form(text):
    with pytest.raises(ValueError, match="an exchange id is 32 lower-case hex digits"):
        ExchangeId(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", KEY_TEXT.removeprefix("x25519:"), KEY_TEXT.replace("x25519", "ed25519"), KEY_TEXT + "1", KEY_TEXT[:-3]),
        *(KEY_TEXT + "\n", KEY_TEXT + " ", "x25519:" + "0" * 44, "x25519:" + "1" * 10_000_000),
    ],
)
def test_an_x25519_key_has_one_form(text):
    with pytest.raises(ValueError, match="X25519 public key"):
        X25519Key.parse(text)


@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_are_written_and_read_back(raw):
    assert X25519Key.parse(str(X25519Key(raw))) == X25519Key(raw)


def test_a_signature_has_64_bytes():
    with pytest.raises(ValueError, match="64 bytes, not 63"):
        PublishedRecord(record=OPENING, claimed_hash=OPENING.hash(NETWORK), signature=bytes(63), submitted_in=1)


# --- the contract's JSON ---------------------------------------------------------------------------


def test_a_record_is_read_back_from_the_view_as_it_was_submitted():
    for slot in (0, 1):
        keys = decode_ephemeral_keys(view(as_shown(OPENING), as_shown(ANSWER), slot=slot))
        for shown, record in ((keys[slot].backup_service, OPENING), (keys[slot].node, ANSWER)):
            assert shown == PublishedRecord(
                record=record, claimed_hash=record.hash(NETWORK), signature=SIGNATURE, submitted_in=100
            )
        assert (keys[1 - slot].backup_service, keys[1 - slot].node) == (None, None)


def test_a_record_that_is_not_there_is_none():
    for keys in decode_ephemeral_keys(view(None, None)):
        assert (keys.backup_service, keys.node) == (None, None)


@pytest.mark.parametrize(
    "shown",
    [
        view(as_shown(ANSWER), None),
        view(as_shown(ANSWER), None, slot=1),
        {"backup_services": [None, None]},
        {"backup_services": [None, None], "nodes": [None]},
        {"backup_services": [None, None, None], "nodes": [None, None]},
        {"backup_services": None, "nodes": [None, None]},
    ],
)
def test_a_record_in_the_other_roles_place_or_a_missing_place_is_refused(shown):
    with pytest.raises(DecodeError):
        decode_ephemeral_keys(shown)


def test_a_node_shown_with_the_services_record_is_refused():
    with pytest.raises(DecodeError, match="shown as that of the node says it is of the backup-service"):
        decode_ephemeral_keys(view(None, as_shown(OPENING)))


SPOILED = [
    ("exchange_id", "0" * 31),
    ("purpose", "both"),
    ("role", "n" * 10_000_000),
    ("recovery_id", 7),
    ("recovery_id", True),
    ("public_key", KEY_TEXT + "\n"),
    ("expires_on", -1),
    ("answers", "0" * 64),
    ("answers", 0),
    ("hash", "A" * 64),
    ("signature", "00" * 63),
    ("account_id", "ALICE"),
    ("submitted_in", None),
]


@pytest.mark.parametrize(("name", "value"), SPOILED, ids=[name for name, _ in SPOILED])
def test_a_record_in_a_form_we_do_not_know_is_refused_in_a_short_sentence(name, value):
    with pytest.raises(DecodeError) as refusal:
        decode_ephemeral_keys(view(as_shown(OPENING) | {name: value}, None))
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("name", as_shown(OPENING))
def test_a_field_that_is_missing_is_named(name):
    shown = as_shown(OPENING)
    del shown[name]
    with pytest.raises(DecodeError, match=f"field '{name}' is missing"):
        decode_ephemeral_keys(view(shown, None))


@given(st.sampled_from(sorted(as_shown(ANSWER))), JSON)
def test_any_json_in_a_record_is_a_value_or_a_decode_error(name, value):
    shown = copy.deepcopy(view(as_shown(OPENING), as_shown(ANSWER)))
    shown["nodes"][0][name] = value
    with contextlib.suppress(DecodeError):
        decode_ephemeral_keys(shown)
    with contextlib.suppress(DecodeError):
        decode_ephemeral_keys(value)
