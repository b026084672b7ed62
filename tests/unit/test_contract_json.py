"""The contract's views become domain values, and nothing but `DecodeError` comes of anything else."""

import contextlib
import copy
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.domain.attestation import CodeHash, EvidenceStamp, Measurements
from sharekeeper.domain.identity import AccountId, Role, SignerKey, TlsKey
from sharekeeper.domain.keyset import Curve, Sha256Hex
from sharekeeper.domain.protocol_state import Initializing, NotInitialized, Recovery, Resharing, Running
from sharekeeper.protocol.codec import DecodeError
from sharekeeper.protocol.contract_json import (
    decode_account,
    decode_allowed_code,
    decode_state,
    encode_evidence_stamp,
    read_state,
)

VECTORS = Path(__file__).parents[1] / "vectors"
MAINNET = json.loads((VECTORS / "near_mpc_contract_state.json").read_text())["state"]
SHAPES = json.loads((VECTORS / "near_mpc_state_shapes.json").read_text())["states"]

NEW_TLS = TlsKey(bytes([7]) * 32)
NEW_SIGNER = SignerKey(bytes([8]) * 32)
RUNNING = SHAPES["running"]["Running"]
RECOVERY = {
    "Recovery": {
        "recovery_id": 7,
        "previous_running_state": RUNNING,
        "prospective_participants": RUNNING["parameters"]["participants"],
        "recovering": {
            "account_id": "alpha.example.near",
            "participant_info": {"url": "http://new.example.org", "tls_public_key": str(NEW_TLS)},
            "signer_account_pk": str(NEW_SIGNER),
        },
        "started_in": 1200,
        "expires_on": 7200,
        "shares_confirmed": False,
        "cancel_votes": ["bravo.example.near"],
    }
}
ACCOUNT = {
    "account_id": "alpha.example.near",
    "is_participant": True,
    "node": {"url": "http://a", "tls_public_key": str(NEW_TLS), "signer_account_pk": str(NEW_SIGNER)},
    "node_candidate": None,
    "backup_services": [
        {
            "tls_public_key": str(NEW_TLS),
            "signer_account_pk": str(NEW_SIGNER),
            "evidence": {"digest": "ab" * 32, "attested_at": 1_800_000_000, "valid_until": 1_800_604_800},
        },
        None,
    ],
    "cooldown_until": 0,
}
CODE = [{"code_hash": "01" * 32, "allowed_until": None}, {"code_hash": "02" * 32, "allowed_until": 70}]
MEASURED = dict.fromkeys(("mrtd", "rtmr0", "rtmr1", "rtmr2", "key_provider_event_digest"), "ab" * 48)
ALLOWED = {"node": CODE, "backup_service": CODE[:1], "measurements": [{"measurements": MEASURED, "allowed_until": 9}]}


def test_the_mainnet_state_is_a_running_state_with_its_ten_participants():
    state = decode_state(MAINNET)
    assert isinstance(state, Running)
    assert (state.threshold, len(state.participants.members), state.keyset.epoch_id) == (7, 10, 4)
    assert [domain.attempt for domain in state.keyset.domains] == [240, 0]
    member = state.participants.find(AccountId("lifted-mainnet.near"))
    assert member is not None
    assert member.participant_id == 3
    assert member.info.url == "https://near-mpc.liftedinit.org"


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ("not_initialized", NotInitialized),
        ("initializing", Initializing),
        ("running", Running),
        ("running_with_open_votes", Running),
        ("resharing", Resharing),
    ],
)
def test_every_state_of_near_mpc_is_known(shape, kind):
    assert isinstance(decode_state(SHAPES[shape]), kind)


def test_a_state_is_decoded_once_while_its_bytes_are_the_same():
    one, same, other = (json.dumps(state).encode() for state in (MAINNET, MAINNET, RECOVERY))
    assert read_state(one) is read_state(same)
    assert read_state(one) == decode_state(MAINNET)
    assert read_state(other) == decode_state(RECOVERY)


def test_bytes_that_are_no_state_are_refused_each_time():
    for _ in range(2):
        with pytest.raises(DecodeError, match="not valid JSON"):
            read_state(b"{")


