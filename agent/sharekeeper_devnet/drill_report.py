"""The report of a drill, as a value: what happened, how long it took, whether the network came back whole.

`build_report` is pure: marks in, report out. It believes no verdict of the programs it judges: signatures are
verified here, recoveries are read from the chain's history, and a missing mark is a finding.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sharekeeper.domain.identity import Ed25519Key
from sharekeeper_devnet.drill_marks import PLAY, Mark, MarksInvalid, StepMissing

T = TypeVar("T")

SCHEMA: Final = 1
"""Version of the JSON form."""

NOBODY_ANSWERED_EXIT: Final = 4
"""Exit status of `devnet sign` when nobody answered in time."""


class Verdict(StrEnum):
    """Whether the drill showed what it set out to show."""

    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened. `at`: seconds since 1970, UTC; `height`: block height where the chain shows it."""

    title: str
    at: float
    height: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of the drill. `start` and `end`: seconds since 1970, UTC."""

    title: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureProof:
    """A signature of the network over `message` (UTF-8), verified by whoever reads this, and by the report's builder.

    `signature`: 64 bytes as hex; `public_key`: `ed25519:<base58>`; `seconds`: from request to signature.
    """

    message: str
    signature: str
    public_key: str
    request_id: int
    seconds: float
    at: float

    def holds(self) -> bool:
        """Whether `signature` is the Ed25519 signature of `message` under `public_key`."""
        try:
            key = Ed25519PublicKey.from_public_bytes(Ed25519Key.parse(self.public_key).raw)
            key.verify(bytes.fromhex(self.signature), self.message.encode())
        except (ValueError, InvalidSignature):
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRecovery:
    """One operator's way back, as the chain tells it.

    Attributes:
        entered, delivered, running: entering Recovery, shares confirmed, Running with the new machine's TLS key.
        new_tls_key: the replacement's.
        rto_seconds: from the loss to Running.
        backup_epoch_lag: epochs by which the operator's last verified backup was behind the chain at the loss.
        backup_age_seconds: time from that verification to the loss.
    """

    account_id: str
    recovery_id: int
    entered: Moment
    delivered: Moment
    running: Moment
    new_tls_key: str
    rto_seconds: float
    backup_epoch_lag: int
    backup_age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a reader of a drill needs to judge it; no secret is among it.

    Attributes:
        drill_id: names the drill: the UTC time of its start.
        findings: why the verdict is not `passed`; empty when it is.
        loss: the moment the machines were lost.
        impossible: when it was shown that nobody signs.
        signing_again: the first valid signature after the loss.
        rto_seconds: from `loss` to `signing_again`.
        rpo_epochs: the largest epoch lag of any operator's backup; 0 means no key share was lost.
        rpo_seconds: the longest time since a verified backup, at the loss.
        versions: tool names and versions.
    """

    drill_id: str
    verdict: Verdict
    findings: tuple[str, ...]
    started: float
    finished: float
    phases: tuple[Phase, ...]
    timeline: tuple[Moment, ...]
    loss: Moment | None
    impossible: Moment | None
    signing_again: Moment | None
    signature_before: SignatureProof | None
    signature_after: SignatureProof | None
    recoveries: tuple[OperatorRecovery, ...]
    rto_seconds: float | None
    rpo_epochs: int | None
    rpo_seconds: float | None
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Backup:
    epoch_id: int
    verified_at: float


