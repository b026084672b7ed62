"""The command line itself: help, usage, errors, exit statuses, interruption, completion, documentation."""

import importlib.metadata
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sharekeeper import errors
from sharekeeper.cli import completion, main, outcome
from sharekeeper.cli.common import DURATION, URL
from sharekeeper.errors import SharekeeperError

from .cli import AGENT, call, process

DOCS = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def leaves(command=None, words=("sharekeeper",)):
    """Every command that does something, with the words that call it."""
    command = command or main.root
    if not isinstance(command, click.Group):
        yield " ".join(words), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), (*words, name))


LEAVES = dict(leaves())


# --- help ---------------------------------------------------------------------------------------


def test_help_names_every_command_and_imports_none_of_them():
    script = (
        "import sys; from sharekeeper.cli.main import root; from sharekeeper.cli.outcome import run; "
        "run(root, 'sharekeeper', ['--help']); print(sorted(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(AGENT)}
    shown = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    for name in main.COMMANDS:
        assert f"\n  {name} " in shown.stdout
    for heavy in ("aiohttp", "asyncio", "cryptography", "pyrage", "py_near", "nacl"):
        assert f"'{heavy}'" not in shown.stdout


async def test_the_version_is_the_packages(capsys):
    ended = await call(capsys, "--version")
    assert ended.status == 0
    try:
        assert ended.out == f"sharekeeper {importlib.metadata.version('sharekeeper')}\n"
    except importlib.metadata.PackageNotFoundError:
        assert "not installed" in ended.out


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_help_of_a_command_agrees_with_the_list(name):
    module, line = main.COMMANDS[name]
    command = importlib.import_module(module).command
    assert command.help.splitlines()[0] == line


@pytest.mark.parametrize("name", LEAVES)
async def test_every_command_explains_itself(name, capsys):
    ended = await call(capsys, *name.split()[1:], "--help")
    assert ended.status == 0
    assert "Usage: sharekeeper" in ended.out
    for option in _options(LEAVES[name]):
        assert option.help, f"{name} {option.opts}"


@pytest.mark.parametrize("name", [name for name in LEAVES if name != "sharekeeper completion"])
def test_every_command_speaks_json_and_none_takes_a_secret(name):
    flags = {flag for option in _options(LEAVES[name]) for flag in option.opts}
    assert "--json" in flags
    assert not [flag for flag in flags if re.search("secret|password|seed|private", flag)]


def _options(command):
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


# --- docs/cli.md --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEAVES)
def test_the_documentation_has_every_command_with_exactly_its_options(name):
    section = re.search(rf"^### `{re.escape(name)}`\n(.*?)(?=^##|\Z)", DOCS, re.MULTILINE | re.DOTALL)
    assert section, f"docs/cli.md has no section {name}"
    documented = set(re.findall(r"^\| `(--[a-z0-9-]+)", section[1], re.MULTILINE))
    shared = {"--json"} | (NEAR_OPTIONS if "chain options" in section[1] else set())
    assert documented | shared == {flag for option in _options(LEAVES[name]) for flag in option.opts} | {"--json"}
    assert LEAVES[name].help.splitlines()[0] in section[1]
    for argument in LEAVES[name].params:
        assert isinstance(argument, click.Option) or f"| `{argument.human_readable_name}`" in section[1]


NEAR_OPTIONS = {"--config", "--rpc-url", "--chain-id", "--contract-id", "--genesis-hash"}


def test_the_documentation_has_no_other_commands():
    assert set(re.findall(r"^### `([^`]+)`", DOCS, re.MULTILINE)) == set(LEAVES)


def test_the_documentation_has_every_exit_status():
    found = {
        (error.exit_status, error.code, error.__doc__.splitlines()[0])
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, SharekeeperError)
    }
    rows = re.findall(r"^\| (\d+) \| `([a-z_]+)` \| (.+?) \|$", DOCS, re.MULTILINE)
    assert {(int(status), code, text) for status, code, text in rows} == found
    assert len({status for status, _, _ in found}) == len(found), "two errors share an exit status"
    assert f"| {outcome.USAGE_STATUS} | usage |" in DOCS
    assert f"| {outcome.INTERRUPTED_STATUS} | interrupted |" in DOCS


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command"),
        (["keys", "generate"], "Missing option '--role'"),
        (["keys", "generate", "--role", "king", "--dir", "x"], "king"),
        (["wait", "--until", "running"], "--rpc-url and --chain-id and --contract-id"),
        (["wait", "--until", "running", "--config", "x", "--rpc-url", "y"], "not both"),
        (["wait", "--until", "running", "--timeout", "soon"], "not a duration"),
        (["operator", "revoke", "--public-key", "ed25519:0"], "not an Ed25519 public key"),
        (["backup-service", "approve", "--account-id", "A"], "not a NEAR account id"),
        (["backup-service", "approve", "--url", "somewhere"], "not a participant url"),
    ],
)
async def test_a_usage_error_is_one_line_on_stderr_or_json_on_stdout(arguments, words, capsys):
    plain = await call(capsys, *arguments)
    assert plain.status == outcome.USAGE_STATUS
    assert plain.out == ""
    assert plain.err.startswith("error: ")
    assert plain.err.count("\n") == 1
    assert words in plain.err
    told = await call(capsys, *arguments, "--json")
    assert (told.status, told.err) == (outcome.USAGE_STATUS, "")
    assert (told.json["type"], told.json["code"]) == ("error", "usage")
    assert words in told.json["message"]