def test_a_resharing_keeps_the_running_state_it_started_from():
    state = decode_state(SHAPES["resharing"])
    assert isinstance(state, Resharing)
    assert state.previous == decode_state(SHAPES["running"])


def test_a_resharing_names_the_finished_domains_the_next_one_and_who_takes_part():
    state = decode_state(SHAPES["resharing"])
    assert isinstance(state, Resharing)
    assert [(domain.domain_id, domain.attempt) for domain in state.reshared] == [(0, 2)]
    assert (state.resharing.epoch_id, state.resharing.threshold, state.resharing.next_attempt_id) == (6, 3, 2)
    assert state.resharing.domain == state.previous.domains[1]
    assert [member.participant_id for member in state.resharing.participants.members] == [0, 1, 3, 4]
    instance = state.resharing.instance
    assert instance is not None
    assert (instance.attempt_id, instance.started_in, instance.expires_on) == (1, 180001000, 180001030)
    assert (instance.completed, instance.public_key) == ((0,), None)


def test_a_key_generation_has_the_running_state_a_cancellation_leads_to_and_the_domain_in_work():
    state = decode_state(SHAPES["initializing"])
    assert isinstance(state, Initializing)
    assert (state.previous.keyset.epoch_id, state.previous.threshold) == (5, 2)
    assert [domain.domain_id for domain in state.previous.keyset.domains] == [0]
    assert [domain.protocol for domain in state.previous.domains] == ["CaitSith"]
    assert state.previous.participants == state.generating.participants
    assert (state.generating.epoch_id, state.generating.domain.domain_id) == (5, 1)
    instance = state.generating.instance
    assert instance is not None
    assert (instance.completed, instance.attempt_id) == ((0, 3), 0)
    assert instance.public_key is not None
    assert instance.public_key.curve is state.generating.domain.curve is Curve.ED25519


def test_between_two_attempts_a_key_event_has_no_instance():
    waiting = copy.deepcopy(SHAPES["initializing"])
    waiting["Initializing"]["generating_key"]["instance"] = None
    state = decode_state(waiting)
    assert isinstance(state, Initializing)
    assert (state.generating.instance, state.generating.next_attempt_id) == (None, 1)


@pytest.mark.parametrize("form", ["absent", "without protocols"])
def test_a_registry_of_domains_in_an_older_form_is_an_empty_one(form):
    older = copy.deepcopy(SHAPES["running"])
    if form == "absent":
        del older["Running"]["domains"]
    else:
        older["Running"]["domains"]["domains"] = [{"id": 0, "scheme": "Secp256k1"}]
    known = decode_state(SHAPES["running"])
    assert isinstance(known, Running)
    assert decode_state(older) == dataclasses.replace(known, domains=())


def test_the_curve_of_an_unknown_protocol_is_refused_only_when_it_is_asked_for():
    newer = copy.deepcopy(SHAPES["running"])
    newer["Running"]["domains"]["domains"][0]["protocol"] = "Lattice"
    state = decode_state(newer)
    assert isinstance(state, Running)
    with pytest.raises(ValueError, match="Lattice"):
        _ = state.domains[0].curve


def test_a_recovery_names_who_recovers_and_with_which_keys():
    state = decode_state(RECOVERY)
    assert isinstance(state, Recovery)
    assert (state.recovery_id, state.started_in, state.expires_on) == (7, 1200, 7200)
    assert state.shares_confirmed is False
    assert state.recovering.account_id == "alpha.example.near"
    assert state.recovering.info.tls_public_key == NEW_TLS
    assert state.recovering.signer_key == NEW_SIGNER
    assert state.previous == decode_state(SHAPES["running"])


def test_the_older_name_of_the_tls_key_means_the_same():
    old = json.loads(json.dumps(MAINNET).replace("tls_public_key", "sign_pk"))
    assert decode_state(old) == decode_state(MAINNET)


def test_a_running_contract_without_domains_has_an_empty_keyset():
    empty = copy.deepcopy(MAINNET)
    empty["Running"]["keyset"]["domains"] = empty["Running"]["domains"]["domains"] = []
    state = decode_state(empty)
    assert isinstance(state, Running)
    assert (state.keyset.epoch_id, state.keyset.domains, state.domains) == (4, (), ())


