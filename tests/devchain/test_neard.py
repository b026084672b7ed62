"""`devnet-neard`: its files, its refusals, its life as a process."""

import asyncio
import json
import os
import signal
import stat
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from sharekeeper.crypto.keypair import KeyPair
from sharekeeper_devnet.chain.genesis import decode_genesis
from sharekeeper_devnet.neard import main
from tests.devchain.conftest import ALICE, BOB


def neard(home: Path, *arguments: str):
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


def initialised(home: Path, *arguments: str) -> Path:
    result = neard(home, "init", "--chain-id", "dev", "--rpc-addr", "127.0.0.1:0", "--block-time-ms", "20", *arguments)
    assert result.exit_code == 0, result.output
    return home


async def spawn(home: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sharekeeper_devnet.neard", "--home", str(home), *arguments),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "agent")},
    )


async def refusal(home: Path, *arguments: str) -> str:
    """What `run` says on standard error before it ends with 1."""
    process = await spawn(home, "run", *arguments)
    _, error = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    return error.decode()


@asynccontextmanager
async def running(home: Path):
    """A node process; yields it and the URL it says it serves."""
    process = await spawn(home, "run")
    try:
        line = (await asyncio.wait_for(process.stderr.readline(), 20)).decode()
        assert "RPC on http://" in line, line
        yield process, line.split("RPC on ")[1].strip()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_init_writes_neards_files_and_keeps_secrets_to_the_owner(tmp_path):
    home = initialised(tmp_path / "home")
    assert {path.name for path in home.iterdir()} == {
        "config.json",
        "genesis.json",
        "node_key.json",
        "validator_key.json",
    }
    for name in ("node_key.json", "validator_key.json"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
        file = json.loads((home / name).read_text())
        assert str(KeyPair.parse(file["secret_key"]).signer_key) == file["public_key"]
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_init_puts_the_validator_and_the_given_accounts_into_the_genesis(tmp_path):
    accounts = tmp_path / "accounts.json"
    accounts.write_text(
        json.dumps(
            [
                {"account_id": "alice.test.near", "public_key": ALICE.public, "balance": "7"},
                {"account_id": "bob.test.near", "public_key": BOB.public, "balance": str(10**27)},
            ]
        )
    )
    home = initialised(tmp_path / "home", "--accounts", str(accounts))
    genesis = decode_genesis((home / "genesis.json").read_text())
    assert [(each.account_id, each.balance) for each in genesis.accounts] == [
        ("test.near", 10**33),
        ("alice.test.near", 7),
        ("bob.test.near", 10**27),
    ]
    assert str(genesis.accounts[1].keys[0][0]) == ALICE.public


def test_init_twice_changes_nothing_and_says_so(tmp_path):
    home = initialised(tmp_path / "home")
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    result = neard(home, "init", "--chain-id", "dev", "--rpc-addr", "127.0.0.1:9")
    assert (result.exit_code, "nothing was changed" in result.output) == (0, True)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


def test_init_for_another_chain_is_refused(tmp_path):
    result = neard(initialised(tmp_path / "home"), "init", "--chain-id", "other")
    assert result.exit_code == 1
    assert "is the home of a dev node" in result.output


def test_an_init_that_was_cut_short_is_finished_with_the_same_keys(tmp_path):
    home = initialised(tmp_path / "home")
    (home / "config.json").unlink()
    key = (home / "validator_key.json").read_bytes()
    initialised(home)
    assert (home / "validator_key.json").read_bytes() == key


@pytest.mark.parametrize("chain_id", ["mainnet", "testnet"])
def test_a_dev_chain_never_passes_for_a_public_chain(tmp_path, chain_id):
    result = neard(tmp_path / "home", "init", "--chain-id", chain_id)
    assert result.exit_code == 2
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--account-id", "A"), "is no account id"),
        (("--rpc-addr", "3030"), "is not host:port"),
        (("--rpc-addr", "127.0.0.1:70000"), "is not host:port"),
        (("--block-time-ms", "1"), "block-time-ms"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, arguments, message):
    result = neard(tmp_path / "home", "init", "--chain-id", "dev", *arguments)
    assert (result.exit_code, message in result.output) == (2, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[{}]", "lacks the field 'account_id'"),
        ('[{"account_id": "a.near", "public_key": "x", "balance": "1"}]', "is no public key"),
        (f'[{{"account_id": "a.near", "public_key": "{ALICE.public}", "balance": 1}}]', "should be a string"),
        (f'[{{"account_id": "a.near", "public_key": "{ALICE.public}", "balance": "-1"}}]', "must lie between"),
        (f'[{{"account_id": "test.near", "public_key": "{ALICE.public}", "balance": "1"}}]', "more than once"),
    ],
)
def test_an_accounts_file_that_makes_no_sense_is_refused(tmp_path, text, message):
    accounts = tmp_path / "accounts.json"
    accounts.write_text(text)
    result = neard(tmp_path / "home", "init", "--chain-id", "dev", "--accounts", str(accounts))
    assert (result.exit_code, message in result.output) == (1, True), result.output


