"""What a daemon says about itself at one moment: values only, for `/health`, `/metrics` and `/status`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any


class MetricKind(Enum):
    """Prometheus types."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric with its samples: labels and value. `help` says unit and meaning in one line."""

    name: str
    kind: MetricKind
    help: str
    samples: Sequence[tuple[Mapping[str, str], float]]


def gauge(name: str, help_text: str, value: float | None) -> Metric:
    """A gauge without labels; None means that there is no value now."""
    samples: Sequence[tuple[Mapping[str, str], float]] = () if value is None else (({}, float(value)),)
    return Metric(name=name, kind=MetricKind.GAUGE, help=help_text, samples=samples)


def counter(name: str, help_text: str, samples: Sequence[tuple[Mapping[str, str], int]]) -> Metric:
    """A counter; each sample is labels and count."""
    found = tuple((labels, float(count)) for labels, count in samples)
    return Metric(name=name, kind=MetricKind.COUNTER, help=help_text, samples=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`reasons`: why the daemon is not healthy, one sentence each; empty means healthy. `warnings`: what else matters."""

    reasons: Sequence[str]
    metrics: Sequence[Metric]
    status: Mapping[str, Any]
    warnings: Sequence[str] = ()


def metrics_text(metrics: Sequence[Metric]) -> str:
    """Prometheus text format 0.0.4."""
    lines: list[str] = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind.value}"]
        lines += [f"{metric.name}{_labels(labels)} {value!r}" for labels, value in metric.samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