def build_report(
    marks: Sequence[Mark], *, drill_id: str, versions: Mapping[str, str], failure: str | None = None
) -> Report:
    """The report of the drill that left `marks`; `failure` says why its run did not end well, if it did not.

    Verdict `passed` needs all of: 1. a valid signature before; 2. a verified backup of the current epoch for each
    operator at the loss; 3. a signature request that nobody answered after it; 4. a recovery of each operator,
    concluded with a new TLS key; 5. a valid signature afterwards; 6. under the same public key.
    """
    book = _Book(marks)
    findings = ([failure] if failure else []) + [
        f"{mark.host}: {mark.task}: {mark.message}" for mark in marks if not mark.ok
    ]
    before = book.take(findings, lambda: _signature(book.one("sign_before")))
    loss = book.take(findings, lambda: _loss(book.all("loss")))
    impossible = book.take(findings, lambda: _impossible(book.one("sign_impossible")))
    backups = book.take(findings, lambda: dict(map(_backup, book.all("backup_status")))) or {}
    recoveries = tuple(book.take(findings, lambda: tuple(_recoveries(book.one("history"), loss, backups))) or ())
    after = book.take(findings, lambda: _signature(book.one("sign_after")))
    findings += [*book.missing(), *_objections(before, after, recoveries, backups)]
    again = None if after is None else Moment(title="The network signs again", at=after.at)
    started = min((mark.start for mark in marks), default=0.0)
    finished = max((mark.end for mark in marks), default=0.0)
    return Report(
        drill_id=drill_id,
        verdict=Verdict.FAILED if findings else Verdict.PASSED,
        findings=tuple(dict.fromkeys(findings)),
        started=started,
        finished=finished,
        phases=tuple(_phases(marks, finished)),
        timeline=_timeline(book, loss, impossible, again, recoveries),
        loss=loss,
        impossible=impossible,
        signing_again=again,
        signature_before=before,
        signature_after=after,
        recoveries=recoveries,
        rto_seconds=None if loss is None or again is None else again.at - loss.at,
        rpo_epochs=max((recovery.backup_epoch_lag for recovery in recoveries), default=None),
        rpo_seconds=max((recovery.backup_age_seconds for recovery in recoveries), default=None),
        versions=tuple(versions.items()),
    )


def report_json(report: Report) -> str:
    """The JSON form: `{"schema": 1, "type": "drill-report", ...}`, fields as in `Report`."""
    return json.dumps({"schema": SCHEMA, "type": "drill-report", **asdict(report)}, indent=2) + "\n"


class _Book:
    """Marks by name."""

    def __init__(self, marks: Sequence[Mark]) -> None:
        self._marks = marks
        self._missing: list[str] = []

    def all(self, name: str) -> tuple[Mark, ...]:
        found = tuple(mark for mark in self._marks if mark.name == name)
        if not found:
            raise StepMissing(name)
        return found

    def one(self, name: str) -> Mark:
        return self.all(name)[-1]

    def span(self, name: str) -> tuple[float, float] | None:
        found = [mark for mark in self._marks if mark.name == name]
        return (min(mark.start for mark in found), max(mark.end for mark in found)) if found else None

    def take(self, findings: list[str], read: Callable[[], T]) -> T | None:
        """What `read` finds, or None after noting why it found nothing."""
        try:
            return read()
        except StepMissing as error:
            self._missing.append(error.step)
        except MarksInvalid as error:
            findings.append(str(error))
        return None

    def missing(self) -> tuple[str, ...]:
        """One finding that names every step that was asked for and is not there; none if there is no such step."""
        return (f"the drill did not come to: {', '.join(self._missing)}",) if self._missing else ()


def _signature(mark: Mark) -> SignatureProof:
    return SignatureProof(
        message=mark.word_after("--message"),
        signature=mark.fact("signature", str),
        public_key=mark.fact("public_key", str),
        request_id=mark.fact("request_id", int),
        seconds=mark.fact("seconds", float),
        at=mark.end,
    )


def _loss(marks: tuple[Mark, ...]) -> Moment:
    return Moment(title=f"{len(marks)} MPC machines are lost", at=min(mark.start for mark in marks))


def _impossible(mark: Mark) -> Moment:
    if mark.exit_status != NOBODY_ANSWERED_EXIT:
        raise MarksInvalid("after the loss, the signature request did not end unanswered")
    return Moment(title="Nobody signs: a request ends unanswered", at=mark.end)


def _backup(mark: Mark) -> tuple[str, _Backup]:
    """From `sharekeeper backup-service status --json`: the backup of the keyset in force, and when it last opened."""
    account_id = mark.fact("account_id", str)
    held: Any = mark.facts.get("current_backup")
    try:
        verified_at = datetime.fromisoformat(held["verified_at"]).timestamp()
        return account_id, _Backup(epoch_id=int(held["epoch_id"]), verified_at=verified_at)
    except (TypeError, KeyError, ValueError):
        raise MarksInvalid(f"{account_id} had no verified backup of the keyset in force at the loss") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Transition:
    """One change of the protocol state (`rehearsal history`); what belongs to a recovery is None outside one."""

    height: int
    time: float
    epoch_id: int
    tls_keys: Mapping[str, str]
    recovery_id: int | None
    account_id: str | None
    tls_public_key: str | None
    shares_confirmed: bool | None

    def moment(self, title: str) -> Moment:
        return Moment(title=title, at=self.time, height=self.height)


