"""dstack's app-compose: the canonical one we deploy, and the policy for the one a machine shows (docs/attestation.md).

Its SHA-256 is the compose hash. dstack hashes the text as it is, so spaces count and nothing here normalises them.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final

from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.protocol.codec import parse_json

DOCKER_COMPOSE_FILE: Final = "docker_compose_file"
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}", re.ASCII)
_FIXED: Final[dict[str, object]] = {
    "manifest_version": 2,
    "runner": "docker-compose",
    "kms_enabled": False,
    "gateway_enabled": False,
    "local_key_provider_enabled": True,
    "key_provider_id": "",
    "public_logs": True,
    "public_sysinfo": True,
    "allowed_envs": [],
    "no_instance_id": True,
}
"""Keys that have one allowed value. Without `allowed_envs` the host's environment stays outside; the key provider
`local-sgx` is checked by its event; an instance id would give each deployment a sealing key of its own."""

_FREE: Final[dict[str, Callable[[object], bool]]] = {
    "name": lambda value: isinstance(value, str),
    "secure_time": lambda value: isinstance(value, bool),
    DOCKER_COMPOSE_FILE: lambda value: isinstance(value, str),
}
"""Keys of a given kind: the name says nothing, and the compose file has a check of its own."""

_REQUIRED: Final = frozenset(_FIXED | _FREE)


def build_app_compose(name: str, docker_compose_file: str) -> str:
    """The app-compose text to deploy: the same arguments give the same bytes, and `check_app_compose` accepts it.

    Args:
        name: of the virtual machine; 1 to 64 letters, digits, ".", "_" and "-".
        docker_compose_file: as `render_compose_file` writes it, or near/mpc's launcher.

    Raises:
        ValueError: the name has another form.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"a virtual machine's name is 1 to 64 letters, digits, '.', '_' and '-', not {name[:80]!r}")
    value = _FIXED | {"name": name, "secure_time": True, DOCKER_COMPOSE_FILE: docker_compose_file}
    return json.dumps(value, sort_keys=True, indent=4, ensure_ascii=True) + "\n"


def compose_hash(app_compose: str) -> Sha256Hex:
    """What dstack measures of the app-compose: SHA-256 of its text."""
    return Sha256Hex.of(app_compose.encode())


def check_app_compose(app_compose: str, *, secure_time: bool) -> str:
    """The docker-compose file in an app-compose that says exactly what it may.

    Every key is known, none is missing, and each has its value. So there is no pre-launch script, no environment of
    the host, no KMS and no gateway.

    Args:
        app_compose: the text as it was measured.
        secure_time: the guest must have network time before it starts anything, since the host sets its clock;
            False takes either, as near/mpc does.

    Raises:
        ValueError: naming every key at fault.
    """
    value = _object(app_compose)
    faults = [f"{name!r} is unknown" for name in value if name not in _REQUIRED]
    faults += [f"{name!r} is missing" for name in sorted(_REQUIRED - value.keys())]
    for name, wanted in _FIXED.items():
        if name in value and not _same(value[name], wanted):
            faults.append(f"{name!r} must be {json.dumps(wanted)}")
    if secure_time and value.get("secure_time") is False:
        faults.append("'secure_time' must be true")
    faults += [
        f"{name!r} is of the wrong kind" for name, fits in _FREE.items() if name in value and not fits(value[name])
    ]
    if faults:
        raise ValueError("; ".join(faults))
    text: str = value[DOCKER_COMPOSE_FILE]
    return text


def _object(app_compose: str) -> dict[str, Any]:
    value = parse_json(app_compose.encode())
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004  # every bad text raises the same
    return value


def _same(found: object, wanted: object) -> bool:
    """Equal and of one kind: JSON's 1 is not true."""
    return type(found) is type(wanted) and found == wanted
