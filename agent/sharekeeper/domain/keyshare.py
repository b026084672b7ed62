"""Key shares: one operator's private part of each domain's key (near/mpc interop, section 3.1)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from sharekeeper.domain.keyset import Curve, KeyEventId, Keyset
from sharekeeper.secret import Secret

SHARE_BYTES: Final = 32

ORDER: Final = {
    Curve.SECP256K1: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    Curve.ED25519: 2**252 + 27742317777372353535851937790883648493,
    Curve.BLS12381: 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001,
}
"""Order of each curve's scalar field."""

BYTE_ORDER: Final[dict[Curve, Literal["big", "little"]]] = {
    Curve.SECP256K1: "big",
    Curve.ED25519: "little",
    Curve.BLS12381: "little",
}
"""Byte order of a private share."""


class Purpose(StrEnum):
    """Why shares travel: from node to backup service, or back, or between the account's two backup services.

    `CHECK`: nothing travels; one backup service proves to the other that it holds the same shares.
    """

    BACKUP = "backup"
    RECOVERY = "recovery"
    COPY = "copy"
    CHECK = "check"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyShare:
    """One private share. `public_key` is the domain's key as near/mpc's share JSON carries it (33, 32 or 96 bytes)."""

    key_id: KeyEventId
    curve: Curve
    private_share: Secret
    public_key: bytes


class SharesMismatch(ValueError):
    """The shares are not those of the keyset. The text names domain and fault, and no secret."""


def check_shares(keyset: Keyset, shares: tuple[KeyShare, ...]) -> None:
    """Returns when `shares` are exactly the shares of `keyset`, one per domain in keyset order.

    Checked for each: 1. key event (epoch, domain, attempt); 2. curve; 3. public key; 4. the scalar is
    32 bytes and in 1..order-1. Not checked, because one share alone cannot show it: that the private
    share belongs to the public key.

    Raises:
        SharesMismatch: on the first difference.
    """
    if len(shares) != len(keyset.domains):
        raise SharesMismatch(f"{len(shares)} shares for {len(keyset.domains)} domains")
    for domain, share in zip(keyset.domains, shares, strict=True):
        where = f"domain {domain.domain_id}"
        if share.key_id != keyset.key_event(domain):
            raise SharesMismatch(f"{where}: share of key event {share.key_id}, expected {keyset.key_event(domain)}")
        if share.curve is not domain.public_key.curve:
            raise SharesMismatch(f"{where}: share on {share.curve}, expected {domain.public_key.curve}")
        if share.public_key != domain.public_key.share_form():
            raise SharesMismatch(f"{where}: share of another public key")
        _check_scalar(where, share)


def _check_scalar(where: str, share: KeyShare) -> None:
    if len(share.private_share) != SHARE_BYTES:
        raise SharesMismatch(f"{where}: a private share has {SHARE_BYTES} bytes, not {len(share.private_share)}")
    scalar = int.from_bytes(share.private_share.reveal(), BYTE_ORDER[share.curve])
    if not 0 < scalar < ORDER[share.curve]:
        raise SharesMismatch(f"{where}: private share out of range")
