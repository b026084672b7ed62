"""Speed and memory as ratios, each against a limit or a peer measured in the same run (`make bench`)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured figure. `bar` is the most it may be; None where the figure is only for information."""

    what: str
    value: float
    unit: str
    detail: str
    bar: float | None = None

    @property
    def held(self) -> bool:
        return self.bar is None or self.value <= self.bar
