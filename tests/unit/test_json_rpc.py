"""Answers of an endpoint, read: a long array of bytes is decoded once, and nothing is read otherwise for it."""

import json

import pytest

from sharekeeper.adapters.json_rpc import parse_answer
from sharekeeper.protocol.codec import DecodeError, parse_json

LONG = bytes(range(256)) * 100


def answered(returned: object, **more: object) -> bytes:
    """An answer as NEAR writes it, without white space."""
    result = {"block_hash": "h", "logs": [], "result": returned, **more}
    return json.dumps({"jsonrpc": "2.0", "result": result, "id": 1}, separators=(",", ":")).encode()


def test_what_a_view_returned_is_bytes_where_it_is_long():
    assert parse_answer(answered(list(LONG), block_height=7)) == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {"block_hash": "h", "logs": [], "result": LONG, "block_height": 7},
    }


def test_equal_arrays_in_different_answers_are_one_object_and_others_are_not():
    first, again = (parse_answer(answered(list(LONG), block_height=height)) for height in (1, 2))
    other = parse_answer(answered([*LONG[:-1], 0]))
    assert first["result"]["result"] is again["result"]["result"]
    assert other["result"]["result"] == LONG[:-1] + b"\0"


def test_white_space_within_the_answer_changes_nothing():
    body = json.dumps({"id": 1, "result": {"result": list(LONG)}}, indent=1).encode()
    assert parse_answer(body)["result"]["result"] == LONG


def nested(body: bytes) -> bytes:
    return body.replace(b'"result":{', b'"result":{"x":{"result":' + json.dumps(list(LONG)).encode() + b"},", 1)


@pytest.mark.parametrize(
    "body",
    [
        answered([1, 2, 3]),
        answered([*LONG, 256]),
        answered([*LONG, -1]),
        answered([*LONG, 0.5]),
        answered([*LONG, "]"]),
        answered([*LONG, [1], 2]),
        answered([[0] * len(LONG)]),
        answered(None, **{'x"result': list(LONG)}),
        nested(answered([1])),
        json.dumps({"id": 1, "result": list(LONG)}, separators=(",", ":")).encode(),
        json.dumps({"id": 1, "error": {"result": list(LONG)}}).encode(),
        json.dumps([{"result": list(LONG)}]).encode(),
    ],
    ids=[
        "short",
        "above a byte",
        "below a byte",
        "fraction",
        "text",
        "array within",
        "array around",
        "quoted name",
        "deeper",
        "no view",
        "error",
        "no envelope",
    ],
)
def test_any_other_answer_is_read_as_the_json_it_is(body):
    assert parse_answer(body) == parse_json(body)


@pytest.mark.parametrize("end", [b"", b"]", b"]}", b"]}}}", b',"result":[]}}'])
def test_an_answer_that_is_not_json_stays_none(end):
    body = answered(list(LONG))
    with pytest.raises(DecodeError):
        parse_answer(body[: body.index(b",255]")] + end)


def test_names_may_not_repeat_beside_a_long_array():
    with pytest.raises(DecodeError, match="repeats"):
        parse_answer(answered(list(LONG)).replace(b'"logs":[]', b'"result":[]'))
