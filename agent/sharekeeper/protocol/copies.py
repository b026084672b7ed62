"""Whether a backup service gives its sibling a copy. Pure: facts in, one frozen answer out.

Giving a copy is a release of key shares, so it is decided at a final block as a hand-out is. Rules, first that fails:

1. At that block this machine's TLS key is in force in one of the account's slots, and the taker's in the other.
2. The account is a participant of the keyset in force, which has domains.
3. That keyset is not older than a backup held here (design decision 6).
4. A usable backup of exactly that keyset is held here.

Not decided here: what the taker's code is, which its evidence proves in the exchange (`mutual_attestation`).
"""

from dataclasses import dataclass

from sharekeeper.domain.identity import AccountId, TlsKey
from sharekeeper.domain.keyset import BackupId, Keyset
from sharekeeper.domain.protocol_state import AccountRecord, ProtocolState, running_part
from sharekeeper.errors import PeerFault, PinChanged, ViewsDiffer
from sharekeeper.protocol.monitoring import Holdings, describe_keyset, goes_backwards


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveCopy:
    """The sibling may have this backup."""

    taker: TlsKey
    keyset: Keyset
    backup_id: BackupId


@dataclass(frozen=True, slots=True, kw_only=True)
class NoCopy:
    """It may not. `fault` is what it is told."""

    fault: type[PeerFault]
    reason: str


def sibling_of(record: AccountRecord, own: TlsKey) -> TlsKey | None:
    """The TLS key of the account's other backup service in force; None if there is none, or `own` is not in force."""
    slot = record.slot_of(own)
    other = None if slot is None else record.backup_services[1 - slot]
    return None if other is None or other.tls_public_key == own else other.tls_public_key


def decide_copy(
    *,
    state: ProtocolState,
    record: AccountRecord,
    account_id: AccountId,
    own: TlsKey,
    taker: TlsKey,
    holdings: Holdings,
) -> GiveCopy | NoCopy:
    """Whether `taker` may have a copy from the machine with the TLS key `own`; see the rules above."""
    if sibling_of(record, own) != taker:
        return NoCopy(fault=PinChanged, reason=f"{taker} is not the TLS key of the account's other backup service")
    running = running_part(state)
    if running is None or not running.keyset.domains or running.participants.find(account_id) is None:
        return NoCopy(fault=ViewsDiffer, reason=f"{account_id} has no key shares in force; try again")
    keyset = running.keyset
    if any(goes_backwards(keyset, held.keyset) for held in holdings.usable):
        return NoCopy(
            fault=ViewsDiffer, reason=f"the contract shows {describe_keyset(keyset)}, older than what is held here"
        )
    held = holdings.find(keyset)
    if held is None:
        return NoCopy(
            fault=ViewsDiffer, reason=f"this backup service does not hold {describe_keyset(keyset)} either; try again"
        )
    return GiveCopy(taker=taker, keyset=keyset, backup_id=held.backup_id)
