"""The contract is put on its account by the runbook and by the playbook, on a real chain, and never over another one."""

import asyncio
import hashlib
import json
import os
import secrets
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.transactions import NearCaller, deploy_contract
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.deployment import deployed
from sharekeeper_devnet.chain import DevChain, Genesis, GenesisAccount

from .cli import AGENT, call
from .runbooks import EXECUTED, Operator, blocks
from .world import CHAIN_ID, CLOCK, CONTRACT, WASM

DEPLOY = EXECUTED["DEPLOY"]
DIGEST = hashlib.sha256(WASM.read_bytes()).hexdigest()
PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
EXAMPLE = PLAYBOOKS / "files" / "contract-init.example.json"
SMALLEST_WASM = bytes.fromhex("0061736d01000000")
PLAYBOOK_SECONDS = 50


def fresh_key():
    return KeyPair.generate(secrets.token_bytes(32))


def filled_in(example: str) -> str:
    """The example with a key of its own in every place for one."""
    while "ed25519:..." in example:
        example = example.replace("ed25519:...", str(fresh_key().signer_key), 1)
    return example


@dataclass
class Founder:
    """Whoever founds the network: the contract's account, and the files the runbook asks for."""

    rpc: NearRpc
    owner: KeyPair
    directory: Path
    chain: list[str]
    genesis_hash: str

    @property
    def key_file(self):
        return self.directory / "mpc.json"

    @property
    def init_file(self):
        return self.directory / "init.json"

    def deploy(self, capsys, *, wasm=WASM, sha256=DIGEST):
        files = ["--wasm", wasm, "--sha256", sha256, "--init", self.init_file, "--key-file", self.key_file]
        return call(capsys, "contract", "deploy", *files, *self.chain, "--json")

    def show(self, capsys, *, sha256=DIGEST):
        return call(capsys, "contract", "show", "--sha256", sha256, *self.chain, "--json")

    async def play(self, *extra):
        """The playbook's exit status and what it said."""
        facts = {
            "contract_id": CONTRACT,
            "contract_chain_id": CHAIN_ID,
            "contract_rpc_url": self.chain[1],
            "contract_key_file": str(self.key_file),
            "contract_init_file": str(self.init_file),
        }
        arguments = ["-e", json.dumps(facts), *(word for pair in extra for word in ("-e", pair))]
        process = await asyncio.create_subprocess_exec(
            *(
                str(Path(sys.executable).with_name("ansible-playbook")),
                str(PLAYBOOKS / "deploy_contract.yml"),
                *arguments,
            ),
            env={
                **os.environ,
                "PYTHONPATH": str(AGENT),
                "LC_ALL": "C.UTF-8",
                "HOME": str(self.directory),
                "ANSIBLE_CONFIG": str(PLAYBOOKS.parent / "ansible.cfg"),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(PLAYBOOK_SECONDS):
            output, _ = await process.communicate()
        return process.returncode, output.decode()


@asynccontextmanager
async def founding(directory):
    owner = fresh_key()
    account = GenesisAccount.with_full_access_key(CONTRACT, str(owner.signer_key))
    genesis = Genesis(chain_id=CHAIN_ID, genesis_time_ns=time.time_ns(), accounts=(account,))
    async with DevChain(directory / "chain", genesis, block_time_ms=80) as chain:
        options = ["--rpc-url", chain.rpc_url, "--chain-id", CHAIN_ID, "--contract-id", CONTRACT]
        reader = NearRpc(url=chain.rpc_url, contract_id=CONTRACT, chain_id=CHAIN_ID, genesis_hash=None, clock=CLOCK)
        async with reader as rpc:
            network = await rpc.network()
            founder = Founder(rpc, owner, directory / "founder", options, network.genesis_hash)
            founder.directory.mkdir()
            founder.key_file.touch(mode=0o600)
            secret = owner.text().reveal().decode()
            founder.key_file.write_text(json.dumps({"account_id": CONTRACT, "private_key": secret}))
            founder.init_file.write_text(filled_in(EXAMPLE.read_text()))
            yield founder


async def no_units(verb, unit):
    raise AssertionError(f"{verb} {unit}: there is no daemon yet")


async def test_the_runbook_puts_the_contract_on_its_account_and_every_operator_can_check_it(tmp_path):
    async with founding(tmp_path) as founder:
        facts = {
            "CONTRACT": CONTRACT,
            "CHAIN_ID": CHAIN_ID,
            "RPC_URL": founder.chain[1],
            "GENESIS_HASH": founder.genesis_hash,
            "KEY_FILE": founder.key_file,
            "INIT_FILE": founder.init_file,
            "WASM": WASM,
            "SHA256": DIGEST,
        }
        await Operator(founder.directory, facts, supervise=no_units).follow(blocks(DEPLOY))
        found = await deployed(founder.rpc)
        assert (found.code, found.state) == (DIGEST, "Running")
        assert found.full_access_keys == (str(founder.owner.signer_key),)


async def test_the_playbook_deploys_once_and_changes_nothing_the_second_time(tmp_path):
    async with founding(tmp_path) as founder:
        status, output = await founder.play()
        assert status == 0, output
        assert "changed=1" in output
        assert (await deployed(founder.rpc)).code == DIGEST
        status, output = await founder.play()
        assert status == 0, output
        assert "changed=0" in output


async def test_a_public_network_wants_the_account_typed_once_more(tmp_path):
    async with founding(tmp_path) as founder:
        status, output = await founder.play("contract_chain_id=testnet", "contract_genesis_hash=FWJ9kR6KFWoyMoNjpLXX")
        assert status != 0
        assert f"contract_confirm={CONTRACT}" in " ".join(output.split())
        assert (await deployed(founder.rpc)).code is None


async def test_an_account_with_other_code_is_left_as_it_is(tmp_path, capsys):
    async with founding(tmp_path) as founder:
        caller = NearCaller(rpc=founder.rpc, account_id=CONTRACT, key=founder.owner, contract_id=CONTRACT, clock=CLOCK)
        await caller.send_actions(CONTRACT, [deploy_contract(SMALLEST_WASM)])
        refused = await founder.deploy(capsys)
        assert (refused.status, refused.json["code"]) == (10, "operator_fault")
        assert "runs other code already" in refused.json["message"]
        assert "do not trust it" in (await founder.show(capsys)).json["message"]


async def test_code_and_init_take_effect_together_or_not_at_all(tmp_path, capsys):
    async with founding(tmp_path) as founder:
        arguments = json.loads(founder.init_file.read_text())
        arguments["parameters"]["threshold"] = 4
        founder.init_file.write_text(json.dumps(arguments))
        refused = await founder.deploy(capsys)
        assert refused.json["code"] == "transaction_failed"
        assert "threshold" in refused.json["message"]
        assert (await deployed(founder.rpc)).code is None


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ("[]", "is not a JSON object"), (None, "cannot be read: No such file or directory")],
)
async def test_bad_arguments_are_named_before_anything_is_sent(tmp_path, capsys, content, message):
    async with founding(tmp_path) as founder:
        founder.init_file.unlink() if content is None else founder.init_file.write_text(content)
        refused = await founder.deploy(capsys)
        assert refused.json["code"] == "config_invalid"
        assert message in refused.json["message"]


async def test_another_file_than_the_one_meant_is_not_deployed(tmp_path, capsys):
    async with founding(tmp_path) as founder:
        other = tmp_path / "other.wasm"
        other.write_bytes(SMALLEST_WASM)
        refused = await founder.deploy(capsys, wasm=other)
        assert "make contract-check" in refused.json["message"]
        assert (await deployed(founder.rpc)).code is None
