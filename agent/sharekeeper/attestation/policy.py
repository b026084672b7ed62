"""What the verifier demands beside what the contract allows: which compose file, which advisories, which age."""

from dataclasses import dataclass

from sharekeeper.attestation.compose_file import ComposeParameters
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.spec import EVIDENCE_VALIDITY_SECONDS, MAX_COLLATERAL_AGE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The compose file must be the one that `render_compose_file` writes for these parameters, byte for byte.

    The images in it are those of the evidence, each of which the contract must allow for the role. A backup service
    may have any vault and slot unless `parameters` names them; of a node they are not looked at.
    """

    parameters: ComposeParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The SHA-256 of the compose file must be one of these: near/mpc's launchers, as its contract allows them."""

    compose_files: frozenset[Sha256Hex]


ComposeRule = Rendered | Listed


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationPolicy:
    """What evidence must satisfy. Durations in seconds.

    `accepted_advisories`: a platform with another status than UpToDate is taken if all its advisories are here.
    """

    compose: ComposeRule
    accepted_advisories: frozenset[str] = frozenset()
    max_collateral_age_seconds: int = MAX_COLLATERAL_AGE_SECONDS
    evidence_validity_seconds: int = EVIDENCE_VALIDITY_SECONDS
