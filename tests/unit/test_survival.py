"""What becomes of a backup, by vault kind and sibling, at each mishap."""

import pytest

from sharekeeper.domain.attestation import VaultKind
from sharekeeper.protocol.survival import WORDS, Mishap, SiblingCopy, decide_survival

ALONE, PERHAPS, TWO = SiblingCopy.NONE, SiblingCopy.UNCONFIRMED, SiblingCopy.CONFIRMED
EVERYTHING = set(Mishap)


@pytest.mark.parametrize(
    ("vault", "kept"),
    [
        (None, EVERYTHING - {Mishap.HOST_LOST}),
        (VaultKind.SEALED, {Mishap.RESTARTED}),
        (VaultKind.MEMORY, set()),
    ],
)
@pytest.mark.parametrize("sibling", SiblingCopy)
def test_what_a_vault_keeps_by_itself_is_the_same_whatever_the_sibling_has(vault, kept, sibling):
    assert {each.mishap for each in decide_survival(vault, sibling) if each.own_copy} == kept


@pytest.mark.parametrize("vault", [None, *VaultKind])
@pytest.mark.parametrize(("sibling", "survives"), [(ALONE, False), (PERHAPS, None), (TWO, True)])
def test_what_a_vault_loses_survives_at_a_sibling_that_confirmed_its_copy_and_nowhere_else(vault, sibling, survives):
    for each in decide_survival(vault, sibling):
        assert each.survives is (True if each.own_copy else survives), each


@pytest.mark.parametrize("vault", [None, *VaultKind])
def test_every_mishap_is_answered_once_and_has_words(vault):
    assert [each.mishap for each in decide_survival(vault, ALONE)] == list(Mishap) == list(WORDS)
