"""Two attested backup services of one account that keep shares in memory alone, the real daemons on CVMs of the stand-in."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from sharekeeper.domain.attestation import VaultKind
from sharekeeper.domain.protocol_state import Recovery, Running

from .world import attested_world

BOTH_TRANSFERS = pytest.mark.parametrize("transfer", ["p2p", "web"])


@asynccontextmanager
async def memory_world(directory, *machines, transfer="p2p"):
    """Alice's network; those of her machines stand in the rack, and her node agent runs."""
    async with attested_world(
        directory, names=("alice",), threshold=1, transfer=transfer, vault=VaultKind.MEMORY
    ) as one:
        await one.put("alice", "old", "new", *machines)
        one.net["alice"].node("old").start()
        yield one


async def start(one, *services):
    for service in services:
        await one.net.grant("alice", service)
        service.start()


async def until_holding(one, service):
    return await one.net.until_status(service, lambda status: status["current_backup"], what="the shares are held")


async def until_copied(one, service):
    """What an upgrade waits for: it holds the shares, and so does its sibling, which has proved it."""
    return await one.net.until_status(
        service,
        lambda status: status["healthy"] and status["sibling"]["copy"] == "confirmed",
        what="both hold the shares",
    )


async def recovers(one):
    """The lost node is replaced; see `until_in_force`."""
    await one.net.replace("alice")
    await until_in_force(one)


async def until_in_force(one):
    """The new node has its shares and is in force, and the network's keys are what they were."""
    net, before = one.net, one.net.keyset

    async def recovered():
        return isinstance(await net.state(), Running) and await net.names("alice", "new")

    await net.until(recovered, seconds=30)
    await net.until_healthy(net["alice"].node("new"))
    assert (await net.state()).keyset == before
    assert await net["alice"].store("new").read(before) == net.shares("alice")


@BOTH_TRANSFERS
async def test_an_upgrade_while_the_node_is_lost_takes_the_shares_along(tmp_path, transfer):
    async with memory_world(tmp_path, "backup", transfer=transfer) as one:
        alice = one.net["alice"]
        await start(one, alice.service)
        await until_holding(one, alice.service)
        await alice.node("old").stop()
        await one.put("alice", "second-backup")
        await start(one, alice.second)
        status = await until_copied(one, alice.second)
        assert status["sibling"]["tls_public_key"] == str(alice.service.keys.tls.tls_key)
        _, metrics = await alice.service.page("metrics")
        assert 'sharekeeper_exchanges_total{purpose="copy",result="durable"} 1.0' in metrics
        await alice.service.stop()
        await recovers(one)


async def test_a_service_that_restarted_while_the_node_is_lost_has_its_shares_from_its_sibling(tmp_path):
    async with memory_world(tmp_path, "backup", "second-backup") as one:
        alice = one.net["alice"]
        await start(one, alice.service, alice.second)
        await asyncio.gather(*(until_copied(one, service) for service in (alice.service, alice.second)))
        await alice.node("old").stop()
        await alice.service.stop()
        alice.service.start()
        await until_copied(one, alice.service)
        await alice.second.stop()
        await recovers(one)


async def test_a_service_that_restarts_during_the_recovery_has_its_shares_from_its_sibling_and_delivers(tmp_path):
    """The sibling itself reaches no node: neither to fetch from the old one, nor to deliver to the new one."""
    async with memory_world(tmp_path, "backup", "second-backup") as one:
        alice = one.net["alice"]
        alice.second.addresses["node_agent_port"] = 1
        await start(one, alice.service, alice.second)
        await until_copied(one, alice.second)
        await alice.node("old").stop()
        await alice.service.stop()
        await one.net.replace("alice")
        await one.net.until_state(Recovery)
        await one.net.until_status(alice.second, lambda status: status["step"]["name"] == "HandOut")
        alice.service.start()
        await until_in_force(one)
        assert 'purpose="copy",result="durable"} 1.0' in (await alice.service.page("metrics"))[1]


async def test_a_service_in_memory_alarms_until_its_sibling_has_proved_its_copy(tmp_path):
    async with memory_world(tmp_path, "backup", "second-backup") as one:
        alice = one.net["alice"]
        await start(one, alice.service)
        status = await until_holding(one, alice.service)
        assert status["sibling"] == {
            "address": alice.address("second-backup"),
            "tls_public_key": None,
            "copy": "unconfirmed",
            "confirmed_at": None,
        }

        async def alarmed():
            reasons = (await alice.service.status())["reasons"]
            return any("no other backup service of this account is registered" in reason for reason in reasons)

        await one.net.until(alarmed)
        assert "sharekeeper_sibling_copy_confirmed 0.0" in (await alice.service.page("metrics"))[1]
        await start(one, alice.second)
        status = await until_copied(one, alice.service)
        assert (status["reasons"], status["faults"]) == ([], [])
        assert "sharekeeper_sibling_copy_confirmed 1.0" in (await alice.service.page("metrics"))[1]


async def test_a_sibling_whose_image_is_not_voted_for_is_given_no_copy(tmp_path):
    async with memory_world(tmp_path, "backup") as one:
        alice = one.net["alice"]
        await start(one, alice.service)
        await until_holding(one, alice.service)
        await alice.node("old").stop()
        alice._service("second-backup", 1).image = type(alice.service.image)("ab" * 32)
        await one.put("alice", "second-backup")
        await start(one, alice.second)

        async def refused():
            return "image digest" in str(await alice.second.status())

        await one.net.until(refused)
        assert (await alice.second.status())["backups"] == []
        _, metrics = await alice.service.page("metrics")
        assert 'purpose="copy",result="durable"' not in metrics
