"""Nobody's word lets shares leave in hard launch: no approval and no override is on record, taken or spent."""

import pytest

from sharekeeper.domain.backup import Approval, QuorumOverride
from sharekeeper.errors import PolicyRefused
from sharekeeper.hard_launch.consent import NoApprovals, NoOverrides
from tests.unit.protocol_values import ALICE, NEW, keyset

APPROVAL = Approval(
    account_id=ALICE,
    info=NEW.info,
    signer_key=NEW.signer_key,
    keyset=keyset().digest(),
    approved_at_height=1100,
    deadline_ns=1_800_000_000 * 10**9,
    used_for=None,
)
OVERRIDE = QuorumOverride(
    account_id=ALICE,
    block_hash="1" * 32,
    recovery_id=7,
    tls_key=NEW.info.tls_public_key,
    deadline_ns=1_800_000_000 * 10**9,
    used_at_ns=None,
)


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
