"""The daemons in hard launch: the recovering node's evidence is the consent, and its failure is loud and cheap."""

import asyncio
from dataclasses import replace

import pytest

from sharekeeper.adapters.approvals import DirectoryApprovalStore, DirectoryOverrideStore
from sharekeeper.backup_service.report import report_backup_service
from sharekeeper.backup_service.service import BackupService
from sharekeeper.backup_service.setup import BackupServicePorts, BackupServiceSettings
from sharekeeper.domain.identity import Role, SignerKey
from sharekeeper.domain.protocol_state import BackupServiceKeys, NodeKeys
from sharekeeper.errors import ConfigInvalid, PeerNotAttested, PeerRefused, PolicyRefused
from sharekeeper.mutual_attestation import TOPIC
from sharekeeper.node_agent.agent import NodeAgent, NodeAgentPorts, NodeAgentSettings
from sharekeeper.node_agent.report import report_node_agent
from sharekeeper.protocol.policy import HandOutPolicy
from tests.attacks.evidence_rig import EvidenceRig
from tests.attacks.web_rig import INFO, RECOVERY
from tests.protocol.attestation_values import CODE, STRANGER, evidence, stamped, verdict
from tests.protocol.exchange_values import ALICE, BACKUP_SERVICE, KEYSET, NETWORK, SHARES
from tests.unit.simulators import PlainMemory, RecordingCaller, SimulatedTruth

OWN = BackupServiceKeys(tls_public_key=BACKUP_SERVICE.tls_key, signer_key=SignerKey(b"b" * 32))


class Bench(EvidenceRig):
    """The backup service in the first moment of Alice's recovery, with no approval, and the recovering node."""

    def __init__(self, directory):
        super().__init__(directory)
        self.directory = directory
        self.dialled = 0
        self.caller = RecordingCaller()

    def new_service(self, policy=HandOutPolicy.ATTESTED, *, hard=True):
        async def verify():
            return ()

        return BackupService(
            BackupServiceSettings(
                account_id=ALICE, network=NETWORK, own=OWN, policy=policy, node_agent_port=1, grace_seconds=3600
            ),
            BackupServicePorts(
                chain=self.chain,
                truth=SimulatedTruth(self.chain),
                overrides=DirectoryOverrideStore(self.directory / "overrides"),
                caller=self.caller,
                vault=self.vault,
                verify_vault=verify,
                approvals=DirectoryApprovalStore(self.directory / "approvals"),
                memory=PlainMemory(),
                connect=self.dial,
                clock=self.clock,
                attestation=self.service.tee if hard else None,
            ),
        )

    async def dial(self, host, port, peer):
        self.dialled += 1
        return await self.connect(host, port, peer)

    async def recovering(self):
        await self.vault.store(KEYSET, SHARES, STRANGER.tls_key)
        self.chain.state = RECOVERY
        self.daemon = self.new_service()
        return self

    async def turns(self, number=4, *, seconds=0.0):
        """Turns of the loop, a block for each, and each with the time its action needs."""
        for _ in range(number):
            self.chain.height += 1
            self.clock.seconds += seconds
            await self.daemon.turn()
            for _ in range(300):
                task = self.daemon._worker._task
                if task is None or task.done():
                    break
                await asyncio.sleep(0.002)

    def codes(self):
        return {fault.code for fault in self.daemon.faults.current()}

    def spoil_node(self):
        self.node.tee.shows = lambda report_data: evidence(Role.NODE, report_data, vendor=STRANGER)
        self.node.tee.check = _blind


async def _blind(_evidence, **_settings):
    return verdict()


@pytest.fixture
async def bench(tmp_path):
    made = await Bench(tmp_path).recovering()
    yield made
    await made.daemon._worker.stop()
    await made.settle()
    made.vault.close()


async def test_an_attested_node_gets_its_shares_without_an_approval(bench):
    await bench.turns()
    assert bench.daemon.delivered == RECOVERY.recovery_id
    assert ("confirm_key_share_delivery", {"recovery_id": RECOVERY.recovery_id}) in bench.caller.calls
    assert await bench.store.staged() == RECOVERY.recovery_id
    assert bench.codes() == set()
    assert bench.daemon.exchanges_total == {("recovery", "durable"): 1}


async def test_a_node_whose_evidence_fails_gets_none_and_health_metrics_and_faults_say_why(bench):
    bench.spoil_node()
    await bench.turns(1)
    assert bench.no_share_left()
    assert bench.daemon.delivered is None
    assert bench.caller.calls == []
    report = report_backup_service(bench.daemon, bench.clock.wall_ns())
    assert any(reason.startswith(f"{TOPIC}: ") and "check 1 (quote)" in reason for reason in report.reasons)
    assert [(fault.code, fault.alarm) for fault in bench.daemon.faults.current() if fault.topic == TOPIC] == [
        ("peer_not_attested", True)
    ]
    (refused,) = [metric for metric in report.metrics if metric.name == "sharekeeper_evidence_refused_total"]
    assert refused.samples == (({"check": "quote"}, 1.0),)
    assert bench.daemon.exchanges_total == {("recovery", "peer_not_attested"): 1}


