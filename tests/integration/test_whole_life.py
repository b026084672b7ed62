"""The contract's whole life with everything real: chain, contract, reference nodes, node agents, backup services."""

import asyncio
import shutil
from contextlib import asynccontextmanager

import pytest

from sharekeeper.domain.protocol_state import Initializing, Resharing, Running

from .mpc_nodes import cancel_keygen, mpc_nodes, sign, vote, vote_domains, vote_members
from .world import world

CONFIG = {"recovery_timeout_blocks": 400, "recovery_cooldown_blocks": 2, "key_event_timeout_blocks": 100}
GRACE_SECONDS = 1.0
FOUNDERS = ("alice", "bob", "carol")


@asynccontextmanager
async def from_nothing(directory, *, newcomers=(), backed_up):
    """Three participants without any key, their nodes and agents, and the backup services of `backed_up`."""
    settings = {"newcomers": newcomers, "domains": 0, "grace_seconds": GRACE_SECONDS, "config": CONFIG}
    async with world(directory, names=FOUNDERS, **settings) as net, mpc_nodes(net) as nodes:
        for name in FOUNDERS:
            if name in backed_up:
                await net.with_backup(name)
            else:
                net[name].node("old").start()
        await net.until_healthy(*(net[name].node("old") for name in FOUNDERS))
        yield net, nodes


async def until_running(net, **wanted):
    """Running, with that epoch and that many domains; returns its keyset."""

    async def seen():
        state = await net.state()
        if not isinstance(state, Running):
            return None
        facts = {"epoch": state.keyset.epoch_id, "domains": len(state.keyset.domains)}
        return state.keyset if all(facts[name] == value for name, value in wanted.items()) else None

    return await net.until(seen, seconds=40, what=f"Running {wanted}")


async def until_vault_holds(net, name, *keysets):
    """Exactly the backups of those keysets, and the service is content."""
    wanted = sorted(keyset.digest() for keyset in keysets)

    def check(status):
        return status["healthy"] and sorted(backup["keyset_digest"] for backup in status["backups"]) == wanted

    return await net.until_status(net[name].service, check, what=f"the vault of {name} holds exactly {wanted}")


async def lose(net, nodes, name):
    """Alice's, Bob's or Carol's machine is gone with its disk."""
    machine = net[name].node("old")
    nodes.broken.add(machine)
    await machine.stop()
    shutil.rmtree(machine.directory / "keyshares")


async def until_recovered(net, name):
    async def in_force():
        return await net.names(name, "new")

    await net.until(in_force, seconds=40, what=f"the new machine of {name} in force")


async def generate(net):
    """The first key, and further ones in the same epoch."""
    await vote_domains(net, ("bob", "carol"), "Frost")
    one = await until_running(net, epoch=5, domains=1)
    await until_vault_holds(net, "alice", one)
    await vote_domains(net, ("bob", "carol"), "CaitSith", "ConfidentialKeyDerivation")
    three = await until_running(net, epoch=5, domains=3)
    await until_vault_holds(net, "alice", three)
    return three


async def cancel_a_key_generation(net, nodes, keyset):
    """A dead node holds it up; the operators cancel it."""
    nodes.broken.add(net["carol"].node("old"))
    await vote_domains(net, ("alice", "bob"), "Frost")
    shown = await net.until_status(net["alice"].service, lambda status: status["protocol_state"]["key_event"])
    assert "the key of domain 3 is generated" in shown["protocol_state"]["description"]
    await cancel_keygen(net, ("alice", "bob"))
    assert await until_running(net) == keyset
    await until_vault_holds(net, "alice", keyset)
    nodes.broken.clear()


async def dave_joins(net, keyset):
    dave = net["dave"]
    await net.grant("dave", dave.service)
    dave.node("old").start()
    dave.service.start()
    await net.until_status(dave.node("old"), lambda status: status["node"]["running"], what="dave is announced")
    await vote_members(net, ("alice", "bob"), (*FOUNDERS, "dave"))
    await net.until_state(Resharing)
    reshared = await until_running(net, epoch=6, domains=3)
    assert [key.public_key for key in reshared.domains] == [key.public_key for key in keyset.domains]
    for name in ("alice", "dave"):
        await until_vault_holds(net, name, reshared)
    return reshared