def test_a_given_genesis_makes_the_same_chain_elsewhere(tmp_path):
    first = initialised(tmp_path / "first")
    second = initialised(tmp_path / "second", "--genesis", str(first / "genesis.json"))
    digests = {decode_genesis((home / "genesis.json").read_text()).digest for home in (first, second)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", '{"rpc": {"addr": "x"}, "consensus": {"min_block_production_delay": 3}}', "rpc.addr"),
        ("config.json", '{"rpc": {"addr": "x"}, "consensus": {"min_block_production_delay": 3}}', "at least 10 ms"),
        ("genesis.json", "{}", "lacks the field 'chain_id'"),
        ("genesis.json", '{"chain_id": 1, "genesis_time": "", "records": []}', "should be a string"),
        ("node_key.json", "[]", "is no key file"),
        ("validator_key.json", '{"account_id": "", "public_key": "ed25519:1"}', "32 bytes"),
    ],
)
def test_a_broken_file_is_named_before_anything_runs(tmp_path, name, text, message):
    home = initialised(tmp_path / "home")
    (home / name).write_text(text)
    result = neard(home, "run")
    assert (result.exit_code, message in result.output) == (1, True), result.output
    assert not (home / "data").exists()


def test_run_without_init_says_what_to_do(tmp_path):
    result = neard(tmp_path, "run")
    assert result.exit_code == 1
    assert "init` first" in result.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_node_cleanly_and_it_continues_where_it_was(tmp_path, number):
    home = initialised(tmp_path / "home")
    async with running(home) as (process, url), aiohttp.ClientSession() as session:
        async with session.get(url + "/status") as response:
            first = await response.json()
        await asyncio.sleep(0.2)
        process.send_signal(number)
        rest = (await asyncio.wait_for(process.stderr.read(), 10)).decode()
        assert await process.wait() == 0
    stopped_at = int(rest.split("stopping at height ")[1].split()[0])
    async with running(home) as (_, url), aiohttp.ClientSession() as session, session.get(url + "/status") as response:
        again = await response.json()
    assert again["genesis_hash"] == first["genesis_hash"]
    assert again["sync_info"]["latest_block_height"] >= stopped_at > 0


async def test_a_second_node_on_one_home_is_refused_in_one_line(tmp_path):
    home = initialised(tmp_path / "home")
    async with running(home):
        text = await refusal(home)
    assert text == f"Error: another process runs on {home / 'data'}; stop it first\n"


async def test_a_changed_genesis_is_refused(tmp_path):
    home = initialised(tmp_path / "home")
    async with running(home):
        pass
    genesis = json.loads((home / "genesis.json").read_text())
    genesis["records"][0]["Account"]["account"]["amount"] = "1"
    (home / "genesis.json").write_text(json.dumps(genesis))
    assert "another genesis.json" in await refusal(home)


async def test_a_taken_address_is_named(tmp_path):
    home = initialised(tmp_path / "home")
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        text = await refusal(home, "--rpc-addr", f"127.0.0.1:{port}")
    assert f"cannot run on 127.0.0.1:{port}" in text
