"""Attacks on evidence: each is refused by the check that is there for it, whoever's machine it is.

The attacker controls the host: quote, event log, app-compose and collateral are what he makes of them, and he may
run any code in a TEE of his own. He cannot sign as Intel, nor as a TEE that measured something else.
"""

import json
from dataclasses import replace

import pytest

from sharekeeper.attestation.app_compose import build_app_compose
from sharekeeper.attestation.events import IMAGE_DIGEST
from sharekeeper.attestation.policy import AttestationPolicy, Rendered
from sharekeeper.attestation.verifier import verify_evidence
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.attestation import AllowedCode
from sharekeeper.domain.identity import AccountId, Role
from sharekeeper.errors import AttestationRefused
from sharekeeper_devnet.tee.guest import GuestShape, event_of
from sharekeeper_devnet.tee.pki import MockIntel
from sharekeeper_devnet.tee.quotes import SIGNED_BYTES
from tests.attestation.machines import (
    DAY_S,
    NOW_S,
    Machine,
    allowed_code,
    code_hash,
    event_named,
    quoted_over,
    with_events,
)

_AUTHENTICATION_END = SIGNED_BYTES + 4 + 64 + 64 + 6 + 384 + 64 + 2 + 32
"""Up to here a quote is signed data and the signatures over it; then comes the PCK chain."""

_DATA_TYPE = SIGNED_BYTES + 4 + 64 + 64
"""Two bytes that name the form of what follows: nobody signs them, dcap-qvl does not read them, no fact is in them."""


@pytest.fixture(scope="module")
def intel():
    return MockIntel.create(NOW_S, seed=b"the rack under attack")


@pytest.fixture(scope="module")
def collateral(intel):
    return intel.collateral(issued_at_s=NOW_S - DAY_S)


@pytest.fixture(scope="module", params=list(Role), ids=str)
def machine(request, intel):
    return Machine(intel=intel, role=request.param)


@pytest.fixture(scope="module")
def evidence(machine):
    return machine.evidence()


def verify(machine, evidence, collateral, **changes):
    given = {
        "role": machine.role,
        "report_data": machine.report_data,
        "allowed": allowed_code(machine),
        "policy": AttestationPolicy(compose=Rendered(parameters=machine.parameters)),
        "now_s": NOW_S,
        "collateral": collateral,
        "root_ca": machine.intel.root_ca,
    }
    return verify_evidence(evidence, **{**given, **changes})


def refusal(machine, evidence, collateral, **changes):
    """The number of the check that refuses it, and what it says."""
    with pytest.raises(AttestationRefused) as caught:
        verify(machine, evidence, collateral, **changes)
    text = str(caught.value)
    return int(text.removeprefix("check ").split(" ", 1)[0]), text


def test_what_is_attacked_here_is_accepted_when_it_is_left_alone(machine, evidence, collateral):
    assert verify(machine, evidence, collateral).tcb_status == "UpToDate"


# --- the quote ------------------------------------------------------------------------------------


def test_a_quote_tampered_with_at_any_byte_that_is_covered_is_refused(intel, collateral):
    machine = Machine(intel=intel)
    evidence = machine.evidence()
    accepted, refused_by = [], set()
    for place in range(_AUTHENTICATION_END):
        quote = bytearray(evidence.quote)
        quote[place] ^= 1 << place % 8
        try:
            verify(machine, replace(evidence, quote=bytes(quote)), collateral)
        except AttestationRefused as fault:
            refused_by.add(fault.check)
        else:
            accepted.append(place)
    assert (accepted, refused_by) == ([_DATA_TYPE, _DATA_TYPE + 1], {"quote"})


def test_a_quote_with_another_certificate_chain_byte_is_refused(intel, collateral):
    machine = Machine(intel=intel)
    evidence = machine.evidence()
    start = evidence.quote.index(b"-----\n") + len(b"-----\n")
    end = evidence.quote.index(b"\n-----END", start)
    for place in range(start, end - 4, 13):
        if evidence.quote[place : place + 1] != b"\n":
            quote = bytearray(evidence.quote)
            quote[place] = ord("A") if quote[place] != ord("A") else ord("B")
            number, _ = refusal(machine, replace(evidence, quote=bytes(quote)), collateral)
            assert number == 1, place


