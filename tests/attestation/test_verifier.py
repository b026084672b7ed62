"""Each numbered check of the verifier refuses alone what no other check would."""

import json
from dataclasses import fields, replace

import pytest

from sharekeeper.attestation.app_compose import build_app_compose
from sharekeeper.attestation.checks import CHECKS, Case, check_debug, check_td_report
from sharekeeper.attestation.compose_file import render_compose_file
from sharekeeper.attestation.events import IMAGE_DIGEST
from sharekeeper.attestation.policy import AttestationPolicy, Listed, Rendered
from sharekeeper.attestation.quote import Judgement, TdReport
from sharekeeper.attestation.verifier import explain_evidence, verify_evidence
from sharekeeper.domain.attestation import Measurements
from sharekeeper.domain.identity import AccountId, Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import AttestationRefused
from sharekeeper_devnet.tee.guest import GuestShape, event_of
from sharekeeper_devnet.tee.tcb import ADVISORY
from tests.attestation.machines import (
    DAY_S,
    NEAR_IMAGE,
    NOW_S,
    Machine,
    allowed_code,
    code_hash,
    event_named,
    quoted_over,
    with_events,
)

SIGNATURE = 640
ENCLAVE = "6b5ed02e549a1c30aaa8e3171a045f1f449b0017353ef595e78e39c348c98d01"


class Given:
    """A machine's evidence and arguments that every check accepts; a test changes one thing."""

    def __init__(self, machine, collateral):
        self.machine = machine
        self.evidence = machine.evidence()
        self.arguments = {
            "role": machine.role,
            "report_data": machine.report_data,
            "allowed": allowed_code(machine),
            "policy": AttestationPolicy(compose=Rendered(parameters=machine.parameters)),
            "now_s": NOW_S,
            "collateral": collateral,
            "root_ca": machine.intel.root_ca,
        }

    def explain(self, evidence=None, **changed):
        return explain_evidence(evidence or self.evidence, **self.arguments | changed)

    def verify(self, evidence=None, **changed):
        return verify_evidence(evidence or self.evidence, **self.arguments | changed)

    def refused_by(self, evidence=None, **changed):
        """The one check that says no: its name and what it says. `verify` ends with it too."""
        checks = self.explain(evidence, **changed)
        failing = [check for check in checks if check.ok is False]
        assert len(failing) == 1, failing
        with pytest.raises(AttestationRefused) as refusal:
            self.verify(evidence, **changed)
        check = failing[0]
        assert str(refusal.value) == f"check {check.number} ({check.name}): {check.detail}"
        assert refusal.value.check == check.name
        return check.name, check.detail

    def allowing(self, **changed):
        return replace(self.arguments["allowed"], **changed)


@pytest.fixture
def given(machine, collateral):
    return Given(machine, collateral)


def test_the_evidence_that_all_tests_start_from_passes_every_check(given):
    verdict = given.verify()
    assert [(check.number, check.name) for check in verdict.checks] == [
        (number, name) for number, (name, _) in enumerate(CHECKS, 1)
    ]
    assert all(check.ok and check.detail for check in verdict.checks)
    assert verdict.code_hash == given.machine.image
    assert verdict.measurements == given.machine.guest.measurements


def test_the_number_of_each_check_stands_in_its_docstring():
    for number, (_, check) in enumerate(CHECKS, 1):
        assert check.__doc__.startswith(f"{number}. ")


def test_1_a_quote_that_the_quoting_enclave_did_not_sign(given):
    quote = bytearray(given.evidence.quote)
    quote[SIGNATURE] ^= 1
    name, _ = given.refused_by(replace(given.evidence, quote=bytes(quote)))
    assert name == "quote"


def test_1_after_a_refused_quote_the_explanation_goes_on_with_what_it_claims(given):
    checks = given.explain(root_ca=None)
    assert [check.ok for check in checks] == [False, True, None] + [True] * 11
    assert checks[2].detail.startswith("not reached: ")


