"""A secret shows itself in no text."""

import copy
import json
import pickle

import pytest

from sharekeeper.secret import Secret

CANARY = b"canary-5f1d"


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{:>10}".format, lambda s: f"{s!s}{[s]}{ ({1: s}) }"])
def test_no_textual_form_shows_the_bytes(show):
    shown = show(Secret(CANARY))
    assert "canary" not in shown
    assert CANARY.hex() not in shown


@pytest.mark.parametrize("leak", [pickle.dumps, copy.deepcopy, copy.copy, json.dumps])
def test_it_cannot_be_pickled_copied_or_encoded(leak):
    with pytest.raises(TypeError):
        leak(Secret(CANARY))


def test_it_cannot_become_a_member_of_a_set():
    with pytest.raises(TypeError):
        {Secret(CANARY)}


def test_equality_is_by_bytes_and_only_with_secrets():
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != Secret(b"other")
    assert Secret(CANARY) != CANARY


def test_bad_hex_is_refused_without_quoting_it():
    with pytest.raises(ValueError) as refusal:
        Secret.from_hex("c0ffee-not-hex")
    assert "c0ffee" not in str(refusal.value)


def test_reveal_gives_the_bytes_back():
    assert Secret.from_hex(CANARY.hex()).reveal() == CANARY
