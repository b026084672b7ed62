"""Asking a running daemon on this machine through its status page."""

import http.client
from typing import Any

from sharekeeper.config_values import NetAddress
from sharekeeper.errors import DaemonNotRunning
from sharekeeper.protocol.codec import DecodeError, parse_json

_TIMEOUT_SECONDS = 5.0


def status_of(name: str, address: NetAddress) -> dict[str, Any]:
    """The daemon's `/status` object. Raises `DaemonNotRunning`."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/status")
        body = connection.getresponse().read(1 << 24)
        found = parse_json(body)
    except (OSError, http.client.HTTPException, DecodeError):
        found = None
    finally:
        connection.close()
    if not isinstance(found, dict):
        raise DaemonNotRunning(
            f"the {name} does not answer at {address.host}:{address.port} (health_address): start it, or look at its log"
        )
    return found


def status_lines(status: dict[str, Any]) -> str:
    """The status for people: one line per fact, lists and objects in short."""
    lines = ["healthy" if status.get("healthy") else "not healthy"]
    lines += [f"  {reason}" for reason in status.get("reasons", ())]
    lines += [f"  warning: {warning}" for warning in status.get("warnings", ())]
    hidden = {"schema", "type", "healthy", "reasons", "warnings"}
    lines += [f"{name}: {_short(value)}" for name, value in status.items() if name not in hidden]
    return "\n".join(lines)


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(_short(inner) for inner in value) or "none"
    return "-" if value is None else str(value)
