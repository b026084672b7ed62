"""The stand-in's Intel: unmodified dcap-qvl takes its quotes under its root, and faults each quote for its reason."""

import json

import dcap_qvl
import pytest
from cryptography import x509

from sharekeeper.domain.attestation import Measurements
from sharekeeper_devnet.tee.pki import MockIntel
from sharekeeper_devnet.tee.quotes import SIGNED_BYTES
from sharekeeper_devnet.tee.sgx_extension import sgx_extension

_NOW_S = 1_790_000_000
_DAY_S = 86_400
_REPORT_DATA = bytes(range(64))
_RTMR3 = b"\x33" * 48
_MEASUREMENTS = Measurements(
    mrtd="a1" * 48, rtmr0="b2" * 48, rtmr1="c3" * 48, rtmr2="d4" * 48, key_provider_event_digest="e5" * 48
)


@pytest.fixture(scope="module")
def intel():
    return MockIntel.create(_NOW_S, seed=b"a fixed seed")


@pytest.fixture(scope="module")
def quote(intel):
    return intel.quote(_REPORT_DATA, _MEASUREMENTS, _RTMR3)


def _verify(quote, collateral, root_ca, now_s=_NOW_S + 60):
    return dcap_qvl.verify_with_root_ca(quote, dcap_qvl.QuoteCollateralV3.from_json(collateral), root_ca, now_s)


def test_a_quote_verifies_under_the_stand_ins_root_and_says_what_was_asked_for(intel, quote):
    verified = _verify(quote, intel.collateral(), intel.root_ca)
    assert (verified.status, verified.advisory_ids) == ("UpToDate", [])
    report = json.loads(verified.to_json())["report"]["TD10"]
    assert report["report_data"] == _REPORT_DATA.hex()
    assert report["rt_mr3"] == _RTMR3.hex()
    assert [report[name] for name in ("mr_td", "rt_mr0", "rt_mr1", "rt_mr2")] == [
        "a1" * 48,
        "b2" * 48,
        "c3" * 48,
        "d4" * 48,
    ]


def test_intels_root_does_not_vouch_for_the_stand_in(intel, quote):
    with pytest.raises(ValueError, match="InvalidCrlSignature"):
        dcap_qvl.verify(quote, dcap_qvl.QuoteCollateralV3.from_json(intel.collateral()), _NOW_S)


def test_another_stand_in_does_not_vouch_for_this_one(intel, quote):
    other = MockIntel.create(_NOW_S)
    with pytest.raises(ValueError, match="InvalidSignatureForPublicKey"):
        _verify(quote, other.collateral(), other.root_ca)


def test_the_same_seed_is_the_same_hardware(intel, quote):
    again = MockIntel.create(_NOW_S + _DAY_S, seed=b"a fixed seed")
    assert again.root_ca == intel.root_ca
    assert again.secret("x") == intel.secret("x")
    assert _verify(quote, again.collateral(), intel.root_ca, _NOW_S + _DAY_S).status == "UpToDate"


@pytest.mark.parametrize("status", ["SWHardeningNeeded", "ConfigurationNeeded", "OutOfDate"])
def test_a_platform_has_the_status_that_was_asked_for(intel, status):
    quote = intel.quote(_REPORT_DATA, _MEASUREMENTS, _RTMR3, tcb=status)
    assert _verify(quote, intel.collateral(), intel.root_ca).status == status


def test_a_status_that_does_not_exist_is_refused(intel):
    with pytest.raises(ValueError, match="none of the TCB statuses UpToDate"):
        intel.quote(_REPORT_DATA, _MEASUREMENTS, _RTMR3, tcb="Fine")


def test_advisories_can_stand_on_the_level_that_is_up_to_date(intel, quote):
    verified = _verify(quote, intel.collateral(advisories=("INTEL-SA-00001",)), intel.root_ca)
    assert (verified.status, verified.advisory_ids) == ("UpToDate", ["INTEL-SA-00001"])


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"issued_at_s": _NOW_S - 31 * _DAY_S}, "CrlExpired"),
        ({"issued_at_s": _NOW_S + _DAY_S}, "in the future"),
        ({"revoked_hosts": ("host",)}, "CertRevoked"),
        ({"platform_ca_revoked": True}, "CertRevoked"),
    ],
)
def test_faulty_collateral_is_refused_for_its_fault(intel, quote, faults, reason):
    with pytest.raises(ValueError, match=reason):
        _verify(quote, intel.collateral(**faults), intel.root_ca)


