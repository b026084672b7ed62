"""The example inventories: complete, without a mistake in a name, and the same in what they have in common."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.roles.readme import CHECKOUT, ROLES, specification

EXAMPLES = ("testnet", "mainnet")
INVENTORY = CHECKOUT / "inventory"

pytestmark = pytest.mark.timeout(120)


def play(inventory, playbook):
    """Whether it succeeds, and what Ansible printed. No machine is reached."""
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--inventory", str(inventory), playbook],
        cwd=CHECKOUT,
        env={**os.environ, "LC_ALL": "C.UTF-8", "ANSIBLE_STDOUT_CALLBACK": "default"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode == 0, done.stdout + done.stderr


def variables(inventory):
    """Every variable that the inventory's files set, with the file that sets it."""
    return {
        name: path
        for path in sorted((inventory / "group_vars").rglob("*.yml"))
        for name in yaml.safe_load(path.read_text(encoding="utf-8"))
    }


@pytest.fixture
def copy(tmp_path):
    """A copy of an example, to break."""
    return shutil.copytree(INVENTORY / "testnet", tmp_path / "testnet")


def without(copy, name):
    path = variables(copy)[name]
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(rf"^{name}: .*\n", "", text, flags=re.MULTILINE), encoding="utf-8")
    return copy


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_preflight_of_the_playbooks_accepts_an_example(example):
    accepted, output = play(INVENTORY / example, "playbooks/preflight.yml")
    assert accepted, output


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_role_accepts_the_machines_of_an_example(example):
    accepted, output = play(INVENTORY / example, "tests/roles/inventories.yml")
    assert accepted, output


@pytest.mark.parametrize("name", ["backup_agent_operator_recipient", "mpc_node_account_id", "sharekeeper_genesis_hash"])
def test_a_variable_that_is_missing_is_named_before_anything_is_touched(copy, name):
    accepted, output = play(without(copy, name), "playbooks/preflight.yml")
    assert not accepted
    assert name in output


def test_two_machines_at_one_address_are_refused(copy):
    hosts = copy / "hosts.yml"
    hosts.write_text(hosts.read_text(encoding="utf-8").replace("10.20.0.12", "10.20.0.11"), encoding="utf-8")
    accepted, output = play(copy, "playbooks/preflight.yml")
    assert not accepted
    assert "ansible_host" in output


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_variable_of_a_role_is_one_that_it_documents(example):
    documented = {name for role in ROLES for name in specification(role)["options"]}
    named = {name for name in variables(INVENTORY / example) if name.startswith(tuple(f"{role}_" for role in ROLES))}
    assert named
    assert named <= documented


def test_what_belongs_to_the_network_has_the_same_names_everywhere():
    names = {
        inventory: {name for name in variables(CHECKOUT / inventory) if name.startswith("sharekeeper_")}
        for inventory in (
            "inventory/testnet",
            "inventory/mainnet",
            "inventory/localnet",
            "tests/molecule/topology/inventory",
        )
    }
    assert names["inventory/testnet"] == names["inventory/mainnet"]
    assert all(found <= names["inventory/testnet"] for found in names.values()), names


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_example_holds_a_private_key(example):
    for path in (INVENTORY / example).rglob("*.yml"):
        assert not re.search(r"ed25519:\w{80,}|AGE-SECRET-KEY|PRIVATE KEY", path.read_text(encoding="utf-8")), path
