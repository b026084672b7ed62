"""What a machine in hard launch is told: all that decides is measured, and the rest is addresses."""

import pytest

from sharekeeper.attestation.compose_file import NEAR_RPC_URL
from sharekeeper.config_values import EndpointConfig, NetAddress, Transfer
from sharekeeper.domain.attestation import VaultKind
from sharekeeper.domain.identity import Role
from sharekeeper.errors import ConfigInvalid
from sharekeeper.hard_launch.config import load_backup_service_addresses, load_measured, load_node_addresses
from sharekeeper.spec import MAINNET_GENESIS_HASH

from .values import (
    BACKUP_SERVICE_ADDRESSES,
    IMAGE,
    NODE_ADDRESSES,
    PCCS,
    addresses_toml,
    measured_toml,
    parameters,
)


@pytest.fixture
def write(tmp_path):
    def written(text, name="config.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return written


@pytest.fixture
def mistakes(write):
    def told(load, text, *more):
        with pytest.raises(ConfigInvalid) as caught:
            load(write(text), *more)
        return str(caught.value)

    return told


@pytest.fixture
def measured(write):
    return lambda **changed: load_measured(write(measured_toml(**changed), "measured.toml"))


@pytest.mark.parametrize("role", list(Role))
def test_what_the_compose_file_embeds_is_read_whole(write, role):
    found = load_measured(write(measured_toml(role, accepted_advisories=frozenset({"INTEL-SA-00615"}))))
    assert found.role is role
    assert found.image == IMAGE
    assert found.parameters == parameters(role, accepted_advisories=frozenset({"INTEL-SA-00615"}))
    assert found.near.rpc_url == NEAR_RPC_URL
    assert found.near.genesis_hash == found.parameters.network.genesis_hash
    assert found.transfer is Transfer.P2P


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('role = "backup-service"', 'role = "operator"', "role: must be one of node, backup-service"),
        ('role = "backup-service"', 'role = "node"', "vault: a backup service needs a vault and a slot"),
        ('vault = "memory"', 'vault = "disk"', "vault: must be one of memory, sealed"),
        ('vault = "memory"\n', "", "vault: a backup service has a vault and a slot"),
        ("slot = 0", "slot = 2", "vault: a backup service has a vault and a slot of 0..1"),
        ("slot = 0", "slot = true", "slot: must be a whole number"),
        (f'image = "{IMAGE}"', 'image = "latest"', "image: an image digest is 64"),
        (f'image = "{IMAGE}"\n', "", "image: is missing"),
        ('transfer = "p2p"', 'transfer = "ftp"', "transfer: must be one of p2p, web"),
        (
            'chain_id = "devnet"',
            'chain_id = "mainnet"',
            f"genesis_hash: mainnet has genesis hash {MAINNET_GENESIS_HASH}",
        ),
        ('chain_id = "devnet"', 'chain_id = "dev net"', "chain_id: 'dev net' cannot stand in a measured"),
        ("reattest_seconds = 3600", "reattest_seconds = 604800", "reattest_seconds: must be above 0 and below"),
        ("reattest_seconds = 3600", "reattest_seconds = 0", "reattest_seconds: must be a whole number, 1 or more"),
        ("accepted_advisories = []", "accepted_advisories = [3]", "accepted_advisories: must be a list of texts"),
        ("accepted_advisories = []", 'accepted_advisories = ["all"]', "accepted_advisories: 'all' cannot stand"),
        ('near_rpc_url = "http://172.29.77.2:3030"', 'near_rpc_url = "https://rpc.example/x"', "near_rpc_url: "),
        ("slot = 0", "slot = 0\nunsafe_no_attestation = true", "unsafe_no_attestation: is refused: in hard launch"),
        ("slot = 0", "slot = 0\nunsafe_no_attestation = false", "unsafe_no_attestation: is refused: in hard launch"),
        ("slot = 0", 'slot = 0\npolicy = "automatic"', "policy: is unknown"),
        ("slot = 0", 'slot = 0\nroot_ca = "mine.der"', "root_ca: is unknown; remove it"),
        ("slot = 0", 'slot = 0\noperator_recipient = "age1"', "operator_recipient: is unknown; remove it"),
    ],
)
def test_each_wrong_measured_value_has_its_sentence(mistakes, old, new, sentence):
    text = measured_toml()
    assert old in text
    assert sentence in mistakes(load_measured, text.replace(old, new))


def test_every_mistake_of_the_measured_file_is_told_at_once(mistakes):
    told = mistakes(load_measured, 'role = "x"\npolicy = "automatic"\n')
    for name in ("role", "account_id", "chain_id", "genesis_hash", "contract_id", "transfer", "image", "policy"):
        assert f"  {name}: " in told


