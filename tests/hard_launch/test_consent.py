"""Nobody's word lets shares leave in hard launch: no approval and no override is on record, taken or spent."""

import pytest

from sharekeeper.errors import PolicyRefused
from sharekeeper.hard_launch.consent import NoApprovals, NoOverrides
from tests.unit.protocol_values import APPROVAL, OVERRIDE


@pytest.mark.parametrize(
    ("store", "consent", "words"),
    [(NoApprovals(), APPROVAL, "the approval for alice"), (NoOverrides(), OVERRIDE, "the override for alice")],
    ids=["approval", "override"],
)
async def test_a_consent_is_neither_taken_nor_spent(store, consent, words):
    for act in (store.add(consent), store.spend(consent, 7)):
        with pytest.raises(
            PolicyRefused, match=f"{words}.* is refused: in hard launch only evidence lets shares leave"
        ):
            await act
    assert list(store.pending()) == []