@pytest.mark.parametrize("length", [0, 1, 47, 631, 632, 1000, 2000])
def test_a_quote_cut_short_is_refused(machine, evidence, collateral, length):
    assert refusal(machine, replace(evidence, quote=evidence.quote[:length]), collateral)[0] == 1


def test_a_good_quote_for_another_tls_key_is_refused(machine, evidence, collateral):
    other = Machine(intel=machine.intel, role=machine.role)
    other.tls = KeyPair.generate(bytes(32))
    number, text = refusal(machine, evidence, collateral, report_data=other.report_data)
    assert number == 6
    assert "other keys or another exchange" in text


def test_a_good_quote_for_another_account_key_is_refused(machine, evidence, collateral):
    other = Machine(intel=machine.intel, role=machine.role)
    other.account = KeyPair.generate(bytes(32))
    assert refusal(machine, evidence, collateral, report_data=other.report_data)[0] == 6


def test_the_evidence_of_another_host_replayed_is_refused(machine, collateral):
    other = Machine(intel=machine.intel, role=machine.role, name="another-host")
    assert refusal(machine, other.evidence(), collateral)[0] == 6


def test_a_tls_key_changed_after_attestation_has_no_evidence(machine, evidence, collateral):
    changed = Machine(intel=machine.intel, role=machine.role)
    changed.tls = KeyPair.generate(b"\x07" * 32)
    assert refusal(changed, evidence, collateral)[0] == 6


def test_a_debug_td_is_refused(machine, collateral):
    number, text = refusal(machine, replace_machine(machine, debug=True).evidence(), collateral)
    assert number in {1, 5}
    assert "ebug" in text


@pytest.mark.parametrize("status", ["OutOfDate", "OutOfDateConfigurationNeeded", "SWHardeningNeeded", "Revoked"])
def test_an_out_of_date_tcb_is_refused(machine, collateral, status):
    number, text = refusal(machine, replace_machine(machine, tcb=status).evidence(), collateral)
    assert number == (1 if status == "Revoked" else 3)
    assert status in text


def test_an_advisory_that_the_policy_does_not_know_is_refused_and_one_it_accepts_is_not(machine, collateral):
    evidence = replace_machine(machine, tcb="SWHardeningNeeded").evidence()
    for accepted, good in [({"INTEL-SA-00001"}, False), ({"INTEL-SA-01036"}, True)]:
        policy = AttestationPolicy(
            compose=Rendered(parameters=machine.parameters), accepted_advisories=frozenset(accepted)
        )
        if good:
            assert verify(machine, evidence, collateral, policy=policy).tcb_status == "SWHardeningNeeded"
        else:
            assert refusal(machine, evidence, collateral, policy=policy)[0] == 3


def test_a_foreign_root_is_refused(machine, evidence):
    other = MockIntel.create(NOW_S)
    foreign = Machine(intel=other, role=machine.role)
    foreign.tls, foreign.account = machine.tls, machine.account
    forged = foreign.evidence()
    for shown, collateral in [
        (forged, other.collateral()),
        (forged, machine.intel.collateral()),
        (evidence, other.collateral()),
    ]:
        assert refusal(machine, shown, collateral)[0] == 1


# --- collateral -----------------------------------------------------------------------------------


def test_expired_collateral_is_refused(machine, evidence, intel):
    number, text = refusal(machine, evidence, intel.collateral(issued_at_s=NOW_S - 31 * DAY_S))
    assert number == 1
    assert "xpired" in text


def test_collateral_from_the_future_is_refused(machine, evidence, intel):
    number, text = refusal(machine, evidence, intel.collateral(issued_at_s=NOW_S + 3600))
    assert number == 1
    assert "future" in text


