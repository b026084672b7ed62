"""Evidence of a machine of the stand-in satisfies every check of the verifier, under its root and no other."""

from dataclasses import replace

import pytest

from sharekeeper.attestation.policy import AttestationPolicy, Rendered
from sharekeeper.attestation.verifier import verify_evidence
from sharekeeper.errors import AttestationRefused
from tests.attestation.machines import AGENT_IMAGE, DAY_S, NOW_S


def verify(machine, evidence, allowed, collateral, **changes):
    given = {
        "role": machine.role,
        "report_data": machine.report_data,
        "allowed": allowed,
        "policy": AttestationPolicy(compose=Rendered(parameters=machine.parameters)),
        "now_s": NOW_S,
        "collateral": collateral,
        "root_ca": machine.intel.root_ca,
    }
    return verify_evidence(evidence, **{**given, **changes})


def test_every_check_is_satisfied(machine, evidence, allowed, collateral):
    verdict = verify(machine, evidence, allowed, collateral)
    assert all(check.ok for check in verdict.checks)
    assert (verdict.code_hash, verdict.tcb_status) == (AGENT_IMAGE, "UpToDate")
    assert verdict.measurements == machine.guest.measurements
    assert NOW_S < verdict.expires_at_s <= NOW_S + 7 * DAY_S


def test_a_production_verifier_refuses_all_of_it(machine, evidence, allowed, collateral):
    with pytest.raises(AttestationRefused) as refusal:
        verify(machine, evidence, allowed, collateral, root_ca=None)
    assert refusal.value.check == "quote"


def test_it_holds_with_another_name_of_the_machine_only(machine, evidence, allowed, collateral):
    other = replace(evidence, app_compose=evidence.app_compose.replace('"machine"', '"other"'))
    with pytest.raises(AttestationRefused) as refusal:
        verify(machine, other, allowed, collateral)
    assert refusal.value.check == "compose hash"
