"""A drill report as one HTML page that needs nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

from sharekeeper_devnet.drill_facts import (
    AttestedMachine,
    HeldBackup,
    KeyEventRun,
    OperatorRecovery,
    Outage,
    Report,
    Stage,
    Verdict,
)
from sharekeeper_devnet.drill_plan import Launch
from sharekeeper_devnet.drill_text import after, block, key_sentence, launch_sentence, stage_summary, transfer

_WIDTH: Final = 960
_LEFT: Final = 150
_LANE: Final = 34
_TOP: Final = 30
_MOST_TICKS: Final = 9
_CODE_CHARACTERS: Final = 64
_SHORT_CHARACTERS: Final = 26
_STATE_COLOURS: Final = {"Running": "good", "Recovery": "wait"}
_STEPS_SECONDS: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600)

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6b7b; --line: #d9e0e7; --paper: #f6f8fa; --card: #ffffff;
  --good: #2f8f5b; --bad: #c8453b; --wait: #d9962b; --idle: #b8c2cc; --make: #4a7fc1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4eaf0; --soft: #9aa9b8; --line: #2e3a46; --paper: #141a20;
  --card: #1c242c; --good: #4fb87f; --bad: #e26d63; --wait: #e5ae52; --idle: #4a5764; --make: #6fa3e0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 44px 0 6px; }
h3 { font-size: 15px; margin: 22px 0 8px; }
p.sub { color: var(--soft); margin: 0 0 24px; }
.verdict { display: inline-block; padding: 2px 12px; border-radius: 999px; color: #fff; font-weight: 600; }
.passed { background: var(--good); } .failed { background: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(176px, 1fr)); gap: 14px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.card b { display: block; font-size: 20px; font-weight: 650; } .card span { color: var(--soft); }
.box { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 8px 16px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; } td, th { padding: 6px 14px 6px 0; vertical-align: top; }
tr + tr td { border-top: 1px solid var(--line); } td.n { white-space: nowrap; }
code { font: 13px/1.5 ui-monospace, monospace; word-break: break-all; display: inline-block; min-width: 17em; }
svg { display: block; width: 100%; min-width: 720px; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .name { fill: var(--ink); } .good { fill: var(--good); } .bad { fill: var(--bad); } .wait { fill: var(--wait); }
.idle { fill: var(--idle); } .make { fill: var(--make); } .grid { stroke: var(--line); }
ul.findings { background: var(--card); border-left: 4px solid var(--bad); margin: 0; padding: 12px 12px 12px 32px; }
.key i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin: 0 6px 0 14px; vertical-align: -1px; }
"""


def utc(at: float) -> str:
    """Seconds since 1970 as `2026-01-31 12:00:00.0 UTC`."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 100_000} UTC"


def report_html(report: Report) -> str:
    """The report as one HTML page; all text from outside is escaped."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    name = escape(f"{report.drill} {report.drill_id}")
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Drill {name}: {report.verdict}</title><style>{_STYLE}</style></head><body><main>"
    yield f'<h1>Drill report <span class="verdict {report.verdict}">{report.verdict}</span></h1>'
    yield f'<p class="sub">{name} · {utc(report.started)} to {utc(report.finished)}</p>'
    if report.verdict is Verdict.FAILED:
        yield '<ul class="findings">' + "".join(f"<li>{escape(text)}</li>" for text in report.findings) + "</ul>"
    yield f"<p>{escape(key_sentence(report))} {escape(launch_sentence(report))}</p>"
    yield from _cards(report)
    yield from _whole(report)
    for stage in report.stages:
        yield from _stage(stage)
    yield from _evidence(report)
    yield from _end(report)
    yield "</main></body></html>"


def _cards(report: Report) -> Iterator[str]:
    outages = [stage.outage for stage in report.stages if stage.outage is not None]
    rto = [one.rto_seconds for one in outages if one.rto_seconds is not None]
    lag = [one.rpo_epochs for one in outages if one.rpo_epochs is not None]
    age = [one.rpo_seconds for one in outages if one.rpo_seconds is not None]
    cards = (
        (f"{max(rto):.1f} s" if rto else "-", "RTO: loss to first valid signature"),
        (f"{max(lag)} epochs" if lag else "-", "RPO: backups behind the chain"),
        (f"{max(age):.1f} s" if age else "-", "RPO: oldest verified backup at the loss"),
        ("same" if report.public_key is not None else "not shown", "public key of all signatures"),
        (transfer(report), "transfer of key shares"),
        (report.launch.value, "launch: what machines must prove"),
    )
    yield '<div class="cards">'
    for value, label in cards:
        yield f'<div class="card"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
    yield "</div>"


