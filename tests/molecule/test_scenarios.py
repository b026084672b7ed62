"""What is said about scenarios and hosts before any host is made; the hosts themselves are played by `make molecule`."""

import os
import subprocess
import sys

import pytest

from tests.molecule.__main__ import read_steps, scenarios, unforeseen
from tests.molecule.hosts.commands import PACKAGES, HostsError
from tests.molecule.hosts.state import CHECKOUT, Disk, Host

SAID = """\
INFO     [base > create] Executing
localhost                  : ok=2    changed=1    unreachable=0    failed=0
INFO     [base > create] Executed: Successful
INFO     [base > check] Executing
base-default               : ok=17   changed=9    unreachable=0    failed=0
INFO     [base > check] Executed: Successful
INFO     [base > converge] Executing
base-default               : ok=20   changed=9    unreachable=0    failed=0
INFO     [base > converge] Executed: Successful
INFO     [base > check] Executing
base-default               : ok=17   changed=0    unreachable=0    failed=0
base-changed               : ok=17   changed={}    unreachable=0    failed=0
INFO     [base > check] Executed: Successful
WARNING  [base > verify] Executing
ERROR    [base > verify] Executed: Failed
"""


def steps(changed):
    return read_steps(iter(SAID.format(changed).splitlines()))


def test_every_step_that_molecule_reports_is_read_with_its_outcome():
    found = [(step.name, step.outcome) for step in steps(0)]
    assert found == [
        ("create", "Successful"),
        ("check", "Successful"),
        ("converge", "Successful"),
        ("check", "Successful"),
        ("verify", "Failed"),
    ]


@pytest.mark.parametrize(("changed", "hosts"), [(0, []), (1, ["base-changed"]), (12, ["base-changed"])])
def test_a_change_foreseen_after_the_converge_is_held_against_the_scenario(changed, hosts):
    assert unforeseen(steps(changed)) == hosts


def test_every_scenario_has_hosts_of_its_own_in_a_network_of_its_own():
    inventories = {name: CHECKOUT / "tests" / "molecule" / name / "inventory" / "hosts.yml" for name in scenarios()}
    addresses = {
        name: {line.split()[-1] for line in path.read_text().splitlines() if "ansible_host:" in line}
        for name, path in inventories.items()
    }
    networks = [{address.rpartition(".")[0] for address in found} for found in addresses.values()]
    assert all(len(network) == 1 for network in networks)
    assert len(set().union(*networks)) == len(networks)


@pytest.mark.parametrize(
    ("name", "address"),
    [("Base", "10.90.1.11"), ("a", "10.91.1.11"), ("a", "10.90.1.1"), ("a", "somewhere"), ("../a", "10.90.1.11")],
)
def test_a_host_that_cannot_be_is_refused_by_name_or_address(name, address):
    with pytest.raises(HostsError, match=name if "10.90.1.11" in address else address):
        Host(name=name, address=address)


@pytest.mark.parametrize("text", ["/var/lib/vault", "vault=16M", "/var/lib/vault=16", "=16M"])
def test_a_disk_without_path_or_size_is_refused(text):
    with pytest.raises(HostsError, match="PATH=SIZE"):
        Disk.parse(text)


@pytest.mark.needs("unshare")
@pytest.mark.parametrize("module", ["tests.molecule", "tests.molecule.hosts"])
def test_without_root_one_line_says_so(module):
    words = [sys.executable, "-m", module, *(["list"] if module.endswith("hosts") else [])]
    done = subprocess.run(
        ["unshare", "--user", *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "need root" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="takes rights from root")
@pytest.mark.needs(*PACKAGES, "setpriv")
def test_a_computer_that_cannot_keep_hosts_says_in_one_line_why():
    for right, said in (("sys_admin", "mount"), ("net_admin", "ip link")):
        words = ["setpriv", f"--bounding-set=-{right}", f"--inh-caps=-{right}", sys.executable]
        words += ["-m", "tests.molecule.hosts", "check"]
        done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, timeout=50, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
