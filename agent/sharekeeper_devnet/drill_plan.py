"""The drills there are, and what each does to the network, stage by stage.

A stage changes the network and ends with the play in which the network signs. The report judges each stage by what
its change demands; a stage that the playbook did not come to is a finding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Change(StrEnum):
    """What a stage does to the network."""

    DEALT = "dealt"
    """A dealer founds it, with keys."""
    GENERATED = "generated"
    """It starts without any key, and its nodes generate them."""
    LOST = "lost"
    """Machines are lost with their disks, replaced and recovered."""
    RESHARED = "reshared"
    """Its keys pass to another set of participants."""


class Launch(StrEnum):
    """How much a machine must prove before it takes part."""

    SOFT = "soft"
    """Nothing (`unsafe_no_attestation`)."""
    HARD = "hard"
    """What it runs and in what TEE, which is that of the TEE host stand-in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """One stage. `silent`: so many machines are lost that nobody can sign, which is shown too."""

    change: Change
    title: str
    silent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One drill. `playbook`: its file below `playbooks/`."""

    name: str
    playbook: str
    stages: tuple[StagePlan, ...]
    launch: Launch = Launch.SOFT


_LOSS: Final = Plan(
    name="loss",
    playbook="drill.yml",
    stages=(
        StagePlan(change=Change.DEALT, title="The network is founded"),
        StagePlan(change=Change.LOST, title="Every MPC machine is lost and recovered", silent=True),
    ),
)

_HARD_LOSS: Final = Plan(name="hard-loss", playbook="drill_hard.yml", stages=_LOSS.stages, launch=Launch.HARD)

_LIFE: Final = Plan(
    name="life",
    playbook="drill_life.yml",
    stages=(
        StagePlan(change=Change.GENERATED, title="The network makes its keys"),
        StagePlan(change=Change.LOST, title="One machine is lost and recovered"),
        StagePlan(change=Change.RESHARED, title="A fourth operator joins"),
        StagePlan(change=Change.LOST, title="Two machines of four are lost and recovered", silent=True),
    ),
)

PLANS: Final[Mapping[str, Plan]] = {plan.name: plan for plan in (_LOSS, _LIFE, _HARD_LOSS)}
"""By name."""
