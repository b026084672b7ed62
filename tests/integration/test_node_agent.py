"""The node agent between two frames, between two blocks, and across restarts.

Real key-share store, supervisor and sessions; the chain and the wire are simulated, so that they can change
between two frames.
"""

import asyncio
from dataclasses import replace

import pytest

from sharekeeper.domain.protocol_state import BackupServiceKeys
from sharekeeper.errors import (
    ChainStale,
    ChainUnavailable,
    PeerClosed,
    PeerRefused,
    PinChanged,
    ProtocolViolation,
    StoreFailed,
    TransactionFailed,
    ViewsDiffer,
)
from sharekeeper.node_agent.report import report_node_agent
from sharekeeper.protocol.messages import Hello, KeyShares, Receipt
from sharekeeper.protocol.onboarding import KeyHistory
from sharekeeper.protocol.session import BackupClient, RecoveryClient
from tests.unit.protocol_values import (
    BOB,
    NEW,
    OLD,
    RECOVERED,
    RUNNING,
    initializing,
    keyset,
    node_keys,
    record,
    recovery,
    resharing,
    signer,
    tls,
)

from .node_agent_bench import SERVICE, SHARES, Bench


@pytest.fixture
async def old(tmp_path):
    """The machine in force, with its shares."""
    made = Bench(tmp_path)
    await made.store.store_permanent(RUNNING.keyset, SHARES)
    yield made
    await made.stop()


@pytest.fixture
async def new(tmp_path):
    """Its replacement, recovering."""
    made = Bench(tmp_path, own=NEW, state=recovery(), known=record(candidate=NEW, backup_service=SERVICE))
    yield made
    await made.stop()


async def greet(bench, session):
    channel, served = bench.channel()
    await channel.send_frame(session.send_hello())
    session.receive(await channel.receive_frame(session.receive_limit))
    return channel, served


async def deliver(bench):
    """The backup service's side of a whole delivery."""
    session = bench.session(RecoveryClient, recovery_id=7)
    channel, served = await greet(bench, session)
    await channel.send_frame(session.send_shares(SHARES))
    assert isinstance(session.receive(await channel.receive_frame(session.receive_limit)), Receipt)
    await served


# --- backup ------------------------------------------------------------------------------------------


async def test_the_registered_backup_service_gets_exactly_the_keyset_in_force(old):
    session = old.session(BackupClient)
    channel, served = await greet(old, session)
    event = session.receive(await channel.receive_frame(session.receive_limit))
    assert isinstance(event, KeyShares)
    assert event.shares == SHARES
    await channel.send_frame(session.send_receipt())
    await served
    assert old.agent.exchanges_total == {("backup", "durable"): 1}


async def test_shares_sent_without_a_receipt_are_not_counted_as_delivered(old):
    session = old.session(BackupClient)
    channel, served = await greet(old, session)
    session.receive(await channel.receive_frame(session.receive_limit))
    await channel.close()
    with pytest.raises(PeerClosed):
        await served
    assert old.agent.exchanges_total == {("unknown", "peer_closed"): 1}


async def heard_until_refused(channel, session):
    """The node's hello comes before the refusal of shares that it does not hold. Raises `PeerRefused`."""
    while True:
        assert isinstance(session.receive(await channel.receive_frame(session.receive_limit)), Hello)


@pytest.mark.parametrize(
    ("state", "keys"),
    [
        (RUNNING, keyset(4)),
        (RUNNING, keyset(6)),
        (replace(RUNNING, keyset=keyset(6)), keyset(6)),  # in force, and not held
        (RECOVERED, RUNNING.keyset),  # replaced
        (initializing(replace(RUNNING, keyset=keyset(domains=3))), keyset(domains=3)),  # generated, and not held
        (initializing(replace(RUNNING, keyset=keyset(domains=3))), RUNNING.keyset),
    ],
)
async def test_no_other_keyset_and_no_other_machine_s_backup_is_served(old, state, keys):
    old.now(state)
    session = old.session(BackupClient, keys=keys)
    channel, served = old.channel()
    await channel.send_frame(session.send_hello())
    with pytest.raises(PeerRefused, match="views_differ"):
        await heard_until_refused(channel, session)
    with pytest.raises(ViewsDiffer):
        await served


async def test_a_backup_is_served_during_another_account_s_recovery_and_during_key_events(old):
    for state in (recovery(account_id=BOB, new=node_keys(12)), resharing(), initializing()):
        old.now(state)
        session = old.session(BackupClient)
        channel, served = await greet(old, session)
        session.receive(await channel.receive_frame(session.receive_limit))
        await channel.send_frame(session.send_receipt())
        await served


