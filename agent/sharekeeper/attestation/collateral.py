"""What Intel publishes about its platforms, as dcap-qvl writes it: when each part was issued and expires.

Dates only: that Intel signed them is dcap-qvl's to verify, and nothing here is to be believed before it has.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

from sharekeeper.protocol.codec import parse_json, text
from sharekeeper.spec import MAX_COLLATERAL_BYTES

_ISO: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One dated part of the collateral; both times in seconds since 1970, UTC. `yearly`: Intel issues it once a year."""

    name: str
    issued_at_s: int
    expires_at_s: int
    yearly: bool


def collateral_parts(collateral: str) -> tuple[Part, ...]:
    """The four dated parts of dcap-qvl's collateral.

    Raises:
        ValueError: the text is not such collateral.
    """
    if len(collateral) > MAX_COLLATERAL_BYTES:
        raise ValueError(f"collateral has {len(collateral)} characters, at most {MAX_COLLATERAL_BYTES} are read")
    value = parse_json(collateral.encode())
    return (
        _document(value, "tcb_info"),
        _document(value, "qe_identity"),
        _revocations(value, "pck_crl", yearly=False),
        _revocations(value, "root_ca_crl", yearly=True),
    )


def collateral_expires_at_s(parts: tuple[Part, ...], *, max_age_seconds: int) -> int:
    """From when on the collateral must not be used: by the first date of its own, or by age, the yearly part's apart."""
    ends = [part.expires_at_s for part in parts]
    ends += [part.issued_at_s + max_age_seconds for part in parts if not part.yearly]
    return min(ends)


def _document(value: object, name: str) -> Part:
    document = parse_json(text(value, name).encode())
    return Part(
        name=name,
        issued_at_s=_time(text(document, "issueDate")),
        expires_at_s=_time(text(document, "nextUpdate")),
        yearly=False,
    )


def _revocations(value: object, name: str, *, yearly: bool) -> Part:
    try:
        revocations = x509.load_der_x509_crl(bytes.fromhex(text(value, name)))
    except x509.InvalidVersion as error:
        raise ValueError(f"{name} is no revocation list: {error}") from None
    expires = revocations.next_update_utc
    if expires is None:
        raise ValueError(f"{name} has no date of its next update")
    issued = revocations.last_update_utc
    return Part(name=name, issued_at_s=int(issued.timestamp()), expires_at_s=int(expires.timestamp()), yearly=yearly)


def _time(written: str) -> int:
    return int(datetime.strptime(written, _ISO).replace(tzinfo=UTC).timestamp())
