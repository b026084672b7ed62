"""`sharekeeper attestation` with what the contract allows: computed before the vote, verified after it."""

import json

import pytest

from sharekeeper.attestation.evidence import encode_evidence
from sharekeeper.domain.identity import Role
from sharekeeper_devnet.tee.pki import MockIntel
from tests.attestation.machines import NOW_S, Machine

from .cli import call
from .test_cli_operation import chain_options, signed_by
from .world import world


@pytest.fixture
async def net(tmp_path):
    async with world(tmp_path) as network:
        yield network


async def test_the_votes_that_measure_names_make_the_contract_allow_the_machine(net, tmp_path, capsys):
    machine = Machine(intel=MockIntel.create(NOW_S, seed=b"votes"), role=Role.BACKUP_SERVICE)
    explain = _explain(machine, tmp_path, chain_options(net))
    unvoted = (await call(capsys, *explain)).json
    assert _refusing(unvoted) == {"quote", "measurements", "image digest", "compose file"}

    image, measured = (await call(capsys, *_measure(machine, tmp_path))).json["votes"]
    entry = tmp_path / "measurements.json"
    entry.write_text(json.dumps(measured["measurements"]))
    votes = [["backup-service-code-hash", one] for one in (image["code_hash"], machine.images.near)]
    for vote in (*votes, ["measurements", entry]):
        for name in ("alice", "bob"):
            assert (await call(capsys, "operator", "vote", *vote, *signed_by(net, name, tmp_path))).status == 0

    voted = (await call(capsys, *explain)).json
    assert _refusing(voted) == {"quote"}  # the stand-in's root is not Intel's, and no option takes another


def _refusing(facts):
    return {check["name"] for check in facts["checks"] if check["ok"] is False}


def _explain(machine, tmp_path, chain):
    parameters, evidence, policy = machine.parameters, tmp_path / "evidence.json", tmp_path / "policy.toml"
    evidence.write_bytes(encode_evidence(machine.evidence(collateral=machine.intel.collateral())))
    policy.write_text(
        f'[compose]\naccount_id = "{parameters.account_id}"\nchain_id = "{parameters.network.chain_id}"\n'
        f'genesis_hash = "{parameters.network.genesis_hash}"\ncontract_id = "{parameters.network.contract_id}"\n'
        f'transfer = "{parameters.transfer}"\n'
    )
    options = ["--evidence", evidence, "--policy", policy, "--role", "backup-service", "--at", NOW_S]
    return ["attestation", "explain", *options, "--report-data", machine.report_data.hex(), *chain, "--json"]


def _measure(machine, tmp_path):
    app_compose, registers = tmp_path / "app-compose.json", tmp_path / "registers.json"
    app_compose.write_text(machine.guest.app_compose)
    registers.write_text(json.dumps(machine.guest.tcb_info()))
    options = ["--app-compose", app_compose, "--role", "backup-service", "--image", machine.image]
    enclave = ["--key-provider-id", machine.shape.key_provider_id, "--registers", registers]
    return ["attestation", "measure", *options, *enclave, "--json"]
