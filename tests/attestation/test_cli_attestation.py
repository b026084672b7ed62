"""`sharekeeper attestation` on machines of the TEE host stand-in, and what it says to bad input."""

import asyncio
import json
import subprocess
import sys
import threading
from dataclasses import fields

import pytest
from aiohttp import web

from sharekeeper.attestation.app_compose import check_app_compose
from sharekeeper.attestation.compose_file import render_compose_file
from sharekeeper.attestation.evidence import encode_evidence
from sharekeeper.cli.attestation_input import MAX_INPUT_BYTES, decode_shown, fetch_shown
from sharekeeper.cli.main import root
from sharekeeper.cli.outcome import USAGE_STATUS, run
from sharekeeper.domain.attestation import Measurements
from sharekeeper.domain.identity import Role
from sharekeeper.errors import AttestationRefused, AttestationUnavailable, ConfigInvalid
from tests.attestation.machines import NOW_S


@pytest.fixture
def policy(tmp_path, machine):
    path = tmp_path / "policy.toml"
    path.write_text(_policy(machine))
    return path


@pytest.fixture
def evidence_file(tmp_path, evidence):
    path = tmp_path / "evidence.json"
    path.write_bytes(encode_evidence(evidence))
    return path


@pytest.fixture
def verify(machine, policy, evidence_file):
    """Arguments of a verification of the machine's evidence, whose keys are still to be named."""
    return _verify(machine, policy, evidence_file)


def test_without_the_stand_ins_root_only_intel_vouches_for_a_quote(capsys, machine, verify):
    keys = ["--tls-key", str(machine.tls.tls_key), "--account-key", str(machine.account.signer_key)]
    status, facts = _command(capsys, *verify, *keys)
    assert status == AttestationRefused.exit_status
    failing = [check["name"] for check in facts["checks"] if check["ok"] is False]
    assert failing == ["quote"]
    assert facts["keys_from"] == "the options"


def test_for_people_each_check_is_a_line_and_the_last_says_the_verdict(capsys, machine, verify):
    arguments = [*verify, "--report-data", machine.report_data.hex()]
    status = run(root, "sharekeeper", ["attestation", *[one for one in arguments if one != "--json"]])
    lines = capsys.readouterr().out.splitlines()
    assert status == AttestationRefused.exit_status
    assert len(lines) == 15
    assert "REFUSED" in lines[0]
    assert lines[-1].startswith("refused, in ")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "names no keys"),
        (["--url", "http://x"], "not both"),
        (["--tls-key", "ed25519:3FwWphCj47PA3D8ErKeVNzqn2ckAKrfuixrvvfGrDxUx"], "--account-key"),
        (["--report-data", "00"], "64 bytes, not 1"),
        (["--at", "-1"], "at"),
    ],
)
def test_options_that_do_not_fit_are_usage_errors(capsys, verify, more, words):
    status, facts = _command(capsys, *verify, *more)
    assert status == USAGE_STATUS
    assert words in facts["message"]


def test_a_policy_that_leaves_the_votes_to_the_contract_needs_its_address(capsys, tmp_path, machine, evidence_file):
    path = tmp_path / "policy.toml"
    path.write_text(_policy(machine).partition("[allowed]")[0])
    arguments = [*_verify(machine, path, evidence_file), "--report-data", machine.report_data.hex()]
    status, facts = _command(capsys, *arguments)
    assert status == USAGE_STATUS
    assert "--contract-id" in facts["message"]


def test_every_mistake_of_a_policy_file_is_told_at_once(capsys, tmp_path, machine, evidence_file):
    path = tmp_path / "policy.toml"
    path.write_text('[compose]\ntransfer = "pigeon"\nevil = 1\n[allowed]\nnode = ["zz"]\n[[allowed.measurements]]\n')
    status, facts = _command(capsys, *_verify(machine, path, evidence_file))
    assert status == ConfigInvalid.exit_status
    for words in ("compose.account_id: is missing", "compose.transfer", "compose.evil", "allowed.node", "].mrtd: is"):
        assert words in facts["message"]


def test_the_compose_file_and_app_compose_are_printed_byte_for_byte(capsys, tmp_path, machine, policy):
    images = machine.images
    arguments = [
        "--role",
        machine.role.value,
        "--policy",
        str(policy),
        "--image",
        images.agent,
        "--near-image",
        images.near,
    ]
    arguments += ["--mpc-image", images.mpc] if images.mpc else []
    run(root, "sharekeeper", ["attestation", "compose-file", *arguments])
    text = capsys.readouterr().out
    assert text == render_compose_file(machine.role, machine.parameters, images)
    path = tmp_path / "compose.yaml"
    path.write_bytes(text.encode())
    run(root, "sharekeeper", ["attestation", "app-compose", "--name", machine.name, "--docker-compose", str(path)])
    app_compose = capsys.readouterr().out
    assert app_compose == machine.guest.app_compose
    assert check_app_compose(app_compose, secure_time=True) == text


def test_measure_names_the_votes_before_anything_runs(capsys, tmp_path, machine):
    app_compose, registers = tmp_path / "app-compose.json", tmp_path / "registers.json"
    app_compose.write_bytes(machine.guest.app_compose.encode())
    measured = machine.guest.measurements
    registers.write_text(json.dumps({name: getattr(measured, name) for name in ("mrtd", "rtmr0", "rtmr1", "rtmr2")}))
    arguments = ["--app-compose", str(app_compose), "--role", machine.role.value, "--image", machine.image]
    arguments += ["--key-provider-id", machine.shape.key_provider_id, "--registers", str(registers), "--json"]
    status, facts = _command(capsys, "measure", *arguments)
    assert status == 0
    assert facts["rtmr3"] == machine.guest.rtmr3.hex()
    assert facts["votes"][1]["measurements"] == {one.name: getattr(measured, one.name) for one in fields(Measurements)}
    methods = {Role.NODE: "vote_node_code_hash", Role.BACKUP_SERVICE: "vote_backup_service_code_hash"}
    assert facts["votes"][0] == {"method": methods[machine.role], "code_hash": machine.image}