def test_1_bytes_that_are_no_quote_leave_nothing_to_explain(given):
    checks = {check.name: check for check in given.explain(replace(given.evidence, quote=b"nothing"))}
    assert checks["quote"].ok is False
    assert all(checks[name].ok is None for name in ("td report", "debug", "report data", "event log", "measurements"))


def test_2_collateral_that_is_valid_but_too_old(given):
    aged = replace(given.arguments["policy"], max_collateral_age_seconds=DAY_S)
    name, detail = given.refused_by(policy=aged)
    assert name == "collateral"
    assert f"older than {DAY_S} seconds" in detail


@pytest.mark.parametrize(("issued_s", "words"), [(NOW_S + 1, "after now"), (NOW_S - 30 * DAY_S, "before now")])
def test_2_collateral_of_another_time(given, issued_s, words):
    collateral = given.machine.intel.collateral(issued_at_s=issued_s, valid_seconds=30 * DAY_S)
    checks = given.explain(collateral=collateral)
    assert checks[1].ok is False
    assert words in checks[1].detail
    with pytest.raises(AttestationRefused):
        given.verify(collateral=collateral)


def test_2_the_verdict_ends_with_the_collateral_or_the_evidences_validity(given):
    assert given.verify().expires_at_s == NOW_S + 7 * DAY_S
    collateral = given.machine.intel.collateral(issued_at_s=NOW_S - DAY_S, valid_seconds=2 * DAY_S)
    assert given.verify(collateral=collateral).expires_at_s == NOW_S + DAY_S


@pytest.mark.parametrize("status", ["OutOfDate", "SWHardeningNeeded", "ConfigurationNeeded"])
def test_3_a_platform_that_is_not_up_to_date_unless_its_advisories_are_accepted(intel, collateral, status):
    given = Given(Machine(intel=intel, tcb=status), collateral)
    name, detail = given.refused_by()
    assert name == "tcb status"
    assert status in detail
    assert ADVISORY in detail
    accepting = replace(given.arguments["policy"], accepted_advisories=frozenset({ADVISORY}))
    verdict = given.verify(policy=accepting)
    assert (verdict.tcb_status, verdict.advisories) == (status, frozenset({ADVISORY}))


def test_3_one_accepted_advisory_does_not_cover_another(intel, collateral):
    given = Given(Machine(intel=intel, tcb="OutOfDate"), collateral)
    accepting = replace(given.arguments["policy"], accepted_advisories=frozenset({"INTEL-SA-00001"}))
    assert given.refused_by(policy=accepting)[0] == "tcb status"


@pytest.mark.parametrize(("status", "advisories"), [("Revoked", {ADVISORY}), ("OutOfDate", set())])
def test_3_no_policy_accepts_a_revoked_platform_or_one_without_advisories(given, status, advisories):
    case = _judged(given, tcb_status=status, advisories=frozenset(advisories))
    case.policy = replace(case.policy, accepted_advisories=frozenset({ADVISORY}))
    with pytest.raises(ValueError, match="only UpToDate is allowed"):
        dict(CHECKS)["tcb status"](case)


@pytest.mark.parametrize("kind", ["TD15", "TD15Ex"])
def test_4_a_report_of_another_form(given, kind):
    case = _judged(given)
    check_td_report(case)
    case.judgement = replace(case.judgement, report=replace(case.judgement.report, kind=kind))
    with pytest.raises(ValueError, match=f"kind {kind}, not TD10"):
        check_td_report(case)


@pytest.mark.parametrize("bit", range(8))
def test_5_a_td_that_can_be_looked_into(given, bit):
    case = _judged(given)
    check_debug(case)
    attributes = bytes([1 << bit]) + case.judgement.report.td_attributes[1:]
    case.judgement = replace(case.judgement, report=replace(case.judgement.report, td_attributes=attributes))
    with pytest.raises(ValueError, match="can be debugged"):
        check_debug(case)


