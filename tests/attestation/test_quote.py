"""What a quote says before anybody believes it, and what escapes from its verification."""

import dcap_qvl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharekeeper.attestation.collateral import collateral_expires_at_s, collateral_parts
from sharekeeper.attestation.events import SYSTEM_EVENTS, system_events_astray
from sharekeeper.attestation.quote import TdReport, judge_quote
from sharekeeper.spec import MAX_COLLATERAL_BYTES
from sharekeeper_devnet.tee.pki import MockIntel
from tests.attestation.machines import DAY_S, NOW_S, Machine

INTEL = MockIntel.create(NOW_S, seed=b"quotes")
COLLATERAL = INTEL.collateral()
MACHINE = Machine(intel=INTEL)
QUOTE = MACHINE.evidence().quote
HEADER, SGX_BODY, SIGNATURE, TYPE_AND_LENGTH = 48, 384, 636, 6


def judge(quote, collateral=COLLATERAL, now_s=NOW_S):
    return judge_quote(quote, collateral, now_s=now_s, root_ca=INTEL.root_ca)


def test_what_was_verified_is_what_the_quote_claims():
    report = judge(QUOTE).report
    assert report == TdReport.parse(QUOTE)
    assert (report.kind, report.report_data) == ("TD10", MACHINE.report_data)
    assert report.mrtd == MACHINE.guest.measurements.mrtd
    assert report.rtmr3 == MACHINE.guest.rtmr3.hex()


def test_a_quote_of_an_sgx_enclave_is_no_quote_of_a_td():
    header = (3).to_bytes(2, "little") + QUOTE[2:4] + bytes(4) + QUOTE[8:HEADER]
    signature, certified = QUOTE[SIGNATURE : SIGNATURE + 128], QUOTE[SIGNATURE + 128 + TYPE_AND_LENGTH :]
    signed = signature + certified
    with pytest.raises(ValueError, match="SGX enclave"):
        TdReport.parse(header + bytes(SGX_BODY) + len(signed).to_bytes(4, "little") + signed)
    with pytest.raises(ValueError, match="kind SgxEnclave"):
        TdReport.verified({"SgxEnclave": {}})


@settings(max_examples=150)
@given(st.integers(0, len(QUOTE)), st.integers(0, 40), st.binary(max_size=40))
def test_any_bytes_are_a_quote_or_a_value_error(position, removed, inserted):
    changed = QUOTE[:position] + inserted + QUOTE[position + removed :]
    for read in (TdReport.parse, judge):
        try:
            read(changed)
        except ValueError as error:
            told = str(error)
        else:
            continue
        assert "\n" not in told


@settings(max_examples=100)
@given(st.text() | st.integers(0, len(COLLATERAL)).map(lambda length: COLLATERAL[:length]))
def test_any_text_is_collateral_or_a_value_error(text):
    for read in (collateral_parts, lambda value: judge(QUOTE, value)):
        try:
            read(text)
        except ValueError:
            continue
        assert text == COLLATERAL


def test_a_time_before_1970_is_a_value_error():
    with pytest.raises(ValueError, match="negative"):
        judge(QUOTE, now_s=-1)


def test_a_panic_of_the_verifier_costs_one_quote_and_an_interrupt_the_process(monkeypatch):
    panic = type("PanicException", (BaseException,), {})
    for raised, escapes in ((panic("index out of bounds"), ValueError), (KeyboardInterrupt(), KeyboardInterrupt)):

        def fails(_quote, error=raised):
            raise error

        monkeypatch.setattr(dcap_qvl, "parse_quote", fails)
        with pytest.raises(escapes):
            TdReport.parse(QUOTE)


def test_collateral_ends_with_its_first_part_or_by_age_but_for_the_yearly_list():
    parts = collateral_parts(INTEL.collateral(issued_at_s=NOW_S, valid_seconds=30 * DAY_S))
    assert [(part.name, part.yearly) for part in parts] == [
        ("tcb_info", False),
        ("qe_identity", False),
        ("pck_crl", False),
        ("root_ca_crl", True),
    ]
    assert collateral_expires_at_s(parts, max_age_seconds=31 * DAY_S) == NOW_S + 30 * DAY_S
    assert collateral_expires_at_s(parts, max_age_seconds=7 * DAY_S) == NOW_S + 7 * DAY_S
    assert collateral_expires_at_s(parts[3:], max_age_seconds=7 * DAY_S) == NOW_S + 30 * DAY_S


def test_collateral_that_nobody_would_read_is_refused():
    with pytest.raises(ValueError, match=f"at most {MAX_COLLATERAL_BYTES}"):
        collateral_parts(COLLATERAL + " " * MAX_COLLATERAL_BYTES)


def test_events_of_a_start_that_are_as_they_should_be_leave_an_application_to_blame():
    assert system_events_astray([*SYSTEM_EVENTS, "mpc-image-digest"]) is None
    assert system_events_astray([]) == f"missing: {', '.join(SYSTEM_EVENTS)}"
