"""Whether evidence proves what it must: fourteen numbered checks, all of them every time (docs/attestation.md).

 1. quote: dcap-qvl accepts it: the chain from Intel's root to the quote holds now, and nothing in it is revoked.
 2. collateral: every part of it is issued, not expired, and young enough.
 3. tcb status: exactly UpToDate, or all its advisories are accepted by the policy; never Revoked.
 4. td report: of TD 1.0.
 5. debug: the TD cannot be looked into from outside, and has no attribute but the one that dstack sets.
 6. report data: the 64 bytes expected, all of them.
 7. event log: replayed, it gives RTMR3.
 8. events: one of each that decides, in the order of a start.
 9. compose hash: the event's is that of the app-compose.
10. key provider: local-sgx, by its event.
11. measurements: MRTD, RTMR0 to 2 and the key provider's event together are one allowed entry.
12. image digest: the event's is allowed for the role.
13. app-compose: says what it may, and no key more.
14. compose file: the one that the policy's rule demands, and the contract allows every image in it.

What the network decides is taken as the contract shows it at one block. Nothing here reads a clock. Not checked here:
that the evidence is new. For an exchange its report data says so, for a registration the contract's time of it.
"""

from collections.abc import Iterator
from typing import Final, NotRequired, TypedDict, Unpack

from sharekeeper.attestation.checks import CHECKS, Case, NotReached, found
from sharekeeper.attestation.policy import AttestationPolicy
from sharekeeper.domain.attestation import AllowedCode, Check, Evidence, Verdict
from sharekeeper.domain.identity import Role
from sharekeeper.errors import AttestationRefused

_MAX_FAULT_CHARACTERS: Final = 1000
"""Of what is said of a check that fails: some of it are words of the evidence, which go into logs."""


class Demands(TypedDict):
    """What evidence is held against."""

    role: Role
    """What the machine says it is."""
    report_data: bytes
    """The 64 bytes it must have been made for."""
    allowed: AllowedCode
    """Image digests and measurements, as the contract shows them at one block."""
    policy: AttestationPolicy
    """What is demanded beside that."""
    now_s: int
    """Seconds since 1970, UTC."""
    collateral: str
    """Intel's, as dcap-qvl writes it; the machine's own will do."""
    root_ca: NotRequired[bytes | None]
    """DER of another root than Intel's; only a TEE host stand-in has one."""


def verify_evidence(evidence: Evidence, **demands: Unpack[Demands]) -> Verdict:
    """The verdict on evidence that passes every check.

    Raises:
        AttestationRefused: at the first check that fails; it has number and name, and what was found.
        ValueError: `report_data` has another length.
    """
    case = Case(evidence=evidence, **demands)
    checks = []
    for check in _run(case):
        if not check.ok:
            raise AttestationRefused(f"check {check.number} ({check.name}): {check.detail}", check=check.name)
        checks.append(check)
    judgement = found(case.judgement, "no judgement")
    return Verdict(
        checks=tuple(checks),
        measurements=found(case.measurements, "no measurements"),
        code_hash=found(case.code_hash, "no image digest"),
        tcb_status=judgement.tcb_status,
        advisories=judgement.advisories,
        expires_at_s=found(case.expires_at_s, "no expiry"),
    )


def explain_evidence(evidence: Evidence, **demands: Unpack[Demands]) -> tuple[Check, ...]:
    """Every check with its result, past those that fail.

    For people: where the quote is not accepted, the later checks judge what it claims.

    Raises:
        ValueError: `report_data` has another length.
    """
    return tuple(_run(Case(evidence=evidence, **demands)))


def _run(case: Case) -> Iterator[Check]:
    for number, (name, check) in enumerate(CHECKS, 1):
        ok: bool | None
        try:
            ok, detail = True, check(case)
        except NotReached as missing:
            ok, detail = None, f"not reached: {missing}"
        except ValueError as fault:
            ok, detail = False, str(fault)[:_MAX_FAULT_CHARACTERS]
        shown = "".join(each if each.isprintable() else " " for each in detail)
        yield Check(number=number, name=name, ok=ok, detail=shown)
