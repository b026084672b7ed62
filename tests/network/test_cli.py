"""The `devnet` command and the node's process, as an operator of a rehearsal uses them."""

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sharekeeper.adapters.durable_file import write_file
from sharekeeper.adapters.transactions import deploy_contract
from sharekeeper.cli.outcome import run
from sharekeeper.domain.identity import Role
from sharekeeper.errors import ConfigInvalid
from sharekeeper.keys import generate, read_operator_key
from sharekeeper_devnet.chain.genesis import decode_accounts
from sharekeeper_devnet.cli import root
from sharekeeper_devnet.network.config import load_mpc_node
from tests.network.rehearsal import CONTRACT, WASM, Rehearsal, key_pair, rehearsal


@pytest.fixture
def devnet(capsys: pytest.CaptureFixture[str]):
    """Runs `devnet ... --json`; returns its exit status and what it printed."""

    def call(*arguments: object) -> tuple[int, dict[str, object]]:
        status = run(root, "devnet", [*map(str, arguments), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return call


def write_participants(path: Path, names: tuple[str, ...] = ("alice", "bob", "carol")) -> Path:
    members = [
        {
            "account_id": f"{name}.test.near",
            "url": f"http://127.90.0.{number}:8090",
            "tls_public_key": str(key_pair().tls_key),
            "signer_account_pk": str(key_pair().signer_key),
            "keyshares_dir": f"{name}/keyshares",
        }
        for number, name in enumerate(names, 1)
    ]
    path.write_text(json.dumps(members))
    return path


# --- accounts ---------------------------------------------------------------------------------------


def test_accounts_makes_private_key_files_and_a_file_the_dev_chain_reads(devnet, tmp_path: Path) -> None:
    arguments = ("accounts", "--account", "alice.test.near", "--account", CONTRACT)
    places = ("--keys-dir", tmp_path / "operator", "--out", tmp_path / "accounts.json")
    status, first = devnet(*arguments, *places)
    assert (status, first["type"], first["changed"]) == (0, "accounts", True)
    key_file = tmp_path / "operator" / "alice.test.near"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file.parent.stat().st_mode) == 0o700
    assert first["accounts"][0]["public_key"] == str(read_operator_key(key_file).signer_key)
    made = decode_accounts((tmp_path / "accounts.json").read_text())
    assert [(each.account_id, each.balance) for each in made] == [
        ("alice.test.near", 1000 * 10**24),
        (CONTRACT, 1000 * 10**24),
    ]
    status, second = devnet(*arguments, *places)
    assert (status, second["changed"], second["accounts"]) == (0, False, first["accounts"])


# --- deal -------------------------------------------------------------------------------------------


def test_deal_writes_shares_and_init_file_once(devnet, tmp_path: Path) -> None:
    members = write_participants(tmp_path / "participants.json")
    arguments = ("deal", "--threshold", 2, "--participants", members, "--epoch", 5, "--out", tmp_path / "init.json")
    settings = ("--set", "recovery_cooldown_blocks=10")
    status, first = devnet(*arguments, *settings)
    assert (status, first["changed"]) == (0, True)
    init = json.loads((tmp_path / "init.json").read_text())
    assert init["config"] == {"recovery_cooldown_blocks": 10}
    assert len(init["keyset"]["domains"]) == 3
    assert devnet(*arguments, *settings) == (0, {**first, "changed": False})
    status, refused = devnet(*arguments, "--set", "recovery_cooldown_blocks=11")
    assert (status, refused["code"]) == (11, "config_invalid")
    assert "holds another deal" in refused["message"]


def test_a_deal_without_domains_is_an_init_file_and_no_shares(devnet, tmp_path: Path) -> None:
    members = write_participants(tmp_path / "participants.json")
    arguments = ("deal", "--threshold", 2, "--participants", members, "--epoch", 0, "--domains", 0)
    for changed in (True, False):
        status, made = devnet(*arguments, "--out", tmp_path / "init.json")
        assert (status, made["changed"]) == (0, changed)
    init = json.loads((tmp_path / "init.json").read_text())
    assert init["domains"] == {"domains": [], "next_domain_id": 0}
    assert init["keyset"] == {"epoch_id": 0, "domains": []}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["init.json", "participants.json"]


def test_deal_says_when_the_shares_of_an_earlier_deal_are_gone(devnet, tmp_path: Path) -> None:
    members = write_participants(tmp_path / "participants.json")
    arguments = ("deal", "--threshold", 2, "--participants", members, "--epoch", 5, "--out", tmp_path / "init.json")
    devnet(*arguments)
    next((tmp_path / "bob" / "keyshares" / "permanent").iterdir()).unlink()
    status, refused = devnet(*arguments)
    assert status == 11
    assert "lacks the shares" in refused["message"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "not valid JSON"),
        ("[]", "1 to 400 participants"),
        ('[{"account_id": "a.near"}]', "'tls_public_key'|'url'"),
        (None, "cannot be read"),
    ],
)
def test_deal_refuses_a_participants_file_it_cannot_use(devnet, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "participants.json"
    if content is not None:
        path.write_text(content)
    status, refused = devnet(
        "deal", "--threshold", 1, "--participants", path, "--epoch", 0, "--out", tmp_path / "init.json"
    )
    assert status == 11
    assert re.search(message, refused["message"])
    assert not (tmp_path / "init.json").exists()


@pytest.mark.parametrize("options", [("--threshold", 4), ("--threshold", 1, "--set", "nonsense")])
def test_deal_refuses_a_plan_that_cannot_work(devnet, tmp_path: Path, options: tuple[object, ...]) -> None:
    members = write_participants(tmp_path / "participants.json")
    out = tmp_path / "init.json"
    status, refused = devnet("deal", *options, "--participants", members, "--epoch", 0, "--out", out)
    assert (status, refused["code"]) == (11, "config_invalid")
    assert not out.exists()


@pytest.mark.parametrize("content", ["[]", "{}", "{"])
def test_deal_never_overwrites_another_file(devnet, tmp_path: Path, content: str) -> None:
    members = write_participants(tmp_path / "participants.json")
    out = tmp_path / "init.json"
    out.write_text(content)
    status, refused = devnet("deal", "--threshold", 2, "--participants", members, "--epoch", 5, "--out", out)
    assert status == 11
    assert "not an init file" in refused["message"]
    assert out.read_text() == content


# --- on the chain -------------------------------------------------------------------------------------


def key_file(network: Rehearsal) -> Path:
    path = network.directory / "owner.key"
    write_file(path, network.owner.text().reveal() + b"\n")
    return path


async def test_deploy_and_sign_from_the_command_line(devnet, tmp_path: Path) -> None:
    async with rehearsal(tmp_path) as network:
        key = ("--rpc", network.chain.rpc_url, "--key-file", key_file(network))
        deploy = ("deploy", *key, "--wasm", WASM, "--init", tmp_path / "init.json", "--contract-id", CONTRACT)
        assert await asyncio.to_thread(devnet, *deploy) == (
            0,
            {"schema": 1, "type": "deploy", "changed": False, "contract_id": CONTRACT},
        )
        (tmp_path / "other.wasm").write_bytes(WASM.read_bytes() + b"\0")
        status, refused = await asyncio.to_thread(devnet, *deploy, "--wasm", tmp_path / "other.wasm")
        assert (status, refused["code"]) == (10, "operator_fault")
        assert "runs other code" in refused["message"]

        sign = ("sign", *key, "--contract", CONTRACT, "--account", CONTRACT, "--message", "hello")
        status, unanswered = await asyncio.to_thread(devnet, *sign, "--timeout-blocks", 3)
        assert (status, unanswered["code"]) == (4, "unanswered")

        await network.start("alice", "carol")
        status, made = await asyncio.to_thread(devnet, *sign)
        assert (status, made["type"], made["request_id"]) == (0, "signature", 2)
        assert len(bytes.fromhex(made["signature"])) == 64
        assert made["public_key"].startswith("ed25519:")
        assert made["seconds"] > 0


async def test_deploy_goes_on_where_an_earlier_one_stopped(devnet, tmp_path: Path) -> None:
    async with rehearsal(tmp_path, deployed=False) as network:
        caller = await network.caller(CONTRACT, network.owner)
        await caller.send_actions(CONTRACT, [deploy_contract(WASM.read_bytes())])
        key = ("--rpc", network.chain.rpc_url, "--key-file", key_file(network), "--contract-id", CONTRACT)
        deploy = ("deploy", *key, "--wasm", WASM, "--init", tmp_path / "init.json")
        assert (await asyncio.to_thread(devnet, *deploy))[1]["changed"] is True
        assert (await asyncio.to_thread(devnet, *deploy))[1]["changed"] is False


async def test_devnet_refuses_public_networks(devnet, tmp_path: Path) -> None:
    async with rehearsal(tmp_path, chain_id="testnet", deployed=False) as network:
        key = ("--rpc", network.chain.rpc_url, "--key-file", key_file(network))
        asked = ("sign", *key, "--contract", CONTRACT, "--account", CONTRACT, "--message", "x")
        status, refused = await asyncio.to_thread(devnet, *asked)
    assert (status, refused["code"]) == (10, "operator_fault")
    assert "rehearsal chains only" in refused["message"]


async def test_a_keyset_without_an_ed25519_key_cannot_sign(devnet, tmp_path: Path) -> None:
    async with rehearsal(tmp_path, domains=1) as network:
        key = ("--rpc", network.chain.rpc_url, "--key-file", key_file(network))
        asked = ("sign", *key, "--contract", CONTRACT, "--account", CONTRACT, "--message", "x")
        status, refused = await asyncio.to_thread(devnet, *asked)
    assert (status, refused["code"]) == (10, "operator_fault")
    assert "no Ed25519 key" in refused["message"]


@pytest.mark.parametrize("content", [None, "[]", "{"])
def test_deploy_refuses_an_init_file_it_cannot_use(devnet, tmp_path: Path, content: str | None) -> None:
    init, wasm = tmp_path / "init.json", tmp_path / "contract.wasm"
    wasm.write_bytes(b"")
    if content is not None:
        init.write_text(content)
    status, refused = devnet(
        "deploy", "--rpc", "http://127.0.0.1:9", "--wasm", wasm, "--init", init,
        "--key-file", tmp_path / "key", "--contract-id", CONTRACT,
    )  # fmt: skip
    assert (status, refused["code"]) == (11, "config_invalid")
    assert "init.json" in refused["message"]


def test_people_get_lines_and_errors_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--keys-dir", str(tmp_path / "keys"), "--out", str(tmp_path / "accounts.json")]
    assert run(root, "devnet", ["accounts", "--account", "alice.test.near", *places]) == 0
    assert "changed" in capsys.readouterr().out
    assert run(root, "devnet", ["accounts", "--account", "Not An Account", *places]) == 2
    assert "not a NEAR account id" in capsys.readouterr().err


def test_a_chain_that_does_not_answer_is_told(devnet, tmp_path: Path) -> None:
    key = tmp_path / "key"
    write_file(key, key_pair().text().reveal() + b"\n")
    status, refused = devnet(
        "sign", "--rpc", "http://127.0.0.1:9", "--contract", CONTRACT, "--account", CONTRACT,
        "--key-file", key, "--message", "x",
    )  # fmt: skip
    assert (status, refused["code"]) == (31, "chain_unavailable")


def test_a_usage_error_is_json_too(devnet) -> None:
    status, refused = devnet("sign")
    assert (status, refused["code"]) == (2, "usage")


# --- the node's process -------------------------------------------------------------------------------

NODE = (sys.executable, "-m", "sharekeeper_devnet.network.node", "run", "--config")


def node_config(tmp_path: Path, chain_id: str = "dev") -> Path:
    path = tmp_path / "node.toml"
    path.write_text(
        'account_id = "alice.test.near"\nkeys_dir = "keys"\nkeyshares_dir = "keyshares"\n'
        'listen = "127.0.0.1:0"\nhealth_address = "127.0.0.1:0"\n'
        f'[near]\nrpc_url = "http://127.0.0.1:9"\nchain_id = "{chain_id}"\ncontract_id = "mpc.test.near"\n'
    )
    return path


def test_the_node_stays_up_without_a_chain_and_ends_on_sigterm(tmp_path: Path) -> None:
    generate(tmp_path / "keys", Role.NODE)
    (tmp_path / "keyshares").mkdir()
    with subprocess.Popen([*NODE, node_config(tmp_path)], stderr=subprocess.PIPE, text=True) as process:
        line = process.stderr.readline()
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=20)
    assert time.monotonic() - started < 3  # it does not wait for the chain
    assert " idle reason=" in line
    assert "chain_unavailable" in line
    assert process.returncode == 0
    assert "Traceback" not in rest