async def test_a_first_frame_that_is_no_hello_is_refused(old):
    channel, served = old.channel()
    await channel.send_frame(b"\x00nonsense")
    with pytest.raises(ProtocolViolation):
        await served
    refusal = await channel.receive_frame(4096)
    assert b"protocol_violation" in refusal


async def test_a_fault_of_this_side_is_told_without_its_details(old):
    old.chain.fault = ChainUnavailable("http://user:password@private.example does not answer")
    session = old.session(BackupClient)
    channel, served = old.channel()
    await channel.send_frame(session.send_hello())
    with pytest.raises(ChainUnavailable):
        await served
    refusal = await channel.receive_frame(4096)
    assert b"chain_unavailable" in refusal
    assert b"private.example" not in refusal
    assert old.codes() == {"chain_unavailable"}


# --- who is let in -----------------------------------------------------------------------------------


async def test_the_backup_service_registered_at_the_newest_final_block_is_let_in(old):
    assert await old.agent.expected_peers() == (SERVICE.tls_public_key,)
    other = BackupServiceKeys(tls_public_key=tls(22), signer_key=signer(22))
    old.now(RUNNING, record(backup_service=other))
    assert await old.agent.expected_peers() == (other.tls_public_key,)
    old.now(RUNNING, record(backup_service=SERVICE, second=other))
    assert await old.agent.expected_peers() == (SERVICE.tls_public_key, other.tls_public_key)
    old.now(RUNNING, record(second=other))
    assert await old.agent.expected_peers() == (other.tls_public_key,)
    old.now(RUNNING, record())
    assert await old.agent.expected_peers() == ()


async def test_another_backup_service_in_force_than_before_is_told(old, caplog):
    assert await old.agent.expected_peers() == (SERVICE.tls_public_key,)
    assert "other backup services" not in caplog.text
    stranger = BackupServiceKeys(tls_public_key=tls(22), signer_key=signer(22))
    old.now(RUNNING, record(backup_service=SERVICE, second=stranger))
    await old.agent.expected_peers()
    assert f"other backup services in force than before: {SERVICE.tls_public_key}, {tls(22)}" in caplog.text
    status = report_node_agent(old.agent, 0).status
    assert status["backup_services"] == [str(SERVICE.tls_public_key), str(tls(22))]


async def test_the_account_is_viewed_once_a_block_however_many_connect(old):
    for _ in range(10):
        await old.agent.expected_peers()
    assert (old.chain.states, old.chain.accounts) == (1, 1)


@pytest.mark.parametrize("state", [recovery(), RECOVERED])
async def test_a_fenced_machine_lets_nobody_in_even_before_its_next_turn(old, state):
    await old.turns()
    assert await old.agent.expected_peers()
    old.now(state)
    assert await old.agent.expected_peers() == ()


async def test_nobody_is_let_in_on_a_stale_view(old):
    await old.turns()
    old.now(RUNNING)
    old.chain.age_seconds = 61
    with pytest.raises(ChainStale):
        await old.agent.expected_peers()


async def test_pins_are_enforced_every_turn_while_a_session_is_open(old):
    await old.turns(3)
    assert old.listener.enforced == 0
    channel, served = old.channel()
    await asyncio.sleep(0)
    await old.turns(2)
    assert old.listener.enforced == 2
    channel.other.abort(PinChanged("cut"))
    with pytest.raises(PinChanged):
        await served
    await old.turns(1)
    assert old.listener.enforced == 2


# --- recovery ----------------------------------------------------------------------------------------


async def test_delivered_shares_are_staged_then_concluded_then_promoted_then_used(new):
    await new.turns()
    await deliver(new)
    await new.turns()
    assert await new.store.staged() == 7
    assert new.caller.calls == []
    new.now(recovery(confirmed=True))
    await new.turns(1)
    assert new.caller.calls == [("conclude_recovery", {"recovery_id": 7, "expected_keyset": RUNNING.keyset.digest()})]
    assert await new.store.read(RUNNING.keyset) is None
    assert not new.runs()
    new.now(RECOVERED, record(node=NEW, backup_service=SERVICE))
    await new.turns()
    assert await new.store.read(RUNNING.keyset) == SHARES
    assert await new.store.staged() is None
    assert new.runs()
    assert new.memory.history.named
    assert len(new.caller.calls) == 1


