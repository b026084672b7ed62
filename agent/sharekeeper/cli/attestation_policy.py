"""The policy file of `sharekeeper attestation`: what evidence must satisfy (docs/attestation.md, "Policy file")."""

from dataclasses import dataclass
from pathlib import Path

from sharekeeper.attestation.compose_file import ComposeParameters
from sharekeeper.attestation.policy import AttestationPolicy, ComposeRule, Listed, Rendered
from sharekeeper.config_values import natural, transfer_version
from sharekeeper.domain.attestation import AllowedCode, CodeHash, Measurements, VaultKind
from sharekeeper.domain.identity import AccountId, NetworkId
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.spec import (
    EVIDENCE_VALIDITY_SECONDS,
    MAX_COLLATERAL_AGE_SECONDS,
    REATTEST_SECONDS,
)
from sharekeeper.toml_tables import ConfigRoot, Table, open_config, plain_text

REGISTERS = ("mrtd", "rtmr0", "rtmr1", "rtmr2")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFile:
    """What the file demands. `allowed`: None where the contract is to say it; `parameters`: None where files are listed."""

    policy: AttestationPolicy
    allowed: AllowedCode | None
    parameters: ComposeParameters | None


def read_policy(path: Path) -> PolicyFile:
    """The policy file. Raises `ConfigInvalid` with every mistake, one per line."""
    root = open_config(path)
    advisories = root.take("accepted_advisories", _words, default=frozenset())
    age = root.take("max_collateral_age_seconds", natural, default=MAX_COLLATERAL_AGE_SECONDS)
    validity = root.take("evidence_validity_seconds", natural, default=EVIDENCE_VALIDITY_SECONDS)
    allowed = _allowed(root.table("allowed")) if root.take("allowed", bool, default=False) else None
    table = root.table("compose")
    listed = table.take("files", _digests, default=None)
    parameters = None if listed is not None else _parameters(root, table, advisories, validity)
    root.finish()
    rule: ComposeRule = Listed(compose_files=listed) if parameters is None else Rendered(parameters=parameters)
    policy = AttestationPolicy(
        compose=rule,
        accepted_advisories=advisories,
        max_collateral_age_seconds=age,
        evidence_validity_seconds=validity,
    )
    return PolicyFile(policy=policy, allowed=allowed, parameters=parameters)


def _parameters(root: ConfigRoot, table: Table, advisories: frozenset[str], validity: int) -> ComposeParameters | None:
    network = {
        "chain_id": table.take("chain_id", plain_text),
        "genesis_hash": table.take("genesis_hash", plain_text),
        "contract_id": table.take("contract_id", AccountId),
    }
    values = {
        "account_id": table.take("account_id", AccountId),
        "transfer": table.take("transfer", transfer_version),
        "vault": table.take("vault", VaultKind, default=None),
        "slot": table.take("slot", _whole, default=None),
        "reattest_seconds": table.take("reattest_seconds", natural, default=REATTEST_SECONDS),
    }
    if root.mistakes:
        return None
    try:
        return ComposeParameters(
            network=NetworkId(**network),
            evidence_validity_seconds=validity,
            accepted_advisories=advisories,
            **values,
        )
    except ValueError as error:
        root.mistake("compose", str(error))
        return None


def _allowed(table: Table) -> AllowedCode | None:
    hashes = {name: table.take(name, _code_hashes, default=frozenset()) for name in ("node", "backup_service")}
    entries = [_measurements(entry) for entry in table.tables("measurements")]
    if table.mistakes:
        return None
    return AllowedCode(**hashes, measurements=frozenset(entry for entry in entries if entry is not None))


def _measurements(table: Table) -> Measurements | None:
    values = {name: table.take(name, plain_text) for name in (*REGISTERS, "key_provider_event_digest")}
    try:
        return None if None in values.values() else Measurements(**values)
    except ValueError as error:
        table.mistake("mrtd", str(error))
        return None


def _words(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError("must be a list of texts")
    return frozenset(value)


def _code_hashes(value: object) -> frozenset[CodeHash]:
    return frozenset(map(CodeHash, _words(value)))


def _digests(value: object) -> frozenset[Sha256Hex]:
    return frozenset(map(Sha256Hex, _words(value)))


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number")  # noqa: TRY004  # as all parsers of the tables
    return value
