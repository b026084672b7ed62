"""The trusted dealer: one process makes all key shares of a rehearsal network and hands them out.

Real MPC nodes never do this: they generate keys together, so that no machine ever holds a whole key. A dealer
holds each key for an instant, which is acceptable only where nothing of worth is signed. Each polynomial is
forgotten when its domain is dealt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.keyset import Curve, DomainKey, KeyEventId, Keyset
from sharekeeper.domain.keyshare import KeyShare, check_shares
from sharekeeper.domain.protocol_state import Participants
from sharekeeper.protocol.codec import encode_keyset
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.curves import RandomBelow, domain_public_key, scalar_bytes, share_identifier, split

FIRST_ATTEMPT: Final = 0
"""The attempt of every dealt key: a dealer needs one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainKind:
    """What a domain is for, in the contract's words, and the curve of its key."""

    curve: Curve
    protocol: str
    purpose: str


DOMAIN_KINDS: Final = (
    DomainKind(curve=Curve.SECP256K1, protocol="CaitSith", purpose="Sign"),
    DomainKind(curve=Curve.ED25519, protocol="Frost", purpose="Sign"),
    DomainKind(curve=Curve.BLS12381, protocol="ConfidentialKeyDerivation", purpose="CKD"),
)
"""Domain 0, 1, 2, and round again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """A keyset and, for each participant id, its key shares in keyset order."""

    keyset: Keyset
    threshold: int
    shares: Mapping[int, tuple[KeyShare, ...]]


def domain_kind(domain_id: int) -> DomainKind:
    """The kind of that domain in a dealt keyset."""
    return DOMAIN_KINDS[domain_id % len(DOMAIN_KINDS)]


def deal(
    *, epoch_id: int, domains: int, threshold: int, participant_ids: Sequence[int], random_below: RandomBelow
) -> Deal:
    """Fresh keys for `domains` domains, shared so that any `threshold` participants hold them.

    Without a domain nothing is dealt: the network starts from nothing and generates its keys itself.

    Raises:
        ValueError: too many domains, or a threshold that does not fit the participants.
    """
    if not 1 <= threshold <= len(participant_ids):
        raise ValueError(f"a threshold of {threshold} does not fit {len(participant_ids)} participants")
    keys: list[DomainKey] = []
    held: dict[int, list[KeyShare]] = {participant: [] for participant in participant_ids}
    for domain_id in range(domains):
        event = KeyEventId(epoch_id=epoch_id, domain_id=domain_id, attempt_id=FIRST_ATTEMPT)
        key, shares = _deal_domain(event, threshold, participant_ids, random_below)
        keys.append(key)
        for participant, share in shares.items():
            held[participant].append(share)
    keyset = Keyset(epoch_id=epoch_id, domains=tuple(keys))
    complete = {participant: tuple(shares) for participant, shares in held.items()}
    for shares_of_one in complete.values():
        check_shares(keyset, shares_of_one)
    return Deal(keyset=keyset, threshold=threshold, shares=complete)


def init_arguments(dealt: Deal, participants: Participants, signer_keys: Mapping[AccountId, str]) -> dict[str, Any]:
    """The arguments of the contract's `init` (docs/contract.md), without `config`. Public facts only.

    `signer_keys`: each participant's `signer_account_pk` in text form.
    """
    return {
        "parameters": {"participants": _participants_json(participants), "threshold": dealt.threshold},
        "domains": {
            "domains": [_domain_json(key.domain_id, dealt.threshold) for key in dealt.keyset.domains],
            "next_domain_id": len(dealt.keyset.domains),
        },
        "keyset": encode_keyset(dealt.keyset),
        "signer_keys": dict(signer_keys),
    }


def _deal_domain(
    event: KeyEventId, threshold: int, participant_ids: Sequence[int], random_below: RandomBelow
) -> tuple[DomainKey, dict[int, KeyShare]]:
    curve = domain_kind(event.domain_id).curve
    identifiers = [share_identifier(participant) for participant in participant_ids]
    point, scalars = split(curve, threshold=threshold, identifiers=identifiers, random_below=random_below)
    key = DomainKey(domain_id=event.domain_id, attempt=event.attempt_id, public_key=domain_public_key(curve, point))
    shares = {
        participant: KeyShare(
            key_id=event,
            curve=curve,
            private_share=Secret(scalar_bytes(curve, scalars[share_identifier(participant)])),
            public_key=point,
        )
        for participant in participant_ids
    }
    return key, shares


def _participants_json(participants: Participants) -> dict[str, Any]:
    members = [
        [
            member.account_id,
            member.participant_id,
            {"url": member.info.url, "tls_public_key": str(member.info.tls_public_key)},
        ]
        for member in participants.members
    ]
    return {"next_id": 1 + max(member.participant_id for member in participants.members), "participants": members}


def _domain_json(domain_id: int, threshold: int) -> dict[str, Any]:
    kind = domain_kind(domain_id)
    return {
        "id": domain_id,
        "protocol": kind.protocol,
        "reconstruction_threshold": threshold,
        "purpose": kind.purpose,
    }
