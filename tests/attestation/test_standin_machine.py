"""What the drill in hard launch does with machines of the stand-in: prepares them, judges them, waits for what they hold."""

import asyncio
import json

import pytest

from sharekeeper.attestation.app_compose import check_app_compose, compose_hash
from sharekeeper.cli.attestation_input import fetch_shown
from sharekeeper.domain.identity import Role
from sharekeeper.errors import AttestationRefused, AttestationUnavailable, ConfigInvalid, WaitTimedOut
from sharekeeper.hard_launch.config import load_measured
from sharekeeper_devnet.rehearsal import holding
from sharekeeper_devnet.tee.code import code_digests
from sharekeeper_devnet.tee.guest import GuestShape
from sharekeeper_devnet.tee.judge import judge, read_root
from sharekeeper_devnet.tee.machine import load_machine, prepare
from tests.hard_launch.world import attested_world
from tests.ports import free_port

MACHINE = """
name = "alice-node"
role = "{role}"
account_id = "alice.test.near"
chain_id = "devnet"
contract_id = "mpc.test.near"
near_rpc_url = "{rpc_url}"
transfer = "p2p"
guest_agent_socket = "guest.sock"
root_ca_file = "root-ca.der"
{more}
[images]
agent = "{image}"
near = "{image}"
"""


def described(directory, *, rpc_url="http://127.0.0.1:1", role="node", more="", image="1a" * 32):
    (directory / "machine.toml").write_text(MACHINE.format(rpc_url=rpc_url, role=role, more=more, image=image))
    return directory


@pytest.fixture
async def one(tmp_path):
    async with attested_world(tmp_path, names=("alice",), threshold=1) as made:
        yield made


async def judged(one, machine, role):
    alice = one.net["alice"]
    url = f"http://{alice._public(machine)['public_listen']}"
    shown = await asyncio.to_thread(fetch_shown, url)
    return await judge(
        shown,
        role=role,
        account_id=alice.account_id,
        transfer="p2p",
        near_rpc_url=alice.rpc_url,
        root_ca=one.rack.intel.root_ca,
        rpc=one.net.rpc,
    )


async def test_an_operator_sees_of_each_machine_what_it_proved_and_waits_for_what_it_holds(one):
    net, alice = one.net, one.net["alice"]
    await one.put("alice", "old", "backup")
    await net.with_backup("alice")
    for machine, role, daemon in [
        ("old", Role.NODE, alice.node("old")),
        ("backup", Role.BACKUP_SERVICE, alice.service),
    ]:
        found = await judged(one, machine, role)
        assert found["tls_public_key"] == str(daemon.keys.tls.tls_key)
        assert (len(found["checks"]), found["rtmr0"]) == (14, GuestShape().measurements.rtmr0)
    with pytest.raises(AttestationRefused, match="check 8"):
        await judged(one, "old", Role.BACKUP_SERVICE)
    held = await holding(f"http://127.0.0.1:{alice.service.health_port}/status", 10)
    assert held["current_backup"]["epoch_id"] == net.keyset.epoch_id
    json.dumps(held)


async def test_a_machine_is_prepared_from_its_description_and_a_repeat_changes_nothing(one, tmp_path):
    directory = described(tmp_path, rpc_url=one.net["alice"].rpc_url)
    machine = load_machine(directory)
    first, again = await prepare(machine), await prepare(machine)
    assert (first["changed"], again["changed"]) == (True, False)
    app_compose = (directory / "app-compose.json").read_text()
    assert first["compose_hash"] == compose_hash(app_compose)
    compose_file = check_app_compose(app_compose, secure_time=True)
    measured = load_measured(directory / "measured.toml")
    assert measured.parameters.network == one.net.network
    assert all(line in compose_file for line in (directory / "measured.toml").read_text().splitlines())


async def test_a_backup_service_without_a_slot_cannot_be_prepared(one, tmp_path):
    directory = described(tmp_path, rpc_url=one.net["alice"].rpc_url, role="backup-service")
    with pytest.raises(ConfigInvalid, match="needs a vault and a slot"):
        await prepare(load_machine(directory))


def test_every_mistake_of_a_machines_description_is_told(tmp_path):
    directory = described(tmp_path, role="king", more="memory = 1", image="no hash")
    with pytest.raises(ConfigInvalid) as fault:
        load_machine(directory)
    for part in ("role: ", "memory: is unknown", "images.agent", "images.near"):
        assert part in str(fault.value)


async def test_who_never_holds_the_keyset_is_given_up_with_a_reason():
    with pytest.raises(WaitTimedOut, match="it does not answer"):
        await holding(f"http://127.0.0.1:{free_port()}/status", 0.2)


def test_a_rack_that_was_never_switched_on_is_named(tmp_path):
    with pytest.raises(AttestationUnavailable, match="start the rack first"):
        read_root(tmp_path / "root-ca.der")


def test_the_digests_of_the_code_are_three_and_stay_the_same():
    assert code_digests() == code_digests()
    assert len(set(code_digests().values())) == 3