@pytest.mark.parametrize("state", [RUNNING, recovery(recovery_id=8), recovery(new=node_keys(12)), resharing()])
async def test_shares_that_arrive_after_their_recovery_ended_are_not_staged(new, state):
    session = new.session(RecoveryClient, recovery_id=7)
    channel, served = await greet(new, session)
    new.now(state)
    await channel.send_frame(session.send_shares(SHARES))
    with pytest.raises(PeerRefused, match="views_differ"):
        session.receive(await channel.receive_frame(session.receive_limit))
    with pytest.raises(ViewsDiffer):
        await served
    assert await new.store.staged() is None


@pytest.mark.parametrize("state", [RUNNING, RECOVERED, recovery(new=node_keys(12)), recovery(account_id=BOB)])
async def test_no_delivery_is_taken_outside_the_own_recovery(new, state):
    new.now(state)
    session = new.session(RecoveryClient, recovery_id=7)
    channel, served = new.channel()
    await channel.send_frame(session.send_hello())
    with pytest.raises(PeerRefused):
        session.receive(await channel.receive_frame(session.receive_limit))
    with pytest.raises(ViewsDiffer):
        await served


async def test_a_repeated_delivery_changes_nothing_and_gets_its_receipt(new):
    await deliver(new)
    await deliver(new)
    assert await new.store.staged() == 7
    assert new.agent.exchanges_total == {("recovery", "durable"): 2}


async def test_a_full_disk_sends_no_receipt_and_is_this_machine_s_fault(new):
    new.disk.full = True
    session = new.session(RecoveryClient, recovery_id=7)
    channel, served = await greet(new, session)
    await channel.send_frame(session.send_shares(SHARES))
    with pytest.raises(PeerRefused, match="store_failed"):
        session.receive(await channel.receive_frame(session.receive_limit))
    with pytest.raises(StoreFailed):
        await served
    assert new.codes() == {"store_failed"}
    new.disk.full = False
    await deliver(new)
    assert new.codes() == set()


async def test_a_session_that_is_cut_while_it_stages_leaves_nothing_behind_the_next_turn(new):
    new.disk.free.clear()
    session = new.session(RecoveryClient, recovery_id=7)
    channel, served = await greet(new, session)
    await channel.send_frame(session.send_shares(SHARES))
    await asyncio.to_thread(new.disk.reached.wait, 10)
    served.cancel()
    new.now(RUNNING)
    turn = asyncio.create_task(new.turns(1))
    await asyncio.sleep(0.05)
    new.disk.free.set()
    await turn
    with pytest.raises(asyncio.CancelledError):
        await served
    assert await new.store.staged() is None
    assert not list((new.directory / "keyshares").rglob("*.*"))


async def test_an_endpoint_that_fell_behind_does_not_make_a_restarted_agent_erase_its_shares(new):
    """Before the recovery began the chain looked like after a cancelled one; the remembered height tells them apart."""
    new.chain.height = 1300
    await deliver(new)
    new.start()
    new.chain.state, new.chain.height = RUNNING, 1100
    await new.turns()
    assert await new.store.staged() == 7
    assert new.codes() == {"chain_stale"}
    new.now(recovery(confirmed=True))
    new.chain.height = 1301
    await new.turns()
    assert [method for method, _ in new.caller.calls] == ["conclude_recovery"]


async def test_a_promotion_that_fails_is_tried_again_and_nothing_is_concluded_twice(new):
    await deliver(new)
    new.now(recovery(confirmed=True))
    await new.turns(1)
    new.disk.full = True
    new.now(RECOVERED, record(node=NEW))
    new.clock.seconds += 31
    await new.turns()
    assert new.codes() == {"store_failed"}
    assert not new.runs()
    assert len(new.caller.calls) == 1
    new.disk.full = False
    new.now(RECOVERED)
    await new.turns()
    assert new.runs()
    assert len(new.caller.calls) == 1
    assert new.codes() == set()


@pytest.mark.parametrize("content", [b"{}", b"not JSON"])
async def test_a_damaged_share_file_does_not_keep_a_recovery_from_replacing_it(new, content):
    """Whoever recovers onto the machine whose shares were damaged need not clear it first."""
    await new.store.store_permanent(RUNNING.keyset, SHARES)
    (path,) = (new.directory / "keyshares" / "permanent").glob("*.json")
    path.write_bytes(content)
    await deliver(new)
    new.now(recovery(confirmed=True))
    await new.turns(1)
    assert [method for method, _ in new.caller.calls] == ["conclude_recovery"]
    new.now(RECOVERED, record(node=NEW, backup_service=SERVICE))
    await new.turns()
    assert await new.store.read(RUNNING.keyset) == SHARES
    assert new.runs()
    assert new.codes() == set()


# --- onboarding --------------------------------------------------------------------------------------


