"""The drill report: facts from marks, and a verdict that believes nobody."""

import dataclasses
import json
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from nacl.signing import SigningKey

from sharekeeper.domain.identity import Ed25519Key
from sharekeeper_devnet.drill_facts import Verdict
from sharekeeper_devnet.drill_marks import Mark, MarksInvalid, read_marks
from sharekeeper_devnet.drill_page import report_html
from sharekeeper_devnet.drill_plan import PLANS
from sharekeeper_devnet.drill_report import build_report, report_json
from sharekeeper_devnet.drill_text import report_text

KEY = SigningKey(bytes(range(32)))
OTHER = SigningKey(bytes(32))
PUBLIC_KEY = str(Ed25519Key(KEY.verify_key.encode()))
LOSS = 1_800_000_000.0
ACCOUNTS = ("alice.test.near", "bob.test.near")


def signing(message, at, key=KEY):
    return Mark(
        name="sign",
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
    keys = dict.fromkeys(ACCOUNTS, "ed25519:old")
    own = {"tls_keys": keys, "public_keys": {"0": "secp256k1:k", "1": PUBLIC_KEY}, "threshold": 2, "epoch_id": 5}
    return {"height": height, "time": LOSS + height, "state": state, **own, **facts}


def history(accounts=ACCOUNTS):
    transitions = [transition(-50, "Running")]
    keys = dict.fromkeys(ACCOUNTS, "ed25519:old")
    for number, account_id in enumerate(accounts, start=1):
        recovery = {"account_id": account_id, "recovery_id": number, "tls_public_key": f"ed25519:new{number}"}
        before = {"tls_keys": dict(keys), **recovery}
        keys[account_id] = f"ed25519:new{number}"
        transitions += [
            transition(10 * number, "Recovery", shares_confirmed=False, **before),
            transition(10 * number + 3, "Recovery", shares_confirmed=True, transfer="web", **before),
            transition(10 * number + 5, "Running", tls_keys=dict(keys)),
        ]
    return transitions


def backup(account_id, verified_at=LOSS - 7, epoch_id=5, asked_at=LOSS - 2, older=()):
    verified = datetime.fromtimestamp(verified_at, UTC).isoformat()
    held = [
        {"epoch_id": one, "domains": 2, "stored_at": verified, "verified_at": verified} for one in (epoch_id, *older)
    ]
    facts = {"account_id": account_id, "current_backup": held[0], "backups": held}
    host = f"{account_id}_b"
    return Mark(name="backup_status", task="Ask", start=asked_at, end=asked_at + 1, host=host, facts=facts)


def step(name, start, end, **fields):
    return Mark(name=name, task=f"Do {name}", start=start, end=end, host="localhost", **fields)


def play(title, at):
    return Mark(name="play", task=title, start=at, end=at)


def history_mark(transitions, at=LOSS + 30):
    return step("history", at, at + 1, facts={"transitions": transitions})


def drill_marks():
    return [
        play("Bring up", LOSS - 60),
        signing("good morning", LOSS - 3),
        *map(backup, ACCOUNTS),
        play("Lose everything", LOSS - 1),
        step("loss", LOSS, LOSS + 1, facts={"account_id": ACCOUNTS[0]}),
        step("loss", LOSS + 0.2, LOSS + 1.5, facts={"account_id": ACCOUNTS[1]}),
        step("sign_impossible", LOSS + 2, LOSS + 6, exit_status=4),
        step("approve", LOSS + 6, LOSS + 8),
        history_mark(history()),
        signing("good evening", LOSS + 40),
    ]


def replaced(name, *others):
    """The whole drill, with other marks in place of the last of that name."""
    marks = drill_marks()
    last = max(index for index, mark in enumerate(marks) if mark.name == name)
    return [*marks[:last], *others, *marks[last + 1 :]]


def without(name):
    return [mark for mark in drill_marks() if mark.name != name]


def built(marks, plan="loss", **options):
    return build_report(marks, plan=PLANS[plan], drill_id="drill-1", versions={"sharekeeper": "0.1.0"}, **options)


def test_a_whole_drill_passes_with_its_times_measured_from_the_loss():
    report = built(drill_marks())
    assert (report.verdict, report.findings) == (Verdict.PASSED, ())
    assert (report.drill, report.public_key, report.transfer) == ("loss", PUBLIC_KEY, "web")
    founded, lost = report.stages
    assert (founded.epoch_id, founded.participants, founded.threshold) == (5, ACCOUNTS, 2)
    assert (founded.outage, founded.key_events) == (None, ())
    assert [one.account_id for one in founded.backups] == list(ACCOUNTS)
    outage = lost.outage
    assert (outage.loss.at, outage.impossible.at, outage.lost) == (LOSS, LOSS + 6, ACCOUNTS)
    assert (outage.rto_seconds, outage.rpo_epochs, outage.rpo_seconds) == (40, 0, 7)
    assert [(one.account_id, one.rto_seconds) for one in outage.recoveries] == [(ACCOUNTS[0], 15), (ACCOUNTS[1], 25)]
    first = outage.recoveries[0]
    assert (first.entered.height, first.delivered.height, first.running.height) == (10, 13, 15)
    assert [moment.at for moment in lost.timeline] == sorted(moment.at for moment in lost.timeline)
    assert [(phase.title, phase.end - phase.start) for phase in report.phases] == [
        ("Bring up", 59),
        ("Lose everything", 41),
    ]


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("backup_status", "The network is founded: alice.test.near has shown no backup of epoch 5"),
        ("loss", "the drill did not come to: loss"),
        ("sign_impossible", "the drill did not come to: sign_impossible"),
        ("history", "the drill did not come to: history"),
        ("sign", "the drill did not come to the stage 'Every MPC machine is lost and recovered'"),
    ],
)
def test_a_drill_without_one_of_its_steps_fails_and_names_it(name, finding):
    report = built(without(name))
    assert report.verdict is Verdict.FAILED
    assert finding in report.findings
    assert report_text(report)
    assert report_html(report)


