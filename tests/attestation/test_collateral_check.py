"""Collateral is kept only if Intel signed it for this platform and all of it is valid now."""

import json
from datetime import UTC, datetime
from pathlib import Path

import dcap_qvl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.attestation.collateral import collateral_parts
from sharekeeper.attestation.collateral_check import Platform, check_collateral, platform_of
from sharekeeper.domain.attestation import Measurements
from sharekeeper.spec import MAX_COLLATERAL_AGE_SECONDS, MAX_COLLATERAL_BYTES
from sharekeeper_devnet.tee.pki import COLLATERAL_SECONDS, MockIntel

NOW = 1_800_000_000
INTEL = MockIntel.create(NOW, seed=b"i" * 32)
OTHER = MockIntel.create(NOW, seed=b"o" * 32)
PLATFORM = Platform(fmspc="B0C06F000000", ca="platform")
GOOD = INTEL.collateral()
FIELDS = json.loads(GOOD)

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "tdx"
REAL_TIME = 1_786_622_400
real = pytest.mark.skipif(
    not VECTORS.exists(), reason="the real quote (near/mpc, crates/test-utils/assets) is not here"
)


def check(text=GOOD, platform=PLATFORM, now_s=NOW, root_ca=INTEL.root_ca):
    return check_collateral(text, platform, now_s=now_s, root_ca=root_ca)


def changed(**fields):
    return json.dumps(FIELDS | fields)


def resigned(name, change, intel=INTEL):
    """A document with a change, signed by the TCB signer again."""
    document = json.dumps(json.loads(FIELDS[name]) | change, separators=(",", ":"))
    return changed(**{name: document, f"{name}_signature": intel.signer.sign(document.encode()).hex()})


# --- accepted -------------------------------------------------------------------------------------


def test_what_intel_published_is_accepted_until_the_first_document_expires():
    checked = check()
    assert checked.text == GOOD
    assert checked.issued_at_s == (NOW,) * 4
    assert checked.expires_at_s == NOW + COLLATERAL_SECONDS


def test_collateral_that_dcap_qvl_wrote_is_accepted():
    assert check(dcap_qvl.QuoteCollateralV3.from_json(GOOD).to_json()).expires_at_s == NOW + COLLATERAL_SECONDS


@real
def test_real_collateral_is_intels_at_its_own_time():
    quote = bytes(json.loads((VECTORS / "quote.json").read_text()))
    text = (VECTORS / "collateral.json").read_text()
    checked = check(text, platform_of(quote), REAL_TIME, None)
    assert checked.expires_at_s > REAL_TIME
    with pytest.raises(ValueError, match="counts from"):
        check(text, platform_of(quote), checked.expires_at_s, None)
    with pytest.raises(ValueError, match="root is not Intel's"):
        check(text, platform_of(quote), REAL_TIME, INTEL.root_ca)


def test_a_revoked_platform_is_what_intel_says_and_no_lie():
    assert check(INTEL.collateral(revoked_hosts=("host",))).issued_at_s == (NOW,) * 4


def test_a_document_that_was_replaced_makes_collateral_older():
    old, new = check(), check(INTEL.collateral(issued_at_s=NOW + 5), now_s=NOW + 5)
    assert old.older_than(new)
    assert not new.older_than(old)
    assert not old.older_than(old)


# --- refused --------------------------------------------------------------------------------------


def test_without_another_root_only_intels_counts():
    with pytest.raises(ValueError, match=r"the collateral's root is not Intel's, it calls itself .*Mock SGX Root CA"):
        check(root_ca=None)


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity", "pck_crl", "root_ca_crl"])
def test_a_document_of_another_signer_is_refused(name):
    foreign = json.loads(OTHER.collateral(issued_at_s=NOW - 1))
    fields = {name: foreign[name]} | {key: foreign[key] for key in (f"{name}_signature",) if key in foreign}
    with pytest.raises(ValueError, match="not signed by its issuer"):
        check(changed(**fields))


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity", "pck_crl"])
def test_a_whole_chain_of_another_root_is_refused(name):
    foreign = json.loads(OTHER.collateral())
    fields = {key: foreign[key] for key in (name, f"{name}_signature", f"{name}_issuer_chain") if key in foreign}
    with pytest.raises(ValueError, match="root is not Intel's"):
        check(changed(**fields))


