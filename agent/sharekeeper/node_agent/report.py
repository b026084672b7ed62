"""What the node agent says about itself: health reasons, metrics, status."""

from collections.abc import Sequence
from typing import Any

from sharekeeper.mutual_attestation import refused_evidence
from sharekeeper.node_agent.agent import NodeAgent
from sharekeeper.ops.report import Metric, Report, counter, gauge
from sharekeeper.ops.status import (
    STATUS_SCHEMA,
    common_metrics,
    fault_reasons,
    faults_status,
    network_status,
    step_status,
    view_status,
)
from sharekeeper.protocol.onboarding import Onboarded, OperatorNeeded
from sharekeeper.protocol.recovery_protocol import NodeRun


def report_node_agent(agent: NodeAgent, now_ns: int) -> Report:
    """The report at wall time `now_ns`."""
    reasons = _reasons(agent)
    return Report(reasons=reasons, metrics=_metrics(agent, now_ns), status=_status(agent, reasons, now_ns))


def _reasons(agent: NodeAgent) -> list[str]:
    reasons = fault_reasons(agent.faults)
    if agent.watch.newest is None:
        return [*reasons, "chain: no final block was seen yet"]
    if agent.watch.fresh() is None:
        reasons.append("chain: the newest final block seen is stale")
    if agent.node_run.fenced:
        reasons.append(f"fenced: {agent.node_run.reason}")
    elif agent.node_run.run is not NodeRun.RUN:
        reasons.append(f"MPC node: {agent.node_run.reason}")
    elif not agent.node_running:
        reasons.append("MPC node: not known to run yet")
    if not isinstance(agent.onboarding, Onboarded | OperatorNeeded):
        reasons.append(f"onboarding: {step_status(agent.onboarding)['reason'] or 'a call is under way'}")
    return reasons


def _metrics(agent: NodeAgent, now_ns: int) -> Sequence[Metric]:
    exchanges = [
        ({"purpose": purpose, "result": result}, count) for (purpose, result), count in agent.exchanges_total.items()
    ]
    return [
        *common_metrics(agent.watch.newest, agent.faults, now_ns),
        gauge("sharekeeper_fenced", "1 when another machine of this account is in force.", agent.node_run.fenced),
        gauge("sharekeeper_shares_held", "1 when the shares of the keyset in force are on disk.", agent.holds_shares),
        gauge("sharekeeper_shares_staged", "1 while a recovery's shares are staged.", agent.staged is not None),
        gauge("sharekeeper_node_running", "1 when the MPC node was last made sure to run.", agent.node_running),
        counter("sharekeeper_exchanges_total", "Exchanges that ended, by purpose and result.", exchanges),
        refused_evidence(agent.attestation),
    ]


def _status(agent: NodeAgent, reasons: Sequence[str], now_ns: int) -> dict[str, Any]:
    settings = agent.settings
    return {
        "schema": STATUS_SCHEMA,
        "type": "node_agent_status",
        "account_id": settings.account_id,
        "tls_public_key": str(settings.own.info.tls_public_key),
        "signer_public_key": str(settings.own.signer_key),
        "url": settings.own.info.url,
        "network": network_status(settings.network),
        "healthy": not reasons,
        "reasons": list(reasons),
        **view_status(agent.watch.newest, now_ns),
        "fenced": agent.node_run.fenced,
        "node": {
            "wanted": agent.node_run.run.value,
            "reason": agent.node_run.reason,
            "running": agent.node_running,
        },
        "shares_held": agent.holds_shares,
        "backup_services": [str(key) for key in agent.backup_services or ()],
        "staged_recovery_id": agent.staged,
        "recovery": step_status(agent.recovery_step),
        "onboarding": step_status(agent.onboarding),
        "faults": faults_status(agent.faults),
    }