def test_a_revoked_host_is_not_another_host(intel):
    other = intel.quote(_REPORT_DATA, _MEASUREMENTS, _RTMR3, host="another")
    assert _verify(other, intel.collateral(revoked_hosts=("host",)), intel.root_ca).status == "UpToDate"


def test_a_debug_td_is_refused(intel):
    quote = intel.quote(_REPORT_DATA, _MEASUREMENTS, _RTMR3, debug=True)
    with pytest.raises(ValueError, match="Debug mode"):
        _verify(quote, intel.collateral(), intel.root_ca)


def test_a_quote_has_the_layout_of_version_4(quote):
    parsed = dcap_qvl.parse_quote(quote)
    assert (parsed.header.version, parsed.header.tee_type, parsed.quote_type()) == (4, 0x81, "TDX")
    assert quote[568:SIGNED_BYTES] == _REPORT_DATA


def test_a_quote_carries_the_chain_of_its_host_up_to_the_root(intel, quote):
    start = quote.index(b"-----BEGIN CERTIFICATE-----")
    leaf, platform_ca, root = x509.load_pem_x509_certificates(quote[start:].rstrip(b"\0"))
    leaf.verify_directly_issued_by(platform_ca)
    platform_ca.verify_directly_issued_by(root)
    assert root == x509.load_pem_x509_certificate(intel.root_ca_pem.encode())
    extension = dcap_qvl.parse_pck_extension_from_pem(quote[start:].rstrip(b"\0"))
    assert extension.ppid == intel.secret("ppid host")[:16]
    assert (extension.fmspc.hex(), extension.pce_svn, extension.cpu_svn[:4]) == (
        "b0c06f000000",
        11,
        b"\x04\x04\x02\x02",
    )


def test_the_sgx_extension_is_laid_out_byte_for_byte_as_intel_lays_it_out():
    """Against the extension of a real PCK certificate, with its public values."""
    made = sgx_extension(
        ppid=bytes.fromhex("d208dfb1002346ae1bb4ef2a3c055292"),
        cpu_svn=(4, 4, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0),
        pce_svn=11,
        pce_id=bytes(2),
        fmspc=bytes.fromhex("b0c06f000000"),
        instance_id=bytes.fromhex("36bd86d03c009fd9d8599a2f926afca1"),
    )
    assert made.value.hex() == _REAL_EXTENSION


_REAL_EXTENSION = (
    "30820226301e060a2a864886f84d010d01010410d208dfb1002346ae1bb4ef2a3c05529230820163060a2a864886f84d010d01023082015330"
    "10060b2a864886f84d010d0102010201043010060b2a864886f84d010d0102020201043010060b2a864886f84d010d0102030201023010060b"
    "2a864886f84d010d0102040201023010060b2a864886f84d010d0102050201043010060b2a864886f84d010d0102060201013010060b2a8648"
    "86f84d010d0102070201003010060b2a864886f84d010d0102080201053010060b2a864886f84d010d0102090201003010060b2a864886f84d"
    "010d01020a0201003010060b2a864886f84d010d01020b0201003010060b2a864886f84d010d01020c0201003010060b2a864886f84d010d01"
    "020d0201003010060b2a864886f84d010d01020e0201003010060b2a864886f84d010d01020f0201003010060b2a864886f84d010d01021002"
    "01003010060b2a864886f84d010d01021102010b301f060b2a864886f84d010d0102120410040402020401000500000000000000003010060a"
    "2a864886f84d010d0103040200003014060a2a864886f84d010d01040406b0c06f000000300f060a2a864886f84d010d01050a0101301e060a"
    "2a864886f84d010d0106041036bd86d03c009fd9d8599a2f926afca13044060a2a864886f84d010d010730363010060b2a864886f84d010d01"
    "07010101ff3010060b2a864886f84d010d0107020101ff3010060b2a864886f84d010d0107030101ff"
)
