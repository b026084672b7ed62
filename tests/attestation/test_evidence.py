"""Evidence as bytes: one encoding, and nothing else is read."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharekeeper.attestation.evidence import decode_evidence, encode_evidence, evidence_digest
from sharekeeper.domain.attestation import Event, Evidence
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.protocol.codec import canonical_json
from sharekeeper.spec import MAX_EVENTS, MAX_EVIDENCE_BYTES

EVENT = Event(imr=3, event_type=0x08000001, digest="ab" * 48, name="compose-hash", payload="00ff")
EVIDENCE = Evidence(quote=b"quote", events=(EVENT,), app_compose='{"name": "ä"}', collateral="{}")
ENCODED = encode_evidence(EVIDENCE)

texts = st.text(st.characters(codec="utf-8"), max_size=40)
events = st.builds(
    Event,
    imr=st.integers(0, 3),
    event_type=st.integers(0, 2**32 - 1),
    digest=st.binary(min_size=48, max_size=48).map(bytes.hex),
    name=texts,
    payload=st.binary(max_size=20).map(bytes.hex),
)
evidences = st.builds(
    Evidence,
    quote=st.binary(max_size=40),
    events=st.lists(events, max_size=4).map(tuple),
    app_compose=texts,
    collateral=st.none() | texts,
)


@given(evidences)
def test_what_was_encoded_is_decoded_to_the_same(evidence):
    encoded = encode_evidence(evidence)
    assert decode_evidence(encoded) == evidence
    assert evidence_digest(evidence) == Sha256Hex.of(encoded)


@given(st.binary(max_size=200))
def test_any_bytes_are_evidence_or_a_value_error(data):
    _total(data)


@settings(max_examples=300)
@given(st.integers(0, len(ENCODED) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_a_changed_encoding_is_other_evidence_or_a_value_error(position, inserted, removed):
    _total(ENCODED[:position] + inserted + ENCODED[position + removed :])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(["quote", "event_log", "app_compose", "collateral", "more"]),
)
def test_any_json_in_any_field_is_evidence_or_a_value_error(value, name):
    _total(json.dumps(json.loads(ENCODED) | {name: value}).encode())


@pytest.mark.parametrize(
    "value",
    [
        {"quote": "AB"},
        {"quote": "a b"},
        {"collateral": 1},
        {"app_compose": None},
        {"more": 1},
        {"app_compose": "\ud800"},
        {"event_log": [{}]},
        {"event_log": [json.loads(ENCODED)["event_log"][0] | {"version": 2}]},
        {"event_log": [json.loads(ENCODED)["event_log"][0] | {"imr": 4}]},
        {"event_log": [json.loads(ENCODED)["event_log"][0] | {"imr": True}]},
        {"event_log": [json.loads(ENCODED)["event_log"][0] | {"event_type": 2**32}]},
        {"event_log": [json.loads(ENCODED)["event_log"][0] | {"digest": "ab"}]},
        {"event_log": [json.loads(ENCODED)["event_log"][0] | {"event_payload": "0"}]},
        {"event_log": [json.loads(ENCODED)["event_log"][0] | {"event": "\udfff"}]},
    ],
)
def test_a_value_of_another_form_is_refused(value):
    with pytest.raises(ValueError):
        decode_evidence(canonical_json(json.loads(ENCODED) | value))


@pytest.mark.parametrize("data", [ENCODED + b" ", b" " + ENCODED, ENCODED.replace(b":", b": ", 1), b"{}", b"[]", b""])
def test_only_the_one_encoding_is_read(data):
    with pytest.raises(ValueError):
        decode_evidence(data)


def test_evidence_that_nobody_would_read_is_not_written():
    for large in (replace(EVIDENCE, app_compose="x" * MAX_EVIDENCE_BYTES), replace(EVIDENCE, events=(EVENT,) * 257)):
        with pytest.raises(ValueError, match="too large"):
            encode_evidence(large)
    assert decode_evidence(encode_evidence(replace(EVIDENCE, events=(EVENT,) * MAX_EVENTS)))


def test_more_bytes_than_the_limit_are_refused_unread():
    with pytest.raises(ValueError, match=f"at most {MAX_EVIDENCE_BYTES}"):
        decode_evidence(b"[" * (MAX_EVIDENCE_BYTES + 1))


def _total(data):
    """A value, whose encoding is exactly `data`, or `ValueError`."""
    try:
        evidence = decode_evidence(data)
    except ValueError:
        return
    assert encode_evidence(evidence) == data
