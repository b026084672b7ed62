"""The node agent through key generation and resharing: real key-share directory and supervisor, simulated chain."""

from dataclasses import replace

import pytest

from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.protocol_state import Running
from sharekeeper.errors import ChainUnavailable, TransactionFailed
from sharekeeper.protocol.recovery_protocol import NodeRun
from sharekeeper.protocol.session import BackupClient
from tests.protocol.exchange_values import shares_of
from tests.unit.protocol_values import (
    NEW,
    OLD,
    PARTICIPANTS,
    RECOVERED,
    RUNNING,
    initializing,
    keyset,
    record,
    resharing,
)

from .node_agent_bench import SERVICE, Bench
from .test_node_agent import greet

EMPTY = replace(RUNNING, keyset=keyset(domains=0))
WITHOUT_ALICE = replace(RUNNING, participants=replace(PARTICIPANTS, members=PARTICIPANTS.members[1:]))
GROWN = keyset(domains=3)


def of(keys: Keyset) -> Running:
    return replace(RUNNING, keyset=keys)


async def hold(bench, keys, *domain_ids):
    """What the MPC node does before it votes: the share is on disk and does not count yet."""
    for share in shares_of(keys):
        if share.key_id.domain_id in domain_ids:
            await bench.store.hold(share)


@pytest.fixture
async def member(tmp_path):
    """The machine in force, with the shares of epoch 5."""
    made = Bench(tmp_path)
    await made.store.store_permanent(RUNNING.keyset, shares_of(RUNNING.keyset))
    yield made
    await made.stop()


@pytest.fixture
async def newcomer(tmp_path):
    """A machine that wants to join."""
    made = Bench(tmp_path, state=WITHOUT_ALICE, known=record(node=None, is_participant=False))
    yield made
    await made.stop()


async def test_in_a_network_without_keys_the_node_runs_to_generate_them(tmp_path):
    bench = Bench(tmp_path, state=EMPTY)
    for state in (EMPTY, initializing(EMPTY)):
        bench.now(state)
        await bench.turns()
        assert bench.runs()
        assert bench.codes() == set()
    await bench.stop()


async def test_shares_of_accepted_key_events_are_served_while_further_keys_are_generated(member):
    await hold(member, GROWN, 2)
    member.now(initializing(of(GROWN)))
    await member.turns()
    session = member.session(BackupClient, keys=GROWN)
    channel, served = await greet(member, session)
    assert session.receive(await channel.receive_frame(session.receive_limit)).shares == shares_of(GROWN)
    await channel.send_frame(session.send_receipt())
    await served


async def test_after_a_restart_of_the_host_shares_that_were_voted_for_are_in_use_and_the_node_starts(tmp_path):
    bench = Bench(tmp_path, state=of(keyset(6)))
    await hold(bench, keyset(6), 0, 1)
    assert not bench.runs()
    await bench.turns()
    assert bench.runs()
    assert await bench.store.read(keyset(6)) == shares_of(keyset(6))
    await bench.stop()


async def test_shares_of_an_attempt_that_did_not_win_are_never_in_use(tmp_path):
    bench = Bench(tmp_path, state=of(keyset(6, attempt=1)))
    await hold(bench, keyset(6), 0, 1)
    await bench.turns()
    assert bench.agent.node_run.run is NodeRun.LEAVE
    assert await bench.store.read(keyset(6, attempt=1)) is None
    await bench.stop()


@pytest.mark.parametrize("state", [RECOVERED, WITHOUT_ALICE])
async def test_a_machine_that_the_keyset_does_not_name_takes_no_share_into_use(tmp_path, state):
    bench = Bench(tmp_path, state=state, known=record(node=None, is_participant=False))
    await hold(bench, RUNNING.keyset, 0, 1)
    await bench.turns()
    assert await bench.store.read(RUNNING.keyset) is None
    await bench.stop()


