"""What Intel says of a platform: which security versions are up to date (TCB info, QE identity), as JSON.

The model of the rehearsal has one platform family. The version of its late microcode alone decides the
status, one version per status, so a quote can ask for any status (`microcode_svn`).
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

FMSPC: Final = bytes.fromhex("b0c06f000000")
PCE_ID: Final = bytes(2)
PCE_SVN: Final = 11
CPU_SVN: Final = (4, 4, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0)
MODULE_SVN: Final = 11
MODULE_VERSION: Final = 1
QE_MRSIGNER: Final = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
QE_PROD_ID: Final = 2
QE_SVN: Final = 6
QE_ATTRIBUTES: Final = bytes.fromhex("1500000000000000e700000000000000")
UP_TO_DATE: Final = "UpToDate"
ADVISORY: Final = "INTEL-SA-01036"
_STATUSES: Final = (
    UP_TO_DATE,
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
)
_TCB_DATE: Final = "2025-08-13T00:00:00Z"
_NO_SIGNER: Final = "00" * 48


def microcode_svn(status: str) -> int:
    """The version of the late microcode to which the TCB info gives that status. Raises `ValueError`."""
    if status not in _STATUSES:
        raise ValueError(f"{status!r} is none of the TCB statuses {', '.join(_STATUSES)}")
    return len(_STATUSES) - _STATUSES.index(status)


def tee_tcb_svn(status: str) -> bytes:
    """The 16 security versions that a TD report of such a platform carries."""
    return bytes([MODULE_SVN, MODULE_VERSION, microcode_svn(status)]).ljust(16, b"\0")


def tcb_info(*, issued_at_s: int, valid_seconds: int, advisories: Iterable[str]) -> str:
    """The TCB info of the platform family; `advisories` stand on the level that is up to date."""
    levels = [_level(status, advisories if status == UP_TO_DATE else (ADVISORY,)) for status in _STATUSES]
    module_level = {"tcb": {"isvsvn": MODULE_SVN}, "tcbDate": _TCB_DATE, "tcbStatus": UP_TO_DATE}
    seam = {"mrsigner": _NO_SIGNER, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    return _text(
        {
            "id": "TDX",
            "version": 3,
            **_dates(issued_at_s, valid_seconds),
            "fmspc": FMSPC.hex().upper(),
            "pceId": PCE_ID.hex().upper(),
            "tcbType": 0,
            "tcbEvaluationDataNumber": 20,
            "tdxModule": seam,
            "tdxModuleIdentities": [{"id": f"TDX_{MODULE_VERSION:02X}", **seam, "tcbLevels": [module_level]}],
            "tcbLevels": levels,
        }
    )


def qe_identity(*, issued_at_s: int, valid_seconds: int) -> str:
    """The identity of the quoting enclave whose signatures count."""
    return _text(
        {
            "id": "TD_QE",
            "version": 2,
            **_dates(issued_at_s, valid_seconds),
            "tcbEvaluationDataNumber": 20,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": QE_MRSIGNER.hex().upper(),
            "isvprodid": QE_PROD_ID,
            "tcbLevels": [{"tcb": {"isvsvn": QE_SVN}, "tcbDate": _TCB_DATE, "tcbStatus": UP_TO_DATE}],
        }
    )


def _level(status: str, advisories: Iterable[str]) -> dict[str, Any]:
    tdx = (MODULE_SVN, 0, microcode_svn(status), *([0] * 13))
    level = {
        "tcb": {
            "sgxtcbcomponents": [{"svn": svn} for svn in CPU_SVN],
            "pcesvn": PCE_SVN,
            "tdxtcbcomponents": [{"svn": svn} for svn in tdx],
        },
        "tcbDate": _TCB_DATE,
        "tcbStatus": status,
    }
    known = list(advisories)
    return {**level, "advisoryIDs": known} if known else level


def _dates(issued_at_s: int, valid_seconds: int) -> dict[str, str]:
    return {"issueDate": _date(issued_at_s), "nextUpdate": _date(issued_at_s + valid_seconds)}


def _date(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