def test_5_a_debug_quote_is_refused_whole(intel, collateral):
    given = Given(Machine(intel=intel, debug=True), collateral)
    assert {check.name for check in given.explain() if check.ok is False} == {"quote", "debug"}


@pytest.mark.parametrize("position", range(0, 64, 7))
def test_6_report_data_that_differs_anywhere(given, position):
    wanted = bytearray(given.machine.report_data)
    wanted[position] ^= 0x80
    name, detail = given.refused_by(report_data=bytes(wanted))
    assert name == "report data"
    assert given.machine.report_data.hex() in detail


def test_6_report_data_of_another_length_is_a_programmers_error(given):
    with pytest.raises(ValueError, match="64 bytes"):
        given.verify(report_data=given.machine.report_data[:48])


@pytest.mark.parametrize("missing", ["system-preparing", "storage-fs"])
def test_7_an_event_log_that_lacks_an_event(given, missing):
    log = [event for event in given.evidence.events if event.name != missing]
    name, detail = given.refused_by(with_events(given.evidence, *log))
    assert name == "event log"
    assert f"missing: {missing}" in detail


def test_7_an_event_log_that_hides_what_an_application_added(given):
    shown = given.evidence
    more = quoted_over(given.machine, *shown.events, event_of("something", b"else"))
    name, detail = given.refused_by(with_events(more, *shown.events))
    assert name == "event log"
    assert "an event of an application" in detail


def test_7_an_event_log_with_a_doubled_event(given):
    first = given.evidence.events[0]
    name, detail = given.refused_by(with_events(given.evidence, first, *given.evidence.events))
    assert name == "event log"
    assert f"doubled: {first.name}" in detail


def test_7_an_event_log_in_another_order(given):
    one, two, *others = given.evidence.events
    name, detail = given.refused_by(with_events(given.evidence, two, one, *others))
    assert name == "event log"
    assert f"out of order: '{two.name}'" in detail


def test_7_an_event_that_claims_another_digest(given):
    one, two, *others = given.evidence.events
    name, detail = given.refused_by(with_events(given.evidence, replace(one, digest=two.digest), two, *others))
    assert name == "event log"
    assert "event 1 (system-preparing)" in detail


def test_7_events_of_other_registers_and_types_do_not_count(given):
    one = given.evidence.events[0]
    foreign = (replace(one, imr=2), replace(one, event_type=4))
    given.verify(with_events(given.evidence, *foreign, *given.evidence.events))


def test_7_a_name_cannot_swallow_the_beginning_of_a_payload(intel, collateral):
    given = Given(Machine(intel=intel), collateral)
    hidden = event_of(f"{IMAGE_DIGEST[Role.BACKUP_SERVICE]}:evil", b"rest")
    log = (*given.evidence.events[:-1], hidden, given.evidence.events[-1])
    name, detail = given.refused_by(quoted_over(given.machine, *log))
    assert name == "event log"
    assert "colon" in detail


@pytest.mark.parametrize("which", ["compose-hash", "key-provider", "image"])
def test_8_an_event_that_was_extended_twice(given, which):
    image = IMAGE_DIGEST[given.machine.role]
    event = event_named(given.evidence, image if which == "image" else which)
    checks = given.explain(quoted_over(given.machine, *given.evidence.events, event))
    assert [check.name for check in checks if check.ok is False] == ["events"]
    assert f"2 of '{event.name}'" in checks[7].detail


def test_8_a_start_without_the_image_event(given):
    checks = given.explain(quoted_over(given.machine, *given.evidence.events[:-1]))
    assert [check.name for check in checks if check.ok is False] == ["events"]
    assert "0 of " in checks[7].detail


def test_8_an_image_event_before_the_system_was_ready(given):
    *others, ready, image = given.evidence.events
    name, detail = given.refused_by(quoted_over(given.machine, *others, image, ready))
    assert name == "events"
    assert detail == f"'{image.name}' comes before 'system-ready'"


