"""The one compose file of each role: deterministic, minimal, and everything that decides is in it."""

import re
import tomllib
from dataclasses import replace

import pytest
import yaml

from sharekeeper.attestation.compose_file import (
    ADDRESSES_PATH,
    MEASURED_PATH,
    NEAR_RPC_URL,
    ComposeParameters,
    Images,
    render_compose_file,
)
from sharekeeper.domain.attestation import CodeHash, VaultKind
from sharekeeper.domain.identity import AccountId, NetworkId, Role

NETWORK = NetworkId(
    chain_id="testnet",
    genesis_hash="FWJ9kR6KFWoyMoNjpLXXGHeuiy7tEY6GmoFeCA5yuc6b",
    contract_id=AccountId("mpc.testnet"),
)
ELSEWHERE = NetworkId(chain_id="devnet", genesis_hash="1" * 44, contract_id=NETWORK.contract_id)
NODE = ComposeParameters(account_id=AccountId("alice.testnet"), network=NETWORK, transfer="web")
SERVICE = replace(
    NODE, vault=VaultKind.MEMORY, slot=1, accepted_advisories=frozenset({"INTEL-SA-00002", "INTEL-SA-00001"})
)
IMAGES = Images(agent=CodeHash("a" * 64), near=CodeHash("b" * 64))
WITH_MPC = replace(IMAGES, mpc=CodeHash("c" * 64))
FILES = [(Role.NODE, NODE, IMAGES), (Role.NODE, NODE, WITH_MPC), (Role.BACKUP_SERVICE, SERVICE, IMAGES)]

every_file = pytest.mark.parametrize(("role", "parameters", "images"), FILES)


@every_file
def test_the_same_arguments_give_the_same_bytes(role, parameters, images):
    assert render_compose_file(role, parameters, images) == render_compose_file(role, parameters, images)


@every_file
def test_the_measured_configuration_is_in_the_file(role, parameters, images):
    value = _parsed(role, parameters, images)
    content = value["configs"]["measured"]["content"]
    assert content == parameters.measured_toml(role, images.agent)
    assert value["services"]["agent"]["configs"] == [{"source": "measured", "target": MEASURED_PATH}]
    assert "$" not in render_compose_file(role, parameters, images)  # Compose would put the environment in


@every_file
def test_every_image_is_named_by_its_digest(role, parameters, images):
    services = _parsed(role, parameters, images)["services"]
    digests = {name: service["image"].partition("@sha256:")[2] for name, service in services.items()}
    wanted = {"agent": images.agent, "near": images.near, "mpc": images.mpc}
    assert digests == {name: image for name, image in wanted.items() if image}
    assert all(re.fullmatch(r"[a-z/-]+@sha256:[0-9a-f]{64}", service["image"]) for service in services.values())


@every_file
def test_the_near_node_runs_beside_the_agent_and_only_networks_see_it(role, parameters, images):
    near = _parsed(role, parameters, images)["services"]["near"]
    assert f"--chain-id {NETWORK.chain_id} " in near["entrypoint"][-1]
    assert near["ports"] == ["24567:24567"]
    assert tomllib.loads(parameters.measured_toml(role, images.agent))["near_rpc_url"] == NEAR_RPC_URL


@every_file
def test_what_the_host_brings_in_is_the_guest_agent_and_addresses_that_cannot_be_written(role, parameters, images):
    services = _parsed(role, parameters, images)["services"]
    host = {mount for service in services.values() for mount in service["volumes"] if mount.startswith("/")}
    wanted = {"/var/run/dstack.sock:/var/run/dstack.sock", f"/tapp/user_config:{ADDRESSES_PATH}:ro"}
    docker = {"/var/run/docker.sock:/var/run/docker.sock"}
    assert host == (wanted | docker if images.mpc else wanted)
    assert not any(
        {"privileged", "env_file", "network_mode", "pid", "devices"} & service.keys() for service in services.values()
    )


def test_the_backup_services_agent_cannot_start_containers():
    assert "docker.sock" not in render_compose_file(Role.BACKUP_SERVICE, SERVICE, IMAGES)
    with pytest.raises(ValueError, match="runs no MPC node"):
        render_compose_file(Role.BACKUP_SERVICE, SERVICE, WITH_MPC)


def test_the_measured_configuration_says_all_of_it():
    assert tomllib.loads(SERVICE.measured_toml(Role.BACKUP_SERVICE, IMAGES.agent)) == {
        "role": "backup-service",
        "account_id": "alice.testnet",
        "chain_id": "testnet",
        "genesis_hash": NETWORK.genesis_hash,
        "contract_id": "mpc.testnet",
        "near_rpc_url": NEAR_RPC_URL,
        "transfer": "web",
        "vault": "memory",
        "slot": 1,
        "image": "a" * 64,
        "evidence_validity_seconds": 604_800,
        "reattest_seconds": 3600,
        "accepted_advisories": ["INTEL-SA-00001", "INTEL-SA-00002"],
    }
    assert not {"vault", "slot"} & tomllib.loads(NODE.measured_toml(Role.NODE, IMAGES.agent)).keys()


@pytest.mark.parametrize(
    "change",
    [
        {"account_id": AccountId("bob.testnet")},
        {"network": replace(NETWORK, contract_id=AccountId("other.testnet"))},
        {"network": replace(NETWORK, chain_id="other")},
        {"network": replace(NETWORK, genesis_hash="1" * 44)},
        {"transfer": "p2p"},
        {"vault": VaultKind.SEALED},
        {"slot": 0},
        {"evidence_validity_seconds": 86_400},
        {"reattest_seconds": 60},
        {"accepted_advisories": frozenset()},
        {"network": ELSEWHERE, "near_rpc_url": "http://192.0.2.1:3030"},
    ],
)
def test_every_parameter_changes_the_file(change):
    before = replace(SERVICE, network=change.get("network", NETWORK)) if "near_rpc_url" in change else SERVICE
    changed = render_compose_file(Role.BACKUP_SERVICE, replace(SERVICE, **change), IMAGES)
    assert changed != render_compose_file(Role.BACKUP_SERVICE, before, IMAGES)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": replace(NETWORK, chain_id='x"\nrole = "node')}, "chain_id"),
        ({"network": replace(NETWORK, chain_id="a; rm -rf /")}, "chain_id"),
        ({"network": replace(NETWORK, genesis_hash="0" * 40)}, "genesis_hash"),
        ({"near_rpc_url": "http://172.29.77.2:3030/$PATH"}, "near_rpc_url"),
        ({"accepted_advisories": frozenset({'INTEL-SA-00001", "'})}, "accepted_advisories"),
        ({"transfer": "carrier pigeon"}, "transfer"),
        ({"reattest_seconds": 0}, "reattest_seconds"),
        ({"reattest_seconds": 604_800}, "reattest_seconds"),
        ({"slot": 2}, "slot"),
        ({"slot": None}, "slot"),
        ({"vault": None}, "vault"),
    ],
)
def test_parameters_that_contradict_themselves_or_hide_more_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        replace(SERVICE, **change)


@pytest.mark.parametrize(("role", "parameters"), [(Role.NODE, SERVICE), (Role.BACKUP_SERVICE, NODE)])
def test_parameters_of_one_role_write_no_file_of_the_other(role, parameters):
    with pytest.raises(ValueError, match="a vault and a slot"):
        render_compose_file(role, parameters, IMAGES)


def _parsed(role, parameters, images):
    return yaml.safe_load(render_compose_file(role, parameters, images))
