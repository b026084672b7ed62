"""A real TDX quote of a near/mpc node, verified at its own time with Intel's own root."""

import json
import time
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sharekeeper.attestation.app_compose import check_app_compose, compose_hash
from sharekeeper.attestation.events import replay, runtime_events
from sharekeeper.attestation.evidence import decode_evidence, encode_evidence
from sharekeeper.attestation.verifier import explain_evidence, verify_evidence
from sharekeeper.cli.main import root
from sharekeeper.cli.outcome import run
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import AttestationRefused
from tests.attestation.real_evidence import (
    COMPOSE_FILE,
    NOW_S,
    VECTORS,
    given,
    image,
    measurements,
    needs_vectors,
    policy_toml,
    shown,
    tcb_info,
)

pytestmark = needs_vectors
REPORT_DATA_AT = 568
SIGNED = range(632)
SIGNATURE, ATTESTATION_KEY, QE_REPORT, QE_SIGNATURE, QE_AUTH_DATA = 636, 700, 770, 1154, 1220
DAY_S = 86_400


def test_every_check_accepts_it_at_its_time():
    evidence, arguments = given()
    assert {check.ok for check in explain_evidence(evidence, **arguments)} == {True}
    verdict = verify_evidence(evidence, **arguments)
    assert [check.number for check in verdict.checks] == list(range(1, 15))
    assert verdict.measurements == measurements()
    assert verdict.code_hash == image()
    assert (verdict.tcb_status, verdict.advisories) == ("UpToDate", frozenset())
    assert verdict.expires_at_s == NOW_S + 7 * DAY_S


def test_its_report_data_is_that_of_the_nodes_two_keys():
    found = shown()
    assert found.evidence.quote[REPORT_DATA_AT : REPORT_DATA_AT + 64] == found.report_data


def test_its_event_log_replays_to_rtmr3():
    events = runtime_events(shown().evidence.events)
    assert len(events) == 9
    assert replay([event.digest for event in events]) == tcb_info()["rtmr3"]


def test_its_compose_hashes_are_reproduced():
    text = shown().evidence.app_compose
    assert text == (VECTORS / "app_compose.json").read_text()
    assert compose_hash(text) == tcb_info()["compose_hash"]
    assert Sha256Hex.of(check_app_compose(text, secure_time=False).encode()) == COMPOSE_FILE


def test_it_is_smaller_encoded_than_the_page_it_came_from():
    evidence = shown().evidence
    encoded = encode_evidence(evidence)
    assert decode_evidence(encoded) == evidence
    assert len(encoded) < 48 * 1024


@pytest.mark.parametrize("position", [*range(0, 632, 29), 631])
def test_a_flipped_byte_of_what_the_quote_signs_is_refused(position):
    _refused(_flipped(position), "quote")


@pytest.mark.parametrize("position", [SIGNATURE, ATTESTATION_KEY, QE_REPORT, QE_SIGNATURE, QE_AUTH_DATA])
def test_a_flipped_byte_of_what_vouches_for_the_quote_is_refused(position):
    _refused(_flipped(position), "quote")


def test_bytes_behind_the_quote_change_nothing_so_its_hash_names_nothing():
    evidence, arguments = given()
    verify_evidence(replace(evidence, quote=evidence.quote + b"more"), **arguments)


@pytest.mark.parametrize(("offset", "words"), [(-2 * DAY_S, "future"), (60 * DAY_S, "xpired")])
def test_collateral_of_another_time_is_refused(offset, words):
    evidence, arguments = given()
    with pytest.raises(AttestationRefused, match=words):
        verify_evidence(evidence, **arguments | {"now_s": NOW_S + offset})


def test_another_root_than_intels_is_refused():
    evidence, arguments = given()
    chain = json.loads(evidence.collateral)["tcb_info_issuer_chain"]
    foreign = x509.load_pem_x509_certificates(chain.encode())[0].public_bytes(Encoding.DER)
    with pytest.raises(AttestationRefused, match="check 1 "):
        verify_evidence(evidence, **arguments, root_ca=foreign)


def test_a_verification_takes_milliseconds():
    evidence, arguments = given()
    taken = []
    for _ in range(20):
        started = time.perf_counter()
        verify_evidence(evidence, **arguments)
        taken.append(time.perf_counter() - started)
    assert min(taken) < 0.01


@pytest.mark.parametrize("command", ["verify", "explain"])
def test_the_command_shows_every_check_of_a_node_page(tmp_path, capsys, command):
    status, facts = _run(tmp_path, capsys, command)
    assert status == 0
    assert facts["accepted"]
    assert facts["keys_from"] == "the machine itself"
    assert [check["number"] for check in facts["checks"]] == list(range(1, 15))
    assert all(check["ok"] and check["demands"] and check["found"] for check in facts["checks"])
    assert facts["milliseconds"] < 1000


