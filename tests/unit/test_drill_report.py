"""The drill report: facts from marks, and a verdict that believes nobody."""

import dataclasses
import json
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from nacl.signing import SigningKey

from sharekeeper.domain.identity import Ed25519Key
from sharekeeper_devnet.drill_marks import Mark, MarksInvalid, read_marks
from sharekeeper_devnet.drill_page import report_html, report_text
from sharekeeper_devnet.drill_report import Verdict, build_report, report_json

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(32))
LOSS = 1_800_000_000.0
ACCOUNTS = ("alice.test.near", "bob.test.near")


def signing(name, message, at, key=KEY):
    return Mark(
        name=name,
        task="Sign",
        host="localhost",
        start=at - 2,
        end=at,
        command=("devnet", "sign", "--message", message),
        facts={
            "signature": key.sign(message.encode()).signature.hex(),
            "public_key": str(Ed25519Key(key.verify_key.encode())),
            "request_id": 3,
            "seconds": 1.5,
        },
    )


def transition(height, state, **facts):
    return {"height": height, "time": LOSS + height, "state": state, "epoch_id": 5, "tls_keys": {}, **facts}


def history(accounts=ACCOUNTS):
    transitions = [transition(0, "Running")]
    for number, account_id in enumerate(accounts, start=1):
        recovery = {"account_id": account_id, "recovery_id": number, "tls_public_key": f"ed25519:new{number}"}
        transitions += [
            transition(10 * number, "Recovery", shares_confirmed=False, **recovery),
            transition(10 * number + 3, "Recovery", shares_confirmed=True, **recovery),
            transition(10 * number + 5, "Running", tls_keys={account_id: f"ed25519:new{number}"}),
        ]
    return transitions


def backup(account_id, verified_at=LOSS - 7, epoch_id=5):
    held = {"epoch_id": epoch_id, "verified_at": datetime.fromtimestamp(verified_at, UTC).isoformat()}
    facts = {"account_id": account_id, "current_backup": held}
    return Mark(name="backup_status", task="Ask", start=LOSS - 2, end=LOSS - 1, host=f"{account_id}_b", facts=facts)


def step(name, start, end, **fields):
    return Mark(name=name, task=f"Do {name}", start=start, end=end, host="localhost", **fields)


def drill_marks():
    return [
        Mark(name="play", task="Bring up", start=LOSS - 60, end=LOSS - 60),
        signing("sign_before", "good morning", LOSS - 3),
        *map(backup, ACCOUNTS),
        Mark(name="play", task="Lose everything", start=LOSS - 1, end=LOSS - 1),
        step("loss", LOSS, LOSS + 1),
        step("loss", LOSS + 0.2, LOSS + 1.5),
        step("sign_impossible", LOSS + 2, LOSS + 6, exit_status=4),
        step("provision", LOSS + 6, LOSS + 8),
        step("history", LOSS + 30, LOSS + 31, facts={"transitions": history()}),
        signing("sign_after", "good evening", LOSS + 40),
    ]


def replaced(name, mark):
    return [mark if one.name == name else one for one in drill_marks()]


def without(name):
    return [mark for mark in drill_marks() if mark.name != name]


def built(marks, **options):
    return build_report(marks, drill_id="drill-1", versions={"sharekeeper": "0.1.0"}, **options)


def test_a_whole_drill_passes_with_its_times_measured_from_the_loss():
    report = built(drill_marks())
    assert (report.verdict, report.findings) == (Verdict.PASSED, ())
    assert report.loss.at == LOSS
    assert report.rto_seconds == 40
    assert (report.rpo_epochs, report.rpo_seconds) == (0, 7)
    assert report.impossible.at == LOSS + 6
    assert [(one.account_id, one.rto_seconds) for one in report.recoveries] == [(ACCOUNTS[0], 15), (ACCOUNTS[1], 25)]
    first = report.recoveries[0]
    assert (first.entered.height, first.delivered.height, first.running.height) == (10, 13, 15)
    assert [moment.at for moment in report.timeline] == sorted(moment.at for moment in report.timeline)
    assert [(phase.title, phase.end - phase.start) for phase in report.phases] == [
        ("Bring up", 59),
        ("Lose everything", 41),
    ]


@pytest.mark.parametrize("name", ["sign_before", "backup_status", "loss", "sign_impossible", "history", "sign_after"])
def test_a_drill_without_one_of_its_steps_fails_and_names_it(name):
    report = built(without(name))
    assert report.verdict is Verdict.FAILED
    assert any(name in finding for finding in report.findings)
    assert report_text(report)
    assert report_html(report)


def test_a_drill_without_any_mark_fails():
    report = built([])
    assert report.verdict is Verdict.FAILED
    assert report_html(report)


def test_a_failure_of_the_run_is_the_first_finding():
    assert built(drill_marks(), failure="it was interrupted").findings[0] == "it was interrupted"


def test_a_failed_task_is_a_finding_with_host_and_reason():
    failed = dataclasses.replace(step("failure", LOSS, LOSS + 1), ok=False, message="no disk")
    assert "localhost: Do failure: no disk" in built([*drill_marks(), failed]).findings