# --- graphics ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    """A part of a lane. `kind` is its colour's name in the style."""

    start: float
    end: float
    kind: str
    title: str


def _graphic(
    lanes: Sequence[tuple[str, Sequence[_Bar]]], origin: float, keys: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """Lanes over time, with seconds since `origin` below and the colours' meanings."""
    bars = [bar for _, lane in lanes for bar in lane]
    first, last = min(bar.start for bar in bars), max(bar.end for bar in bars)
    scale = (_WIDTH - _LEFT - 10) / max(last - first, 1.0)
    height = _TOP + len(lanes) * _LANE + 26
    yield f'<div class="box"><svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Timeline">'
    for seconds in _ticks(last - origin):
        x = _LEFT + (origin + seconds - first) * scale
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{height - 22}"/>'
        yield f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{seconds} s</text>'
    for number, (name, lane) in enumerate(lanes):
        top = _TOP + number * _LANE
        yield f'<text class="name" x="0" y="{top + 21}">{escape(name)}</text>'
        for bar in lane:
            left, width = _LEFT + (bar.start - first) * scale, max((bar.end - bar.start) * scale, 1.5)
            yield (
                f'<rect class="{bar.kind}" x="{left:.1f}" y="{top + 7}" width="{width:.1f}" '
                f'height="{_LANE - 14}" rx="3"><title>{escape(bar.title)}</title></rect>'
            )
    yield "</svg>"
    swatches = "".join(f'<i style="background: var(--{kind})"></i>{label}' for kind, label in keys)
    yield f'<p class="sub key">{swatches}</p></div>'


def _ticks(span_seconds: float) -> range:
    """Round seconds after the origin, a few of them, all within the span with room for the label."""
    step = next((step for step in _STEPS_SECONDS if span_seconds / step <= _MOST_TICKS), _STEPS_SECONDS[-1])
    return range(0, int(span_seconds * 0.98) + 1, step)


def _whole(report: Report) -> Iterator[str]:
    """The protocol state from the contract's first block on."""
    if not report.states:
        return
    bars = [
        _Bar(start=one.start, end=one.end, kind=_STATE_COLOURS.get(one.title, "make"), title=one.title)
        for one in report.states
    ]
    yield "<h2>The protocol state, as the chain tells it</h2>"
    keys = (("good", "Running"), ("make", "Initializing or Resharing"), ("wait", "Recovery"))
    yield from _graphic([("contract", bars)], bars[0].start, keys)


def _outage_graphic(stage: Stage, outage: Outage) -> Iterator[str]:
    """A lane for the network and one per operator that lost a machine, from a little before the loss to the end."""
    loss, last = outage.loss.at, max(moment.at for moment in stage.timeline)
    margin = max((last - loss) * 0.08, 1.0)
    first, end = loss - margin, last + margin
    again = last if stage.signature is None else stage.signature.at
    silence = ("bad", "cannot sign") if outage.impossible is not None else ("idle", "is not asked")
    network = (
        _Bar(start=first, end=loss, kind="good", title="signs"),
        _Bar(start=loss, end=again, kind=silence[0], title=silence[1]),
        _Bar(start=again, end=end, kind="good", title="signs"),
    )
    lanes: list[tuple[str, Sequence[_Bar]]] = [("network", network)]
    for one in outage.recoveries:
        bars = (
            _Bar(start=first, end=loss, kind="good", title="first machine"),
            _Bar(start=loss, end=one.entered.at, kind="idle", title="lost, replaced, waiting its turn"),
            _Bar(start=one.entered.at, end=one.running.at, kind="wait", title=f"Recovery {one.recovery_id}"),
            _Bar(start=one.running.at, end=end, kind="good", title="replacement machine"),
        )
        lanes.append((one.account_id, bars))
    keys = (
        ("good", "works"),
        ("bad", "nobody can sign"),
        ("idle", "lost, waiting, not asked"),
        ("wait", "in Recovery"),
    )
    yield from _graphic(lanes, loss, keys)


# --- stages -----------------------------------------------------------------------------------------


def _stage(stage: Stage) -> Iterator[str]:
    yield f"<h2>{escape(stage.title)}</h2><p>{escape(stage_summary(stage))}</p>"
    if stage.outage is not None:
        yield from _outage_graphic(stage, stage.outage)
    yield from _table(
        "Timeline",
        ("after its start" if stage.outage is None else "after the loss", "UTC", "block", ""),
        [(after(stage, moment), utc(moment.at), block(moment), moment.title) for moment in stage.timeline],
    )
    yield from _table(
        "Key events",
        ("domain", "protocol", "epoch", "attempts", "participants", "threshold", "begun", "done", "blocks", "took"),
        [_key_event_row(one) for one in stage.key_events],
    )
    yield from _table(
        "Recoveries",
        (
            "account",
            "enters Recovery",
            "shares delivered",
            "Running",
            "backup verified",
            "epochs behind",
            "transfer",
            "new TLS key",
        ),
        [] if stage.outage is None else [_recovery_row(stage, one) for one in stage.outage.recoveries],
    )
    yield from _table(
        "Backup services",
        ("account", "epoch", "domains", "verified", "older epochs"),
        [_backup_row(one) for one in stage.backups],
    )


def _key_event_row(one: KeyEventRun) -> tuple[str, ...]:
    numbers = (one.epoch_id, one.attempts, one.participants, one.threshold)
    moments = (block(one.begun), block(one.done), str(one.blocks), f"{one.seconds:.1f} s")
    return (str(one.domain_id), one.protocol, *map(str, numbers), *moments)


def _recovery_row(stage: Stage, one: OperatorRecovery) -> tuple[str, ...]:
    moments = (one.entered, one.delivered, one.running)
    return (
        one.account_id,
        *(f"{after(stage, moment)}, {block(moment)}" for moment in moments),
        f"{one.backup_age_seconds:.1f} s before",
        str(one.backup_epoch_lag),
        one.transfer,
        one.new_tls_key,
    )


def _backup_row(one: HeldBackup) -> tuple[str, ...]:
    older = ", ".join(map(str, one.older_epochs)) or "none"
    return (one.account_id, str(one.epoch_id), str(one.domains), utc(one.verified_at), older)


# --- evidence ---------------------------------------------------------------------------------------


def _evidence(report: Report) -> Iterator[str]:
    if report.launch is Launch.SOFT:
        return
    yield "<h2>What the machines proved</h2>"
    yield from _table(
        "Evidence, checked by each machine's operator before he admitted it",
        ("machine", "role", "account", "checks", "TCB", "counts until", "TLS key", "image", "evidence"),
        [_machine_row(one) for one in report.machines],
    )
    for measured in dict.fromkeys(one.measurements for one in report.machines):
        hosts = ", ".join(one.host for one in report.machines if one.measurements == measured)
        yield from _table(f"Measurements of {hosts}", ("register", "value"), list(measured))


def _machine_row(one: AttestedMachine) -> tuple[str, ...]:
    facts = (one.host, one.role, one.account_id, str(one.checks), one.tcb_status, utc(one.expires_at))
    return (*facts, one.tls_public_key, one.image, one.digest)


# --- tables -----------------------------------------------------------------------------------------


def _end(report: Report) -> Iterator[str]:
    yield "<h2>The whole drill</h2>"
    yield from _table(
        "Signatures of the network",
        ("after", "message", "request", "took", "public key", "signature"),
        [row for stage in report.stages for row in _signature_rows(stage)],
    )
    yield from _table(
        "Phases",
        ("took", "phase"),
        [(f"{phase.end - phase.start:.1f} s", phase.title) for phase in report.phases],
    )
    yield from _table("Tools", ("tool", "version"), list(report.versions))


def _signature_rows(stage: Stage) -> Iterator[tuple[str, ...]]:
    proof = stage.signature
    if proof is not None:
        held = proof.signature if proof.holds() else f"{proof.signature} (NOT VALID)"
        yield (stage.title, proof.message, str(proof.request_id), f"{proof.seconds:.1f} s", proof.public_key, held)


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    yield f'<h3>{escape(title)}</h3><div class="box"><table><tr>'
    yield "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(map(_cell, row)) + "</tr>"
    yield "</table></div>"


def _cell(text: str) -> str:
    """A table cell: keys and signatures read better in a code font, times and numbers on one line."""
    if text.startswith("ed25519:") or (len(text) >= _CODE_CHARACTERS and " " not in text.partition(" (")[0]):
        return f"<td><code>{escape(text)}</code></td>"
    kind = ' class="n"' if len(text) <= _SHORT_CHARACTERS else ""
    return f"<td{kind}>{escape(text)}</td>"