@pytest.mark.parametrize("message", ["good morning", "good evening"])
def test_a_drill_with_one_signature_too_few_fails(message):
    report = built([mark for mark in drill_marks() if message not in mark.command])
    assert report.verdict is Verdict.FAILED
    assert report_html(report)


def test_a_drill_without_any_mark_fails():
    report = built([])
    assert report.verdict is Verdict.FAILED
    assert report_text(report)
    assert report_html(report)


def test_a_failure_of_the_run_is_the_first_finding():
    assert built(drill_marks(), failure="it was interrupted").findings[0] == "it was interrupted"


def test_a_failed_task_is_a_finding_with_host_and_reason():
    failed = dataclasses.replace(step("failure", LOSS, LOSS + 1), ok=False, message="no disk")
    assert "localhost: Do failure: no disk" in built([*drill_marks(), failed]).findings


def test_a_signature_that_does_not_verify_fails_the_drill():
    good = signing("good evening", LOSS + 40)
    forged = dataclasses.replace(good, facts={**good.facts, "signature": "00" * 64})
    report = built(replaced("sign", forged))
    assert "the signature of 'good evening' is not valid" in report.findings
    assert report.public_key is None


def test_another_public_key_fails_the_drill():
    report = built(replaced("sign", signing("good evening", LOSS + 40, OTHER)))
    assert any("the public key changed" in finding for finding in report.findings)
    assert "the contract does not have the public key that signed 'good evening'" in report.findings
    assert report.public_key is None


def test_a_keyset_of_other_keys_after_the_recovery_fails_the_drill():
    *same, last = history()
    changed = {**last, "public_keys": {"0": "secp256k1:another", "1": PUBLIC_KEY}}
    assert built(replaced("history", history_mark([*same, changed]))).findings == (
        "Every MPC machine is lost and recovered: the contract has another public key of domain 0 than before",
    )


def test_an_answered_request_after_the_loss_fails_the_drill():
    report = built(replaced("sign_impossible", step("sign_impossible", LOSS, LOSS + 1, exit_status=0)))
    assert any("did not end unanswered" in finding for finding in report.findings)


def test_an_operator_that_did_not_recover_fails_the_drill():
    partial = history_mark(history(ACCOUNTS[:1]))
    assert built(replaced("history", partial)).findings == ("bob.test.near did not recover",)


def test_a_recovery_that_ended_without_the_new_machine_is_none():
    cancelled = history_mark([*history()[:-1], transition(25, "Running")])
    assert built(replaced("history", cancelled)).findings == ("bob.test.near did not recover",)