def test_a_signature_that_does_not_verify_fails_the_drill():
    good = signing("sign_after", "good evening", LOSS + 40)
    forged = dataclasses.replace(good, facts={**good.facts, "signature": "00" * 64})
    assert "the signature after the recoveries is not valid" in built(replaced("sign_after", forged)).findings


def test_another_public_key_fails_the_drill():
    report = built(replaced("sign_after", signing("sign_after", "good evening", LOSS + 40, OTHER)))
    assert any("the public key changed" in finding for finding in report.findings)


def test_an_answered_request_after_the_loss_fails_the_drill():
    report = built(replaced("sign_impossible", step("sign_impossible", LOSS, LOSS + 1, exit_status=0)))
    assert any("did not end unanswered" in finding for finding in report.findings)


def test_an_operator_that_did_not_recover_fails_the_drill():
    partial = step("history", LOSS + 30, LOSS + 31, facts={"transitions": history(ACCOUNTS[:1])})
    assert built(replaced("history", partial)).findings == ("bob.test.near did not recover",)


def test_a_recovery_that_ended_without_the_new_machine_is_none():
    transitions = [*history()[:-1], transition(25, "Running", tls_keys={"bob.test.near": "ed25519:old"})]
    cancelled = step("history", LOSS + 30, LOSS + 31, facts={"transitions": transitions})
    assert built(replaced("history", cancelled)).findings == ("bob.test.near did not recover",)


def test_a_history_that_cannot_be_read_is_a_finding():
    broken = step("history", LOSS + 30, LOSS + 31, facts={"transitions": [{"height": "many"}]})
    assert any("transitions" in finding for finding in built(replaced("history", broken)).findings)


def test_a_backup_of_an_older_epoch_fails_the_drill():
    marks = [backup(ACCOUNTS[0], epoch_id=3) if mark.host == "alice.test.near_b" else mark for mark in drill_marks()]
    report = built(marks)
    assert report.rpo_epochs == 2
    assert report.findings == ("alice.test.near's backup was 2 epochs behind at the loss",)


@pytest.mark.parametrize("held", [None, {"epoch_id": 5, "verified_at": None}])
def test_an_operator_without_a_verified_backup_at_the_loss_fails_the_drill(held):
    mark = dataclasses.replace(backup(ACCOUNTS[0]), facts={"account_id": ACCOUNTS[0], "current_backup": held})
    report = built([mark if one.host == mark.host else one for one in drill_marks()])
    assert "alice.test.near had no verified backup of the keyset in force at the loss" in report.findings


def test_the_json_form_has_schema_type_and_the_facts():
    value = json.loads(report_json(built(drill_marks())))
    assert (value["schema"], value["type"], value["verdict"]) == (1, "drill-report", "passed")
    assert value["signature_after"]["message"] == "good evening"
    assert value["recoveries"][1]["new_tls_key"] == "ed25519:new2"


def test_the_text_names_the_facts():
    text = report_text(built(drill_marks()))
    assert text.startswith("Drill drill-1: PASSED\n")
    for fact in ("after 40.0 s", "no key share was lost", "+13.0 s", "block 13", "the same before and after"):
        assert fact in text


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in {"meta", "rect", "line", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in {"rect", "line"}:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_well_formed_self_contained_and_draws_a_lane_per_operator():
    reader = Reader()
    reader.feed(report_html(built(drill_marks())))
    assert reader.open == []
    assert not [tag for tag, attributes in reader.tags if {"src", "href"} & attributes.keys() or tag == "script"]
    bars = [attributes for tag, attributes in reader.tags if tag == "rect"]
    assert len(bars) == 3 + 4 * len(ACCOUNTS)
    assert all(float(bar["width"]) > 0 for bar in bars)
    assert "same" in reader.text


def test_the_page_escapes_what_comes_from_outside():
    marks = [dataclasses.replace(mark, task="<script>alert(1)</script>") for mark in drill_marks()]
    page = report_html(built(marks, failure='<img src="x">'))
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_marks_are_read_without_a_last_line_that_was_cut_short(tmp_path):
    path = tmp_path / "marks.jsonl"
    whole = {
        "name": "loss",
        "task": "Lose",
        "host": "a",
        "start": 1.0,
        "end": 2.5,
        "ok": True,
        "command": ["x", "--m", "y"],
    }
    path.write_text(json.dumps(whole) + "\n" + json.dumps(whole)[:20])
    (mark,) = read_marks(path)
    assert (mark.name, mark.seconds, mark.word_after("--m")) == ("loss", 1.5, "y")
    with pytest.raises(MarksInvalid, match="--other"):
        mark.word_after("--other")


def test_a_whole_line_that_is_no_mark_is_refused_by_its_number(tmp_path):
    path = tmp_path / "marks.jsonl"
    path.write_text('{"name": "loss"}\n')
    with pytest.raises(MarksInvalid, match="line 1"):
        read_marks(path)