def test_collateral_that_is_valid_and_too_old_is_refused(machine, evidence, intel):
    old = intel.collateral(issued_at_s=NOW_S - 40 * DAY_S, valid_seconds=90 * DAY_S)
    number, text = refusal(machine, evidence, old)
    assert number == 2
    assert "older than" in text


def test_a_revoked_host_is_refused(machine, evidence, intel):
    number, text = refusal(machine, evidence, intel.collateral(revoked_hosts=(machine.name,)))
    assert number == 1
    assert "Revoked" in text


def test_a_revoked_platform_authority_is_refused(machine, evidence, intel):
    assert refusal(machine, evidence, intel.collateral(platform_ca_revoked=True))[0] == 1


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_collateral_that_the_host_brightened_is_refused(machine, intel, collateral, part):
    """A platform that is out of date, whose host says in Intel's name that it is not."""
    evidence = replace_machine(machine, tcb="OutOfDate").evidence()
    forged = json.loads(collateral)
    forged[part] = forged[part].replace('"OutOfDate"', '"UpToDate"').replace("2025-08-13", "2025-08-14")
    assert refusal(machine, evidence, json.dumps(forged))[0] == 1


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"tcb_info": 1}', "\ud800"])
def test_collateral_that_is_none_is_refused(machine, evidence, text):
    assert refusal(machine, evidence, text)[0] == 1


def test_an_old_quote_is_not_better_with_new_collateral(machine, evidence, collateral, intel):
    """A year later the machine's platform is out of date; its quote of then says nothing about that."""
    later = NOW_S + 365 * DAY_S
    assert refusal(machine, evidence, collateral, now_s=later)[0] == 1
    fresh = intel.collateral(issued_at_s=later - DAY_S, revoked_hosts=(machine.name,))
    assert refusal(machine, evidence, fresh, now_s=later)[0] == 1


# --- what the network voted for -------------------------------------------------------------------


def test_an_image_that_is_not_voted_for_is_refused(machine, collateral):
    other = replace_machine(machine, image=code_hash("another image"))
    assert refusal(machine, other.evidence(), collateral)[0] == 12


def test_an_image_is_refused_once_its_vote_is_withdrawn(machine, evidence, collateral):
    allowed = allowed_code(machine)
    left = {"node": allowed.node - {machine.image}, "backup_service": allowed.backup_service - {machine.image}}
    number, text = refusal(machine, evidence, collateral, allowed=replace(allowed, **left))
    assert number == 12
    assert "not allowed" in text


def test_an_image_voted_for_the_other_role_is_refused(machine, evidence, collateral):
    allowed = allowed_code(machine)
    swapped = AllowedCode(node=allowed.backup_service, backup_service=allowed.node, measurements=allowed.measurements)
    assert refusal(machine, evidence, collateral, allowed=swapped)[0] == 12


def test_the_evidence_of_one_role_is_none_of_the_other(machine, evidence, collateral):
    other = next(role for role in Role if role is not machine.role)
    allowed = allowed_code(machine, Machine(intel=machine.intel, role=other))
    assert refusal(machine, evidence, collateral, role=other, allowed=allowed)[0] == 8


def test_nothing_voted_for_allows_nothing(machine, evidence, collateral):
    nothing = AllowedCode(node=frozenset(), backup_service=frozenset(), measurements=frozenset())
    assert refusal(machine, evidence, collateral, allowed=nothing)[0] == 11


@pytest.mark.parametrize(
    "shape",
    [GuestShape(image="another"), GuestShape(vcpus=4), GuestShape(memory_gb=32), GuestShape(key_provider_id="ab" * 32)],
)
def test_a_machine_that_measures_something_else_is_refused(machine, collateral, shape):
    assert refusal(machine, replace_machine(machine, shape=shape).evidence(), collateral)[0] == 11


def test_parts_of_two_allowed_measurements_are_no_allowed_measurement(machine, collateral):
    """The image of one allowed machine in the virtual machine of another."""
    shapes = (GuestShape(image="first", vcpus=4), GuestShape(image="second", vcpus=8))
    allowed = allowed_code(*(replace_machine(machine, shape=shape) for shape in shapes))
    first = replace_machine(machine, shape=GuestShape(image="first", vcpus=8))
    assert refusal(machine, first.evidence(), collateral, allowed=allowed)[0] == 11


