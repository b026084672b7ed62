"""A drill report as plain text, and the sentences that the page shares with it."""

from collections.abc import Iterator

from sharekeeper_devnet.drill_facts import HeldBackup, KeyEventRun, Moment, Outage, Report, Stage
from sharekeeper_devnet.drill_plan import Change, Launch

_TRANSFERS = {"p2p": "p2p (version 1)", "web": "web (version 2)"}


def report_text(report: Report) -> str:
    """The report as plain text."""
    return "\n".join(_lines(report)) + "\n"


def summary(report: Report) -> Iterator[str]:
    """The outcome, a sentence or two for each stage."""
    for stage in report.stages:
        yield stage_summary(stage)
    yield launch_sentence(report)
    yield f"{key_sentence(report)} Transfer of key shares: {transfer(report)}."


def stage_summary(stage: Stage) -> str:
    """What became of a stage, in one sentence."""
    if stage.signature is None:
        return f"{stage.title}: the drill did not come to its signature."
    if stage.outage is not None:
        return _outage_summary(stage.outage)
    network = f"{len(stage.participants)} participants, threshold {stage.threshold}, epoch {stage.epoch_id}"
    if stage.change is Change.DEALT:
        return f"A dealer founds the network: {network}."
    what = "makes its keys from nothing" if stage.change is Change.GENERATED else "passes its keys on"
    events = stage.key_events
    blocks, seconds = sum(one.blocks for one in events), sum(one.seconds for one in events)
    attempts = sum(one.attempts for one in events)
    return (
        f"The network {what}: {network}; {len(events)} key events in {attempts} attempts, {blocks} blocks, "
        f"{seconds:.1f} s; {held(stage.backups)}."
    )


def _outage_summary(outage: Outage) -> str:
    if outage.rto_seconds is None or outage.rpo_seconds is None:
        return f"{outage.loss.title}; the drill does not show the way back."
    lost = "no key share was lost" if outage.rpo_epochs == 0 else f"backups were {outage.rpo_epochs} epochs behind"
    return (
        f"{outage.loss.title}; the network signs again after {outage.rto_seconds:.1f} s; {lost}, "
        f"and every backup was verified at most {outage.rpo_seconds:.1f} s before the loss."
    )


def held(backups: tuple[HeldBackup, ...]) -> str:
    """What backup services hold, in one clause."""
    older = [one for one in backups if one.older_epochs]
    rest = f"{len(older)} of them an older one too, in its grace time" if older else "and no older one"
    return f"{len(backups)} backup services hold this epoch, {rest}"


def key_sentence(report: Report) -> str:
    """Whether one public key was shown for the whole drill."""
    proofs = [stage.signature for stage in report.stages if stage.signature is not None]
    if report.public_key is None:
        return "It was NOT shown that all signatures hold under one public key."
    return f"All {len(proofs)} signatures hold under one public key, {report.public_key}."


def launch_sentence(report: Report) -> str:
    """What machines had to prove."""
    if report.launch is Launch.SOFT:
        return "Soft launch: no machine proves what it runs (unsafe_no_attestation)."
    entries = len({machine.measurements for machine in report.machines})
    return (
        f"Hard launch, on the TEE host stand-in: {len(report.machines)} machines have proved what they run, in "
        f"{entries} measured forms that the operators voted for; no share moves between others."
    )


def transfer(report: Report) -> str:
    """How key shares travelled."""
    return "not shown" if report.transfer is None else _TRANSFERS.get(report.transfer, report.transfer)


def after(stage: Stage, moment: Moment) -> str:
    """The moment in seconds since the stage's origin."""
    return f"{moment.at - stage.origin:+.1f} s"


def block(moment: Moment) -> str:
    """The moment's block, empty where the chain does not show it."""
    return "" if moment.height is None else f"block {moment.height}"


def _lines(report: Report) -> Iterator[str]:
    yield f"Drill {report.drill} {report.drill_id}: {report.verdict.upper()}"
    yield from summary(report)
    for finding in report.findings:
        yield f"  - {finding}"
    for stage in report.stages:
        yield from _stage(stage)
    yield from _machines(report)
    yield from ("", "Phases")
    for phase in report.phases:
        yield f"  {phase.end - phase.start:6.1f} s  {phase.title}"
    yield f"  {report.finished - report.started:6.1f} s  in all"
    yield from ("", ", ".join(f"{name} {version}" for name, version in report.versions))


def _machines(report: Report) -> Iterator[str]:
    if report.machines:
        yield from ("", "Evidence of the machines, checked by their operators")
    for one in report.machines:
        yield f"  {one.host:<16}{one.role:<16}{one.tcb_status}, {one.checks} checks, evidence {one.digest}"
        yield f"    image {one.image}, key {one.tls_public_key}"
    for measured in dict.fromkeys(one.measurements for one in report.machines):
        hosts = ", ".join(one.host for one in report.machines if one.measurements == measured)
        yield f"  Measurements of {hosts}"
        yield from (f"    {name:<26}{value}" for name, value in measured)


def _stage(stage: Stage) -> Iterator[str]:
    since = "its start" if stage.outage is None else "the loss"
    yield from ("", f"{stage.title} (seconds after {since})")
    for moment in stage.timeline:
        yield f"  {after(stage, moment):>9}  {block(moment):<12}  {moment.title}"
    if stage.key_events:
        yield "  Key events          epoch  attempts  participants  threshold    blocks   seconds"
        yield from map(_key_event, stage.key_events)
    if stage.outage is not None and stage.outage.recoveries:
        yield "  Operator            enters    delivered   Running   backup verified   epochs behind   transfer"
        yield from _recoveries(stage, stage.outage)
    if stage.backups:
        yield "  Backup service     epoch  domains  older epochs"
        for one in stage.backups:
            older = ", ".join(map(str, one.older_epochs)) or "none"
            yield f"    {one.account_id:<18}{one.epoch_id:>4}{one.domains:>9}  {older}"
    if stage.signature is not None:
        proof = stage.signature
        yield f"  Signature of request {proof.request_id} over {proof.message!r}, {proof.seconds:.1f} s: {proof.signature}"


def _key_event(one: KeyEventRun) -> str:
    name = f"{one.domain_id} {one.protocol[:15]}"
    numbers = f"{one.epoch_id:>6}{one.attempts:>10}{one.participants:>14}{one.threshold:>11}"
    return f"    {name:<18}{numbers}{one.blocks:>10}{one.seconds:>10.1f}"


def _recoveries(stage: Stage, outage: Outage) -> Iterator[str]:
    for one in outage.recoveries:
        entered, delivered, running = (after(stage, at) for at in (one.entered, one.delivered, one.running))
        age = f"{one.backup_age_seconds:.1f} s before"
        lag = one.backup_epoch_lag
        yield f"    {one.account_id:<16}{entered:>10}{delivered:>13}{running:>10}{age:>18}{lag:>16}   {one.transfer}"