async def dave_leaves_at_the_second_try(net, nodes, keyset):
    """The first resharing is cancelled, so that the epoch of the second skips one."""
    nodes.broken.add(net["carol"].node("old"))
    await vote_members(net, ("alice", "bob"), FOUNDERS)
    await net.until_state(Resharing)
    await vote(net, ("alice", "bob"), "vote_cancel_resharing", {})
    assert await until_running(net) == keyset
    nodes.broken.clear()
    await vote_members(net, ("alice", "bob"), FOUNDERS)
    reshared = await until_running(net, epoch=8, domains=3)
    await until_vault_holds(net, "alice", reshared)
    dave = net["dave"]
    gone = await net.until_status(dave.node("old"), lambda status: status["node"]["running"] is False)
    assert {fault["code"] for fault in gone["faults"]} <= {"key_retired"}
    left = await net.until_status(dave.service, lambda status: "not a participant" in (status["step"]["reason"] or ""))
    assert [backup["epoch_id"] for backup in left["backups"]] == [6]
    return reshared


@pytest.mark.timeout(240)
async def test_backups_follow_a_network_from_its_first_key_to_its_recovery(tmp_path):
    async with from_nothing(tmp_path, newcomers=("dave",), backed_up=("alice",)) as (net, nodes):
        assert (await net["alice"].service.status())["backups"] == []
        three = await generate(net)
        signed = await sign(net, b"with the first key")
        await cancel_a_key_generation(net, nodes, three)
        four = await dave_joins(net, three)
        last = await dave_leaves_at_the_second_try(net, nodes, four)
        await lose(net, nodes, "alice")
        await net.replace("alice")
        await until_recovered(net, "alice")
        await net.until_healthy(net["alice"].node("new"))
        assert await net["alice"].store("new").read(last) is not None
        nodes.broken.add(net["carol"].node("old"))  # now two are left, and alice is one of them
        assert (await sign(net, b"with the same key")).public_key == signed.public_key


@pytest.mark.timeout(240)
@pytest.mark.parametrize("during", ["Initializing", "Resharing"])
async def test_a_total_loss_during_a_key_event_recovers_with_all_keys(tmp_path, during):
    async with from_nothing(tmp_path, backed_up=FOUNDERS) as (net, nodes):
        await vote_domains(net, ("bob", "carol"), "Frost")
        await until_running(net, domains=1)
        signed = await sign(net, b"before")
        keyset = await (stall_generating if during == "Initializing" else stall_resharing)(net, nodes)
        for name in FOUNDERS:
            await until_vault_has(net, name, keyset)
        for name in FOUNDERS:
            await lose(net, nodes, name)
        await asyncio.gather(*(net.replace(name) for name in FOUNDERS))
        if during == "Initializing":
            await cancel_keygen(net, ("alice", "bob"))
        else:
            await vote(net, ("alice", "bob"), "vote_cancel_resharing", {})
        for name in FOUNDERS:
            await until_recovered(net, name)
        assert await until_running(net) == keyset
        assert (await sign(net, b"after")).public_key == signed.public_key


async def stall_generating(net, nodes):
    """One more key is generated, and the one after it is not: carol's node is dead."""
    await vote_domains(net, ("bob", "carol"), "CaitSith", "ConfidentialKeyDerivation")

    async def one_more():
        state = await net.state()
        return isinstance(state, Initializing) and len(state.previous.keyset.domains) == 2 and state

    state = await net.until(one_more, what="the key of domain 1")
    nodes.broken.add(net["carol"].node("old"))
    return state.previous.keyset


async def stall_resharing(net, nodes):
    nodes.broken.add(net["carol"].node("old"))
    await vote_members(net, ("alice", "bob"), FOUNDERS)
    return (await net.until_state(Resharing)).previous.keyset


async def until_vault_has(net, name, keyset):
    await net.until_status(
        net[name].service,
        lambda status: keyset.digest() in [backup["keyset_digest"] for backup in status["backups"]],
        what=f"{name} has a backup of what a cancellation leads to",
    )
