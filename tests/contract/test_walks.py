"""Whatever calls come, in whatever order: the Python sources and the wasm do the same, to the word."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.layers import SourceLayer, WasmLayer, near_module
from tests.contract.model_slices import bounded
from tests.contract.steps import run
from tests.contract.walks import PATIENT, walk

WORLDS = [replace(world, config=PATIENT) for world in bounded(machines=2, recoveries=3, attempts=2, epochs=4)]
CHOICES = st.lists(st.integers(0, 10_000), min_size=5, max_size=40)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(world=st.sampled_from(WORLDS), choices=CHOICES)
def test_any_walk_comes_out_the_same_from_the_sources_and_from_the_wasm(world, choices):
    sequence = walk(world, choices)
    run(WasmLayer(), sequence)
    with near_module() as near:
        run(SourceLayer(near), sequence)