def test_a_history_that_cannot_be_read_is_a_finding():
    broken = history_mark([{"height": "many"}])
    assert any("transitions" in finding for finding in built(replaced("history", broken)).findings)


def test_a_backup_of_an_older_epoch_fails_the_drill():
    marks = [backup(ACCOUNTS[0], epoch_id=3) if mark.host == "alice.test.near_b" else mark for mark in drill_marks()]
    report = built(marks)
    assert report.stages[1].outage.rpo_epochs == 2
    assert report.findings == (
        "The network is founded: alice.test.near has shown no backup of epoch 5",
        "alice.test.near's backup was 2 epochs behind at the loss",
    )


@pytest.mark.parametrize("held", [None, {"epoch_id": 5, "verified_at": None}])
def test_an_operator_without_a_verified_backup_at_the_loss_fails_the_drill(held):
    mark = dataclasses.replace(backup(ACCOUNTS[0]), facts={"account_id": ACCOUNTS[0], "current_backup": held})
    report = built([mark if one.host == mark.host else one for one in drill_marks()])
    assert "alice.test.near had no verified backup of the keyset in force" in report.findings


# --- a whole life -----------------------------------------------------------------------------------

CAROL = "carol.test.near"


def key_event(state, height, event_epoch, domain_id, *, participants, threshold, attempts=1, done=(), **facts):
    event = {
        "epoch_id": event_epoch,
        "domain_id": domain_id,
        "protocol": ("CaitSith", "Frost")[domain_id],
        "participants": participants,
        "threshold": threshold,
        "next_attempt_id": attempts,
        "done": list(done),
    }
    return transition(height, state, key_event=event, **facts)


def generated(start, accounts=ACCOUNTS):
    """Epoch 1: two domains, the second at its second attempt."""
    own = {"participants": accounts, "threshold": 2}
    base = {"epoch_id": 1, "tls_keys": dict.fromkeys(accounts, "ed25519:old")}
    one = {"0": "secp256k1:k"}
    return [
        transition(start, "Running", **{**base, "public_keys": {}}),
        key_event("Initializing", start + 4, 1, 0, attempts=0, **own, **{**base, "public_keys": {}}),
        key_event("Initializing", start + 6, 1, 0, **own, **{**base, "public_keys": {}}),
        key_event("Initializing", start + 9, 1, 1, done=[0], **own, **{**base, "public_keys": one}),
        key_event("Initializing", start + 12, 1, 1, done=[0], attempts=2, **own, **{**base, "public_keys": one}),
        transition(start + 15, "Running", **base),
    ]


def recovered(start, number, account_id, keys, epoch_id):
    base = {"epoch_id": epoch_id, "tls_keys": dict(keys)}
    recovery = {"account_id": account_id, "recovery_id": number, "tls_public_key": f"ed25519:new{number}"}
    keys[account_id] = f"ed25519:new{number}"
    return [
        transition(start, "Recovery", shares_confirmed=False, **base, **recovery),
        transition(start + 3, "Recovery", shares_confirmed=True, transfer="p2p", **base, **recovery),
        transition(start + 5, "Running", **{**base, "tls_keys": dict(keys)}),
    ]


def life_history():
    keys = dict.fromkeys(ACCOUNTS, "ed25519:old")
    transitions = [*generated(10), *recovered(50, 1, ACCOUNTS[1], keys, 1)]
    own = {"participants": [*ACCOUNTS, CAROL], "threshold": 3}
    old = {"epoch_id": 1, "tls_keys": dict(keys)}
    keys[CAROL] = "ed25519:old"
    return [
        *transitions,
        key_event("Resharing", 80, 2, 0, **own, **old),
        key_event("Resharing", 84, 2, 1, done=[0], **own, **old),
        transition(89, "Running", epoch_id=2, tls_keys=dict(keys), threshold=3),
        *recovered(120, 2, ACCOUNTS[0], keys, 2),
    ]


