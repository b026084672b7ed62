"""Whatever the contract does, and whichever blocks the daemons miss: comparing state brings them where they belong.

Spec: "Todo", near/mpc #948.
"""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharekeeper.domain.protocol_state import Recovery, Resharing, Running, running_part
from sharekeeper.protocol.monitoring import Rest
from sharekeeper.protocol.onboarding import Onboarded, OperatorNeeded, Wait
from tests.unit.protocol_values import ALICE

from .walks import GRACE_SECONDS, TURNS_PER_BLOCK, Walk, share_of

MOVES = {
    "add a domain": lambda walk: walk.add_domains(1),
    "add two domains": lambda walk: walk.add_domains(2),
    "progress": None,
    "time-out": lambda walk: walk.contract.advance(41),
    "cancel the key event": lambda walk: walk.cancel_key_event(),
    "reshare with Alice": lambda walk: walk.reshare(with_alice=True),
    "reshare without Alice": lambda walk: walk.reshare(with_alice=False),
    "Bob recovers": lambda walk: walk.begin_bobs_recovery(),
    "conclude": lambda walk: walk.end_recovery(conclude=True),
    "cancel the recovery": lambda walk: walk.end_recovery(conclude=False),
    "start Alice's second machine": lambda walk: walk.start_second(),
    "power cut": lambda walk: walk.power_cut(),
    "wait": lambda walk: None,
}
LIKELY = [*MOVES, *["progress"] * 8]
EVERYBODY = {"first": True, "second": True, "service": True}
UP = st.fixed_dictionaries({name: st.booleans() for name in EVERYBODY})
TURNS = st.sampled_from([1, 1, TURNS_PER_BLOCK])
SETTLING_BLOCKS = 120


async def move(walk, name):
    if name == "progress":
        await walk.progress()
    else:
        MOVES[name](walk)


async def settle(walk):
    """Everybody sees every block, what was begun is brought to its end, and Alice's daemons come to rest."""
    for _ in range(SETTLING_BLOCKS):
        for _ in range(4):
            await walk.progress()
        walk.end_recovery(conclude=True)
        await walk.show()
        if at_rest(walk):
            break
    walk.contract.advance(int(GRACE_SECONDS) + 1)
    await walk.show()


def at_rest(walk):
    participant = walk.contract.record(ALICE).is_participant
    settled = Onboarded | OperatorNeeded if participant else Onboarded | OperatorNeeded | Wait
    return (
        isinstance(walk.contract.state(), Running)
        and isinstance(walk.service.step, Rest)
        and all(isinstance(machine.agent.onboarding, settled) for machine in walk.machines)
    )


def check_fence(walk, seen):
    """Holds after every block, for the agents that saw it and had the time to act."""
    state, record = walk.contract.state(), walk.contract.record(ALICE)
    allowed = allowed_to_run(state, record)
    for machine in walk.machines:
        if seen[machine.name]:
            assert not machine.supervisor.running or machine.keys.info.tls_public_key == allowed


def allowed_to_run(state, record):
    """The TLS key of the only machine of Alice's that may run."""
    member = running_part(state).participants.find(ALICE)
    if isinstance(state, Recovery) and state.recovering.account_id == ALICE:
        return None
    if member is None and isinstance(state, Resharing):
        member = state.resharing.participants.find(ALICE)
    if member is not None:
        return member.info.tls_public_key
    return None if record.node_candidate is None else record.node_candidate.info.tls_public_key


def check_backup(walk):
    """Holds after every block that all of Alice's daemons saw: what a total loss right now would need is held."""
    state = walk.contract.state()
    running = running_part(state)
    node = walk.alices_node(running.participants)
    if node is not None and running.keyset.domains:
        assert running.keyset in walk.vault.keysets()


async def check(walk):
    """The end of every walk: one machine of Alice's at most runs, the right one, and the vault is what it must be."""
    state, record = walk.contract.state(), walk.contract.record(ALICE)
    assert isinstance(state, Running)
    member = state.participants.find(ALICE)
    named = None if member is None else member.info.tls_public_key
    announced = None if record.node_candidate is None else record.node_candidate.info.tls_public_key
    for machine in walk.machines:
        own = machine.keys.info.tls_public_key
        assert machine.supervisor.running == (own == (named or announced)), machine.name
        assert machine.agent.node_run.fenced == (named is not None and own != named)
        assert await machine.store.staged() is None
        assert machine.codes() <= {"key_retired"}
        assert (own in (named, announced)) or machine.codes() == {"key_retired"}
        if own == named:
            shares = await machine.store.read(state.keyset)
            assert shares is not None
            assert shares == tuple(
                share_of(state.keyset.key_event(key), key.public_key) for key in state.keyset.domains
            )
    if named is not None:
        assert walk.vault.keysets() == ({state.keyset} if state.keyset.domains else set())
        assert {fault.code for fault in walk.service.faults.current()} == set()
    assert all(held.epoch_id <= state.keyset.epoch_id for held in walk.vault.keysets())


SETTINGS = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(domains=st.integers(0, 2), moves=st.lists(st.tuples(st.sampled_from(LIKELY), UP, TURNS), max_size=24))
@SETTINGS
async def test_daemons_that_see_any_part_of_the_blocks_end_where_those_that_saw_all_do(domains, moves):
    for missed in (False, True):
        with tempfile.TemporaryDirectory() as directory:
            walk = Walk(Path(directory))
            await walk.begin(domains=domains)
            for name, seen, turns in moves:
                await move(walk, name)
                shown = seen if missed else EVERYBODY
                await walk.show(**shown, turns=turns)
                assert set(walk.vault.stored) <= walk.contract.accepted
                if turns == TURNS_PER_BLOCK:
                    check_fence(walk, shown)
                if turns == TURNS_PER_BLOCK and not missed:
                    check_backup(walk)
            await settle(walk)
            await check(walk)
