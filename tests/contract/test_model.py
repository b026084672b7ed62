"""The contract is checked in every state that bounded calls reach. `python -m tests.contract.test_model` goes deeper."""

import sys
import time
from collections import Counter

import pytest

from contract.logic import TRANSITIONS
from contract.records import NOT_INITIALIZED
from tests.contract.model import Explored, Slice, explore
from tests.contract.model_properties import STEP_PROPERTIES, WHOLE_PROPERTIES, violations
from tests.contract.model_slices import bounded

SLICES = bounded()
DEEPER = bounded(machines=2, recoveries=3, attempts=2, epochs=3)
MOST_STATES = 12_000
MOST_STATES_DEEPER = 400_000
NOT_MODELLED = {
    "update_participant_url",
    "submit_ephemeral_key",
    "sign",
    "respond",
    "register_backup_service",
    "vote_node_code_hash",
    "vote_backup_service_code_hash",
    "vote_measurements",
}


@pytest.fixture(scope="module")
def explored() -> dict[str, Explored]:
    return {}


def once(explored: dict[str, Explored], world: Slice) -> Explored:
    if world.name not in explored:
        explored[world.name] = explore(world, most=MOST_STATES)
    return explored[world.name]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("world", SLICES, ids=lambda world: world.name)
def test_every_property_holds_in_every_reachable_state(world, explored):
    found = once(explored, world)
    wrong = violations(found)
    sys.stdout.write(report(world, found, wrong))
    assert {name: cases[:1] for name, cases in wrong.items() if cases} == {}
    assert len(wrong) == len(STEP_PROPERTIES) + len(WHOLE_PROPERTIES)


@pytest.mark.timeout(240)
def test_the_slices_take_every_row_of_the_transition_table_they_model(explored):
    taken = set()
    for world in SLICES:
        found = once(explored, world)
        for step in found.steps:
            before, after = found.states[step.before], found.states[step.after]
            taken.add((before.name, step.action.method, after.name))
    missing = {
        (state, event)
        for (state, event), to in TRANSITIONS.items()
        if state != NOT_INITIALIZED and event not in NOT_MODELLED and (state, event.split(",")[0], to) not in taken
    }
    assert missing == set()


def report(world: Slice, found: Explored, wrong: dict[str, list[str]]) -> str:
    """State counts and properties, for people."""
    states = Counter(state.name for state in found.states)
    kinds = ", ".join(f"{number} {name}" for name, number in states.most_common())
    calls = f"{len(found.steps)} calls accepted, {found.refused} refused"
    lines = [f"{world.name}: {len(found.states)} states ({kinds}), {calls}"]
    lines += [f"  {'FAILS' if cases else 'holds'}  {name.replace('_', ' ')}" for name, cases in wrong.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Explores further than the tests do, and prints what it finds."""
    failed = False
    for world in DEEPER if "--deeper" in sys.argv else SLICES:
        started = time.monotonic()
        found = explore(world, most=MOST_STATES_DEEPER)
        wrong = violations(found)
        failed = failed or any(wrong.values())
        sys.stdout.write(f"{report(world, found, wrong)}  {time.monotonic() - started:.0f} s\n\n")
        sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
