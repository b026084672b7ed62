"""Both daemons bring newer evidence to the contract: once each, beside their other work, in nobody's way.

Real vault, share store and sessions; the chain is simulated, and shows the evidence of the calls that it took.
"""

import asyncio
from dataclasses import replace

import pytest

from sharekeeper.domain.attestation import EvidenceStamp
from sharekeeper.domain.protocol_state import RecordedEvidence
from sharekeeper.errors import TransactionFailed
from sharekeeper.node_agent.agent import NodeAgentSettings
from sharekeeper.node_agent.report import report_node_agent
from sharekeeper.protocol.onboarding import Onboarded
from sharekeeper.protocol.recovery_protocol import Conclude
from tests.unit.protocol_values import (
    ALICE,
    NETWORK,
    NEW,
    OLD,
    RUNNING,
    record,
    recorded,
    recovery,
    stamp,
)
from tests.unit.simulators import RecordingCaller, SimulatedChain

from .node_agent_bench import SERVICE, SHARES
from .node_agent_bench import Bench as NodeBench
from .test_hand_out import OWN
from .test_hand_out import Bench as ServiceBench

HOUR = 3600
FIRST, SECOND = stamp(HOUR), stamp(2 * HOUR)
SERVICE_KEY, NODE_KEY = OWN.tls_public_key, OLD.info.tls_public_key


class Recorder(RecordingCaller):
    """The contract, as far as evidence goes."""

    def __init__(self, chain: SimulatedChain) -> None:
        super().__init__()
        self.chain = chain

    async def call(self, method, args):
        await super().call(method, args)
        if "evidence" not in args:
            return
        self.chain.height += 1
        key = args.get("backup_service_info", {}).get("public_key") or args["participant_info"]["tls_public_key"]
        kept = [one for one in self.chain.record.evidence if str(one.tls_public_key) != key]
        machine = next(one for one in (SERVICE_KEY, NODE_KEY, NEW.info.tls_public_key) if str(one) == key)
        shown = RecordedEvidence(tls_public_key=machine, stamp=EvidenceStamp(**args["evidence"]), valid_until=10**10)
        self.chain.record = replace(self.chain.record, evidence=(*kept, shown))

    def named(self):
        """The evidence of every call that carried any."""
        return [EvidenceStamp(**args["evidence"]) for _, args in self.calls if "evidence" in args]


class Attesting:
    """The machine's newest evidence."""

    def __init__(self) -> None:
        self.stamp: EvidenceStamp | None = None

    def __call__(self) -> EvidenceStamp | None:
        return self.stamp


async def turns(service, number=1):
    """Turns of the service's loop, in which a renewal has its time too."""
    for _ in range(number):
        await service.turns(1)
        await asyncio.sleep(0.001)


@pytest.fixture
async def service(tmp_path):
    """A backup service that holds what it should, in Running, whose first evidence the contract has."""
    bench = ServiceBench(tmp_path)
    bench.own = Attesting()
    bench.own.stamp = FIRST
    bench.chain.state = RUNNING
    bench.chain.record = record(backup_service=OWN, evidence=(recorded(SERVICE_KEY, HOUR),))
    bench.caller = Recorder(bench.chain)
    bench.settings = replace(bench.settings, stamp=bench.own)
    await bench.ready()
    await bench.turns()
    yield bench
    await bench.service._worker.stop()
    await bench.service._renewing.stop()
    bench.vault.close()
    for task in bench.node.tasks:
        task.cancel()


@pytest.fixture
async def node(tmp_path):
    """The node in force, whose first evidence the contract has."""
    bench = NodeBench(tmp_path, known=record(backup_service=SERVICE, evidence=(recorded(NODE_KEY, HOUR),)))
    attested(bench)
    bench.own_evidence.stamp = FIRST
    await bench.store.store_permanent(RUNNING.keyset, SHARES)
    await bench.turns()
    yield bench
    await bench.stop()


def attested(bench):
    bench.own_evidence, bench.caller = Attesting(), Recorder(bench.chain)
    bench.start()
    settings = NodeAgentSettings(account_id=ALICE, network=NETWORK, own=bench.own, stamp=bench.own_evidence)
    bench.agent = type(bench.agent)(settings, bench.agent._ports)