def test_the_command_verify_fails_where_a_check_refuses_and_explain_does_not(tmp_path, capsys):
    for command, status in (("verify", AttestationRefused.exit_status), ("explain", 0)):
        found, facts = _run(tmp_path, capsys, command, "--role", "backup-service")
        assert found == status
        assert not facts["accepted"]
        assert [check["number"] for check in facts["checks"] if check["ok"] is False] == [8]


def test_the_keys_on_the_command_line_are_those_that_count(tmp_path, capsys):
    key = "ed25519:3FwWphCj47PA3D8ErKeVNzqn2ckAKrfuixrvvfGrDxUx"
    status, facts = _run(tmp_path, capsys, "verify", "--tls-key", key, "--account-key", key)
    assert status == AttestationRefused.exit_status
    assert [check["name"] for check in facts["checks"] if not check["ok"]] == ["report data"]


def test_keys_that_the_quote_binds_are_printed_once_everything_is_accepted(tmp_path, capsys):
    tls_key, account_key = (str(key) for key in shown().keys)
    for command in ("verify", "explain"):
        for more in ([], ["--tls-key", tls_key, "--account-key", account_key]):
            _, facts = _run(tmp_path, capsys, command, *more)
            assert (facts["tls_public_key"], facts["account_public_key"]) == (tls_key, account_key)


@pytest.mark.parametrize(
    "more",
    [["--role", "backup-service"], ["--at", str(NOW_S + 60 * DAY_S)], ["--report-data", "00" * 64]],
    ids=["another check", "another time", "another report data"],
)
def test_no_key_is_printed_of_a_machine_that_is_refused(tmp_path, capsys, more):
    status, facts = _run(tmp_path, capsys, "verify", *more)
    assert status == AttestationRefused.exit_status
    assert (facts["tls_public_key"], facts["account_public_key"]) == (None, None)


def test_for_people_the_keys_stand_above_the_verdict(tmp_path, capsys):
    policy = tmp_path / "policy.toml"
    policy.write_text(policy_toml())
    options = ["--evidence", str(VECTORS / "public_data.json"), "--role", "node", "--policy", str(policy)]
    assert run(root, "sharekeeper", ["attestation", "verify", *options, "--at", str(NOW_S)]) == 0
    *_, tls_line, account_line, verdict = capsys.readouterr().out.splitlines()
    assert (tls_line, account_line) == tuple(
        f"{name} {key}" for name, key in zip(("tls_public_key", "account_public_key"), shown().keys, strict=True)
    )
    assert verdict.startswith("accepted, in ")


def test_the_command_measure_computes_what_the_machine_measured(capsys):
    arguments = ["--app-compose", str(VECTORS / "app_compose.json"), "--role", "node", "--image", f"sha256:{image()}"]
    provider = "6b5ed02e549a1c30aaa8e3171a045f1f449b0017353ef595e78e39c348c98d01"
    registers = ["--key-provider-id", provider, "--registers", str(VECTORS / "tcb_info.json"), "--json"]
    status, facts = _command(capsys, "measure", *arguments, *registers)
    assert status == 0
    info = tcb_info()
    assert facts["rtmr3"] == info["rtmr3"]
    assert facts["compose_hash"] == info["compose_hash"]
    assert facts["compose_file_sha256"] == COMPOSE_FILE
    wanted = {name: getattr(measurements(), name) for name in type(measurements()).__slots__}
    assert facts["votes"][0] == {"method": "vote_node_code_hash", "code_hash": image()}
    assert facts["votes"][1]["measurements"] == wanted


def _flipped(position):
    quote = bytearray(shown().evidence.quote)
    quote[position] ^= 1
    return bytes(quote)


def _refused(quote, check):
    evidence, arguments = given()
    with pytest.raises(AttestationRefused) as refusal:
        verify_evidence(replace(evidence, quote=quote), **arguments)
    assert refusal.value.check == check


def _run(tmp_path, capsys, command, *more):
    """Exit status, and the JSON that the command printed."""
    policy = tmp_path / "policy.toml"
    policy.write_text(policy_toml())
    page = str(VECTORS / "public_data.json")
    options = ["--evidence", page, "--role", "node", "--policy", str(policy), "--at", str(NOW_S), "--json", *more]
    return _command(capsys, command, *options)


def _command(capsys, *arguments):
    status = run(root, "sharekeeper", ["attestation", *arguments])
    return status, json.loads(capsys.readouterr().out)