async def test_a_newcomer_announces_itself_joins_and_leaves_again(newcomer):
    await newcomer.turns()
    assert [method for method, _ in newcomer.caller.calls] == ["submit_participant_info"]
    assert not newcomer.runs()
    announced = record(node=None, candidate=OLD, is_participant=False)
    newcomer.now(WITHOUT_ALICE, announced)
    await newcomer.turns()
    assert newcomer.runs()
    newcomer.now(resharing(WITHOUT_ALICE, to=PARTICIPANTS), announced)
    await newcomer.turns()
    assert newcomer.runs()
    await hold(newcomer, keyset(6), 0, 1)
    newcomer.now(of(keyset(6)), record())
    await newcomer.turns()
    assert newcomer.runs()
    assert newcomer.codes() == set()
    newcomer.now(replace(WITHOUT_ALICE, keyset=keyset(7)), record(node=None, is_participant=False))
    await newcomer.turns()
    assert not newcomer.runs()
    assert newcomer.codes() == {"key_retired"}
    assert len(newcomer.caller.calls) == 1


async def test_a_prospective_node_is_left_as_it_is_while_its_record_cannot_be_read(newcomer):
    newcomer.now(WITHOUT_ALICE, record(node=None, candidate=OLD, is_participant=False))
    await newcomer.turns()
    assert newcomer.runs()

    async def unreadable(account_id, at):
        raise ChainUnavailable("no answer")

    newcomer.chain.account = unreadable
    newcomer.now(WITHOUT_ALICE)
    await newcomer.turns()
    assert newcomer.agent.node_run.run is NodeRun.LEAVE
    assert newcomer.runs()
    assert newcomer.codes() == {"chain_unavailable"}


async def test_a_machine_that_never_saw_itself_recorded_still_knows_that_it_was(newcomer):
    await newcomer.turns()
    assert newcomer.memory.history.recorded
    newcomer.start()
    newcomer.now(replace(WITHOUT_ALICE, keyset=keyset(7)), record(node=None, is_participant=False))
    await newcomer.turns()
    assert newcomer.codes() == {"key_retired"}
    assert len(newcomer.caller.calls) == 1


async def test_a_refused_call_records_nothing(newcomer):
    newcomer.caller.fault = TransactionFailed("all places for prospective accounts are taken")
    await newcomer.turns()
    assert not newcomer.memory.history.recorded
    assert newcomer.codes() == {"transaction_failed"}


async def test_the_second_machine_of_a_prospective_account_stops_the_first(newcomer):
    newcomer.now(WITHOUT_ALICE, record(node=None, candidate=OLD, is_participant=False))
    await newcomer.turns()
    assert newcomer.runs()
    newcomer.now(WITHOUT_ALICE, record(node=None, candidate=NEW, is_participant=False))
    await newcomer.turns()
    assert not newcomer.runs()
    assert newcomer.codes() == {"key_retired"}


async def test_a_resharing_that_ends_the_recovery_erases_what_was_delivered(tmp_path):
    bench = Bench(tmp_path, own=NEW, known=record(candidate=NEW, backup_service=SERVICE))
    await bench.store.stage(7, RUNNING.keyset, shares_of(RUNNING.keyset))
    bench.now(resharing())
    await bench.turns()
    assert await bench.store.staged() is None
    assert not bench.runs()
    assert bench.agent.node_run.fenced
    await bench.stop()


async def test_a_key_generation_right_after_the_recovery_does_not_cost_the_delivered_shares(tmp_path):
    bench = Bench(tmp_path, own=NEW, known=record(node=NEW, backup_service=SERVICE))
    await bench.store.stage(7, RUNNING.keyset, shares_of(RUNNING.keyset))
    bench.now(initializing(RECOVERED))
    await bench.turns()
    assert await bench.store.read(RUNNING.keyset) == shares_of(RUNNING.keyset)
    assert bench.runs()
    await bench.stop()


async def test_the_votes_of_a_key_event_do_not_make_a_refused_call_more_frequent(newcomer):
    for attempt in range(5):
        event = replace(initializing(WITHOUT_ALICE).generating, next_attempt_id=attempt)
        newcomer.now(replace(initializing(WITHOUT_ALICE), generating=event))
        await newcomer.turns()
    assert len(newcomer.caller.calls) == 1
