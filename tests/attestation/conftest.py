"""Machines on the TEE host stand-in, one of each role."""

import pytest

from sharekeeper.domain.identity import Role
from sharekeeper_devnet.tee.pki import MockIntel
from tests.attestation.machines import NOW_S, Machine, allowed_code


@pytest.fixture(scope="session")
def intel():
    """The mock of Intel that all machines of a test share."""
    return MockIntel.create(NOW_S, seed=b"the rack of the tests")


@pytest.fixture(scope="session")
def collateral(intel):
    """Its collateral, a day old."""
    return intel.collateral(issued_at_s=NOW_S - 86_400)


@pytest.fixture(params=list(Role), ids=str)
def machine(request, intel):
    """A machine on the rack: its role, account, keys and CVM."""
    return Machine(intel=intel, role=request.param)


@pytest.fixture
def evidence(machine, collateral):
    """What that machine shows for its registration."""
    return machine.evidence(collateral=collateral)


@pytest.fixture
def allowed(machine):
    """What the contract allows after the votes for that machine."""
    return allowed_code(machine)
