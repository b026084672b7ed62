"""The roles on a real machine of localnet: first in check mode, then for real, again, and changed."""

import json
import os
import re
import subprocess
import sys

import pyrage
import pytest

from sharekeeper_devnet.supervise import Daemon, sweep
from tests.drills.running import CHECKOUT, free_address
from tests.roles.readme import ROLES

SERVICES = {"near": "near-node", "alice_mpc": "node-agent", "alice_backup": "backup-service"}
RECAP = re.compile(r"^(\w+)\s*: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=0", re.MULTILINE)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    """Runs the playbook on a run directory of its own; all daemons are stopped at the end."""
    run = tmp_path_factory.mktemp("roles") / "run"
    run.mkdir(mode=0o700)
    rpc = free_address()
    variables = {
        "localnet_rpc_address": rpc,
        "localnet_address": f"127.91.{os.getpid() % 250}.1",
        "near_node_init_arguments": ["--rpc-addr", rpc],
        "backup_agent_operator_recipient": str(pyrage.x25519.Identity.generate().to_public()),
    }
    yield Machines(run, variables)
    sweep(run, grace_seconds=5)


class Machines:
    def __init__(self, run, variables):
        self.run = run
        self._variables = variables

    def play(self, *words, **changed):
        """Plays every role; how much each machine changed, and what Ansible printed."""
        command = [sys.executable, "-m", "ansible", "playbook", "tests/roles/roles.yml", *words]
        result = subprocess.run(
            [*command, "-e", json.dumps(self._variables | changed)],
            cwd=CHECKOUT,
            env={
                **os.environ,
                "SHAREKEEPER_RUN": str(self.run),
                "LC_ALL": "C.UTF-8",
                "ANSIBLE_HOME": str(self.run),
                "ANSIBLE_STDOUT_CALLBACK": "default",  # its recap is read below
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return {host: int(count) for host, count in RECAP.findall(result.stdout)}, result.stdout + result.stderr

    def pids(self):
        daemons = {host: Daemon(name, self.run / host / "processes") for host, name in SERVICES.items()}
        return {host: daemon.status().pid for host, daemon in daemons.items()}

    def hosts(self):
        return sorted(host for host in SERVICES if (self.run / host).exists())


def test_check_mode_works_on_an_untouched_machine_and_touches_nothing(machines):
    changed, output = machines.play("--check")
    assert changed.keys() == SERVICES.keys(), output
    assert machines.hosts() == []


def test_the_roles_run_every_daemon_and_a_second_run_changes_nothing(machines):
    first, output = machines.play()
    assert first.keys() == SERVICES.keys(), output
    assert all(first.values()), output
    before = machines.pids()
    assert None not in before.values()
    second, output = machines.play()
    assert second == dict.fromkeys(SERVICES, 0), output
    assert machines.pids() == before


def test_check_mode_foresees_no_change_afterwards(machines):
    changed, output = machines.play("--check", "--diff")
    assert changed == dict.fromkeys(SERVICES, 0), output


def test_a_changed_configuration_restarts_what_reads_it_and_keeps_the_keys(machines):
    before, keys = machines.pids(), (machines.run / "alice_backup" / "keys" / "tls_key").read_bytes()
    changed, output = machines.play(backup_agent_old_keyset_grace_seconds=7)
    assert changed["alice_backup"] > 0, output
    assert changed["near"] == changed["alice_mpc"] == 0, output
    after = machines.pids()
    assert after["alice_backup"] not in (None, before["alice_backup"])
    assert (after["near"], after["alice_mpc"]) == (before["near"], before["alice_mpc"])
    assert "old_keyset_grace_seconds = 7" in (machines.run / "alice_backup" / "backup.toml").read_text()
    assert (machines.run / "alice_backup" / "keys" / "tls_key").read_bytes() == keys


def test_variables_that_cannot_work_are_refused_before_anything_changes(machines):
    before = machines.pids()
    changed, output = machines.play(
        near_node_rpc_address="nowhere", mpc_node_chain_id="testnet", backup_agent_operator_recipient="AGE-SECRET-KEY-1"
    )
    assert "near" not in changed
    assert "near_node_rpc_address a host:port" in output
    assert machines.pids() == before


def test_every_role_is_played_here_or_on_hosts_of_its_own():
    text = (CHECKOUT / "tests" / "roles" / "roles.yml").read_text()
    for path in (CHECKOUT / "tests" / "molecule").glob("*/converge.yml"):
        text += path.read_text()
    for path in (CHECKOUT / "roles").glob("*/tasks/*.yml"):
        text += path.read_text()  # roles that other roles include
    assert [role for role in ROLES if not re.search(rf"(role|name): {role}$", text, re.MULTILINE)] == []
