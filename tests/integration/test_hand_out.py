"""The moment before the first share byte leaves, and the moment after the last (design decisions 6 to 8).

Real vault, approvals and sessions; the chain and the wire are simulated, so that they can change between two frames.
"""

import asyncio
from dataclasses import replace

import pytest

from sharekeeper.adapters.approvals import DirectoryApprovalStore, DirectoryOverrideStore
from sharekeeper.adapters.durable_file import remove_tree
from sharekeeper.adapters.vault import AgeVault
from sharekeeper.backup_service.service import BackupService
from sharekeeper.backup_service.setup import BackupServicePorts, BackupServiceSettings
from sharekeeper.domain.protocol_state import BackupServiceKeys
from sharekeeper.errors import ChainUnavailable, PeerClosed, StoreFailed, TransactionUnknown
from sharekeeper.ports import Approval
from sharekeeper.protocol.policy import HandOutPolicy
from sharekeeper.protocol.session import RecoveryServer
from sharekeeper.secret import Secret
from tests.protocol.exchange_values import shares_of
from tests.unit.protocol_values import (
    ALICE,
    NETWORK,
    NEW,
    RUNNING,
    keyset,
    node_keys,
    record,
    recovery,
    signer,
    tls,
)
from tests.unit.simulators import ManualClock, PlainMemory, RecordingCaller, SimulatedChain, SimulatedTruth
from tests.unit.vault_values import RECIPIENTS, SERVICE_IDENTITY, SIGNING_KEY

from .wires import wire

OWN = BackupServiceKeys(tls_public_key=tls(21), signer_key=signer(21))
SHARES = shares_of(RUNNING.keyset)
PRIVATE = SHARES[0].private_share.reveal().hex().encode()


class RecoveringNode:
    """The recovering node behind every connection: it takes shares and sends receipts, unless told otherwise.

    `before_hello` runs when the service's hello has arrived and ours has not left yet.
    """

    def __init__(self):
        self.ends, self.dialled, self.tasks = [], [], []
        self.before_hello = self.before_receipt = lambda: None
        self.receipts = True

    async def connect(self, host, port, peer):
        self.dialled.append((host, port, peer))
        service, node = wire(OWN.tls_public_key, peer)
        self.ends.append(service)
        self.tasks.append(asyncio.create_task(self._serve(node)))
        return service

    async def _serve(self, channel):
        session = RecoveryServer(
            account_id=ALICE,
            network=NETWORK,
            keyset=RUNNING.keyset,
            node_tls_key=NEW.info.tls_public_key,
            backup_service_tls_key=channel.peer,
            recovery_id=7,
        )
        try:
            session.receive(await channel.receive_frame(session.receive_limit))
            self.before_hello()
            await channel.send_frame(session.send_hello())
            session.receive(await channel.receive_frame(session.receive_limit))
            self.before_receipt()
            if self.receipts:
                await channel.send_frame(session.send_receipt())
            else:
                channel.abort(PeerClosed("gone"))
        except PeerClosed:
            return

    @property
    def sent(self):
        return [frame for end in self.ends for frame in end.sent]

    def got_shares(self):
        return any(PRIVATE in frame for frame in self.sent)


class Bench:
    """A backup service in the first moment of Alice's recovery, with an approval, and everything around it."""

    def __init__(self, directory, policy=HandOutPolicy.APPROVE):
        self.clock = ManualClock()
        self.chain = SimulatedChain(self.clock, recovery(), record(candidate=NEW, backup_service=OWN))
        self.truth = SimulatedTruth(self.chain)
        self.overrides = DirectoryOverrideStore(directory / "overrides")
        self.caller, self.node = RecordingCaller(), RecoveringNode()
        self.vault = AgeVault(
            directory / "vault",
            state_dir=directory / "state",
            network=NETWORK,
            account_id=ALICE,
            recipients=RECIPIENTS,
            identity=Secret(SERVICE_IDENTITY.encode()),
            signing_key=SIGNING_KEY,
            clock=self.clock,
        )
        self.approvals_dir = directory / "approvals"
        self.approvals = DirectoryApprovalStore(self.approvals_dir)
        settings = BackupServiceSettings(
            account_id=ALICE, network=NETWORK, own=OWN, policy=policy, node_agent_port=8079, grace_seconds=3600
        )
        self.settings = settings

    async def ready(self):
        await self.vault.store(RUNNING.keyset, SHARES, tls(1))
        self.approval = Approval(
            account_id=ALICE,
            info=NEW.info,
            signer_key=NEW.signer_key,
            keyset=keyset().digest(),
            approved_at_height=900,
            deadline_ns=self.clock.wall_ns() + 600 * 10**9,
            used_for=None,
        )
        await self.approvals.add(self.approval)
        self.start()
        return self

    def start(self, *, floor_height=0):
        self.verifications = []
        self.verified = asyncio.Event()
        self.verified.set()

        async def verify():
            self.verifications.append(self.chain.height)
            await self.verified.wait()
            return ()

        self.service = BackupService(
            self.settings,
            BackupServicePorts(
                chain=self.chain,
                truth=self.truth,
                overrides=self.overrides,
                caller=self.caller,
                vault=self.vault,
                verify_vault=verify,
                approvals=self.approvals,
                memory=PlainMemory(floor_height=floor_height),
                connect=self.node.connect,
                clock=self.clock,
            ),
        )

    async def turns(self, number=4):
        """Turns of the loop, each with the time its action needs."""
        for _ in range(number):
            await self.service.turn()
            for _ in range(300):
                if self.service._worker._task is None or self.service._worker._task.done():
                    break
                await asyncio.sleep(0.005)

    def codes(self):
        return {fault.code for fault in self.service.faults.current()}


