"""The report of a drill in hard launch: what the machines proved, and findings about those that did not."""

import json

import pytest

from sharekeeper_devnet.drill_evidence import MEASURED
from sharekeeper_devnet.drill_facts import Verdict
from sharekeeper_devnet.drill_marks import Mark
from sharekeeper_devnet.drill_page import report_html
from sharekeeper_devnet.drill_report import report_json
from sharekeeper_devnet.drill_text import report_text

from .test_drill_report import ACCOUNTS, LOSS, built, drill_marks

IMAGE = "1a" * 32


def evidence(host, account_id, role, key, at=LOSS - 20, **changes):
    facts = {
        "account_id": account_id,
        "role": role,
        "tls_public_key": key,
        "digest": "2b" * 32,
        "checks": [{"number": 1, "name": "quote", "detail": "signed"}],
        "image": IMAGE,
        "tcb_status": "UpToDate",
        "expires_at": int(LOSS) + 7 * 86_400,
        **{name: f"{number}c" * 48 for number, name in enumerate(MEASURED)},
        **changes,
    }
    return Mark(name="evidence", task="Check", host=host, start=at - 1, end=at, facts=facts)


def machines():
    """The first node, the backup service and the replacement of each account."""
    for number, account_id in enumerate(ACCOUNTS, start=1):
        yield evidence(f"node{number}", account_id, "node", "ed25519:old")
        yield evidence(f"backup{number}", account_id, "backup-service", f"ed25519:b{number}", rtmr0="9d" * 48)
        yield evidence(f"new{number}", account_id, "node", f"ed25519:new{number}", at=LOSS + 9)


def hard_drill(*proved):
    first, *rest = drill_marks()
    marks = [mark for mark in rest if mark.name != "approve"]
    return built([first, *proved, *marks], plan="hard-loss")


def test_a_drill_in_which_every_machine_proved_itself_passes_and_shows_it():
    report = hard_drill(*machines())
    assert (report.verdict, report.findings, report.launch) == (Verdict.PASSED, (), "hard")
    assert [one.host for one in report.machines] == ["node1", "backup1", "new1", "node2", "backup2", "new2"]
    first = report.machines[0]
    assert (first.checks, first.image, first.tcb_status, dict(first.measurements)["mrtd"]) == (
        1,
        IMAGE,
        "UpToDate",
        "0c" * 48,
    )


@pytest.mark.parametrize("form", [report_text, report_html])
def test_launch_measurements_and_evidence_are_shown(form):
    shown = form(hard_drill(*machines()))
    for part in ("Hard launch", "6 machines have proved", "2 measured forms", "Measurements of backup1, backup2"):
        assert part in shown
    for value in (IMAGE, "2b" * 32, "0c" * 48, "9d" * 48, "ed25519:new2", "UpToDate"):
        assert value in shown


def test_the_json_form_has_launch_and_machines():
    shown = json.loads(report_json(hard_drill(*machines())))
    assert (shown["launch"], len(shown["machines"])) == ("hard", 6)
    assert shown["machines"][0]["measurements"][0] == ["mrtd", "0c" * 48]


def test_the_soft_launch_is_named_unsafe_and_has_no_machines():
    report = built(drill_marks())
    assert (report.launch, report.machines) == ("soft", ())
    assert "unsafe_no_attestation" in report_text(report)
    assert "What the machines proved" not in report_html(report)


@pytest.mark.parametrize(
    ("host", "finding"),
    [
        ("new1", "alice.test.near recovered on a machine that has shown no evidence"),
        ("backup2", "bob.test.near's backup service has shown no evidence"),
    ],
)
def test_a_machine_that_took_part_without_evidence_is_a_finding(host, finding):
    report = hard_drill(*(one for one in machines() if one.host != host))
    assert (report.verdict, report.findings) == (Verdict.FAILED, (finding,))


def test_a_participant_whose_node_proved_nothing_is_a_finding():
    report = hard_drill(*(one for one in machines() if one.facts["account_id"] != ACCOUNTS[0]))
    assert "alice.test.near's node has shown no evidence" in report.findings


def test_refused_evidence_is_a_finding_with_its_reason():
    refused = Mark(
        name="evidence",
        task="Check the machine's evidence",
        host="new1",
        start=LOSS + 8,
        end=LOSS + 9,
        ok=False,
        message="check 11 (measurements): no allowed entry",
    )
    report = hard_drill(*(one for one in machines() if one.host != "new1"), refused)
    assert report.verdict is Verdict.FAILED
    assert "new1: Check the machine's evidence: check 11 (measurements): no allowed entry" in report.findings


@pytest.mark.parametrize("fact", ["image", "checks", "mrtd", "expires_at"])
def test_a_mark_that_does_not_say_what_was_proved_is_a_finding(fact):
    mark = evidence("new1", ACCOUNTS[0], "node", "ed25519:new1")
    del mark.facts[fact]
    report = hard_drill(*(one for one in machines() if one.host != "new1"), mark)
    assert report.verdict is Verdict.FAILED
    assert any("new1" in finding and fact in finding for finding in report.findings)


def test_evidence_that_satisfied_no_check_is_a_finding():
    mark = evidence("new1", ACCOUNTS[0], "node", "ed25519:new1", checks=[])
    assert "the evidence of new1 satisfied no check" in hard_drill(*machines(), mark).findings
