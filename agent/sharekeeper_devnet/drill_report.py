"""The report of a drill, as a value: what happened, how long it took, whether the network came back whole.

`build_report` is pure: marks in, report out. It believes no verdict of the programs it judges: signatures are
verified here, recoveries and key events are read from the chain's history, and a missing mark is a finding.
"""

import functools
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from sharekeeper_devnet.drill_evidence import attested_machines, evidence_objections
from sharekeeper_devnet.drill_facts import (
    AttestedMachine,
    HeldBackup,
    Moment,
    Outage,
    Phase,
    Report,
    SignatureProof,
    Stage,
    Verdict,
)
from sharekeeper_devnet.drill_history import Transition, key_events, read_transitions, recoveries, states
from sharekeeper_devnet.drill_marks import PLAY, Mark, MarksInvalid, StepMissing
from sharekeeper_devnet.drill_plan import Change, Launch, Plan, StagePlan

T = TypeVar("T")

SCHEMA: Final = 2
"""Version of the JSON form."""

NOBODY_ANSWERED_EXIT: Final = 4
"""Exit status of `devnet sign` when nobody answered in time."""


def build_report(
    marks: Sequence[Mark], *, plan: Plan, drill_id: str, versions: Mapping[str, str], failure: str | None = None
) -> Report:
    """The report of the drill that left `marks`; `failure` says why its run did not end well, if it did not.

    Verdict `passed` needs of every stage of the plan: 1. a valid signature at its end, under the public key of all
    others, which the contract has; 2. of a stage that makes or reshares keys: each key event's success, and a verified
    backup of the keyset in force for each participant; 3. of a stage that loses machines: a recovery of each,
    concluded with a new TLS key, from a backup of the current epoch; and, where nobody can sign, a request that nobody
    answered. In hard launch: 4. evidence, which its operator checked, of every machine that took part or held shares.
    """
    judge = _Judge(marks, failure)
    windows = _windows(marks, len(plan.stages))
    stages = tuple(judge.stage(one, window) for one, window in zip(plan.stages, windows, strict=True))
    keys = {stage.signature.public_key for stage in stages if stage.signature is not None}
    signed = all(stage.signature is not None and stage.signature.holds() for stage in stages)
    transfers = {one.transfer for stage in stages if stage.outage is not None for one in stage.outage.recoveries}
    machines = judge.machines(stages) if plan.launch is Launch.HARD else ()
    findings = judge.verdict(stages)
    finished = max((mark.end for mark in marks), default=0.0)
    return Report(
        drill_id=drill_id,
        drill=plan.name,
        launch=plan.launch,
        verdict=Verdict.FAILED if findings else Verdict.PASSED,
        findings=findings,
        started=min((mark.start for mark in marks), default=0.0),
        finished=finished,
        public_key=keys.pop() if signed and len(keys) == 1 else None,
        transfer=", ".join(sorted(transfers)) or None,
        stages=stages,
        states=tuple(states(judge.transitions, finished)),
        phases=tuple(_phases(marks, finished)),
        machines=machines,
        versions=tuple(versions.items()),
    )


def report_json(report: Report) -> str:
    """The JSON form: `{"schema": 2, "type": "drill-report", ...}`, fields as in `Report`."""
    return json.dumps({"schema": SCHEMA, "type": "drill-report", **asdict(report)}, indent=2) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """The time of a stage, from `start` up to and without `end`."""

    start: float
    end: float

    def has(self, at: float) -> bool:
        return self.start <= at < self.end


def _windows(marks: Sequence[Mark], count: int) -> Iterator[_Window]:
    """So many stages, one after another; each ends with the play of its signature."""
    plays = [mark.start for mark in marks if mark.name == PLAY]
    signatures = [mark.end for mark in marks if mark.name == "sign"]
    start = -math.inf
    for index in range(count):
        signed = signatures[index] if index < min(len(signatures), count - 1) else math.inf
        end = next((play for play in plays if play >= signed), math.inf)
        yield _Window(start=start, end=end)
        start = end


