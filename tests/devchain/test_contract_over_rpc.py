"""The contract's call sequences, played over RPC: real transactions, real blocks, the heights of the sequence.

The calls that change something make one history. A view, or a call that is refused, is checked on that history
when it sees there what the sequence says it sees: the calls before it and none after. The others, such as a view of
a later height that stands before a call, are checked on histories that end with the calls before them.
"""

import base64
import hashlib
import json
from pathlib import Path

import aiohttp
import pytest
from py_near import transactions as py_near

from sharekeeper_devnet.chain import NEAR, DevChain, Genesis, GenesisAccount
from sharekeeper_devnet.chain.transaction import AccessKey, FullAccess
from sharekeeper_devnet.runtime import PublicKey
from tests.contract.sequences import SEQUENCES
from tests.contract.steps import Call, Look, Sequence
from tests.contract.world import CONTRACT, NOW, key, raw_key
from tests.devchain.conftest import ALICE, TERA, Client

WASM = Path(__file__).parents[2] / "agent" / "contract" / "mpc_contract.wasm"
GAS = 50 * TERA

Step = Call | Look
pytestmark = pytest.mark.skipif(not WASM.exists(), reason="agent/contract/mpc_contract.wasm is not built")


def secret(signer: str) -> bytes:
    """Seed and public key of the signer of that name."""
    return hashlib.sha256(signer.encode()).digest() + raw_key(signer)


def raw(args: object) -> bytes:
    return args if isinstance(args, bytes) else json.dumps(args).encode()


def genesis_of(steps: tuple[Step, ...]) -> Genesis:
    """The contract, and every account with every key the steps sign with."""
    signers: dict[str, set[str]] = {CONTRACT: set()}
    for step in steps:
        if isinstance(step, Call):
            signers.setdefault(step.caller, set()).add(step.signer)
    access = AccessKey(nonce=0, permission=FullAccess())
    accounts = tuple(
        GenesisAccount(
            account_id=account_id,
            balance=1_000 * NEAR,
            keys=tuple((PublicKey.from_text(key(name)), access) for name in sorted(names)),
            code=WASM.read_bytes() if account_id == CONTRACT else b"",
        )
        for account_id, names in signers.items()
    )
    return Genesis(chain_id="dev", genesis_time_ns=NOW * 10**9, accounts=accounts)


class Play:
    """One sequence on one chain."""

    def __init__(self, client: Client, name: str) -> None:
        self.client = client
        self.name = name
        self.nonce = 0
        self.hashes: dict[int, str] = {}

    async def submit(self, number: int, call: Call) -> None:
        self.nonce += 1
        action = py_near.create_function_call_action(call.method, raw(call.args), GAS, 0)
        arguments = (call.caller, secret(call.signer), CONTRACT, self.nonce, [action], self.client.chain.tip.head.hash)
        signed = py_near.sign_and_serialize_transaction(*arguments)
        self.hashes[number] = await self.client.rpc("broadcast_tx_async", [signed])

    async def check_call(self, number: int, call: Call) -> None:
        where = f"{self.name}, step {number}, {call.method}"
        result = await self.client.rpc("tx", [self.hashes[number], call.caller])
        executed_in = await self.client.rpc("block", [result["receipts_outcome"][0]["block_hash"]])
        assert executed_in["header"]["height"] == call.height, where
        status = result["status"]
        if call.refusal is None:
            assert "SuccessValue" in status, f"{where}: {status}"
            assert json.loads(base64.b64decode(status["SuccessValue"])) == call.result, where
            return
        error = status["Failure"]["ActionError"]["kind"]["FunctionCallError"]["ExecutionError"]
        assert error.startswith("Smart contract panicked: "), where
        assert call.refusal in error, where

    async def check_look(self, number: int, look: Look) -> None:
        where = f"{self.name}, step {number}, {look.method}"
        answer = await self.client.view(look.method, raw(look.args), CONTRACT, block_id=look.height)
        if look.refusal is not None:
            assert look.refusal in answer["error"], where
            return
        assert "error" not in answer, f"{where}: {answer}"
        value = json.loads(bytes(answer["result"]))
        for part in look.path:
            value = value[part]
        assert value == look.value, where


Numbered = tuple[int, Step]


def changes(step: Step) -> bool:
    return isinstance(step, Call) and step.refusal is None


def fits(step: Step, overtaking: Step | None) -> bool:
    """Whether `step` sees nothing of `overtaking`, the next call that changes something, on one history with it."""
    if overtaking is None or step.height < overtaking.height:
        return True
    return step.height == overtaking.height and isinstance(step, Call)  # calls of one block run in order


def plays(sequence: Sequence) -> list[list[Numbered]]:
    """Histories that together check every step."""
    steps = list(enumerate(sequence.steps, 1))
    whole: list[Numbered] = []
    beginnings: dict[int, list[Numbered]] = {}
    history: list[Numbered] = []
    for position, (number, step) in enumerate(steps):
        if changes(step):
            history.append((number, step))
            whole.append((number, step))
            continue
        assert not history or step.height >= history[-1][1].height, "no chain goes back in height"
        following = next((later for _, later in steps[position:] if changes(later)), None)
        if fits(step, following):
            whole.append((number, step))
        else:
            beginnings.setdefault(len(history), list(history)).append((number, step))
    return [whole, *beginnings.values()]


async def play(client: Client, name: str, steps: list[Numbered]) -> set[int]:
    """Plays `steps` block by block; returns the numbers of those it checked."""
    game, checked = Play(client, name), set()
    groups: dict[int, list[Numbered]] = {}
    for number, step in steps:
        groups.setdefault(step.height, []).append((number, step))
    before = {height - 1 for height, group in groups.items() if any(is_remote(step) for _, step in group)}
    for height in sorted(set(groups) | before):
        for number, step in groups.get(height, []):
            if isinstance(step, Call) and not is_remote(step):
                await game.submit(number, step)
        for number, step in groups.get(height + 1, []):
            if isinstance(step, Call) and is_remote(step):
                await game.submit(number, step)
        if height > client.chain.tip.head.height:
            await client.chain.skip_to(height)
        for number, step in groups.get(height, []):
            await (game.check_call(number, step) if isinstance(step, Call) else game.check_look(number, step))
            checked.add(number)
    return checked


def is_remote(step: Step) -> bool:
    """Whether the step's receipt runs one block after its transaction."""
    return isinstance(step, Call) and step.caller != CONTRACT


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda sequence: sequence.name)
async def test_the_sequence_comes_out_over_rpc_as_written(tmp_path, sequence):
    checked: set[int] = set()
    async with aiohttp.ClientSession() as session:
        for number, steps in enumerate(plays(sequence)):
            started = genesis_of(sequence.steps)
            async with DevChain(tmp_path / str(number), started, block_time_ms=None) as chain:
                checked |= await play(Client(chain, session), sequence.name, steps)
    assert checked == set(range(1, len(sequence.steps) + 1))


async def test_the_contract_is_deployed_by_a_transaction_and_answers(client):
    code = WASM.read_bytes()
    actions = [
        py_near.create_deploy_contract_action(code),
        py_near.create_function_call_action("version", b"{}", GAS, 0),
    ]
    result = await client.send("test.near", ALICE, "test.near", actions)
    answer = await client.view("version", b"{}", "test.near")
    assert bytes(answer["result"]) == base64.b64decode(result["status"]["SuccessValue"])
    shown = await client.query("view_code", account_id="test.near")
    assert base64.b64decode(shown["code_base64"]) == code