def test_an_account_record_has_its_pairs_and_its_cooldown():
    record = decode_account({**ACCOUNT, "unknown": 1})
    assert record.is_participant
    assert record.node is not None
    assert (record.node.info.url, record.node.signer_key) == ("http://a", NEW_SIGNER)
    assert record.node_candidate is None
    assert record.backup_service_tls_keys == (NEW_TLS,)
    assert record.backup_services[1] is None
    assert (record.slot_of(NEW_TLS), record.slot_of(TlsKey(bytes(32)))) == (0, None)


def test_an_account_record_has_the_evidence_that_is_valid_by_the_machine_s_tls_key():
    record = decode_account(ACCOUNT)
    stamp = EvidenceStamp(digest=Sha256Hex("ab" * 32), attested_at=1_800_000_000)
    assert record.evidence_of(NEW_TLS) == stamp
    assert record.evidence_of(TlsKey(bytes(32))) is None
    (recorded,) = record.evidence
    assert recorded.valid_until == 1_800_604_800
    expired = copy.deepcopy(ACCOUNT)
    expired["backup_services"][0]["evidence"] = None
    assert decode_account(expired).evidence_of(NEW_TLS) is None


def test_evidence_makes_no_other_machine_of_a_machine():
    without = copy.deepcopy(ACCOUNT)
    del without["backup_services"][0]["evidence"]
    assert decode_account(without).backup_services == decode_account(ACCOUNT).backup_services
    assert decode_account(without).evidence == ()


def test_what_is_allowed_is_allowed_to_the_end_of_its_grace():
    allowed = decode_allowed_code(**ALLOWED)
    assert allowed.of(Role.NODE) == {CodeHash("01" * 32), CodeHash("02" * 32)}
    assert allowed.of(Role.BACKUP_SERVICE) == {CodeHash("01" * 32)}
    assert allowed.measurements == {Measurements(**MEASURED)}


def test_the_stamp_is_an_argument_of_its_own_and_none_when_there_is_none():
    stamp = EvidenceStamp(digest=Sha256Hex("ab" * 32), attested_at=7)
    assert encode_evidence_stamp(stamp) == {"evidence": {"digest": "ab" * 32, "attested_at": 7}}
    assert encode_evidence_stamp(None) == {}


def _paths(value, path=()):
    if isinstance(value, dict):
        for name in value:
            yield (*path, name)
            yield from _paths(value[name], (*path, name))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, (*path, index))


def _at(value, path):
    for step in path:
        value = value[step]
    return value


EVERY_STATE = {**SHAPES, "recovery": RECOVERY}
FIELDS = sorted(((name, path) for name, state in EVERY_STATE.items() for path in _paths(state)), key=str)


@given(st.sampled_from(FIELDS))
def test_a_field_we_do_not_know_changes_nothing(place):
    name, path = place
    more = copy.deepcopy(EVERY_STATE[name])
    target = _at(more, path)
    if isinstance(target, dict) and path[-1] not in ("Secp256k1", "Ed25519", "Bls12381", "key", "public_key"):
        target["added_later"] = {"x": 1}
    assert decode_state(more) == decode_state(EVERY_STATE[name])


NEEDED = [
    ("recovery_id",),
    ("previous_running_state", "keyset", "epoch_id"),
    ("previous_running_state", "parameters", "threshold"),
    ("prospective_participants", "participants"),
    ("recovering", "account_id"),
    ("recovering", "participant_info", "tls_public_key"),
    ("recovering", "participant_info", "url"),
    ("recovering", "signer_account_pk"),
    ("started_in",),
    ("expires_on",),
    ("shares_confirmed",),
]


