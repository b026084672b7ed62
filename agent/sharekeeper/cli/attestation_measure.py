"""What a machine will measure once it is deployed, and the votes that allow it."""

import json
from typing import Any, Final

from sharekeeper.attestation import events as log
from sharekeeper.attestation.app_compose import check_app_compose, compose_hash
from sharekeeper.attestation.checks import LOCAL_KEY_PROVIDER
from sharekeeper.cli.attestation_policy import REGISTERS
from sharekeeper.cli.common import table
from sharekeeper.domain.attestation import CodeHash, Measurements
from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import ConfigInvalid
from sharekeeper.protocol.codec import parse_json, text

_APP_ID_BYTES: Final = 20
_VOTE: Final = {Role.NODE: "vote_node_code_hash", Role.BACKUP_SERVICE: "vote_backup_service_code_hash"}


def measured_facts(
    app_compose: str,
    *,
    role: Role,
    image: CodeHash,
    key_provider_id: CodeHash,
    storage_fs: str,
    registers: str | None,
) -> dict[str, Any]:
    """Hashes, RTMR3 and votes of that app-compose. `registers`: JSON with MRTD and RTMR0 to 2.

    Raises:
        ConfigInvalid: the app-compose would be refused, or `registers` is not such JSON.
    """
    try:
        compose_file = check_app_compose(app_compose, secure_time=False)
    except ValueError as error:
        raise ConfigInvalid(f"every verifier would refuse this app-compose: {error}") from None
    key_provider = _key_provider(key_provider_id)
    digest = log.event_digest(log.KEY_PROVIDER, key_provider)
    measurements = None if registers is None else _measurements(registers, digest)
    return {
        "compose_hash": compose_hash(app_compose),
        "compose_file_sha256": Sha256Hex.of(compose_file.encode()),
        "rtmr3": _rtmr3(compose_hash(app_compose), key_provider, storage_fs, role, image),
        "key_provider_event_digest": digest,
        "measurements": measurements,
        "votes": [
            {"method": _VOTE[role], "code_hash": image},
            {"method": "vote_measurements", "measurements": measurements},
        ],
    }


def measured_lines(facts: dict[str, Any]) -> str:
    """The same for people."""
    rows = {name: facts[name] for name in ("compose_hash", "compose_file_sha256", "rtmr3", "key_provider_event_digest")}
    rows |= facts["measurements"] or {}
    image, machine = facts["votes"]
    missing = "" if facts["measurements"] else " (give --registers for mrtd and rtmr0 to rtmr2)"
    rows |= {
        "vote": f"{image['method']} {image['code_hash']}, and for every other image of the compose file",
        "and": f"{machine['method']} with the five measurements as one entry{missing}",
    }
    return table(rows)


def _rtmr3(compose: Sha256Hex, key_provider: bytes, storage_fs: str, role: Role, image: CodeHash) -> str:
    """The register after a start of the guest system and the event of the agent's image."""
    composed = bytes.fromhex(compose)
    payloads = {
        "app-id": composed[:_APP_ID_BYTES],
        log.COMPOSE_HASH: composed,
        log.KEY_PROVIDER: key_provider,
        "storage-fs": storage_fs.encode(),
    }
    digests = [log.event_digest(name, payloads.get(name, b"")) for name in log.SYSTEM_EVENTS]
    return log.replay([*digests, log.event_digest(log.IMAGE_DIGEST[role], bytes.fromhex(image))])


def _key_provider(enclave: CodeHash) -> bytes:
    return json.dumps({"name": LOCAL_KEY_PROVIDER, "id": enclave}, separators=(",", ":")).encode()


def _measurements(registers: str, key_provider_event_digest: str) -> dict[str, str]:
    try:
        value = parse_json(registers.encode())
        values = {name: text(value, name) for name in REGISTERS}
        Measurements(**values, key_provider_event_digest=key_provider_event_digest)
    except ValueError as error:
        raise ConfigInvalid(f"the registers cannot be used: {error}") from None
    return {**values, "key_provider_event_digest": key_provider_event_digest}
