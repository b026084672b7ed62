"""The parts of `/status` and `/metrics` that both daemons share. Public facts only."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from sharekeeper.domain.identity import NetworkId
from sharekeeper.domain.protocol_state import ProtocolState, Recovery, running_part
from sharekeeper.ops.report import Metric, Report, counter, gauge
from sharekeeper.ops.state_words import describe_state, key_event_facts
from sharekeeper.reconcile import Faults, View

STATUS_SCHEMA: Final = 1
UNSAFE_NO_ATTESTATION: Final = (
    "unsafe_no_attestation: soft launch, in which key shares go to machines that prove no more than their keys; "
    "whoever controls such a machine can read them"
)
"""Said at the start of a daemon in soft launch."""
_NS: Final = 1_000_000_000


def utc(ns: int | None) -> str | None:
    """Nanoseconds since 1970 as `2026-01-31T12:00:00Z`, or None."""
    if ns is None:
        return None
    return datetime.fromtimestamp(ns // _NS, UTC).isoformat().replace("+00:00", "Z")


def network_status(network: NetworkId) -> dict[str, Any]:
    """Which contract of which chain."""
    return {
        "chain_id": network.chain_id,
        "genesis_hash": network.genesis_hash,
        "contract_id": network.contract_id,
    }


def view_status(view: View | None, now_ns: int) -> dict[str, Any]:
    """`head` and `protocol_state` as the daemon last saw them; both None before the first view."""
    if view is None:
        return {"head": None, "protocol_state": None}
    head = view.head
    age_seconds = round((now_ns - head.timestamp_ns) / _NS, 3)
    return {
        "head": {"height": head.height, "hash": head.hash, "age_seconds": age_seconds},
        "protocol_state": _state_status(view.state),
    }


def _state_status(state: ProtocolState) -> dict[str, Any]:
    running = running_part(state)
    return {
        "name": type(state).__name__,
        "description": describe_state(state),
        "epoch_id": None if running is None else running.keyset.epoch_id,
        "domains": None if running is None else len(running.keyset.domains),
        "keyset_digest": None if running is None else running.keyset.digest(),
        "recovery": _recovery_status(state) if isinstance(state, Recovery) else None,
        "key_event": key_event_facts(state),
    }


def _recovery_status(state: Recovery) -> dict[str, Any]:
    return {
        "recovery_id": state.recovery_id,
        "account_id": state.recovering.account_id,
        "tls_public_key": str(state.recovering.info.tls_public_key),
        "started_in": state.started_in,
        "expires_on": state.expires_on,
        "shares_confirmed": state.shares_confirmed,
    }


def step_status(step: object) -> dict[str, Any]:
    """The name of a decision and, if it has one, its reason."""
    reason = getattr(step, "reason", None) or getattr(step, "message", None)
    return {"name": type(step).__name__, "reason": reason}


def faults_status(faults: Faults) -> list[dict[str, Any]]:
    """The faults in force, oldest first."""
    return [
        {
            "topic": fault.topic,
            "code": fault.code,
            "message": fault.message,
            "alarm": fault.alarm,
            "since": utc(fault.since_ns),
        }
        for fault in faults.current()
    ]


def fault_reasons(faults: Faults) -> list[str]:
    """One sentence for each fault in force."""
    return [f"{fault.topic}: {fault.message}" for fault in faults.current()]


def common_metrics(view: View | None, faults: Faults, now_ns: int) -> list[Metric]:
    """Chain and fault metrics."""
    running = None if view is None else running_part(view.state)
    raised = [({"code": code}, count) for code, count in faults.raised_total.items()]
    return [
        gauge(
            "sharekeeper_final_block_height",
            "Height of the newest final block seen.",
            None if view is None else float(view.head.height),
        ),
        gauge(
            "sharekeeper_final_block_age_seconds",
            "Seconds since the timestamp of the newest final block seen.",
            None if view is None else (now_ns - view.head.timestamp_ns) / _NS,
        ),
        gauge(
            "sharekeeper_epoch_on_chain",
            "Epoch of the keyset in force on the contract.",
            None if running is None else float(running.keyset.epoch_id),
        ),
        gauge(
            "sharekeeper_alarms",
            "Faults in force that waiting does not cure.",
            float(sum(fault.alarm for fault in faults.current())),
        ),
        gauge("sharekeeper_faults", "Faults in force.", float(len(faults.current()))),
        counter("sharekeeper_faults_total", "Faults that appeared, by code.", raised),
    ]


def with_launch(report: Report, *, attested: bool) -> Report:
    """`report`, which says too whether this is the hard launch (`attested`) or the soft one."""
    unsafe = gauge(
        "sharekeeper_unsafe_no_attestation", "1 in soft launch, where no machine proves what it runs.", not attested
    )
    return replace(
        report,
        metrics=[*report.metrics, unsafe],
        status={**report.status, "unsafe_no_attestation": not attested},
    )