@pytest.mark.parametrize("hidden", ["near", "mpc"])
def test_an_image_beside_the_agent_that_is_not_voted_for_is_refused(machine, evidence, collateral, hidden):
    image = getattr(machine.images, hidden)
    if image is None:
        return
    allowed = allowed_code(machine)
    left = {"node": allowed.node - {image}, "backup_service": allowed.backup_service - {image}}
    assert refusal(machine, evidence, collateral, allowed=replace(allowed, **left))[0] == 14


# --- the event log --------------------------------------------------------------------------------

_DECISIVE = ("compose-hash", "boot-mr-done", "key-provider", "system-ready", "image")


def decisive(machine, name):
    return IMAGE_DIGEST[machine.role] if name == "image" else name


@pytest.mark.parametrize("name", _DECISIVE)
def test_a_log_with_a_missing_event_is_refused(machine, evidence, collateral, name):
    event = event_named(evidence, decisive(machine, name))
    rest = [one for one in evidence.events if one is not event]
    assert refusal(machine, with_events(evidence, *rest), collateral)[0] == 7
    assert refusal(machine, quoted_over(machine, *rest), collateral)[0] == 8


@pytest.mark.parametrize("name", _DECISIVE)
def test_a_log_with_a_doubled_event_is_refused(machine, evidence, collateral, name):
    doubled = [*evidence.events, event_named(evidence, decisive(machine, name))]
    assert refusal(machine, with_events(evidence, *doubled), collateral)[0] == 7
    assert refusal(machine, quoted_over(machine, *doubled), collateral)[0] == 8


def test_a_log_in_another_order_is_refused(machine, evidence, collateral):
    events = list(evidence.events)
    turned = [*events[:2], *reversed(events[2:])]
    assert refusal(machine, with_events(evidence, *turned), collateral)[0] == 7
    assert refusal(machine, quoted_over(machine, *turned), collateral)[0] == 8


def test_an_application_that_says_another_image_after_the_agent_did_is_refused(machine, evidence, collateral):
    """Code that runs in the TEE can only add events: a second digest does not replace the first."""
    second = event_of(IMAGE_DIGEST[machine.role], bytes.fromhex(code_hash("harmless")))
    number, text = refusal(machine, quoted_over(machine, *evidence.events, second), collateral)
    assert number == 8
    assert "2 of" in text


def test_an_image_digest_said_before_the_system_was_ready_is_refused(machine, evidence, collateral):
    """A pre-launch script could have said it."""
    image = event_named(evidence, IMAGE_DIGEST[machine.role])
    rest = [event for event in evidence.events if event is not image]
    assert refusal(machine, quoted_over(machine, rest[0], image, *rest[1:]), collateral)[0] == 8


def test_an_event_whose_words_do_not_give_its_digest_is_refused(machine, evidence, collateral):
    """The digests replay; the payload shown is another one."""
    image = event_named(evidence, IMAGE_DIGEST[machine.role])
    shown = [replace(one, payload=code_hash("other")) if one is image else one for one in evidence.events]
    assert refusal(machine, with_events(evidence, *shown), collateral)[0] == 7


def test_events_of_other_registers_do_not_count(machine, evidence, collateral):
    """The host may add anything to them in the log: none of it decides."""
    image = event_named(evidence, IMAGE_DIGEST[machine.role])
    moved = [replace(one, imr=2) if one is image else one for one in evidence.events]
    assert refusal(machine, with_events(evidence, *moved), collateral)[0] == 7
    added = replace(event_of("compose-hash", bytes(32)), imr=1)
    assert verify(machine, with_events(evidence, added, *evidence.events), collateral)


# --- the compose file -----------------------------------------------------------------------------


def altered_app_compose(machine, **changes):
    """Evidence of a machine whose TEE measured another app-compose, and says so."""
    value = {**json.loads(machine.guest.app_compose), **changes}
    app_compose = json.dumps({key: entry for key, entry in value.items() if entry is not ...})
    return machine.evidence(guest=machine.started(machine.compose_file, app_compose=app_compose))