def test_the_nodes_configuration_is_read_with_paths_relative_to_its_file(tmp_path: Path) -> None:
    config = load_mpc_node(node_config(tmp_path))
    assert (config.account_id, config.near.contract_id) == ("alice.test.near", CONTRACT)
    assert config.keyshares_dir == tmp_path / "keyshares"
    assert (config.listen.host, config.listen.port) == ("127.0.0.1", 0)


def test_every_mistake_of_the_nodes_configuration_is_told_at_once(tmp_path: Path) -> None:
    path = node_config(tmp_path, chain_id="mainnet")
    path.write_text(path.read_text().replace("127.0.0.1:0", "nowhere"))
    with pytest.raises(ConfigInvalid) as caught:
        load_mpc_node(path)
    assert all(name in str(caught.value) for name in ("listen", "health_address", "near.genesis_hash"))


def test_the_node_refuses_public_networks_and_incomplete_configurations(tmp_path: Path) -> None:
    public = subprocess.run(
        [*NODE, node_config(tmp_path, chain_id="testnet")], capture_output=True, text=True, timeout=20, check=False
    )
    assert public.returncode == 11
    assert "rehearsal only" in public.stderr
    assert "Traceback" not in public.stderr


def test_the_node_without_keys_says_which_file_is_missing(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CREDENTIALS_DIRECTORY"}
    (tmp_path / "keys").mkdir()
    ended = subprocess.run(
        [*NODE, node_config(tmp_path)], capture_output=True, text=True, timeout=20, check=False, env=environment
    )
    assert ended.returncode == 12
    assert "tls_key" in ended.stderr
