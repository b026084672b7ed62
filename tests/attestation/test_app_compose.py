"""The app-compose: the one we deploy, and the policy that knows every key."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.attestation.app_compose import build_app_compose, check_app_compose, compose_hash

COMPOSE_FILE = "services:\n  agent: {}\n# ä\n"
TEXT = build_app_compose("sharekeeper-1", COMPOSE_FILE)
VALUE = json.loads(TEXT)
FREE = {"name"}
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values |= st.lists(st.text(), max_size=2) | st.dictionaries(st.text(), st.text(), max_size=2)


def test_what_we_build_is_what_we_accept_and_the_same_every_time():
    assert check_app_compose(TEXT, secure_time=True) == COMPOSE_FILE
    assert build_app_compose("sharekeeper-1", COMPOSE_FILE) == TEXT
    assert TEXT.isascii()


def test_the_compose_hash_is_of_the_text_as_it_is():
    assert compose_hash(TEXT) != compose_hash(json.dumps(VALUE))


@pytest.mark.parametrize("name", sorted(VALUE))
def test_a_missing_key_is_refused(name):
    _refused({key: value for key, value in VALUE.items() if key != name}, f"'{name}' is missing")


@given(st.text().filter(lambda name: name not in VALUE), values)
def test_an_added_key_is_refused_whatever_it_says(name, value):
    _refused(VALUE | {name: value}, "is unknown")


@pytest.mark.parametrize("name", ["pre_launch_script", "init_script", "bash_script", "docker_config", "key_provider"])
def test_dstacks_other_keys_are_refused_even_without_a_value(name):
    for value in (None, "", {}):
        _refused(VALUE | {name: value}, f"'{name}' is unknown")


@given(st.sampled_from(sorted(VALUE.keys() - FREE)), values)
def test_a_changed_value_is_refused_but_for_the_compose_file_itself(name, value):
    if type(value) is type(VALUE[name]) and (value == VALUE[name] or name == "docker_compose_file"):
        return
    _refused(VALUE | {name: value}, f"'{name}'")


@pytest.mark.parametrize(("name", "value"), [("kms_enabled", 0), ("public_logs", 1), ("manifest_version", True)])
def test_a_number_is_no_truth_value(name, value):
    _refused(VALUE | {name: value}, f"'{name}' must be")


def test_network_time_may_be_left_out_only_where_near_mpc_does():
    text = json.dumps(VALUE | {"secure_time": False})
    assert check_app_compose(text, secure_time=False) == COMPOSE_FILE
    _refused(VALUE | {"secure_time": False}, "'secure_time' must be true")
    with pytest.raises(ValueError, match="wrong kind"):
        check_app_compose(json.dumps(VALUE | {"secure_time": 0}), secure_time=False)


def test_every_fault_is_named_at_once():
    with pytest.raises(ValueError) as refusal:
        check_app_compose('{"evil": 1, "kms_enabled": true}', secure_time=True)
    for words in ("'evil' is unknown", "'runner' is missing", "'kms_enabled' must be false"):
        assert words in str(refusal.value)


@given(st.text())
def test_any_text_is_an_app_compose_or_a_value_error(text):
    with pytest.raises(ValueError):
        check_app_compose(text, secure_time=False)


def test_a_key_that_is_said_twice_is_refused():
    with pytest.raises(ValueError, match="repeats"):
        check_app_compose(TEXT.replace("{", '{"kms_enabled": true,', 1), secure_time=True)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a" * 65, "ä", 'a"b'])
def test_a_machine_has_a_plain_name(name):
    with pytest.raises(ValueError, match="virtual machine"):
        build_app_compose(name, COMPOSE_FILE)


def _refused(value, words):
    with pytest.raises(ValueError) as refusal:
        check_app_compose(json.dumps(value), secure_time=True)
    assert words in str(refusal.value)