@pytest.mark.parametrize("key", ["pre_launch_script", "init_script", "bash_script", "docker_config", "features", "x"])
def test_an_app_compose_with_an_extra_key_is_refused(machine, collateral, key):
    number, text = refusal(machine, altered_app_compose(machine, **{key: "anything"}), collateral)
    assert number == 13
    assert key in text


def test_an_app_compose_with_the_same_key_twice_is_refused(machine, collateral):
    """Two readers may take two different ones."""
    twice = machine.guest.app_compose.replace("{", '{"docker_compose_file": "services: {}",', 1)
    guest = machine.started(machine.compose_file, app_compose=twice)
    assert refusal(machine, machine.evidence(guest=guest), collateral)[0] == 13


@pytest.mark.parametrize(
    "change",
    [
        {"manifest_version": 1},
        {"runner": "bash"},
        {"kms_enabled": True},
        {"gateway_enabled": True},
        {"local_key_provider_enabled": False},
        {"key_provider_id": "00"},
        {"public_logs": False},
        {"public_sysinfo": False},
        {"allowed_envs": ["SECRET"]},
        {"no_instance_id": False},
        {"secure_time": False},
        {"secure_time": ...},
        {"docker_compose_file": ...},
    ],
    ids=str,
)
def test_an_app_compose_with_another_value_or_a_key_less_is_refused(machine, collateral, change):
    assert refusal(machine, altered_app_compose(machine, **change), collateral)[0] == 13


def test_an_app_compose_beside_the_one_that_was_measured_is_refused(machine, evidence, collateral):
    shown = replace(evidence, app_compose=evidence.app_compose + " ")
    assert refusal(machine, shown, collateral)[0] == 9


@pytest.mark.parametrize(
    "change",
    [
        ("/var/lib/sharekeeper\n", "/srv/sharekeeper\n"),
        ("no-new-privileges:true", "no-new-privileges:false"),
        ('transfer = "p2p"', 'transfer = "web"'),
        ("near_rpc_url = ", 'near_rpc_url = "http://elsewhere:3030"  # '),
        ("mpc.test.near", "mine.test.near"),
        ("alice.test.near", "mallory.test.near"),
        ('chain_id = "devnet"', 'chain_id = "mine"'),
        ("accepted_advisories = []", 'accepted_advisories = ["INTEL-SA-01036"]'),
        ("services:\n", 'services:\n  shell:\n    image: "busybox"\n'),
        ("\n", "\n\n"),
    ],
    ids=lambda change: change[0].strip() or "a line end",
)
def test_a_compose_file_with_any_other_byte_is_refused(machine, collateral, change):
    altered = machine.compose_file.replace(*change, 1)
    assert altered != machine.compose_file
    guest = machine.started(altered)
    number, _ = refusal(machine, machine.evidence(guest=guest), collateral)
    assert number == 14


def test_the_machine_of_another_account_is_refused(machine, collateral):
    other = replace_machine(machine, account_id=AccountId("mallory.test.near"))
    assert refusal(machine, other.evidence(), collateral)[0] == 14


def test_a_compose_file_in_which_another_image_runs_than_says_so_is_refused(machine, collateral):
    """An image of the attacker that claims, by its event, to be the one that was voted for."""
    other = replace_machine(machine, image=code_hash("an image that lies"))
    guest = machine.started(other.compose_file)
    assert refusal(machine, machine.evidence(guest=guest), collateral)[0] == 14


def test_a_virtual_machine_of_another_name_is_the_same_machine(machine, collateral):
    guest = machine.started(machine.compose_file, app_compose=build_app_compose("other-name", machine.compose_file))
    assert verify(machine, machine.evidence(guest=guest), collateral)


def replace_machine(machine, **changes):
    """Another machine with the same keys."""
    other = Machine(intel=machine.intel, role=machine.role, **changes)
    other.tls, other.account = machine.tls, machine.account
    return other
