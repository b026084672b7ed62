"""When the node answers an exchange, how long it keeps the pair, and whom it lets in: chain and clock move when told."""

import asyncio
from dataclasses import replace

import pytest

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.domain.ephemeral import EphemeralKeys, ExchangeId
from sharekeeper.domain.identity import SignerKey
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.domain.protocol_state import BackupServiceKeys
from sharekeeper.errors import PurposeDiffers, RecordForged, RecordReplaced, TransactionUnknown, UnknownExchange
from sharekeeper.node_agent.sessions import Sessions
from sharekeeper.node_agent.web_sessions import WebSessionPorts, WebSessions
from sharekeeper.reconcile import ChainWatch, Faults
from tests.attacks.web_rig import RECORD, SimulatedCaller, SimulatedContract
from tests.protocol.exchange_values import ALICE, BACKUP_SERVICE, KEYSET, NETWORK, NODE, SHARES, STRANGER
from tests.protocol.web_values import BACKUP, EXCHANGE_ID, EXPIRES_ON, client, published
from tests.unit.simulators import ManualClock, PlainMemory

OTHER_ID = ExchangeId("cc" * 16)


class Caller(SimulatedCaller):
    """The contract takes what is submitted; each try is kept.

    `fault`: it does not arrive. `slow`: nor is it lost. `unseen`: it is final, and this node's view does not show it.
    """

    def __init__(self, chain) -> None:
        super().__init__(chain)
        self.tried, self.fault, self.slow, self.unseen = [], None, False, False

    async def call(self, method, args):
        self.tried.append(args)
        if self.slow:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault
        if not self.unseen:
            self._swap(args)
            await super().call(method, args)
            self._swap(args)

    def _swap(self, args) -> None:
        """The contract keeps an answer in the slot of its opening: the other exchange's is slot 1."""
        if args["record"]["exchange_id"] == OTHER_ID:
            self.chain.ephemeral, self.chain.second = self.chain.second, self.chain.ephemeral


class Node:
    """A node that holds its shares. Alice's backup service has opened an exchange for a backup in slot 0."""

    def __init__(self, directory) -> None:
        self.clock = ManualClock()
        self.chain = SimulatedContract(self.clock)
        self.caller, self.faults = Caller(self.chain), Faults(self.clock)
        self.watch = ChainWatch(self.chain, self.clock)
        self.store = DirectoryKeyShareStore(directory / "keyshares")
        self.accounts_viewed, self.ended = 0, []
        self.web = self._web()
        self.opens()

    def _web(self) -> WebSessions:
        async def account(_view):
            self.accounts_viewed += 1
            return self.chain.record

        async def expected_peers():
            return self.chain.record.backup_service_tls_keys

        sessions = Sessions(
            account_id=ALICE,
            network=NETWORK,
            tls_key=NODE.tls_key,
            store=self.store,
            memory=PlainMemory(),
            look=self.watch.look,
        )
        ports = WebSessionPorts(
            chain=self.chain,
            caller=self.caller,
            clock=self.clock,
            watch=self.watch,
            faults=self.faults,
            tls=NODE,
            expected_peers=expected_peers,
            account=account,
            ended=lambda purpose, result: self.ended.append((purpose, result)),
        )
        return WebSessions(sessions, ports)

    def opens(self, exchange_id=EXCHANGE_ID) -> None:
        opening = published(client(exchange_id=exchange_id))
        self.chain.ephemeral = EphemeralKeys(backup_service=opening, node=None)

    def opens_slot_1(self, *, signed_by) -> None:
        """The backup service of slot 1 opens an exchange too."""
        second = BackupServiceKeys(tls_public_key=STRANGER.tls_key, signer_key=SignerKey(b"c" * 32))
        self.chain.record = replace(RECORD, backup_services=(RECORD.backup_services[0], second))
        exchange = replace(BACKUP, backup_service_tls_key=STRANGER.tls_key)
        opening = published(client(exchange, exchange_id=OTHER_ID, tls=signed_by))
        self.chain.second = EphemeralKeys(backup_service=opening, node=None)

    async def turn(self, *, after_seconds=0.0, held=True) -> None:
        self.clock.seconds += after_seconds
        try:
            await self.web.turn(await self.watch.look(), held=held)
        finally:
            for _ in range(5):
                await asyncio.sleep(0)

    def admits(self, exchange_id=EXCHANGE_ID, purpose=Purpose.BACKUP, peer=BACKUP_SERVICE.tls_key) -> bool:
        try:
            self.web.admit(peer, purpose, exchange_id)
        except UnknownExchange:
            return False
        return True


@pytest.fixture
async def node(tmp_path):
    made = Node(tmp_path)
    await made.store.store_permanent(KEYSET, SHARES)
    yield made
    await made.web.stop()


# --- answering ------------------------------------------------------------------------------------


async def test_an_open_exchange_is_answered_once(node):
    for _ in range(3):
        await node.turn()
    assert len(node.caller.tried) == 1
    assert node.admits()


async def test_while_there_is_nothing_to_answer_the_account_is_not_viewed(node):
    await node.turn()
    viewed = node.accounts_viewed
    for _ in range(3):
        node.chain.height += 1
        await node.turn()
    node.chain.ephemeral = EphemeralKeys(backup_service=None, node=None)
    await node.turn()
    assert node.accounts_viewed == viewed


