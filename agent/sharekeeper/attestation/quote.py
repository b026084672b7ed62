"""What a TDX quote says, and dcap-qvl's judgement of it.

A quote is never identified by its hash: dcap-qvl accepts bytes behind the signature data, which nobody signed, and
does not look at the PCK chain in a quote whose collateral brings one.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

import dcap_qvl

TD_1_0: Final = "TD10"
_FIELDS: Final = ("td_attributes", "mr_td", "rt_mr0", "rt_mr1", "rt_mr2", "rt_mr3", "report_data")
_KINDS: Final = {dcap_qvl.TdReport10: TD_1_0, dcap_qvl.TdReport15: "TD15", dcap_qvl.TdReport15Ex: "TD15Ex"}
_PANIC: Final = "PanicException"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TdReport:
    """The report in a quote. `kind` is dcap-qvl's name of its form; registers in lower-case hex."""

    kind: str
    td_attributes: bytes
    mrtd: str
    rtmr0: str
    rtmr1: str
    rtmr2: str
    rtmr3: str
    report_data: bytes

    @classmethod
    def parse(cls, quote: bytes) -> Self:
        """What a quote claims, unverified. Raises `ValueError` if it is no quote of a TD."""
        report = guarded(lambda: dcap_qvl.parse_quote(quote).report)
        if isinstance(report, dcap_qvl.SgxEnclaveReport):
            raise ValueError("the quote is of an SGX enclave, not of a TD")  # noqa: TRY004  # bytes, not an argument
        return cls._of(_KINDS[type(report)], {name: getattr(report, name).hex() for name in _FIELDS})

    @classmethod
    def verified(cls, report: Mapping[str, Mapping[str, str]]) -> Self:
        """The report as dcap-qvl prints it. Raises `ValueError` if it is not of a TD."""
        kind, fields = next(iter(report.items()))
        if kind not in _KINDS.values():
            raise ValueError(f"the quote is of kind {kind}, not of a TD")
        return cls._of(kind, fields)

    @classmethod
    def _of(cls, kind: str, fields: Mapping[str, str]) -> Self:
        return cls(
            kind=kind,
            td_attributes=bytes.fromhex(fields["td_attributes"]),
            mrtd=fields["mr_td"],
            rtmr0=fields["rt_mr0"],
            rtmr1=fields["rt_mr1"],
            rtmr2=fields["rt_mr2"],
            rtmr3=fields["rt_mr3"],
            report_data=bytes.fromhex(fields["report_data"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What dcap-qvl found of a quote whose signatures hold. `tcb_status` is not judged: OutOfDate passes here."""

    report: TdReport
    tcb_status: str
    advisories: frozenset[str]


def judge_quote(quote: bytes, collateral: str, *, now_s: int, root_ca: bytes | None) -> Judgement:
    """dcap-qvl's judgement at that time: the chain from the root to the quote holds and nothing in it is revoked.

    Args:
        quote: as the guest agent gave it.
        collateral: dcap-qvl's JSON text.
        now_s: seconds since 1970, UTC.
        root_ca: DER of another root than Intel's; only a TEE host stand-in has one.

    Raises:
        ValueError: the quote or the collateral is not accepted; the text is dcap-qvl's, in one line.
    """

    def verify() -> str:
        parsed = dcap_qvl.QuoteCollateralV3.from_json(collateral)
        if root_ca is None:
            return dcap_qvl.verify(quote, parsed, now_s).to_json()
        return dcap_qvl.verify_with_root_ca(quote, parsed, root_ca, now_s).to_json()

    found: dict[str, Any] = json.loads(guarded(verify))
    return Judgement(
        report=TdReport.verified(found["report"]),
        tcb_status=found["status"],
        advisories=frozenset(found["advisory_ids"]),
    )


def guarded(call: Callable[[], _T]) -> _T:
    """What `call` returns. Whatever bytes it was given, all that escapes is `ValueError`, a Rust panic included."""
    try:
        return call()
    except (ValueError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())) from None
    except BaseException as error:
        if type(error).__name__ != _PANIC:  # not an Exception, and no module exports it
            raise
        raise ValueError(f"dcap-qvl gave up: {error}") from None