async def test_a_backup_service_renews_once_for_each_new_evidence_and_stays_registered(service):
    assert service.caller.calls == []
    looked = service.chain.accounts
    await turns(service, 4)
    assert service.chain.accounts == looked, "nothing new, nothing asked"
    for newer in (SECOND, stamp(3 * HOUR)):
        service.own.stamp = newer
        for _ in range(6):
            await turns(service, 1)
            assert service.service.registered
            service.clock.seconds += 1.0
        assert service.caller.named()[-1] == newer
    assert service.caller.named() == [SECOND, stamp(3 * HOUR)]
    assert service.caller.calls[0][1]["slot"] == 0
    assert service.codes() == set()


async def test_a_refused_renewal_is_tried_again_ever_later_and_holds_nothing_up(service):
    service.caller.fault = TransactionFailed("the evidence is not newer than what is recorded of this machine")
    service.own.stamp = SECOND
    await turns(service, 40)
    assert len(service.caller.calls) == 1, "no time has passed"
    assert service.codes() == {"transaction_failed"}
    assert service.service.registered
    service.chain.state, service.chain.height = recovery(), 1001
    service.chain.record = replace(service.chain.record, node_candidate=NEW)
    service.caller.fault = None
    await turns(service, 2)
    assert service.node.got_shares(), "the recovery does not wait for the evidence"


async def test_a_renewal_makes_way_for_a_hand_out_and_resumes_after_it(service):
    service.own.stamp = SECOND
    service.chain.state, service.chain.height = recovery(), 1001
    service.chain.record = replace(service.chain.record, node_candidate=NEW)
    await service.service.turn()
    assert service.service._renewing.basis is None, "the hand-out comes first"
    await turns(service, 1)
    assert service.node.got_shares()
    assert service.caller.named() == []
    service.chain.state, service.chain.height = RUNNING, 1002
    for _ in range(4):
        await turns(service, 1)
        service.clock.seconds += 1.0
    assert service.caller.named() == [SECOND]


async def test_a_backup_service_without_evidence_registers_nothing_until_it_has_some(service):
    service.own.stamp = None
    service.chain.record = record()
    service.chain.height += 1
    service.start()
    await turns(service, 4)
    assert service.caller.calls == []
    assert "no evidence" in service.service.step.reason
    service.own.stamp = FIRST
    await turns(service, 1)
    assert service.caller.named() == [FIRST]


async def test_a_node_renews_once_for_each_new_evidence_and_stays_onboarded(node):
    assert node.caller.calls == []
    for newer in (SECOND, stamp(3 * HOUR)):
        node.own_evidence.stamp = newer
        for _ in range(6):
            await node.turns(1)
            assert isinstance(node.agent.onboarding, Onboarded)
            node.clock.seconds += 1.0
    assert node.caller.named() == [SECOND, stamp(3 * HOUR)]
    assert node.codes() == set()
    reasons = report_node_agent(node.agent, node.clock.wall_ns()).reasons
    assert not [reason for reason in reasons if "onboarding" in reason]


async def test_a_node_s_refused_renewal_stays_a_fault_until_it_is_mended(node):
    node.caller.fault = TransactionFailed("evidence.attested_at is in the future")
    node.own_evidence.stamp = SECOND
    await node.turns(20)
    assert len(node.caller.calls) == 1
    assert node.codes() == {"transaction_failed"}
    node.caller.fault = None
    node.clock.seconds += 60.0
    await node.turns(3)
    assert node.caller.named() == [SECOND, SECOND]
    assert node.codes() == set()


async def test_the_recovering_node_asks_with_its_evidence_and_renews_nothing_before_it_is_in_force(tmp_path):
    bench = NodeBench(tmp_path, own=NEW, known=record(backup_service=SERVICE))
    attested(bench)
    await bench.turns()
    assert bench.caller.calls == [], "without evidence it asks for nothing"
    bench.own_evidence.stamp = FIRST
    await bench.turns(1)
    assert [method for method, _ in bench.caller.calls] == ["submit_participant_recovery_info"]
    bench.own_evidence.stamp = SECOND
    bench.now(recovery(), replace(bench.chain.record, node_candidate=NEW))
    await bench.turns(3)
    assert bench.caller.named() == [FIRST]
    assert not isinstance(bench.agent.recovery_step, Conclude)
    await bench.stop()
