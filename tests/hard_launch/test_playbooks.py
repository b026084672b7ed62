"""The operator's playbooks on guests that run: the real daemons on CVMs of the stand-in, asked from outside only."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sharekeeper.domain.keyset import Sha256Hex
from tests.integration.world import CHAIN_ID, CONTRACT

from .world import attested_world

CHECKOUT = Path(__file__).resolve().parents[2]
GUESTS = {"mpc-1": "old", "backup-1": "backup"}
NOBODY = "ed25519:3FwWphCj47PA3D8ErKeVNzqn2ckAKrfuixrvvfGrDxUx"

pytestmark = pytest.mark.timeout(240)


class Controller:
    """Alice's controller, with the inventory of mainnet on her machines of the rack. `said`: what Ansible printed."""

    def __init__(self, one, directory):
        self.one, self.directory, self.alice = one, directory, one.net["alice"]
        self.records = directory / "machines"
        self.inventory = directory / "inventory"
        shutil.copytree(CHECKOUT / "inventory" / "mainnet", self.inventory)
        (directory / "root-ca.der").write_bytes(one.rack.intel.root_ca)
        script = Path(__file__).with_name("stand_in_root.py")
        self._write(
            self.inventory / "group_vars" / "all" / "rack.yml",
            {
                "ansible_connection": "local",
                "ansible_become": False,
                "ansible_python_interpreter": sys.executable,
                "sharekeeper_chain_id": CHAIN_ID,
                "sharekeeper_genesis_hash": "",
                "sharekeeper_contract_id": CONTRACT,
                "sharekeeper_account_id": self.alice.account_id,
                "sharekeeper_program": [sys.executable, str(script), str(directory / "root-ca.der")],
                "sharekeeper_rpc_url": one.net.chain.rpc_url,
                "sharekeeper_operator_key": self.alice.owner.text().reveal().decode(),
                "sharekeeper_records": str(self.records),
                "sharekeeper_wait_tries": 20,
            },
        )
        near = {"near_node_rpc_address": one.net.chain.rpc_url.removeprefix("http://")}
        self._write(self.inventory / "host_vars" / "near-1.yml", near)
        for host in GUESTS:
            self.guest(host)

    def guest(self, host, **more):
        """What the inventory says of the guest of that machine; `more` comes on top."""
        machine = GUESTS[host]
        daemon = self.alice.daemons[machine]
        policy = self.directory / f"{host}.toml"
        policy.write_text(f'[compose]\nfiles = ["{Sha256Hex.of(daemon.compose_file.encode())}"]\n')
        self._write(
            self.inventory / "host_vars" / f"{host}.yml",
            {
                "tee_host_mode": "tdx",
                "sharekeeper_guest_url": f"http://{self.alice._public(machine)['public_listen']}",
                "sharekeeper_guest_policy": str(policy),
                **more,
            },
        )

    async def play(self, playbook, *words):
        """Whether it succeeds, and what Ansible printed. The daemons run on."""
        return await asyncio.to_thread(self._play, CHECKOUT / "playbooks" / playbook, words)

    def some_plays(self, playbook, *names):
        """A playbook of those plays of `playbook` alone."""
        plays = yaml.safe_load((CHECKOUT / "playbooks" / playbook).read_text(encoding="utf-8"))
        text = json.dumps([play for play in plays if play["name"] in names])
        for directory in ("vars", "tasks"):
            text = text.replace(f'"{directory}/', f'"{CHECKOUT}/playbooks/{directory}/')
        path = self.directory / playbook
        path.write_text(text)
        return path

    def record(self, host):
        return json.loads((self.records / f"{host}.json").read_text())

    def _play(self, playbook, words):
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-i", str(self.inventory), str(playbook), *words],
            cwd=CHECKOUT,
            env={
                **os.environ,
                "LC_ALL": "C.UTF-8",
                "ANSIBLE_HOME": str(self.directory / "ansible"),
                "ANSIBLE_STDOUT_CALLBACK": "default",
            },
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        return done.returncode == 0, " ".join((done.stdout + done.stderr).split())

    @staticmethod
    def _write(path, values):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(values))
        path.chmod(0o600)


@pytest.fixture
async def controller(tmp_path):
    """The machines stand in the rack and run; none of them may call the contract."""
    async with attested_world(tmp_path, names=("alice",), threshold=1) as one:
        await one.put("alice", "old", "backup")
        made = Controller(one, tmp_path)
        for daemon in made.alice.daemons.values():
            daemon.start()
        yield made


async def may_call(controller, machine):
    """Whether the account has an access key for that machine's own key."""
    signer_key = controller.alice.daemons[machine].keys.account.signer_key
    return await controller.one.net.rpc.access_key(controller.alice.account_id, signer_key, None) is not None


async def test_guests_are_onboarded_by_verified_keys_and_looked_after_from_outside(controller):
    node = controller.alice.node("old").keys
    by_hand = {"tls_public_key": str(node.tls.tls_key), "account_public_key": str(node.account.signer_key)}
    controller.guest("mpc-1", sharekeeper_guest_policy="", sharekeeper_guest_keys=by_hand)
    succeeded, said = await controller.play("onboard.yml")
    assert succeeded, said
    for host, machine in GUESTS.items():
        keys = controller.alice.daemons[machine].keys
        assert controller.record(host) == {
            "tls_public_key": str(keys.tls.tls_key),
            "account_public_key": str(keys.account.signer_key),
        }
    assert (await controller.alice.service.status())["current_backup"] is not None
    for playbook in ("verify.yml", "backup.yml"):
        succeeded, said = await controller.play(playbook)
        assert succeeded, said
        assert "Nothing outside of its guest opens the backups of backup-1" in said
    await controller.alice.node("old").stop()
    before = controller.some_plays(
        "recover.yml", "See that there is something to recover from", "Approve the replacement"
    )
    succeeded, said = await controller.play(before, "-e", "recover_onto=mpc-2")
    assert succeeded, said
    assert "skipping: [backup-1] TASK [Ask the backup service of a guest" in said
    assert said.count("skipping: [backup-1]") == 4


async def test_a_guest_that_measures_something_else_gets_no_access_key_and_the_check_is_named(controller):
    policy = controller.directory / "other.toml"
    policy.write_text(f'[compose]\nfiles = ["{"0" * 64}"]\n')
    controller.guest("backup-1", sharekeeper_guest_policy=str(policy))
    succeeded, said = await controller.play("onboard.yml")
    assert not succeeded
    assert "The guest of backup-1 is refused, and gets no access key. check 14: " in said
    assert "The guest of mpc-1 is refused" not in said
    assert not await may_call(controller, "backup")
    assert not controller.records.exists()


@pytest.mark.parametrize("given", [{}, {"sharekeeper_guest_keys": {"tls_public_key": NOBODY}}], ids=["none", "one"])
async def test_without_a_policy_or_both_keys_a_guest_is_refused_before_it_is_asked(controller, given):
    controller.guest("backup-1", sharekeeper_guest_policy="", **given)
    succeeded, said = await controller.play("onboard.yml")
    assert not succeeded
    assert "Name in sharekeeper_guest_policy the policy file" in said
    assert not await may_call(controller, "backup")


async def test_keys_of_a_guest_are_not_rotated_and_nothing_is_begun(controller):
    succeeded, said = await controller.play("rotate_keys.yml", "-e", f"rotate_keys_retire={NOBODY}")
    assert not succeeded
    assert "The backup service of backup-1 runs in a guest" in said
    assert "docs/runbooks/upgrade-hard-launch.md" in said
    assert "Put keys and vault aside" not in said