@pytest.fixture
async def bench(tmp_path):
    made = await Bench(tmp_path).ready()
    yield made
    await made.service._worker.stop()
    made.vault.close()
    for task in made.node.tasks:
        task.cancel()


async def test_the_shares_go_to_the_recovering_node_once_and_are_confirmed_once(bench):
    spent_when_shares_arrived = []
    bench.node.before_receipt = lambda: spent_when_shares_arrived.append(bench.approvals.pending()[0].used_for)
    await bench.turns()
    assert bench.node.dialled == [("127.90.0.11", 8079, NEW.info.tls_public_key)]
    assert bench.node.got_shares()
    assert spent_when_shares_arrived == [7]
    assert bench.caller.calls == [("confirm_key_share_delivery", {"recovery_id": 7})] * len(bench.caller.calls)
    bench.chain.state = recovery(confirmed=True)
    bench.chain.height += 1
    calls = len(bench.caller.calls)
    await bench.turns()
    assert len(bench.caller.calls) == calls
    assert len(bench.node.dialled) == 1
    assert bench.codes() == set()


def cancelled(bench):
    bench.chain.state, bench.chain.height = RUNNING, 1001


def another_recovery(bench):
    bench.chain.state, bench.chain.height = recovery(recovery_id=8), 1001


def another_machine(bench):
    bench.chain.state, bench.chain.height = recovery(new=node_keys(12)), 1001


def confirmed_already(bench):
    bench.chain.state, bench.chain.height = recovery(confirmed=True), 1001


def stale(bench):
    bench.chain.age_seconds = 61


def unreachable(bench):
    bench.chain.fault = ChainUnavailable("no answer")


def backwards(bench):
    bench.chain.state, bench.chain.height = replace(recovery(), previous=replace(RUNNING, keyset=keyset(4))), 1001


def deadline_over(bench):
    bench.clock.seconds = 600


def approval_withdrawn(bench):
    for path in bench.approvals_dir.glob("*.json"):
        remove_tree(path)


def approvals_unwritable(bench):
    async def spend(_approval, _recovery_id):
        raise StoreFailed("disk full")

    bench.approvals.spend = spend


CHANGES = [
    cancelled,
    another_recovery,
    another_machine,
    confirmed_already,
    stale,
    unreachable,
    backwards,
    deadline_over,
    approval_withdrawn,
    approvals_unwritable,
]


@pytest.mark.parametrize("change", CHANGES)
async def test_no_share_leaves_when_anything_it_rests_on_changed_after_the_handshake(bench, change):
    bench.node.before_hello = lambda: change(bench)
    await bench.turns(1)
    assert bench.node.dialled, "the exchange was under way"
    assert len(bench.node.sent) >= 1
    assert not bench.node.got_shares()
    assert bench.node.ends[-1].fault is not None, "the channel was left open"
    assert bench.service.delivered is None
    assert bench.caller.calls == []
    assert bench.service.faults.current()


async def test_a_refused_policy_does_not_even_connect(bench):
    approval_withdrawn(bench)
    await bench.turns()
    assert bench.node.dialled == []
    assert bench.codes() == {"policy_refused"}


async def test_an_endpoint_behind_what_the_service_acted_on_moves_no_share(bench):
    bench.start(floor_height=bench.chain.height + 1)
    await bench.turns()
    assert bench.node.dialled == []
    assert bench.codes() == {"chain_stale"}