def test_the_addresses_of_a_node_are_read(write):
    found = load_node_addresses(write(addresses_toml(NODE_ADDRESSES)), Transfer.P2P)
    assert found.pccs == (PCCS,)
    assert found.url == "http://127.90.0.11:8090"
    assert found.listen == NetAddress(host="127.90.0.11", port=8079)
    assert found.public_listen == NetAddress(host="127.90.0.11", port=8080)


def test_a_node_with_web_endpoints_shows_its_public_data_beside_them(write):
    found = load_node_addresses(write(addresses_toml(NODE_ADDRESSES)), Transfer.WEB)
    assert found.public_listen == found.listen


def test_the_addresses_of_a_backup_service_are_read(write, measured):
    found = load_backup_service_addresses(write(addresses_toml(BACKUP_SERVICE_ADDRESSES)), measured())
    assert found.sibling == NetAddress(host="127.90.0.13", port=8079)
    assert found.endpoints == (EndpointConfig(name="far", url="https://rpc.example"),)
    assert found.node_web_url == "https://node.example"


def test_what_the_compose_file_publishes_is_the_default(write, measured):
    service = load_backup_service_addresses(write(f'pccs = ["{PCCS}"]\n'), measured(vault=VaultKind.SEALED))
    assert (service.listen.port, service.public_listen.port, service.sibling) == (8079, 8080, None)
    node = load_node_addresses(write(f'pccs = ["{PCCS}"]\nurl = "http://a.example"\n'), Transfer.WEB)
    assert (node.listen.port, node.public_listen.port) == (8080, 8080)


def test_a_vault_in_memory_needs_a_second_site(mistakes, measured):
    told = mistakes(load_backup_service_addresses, f'pccs = ["{PCCS}"]\n', measured())
    assert 'sibling: is missing: vault "memory" needs a second backup service' in told


MEASURED_ELSEWHERE = [
    'policy = "automatic"',
    'account_id = "mallory.test.near"',
    'role = "node"',
    'chain_id = "mine"',
    'genesis_hash = "x"',
    'contract_id = "mine.near"',
    'near_rpc_url = "http://mine:3030"',
    'rpc_url = "http://mine:3030"',
    'vault = "sealed"',
    'transfer = "web"',
    "slot = 1",
    f'image = "{IMAGE}"',
    "evidence_validity_seconds = 99999999",
    "reattest_seconds = 1",
    'accepted_advisories = ["INTEL-SA-00001"]',
    'operator_recipient = "age1"',
    'root_ca = "mine.der"',
    "quorum = 1",
    'keys_dir = "mine"',
    'state_dir = "mine"',
    'supervisor = ["sh"]',
]


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("line", MEASURED_ELSEWHERE)
def test_the_addresses_hold_nothing_that_must_be_measured(mistakes, measured, role, line):
    if role is Role.NODE:
        told = mistakes(load_node_addresses, f"{line}\n{addresses_toml(NODE_ADDRESSES)}", Transfer.P2P)
    else:
        text = f"{line}\n{addresses_toml(BACKUP_SERVICE_ADDRESSES)}"
        told = mistakes(load_backup_service_addresses, text, measured())
    assert "1 mistake(s)" in told
    name = line.split(" ")[0]
    assert f"  {name}: is unknown; " in told
    assert "must be measured" in told


@pytest.mark.parametrize("said", ["true", "false"])
def test_the_addresses_cannot_leave_attestation_out(mistakes, measured, said):
    line = f"unsafe_no_attestation = {said}\n"
    told = mistakes(load_node_addresses, line + addresses_toml(NODE_ADDRESSES), Transfer.P2P)
    assert "unsafe_no_attestation: is refused" in told
    told = mistakes(load_backup_service_addresses, line + addresses_toml(BACKUP_SERVICE_ADDRESSES), measured())
    assert "unsafe_no_attestation: is refused" in told


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("pccs", [], "pccs: must be a list of 1 to 8 urls"),
        ("pccs", [PCCS] * 9, "pccs: must be a list of 1 to 8 urls"),
        ("pccs", ["ftp://a"], "pccs: must be a url"),
        ("pccs", ["https://name:password@pccs.example"], "pccs: must be urls without a name or password"),
        ("health_address", "0.0.0.0:9311", "health_address: must be an address of this machine's loopback"),
        ("sibling", "nowhere", "sibling: must be an address"),
        ("endpoints", [{"name": "own", "url": "https://a.example"}], "endpoints[1].name: 'own' is taken"),
        (
            "endpoints",
            [{"name": "x", "url": "http://172.29.77.2:3030"}],
            "endpoints[1].url: has the host and port of another",
        ),
        ("endpoints", [{"name": "x", "url": "https://a.example", "final": True}], "endpoints[1].final: is unknown"),
    ],
)
def test_each_wrong_address_has_its_sentence(mistakes, measured, name, value, sentence):
    text = addresses_toml({**BACKUP_SERVICE_ADDRESSES, name: value})
    assert sentence in mistakes(load_backup_service_addresses, text, measured())
