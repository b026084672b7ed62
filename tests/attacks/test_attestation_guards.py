"""Attacks by the host around what is measured: names, attributes, certificates and words that nobody measured.

As in `test_attestation`, the attacker owns the host, its network and its name service, and runs TEEs of his own.
"""

import json
import re
import tomllib
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
import yaml

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.attestation.policy import AttestationPolicy, Rendered
from sharekeeper.attestation.verifier import explain_evidence
from sharekeeper.domain.identity import AccountId, NetworkId, Role
from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.errors import AttestationRefused
from sharekeeper.spec import MAINNET_GENESIS_HASH, TESTNET_GENESIS_HASH
from sharekeeper_devnet.tee import quotes
from sharekeeper_devnet.tee.pki import MockIntel
from tests.attacks.test_attestation import refusal
from tests.attestation.chains import AllowingChain
from tests.attestation.machines import DAY_S, NOW_S, Machine, allowed_code, event_named, with_events
from tests.attestation.rack import running_rack

AT = BlockRef(height=7, hash="7", timestamp_ns=1)
DATA = bytes(range(64))


@pytest.fixture(scope="module")
def intel():
    return MockIntel.create(NOW_S, seed=b"the rack behind the guards")


@pytest.fixture(scope="module")
def collateral(intel):
    return intel.collateral(issued_at_s=NOW_S - DAY_S)


# --- the NEAR node inside the TEE -------------------------------------------------------------------


@pytest.mark.parametrize("role", list(Role), ids=str)
def test_no_name_service_is_asked_where_the_near_node_inside_the_tee_is(intel, role):
    """While its container is down its name would be asked outside, and the host would answer with a node of its own."""
    machine = Machine(intel=intel, role=role)
    compose = yaml.safe_load(machine.compose_file)
    url = tomllib.loads(compose["configs"]["measured"]["content"])["near_rpc_url"]
    own = compose["services"]["near"]["networks"]["default"]["ipv4_address"]
    assert url == f"http://{own}:3030"
    assert re.fullmatch(r"[0-9.]+", own)


def test_no_other_container_gets_the_address_of_the_near_node(intel):
    compose = yaml.safe_load(Machine(intel=intel, role=Role.NODE).compose_file)
    pool = compose["networks"]["default"]["ipam"]["config"][0]
    own = ip_address(compose["services"]["near"]["networks"]["default"]["ipv4_address"])
    assert own in ip_network(pool["subnet"])
    assert own not in ip_network(pool["ip_range"])
    assert [name for name, service in compose["services"].items() if "networks" in service] == ["near"]


def test_a_measured_configuration_cannot_name_the_near_node_by_a_name(intel):
    with pytest.raises(ValueError, match="near_rpc_url"):
        replace(Machine(intel=intel).parameters, near_rpc_url="http://near:3030")


@pytest.mark.parametrize(
    ("chain_id", "genesis_hash"),
    [("mainnet", MAINNET_GENESIS_HASH), ("testnet", TESTNET_GENESIS_HASH), ("other", MAINNET_GENESIS_HASH)],
)
def test_on_a_public_network_no_operator_measures_a_near_node_of_his_own(intel, chain_id, genesis_hash):
    """Both his machines would say so and accept each other, and their TEEs would believe any vote he shows."""
    network = NetworkId(chain_id=chain_id, genesis_hash=genesis_hash, contract_id=AccountId("v1.signer"))
    good = replace(Machine(intel=intel).parameters, network=network)
    with pytest.raises(ValueError, match="near_rpc_url: on"):
        replace(good, near_rpc_url="http://198.51.100.7:3030")


# --- what a host may choose of a TD -------------------------------------------------------------------


@pytest.mark.parametrize("bit", [*range(28), *range(29, 64)])
def test_a_td_with_any_attribute_that_is_not_demanded_is_refused(intel, collateral, monkeypatch, bit):
    attributes = int.from_bytes(quotes._ATTRIBUTES, "little") | 1 << bit
    monkeypatch.setattr(quotes, "_ATTRIBUTES", attributes.to_bytes(8, "little"))
    machine = Machine(intel=intel)
    assert refusal(machine, machine.evidence(), collateral)[0] in {1, 5}


def test_a_td_whose_memory_faults_the_host_may_answer_is_refused(intel, collateral, monkeypatch):
    monkeypatch.setattr(quotes, "_ATTRIBUTES", bytes(8))
    machine = Machine(intel=intel)
    assert refusal(machine, machine.evidence(), collateral)[0] in {1, 5}


# --- collateral ---------------------------------------------------------------------------------------


async def test_a_revoked_host_that_hides_its_platform_does_not_choose_the_collateral(tmp_path):
    """A quote may leave out its certificates where the collateral has them; then nobody can tell its platform."""
    async with running_rack(tmp_path) as rack:
        machine = Machine(intel=rack.intel, name="service")
        port = await rack.attestation(machine, AllowingChain(allowed_code(machine), SystemClock()))
        before = json.loads(rack.intel.collateral())
        rack.pccs.revoked_hosts = (machine.name,)
        honest = await port.prove(DATA)
        place = honest.quote.index(b"-----BEGIN")
        chain = honest.quote[place:].rstrip(b"\0").decode()
        for hidden in (bytes(len(chain) + 1), b"#" * (len(chain) + 1)):
            shown = replace(
                honest,
                quote=honest.quote[:place] + hidden,
                collateral=json.dumps(before | {"pck_certificate_chain": chain}),
            )
            with pytest.raises(AttestationRefused, match=r"check 1 \(quote\)"):
                await port.check(shown, role=machine.role, report_data=DATA, at=AT)
        with pytest.raises(AttestationRefused, match=r"(?i)revoked"):
            await port.check(honest, role=machine.role, report_data=DATA, at=AT)


# --- what people read -----------------------------------------------------------------------------------


def test_no_word_of_evidence_can_pass_for_a_word_of_ours(intel, collateral):
    """A terminal obeys control characters, and a line break could feign a check that succeeded."""
    machine = Machine(intel=intel)
    evidence = machine.evidence()
    event = event_named(evidence, "system-ready")
    forged = with_events(evidence, replace(event, name="x\x1b[2K\n 7 ok event log"))
    checks = explain_evidence(
        forged,
        role=machine.role,
        report_data=machine.report_data,
        allowed=allowed_code(machine),
        policy=AttestationPolicy(compose=Rendered(parameters=machine.parameters)),
        now_s=NOW_S,
        collateral=collateral,
        root_ca=intel.root_ca,
    )
    assert all(check.detail.isprintable() for check in checks)


def test_what_a_refusal_says_is_short_however_long_the_evidence(intel, collateral):
    machine = Machine(intel=intel)
    unknown = json.dumps({f"{'key' * 40}{number}": 0 for number in range(500)})
    guest = machine.started(machine.compose_file, app_compose=unknown)
    _, text = refusal(machine, machine.evidence(guest=guest), collateral)
    assert len(text) < 2000