async def test_without_a_receipt_nothing_is_confirmed_and_the_transfer_is_repeated(bench):
    bench.node.receipts = False
    await bench.turns(2)
    assert bench.node.got_shares()
    assert bench.caller.calls == []
    assert bench.codes() == {"peer_closed"}
    bench.node.receipts = True
    bench.clock.seconds += 5
    await bench.turns(3)
    assert bench.caller.calls[0] == ("confirm_key_share_delivery", {"recovery_id": 7})
    assert bench.approvals.pending()[0].used_for == 7


async def test_a_confirmation_whose_fate_is_unknown_is_sent_again(bench):
    bench.caller.fault = TransactionUnknown("no answer")
    await bench.turns(3)
    first = len(bench.caller.calls)
    assert first >= 1
    assert bench.codes() == {"transaction_unknown"}
    bench.caller.fault = None
    bench.clock.seconds += 31
    await bench.turns(2)
    assert len(bench.caller.calls) > first
    assert bench.codes() == set()
    assert len(bench.node.dialled) == 1


async def test_after_a_restart_the_transfer_is_repeated_with_the_approval_it_was_spent_on(bench):
    await bench.turns(1)
    assert bench.service.delivered == 7
    bench.start()
    await bench.turns(3)
    assert len(bench.node.dialled) == 2
    assert ("confirm_key_share_delivery", {"recovery_id": 7}) in bench.caller.calls


async def test_a_spent_approval_allows_no_later_recovery(bench):
    await bench.turns(1)
    bench.chain.state, bench.chain.height = recovery(recovery_id=8), 1100
    dialled = len(bench.node.dialled)
    await bench.turns(3)
    assert len(bench.node.dialled) == dialled
    assert bench.codes() == {"policy_refused"}


async def test_a_verification_that_a_recovery_cut_short_is_made_again(bench):
    bench.verified.clear()
    bench.chain.state = RUNNING
    await bench.service.turn()
    await asyncio.sleep(0)
    bench.chain.state, bench.chain.height = recovery(), 1001
    await bench.turns()
    assert bench.service.delivered == 7
    bench.verified.set()
    bench.chain.state, bench.chain.height = RUNNING, 1002
    await bench.turns()
    assert bench.verifications == [1000, 1002]
    assert bench.service.verified_at_ns is not None


async def test_a_backup_service_at_rest_makes_two_requests_a_block_and_none_of_the_account(bench):
    bench.chain.state = RUNNING
    await bench.turns(4)
    assert bench.service.step.reason.startswith("the backup of epoch")
    before = (bench.chain.heads, bench.chain.states, bench.chain.accounts)
    for _ in range(10):
        bench.chain.height += 1
        await bench.turns(1)
    after = (bench.chain.heads, bench.chain.states, bench.chain.accounts)
    assert tuple(b - a for a, b in zip(before, after, strict=True)) == (10, 10, 0)


async def test_a_service_whose_key_was_replaced_stops_and_says_so(bench):
    bench.chain.state = RUNNING
    await bench.turns(3)
    taken = BackupServiceKeys(tls_public_key=tls(22), signer_key=signer(22))
    bench.chain.state, bench.chain.record, bench.chain.height = recovery(), record(backup_service=taken), 1001
    await bench.turns(2)
    assert bench.node.dialled == []
    assert bench.codes() == {"key_retired"}


async def test_a_service_that_was_replaced_without_a_change_of_state_learns_it_from_its_first_failure(bench):
    bench.chain.state = RUNNING
    await bench.turns(3)
    bench.chain.state, bench.chain.height = replace(RUNNING, keyset=keyset(6)), 1001
    await bench.turns(1)
    taken = BackupServiceKeys(tls_public_key=tls(22), signer_key=signer(22))
    bench.chain.record, bench.chain.height = record(backup_service=taken), 1002
    bench.clock.seconds += 31
    bench.node.tasks[-1].cancel()
    bench.node.ends[-1].abort(PeerClosed("turned away"))
    await bench.turns(2)
    assert bench.codes() == {"key_retired", "peer_closed"}


async def test_a_backup_that_does_not_open_is_not_handed_out_and_the_node_is_told_without_details(bench):
    for path in bench.vault.directory.glob("keysets/*/shares.age"):
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    await bench.turns(1)
    assert bench.codes() == {"vault_corrupt"}
    assert not bench.node.got_shares()
    assert b"no_backup" in bench.node.sent[-1]
    assert str(bench.vault.directory).encode() not in bench.node.sent[-1]
