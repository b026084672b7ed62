"""Whole daemons in hard launch, of which one is not what the operators voted for: it is admitted, and gets no share."""

import pytest

from sharekeeper.domain.protocol_state import Recovery
from sharekeeper_devnet.tee.guest import GuestShape
from tests.attestation.machines import AGENT_IMAGE
from tests.hard_launch.world import attested_world
from tests.integration.world import DEFAULT_CONFIG


@pytest.fixture
async def one(tmp_path):
    """Alice's backup service holds her shares, her node is lost, and its replacement stands in the rack."""
    config = {**DEFAULT_CONFIG, "code_hash_grace_blocks": 0}
    async with attested_world(tmp_path, names=("alice",), threshold=1, config=config) as made:
        await made.put("alice", "old", "backup")
        await made.net.with_backup("alice")
        await made.net["alice"].node("old").stop()
        yield made


async def refused(one, machine, check):
    """The replacement is in Recovery and met its backup service, says by which check it is refused, and holds nothing."""
    net, alice = one.net, one.net["alice"]

    async def said():
        met = {fault["topic"] for fault in (await alice.service.status())["faults"]}
        told = [fault["message"] for fault in (await machine.status())["faults"]]
        return (
            "hand-out" in met and any(check in message for message in told) and isinstance(await net.state(), Recovery)
        )

    await net.until(said, seconds=30, what=check)
    assert (await alice.service.status())["delivered_recovery_id"] is None
    store = alice.store("new")
    assert (await store.read(net.keyset), await store.staged()) == (None, None)


async def test_a_replacement_that_measures_something_else_gets_no_share_although_it_was_admitted(one):
    machine = one.net["alice"].node("new")
    machine.shape = GuestShape(memory_gb=65)
    await one.put("alice", "new")
    await one.net.replace("alice")
    await refused(one, machine, "check 11 (measurements)")


async def test_a_replacement_whose_image_lost_its_votes_gets_no_share(one):
    await one.vote("vote_node_code_hash", allow=False, code_hash=AGENT_IMAGE)
    await one.put("alice", "new")
    await one.net.replace("alice")
    await refused(one, one.net["alice"].node("new"), "check 12 (image digest)")


async def test_a_replacement_that_started_from_another_compose_file_gets_no_share(one):
    machine = one.net["alice"].node("new")
    await one.put("alice", "new")
    altered = machine.guest.app_compose.replace("no-new-privileges:true", "no-new-privileges:false")
    assert altered != machine.guest.app_compose
    machine.guest.app_compose = altered
    machine.guest.reboot()
    await one.net.replace("alice")
    await refused(one, machine, "check 14 (compose file)")


async def test_a_backup_service_that_measures_something_else_is_given_no_share(tmp_path):
    async with attested_world(tmp_path, names=("alice",), threshold=1) as one:
        alice = one.net["alice"]
        alice.service.shape = GuestShape(vcpus=3)
        await one.put("alice", "old", "backup")
        await one.net.grant("alice", alice.service)
        alice.node("old").start()
        alice.service.start()

        async def said():
            faults = (await alice.service.status())["faults"]
            return any("check 11 (measurements)" in fault["message"] for fault in faults)

        await one.net.until(said, seconds=30, what="an alarm")
        assert (await alice.service.status())["current_backup"] is None
