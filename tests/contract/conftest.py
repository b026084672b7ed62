from collections.abc import Iterator

import pytest

from tests.contract.layers import SourceLayer, WasmLayer, near_module
from tests.contract.steps import Layer


@pytest.fixture
def source() -> Iterator[SourceLayer]:
    with near_module() as near:
        yield SourceLayer(near)


@pytest.fixture(params=["source", "wasm"])
def layer(request: pytest.FixtureRequest) -> Layer:
    """Each form of the contract that needs no chain."""
    return WasmLayer() if request.param == "wasm" else request.getfixturevalue("source")
