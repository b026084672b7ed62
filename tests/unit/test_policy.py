from dataclasses import replace

import pytest

from sharekeeper.domain.backup import Approval
from sharekeeper.protocol.policy import (
    EvidenceNeeded,
    HandOutAllowed,
    HandOutPolicy,
    HandOutRefused,
    decide_hand_out,
)
from sharekeeper.spec import MAINNET_GENESIS_HASH, TESTNET_GENESIS_HASH
from tests.protocol.attestation_values import verdict

from .protocol_values import ALICE, BOB, NETWORK, NEW, NOW_NS, info, keyset, recovery, signer, tls

APPROVAL = Approval(
    account_id=ALICE,
    info=NEW.info,
    signer_key=NEW.signer_key,
    keyset=keyset().digest(),
    approved_at_height=1199,
    deadline_ns=NOW_NS + 1,
    used_for=None,
)


CURES = ("cancel the recovery or let it expire", "new keys", "sharekeeper backup-service approve", "grant")
"""What the operator does, in this order: cancelling retires the replacement's keys (docs/contract.md, keys, rule 4)."""


def decide(*approvals, policy=HandOutPolicy.APPROVE, network=NETWORK, now_ns=NOW_NS, peer=None):
    return decide_hand_out(
        policy=policy, network=network, recovery=recovery(), approvals=approvals, now_ns=now_ns, peer=peer
    )


def test_a_matching_approval_allows_the_hand_out_and_is_the_one_to_spend():
    assert decide(APPROVAL) == HandOutAllowed(approval=APPROVAL)


def test_an_approval_already_spent_on_this_recovery_allows_it_again():
    spent = replace(APPROVAL, used_for=7)
    assert decide(spent) == HandOutAllowed(approval=spent)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"info": replace(NEW.info, tls_public_key=tls(99))}, "TLS key"),
        ({"info": replace(NEW.info, url="http://203.0.113.9:8090")}, "url"),
        ({"info": info(12)}, "TLS key"),
        ({"signer_key": signer(99)}, "signer key"),
        ({"keyset": keyset(6).digest()}, "keyset"),
        ({"approved_at_height": 1200}, "recovery started in 1200"),
        ({"approved_at_height": 1300}, "recovery started in 1200"),
        ({"deadline_ns": NOW_NS}, "deadline"),
        ({"used_for": 6}, "spent on recovery 6"),
    ],
)
def test_an_approval_that_differs_in_one_point_refuses_and_says_which(change, word):
    verdict = decide(replace(APPROVAL, **change))
    assert isinstance(verdict, HandOutRefused)
    assert word in verdict.reason
    told = [verdict.reason.index(words) for words in CURES]
    assert told == sorted(told)


def test_without_an_approval_nothing_leaves():
    assert isinstance(decide(), HandOutRefused)


def test_another_account_s_approval_is_none():
    verdict = decide(replace(APPROVAL, account_id=BOB))
    assert isinstance(verdict, HandOutRefused)
    assert "approved no recovery of this account" in verdict.reason


def test_one_matching_approval_among_others_is_found():
    assert decide(replace(APPROVAL, used_for=3), APPROVAL) == HandOutAllowed(approval=APPROVAL)


def test_the_refusal_speaks_of_the_closest_approval():
    far = replace(APPROVAL, info=info(12), signer_key=signer(12))
    near = replace(APPROVAL, deadline_ns=1)
    verdict = decide(near, far)
    assert isinstance(verdict, HandOutRefused)
    assert "deadline" in verdict.reason
    assert "TLS key" not in verdict.reason


def test_automatic_allows_on_the_dev_chain_without_an_approval():
    assert decide(policy=HandOutPolicy.AUTOMATIC) == HandOutAllowed(approval=None)


@pytest.mark.parametrize(
    "network",
    [
        replace(NETWORK, chain_id="mainnet"),
        replace(NETWORK, chain_id="testnet"),
        replace(NETWORK, genesis_hash=MAINNET_GENESIS_HASH),
        replace(NETWORK, genesis_hash=TESTNET_GENESIS_HASH),
    ],
)
def test_automatic_is_refused_on_public_networks_by_name_or_by_genesis(network):
    assert isinstance(decide(policy=HandOutPolicy.AUTOMATIC, network=network), HandOutRefused)
    assert decide(APPROVAL, network=network) == HandOutAllowed(approval=APPROVAL)


# --- attested ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [NETWORK, replace(NETWORK, chain_id="mainnet")])
def test_attested_allows_on_the_evidence_of_this_exchange_and_spends_no_approval(network):
    proved = verdict()
    assert decide(APPROVAL, policy=HandOutPolicy.ATTESTED, network=network, peer=proved) == HandOutAllowed(
        approval=None
    )
    assert decide(policy=HandOutPolicy.ATTESTED, network=network, peer=proved) == HandOutAllowed(approval=None)


def test_attested_without_evidence_waits_for_it_whatever_was_approved():
    assert decide(APPROVAL, policy=HandOutPolicy.ATTESTED) == EvidenceNeeded()


def test_attested_with_evidence_that_expired_refuses():
    proved = verdict(expires_at_s=NOW_NS // 10**9 + 10)
    last, over = NOW_NS + 10 * 10**9 - 1, NOW_NS + 10 * 10**9
    assert isinstance(decide(policy=HandOutPolicy.ATTESTED, peer=proved, now_ns=last), HandOutAllowed)
    refused = decide(policy=HandOutPolicy.ATTESTED, peer=proved, now_ns=over)
    assert isinstance(refused, HandOutRefused)
    assert "evidence expired" in refused.reason


def test_evidence_takes_the_place_of_no_approval_under_another_policy():
    assert isinstance(decide(peer=verdict()), HandOutRefused)
