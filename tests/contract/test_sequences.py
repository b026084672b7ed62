"""Every call sequence comes out the same from the Python sources and from the wasm."""

import pytest

from tests.contract.sequences import SEQUENCES
from tests.contract.steps import Layer, Look, Sequence, init, run


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.name)
def test_the_sequence_comes_out_as_written(layer: Layer, sequence: Sequence) -> None:
    run(layer, sequence)


def test_the_runner_fails_when_a_result_differs(layer: Layer) -> None:
    wrong = Sequence(name="wrong", steps=(init(), Look(method="state", height=1, value="NotInitialized")))
    with pytest.raises(AssertionError, match="wrong, step 2, state"):
        run(layer, wrong)


def test_the_runner_fails_when_a_refusal_is_missing_or_another(layer: Layer) -> None:
    with pytest.raises(AssertionError, match="step 1, init: accepted"):
        run(layer, Sequence(name="wrong", steps=(init(refusal="not possible"),)))
    with pytest.raises(AssertionError, match="step 1, init: refused otherwise"):
        run(layer, Sequence(name="wrong", steps=(init(refusal="not possible"),)))
    with pytest.raises(AssertionError, match="step 1, init: refused"):
        run(layer, Sequence(name="wrong", steps=(init(),)))