NEEDED_OF_A_KEY_EVENT = [
    ("initializing", ("epoch_id",)),
    ("initializing", ("generated_keys",)),
    ("initializing", ("generating_key",)),
    ("initializing", ("generating_key", "epoch_id")),
    ("initializing", ("generating_key", "domain", "id")),
    ("initializing", ("generating_key", "domain", "protocol")),
    ("initializing", ("generating_key", "instance")),
    ("initializing", ("generating_key", "instance", "completed")),
    ("initializing", ("generating_key", "next_attempt_id")),
    ("resharing", ("previous_running_state",)),
    ("resharing", ("reshared_keys",)),
    ("resharing", ("resharing_key", "parameters", "participants")),
    ("resharing", ("resharing_key", "parameters", "threshold")),
    ("resharing", ("resharing_key", "instance", "attempt_id")),
]


@pytest.mark.parametrize(("name", "path"), NEEDED_OF_A_KEY_EVENT)
def test_a_field_of_a_key_event_that_we_need_and_do_not_find_is_named(name, path):
    broken = copy.deepcopy(SHAPES[name])
    content = next(iter(broken.values()))
    del _at(content, path[:-1])[path[-1]]
    with pytest.raises(DecodeError, match=path[-1]):
        decode_state(broken)


@pytest.mark.parametrize("path", NEEDED)
def test_a_field_we_need_and_do_not_find_is_named(path):
    broken = copy.deepcopy(RECOVERY)
    del _at(broken["Recovery"], path[:-1])[path[-1]]
    with pytest.raises(DecodeError, match=path[-1]):
        decode_state(broken)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("recovering", "account_id"), "NOT AN ACCOUNT"),
        (("recovering", "signer_account_pk"), "secp256k1:abc"),
        (("recovering", "participant_info", "tls_public_key"), "ed25519:" + "1" * 10_000_000),
        (("shares_confirmed",), 1),
        (("expires_on",), -1),
        (("expires_on",), 2**64),
        (("prospective_participants", "participants"), [["a.near", 0]]),
        (("prospective_participants", "participants"), "none"),
    ],
)
def test_a_field_in_a_form_we_do_not_know_is_refused(path, value):
    broken = copy.deepcopy(RECOVERY)
    _at(broken["Recovery"], path[:-1])[path[-1]] = value
    with pytest.raises(DecodeError):
        decode_state(broken)


def test_a_participant_set_that_names_an_account_twice_is_refused():
    broken = copy.deepcopy(MAINNET)
    members = broken["Running"]["parameters"]["participants"]["participants"]
    members.append(members[0])
    with pytest.raises(DecodeError, match="twice"):
        decode_state(broken)


@pytest.mark.parametrize(
    "value", ["Running", "Hibernating", {"Hibernating": {}}, {}, [], None, 3, {**MAINNET, "B": {}}]
)
def test_an_unknown_state_is_refused(value):
    with pytest.raises(DecodeError):
        decode_state(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=15,
)


def _decodes_or_refuses(decode, value):
    with contextlib.suppress(DecodeError):
        decode(value)


@given(JSON, st.sampled_from(["Running", "Recovery", "Resharing", "Initializing"]))
def test_any_json_is_a_value_or_a_decode_error(value, name):
    _decodes_or_refuses(decode_state, value)
    _decodes_or_refuses(decode_state, {name: value})
    _decodes_or_refuses(decode_account, value)


@given(st.sampled_from(FIELDS), JSON)
def test_a_state_with_any_field_replaced_is_a_value_or_a_decode_error(place, value):
    name, path = place
    changed = copy.deepcopy(EVERY_STATE[name])
    _at(changed, path[:-1])[path[-1]] = value
    _decodes_or_refuses(decode_state, changed)


@given(st.sampled_from(sorted(_paths(ACCOUNT), key=str)), JSON)
def test_an_account_record_with_any_field_replaced_is_a_value_or_a_decode_error(path, value):
    changed = copy.deepcopy(ACCOUNT)
    _at(changed, path[:-1])[path[-1]] = value
    _decodes_or_refuses(decode_account, changed)


@given(st.sampled_from(sorted(_paths(ALLOWED), key=str)), JSON)
def test_allowed_code_with_any_part_replaced_is_a_value_or_a_decode_error(path, value):
    changed = copy.deepcopy(ALLOWED)
    _at(changed, path[:-1])[path[-1]] = value
    _decodes_or_refuses(lambda shown: decode_allowed_code(**shown), changed)