def test_8_a_compose_hash_after_the_boot_was_measured(given):
    log = list(given.evidence.events)
    compose, booted = (next(i for i, e in enumerate(log) if e.name == n) for n in ("compose-hash", "boot-mr-done"))
    log[compose], log[booted] = log[booted], log[compose]
    assert given.refused_by(quoted_over(given.machine, *log))[0] == "events"


def test_8_an_image_event_of_the_other_role_beside_its_own(given):
    other = next(name for role, name in IMAGE_DIGEST.items() if role is not given.machine.role)
    foreign = event_of(other, bytes.fromhex(given.machine.image))
    name, detail = given.refused_by(quoted_over(given.machine, *given.evidence.events, foreign))
    assert name == "events"
    assert f"'{other}' of another role" in detail


def test_9_an_app_compose_that_was_not_measured(given):
    other = build_app_compose("another-name", given.machine.compose_file)
    assert given.refused_by(replace(given.evidence, app_compose=other))[0] == "compose hash"


@pytest.mark.parametrize(
    "payload",
    [
        {"name": "kms", "id": ENCLAVE},
        {"name": "local-sgx", "id": ""},
        {"name": "local-sgx", "id": ENCLAVE, "more": "x"},
        {"name": "none"},
        ["local-sgx"],
    ],
)
def test_10_a_key_provider_that_is_not_the_local_enclave(given, payload):
    name, _ = _with_key_provider(given, json.dumps(payload).encode())
    assert name == "key provider"


def test_10_a_key_provider_that_is_not_json(given):
    assert _with_key_provider(given, b"\xff")[0] == "key provider"


def test_11_measurements_that_nobody_voted_for(given):
    name, detail = given.refused_by(allowed=given.allowing(measurements=frozenset()))
    assert (name, detail.partition(";")[0]) == ("measurements", "the contract allows no measurements")


@pytest.mark.parametrize("register", [field.name for field in fields(Measurements)])
def test_11_a_mixture_of_two_allowed_entries(given, register):
    own = given.machine.guest.measurements
    other = replace(own, **{field.name: "ab" * 48 for field in fields(Measurements) if field.name != register})
    almost = replace(own, **{register: "cd" * 48})
    name, detail = given.refused_by(allowed=given.allowing(measurements=frozenset({other, almost})))
    assert name == "measurements"
    assert f"has another {register} {getattr(own, register)}" in detail


def test_11_another_size_of_machine_needs_a_vote_of_its_own(intel, collateral):
    voted = Machine(intel=intel)
    given = Given(Machine(intel=intel, shape=GuestShape(vcpus=4)), collateral)
    name, detail = given.refused_by(allowed=allowed_code(voted))
    assert name == "measurements"
    assert "has another rtmr0" in detail


def test_12_an_image_that_is_allowed_for_the_other_role_only(given):
    allowed = given.arguments["allowed"]
    swapped = replace(
        allowed,
        node=(allowed.node | allowed.backup_service) - {given.machine.image},
        backup_service=(allowed.node | allowed.backup_service) - {given.machine.image},
    )
    other = "node" if given.machine.role is Role.BACKUP_SERVICE else "backup_service"
    name, detail = given.refused_by(
        allowed=replace(swapped, **{other: getattr(swapped, other) | {given.machine.image}})
    )
    assert name == "image digest"
    assert given.machine.image in detail


