"""The spec's recovery from end to end: real chain, contract, sockets, vault and disk."""

import asyncio

import pytest

from sharekeeper.adapters.transactions import add_key, delete_key
from sharekeeper.domain.protocol_state import Recovery, Running
from sharekeeper.errors import TransactionFailed
from sharekeeper.spec import BACKUP_SERVICE_METHODS

from .world import CONTRACT, Gate, approve, world


async def until_in_force(net, name, machine):
    async def recovered():
        return await net.names(name, machine)

    await net.until(recovered, what=f"{machine} node of {name} in force")
    await net.until_healthy(net[name].node(machine))
    assert await net[name].store(machine).read(net.keyset) == net.shares(name)
    assert await net[name].store(machine).staged() is None
    assert net[name].node_runs(machine)


async def cancel(net, name, recovery_id):
    await net.caller(net[name].account_id, net[name].owner).call("cancel_recovery", {"recovery_id": recovery_id})


async def test_a_lost_node_recovers_and_the_network_runs_again(tmp_path):
    async with world(tmp_path) as net:
        await net.with_backup("alice")
        await net["alice"].node("old").stop()
        await net.replace("alice")
        await net.until_state(Recovery)
        await until_in_force(net, "alice", "new")
        await net.until_healthy(net["alice"].service)
        assert isinstance(await net.state(), Running)


async def test_a_living_old_node_is_fenced_and_stays_so_after_its_replacement(tmp_path):
    async with world(tmp_path) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await net.replace("alice")
        await until_in_force(net, "alice", "new")
        fenced = await net.until_status(
            alice.node("old"), lambda status: status["fenced"] and status["node"]["running"] is False
        )
        assert not alice.node_runs("old")
        assert {fault["code"] for fault in fenced["faults"]} <= {"key_retired"}
        assert (await alice.node("old").page("health"))[0] == 503
        await net.until_status(alice.node("old"), lambda status: status["faults"], what="the retired key's alarm")
        assert await alice.node("old").codes() == {"key_retired"}


async def test_without_an_approval_the_recovery_expires_and_the_second_one_after_the_cooldown_succeeds(tmp_path):
    config = {"recovery_timeout_blocks": 25, "recovery_cooldown_blocks": 25}
    async with world(tmp_path, policy="approve", config=config) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await net.replace("alice")
        first = await net.until_state(Recovery)
        await net.until_status(
            alice.service, lambda status: any(f["code"] == "policy_refused" for f in status["faults"])
        )
        await net.until_status(alice.node("old"), lambda status: status["fenced"])
        await net.until_state(Running)
        await approve(net, "alice")
        await net.until_status(alice.node("old"), lambda status: status["node"]["running"], what="the fence is lifted")
        assert await alice.store("new").staged() is None
        assert alice.node_runs("old")

        second = await net.until_state(Recovery)
        assert second.recovery_id > first.recovery_id
        late = {"recovery_id": first.recovery_id}
        with pytest.raises(TransactionFailed):
            await net.caller(alice.account_id, alice.service.keys.account).call("confirm_key_share_delivery", late)
        with pytest.raises(TransactionFailed):
            await net.caller(alice.account_id, alice.node("new").keys.account).call(
                "conclude_recovery", {**late, "expected_keyset": net.keyset.digest()}
            )
        await until_in_force(net, "alice", "new")


async def test_shares_that_arrived_are_erased_when_the_recovery_expires_unconfirmed(tmp_path):
    config = {"recovery_timeout_blocks": 25, "recovery_cooldown_blocks": 400}
    async with world(tmp_path, config=config) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await without_access_key(net, "alice")
        await net.replace("alice")
        await net.until_status(alice.node("new"), lambda status: status["staged_recovery_id"] is not None)
        await net.until_status(alice.service, lambda status: status["delivered_recovery_id"] is not None)
        await net.until_state(Running)
        await net.until_status(alice.node("new"), lambda status: status["staged_recovery_id"] is None)
        assert await alice.store("new").read(net.keyset) is None
        assert not alice.node_runs("new")
        await net.until_status(alice.node("old"), lambda status: status["node"]["running"])


async def without_access_key(net, name):
    operator = net[name]
    key = operator.service.keys.account.signer_key
    await net.caller(operator.account_id, operator.owner).send_actions(operator.account_id, [delete_key(key)])


async def test_a_backup_service_that_dies_between_receipt_and_confirmation_repeats_both(tmp_path):
    async with world(tmp_path, policy="approve") as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await approve(net, "alice")
        await without_access_key(net, "alice")
        await net.replace("alice")
        await net.until_status(alice.service, lambda status: status["delivered_recovery_id"] is not None)
        await alice.service.stop()
        action = add_key(alice.service.keys.account.signer_key, contract_id=CONTRACT, methods=BACKUP_SERVICE_METHODS)
        await net.caller(alice.account_id, alice.owner).send_actions(alice.account_id, [action])
        alice.service.start()
        await until_in_force(net, "alice", "new")


@pytest.mark.parametrize("how", ["cancelled", "expired"])
async def test_a_recovery_that_ends_during_the_transfer_moves_no_share(tmp_path, monkeypatch, how):
    timeout = 25 if how == "expired" else 400
    async with world(tmp_path, config={"recovery_timeout_blocks": timeout, "recovery_cooldown_blocks": 400}) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        gate = Gate(monkeypatch, before_frame=2)
        await alice.service.stop()
        alice.service.start()
        await net.replace("alice")
        await asyncio.wait_for(gate.reached.wait(), 20)
        if how == "cancelled":
            await cancel(net, "alice", (await net.state()).recovery_id)
        await net.until_state(Running)
        await net.until_status(alice.service, lambda status: status["step"]["name"] == "Rest")
        gate.opened.set()
        await net.until_status(alice.node("old"), lambda status: status["node"]["running"])
        assert await alice.store("new").staged() is None
        _, metrics = await alice.service.page("metrics")
        assert 'purpose="recovery",result="cancelled"} 1' in metrics
        if how == "cancelled":
            await net.until_status(alice.node("new"), lambda status: status["faults"])
            assert await alice.node("new").codes() == {"key_retired"}


async def test_the_recovery_of_another_account_leaves_this_node_and_its_backup_alone(tmp_path):
    async with world(tmp_path) as net:
        await net.with_backup("alice")
        await net.replace("bob")
        recovery = await net.until_state(Recovery)
        assert recovery.recovering.account_id == net["bob"].account_id
        waiting = await net.until_status(
            net["alice"].node("old"), lambda status: status["recovery"]["name"] == "WaitForRunning"
        )
        assert waiting["node"]["running"]
        status = await net["alice"].service.status()
        assert status["delivered_recovery_id"] is None
        assert status["healthy"]


async def test_a_newcomer_announces_its_node_registers_its_backup_service_and_waits(tmp_path):
    async with world(tmp_path, newcomers=("dave",)) as net:
        dave = net["dave"]
        await net.grant("dave", dave.service)
        dave.service.start()
        await net.until_status(dave.service, lambda status: "not announced" in (status["step"]["reason"] or ""))
        dave.node("old").start()

        async def known():
            record = await net.record("dave")
            return record.node_candidate and record.backup_services[0] and record

        record = await net.until(known)
        assert record.node_candidate.info == dave.info("old")
        assert record.backup_services[0].tls_public_key == dave.service.keys.tls.tls_key
        assert not record.is_participant
        await net.until_status(dave.node("old"), lambda status: status["onboarding"]["name"] == "Wait")
        await net.until_healthy(dave.service)
        await net.until_status(dave.node("old"), lambda status: status["node"]["running"])
        assert isinstance(await net.state(), Running)
