"""A drill report for people: as text, and as one HTML page that needs nothing else."""

from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from typing import Final

from sharekeeper_devnet.drill_report import Moment, OperatorRecovery, Report, SignatureProof, Verdict

_WIDTH: Final = 960
_LEFT: Final = 150
_LANE: Final = 34
_TOP: Final = 30
_MOST_TICKS: Final = 9
_STEPS_SECONDS: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600)

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6b7b; --line: #d9e0e7; --paper: #f6f8fa; --card: #ffffff;
  --good: #2f8f5b; --bad: #c8453b; --wait: #d9962b; --idle: #b8c2cc; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4eaf0; --soft: #9aa9b8; --line: #2e3a46; --paper: #141a20;
  --card: #1c242c; --good: #4fb87f; --bad: #e26d63; --wait: #e5ae52; --idle: #4a5764; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 36px 0 10px; }
p.sub { color: var(--soft); margin: 0 0 24px; }
.verdict { display: inline-block; padding: 2px 12px; border-radius: 999px; color: #fff; font-weight: 600; }
.passed { background: var(--good); } .failed { background: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.card b { display: block; font-size: 24px; font-weight: 650; } .card span { color: var(--soft); }
.box { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 8px 16px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 500; } td, th { padding: 6px 14px 6px 0; vertical-align: top; }
tr + tr td { border-top: 1px solid var(--line); } td.n, th.n { text-align: right; white-space: nowrap; }
code { font: 13px/1.5 ui-monospace, monospace; word-break: break-all; }
svg { display: block; width: 100%; min-width: 720px; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .name { fill: var(--ink); } .good { fill: var(--good); } .bad { fill: var(--bad); } .wait { fill: var(--wait); }
.idle { fill: var(--idle); } .grid { stroke: var(--line); }
ul.findings { background: var(--card); border-left: 4px solid var(--bad); margin: 0; padding: 12px 12px 12px 32px; }
.key i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin: 0 6px 0 14px; vertical-align: -1px; }
"""


def utc(at: float) -> str:
    """Seconds since 1970 as `2026-01-31 12:00:00.0 UTC`."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 100_000} UTC"


def summary(report: Report) -> str:
    """The outcome in one sentence."""
    if report.loss is None or report.rto_seconds is None or report.rpo_seconds is None:
        return "The drill did not come to its end."
    lost = "no key share was lost" if report.rpo_epochs == 0 else f"backups were {report.rpo_epochs} epochs behind"
    return (
        f"{report.loss.title}; the network signs again after {report.rto_seconds:.1f} s; {lost}, "
        f"and every backup was verified at most {report.rpo_seconds:.1f} s before the loss."
    )


def same_key(report: Report) -> bool:
    """Whether both signatures are there and under one public key."""
    before, after = report.signature_before, report.signature_after
    return before is not None and after is not None and before.public_key == after.public_key


# --- text ---------------------------------------------------------------------------------------


def report_text(report: Report) -> str:
    """The report as plain text."""
    return "\n".join(_text_lines(report)) + "\n"


def _text_lines(report: Report) -> Iterator[str]:
    yield f"Drill {report.drill_id}: {report.verdict.upper()}"
    yield summary(report)
    for finding in report.findings:
        yield f"  - {finding}"
    if report.timeline:
        yield from ("", "Timeline (seconds after the loss)")
    for moment in report.timeline:
        height = "" if moment.height is None else f"block {moment.height}"
        yield f"  {_after(report, moment):>9}  {height:<12}  {moment.title}"
    if report.recoveries:
        yield from ("", "Operator              enters    delivered   Running   backup verified   epochs behind")
    for one in report.recoveries:
        entered, delivered, running = (_after(report, at) for at in (one.entered, one.delivered, one.running))
        age = f"{one.backup_age_seconds:.1f} s before"
        yield f"  {one.account_id:<18}{entered:>8}{delivered:>13}{running:>10}{age:>18}{one.backup_epoch_lag:>16}"
    for name, proof in (("before", report.signature_before), ("after", report.signature_after)):
        if proof is not None:
            yield from ("", f"Signature {name}: {proof.signature}")
            yield f"  request {proof.request_id} over {proof.message!r}, under {proof.public_key}, {proof.seconds:.1f} s"
    yield f"Public key: {'the same before and after' if same_key(report) else 'NOT shown to be the same'}"
    yield from ("", "Phases")
    for phase in report.phases:
        yield f"  {phase.end - phase.start:6.1f} s  {phase.title}"
    yield f"  {report.finished - report.started:6.1f} s  in all"
    yield from ("", ", ".join(f"{name} {version}" for name, version in report.versions))


def _after(report: Report, moment: Moment) -> str:
    origin = report.started if report.loss is None else report.loss.at
    return f"{moment.at - origin:+.1f} s"


# --- HTML ---------------------------------------------------------------------------------------


def report_html(report: Report) -> str:
    """The report as one HTML page; all text from outside is escaped."""
    return "\n".join(_html_lines(report)) + "\n"


def _html_lines(report: Report) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Drill {escape(report.drill_id)}: {report.verdict}</title><style>{_STYLE}</style></head><body><main>"
    yield f'<h1>Drill report <span class="verdict {report.verdict}">{report.verdict}</span></h1>'
    yield f'<p class="sub">{escape(report.drill_id)} · {utc(report.started)} to {utc(report.finished)}</p>'
    yield f"<p>{escape(summary(report))}</p>"
    if report.verdict is Verdict.FAILED:
        yield '<ul class="findings">' + "".join(f"<li>{escape(text)}</li>" for text in report.findings) + "</ul>"
    yield from _cards(report)
    if report.loss is not None:
        yield '<h2>From the loss to the first signature</h2><div class="box">'
        yield from _graphic(report, report.loss)
        yield "</div>"
    yield from _tables(report)
    yield "</main></body></html>"


def _cards(report: Report) -> Iterator[str]:
    rto = "-" if report.rto_seconds is None else f"{report.rto_seconds:.1f} s"
    lag = "-" if report.rpo_epochs is None else f"{report.rpo_epochs} epochs"
    age = "-" if report.rpo_seconds is None else f"{report.rpo_seconds:.1f} s"
    cards = (
        (rto, "RTO: loss to first valid signature"),
        (lag, "RPO: backups behind the chain"),
        (age, "RPO: oldest verified backup at the loss"),
        ("same" if same_key(report) else "not shown", "public key before and after"),
    )
    yield '<div class="cards">'
    for value, label in cards:
        yield f'<div class="card"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
    yield "</div>"


def _graphic(report: Report, loss: Moment) -> Iterator[str]:
    """A lane for the network and one per operator, from a little before the loss to the end."""
    last = max([moment.at for moment in report.timeline] + [loss.at])
    margin = max((last - loss.at) * 0.08, 1.0)
    first, last = loss.at - margin, last + margin
    lanes = 1 + len(report.recoveries)
    height = _TOP + lanes * _LANE + 26

    def x(at: float) -> float:
        return _LEFT + (at - first) / (last - first) * (_WIDTH - _LEFT - 10)

    def bar(lane: int, start: float, end: float, kind: str, title: str) -> str:
        top = _TOP + lane * _LANE + 7
        return (
            f'<rect class="{kind}" x="{x(start):.1f}" y="{top}" width="{max(x(end) - x(start), 1.5):.1f}" '
            f'height="{_LANE - 14}" rx="3"><title>{escape(title)}</title></rect>'
        )

    yield f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Timeline of the drill">'
    for seconds in _ticks(last - loss.at):
        at = loss.at + seconds
        yield f'<line class="grid" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{_TOP - 6}" y2="{height - 22}"/>'
        yield f'<text x="{x(at):.1f}" y="{height - 6}" text-anchor="middle">{seconds} s</text>'
    again = report.signing_again.at if report.signing_again is not None else last
    yield f'<text class="name" x="0" y="{_TOP + 21}">network</text>'
    yield bar(0, first, loss.at, "good", "signs")
    yield bar(0, loss.at, again, "bad", "cannot sign")
    yield bar(0, again, last, "good", "signs")
    for lane, one in enumerate(report.recoveries, start=1):
        yield f'<text class="name" x="0" y="{_TOP + lane * _LANE + 21}">{escape(one.account_id)}</text>'
        yield bar(lane, first, loss.at, "good", "first machine")
        yield bar(lane, loss.at, one.entered.at, "idle", "lost, replaced, waiting its turn")
        yield bar(lane, one.entered.at, one.running.at, "wait", f"Recovery {one.recovery_id}")
        yield bar(lane, one.running.at, last, "good", "replacement machine")
    yield "</svg>"
    keys = (("good", "works"), ("bad", "nobody can sign"), ("idle", "lost or waiting"), ("wait", "in Recovery"))
    swatches = "".join(f'<i style="background: var(--{kind})"></i>{label}' for kind, label in keys)
    yield f'<p class="sub key">{swatches}</p>'


def _ticks(span_seconds: float) -> range:
    """Round seconds after the loss, a few of them, all within the span with room for the label."""
    step = next((step for step in _STEPS_SECONDS if span_seconds / step <= _MOST_TICKS), _STEPS_SECONDS[-1])
    return range(0, int(span_seconds * 0.98) + 1, step)


def _tables(report: Report) -> Iterator[str]:
    yield from _table(
        "Timeline",
        ("after the loss", "UTC", "block", ""),
        [
            (_after(report, moment), utc(moment.at), "" if moment.height is None else str(moment.height), moment.title)
            for moment in report.timeline
        ],
    )
    yield from _table(
        "Operators",
        (
            "account",
            "enters Recovery",
            "shares delivered",
            "Running",
            "backup verified",
            "epochs behind",
            "new TLS key",
        ),
        [_operator_row(report, one) for one in report.recoveries],
    )
    proofs = (("before the loss", report.signature_before), ("after it", report.signature_after))
    yield from _table(
        "Signatures of the network",
        ("", "message", "request", "took", "public key", "signature"),
        [_signature_row(name, proof) for name, proof in proofs if proof is not None],
    )
    yield from _table(
        "Phases",
        ("took", "phase"),
        [(f"{phase.end - phase.start:.1f} s", phase.title) for phase in report.phases],
    )
    yield from _table("Tools", ("tool", "version"), list(report.versions))


def _operator_row(report: Report, one: OperatorRecovery) -> tuple[str, ...]:
    moments = (one.entered, one.delivered, one.running)
    return (
        one.account_id,
        *(f"{_after(report, moment)}, block {moment.height}" for moment in moments),
        f"{one.backup_age_seconds:.1f} s before the loss",
        str(one.backup_epoch_lag),
        one.new_tls_key,
    )


def _signature_row(name: str, proof: SignatureProof) -> tuple[str, ...]:
    held = "" if proof.holds() else " (NOT VALID)"
    return (
        name,
        proof.message,
        str(proof.request_id),
        f"{proof.seconds:.1f} s",
        proof.public_key,
        proof.signature + held,
    )


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    if not rows:
        return
    yield f'<h2>{escape(title)}</h2><div class="box"><table><tr>'
    yield "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{_cell(text)}</td>" for text in row) + "</tr>"
    yield "</table></div>"


def _cell(text: str) -> str:
    long = text.startswith("ed25519:") or len(text) >= 64  # noqa: PLR2004  # keys and signatures read better in a code font
    return f"<code>{escape(text)}</code>" if long else escape(text)
