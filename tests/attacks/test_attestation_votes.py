"""What the operators' votes allow decides about evidence, block by block: on a real chain, with the real contract."""

from dataclasses import asdict

import pytest

from sharekeeper.domain.attestation import CodeHash
from sharekeeper.domain.identity import Role
from sharekeeper.errors import AttestationRefused
from sharekeeper_devnet.tee.guest import GuestShape
from tests.attestation.machines import Machine, code_hash
from tests.attestation.rack import running_rack
from tests.integration.world import world

GRACE_BLOCKS = 25


@pytest.fixture
async def net(tmp_path):
    async with world(tmp_path / "net", config={"code_hash_grace_blocks": GRACE_BLOCKS}, block_ms=40) as network:
        yield network


@pytest.fixture
async def rack(tmp_path):
    async with running_rack(tmp_path) as running:
        yield running


async def vote(net, name, method, allow=True, **value):
    operator = net[name]
    await net.caller(operator.account_id, operator.owner).call(method, {**value, "allow": allow})


async def vote_for_images(net, names, machine, allow=True):
    method = "vote_node_code_hash" if machine.role is Role.NODE else "vote_backup_service_code_hash"
    images = [machine.images.agent, machine.images.near, machine.images.mpc]
    for image in filter(None, images):  # an operator has one open vote
        for name in names:
            await vote(net, name, method, allow, code_hash=str(image))


async def vote_for_measurements(net, names, machine, allow=True):
    for name in names:
        await vote(net, name, "vote_measurements", allow, measurements=asdict(machine.guest.measurements))


class Judge:
    """A backup service that judges a machine's evidence at the newest final block."""

    def __init__(self, net, attestation, machine) -> None:
        self._net, self._attestation, self._machine = net, attestation, machine

    async def check(self):
        evidence = await self._attestation.prove(self._machine.report_data)
        return await self._attestation.check(
            evidence,
            role=self._machine.role,
            report_data=self._machine.report_data,
            at=await self._net.rpc.head(),
        )

    async def refusal(self):
        with pytest.raises(AttestationRefused) as caught:
            await self.check()
        return caught.value.check


@pytest.fixture
async def machine(net, rack):
    return Machine(intel=rack.intel, role=Role.NODE, network=net.network)


@pytest.fixture
async def judge(net, rack, machine):
    return Judge(net, await rack.attestation(machine, net.rpc), machine)


async def test_votes_below_the_threshold_allow_nothing_and_votes_at_it_do(net, machine, judge):
    assert await judge.refusal() == "measurements"
    await vote_for_measurements(net, ["alice"], machine)
    await vote(net, "alice", "vote_node_code_hash", code_hash=str(machine.image))
    assert await judge.refusal() == "measurements"
    await vote_for_measurements(net, ["bob"], machine)
    assert await judge.refusal() == "image digest"
    await vote(net, "bob", "vote_node_code_hash", code_hash=str(machine.image))
    assert await judge.refusal() == "compose file"
    await vote_for_images(net, ["alice", "bob"], machine)
    assert (await judge.check()).code_hash == machine.image


async def test_two_votes_of_one_operator_are_one(net, machine, judge):
    for _ in range(2):
        await vote_for_measurements(net, ["alice"], machine)
    assert await judge.refusal() == "measurements"


async def test_a_withdrawn_image_counts_through_its_grace_time_and_not_a_block_longer(net, machine, judge):
    await vote_for_measurements(net, ["alice", "bob"], machine)
    await vote_for_images(net, ["alice", "bob"], machine)
    evidence = await judge._attestation.prove(machine.report_data)
    for name in ("alice", "bob"):
        await vote(net, name, "vote_node_code_hash", False, code_hash=str(machine.image))
    [until] = [
        entry["allowed_until"]
        for entry in await net.rpc.view("allowed_node_code_hashes", {}, await net.rpc.head())
        if entry["code_hash"] == machine.image
    ]

    async def allowed():
        head = await net.rpc.head()
        return head.height, machine.image in (await net.rpc.allowed_code(head)).of(Role.NODE)

    seen = [await allowed()]
    while seen[-1][0] <= until:
        seen.append(await allowed())
    assert {(height < until, good) for height, good in seen} == {(True, True), (False, False)}
    with pytest.raises(AttestationRefused) as caught:
        await judge._attestation.check(
            evidence, role=machine.role, report_data=machine.report_data, at=await net.rpc.head()
        )
    assert caught.value.check == "image digest"


async def test_an_image_voted_for_backup_services_is_none_for_nodes(net, machine, judge):
    await vote_for_measurements(net, ["alice", "bob"], machine)
    for name in ("alice", "bob"):
        await vote(net, name, "vote_backup_service_code_hash", code_hash=str(machine.image))
    assert await judge.refusal() == "image digest"


async def test_another_image_or_measurement_than_the_one_voted_for_is_refused(net, rack, machine):
    await vote_for_measurements(net, ["alice", "bob"], machine)
    await vote_for_images(net, ["alice", "bob"], machine)
    others = {
        "image digest": {"image": CodeHash(code_hash("not voted for"))},
        "measurements": {"shape": GuestShape(memory_gb=65)},
    }
    for check, change in others.items():
        other = Machine(intel=rack.intel, role=Role.NODE, network=net.network, **change)
        judge = Judge(net, await rack.attestation(other, net.rpc), other)
        assert await judge.refusal() == check