@pytest.mark.parametrize("change", [{"pre_launch_script": "true"}, {"secure_time": False}, {"public_logs": False}])
def test_13_an_app_compose_that_says_more_or_otherwise(given, change):
    value = json.loads(given.machine.guest.app_compose) | change
    guest = given.machine.started(given.machine.compose_file, app_compose=json.dumps(value))
    checks = given.explain(given.machine.evidence(guest=guest))
    assert [(check.name, check.ok) for check in checks if not check.ok] == [
        ("app-compose", False),
        ("compose file", None),
    ]
    assert repr(next(iter(change))) in checks[12].detail


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "\n",
        lambda text: text.replace("p2p", "web"),
        lambda text: text.replace("nearprotocol/nearcore@", "mallory/nearcore@"),
        lambda text: text.replace("    image: nearprotocol", "    # image: nearprotocol"),
        lambda text: text.replace("/tapp/user_config:/etc/sharekeeper/addresses.toml:ro", "/:/host"),
        lambda text: text.replace("      - no-new-privileges:true\n", "", 1),
        lambda text: text + "  evil:\n    image: evil\n",
    ],
)
def test_14_a_compose_file_that_is_not_the_one_of_its_role(given, change):
    changed = change(given.machine.compose_file)
    assert changed != given.machine.compose_file
    name, detail = given.refused_by(given.machine.evidence(guest=given.machine.started(changed)))
    assert name == "compose file"
    assert "expected" in detail or "does not have the images" in detail


def test_14_a_compose_file_of_another_account(given):
    parameters = replace(given.machine.parameters, account_id=AccountId("mallory.test.near"))
    text = render_compose_file(given.machine.role, parameters, given.machine.images)
    name, detail = given.refused_by(given.machine.evidence(guest=given.machine.started(text)))
    assert name == "compose file"
    assert "mallory.test.near" in detail
    assert "alice.test.near" in detail


def test_14_an_image_beside_the_agent_that_is_not_allowed(given):
    allowed = given.arguments["allowed"]
    without = replace(allowed, node=allowed.node - {NEAR_IMAGE}, backup_service=allowed.backup_service - {NEAR_IMAGE})
    name, detail = given.refused_by(allowed=without)
    assert name == "compose file"
    assert NEAR_IMAGE in detail


def test_14_the_agents_place_has_the_image_that_was_measured(given):
    images = replace(given.machine.images, agent=code_hash("another image"))
    text = render_compose_file(given.machine.role, given.machine.parameters, images)
    assert given.refused_by(given.machine.evidence(guest=given.machine.started(text)))[0] == "compose file"


def test_14_a_backup_service_may_have_any_vault_and_slot_unless_they_are_named(intel, collateral):
    given = Given(Machine(intel=intel, role=Role.BACKUP_SERVICE), collateral)
    own = given.machine.parameters
    given.verify(policy=AttestationPolicy(compose=Rendered(parameters=replace(own, vault=None, slot=None))))
    other = AttestationPolicy(compose=Rendered(parameters=replace(own, slot=1 - own.slot)))
    assert given.refused_by(policy=other)[0] == "compose file"


def test_14_listed_compose_files_are_named_by_their_hash(given):
    digest = Sha256Hex.of(given.machine.compose_file.encode())
    given.verify(policy=AttestationPolicy(compose=Listed(compose_files=frozenset({digest}))))
    name, detail = given.refused_by(policy=AttestationPolicy(compose=Listed(compose_files=frozenset())))
    assert name == "compose file"
    assert digest in detail


def _judged(given, **changed):
    """A case whose quote dcap-qvl has accepted."""
    report = TdReport.parse(given.evidence.quote)
    judgement = Judgement(report=report, **{"tcb_status": "UpToDate", "advisories": frozenset()} | changed)
    return Case(evidence=given.evidence, judgement=judgement, **given.arguments)


def _with_key_provider(given, payload):
    """The refusal of a machine that measured this key provider, with measurements that are voted for."""
    event = event_of("key-provider", payload)
    log = [event if one.name == "key-provider" else one for one in given.evidence.events]
    measurements = replace(given.machine.guest.measurements, key_provider_event_digest=event.digest)
    allowed = given.allowing(measurements=frozenset({measurements}))
    return given.refused_by(quoted_over(given.machine, *log), allowed=allowed)