class _Judge:
    """Reads stages from marks; what the marks do not show becomes a finding."""

    def __init__(self, marks: Sequence[Mark], failure: str | None) -> None:
        self._marks = marks
        self._missing: list[str] = []
        self._findings = [failure] if failure else []
        self._findings += [f"{mark.host}: {mark.task}: {mark.message}" for mark in marks if not mark.ok]
        self._backups = self._all_backups()
        self.transitions = self._take(lambda: self._last("history").fact("transitions", read_transitions)) or ()

    def stage(self, plan: StagePlan, window: _Window) -> Stage:
        """The stage of that time."""
        marks = [mark for mark in self._marks if window.has(mark.start)]
        if not marks:
            self._findings.append(f"the drill did not come to the stage {plan.title!r}")
            return _not_reached(plan)
        signature = self._take(lambda: _signature(self._last("sign", marks)))
        end = self._at(window.end)
        stage = Stage(
            change=plan.change,
            title=plan.title,
            started=min(mark.start for mark in marks),
            participants=() if end is None else tuple(end.tls_keys),
            threshold=None if end is None else end.threshold,
            epoch_id=None if end is None else end.epoch_id,
            signature=signature,
            key_events=tuple(one for one in key_events(self.transitions) if window.has(one.begun.at)),
            backups=self._held(marks),
            outage=self._outage(plan, marks, window, signature) if plan.change is Change.LOST else None,
            timeline=(),
        )
        self._findings += _objections(stage, self._at(window.start) or next(iter(self.transitions), None), end)
        return replace(stage, timeline=_timeline(stage, marks))

    def machines(self, stages: Sequence[Stage]) -> tuple[AttestedMachine, ...]:
        """What the machines proved; what they did not becomes a finding."""
        found = self._take(lambda: attested_machines(self._marks)) or ()
        self._findings += evidence_objections(stages, found)
        return found

    def verdict(self, stages: Sequence[Stage]) -> tuple[str, ...]:
        """All findings, each once; one names every step that was asked for and is not there."""
        signatures = [stage.signature for stage in stages if stage.signature is not None]
        findings = [*self._findings]
        if self._missing:
            findings.append(f"the drill did not come to: {', '.join(dict.fromkeys(self._missing))}")
        for former, latter in itertools.pairwise(signatures):
            if former.public_key != latter.public_key:
                findings.append(f"the public key changed from {former.public_key} to {latter.public_key}")
        return tuple(dict.fromkeys(findings))

    def _outage(
        self, plan: StagePlan, marks: Sequence[Mark], window: _Window, signature: SignatureProof | None
    ) -> Outage | None:
        losses = self._take(lambda: self._all("loss", marks))
        if losses is None:
            return None
        lost = tuple(mark.fact("account_id", str) for mark in losses)
        lost_at = min(mark.start for mark in losses)
        impossible = self._take(lambda: _impossible(self._last("sign_impossible", marks))) if plan.silent else None
        backups = {one.account_id: one for at, one in self._backups if at <= lost_at and one.account_id in lost}
        found = tuple(one for one in recoveries(self.transitions, lost_at, backups) if window.has(one.entered.at))
        machines = f"{len(losses)} MPC machine{' is' if len(losses) == 1 else 's are'} lost"
        return Outage(
            loss=Moment(title=machines, at=lost_at),
            lost=lost,
            impossible=impossible,
            recoveries=found,
            rto_seconds=None if signature is None else signature.at - lost_at,
            rpo_epochs=max((one.backup_epoch_lag for one in found), default=None),
            rpo_seconds=max((one.backup_age_seconds for one in found), default=None),
        )

    def _at(self, time: float) -> Transition | None:
        """The state of the chain at that time."""
        return next((one for one in reversed(self.transitions) if one.time < time), None)

    def _held(self, marks: Sequence[Mark]) -> tuple[HeldBackup, ...]:
        asked = {mark.end for mark in marks if mark.name == "backup_status"}
        return tuple(one for at, one in self._backups if at in asked)

    def _all_backups(self) -> tuple[tuple[float, HeldBackup], ...]:
        """Every answer of a backup service, with the time it was asked."""
        asked = [mark for mark in self._marks if mark.name == "backup_status"]
        answers = [(mark.end, self._take(functools.partial(_backup, mark))) for mark in asked]
        return tuple((at, one) for at, one in answers if one is not None)

    def _all(self, name: str, marks: Sequence[Mark]) -> tuple[Mark, ...]:
        found = tuple(mark for mark in marks if mark.name == name)
        if not found:
            raise StepMissing(name)
        return found

    def _last(self, name: str, marks: Sequence[Mark] | None = None) -> Mark:
        return self._all(name, self._marks if marks is None else marks)[-1]

    def _take(self, read: Callable[[], T]) -> T | None:
        """What `read` finds, or None after noting why it found nothing."""
        try:
            return read()
        except StepMissing as error:
            self._missing.append(error.step)
        except MarksInvalid as error:
            self._findings.append(str(error))
        return None


def _not_reached(plan: StagePlan) -> Stage:
    return Stage(
        change=plan.change,
        title=plan.title,
        started=0.0,
        participants=(),
        threshold=None,
        epoch_id=None,
        signature=None,
        key_events=(),
        backups=(),
        outage=None,
        timeline=(),
    )


def _signature(mark: Mark) -> SignatureProof:
    return SignatureProof(
        message=mark.word_after("--message"),
        signature=mark.fact("signature", str),
        public_key=mark.fact("public_key", str),
        request_id=mark.fact("request_id", int),
        seconds=mark.fact("seconds", float),
        at=mark.end,
    )


def _impossible(mark: Mark) -> Moment:
    if mark.exit_status != NOBODY_ANSWERED_EXIT:
        raise MarksInvalid("after the loss, the signature request did not end unanswered")
    return Moment(title="Nobody signs: a request ends unanswered", at=mark.end)


