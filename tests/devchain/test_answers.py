"""How an answer is written: bytes as an array of numbers, wherever they are, everything else as JSON has it."""

import json

import pytest

from sharekeeper_devnet.chain.rpc.server import encode


def test_bytes_are_written_as_arrays_of_numbers():
    data = bytes(range(256))
    body = {"result": {"result": data, "logs": ["é", '"result": []'], "more": [b"", {"x": b"\x01"}]}, "id": None}
    expected = {"result": {"result": list(data), "logs": ["é", '"result": []'], "more": [[], {"x": [1]}]}, "id": None}
    assert json.loads(encode(body)) == expected
    assert encode(body) == encode(body)


def test_what_is_not_json_is_refused():
    with pytest.raises(TypeError, match="set is not JSON"):
        encode({"result": {1}})