async def test_an_answer_that_fails_is_tried_again_later_and_later_with_the_same_record(node):
    node.caller.fault = TransactionUnknown("nobody knows")
    for _ in range(100):
        await node.turn(after_seconds=0.1)
    assert 3 <= len(node.caller.tried) <= 10
    assert [fault.topic for fault in node.faults.current()] == ["answer in slot 0"]
    node.caller.fault = None
    await node.turn(after_seconds=30)
    assert node.faults.current() == ()
    assert all(tried == node.caller.tried[0] for tried in node.caller.tried)
    assert node.admits()


async def test_an_answer_that_takes_long_is_neither_cut_short_nor_sent_twice(node):
    node.caller.fault = TransactionUnknown("nobody knows")
    await node.turn()
    node.caller.fault, node.caller.slow = None, True
    for _ in range(20):
        await node.turn(after_seconds=1)
    assert len(node.caller.tried) == 2


@pytest.mark.parametrize("forged", [0, 1])
async def test_a_record_that_is_not_acceptable_holds_up_its_own_slot_alone(node, forged):
    node.opens_slot_1(signed_by=BACKUP_SERVICE if forged else STRANGER)
    if not forged:
        node.chain.ephemeral = EphemeralKeys(backup_service=published(client(tls=STRANGER)), node=None)
    with pytest.raises(RecordForged):
        await node.turn()
    assert [args["record"]["exchange_id"] for args in node.caller.tried] == [EXCHANGE_ID if forged else OTHER_ID]


async def test_the_answer_of_each_slot_is_for_its_own_backup_service(node):
    node.opens_slot_1(signed_by=STRANGER)
    await node.turn()
    assert node.admits()
    assert node.admits(OTHER_ID, peer=STRANGER.tls_key)
    assert not node.admits(OTHER_ID)
    assert not node.admits(peer=STRANGER.tls_key)


# --- the pair -------------------------------------------------------------------------------------


async def test_a_pair_is_kept_until_the_block_at_which_its_record_expires(node):
    await node.turn()
    node.chain.height = EXPIRES_ON - 1
    await node.turn()
    assert node.admits()
    node.chain.height = EXPIRES_ON
    await node.turn()
    assert not node.admits()


async def test_a_pair_is_forgotten_when_the_contract_shows_its_opening_no_more(node):
    await node.turn()
    node.chain.ephemeral = replace(node.chain.ephemeral, backup_service=None)
    await node.turn()
    assert not node.admits()


async def test_a_pair_is_forgotten_when_another_opening_took_its_place_even_if_that_is_not_answered(node):
    await node.turn()
    node.opens(OTHER_ID)
    await node.turn(held=False)
    assert not node.admits()
    assert not node.admits(OTHER_ID)
    await node.turn()
    assert node.admits(OTHER_ID)
    first, second = (args["record"]["public_key"] for args in node.caller.tried)
    assert first != second


async def test_after_stop_no_pair_is_held_and_no_answer_is_under_way(node):
    await node.turn()
    node.opens_slot_1(signed_by=STRANGER)
    node.caller.slow = True
    await node.turn()
    await node.web.stop()
    assert not node.admits()
    assert not node.admits(OTHER_ID, peer=STRANGER.tls_key)
    assert all(slot._answering.basis is None for slot in node.web._slots)


# --- who is let in --------------------------------------------------------------------------------


async def test_a_request_is_refused_before_its_body_is_read_if_the_exchange_is_for_something_else(node):
    await node.turn()
    with pytest.raises(PurposeDiffers, match="opened for a backup"):
        node.web.admit(BACKUP_SERVICE.tls_key, Purpose.RECOVERY, EXCHANGE_ID)
    assert not node.admits(OTHER_ID)
    assert node.admits()


# --- serving --------------------------------------------------------------------------------------


async def test_each_slot_is_served_by_its_own_records(node):
    node.opens_slot_1(signed_by=STRANGER)
    await node.turn()
    assert await node.web.serve(STRANGER.tls_key, Purpose.BACKUP, OTHER_ID, b"")
    assert await node.web.serve(BACKUP_SERVICE.tls_key, Purpose.BACKUP, EXCHANGE_ID, b"")
    assert node.ended == [("backup", "durable")] * 2


async def asked(node):
    """The backup service asks as soon as it sees the answer, which this node's own view does not show yet."""
    node.caller.unseen = True
    await node.turn()
    serving = asyncio.create_task(node.web.serve(BACKUP_SERVICE.tls_key, Purpose.BACKUP, EXCHANGE_ID, b""))
    for _ in range(2):
        for _ in range(20):
            await asyncio.sleep(0)
        assert not serving.done()
        node.clock.seconds += 4.5
    return serving


async def test_a_request_waits_until_this_side_too_sees_its_answer_final(node):
    serving = await asked(node)
    node.chain.take(node.caller.tried[0])
    assert await serving
    assert node.ended == [("backup", "durable")]


async def test_a_request_does_not_wait_for_ever_for_an_answer_that_is_not_seen(node):
    serving = await asked(node)
    node.clock.seconds += 1
    with pytest.raises(RecordReplaced):
        await asyncio.wait_for(serving, 5)
    assert node.ended == [("backup", "record_replaced")]
    assert not node.admits()
