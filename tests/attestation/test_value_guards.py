"""Each value refuses what it cannot be, and each guard before collateral and configuration has its sentence."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.hashes import SHA256

from sharekeeper.attestation.collateral import collateral_parts
from sharekeeper.attestation.collateral_check import Platform, check_collateral
from sharekeeper.attestation.compose_file import ComposeParameters, Images, render_compose_file
from sharekeeper.attestation.compose_rule import check_compose_file
from sharekeeper.attestation.policy import Rendered
from sharekeeper.domain.attestation import CodeHash, Evidence, EvidenceStamp, Measurements
from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import ConfigInvalid
from sharekeeper.hard_launch.config import load_measured
from sharekeeper.protocol.session import BackupClient
from sharekeeper.spec import MAX_COLLATERAL_BYTES
from sharekeeper_devnet.tee.certificates import pem
from sharekeeper_devnet.tee.pki import MockIntel
from tests.attestation.machines import ACCOUNT, MPC_IMAGE, NETWORK, Machine
from tests.hard_launch.values import measured_toml
from tests.protocol.attestation_values import attested

NOW = 1_800_000_000
INTEL = MockIntel.create(NOW, seed=b"the intel of the value guards")
PLATFORM = Platform(fmspc="B0C06F000000", ca="platform")
FIELDS = json.loads(INTEL.collateral())
REGISTERS = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "key_provider_event_digest")
GOOD = dict.fromkeys(REGISTERS, "0" * 96)


def check(now_s=NOW, **changed):
    return check_collateral(json.dumps(FIELDS | changed), PLATFORM, now_s=now_s, root_ca=INTEL.root_ca)


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "sha256:" + "a" * 64, "a" * 64 + "\n"])
def test_what_is_no_image_digest_is_none(text):
    with pytest.raises(ValueError, match="64 lower-case hex digits"):
        CodeHash(text)


@pytest.mark.parametrize("name", REGISTERS)
@pytest.mark.parametrize("text", ["", "0" * 95, "0" * 97, "A" * 96, "0" * 96 + "\n"])
def test_what_is_no_measurement_is_none(name, text):
    with pytest.raises(ValueError, match="96 lower-case hex digits"):
        Measurements(**GOOD | {name: text})


def test_evidence_is_not_older_than_unix_time():
    assert EvidenceStamp(digest=Sha256Hex.of(b""), attested_at=0).attested_at == 0
    with pytest.raises(ValueError, match="since 1970"):
        EvidenceStamp(digest=Sha256Hex.of(b""), attested_at=-1)


@pytest.mark.parametrize("name", ["app_compose", "collateral"])
def test_half_a_character_is_no_text_of_evidence(name):
    with pytest.raises(ValueError, match="UTF-8"):
        Evidence(**{"quote": b"", "events": (), "app_compose": "", "collateral": None, name: "\ud800"})


# --- collateral -----------------------------------------------------------------------------------


def test_collateral_of_a_byte_more_than_anybody_reads_is_refused():
    padded = check_collateral(
        INTEL.collateral().ljust(MAX_COLLATERAL_BYTES), PLATFORM, now_s=NOW, root_ca=INTEL.root_ca
    )
    assert len(padded.text) == MAX_COLLATERAL_BYTES
    with pytest.raises(ValueError, match="characters, at most"):
        check_collateral(padded.text + " ", PLATFORM, now_s=NOW, root_ca=INTEL.root_ca)


@pytest.mark.parametrize("extra", ["before", "after"])
def test_an_issuer_chain_with_a_certificate_more_is_refused(extra):
    chain, root = FIELDS["tcb_info_issuer_chain"], INTEL.root_ca_pem
    with pytest.raises(ValueError, match="3 certificates, not 2"):
        check(tcb_info_issuer_chain=root + chain if extra == "before" else chain + root)


@pytest.mark.parametrize("days", [(-2, -1), (1, 2)])
def test_a_signer_whose_certificate_is_not_valid_now_signs_nothing(days):
    """The root signed it, and its key signed the document: only its dates are wrong."""
    after, before = (datetime.fromtimestamp(NOW, UTC) + timedelta(days=count) for count in days)
    signer = INTEL.signer.certificate
    certificate = (
        x509.CertificateBuilder(signer.issuer, signer.subject, signer.public_key(), signer.serial_number)
        .not_valid_before(after)
        .not_valid_after(before)
        .sign(INTEL.root.key, SHA256())
    )
    with pytest.raises(ValueError, match="certificate of the collateral is not valid now"):
        check(tcb_info_issuer_chain=pem(certificate, INTEL.root.certificate))


@pytest.mark.parametrize("change", [lambda text: text + "00", lambda text: text[:-2], lambda _: ""])
def test_a_signature_of_another_length_is_refused(change):
    with pytest.raises(ValueError, match="the signature of tcb_info has"):
        check(tcb_info_signature=change(FIELDS["tcb_info_signature"]))


@pytest.mark.parametrize("name", ["tcb_info", "pck_crl"])
def test_a_signer_with_a_key_of_another_kind_is_refused(name):
    signer = INTEL.platform_ca.certificate
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    certificate = (
        x509.CertificateBuilder(signer.issuer, signer.subject, key.public_key(), signer.serial_number)
        .not_valid_before(signer.not_valid_before_utc)
        .not_valid_after(signer.not_valid_after_utc)
        .sign(INTEL.root.key, SHA256())
    )
    with pytest.raises(ValueError, match="of a kind that Intel does not use"):
        check(**{f"{name}_issuer_chain": pem(certificate, INTEL.root.certificate)})


def test_a_revocation_list_that_never_ends_is_refused():
    """It would hide every later revocation."""
    listed = x509.load_der_x509_crl(bytes.fromhex(FIELDS["pck_crl"])).public_bytes(serialization.Encoding.DER)
    dates = [match.start() for match in re.finditer(rb"\x17\x0d", listed)]
    endless = bytearray(listed[: dates[1]] + listed[dates[1] + 15 :])
    assert bytes(endless[:2]) in {b"\x30\x81", b"\x30\x82"}
    wide = endless[1] & 0x7F
    length = int.from_bytes(endless[2 : 2 + wide], "big") - 15
    endless[2 : 2 + wide] = length.to_bytes(wide, "big")
    inner = 2 + wide
    assert endless[inner] == 0x30
    wide = endless[inner + 1] & 0x7F
    length = int.from_bytes(endless[inner + 2 : inner + 2 + wide], "big") - 15
    endless[inner + 2 : inner + 2 + wide] = length.to_bytes(wide, "big")
    with pytest.raises(ValueError, match="pck_crl has no date of its next update"):
        collateral_parts(json.dumps(FIELDS | {"pck_crl": endless.hex()}))


# --- compose files --------------------------------------------------------------------------------


def _machine(role):
    return Machine(intel=INTEL, role=role)


@pytest.mark.parametrize("role", list(Role), ids=str)
def test_a_compose_file_without_a_near_node_is_none_of_ours(role):
    machine = _machine(role)
    text = "\n".join(line for line in machine.compose_file.split("\n") if "nearcore" not in line)
    with pytest.raises(ValueError, match=f"does not have the images of a {role}"):
        _check(machine, text)


def test_a_backup_service_beside_an_mpc_node_is_none_of_ours():
    machine = _machine(Role.BACKUP_SERVICE)
    mpc = f"  mpc:\n    image: nearone/mpc-node@sha256:{MPC_IMAGE}\nconfigs:\n"
    with pytest.raises(ValueError, match="does not have the images of a backup-service"):
        _check(machine, machine.compose_file.replace("configs:\n  measured", mpc + "  measured"))


def _check(machine, text):
    return check_compose_file(
        text,
        Rendered(parameters=machine.parameters),
        role=machine.role,
        agent=machine.image,
        allowed=frozenset({machine.image}),
    )


def test_every_volume_that_a_service_uses_is_declared():
    parameters = ComposeParameters(account_id=ACCOUNT, network=NETWORK, transfer="p2p")
    images = Images(agent=CodeHash("a" * 64), near=CodeHash("b" * 64), mpc=CodeHash("c" * 64))
    compose = yaml.safe_load(render_compose_file(Role.NODE, parameters, images))
    mounts = [mount.split(":")[0] for service in compose["services"].values() for mount in service["volumes"]]
    assert {name for name in mounts if not name.startswith("/")} == set(compose["volumes"])


# --- configuration and session --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("slot = 0", 'slot = "0"', "slot: must be a whole number"),
        ("slot = 0", "slot = 0.0", "slot: must be a whole number"),
        ("accepted_advisories = []", "accepted_advisories = {}", "accepted_advisories: must be a list of texts"),
        ("accepted_advisories = []", 'accepted_advisories = "x"', "accepted_advisories: must be a list of texts"),
    ],
)
def test_a_measured_value_of_another_kind_has_its_sentence(tmp_path, old, new, sentence):
    text = measured_toml()
    assert old in text
    path = tmp_path / "measured.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigInvalid, match=sentence):
        load_measured(path)


def test_there_is_nothing_to_prove_before_the_peer_has_given_its_nonce():
    session = attested(BackupClient)
    with pytest.raises(RuntimeError, match="nor before the hellos"):
        session.report_data(session.role)