def life_marks(transitions=None):
    lost = {"facts": {"account_id": ACCOUNTS[1]}}
    lost_again = {"facts": {"account_id": ACCOUNTS[0]}}
    return [
        play("Make keys", LOSS),
        signing("the first", LOSS + 35),
        *(backup(account_id, LOSS + 30, 1, LOSS + 36) for account_id in ACCOUNTS),
        play("Lose one", LOSS + 40),
        step("loss", LOSS + 41, LOSS + 42, **lost),
        signing("recovered", LOSS + 65),
        play("Reshare", LOSS + 70),
        signing("reshared", LOSS + 95),
        *(backup(account_id, LOSS + 92, 2, LOSS + 96, older=(1,)) for account_id in (*ACCOUNTS, CAROL)),
        play("Lose more", LOSS + 100),
        step("loss", LOSS + 101, LOSS + 102, **lost_again),
        step("sign_impossible", LOSS + 102, LOSS + 106, exit_status=4),
        signing("at the end", LOSS + 135),
        play("Read", LOSS + 140),
        history_mark(life_history() if transitions is None else transitions, LOSS + 140),
    ]


def test_a_whole_life_passes_with_its_key_events_and_recoveries():
    report = built(life_marks(), "life")
    assert (report.findings, report.public_key, report.transfer) == ((), PUBLIC_KEY, "p2p")
    made, first, passed_on, second = report.stages
    events = [(one.domain_id, one.epoch_id, one.attempts, one.blocks, one.seconds) for one in made.key_events]
    assert events == [(0, 1, 1, 5, 5), (1, 1, 2, 6, 6)]
    assert [(one.participants, one.threshold) for one in passed_on.key_events] == [(3, 3), (3, 3)]
    assert (passed_on.epoch_id, passed_on.threshold, passed_on.participants) == (2, 3, (*ACCOUNTS, CAROL))
    assert {one.older_epochs for one in passed_on.backups} == {(1,)}
    assert [one.account_id for one in first.outage.recoveries] == [ACCOUNTS[1]]
    assert (second.outage.rto_seconds, second.outage.rpo_seconds) == (34, 9)
    assert [phase.title for phase in report.states] == [
        *("Running", "Initializing", "Running", "Recovery", "Running", "Resharing", "Running", "Recovery", "Running"),
    ]


def test_the_text_and_the_page_of_a_life_name_its_key_events():
    report = built(life_marks(), "life")
    text, page = report_text(report), report_html(report)
    for fact in (
        "The key of domain 1, Frost, is generated: attempt 2",
        "block 25",
        "an older one too, in its grace time",
    ):
        assert fact in text
        assert fact in page


def test_keys_that_were_there_before_were_not_generated():
    transitions = [transition(5, "Running", epoch_id=1), *life_history()[1:]]
    assert "The network makes its keys: there were keys before" in built(life_marks(transitions), "life").findings


def test_a_resharing_that_was_given_up_fails_the_drill():
    transitions = life_history()
    end = next(index for index, one in enumerate(transitions) if one["height"] == 89)
    given_up = {**transitions[end], "epoch_id": 1, "tls_keys": transitions[end - 1]["tls_keys"], "threshold": 2}
    findings = built(life_marks([*transitions[:end], given_up]), "life").findings
    for finding in (
        "A fourth operator joins: not every key of the network was reshared",
        "A fourth operator joins: the epoch is not a newer one",
        "A fourth operator joins: participants and threshold are what they were",
    ):
        assert finding in findings


def test_a_newcomer_without_a_backup_fails_the_drill():
    marks = [mark for mark in life_marks() if mark.host != f"{CAROL}_b"]
    assert built(marks, "life").findings == (f"A fourth operator joins: {CAROL} has shown no backup of epoch 2",)


def test_a_life_that_ends_early_names_the_stages_it_did_not_come_to():
    findings = built(life_marks()[:4], "life").findings
    assert "the drill did not come to the stage 'A fourth operator joins'" in findings


# --- forms ------------------------------------------------------------------------------------------


def test_the_json_form_has_schema_type_and_the_facts():
    value = json.loads(report_json(built(drill_marks())))
    assert (value["schema"], value["type"], value["verdict"]) == (2, "drill-report", "passed")
    assert value["stages"][1]["signature"]["message"] == "good evening"
    assert value["stages"][1]["outage"]["recoveries"][1]["new_tls_key"] == "ed25519:new2"


def test_the_text_names_the_facts():
    text = report_text(built(drill_marks()))
    assert text.startswith("Drill loss drill-1: PASSED\n")
    for fact in (
        "after 40.0 s",
        "no key share was lost",
        "+13.0 s",
        "block 13",
        "under one public key",
        "web (version 2)",
    ):
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
    states = 1 + 2 * len(ACCOUNTS)
    assert len(bars) == states + 3 + 4 * len(ACCOUNTS)
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
