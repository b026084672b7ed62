"""What the machines of a drill proved, from the marks of their operators' checks (hard launch)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sharekeeper.domain.identity import Role
from sharekeeper_devnet.drill_facts import AttestedMachine, Stage
from sharekeeper_devnet.drill_marks import Mark, MarksInvalid

EVIDENCE: Final = "evidence"
"""Name of the marks."""

MEASURED: Final = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "key_provider_event_digest")


def attested_machines(marks: Iterable[Mark]) -> tuple[AttestedMachine, ...]:
    """The machines whose evidence satisfied every check. Raises `MarksInvalid` on a mark that lacks what was found."""
    return tuple(_machine(mark) for mark in marks if mark.name == EVIDENCE and mark.ok)


def evidence_objections(stages: Sequence[Stage], machines: Sequence[AttestedMachine]) -> Iterator[str]:
    """Machines that took part, or were given shares, and are not among those that proved what they run."""
    nodes = {machine.tls_public_key for machine in machines if machine.role == Role.NODE}
    services = {machine.account_id for machine in machines if machine.role == Role.BACKUP_SERVICE}
    for stage in stages:
        for one in stage.outage.recoveries if stage.outage is not None else ():
            if one.new_tls_key not in nodes:
                yield f"{one.account_id} recovered on a machine that has shown no evidence"
        for account_id in stage.participants:
            if not any(machine.account_id == account_id for machine in machines if machine.role == Role.NODE):
                yield f"{account_id}'s node has shown no evidence"
        for held in stage.backups:
            if held.account_id not in services:
                yield f"{held.account_id}'s backup service has shown no evidence"


def _machine(mark: Mark) -> AttestedMachine:
    checks = mark.fact("checks", list)
    if not checks:
        raise MarksInvalid(f"the evidence of {mark.host} satisfied no check")
    return AttestedMachine(
        host=mark.host,
        account_id=mark.fact("account_id", str),
        role=mark.fact("role", str),
        tls_public_key=mark.fact("tls_public_key", str),
        digest=mark.fact("digest", str),
        checks=len(checks),
        image=mark.fact("image", str),
        measurements=tuple((name, mark.fact(name, str)) for name in MEASURED),
        tcb_status=mark.fact("tcb_status", str),
        expires_at=mark.fact("expires_at", float),
        at=mark.end,
    )