def test_a_root_of_the_same_name_does_not_make_a_foreign_signer_good():
    chain = OTHER.publish().signing_chain.split("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"
    root = INTEL.root_ca_pem
    document = FIELDS["tcb_info"]
    fields = {"tcb_info_issuer_chain": chain + root, "tcb_info_signature": OTHER.signer.sign(document.encode()).hex()}
    with pytest.raises(ValueError, match="not signed by its issuer"):
        check(changed(**fields))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_chain_of_another_length_is_refused(count):
    with pytest.raises(ValueError):
        check(changed(tcb_info_issuer_chain=INTEL.root_ca_pem * count))


def test_a_revoked_authority_signs_nothing():
    with pytest.raises(ValueError, match=r"Platform CA.* is revoked"):
        check(INTEL.collateral(platform_ca_revoked=True))


@pytest.mark.parametrize("at", [NOW - 1, NOW + COLLATERAL_SECONDS])
def test_expired_and_future_collateral_is_refused(at):
    with pytest.raises(ValueError, match="counts from"):
        check(now_s=at)


def test_collateral_that_is_too_old_is_refused_whatever_its_own_date_says():
    old = INTEL.collateral(valid_seconds=2 * MAX_COLLATERAL_AGE_SECONDS)
    assert check(old, now_s=NOW + MAX_COLLATERAL_AGE_SECONDS - 1).expires_at_s == NOW + MAX_COLLATERAL_AGE_SECONDS
    with pytest.raises(ValueError, match="31 days ago"):
        check(old, now_s=NOW + MAX_COLLATERAL_AGE_SECONDS)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("tcb_info", {"id": "SGX"}, "not that of TDX"),
        ("qe_identity", {"id": "QE"}, "not that of TDX"),
        ("tcb_info", {"fmspc": "00806F050000"}, "of platform 00806F050000"),
        ("tcb_info", {"issueDate": "2026-08-13T10:45:38"}, "does not match format"),
        ("tcb_info", {"issueDate": "yesterday"}, "yesterday"),
        ("qe_identity", {"nextUpdate": 5}, "not a string"),
    ],
)
def test_a_document_for_something_else_is_refused(name, change, reason):
    with pytest.raises(ValueError, match=reason):
        check(resigned(name, change))


def test_the_revocation_list_of_another_authority_is_refused():
    with pytest.raises(ValueError, match="processor authority"):
        check(platform=Platform(fmspc=PLATFORM.fmspc, ca="processor"))


@pytest.mark.parametrize("name", ["pck_crl", "root_ca_crl"])
def test_a_revocation_list_of_a_version_that_is_not_is_refused(name):
    with pytest.raises(ValueError, match="of a kind that Intel does not use"):
        check(changed(**{name: FIELDS[name].replace("020101", "020128", 1)}))
    with pytest.raises(ValueError, match="is no revocation list"):
        collateral_parts(changed(**{name: FIELDS[name].replace("020101", "020128", 1)}))


def named(name):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def test_a_signer_of_another_kind_of_key_is_refused():
    root_key, signer_key = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
    since, until = (datetime.fromtimestamp(NOW + shift, UTC) for shift in (-1, 1000))
    root, signer = (
        x509.CertificateBuilder(named("root"), named(name), key.public_key(), number, since, until).sign(
            root_key, SHA256()
        )
        for number, (name, key) in enumerate((("root", root_key), ("signer", signer_key)), 1)
    )
    chain = "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in (signer, root))
    chains = {f"{name}_issuer_chain": chain for name in ("tcb_info", "qe_identity", "pck_crl")}
    with pytest.raises(ValueError, match="of a kind that Intel does not use"):
        check(changed(**chains), root_ca=root.public_bytes(serialization.Encoding.DER))


def test_a_signer_whose_time_is_over_is_refused():
    with pytest.raises(ValueError, match="certificate of the collateral is not valid now"):
        check(now_s=NOW + 200 * 365 * 86_400)


def test_a_signature_of_another_length_is_refused():
    with pytest.raises(ValueError, match="has 63 bytes"):
        check(changed(tcb_info_signature=FIELDS["tcb_info_signature"][:-2]))


def test_collateral_without_end_is_refused_unread():
    with pytest.raises(ValueError, match="characters"):
        check(GOOD + " " * MAX_COLLATERAL_BYTES)


@given(position=st.integers(0, len(GOOD) - 1), character=st.characters(codec="ascii"))
def test_no_changed_character_lets_another_collateral_through(position, character):
    """Either it is refused, or what Intel signed stands in it as before."""
    text = GOOD[:position] + character + GOOD[position + 1 :]
    try:
        check(text)
    except ValueError:
        return
    signed = ("tcb_info", "qe_identity", "pck_crl", "root_ca_crl")
    assert all(json.loads(text)[name].lower() == FIELDS[name].lower() for name in signed)


@given(st.text(max_size=200))
def test_any_text_is_a_value_or_refused(text):
    with pytest.raises(ValueError):
        check(text)


@pytest.mark.parametrize("quote", [b"", b"\x04", b"x" * 5000])
def test_what_is_no_quote_has_no_platform(quote):
    with pytest.raises(ValueError):
        platform_of(quote)


def test_the_platform_is_read_off_the_quotes_own_certificate():
    digest = "a1" * 48
    measured = Measurements(mrtd=digest, rtmr0=digest, rtmr1=digest, rtmr2=digest, key_provider_event_digest=digest)
    assert platform_of(INTEL.quote(bytes(64), measured, bytes(48))) == PLATFORM