async def test_a_repeated_request_for_recovery_is_the_same_request(tmp_path):
    bench = Bench(tmp_path, own=NEW)
    bench.caller.fault = TransactionFailed("not your turn")
    await bench.turns(1)
    for _ in range(3):
        bench.clock.seconds += 31
        bench.now(RUNNING)
        await bench.turns(1)
    requests = [args for method, args in bench.caller.calls if method == "submit_participant_recovery_info"]
    assert len(requests) == 4
    assert all(request == requests[0] for request in requests)
    assert requests[0] == {
        "participant_info": {"url": NEW.info.url, "tls_public_key": str(NEW.info.tls_public_key)},
        "expected_tls_key": str(OLD.info.tls_public_key),
        "expected_keyset": RUNNING.keyset.digest(),
        "valid_until_block": 1600,
    }
    bench.chain.height = 1600
    bench.clock.seconds += 31
    await bench.turns(1)
    assert bench.caller.calls[-1][1]["valid_until_block"] == 2200
    await bench.stop()


async def test_a_machine_whose_recovery_expired_asks_again_at_the_first_block_after_the_cooldown(tmp_path):
    known = record(candidate=NEW, backup_service=SERVICE, cooldown_until=1003)
    bench = Bench(tmp_path, own=NEW, known=known)
    for _ in range(2):
        bench.now(RUNNING)
        await bench.turns(1)
        assert bench.caller.calls == []
    bench.now(RUNNING)
    await bench.turns(1)
    assert [method for method, _ in bench.caller.calls] == ["submit_participant_recovery_info"]
    await bench.stop()


async def test_a_machine_that_cannot_remember_asks_for_nothing(tmp_path):
    known = record(candidate=NEW, backup_service=SERVICE)
    bench = Bench(tmp_path, own=NEW, known=known)
    bench.memory.fault = StoreFailed("disk full")
    await bench.turns(3)
    assert bench.caller.calls == []
    assert bench.codes() == {"store_failed"}
    await bench.stop()


async def test_a_replaced_machine_asks_for_nothing_after_any_restart(old):
    await old.turns()
    assert old.memory.history == KeyHistory(recorded=True, named=True)
    old.now(RECOVERED, record(node=NEW))
    old.start()
    await old.turns(3)
    assert old.caller.calls == []
    assert old.codes() == {"key_retired"}
    assert not old.runs()


async def test_a_node_agent_at_rest_makes_two_requests_a_block_and_none_of_the_account(old):
    await old.turns(3)
    before = (old.chain.heads, old.chain.states, old.chain.accounts)
    for _ in range(10):
        old.now(RUNNING)
        await old.turns(1)
    after = (old.chain.heads, old.chain.states, old.chain.accounts)
    assert tuple(b - a for a, b in zip(before, after, strict=True)) == (10, 10, 0)


# --- the MPC node ------------------------------------------------------------------------------------


async def test_a_node_that_died_is_started_again_and_one_started_by_hand_is_stopped_again(old):
    await old.turns()
    (old.directory / "running").unlink()
    await old.turns()
    assert not old.runs()
    old.clock.seconds += 15
    await old.turns(2)
    assert old.runs()
    old.now(recovery())
    await old.turns(2)
    assert not old.runs()
    (old.directory / "running").touch()
    old.clock.seconds += 15
    old.now(recovery())
    await old.turns(2)
    assert not old.runs()


async def test_an_unreachable_or_stale_chain_leaves_the_node_as_it_is(old):
    await old.turns()
    assert old.runs()
    old.chain.fault = ChainUnavailable("no answer")
    await old.turns()
    old.chain.fault, old.chain.age_seconds = None, 61
    old.now(recovery())
    await old.turns()
    assert old.runs()
    old.chain.age_seconds = 0
    old.now(recovery())
    await old.turns()
    assert not old.runs()


async def test_a_damaged_share_file_does_not_stop_the_node_and_is_an_alarm(old):
    await old.turns()
    (path,) = (old.directory / "keyshares" / "permanent").glob("*.json")
    path.write_bytes(b"{}")
    old.clock.seconds += 16
    await old.turns()
    assert old.codes() == {"share_store_corrupt"}
    assert old.runs()


async def test_a_supervisor_that_fails_is_a_fault_of_its_own_and_holds_up_nothing_else(old):
    (old.directory / "running").mkdir()
    old.now(recovery())
    await old.turns(3)
    assert "supervisor_failed" in old.codes()
    assert old.agent.node_run.fenced
    assert await old.agent.expected_peers() == ()
    (old.directory / "running").rmdir()
    old.clock.seconds += 31
    old.now(recovery())
    await old.turns(3)
    assert old.codes() == set()