def _backup(mark: Mark) -> HeldBackup:
    """From `sharekeeper backup-service status --json`: the backup of the keyset in force, and what else is held."""
    account_id = mark.fact("account_id", str)
    held: Any = mark.facts.get("current_backup")
    try:
        epoch_id = int(held["epoch_id"])
        return HeldBackup(
            account_id=account_id,
            epoch_id=epoch_id,
            domains=int(held["domains"]),
            stored_at=datetime.fromisoformat(held["stored_at"]).timestamp(),
            verified_at=datetime.fromisoformat(held["verified_at"]).timestamp(),
            older_epochs=tuple(int(one["epoch_id"]) for one in mark.facts["backups"] if one["epoch_id"] != epoch_id),
        )
    except (TypeError, KeyError, ValueError):
        raise MarksInvalid(f"{account_id} had no verified backup of the keyset in force") from None


def _objections(stage: Stage, begin: Transition | None, end: Transition | None) -> Iterator[str]:
    """What the stage did not show; `begin` and `end` are the chain's state before it and at its end."""
    if stage.signature is not None:
        yield from _signature_objections(stage.signature, end)
    if begin is not None and end is not None:
        for domain_id, key in begin.public_keys.items():
            if end.public_keys.get(domain_id) != key:
                yield f"{stage.title}: the contract has another public key of domain {domain_id} than before"
    if stage.change is Change.LOST:
        yield from _outage_objections(stage.outage)
        return
    for account_id in stage.participants:
        epochs = {one.epoch_id for one in stage.backups if one.account_id == account_id}
        if stage.epoch_id not in epochs:
            yield f"{stage.title}: {account_id} has shown no backup of epoch {stage.epoch_id}"
    if stage.change is not Change.DEALT:
        yield from _key_event_objections(stage, begin, end)


def _signature_objections(signature: SignatureProof, end: Transition | None) -> Iterator[str]:
    if not signature.holds():
        yield f"the signature of {signature.message!r} is not valid"
    if end is not None and signature.public_key not in end.public_keys.values():
        yield f"the contract does not have the public key that signed {signature.message!r}"


def _outage_objections(outage: Outage | None) -> Iterator[str]:
    if outage is None:
        return
    for account_id in sorted(set(outage.lost) - {one.account_id for one in outage.recoveries}):
        yield f"{account_id} did not recover"
    for one in outage.recoveries:
        if one.backup_epoch_lag:
            yield f"{one.account_id}'s backup was {one.backup_epoch_lag} epochs behind at the loss"


def _key_event_objections(stage: Stage, begin: Transition | None, end: Transition | None) -> Iterator[str]:
    made = {event.domain_id for event in stage.key_events}
    if end is None or not made or made != end.domain_ids:
        yield f"{stage.title}: not every key of the network was {stage.change}"
    if stage.change is Change.GENERATED and begin is not None and begin.public_keys:
        yield f"{stage.title}: there were keys before"
    if stage.change is Change.RESHARED and begin is not None and end is not None:
        if end.epoch_id <= begin.epoch_id:
            yield f"{stage.title}: the epoch is not a newer one"
        if (set(begin.tls_keys), begin.threshold) == (set(end.tls_keys), end.threshold):
            yield f"{stage.title}: participants and threshold are what they were"


def _phases(marks: Sequence[Mark], finished: float) -> Iterator[Phase]:
    plays = [mark for mark in marks if mark.name == PLAY]
    ends = [play.start for play in plays[1:]] + [finished]
    for play, end in zip(plays, ends, strict=False):
        yield Phase(title=play.task, start=play.start, end=end)


_STEPS: Final = (
    ("vote", "The operators have voted for what may run"),
    ("evidence", "The operators have checked the machines' evidence"),
    ("approve", "The operators have approved the replacements"),
    ("admit", "The operators have added the machines' access keys"),
)


def _timeline(stage: Stage, marks: Sequence[Mark]) -> tuple[Moment, ...]:
    ends = ((title, [mark.end for mark in marks if mark.name == name]) for name, title in _STEPS)
    moments = [Moment(title=title, at=max(found)) for title, found in ends if found]
    moments += [moment for event in stage.key_events for moment in (event.begun, event.done)]
    if stage.backups:
        stored_at = max(one.stored_at for one in stage.backups)
        moments.append(Moment(title=f"{len(stage.backups)} backup services hold the key shares", at=stored_at))
    if stage.outage is not None:
        outage = stage.outage
        moments += [outage.loss] + ([] if outage.impossible is None else [outage.impossible])
        moments += [moment for one in outage.recoveries for moment in (one.entered, one.delivered, one.running)]
    if stage.signature is not None:
        moments.append(Moment(title=f"The network signs: {stage.signature.message}", at=stage.signature.at))
    return tuple(sorted(moments, key=lambda moment: moment.at))
