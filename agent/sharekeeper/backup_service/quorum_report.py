"""What the backup service says about its NEAR endpoints: metrics and the part `quorum` of its status."""

from collections.abc import Sequence
from typing import Any, Final

from sharekeeper.backup_service.endpoints import EndpointWatch, ReleaseGate
from sharekeeper.ops.report import Metric, MetricKind, counter, gauge
from sharekeeper.ops.status import utc
from sharekeeper.protocol.quorum import Judgement, Standing

_NS: Final = 1_000_000_000
SINGLE_ENDPOINT: Final = (
    "one NEAR endpoint alone decides about releasing key shares: whoever controls it can name the machine that gets "
    "them; add [[near.endpoints]]"
)
"""Said at the start and in health while there is only the own node."""


def quorum_metrics(watch: EndpointWatch, gate: ReleaseGate, now_ns: int) -> Sequence[Metric]:
    """The metrics; those of a comparison have no sample before the first one, and never with one endpoint."""
    survey, compared_at_ns = watch.last, watch.compared_at_ns
    agrees = [] if survey is None else [_agrees(judgement) for judgement in survey.judgements]
    faults = [({"endpoint": name, "code": code}, count) for (name, code), count in watch.faults_total.items()]
    return [
        gauge("sharekeeper_near_endpoints", "NEAR endpoints, the own node included.", len(watch.truth.endpoints)),
        gauge("sharekeeper_near_quorum", "How many of them must agree before shares are released.", watch.truth.quorum),
        gauge(
            "sharekeeper_near_quorum_agrees",
            "1 when a quorum agreed at the last comparison.",
            None if survey is None else survey.agreed is not None,
        ),
        gauge(
            "sharekeeper_near_compared_age_seconds",
            "Seconds since the endpoints were last compared.",
            None if compared_at_ns is None else (now_ns - compared_at_ns) / _NS,
        ),
        Metric(
            name="sharekeeper_near_endpoint_agrees",
            kind=MetricKind.GAUGE,
            help="1 when that endpoint agreed at the last comparison.",
            samples=agrees,
        ),
        counter("sharekeeper_near_endpoint_faults_total", "How often an endpoint did not agree, by code.", faults),
        counter(
            "sharekeeper_quorum_overrides_total",
            "Hand-outs on the operator's override instead of a quorum.",
            [({}, gate.overridden_total)],
        ),
    ]


def _agrees(judgement: Judgement) -> tuple[dict[str, str], float]:
    return {"endpoint": judgement.endpoint}, float(judgement.standing is Standing.AGREES)


def quorum_status(watch: EndpointWatch) -> dict[str, Any]:
    """The part `quorum` of the status page, as of the last comparison."""
    survey = watch.last
    agreed = None if survey is None or survey.agreed is None else survey.agreed.block
    return {
        "needed": watch.truth.quorum,
        "endpoints": len(watch.truth.endpoints),
        "compared_at": utc(watch.compared_at_ns),
        "agreed": None if agreed is None else {"height": agreed.height, "hash": agreed.hash},
        "standings": {}
        if survey is None
        else {one.endpoint: {"standing": one.standing.value, "said": one.said} for one in survey.judgements},
    }