async def test_an_expected_error_has_its_own_exit_status_code_and_cure(tmp_path, capsys):
    plain = await call(capsys, "keys", "show", "--dir", tmp_path)
    assert plain.status == errors.KeysMissing.exit_status
    assert plain.err.startswith("error: ")
    assert "sharekeeper keys generate" in plain.err
    told = await call(capsys, "keys", "show", "--dir", tmp_path, "--json")
    assert (told.status, told.json["code"]) == (errors.KeysMissing.exit_status, "keys_missing")


async def test_every_mistake_of_a_configuration_is_told_at_once(tmp_path, capsys):
    config = tmp_path / "c.toml"
    config.write_text('account_id = "A"\n[backup_service]\npolicy = "yes"\n')
    for command in (["backup-service", "run"], ["vault", "list"], ["chain", "state"]):
        ended = await call(capsys, *command, "--config", config)
        assert ended.status == errors.ConfigInvalid.exit_status
        for word in ("account_id", "policy", "rpc_url"):
            assert word in ended.err


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), ("[", "TOML"), ("[near]\n", "one of the tables")]
)
async def test_a_file_that_is_no_configuration_is_told(tmp_path, capsys, content, words):
    config = tmp_path / "c.toml"
    if content is not None:
        config.write_text(content)
    ended = await call(capsys, "chain", "state", "--config", config)
    assert ended.status == errors.ConfigInvalid.exit_status
    assert words in ended.err


def test_an_interruption_ends_a_command_with_130_and_no_traceback():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        chain = ["--rpc-url", url, "--chain-id", "d", "--contract-id", "mpc.near"]
        waiting = process("wait", "--until", "running", *chain)
        silent.settimeout(20)
        accepted, _ = silent.accept()
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=20)
        accepted.close()
    assert waiting.returncode == outcome.INTERRUPTED_STATUS
    assert "error: interrupted" in err
    assert "Traceback" not in err


def test_a_reader_that_leaves_is_no_error_to_shout_about(tmp_path):
    shown = process("completion", "bash", stdout=subprocess.PIPE)
    shown.stdout.close()
    assert shown.stderr.read() == ""
    shown.stderr.close()
    assert shown.wait(timeout=20) in (0, 1)


async def test_a_wait_on_a_dead_endpoint_tells_why_and_times_out(unused_tcp_port, capsys):
    chain = ["--rpc-url", f"http://127.0.0.1:{unused_tcp_port}", "--chain-id", "d", "--contract-id", "mpc.near"]
    ended = await call(capsys, "wait", "--until", "running", "--timeout", "1s", *chain, "--json")
    assert (ended.status, ended.json["code"]) == (errors.WaitTimedOut.exit_status, "wait_timed_out")
    assert f"127.0.0.1:{unused_tcp_port}" in ended.err


# --- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("90m", 5400), ("6h", 21600), ("1d", 86400)])
def test_durations_have_a_unit(text, seconds):
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "1.5h", "0s", "٣h", "1w", "1 h"])
def test_a_duration_without_number_or_unit_is_refused(text):
    with pytest.raises(click.BadParameter, match="duration"):
        DURATION.convert(text, None, None)


def test_a_participant_url_has_scheme_host_and_a_limit():
    assert URL.convert("http://127.90.0.11:8090", None, None) == "http://127.90.0.11:8090"
    for text in ("127.0.0.1:80", "ftp://x", "http://", "http://" + "a" * 300):
        with pytest.raises(click.BadParameter, match="participant url"):
            URL.convert(text, None, None)


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["node", "backup-service"])
async def test_keys_are_made_once_and_shown_without_secrets(tmp_path, role, capsys):
    made = await call(capsys, "keys", "generate", "--role", role, "--dir", tmp_path / "keys", "--json")
    again = await call(capsys, "keys", "generate", "--role", role, "--dir", tmp_path / "keys", "--json")
    shown = await call(capsys, "keys", "show", "--dir", tmp_path / "keys", "--json")
    assert (made.json["changed"], again.json["changed"]) == (True, False)
    assert shown.json["role"] == role
    assert {**shown.json, "changed": True} == made.json
    assert set(shown.json) == {
        "schema",
        "type",
        "role",
        "tls_public_key",
        "account_public_key",
        "vault_recipient",
        "vault_signing_public_key",
    }
    plain = await call(capsys, "keys", "show", "--dir", tmp_path / "keys")
    for path in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for ended in (made, again, shown, plain):
            assert path.read_text().strip() not in ended.out + ended.err


# --- completion ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", completion.SHELLS)
async def test_the_completion_script_of_each_shell_names_the_command(shell, capsys):
    ended = await call(capsys, "completion", shell)
    assert ended.status == 0
    assert "_SHAREKEEPER_COMPLETE" in ended.out


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("sharekeeper v", "vault"), ("sharekeeper vault e", "export"), ("sharekeeper wait --u", "--until")],
)
def test_a_shell_completes_commands_and_options(words, wanted):
    asked = {"_SHAREKEEPER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    completing = process(env=asked)
    out, _ = completing.communicate(timeout=20)
    assert f"plain,{wanted}" in out.splitlines()
