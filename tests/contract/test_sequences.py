"""Every call sequence comes out the same from the Python sources and from the wasm."""

from collections.abc import Iterator

import pytest

from tests.contract.layers import SourceLayer, WasmLayer, near_module
from tests.contract.sequences import SEQUENCES, Layer, Sequence, run


@pytest.fixture(params=["source", "wasm"])
def layer(request: pytest.FixtureRequest) -> Iterator[Layer]:
    if request.param == "wasm":
        yield WasmLayer()
        return
    with near_module() as near:
        yield SourceLayer(near)


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.name)
def test_the_sequence_comes_out_as_written(layer: Layer, sequence: Sequence) -> None:
    run(layer, sequence)