def _transitions(values: Sequence[Mapping[str, Any]]) -> tuple[_Transition, ...]:
    return tuple(
        _Transition(
            height=int(value["height"]),
            time=float(value["time"]),
            epoch_id=int(value["epoch_id"]),
            tls_keys=dict(value["tls_keys"]),
            recovery_id=value.get("recovery_id"),
            account_id=value.get("account_id"),
            tls_public_key=value.get("tls_public_key"),
            shares_confirmed=value.get("shares_confirmed"),
        )
        for value in values
    )


def _recoveries(mark: Mark, loss: Moment | None, backups: Mapping[str, _Backup]) -> Iterator[OperatorRecovery]:
    """Each concluded recovery of the history: entering, confirmation, and Running with the new TLS key."""
    transitions = mark.fact("transitions", _transitions)
    lost_at = mark.start if loss is None else loss.at
    for index, entered in enumerate(transitions):
        account_id, key, recovery_id = entered.account_id, entered.tls_public_key, entered.recovery_id
        if account_id is None or key is None or recovery_id is None or account_id not in backups:
            continue
        before, rest = transitions[:index], transitions[index:]
        delivered = next((one for one in rest if one.recovery_id == recovery_id and one.shares_confirmed), None)
        ended = next((one for one in rest if one.recovery_id != recovery_id), None)
        if any(one.recovery_id == recovery_id for one in before) or delivered is None or ended is None:
            continue
        if ended.tls_keys.get(account_id) != key:
            continue
        backup = backups[account_id]
        yield OperatorRecovery(
            account_id=account_id,
            recovery_id=recovery_id,
            entered=entered.moment(f"{account_id} enters Recovery"),
            delivered=delivered.moment(f"{account_id}'s backup service confirms the delivery"),
            running=ended.moment(f"{account_id} is Running on its new machine"),
            new_tls_key=key,
            rto_seconds=ended.time - lost_at,
            backup_epoch_lag=entered.epoch_id - backup.epoch_id,
            backup_age_seconds=lost_at - backup.verified_at,
        )


def _objections(
    before: SignatureProof | None,
    after: SignatureProof | None,
    recoveries: Sequence[OperatorRecovery],
    backups: Mapping[str, _Backup],
) -> Iterator[str]:
    for name, proof in (("before the loss", before), ("after the recoveries", after)):
        if proof is not None and not proof.holds():
            yield f"the signature {name} is not valid"
    if before is not None and after is not None and before.public_key != after.public_key:
        yield f"the public key changed from {before.public_key} to {after.public_key}"
    for account_id in sorted(backups.keys() - {recovery.account_id for recovery in recoveries}):
        yield f"{account_id} did not recover"
    for recovery in recoveries:
        if recovery.backup_epoch_lag:
            yield f"{recovery.account_id}'s backup was {recovery.backup_epoch_lag} epochs behind at the loss"


def _phases(marks: Sequence[Mark], finished: float) -> Iterator[Phase]:
    plays = [mark for mark in marks if mark.name == PLAY]
    ends = [play.start for play in plays[1:]] + [finished]
    for play, end in zip(plays, ends, strict=False):
        yield Phase(title=play.task, start=play.start, end=end)


def _timeline(
    book: _Book,
    loss: Moment | None,
    impossible: Moment | None,
    again: Moment | None,
    recoveries: Sequence[OperatorRecovery],
) -> tuple[Moment, ...]:
    steps = (
        ("provision", "The replacement machines are provisioned, with new keys"),
        ("approve", "The operators have approved the replacements"),
        ("admit", "The operators have added the replacements' access keys"),
    )
    spans = ((title, book.span(name)) for name, title in steps)
    moments = [Moment(title=title, at=span[1]) for title, span in spans if span is not None]
    moments += [moment for moment in (loss, impossible, again) if moment is not None]
    for recovery in recoveries:
        moments += [recovery.entered, recovery.delivered, recovery.running]
    return tuple(sorted(moments, key=lambda moment: moment.at))
