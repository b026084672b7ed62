"""The backup service's loop and its sibling: when it turns to it, how often, and what it tells of that."""

import asyncio
from dataclasses import replace

import pytest

from sharekeeper.adapters.memory_vault import MemoryVault
from sharekeeper.backup_service.report import report_backup_service
from sharekeeper.backup_service.service import BackupService
from sharekeeper.backup_service.setup import BackupServicePorts, BackupServiceSettings
from sharekeeper.backup_service.sibling import SiblingSettings
from sharekeeper.config_values import NetAddress
from sharekeeper.domain.identity import Role, SignerKey
from sharekeeper.domain.protocol_state import BackupServiceKeys
from sharekeeper.errors import ConfigInvalid, PeerUnreachable
from sharekeeper.hard_launch.consent import NoApprovals, NoOverrides
from sharekeeper.protocol.monitoring import FetchCopy, FetchShares
from sharekeeper.protocol.policy import HandOutPolicy
from tests.attacks.sibling_rig import HOLDER, TAKER, in_slots
from tests.attacks.web_rig import INFO, RECOVERY, RUNNING
from tests.protocol.attestation_values import TestTee
from tests.protocol.exchange_values import ALICE, NETWORK, NODE, keyset
from tests.unit.simulators import ManualClock, PlainMemory, RecordingCaller, SimulatedChain, SimulatedTruth

ADDRESS = NetAddress(host="127.0.0.2", port=2)


class Bench:
    """A backup service that holds nothing and reaches nobody. `dialled`: whom it tried."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.chain = SimulatedChain(self.clock, RUNNING, in_slots(HOLDER, TAKER))
        self.dialled = []
        self.daemon = self.service()

    def service(self, **changes):
        vault = MemoryVault(network=NETWORK, account_id=ALICE, clock=self.clock, entropy=lambda size: b"v" * size)
        own = BackupServiceKeys(tls_public_key=TAKER.tls_key, signer_key=SignerKey(bytes([2]) * 32))
        hard = {"policy": HandOutPolicy.ATTESTED, "attestation": TestTee(Role.BACKUP_SERVICE, self.clock)}
        settings = hard | {"sibling": SiblingSettings(address=ADDRESS, demanded=True)} | changes
        attestation = settings.pop("attestation")
        return BackupService(
            BackupServiceSettings(
                account_id=ALICE, network=NETWORK, own=own, node_agent_port=1, grace_seconds=3600, slot=1, **settings
            ),
            BackupServicePorts(
                chain=self.chain,
                truth=SimulatedTruth(self.chain),
                overrides=NoOverrides(),
                caller=RecordingCaller(),
                vault=vault,
                verify_vault=vault.verify,
                approvals=NoApprovals(),
                memory=PlainMemory(),
                connect=self.connect,
                clock=self.clock,
                attestation=attestation,
            ),
        )

    async def connect(self, host, port, peer):
        self.dialled.append((host, port, peer))
        raise PeerUnreachable("nobody listens there")

    async def turns(self, number, *, seconds):
        for _ in range(number):
            self.chain.height += 1
            self.clock.seconds += seconds
            await self.daemon.turn()
            while self.daemon._worker._task is not None and not self.daemon._worker._task.done():
                await asyncio.sleep(0.001)

    @property
    def asked(self):
        return ["sibling" if dialled == (*_address(), HOLDER.tls_key) else "node" for dialled in self.dialled]


def _address():
    return ADDRESS.host, ADDRESS.port


@pytest.fixture
async def bench():
    made = Bench()
    yield made
    await made.daemon._worker.stop()


async def test_the_node_is_tried_three_times_before_the_sibling_and_then_each_in_turn(bench):
    await bench.turns(8, seconds=40)
    assert bench.asked == ["node", "node", "node", "sibling", "node", "sibling", "node"]
    assert all(dialled[2] == NODE.tls_key for dialled in bench.dialled if dialled[0] != ADDRESS.host)
    assert bench.daemon.exchanges_total == {("backup", "peer_unreachable"): 5, ("copy", "peer_unreachable"): 2}


async def test_taking_turns_is_no_reason_to_hurry(bench):
    await bench.turns(200, seconds=0.5)
    assert 5 <= len(bench.dialled) <= 25


async def test_in_the_own_recovery_the_sibling_alone_is_asked_and_its_failure_is_an_alarm(bench):
    bench.chain.state = RECOVERY
    await bench.turns(4, seconds=40)
    assert set(bench.asked) == {"sibling"}
    [fault] = [fault for fault in bench.daemon.faults.current() if fault.topic == "backup"]
    assert fault.alarm
    assert isinstance(bench.daemon.step, FetchCopy)


async def test_without_a_registered_sibling_the_failure_says_so(bench):
    bench.chain.record = in_slots(None, TAKER)
    bench.chain.state = RECOVERY
    await bench.turns(2, seconds=40)
    assert bench.dialled == []
    assert any("no other backup service" in fault.message for fault in bench.daemon.faults.current())


@pytest.mark.parametrize("demanded", [True, False])
async def test_an_unconfirmed_copy_is_a_reason_where_it_is_demanded_and_a_warning_elsewhere(demanded):
    bench = Bench()
    bench.daemon = bench.service(sibling=SiblingSettings(address=ADDRESS, demanded=demanded))
    await bench.turns(1, seconds=1)
    report = report_backup_service(bench.daemon, bench.clock.wall_ns())
    told = {True: report.reasons, False: report.warnings}
    assert any(line.startswith("sibling: ") for line in told[demanded])
    assert not any(line.startswith("sibling: ") for line in told[not demanded])
    assert report.status["sibling"]["copy"] == "unconfirmed"
    await bench.daemon._worker.stop()


async def test_where_there_are_no_shares_yet_a_registered_sibling_is_enough():
    bench = Bench()
    bench.chain.state = replace(RUNNING, keyset=keyset(domains=0))
    bench.daemon.sibling.tls_key = HOLDER.tls_key
    await bench.turns(2, seconds=1)
    report = report_backup_service(bench.daemon, bench.clock.wall_ns())
    assert not any(line.startswith("sibling: ") for line in report.reasons)
    await bench.daemon._worker.stop()


async def test_a_service_without_a_siblings_address_never_asks_for_copies():
    bench = Bench()
    bench.daemon = bench.service(sibling=None)
    await bench.turns(8, seconds=40)
    assert bench.daemon.step == FetchShares(keyset=RUNNING.keyset, node=INFO)
    assert {dialled[2] for dialled in bench.dialled} == {NODE.tls_key}
    assert report_backup_service(bench.daemon, 0).status["sibling"] is None
    await bench.daemon._worker.stop()


async def test_a_copy_wanted_from_no_known_address_is_a_fault_and_not_a_crash():
    bench = Bench()
    bench.daemon = bench.service(sibling=None)
    await bench.daemon._perform(FetchCopy(keyset=RUNNING.keyset))
    [fault] = bench.daemon.faults.current()
    assert (fault.topic, fault.code, fault.alarm) == ("backup", "peer_unreachable", True)
    assert bench.daemon.exchanges_total == {("copy", "peer_unreachable"): 1}


def test_there_are_no_copies_in_soft_launch():
    with pytest.raises(ConfigInvalid, match="copies are for machines that show evidence"):
        Bench().service(policy=HandOutPolicy.APPROVE, attestation=None)
