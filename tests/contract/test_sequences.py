"""Every call sequence comes out the same from the Python sources and from the wasm."""

import pytest

from tests.contract.sequences import SEQUENCES
from tests.contract.steps import Layer, Sequence, run


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.name)
def test_the_sequence_comes_out_as_written(layer: Layer, sequence: Sequence) -> None:
    run(layer, sequence)


def test_the_runner_fails_when_a_result_differs(layer: Layer) -> None:
    sequence = SEQUENCES[0]
    wrong = Sequence(name="wrong", steps=(sequence.steps[1], sequence.steps[0]))
    with pytest.raises(AssertionError, match="wrong, step 2, state"):
        run(layer, wrong)