def test_measure_refuses_what_every_verifier_would(capsys, tmp_path, machine):
    path = tmp_path / "app-compose.json"
    path.write_text(json.dumps(json.loads(machine.guest.app_compose) | {"init_script": "x"}))
    arguments = ["--app-compose", str(path), "--role", "node", "--image", "a" * 64, "--key-provider-id", "b" * 64]
    status, facts = _command(capsys, "measure", *arguments, "--json")
    assert status == ConfigInvalid.exit_status
    assert "'init_script' is unknown" in facts["message"]


# --- the forms of evidence ------------------------------------------------------------------------


def test_a_daemons_page_names_the_keys_beside_the_evidence(machine, evidence):
    shown = decode_shown(_page(machine, evidence), "page")
    assert shown.evidence == evidence
    assert shown.report_data == machine.report_data


def test_evidence_alone_names_no_keys(evidence):
    shown = decode_shown(encode_evidence(evidence), "file")
    assert (shown.evidence, shown.report_data) == (evidence, None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "'quote' is missing"),
        (b'{"evidence": null}', "none just now"),
        (b'{"evidence": {}}', "'tls_public_key' is missing"),
        (b'{"tee_participant_info": {"Mock": "Valid"}}', "a mock"),
        (b'{"tee_participant_info": {"Dstack": {"tcb_info": {}, "quote": [256]}}}', "range"),
        (b'{"tee_participant_info": {"Dstack": {"tcb_info": {}, "quote": [true]}}}', "list of numbers"),
        (b" " * (MAX_INPUT_BYTES + 1), "more than"),
    ],
)
def test_what_is_no_evidence_is_refused_with_a_reason(data, words):
    with pytest.raises(ConfigInvalid, match=words):
        decode_shown(data, "file")


def test_evidence_is_read_from_a_live_endpoint(machine, evidence, live):
    shown = fetch_shown(live(_page(machine, evidence)) + "/")
    assert shown.evidence == evidence


@pytest.mark.parametrize(
    ("body", "status", "error"), [(b"{}", 500, AttestationUnavailable), (b"x", 200, ConfigInvalid)]
)
def test_an_endpoint_without_evidence_is_told(live, body, status, error):
    with pytest.raises(error):
        fetch_shown(live(body, status=status))


def test_an_endpoint_that_sends_without_end_is_cut_off(live):
    with pytest.raises(ConfigInvalid, match="more than"):
        fetch_shown(live(b" " * (2 * MAX_INPUT_BYTES)))


def test_nobody_at_the_address_is_told():
    with pytest.raises(AttestationUnavailable, match="cannot be read"):
        fetch_shown("http://127.0.0.1:9")


@pytest.fixture
def live():
    """Serves one body at /public_data on a free port, from another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runners = []

    async def serve(body, status):
        async def answer(_request):
            return web.Response(body=body, status=status)

        application = web.Application()
        application.router.add_get("/public_data", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield lambda body, status=200: asyncio.run_coroutine_threadsafe(serve(body, status), loop).result(10)
    for runner in runners:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_the_commands_help_imports_no_verifier():
    code = (
        "import sys; from sharekeeper.cli.main import root; from sharekeeper.cli.outcome import run; "
        "run(root, 'sharekeeper', ['attestation', 'verify', '--help']); "
        "sys.exit(any(name in sys.modules for name in ('dcap_qvl', 'aiohttp', 'cryptography')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=False).returncode == 0


def _page(machine, evidence):
    keys = {"tls_public_key": str(machine.tls.tls_key), "account_public_key": str(machine.account.signer_key)}
    return json.dumps(keys | {"evidence": json.loads(encode_evidence(evidence))}).encode()


def _verify(machine, policy, evidence_file):
    options = ["--evidence", str(evidence_file), "--role", machine.role.value, "--policy", str(policy)]
    return ["verify", *options, "--at", str(NOW_S), "--json"]


def _command(capsys, *arguments):
    status = run(root, "sharekeeper", ["attestation", *arguments])
    return status, json.loads(capsys.readouterr().out)


def _policy(machine):
    parameters, measured = machine.parameters, machine.guest.measurements
    lines = [
        "[compose]",
        f'account_id = "{parameters.account_id}"',
        f'chain_id = "{parameters.network.chain_id}"',
        f'genesis_hash = "{parameters.network.genesis_hash}"',
        f'contract_id = "{parameters.network.contract_id}"',
        f'transfer = "{parameters.transfer}"',
        *([f'vault = "{parameters.vault}"', f"slot = {parameters.slot}"] if parameters.vault else []),
        "[allowed]",
        f"{machine.role.name.lower()} = {json.dumps([image for image in (*_images(machine),) if image])}",
        "[[allowed.measurements]]",
        *(f'{one.name} = "{getattr(measured, one.name)}"' for one in fields(Measurements)),
    ]
    return "\n".join(lines) + "\n"


def _images(machine):
    return machine.images.agent, machine.images.near, machine.images.mpc