async def test_a_failing_peer_costs_one_exchange_until_time_has_passed_or_its_basis_changed(bench):
    bench.spoil_node()
    await bench.turns(50)
    assert bench.dialled == 1, "blocks alone are no reason to try again"
    await bench.turns(300, seconds=1)
    assert bench.dialled <= 30
    tried = bench.dialled
    await bench.turns(1)
    assert bench.dialled == tried
    bench.chain.state = replace(RECOVERY, recovery_id=RECOVERY.recovery_id + 1)
    await bench.turns(1)
    assert bench.dialled == tried + 1


async def test_the_alarm_ends_when_the_node_proves_what_it_must(bench):
    honest = bench.node.tee.shows
    bench.spoil_node()
    await bench.turns(1)
    assert TOPIC in {fault.topic for fault in bench.daemon.faults.current()}
    bench.node.tee.shows = honest
    await bench.turns(3, seconds=5)
    assert bench.daemon.delivered == RECOVERY.recovery_id
    assert bench.codes() == set()


async def test_the_alarm_about_a_node_that_is_gone_ends_with_the_recovery(bench):
    bench.spoil_node()
    await bench.turns(1)
    bench.chain.state = RECOVERY.previous
    await bench.turns(4)
    assert TOPIC not in {fault.topic for fault in bench.daemon.faults.current()}


async def test_without_the_verdict_of_this_exchange_nothing_is_released(bench):
    """Whatever an exchange does, its release asks for what the node's evidence proved."""

    async def careless(_step, release):
        await release(None)

    bench.daemon._exchanges = type("Careless", (), {"hand_out": staticmethod(careless)})()
    await bench.turns(1)
    assert bench.codes() == {PolicyRefused.code}
    assert "showed no evidence in this exchange" in bench.daemon.faults.current()[0].message


async def test_a_node_without_a_stamp_is_waited_for_without_an_alarm(bench):
    bench.chain.record = replace(bench.chain.record, evidence=stamped(BACKUP_SERVICE.tls_key))
    await bench.turns(1)
    assert bench.no_share_left()
    assert not any(fault.alarm for fault in bench.daemon.faults.current())
    assert bench.codes() == {"peer_not_attested"}


@pytest.mark.parametrize(
    ("policy", "hard"),
    [(HandOutPolicy.ATTESTED, False), (HandOutPolicy.APPROVE, True), (HandOutPolicy.AUTOMATIC, True)],
)
async def test_a_policy_of_the_other_launch_is_refused_at_the_start(bench, policy, hard):
    with pytest.raises(ConfigInvalid, match=f'policy "{policy}" is not for this launch'):
        bench.new_service(policy, hard=hard)


# --- the node agent -----------------------------------------------------------------------------------


@pytest.fixture
def agent(bench):
    made = NodeAgent(
        NodeAgentSettings(account_id=ALICE, network=NETWORK, own=NodeKeys(info=INFO, signer_key=SignerKey(b"n" * 32))),
        NodeAgentPorts(
            chain=bench.chain,
            caller=bench.caller,
            store=bench.store,
            supervisor=None,
            memory=PlainMemory(),
            clock=bench.clock,
            attestation=bench.node.tee,
        ),
    )
    bench.serve = made.serve
    return made


async def test_the_node_agent_takes_an_attested_recovery(bench, agent):
    await bench.turns()
    assert agent.exchanges_total == {("recovery", "durable"): 1}
    assert bench.daemon.delivered == RECOVERY.recovery_id


async def test_the_node_agent_shows_which_check_a_backup_service_failed(bench, agent):
    bench.service.tee.shows = lambda report_data: evidence(Role.BACKUP_SERVICE, report_data, code=CODE[Role.NODE])
    bench.service.tee.check = _blind
    await bench.turns(1)
    await bench.settle()
    assert [type(fault) for fault in bench.node_faults] == [PeerNotAttested]
    report = report_node_agent(agent, bench.clock.wall_ns())
    assert any("check 12 (image digest)" in reason for reason in report.reasons)
    (refused,) = [metric for metric in report.metrics if metric.name == "sharekeeper_evidence_refused_total"]
    assert refused.samples == (({"check": "image digest"}, 1.0),)
    assert bench.codes() == {PeerRefused.code}
    assert "not_attested_image_digest" in bench.daemon.faults.current()[0].message
    assert await bench.store.staged() is None


async def test_the_node_agent_forgets_what_was_wrong_with_a_backup_service_that_is_registered_no_more(bench, agent):
    bench.service.tee.shows = lambda report_data: evidence(Role.BACKUP_SERVICE, report_data, vendor=STRANGER)
    bench.service.tee.check = _blind
    await bench.turns(1)
    await bench.settle()
    assert agent.faults.current()
    bench.chain.record = replace(bench.chain.record, backup_services=(None, None))
    bench.chain.height += 1
    assert await agent.expected_peers() == ()
    assert agent.faults.current() == ()
