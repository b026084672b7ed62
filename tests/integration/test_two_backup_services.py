"""An account with two backup services: each keeps a backup of its own, and either brings the node back."""

import asyncio

import pytest

from sharekeeper import errors
from sharekeeper.domain.protocol_state import Recovery, Running

from .cli import call
from .test_recovery import until_in_force
from .world import CHAIN_ID, CONTRACT, World, world

BOTH_TRANSFERS = pytest.mark.parametrize("transfer", ["p2p", "web"])


async def with_two_backups(net: World, name: str) -> None:
    """Both services of the operator run beside the node agent, and each vault holds the backup."""
    operator = net[name]
    await asyncio.gather(net.grant(name, operator.service), net.grant(name, operator.second))
    for daemon in (operator.node("old"), operator.service, operator.second):
        daemon.start()
    await net.until_healthy(operator.node("old"), operator.service, operator.second)


@BOTH_TRANSFERS
async def test_two_services_register_in_their_slots_and_back_up_at_the_same_time(tmp_path, transfer):
    async with world(tmp_path, transfer=transfer) as net:
        alice = net["alice"]
        await with_two_backups(net, "alice")
        record = await net.record("alice")
        assert record.backup_service_tls_keys == tuple(
            service.keys.tls.tls_key for service in (alice.service, alice.second)
        )
        for slot, service in enumerate((alice.service, alice.second)):
            status = await service.status()
            assert (status["slot"], len(status["backups"])) == (slot, 1)
        _, metrics = await alice.node("old").page("metrics")
        assert 'sharekeeper_exchanges_total{purpose="backup",result="durable"} 2.0' in metrics


@BOTH_TRANSFERS
async def test_when_the_service_of_slot_0_is_dead_the_one_of_slot_1_brings_the_node_back(tmp_path, transfer):
    async with world(tmp_path, transfer=transfer) as net:
        alice = net["alice"]
        await with_two_backups(net, "alice")
        await alice.service.stop()
        await alice.node("old").stop()
        await net.replace("alice")
        recovery = await net.until_state(Recovery)
        await until_in_force(net, "alice", "new")
        await net.until_healthy(alice.second)
        assert (await alice.second.status())["delivered_recovery_id"] == recovery.recovery_id
        assert isinstance(await net.state(), Running)


@BOTH_TRANSFERS
async def test_two_living_services_hand_out_for_one_recovery_and_do_not_disturb_each_other(tmp_path, transfer):
    async with world(tmp_path, transfer=transfer) as net:
        alice = net["alice"]
        await with_two_backups(net, "alice")
        await alice.node("old").stop()
        await net.replace("alice")
        await until_in_force(net, "alice", "new")
        await net.until_healthy(alice.service, alice.second, alice.node("new"))
        for service in (alice.service, alice.second):
            assert len((await service.status())["backups"]) == 1


async def test_a_service_that_takes_over_slot_0_leaves_the_one_of_slot_1_in_force(tmp_path):
    async with world(tmp_path) as net:
        alice = net["alice"]
        await with_two_backups(net, "alice")
        await alice.service.stop()
        before = alice.daemons.pop("backup")
        before.directory.rename(before.directory.with_name("retired"))
        await net.grant("alice", alice.service)
        alice.service.start()
        await net.until_healthy(alice.service, alice.second)
        assert (await net.record("alice")).backup_service_tls_keys == (
            alice.service.keys.tls.tls_key,
            alice.second.keys.tls.tls_key,
        )


async def test_a_service_stays_in_the_slot_that_has_its_key_whatever_its_configuration_says(tmp_path):
    async with world(tmp_path) as net:
        alice = net["alice"]
        await with_two_backups(net, "alice")
        await alice.second.stop()
        text = alice.second.config_path.read_text()
        alice.second.config_path.write_text(text.replace("slot = 1", "slot = 0"))
        alice.second.start()
        await net.until_healthy(alice.second, alice.service)
        assert (await alice.second.status())["slot"] == 1
        assert (await net.record("alice")).slot_of(alice.service.keys.tls.tls_key) == 0


async def test_the_command_line_shows_both_slots_and_waits_for_the_service_that_is_meant(tmp_path, capsys):
    async with world(tmp_path) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        wait = ["wait", "--until", "registered", "--timeout", "1s"]
        assert (await call(capsys, *wait, "--config", alice.service.config_path)).status == 0
        late = await call(capsys, *wait, "--config", alice.second.config_path)
        assert late.status == errors.WaitTimedOut.exit_status, "another service of the account does not count"
        await net.grant("alice", alice.second)
        alice.second.start()
        await net.until_healthy(alice.second)
        for config in (alice.second.config_path, alice.node("old").config_path):
            assert (await call(capsys, *wait, "--config", config)).status == 0
        chain = ["--rpc-url", net.chain.rpc_url, "--chain-id", CHAIN_ID, "--contract-id", CONTRACT]
        named = ["--account-id", alice.account_id, *chain]
        assert (await call(capsys, *wait, "--tls-key", alice.second.keys.tls.tls_key, *named)).status == 0
        shown = (await call(capsys, "chain", "account", *named, "--json")).json
        assert (shown["type"], shown["is_participant"], shown["node_candidate"]) == ("chain_account", True, None)
        assert shown["node"]["url"] == alice.url("old")
        assert [(keys["slot"], keys["tls_public_key"]) for keys in shown["backup_services"]] == [
            (slot, str(service.keys.tls.tls_key)) for slot, service in enumerate((alice.service, alice.second))
        ]
        plain = (await call(capsys, "chain", "account", *named)).out
        assert f"backup service in slot 1 tls key {alice.second.keys.tls.tls_key}" in " ".join(plain.split())
