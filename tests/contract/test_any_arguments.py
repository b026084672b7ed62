"""Whatever JSON a call or view is given, it ends in a result or in one printable refusal that changes nothing."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.logic import CALLS, VIEWS, execute, view
from tests.contract.layers import WasmLayer
from tests.contract.steps import NEW, RefusedError
from tests.contract.test_codec import JSON, refusal_of
from tests.contract.test_logic_rules import DictStore, chain
from tests.contract.test_logic_table import PREPARED, valid_call
from tests.contract.world import ALICE, CONTRACT, NOW, init_arguments

VIEW_METHODS = ["version", *VIEWS]


def prepared(state: str) -> DictStore:
    store = DictStore()
    for step in PREPARED[state][0]:
        caller = chain(store, caller=step.caller, signer=step.signer, height=step.height)
        execute(caller, step.method, step.args)
    return store


PREPARED_STORES = {state: prepared(state) for state in PREPARED}


@st.composite
def spoiled(draw: st.DrawFn, value: Any) -> Any:
    """`value` with one part of it, at any depth, replaced by any JSON."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(sorted(value)))
        return value | {name: draw(spoiled(value[name]))}
    if isinstance(value, list) and value and draw(st.booleans()):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], draw(spoiled(value[index])), *value[index + 1 :]]
    return draw(JSON)


def is_refused_or_json(store: DictStore, state: str, method: str, args: Any) -> None:
    height = PREPARED[state][1]
    step = valid_call(method, height, state)
    caller = chain(store, caller=step.caller, signer=step.signer, height=height)
    refusal = refusal_of(lambda: json.dumps(execute(caller, method, args), allow_nan=False))
    assert refusal.isascii()


@pytest.mark.parametrize("method", CALLS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_call_ends_in_a_result_or_a_refusal(method: str, data: st.DataObject) -> None:
    state = data.draw(st.sampled_from(sorted(PREPARED_STORES)))
    valid = valid_call(method, PREPARED[state][1], state).args
    args = data.draw(JSON | spoiled(valid))
    is_refused_or_json(copy.deepcopy(PREPARED_STORES[state]), state, method, args)


@pytest.mark.parametrize("method", VIEW_METHODS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_view_ends_in_an_answer_or_a_refusal(method: str, data: st.DataObject) -> None:
    state = data.draw(st.sampled_from(sorted(PREPARED_STORES)))
    valid = {"account_id": CONTRACT, "request_id": 1}
    args = data.draw(st.just({}) | JSON | spoiled(valid))
    store, height = PREPARED_STORES[state], PREPARED[state][1]
    assert refusal_of(lambda: json.loads(view(store, height, NOW, method, args))).isascii()


# What Python's JSON does not write, or a lenient reader would take for something else.
RAW = [
    *(b"{", b"[", b"]", b"nul", b"null", b"[]", b'""', b"7", b"-", b"1e999", b"NaN", b"{}{}", b"\0", b"\xff"),
    *(b'{"url"}', b'{"url":}', b'{"url":1e5}', b'{"url":"\xff\xfe"}', b'{"url":"\\ud800"}', b'{"\\u0000":1}', b"{1:2}"),
    *(b'{"url":%s}' % (b"[" * 60 + b"]" * 60), b'{"url":%s}' % (b"9" * 500), b'{"url":"%s"}' % (b"x" * 10_000)),
]


@pytest.fixture(scope="module")
def wasm() -> WasmLayer:
    layer = WasmLayer()
    layer.call(caller=CONTRACT, signer="contract", method="init", args=init_arguments(), height=1)
    return layer


def give(layer: WasmLayer, method: str, raw: bytes) -> None:
    if method in CALLS:
        layer.call(caller=ALICE, signer=NEW, method=method, args=raw, height=2)
    else:
        layer.view(method=method, args=raw, height=2)


@pytest.mark.parametrize("method", [*CALLS, "participant_info", "state"])
def test_the_wasm_refuses_bytes_that_are_no_arguments(wasm: WasmLayer, method: str) -> None:
    before = dict(wasm.storage)
    for raw in RAW:
        with pytest.raises(RefusedError):
            give(wasm, method, raw)
    assert wasm.storage == before


def is_json(raw: bytes) -> bool:
    """Whether Python takes the bytes for JSON, leaving out its own extras (NaN and the like)."""
    try:
        json.loads(raw.decode(), parse_constant=int)
    except ValueError:
        return False
    return True


SAMPLES = (b'{"account_id":"alice.test.near"}', b'{"a":[1,2.5e3,-0,true,{"b":null,"c":"\\u00e9\\n"}],"x":{}}')


@settings(max_examples=200, deadline=None)
@given(
    sample=st.sampled_from(SAMPLES),
    cuts=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 2), st.sampled_from(b'{}[],:"\\012eE.+- \ntf')), max_size=3
    ),
)
def test_the_wasm_takes_the_same_bytes_for_json_as_python(
    wasm: WasmLayer, sample: bytes, cuts: list[tuple[int, int, int]]
) -> None:
    raw = sample
    for place, removed, added in cuts:
        raw = raw[:place] + bytes([added]) + raw[place + removed :]
    refusal = ""
    try:
        wasm.view(method="participant_info", args=raw, height=2)
    except RefusedError as refused:
        refusal = str(refused)
    assert ("syntax error in JSON" not in refusal) == is_json(raw)
