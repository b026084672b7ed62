"""What operators do for key events in a rehearsal: vote, announce candidates, run nodes as processes to kill."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sharekeeper.adapters.durable_file import ensure_directory, write_file
from sharekeeper.domain.protocol_state import Participant, ProtocolState, Running
from tests.network.rehearsal import CONTRACT, Operator, Rehearsal

NODE = (sys.executable, "-m", "sharekeeper_devnet.network.node", "run", "--config")
PURPOSES = {"CaitSith": "Sign", "Frost": "Sign", "ConfidentialKeyDerivation": "CKD"}


async def state_of(network: Rehearsal) -> ProtocolState:
    rpc = await network.rpc()
    return await rpc.protocol_state(await rpc.head())


async def until_state(network: Rehearsal, kind: type, *, seconds: float = 40.0, where=lambda _state: True):
    """The first state of that kind for which `where` holds."""
    async with asyncio.timeout(seconds):
        while True:
            state = await state_of(network)
            if isinstance(state, kind) and where(state):
                return state
            await asyncio.sleep(0.05)


async def vote(network: Rehearsal, names: tuple[str, ...], method: str, arguments: dict[str, object]) -> None:
    """Each of those operators votes with its full-access key."""
    for name in names:
        operator = network.operators[name]
        await (await network.caller(operator.account_id, operator.full_access)).call(method, arguments)


async def add_domains(
    network: Rehearsal, names: tuple[str, ...], *, first: int = 0, kinds: tuple[str, ...] = tuple(PURPOSES)
) -> None:
    """The network begins to generate a key for each of those protocols, with threshold 2."""
    domains = [
        {"id": number, "protocol": protocol, "reconstruction_threshold": 2, "purpose": PURPOSES[protocol]}
        for number, protocol in enumerate(kinds, first)
    ]
    await vote(network, names, "vote_add_domains", {"domains": domains})


async def announce(network: Rehearsal, *names: str) -> None:
    """Those accounts are candidates, as their node agents make them."""
    for name in names:
        operator = network.operators[name]
        caller = await network.caller(operator.account_id, operator.account)
        await caller.call("submit_participant_info", {"participant_info": info_json(operator)})


def info_json(operator: Operator) -> dict[str, str]:
    return {"url": operator.info.url, "tls_public_key": str(operator.info.tls_public_key)}


async def propose(
    network: Rehearsal, voters: tuple[str, ...], members: dict[str, int], threshold: int, thresholds: dict[str, int]
) -> None:
    """The voters agree on that set (name to participant id), governance threshold and thresholds of domains."""
    running = await until_state(network, Running)
    participants = [
        [network.operators[name].account_id, number, info_json(network.operators[name])]
        for name, number in members.items()
    ]
    ids = [*members.values(), *(member.participant_id for member in running.participants.members)]
    proposal = {
        "parameters": {
            "participants": {"next_id": 1 + max(ids), "participants": participants},
            "threshold": threshold,
        },
        "per_domain_thresholds": thresholds,
    }
    epoch = running.keyset.epoch_id + 1
    await vote(network, voters, "vote_new_parameters", {"prospective_epoch_id": epoch, "proposal": proposal})


def files_of(network: Rehearsal, name: str, kind: str) -> list[str]:
    """The names of that operator's key-share files of one kind: permanent or temporary."""
    directory = network.operators[name].keyshares_dir / kind
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def participant(operator: Operator, number: int) -> Participant:
    return Participant(account_id=operator.account_id, participant_id=number, info=operator.info)


class NodeProcess:
    """The node of an operator as a process of its own; its log is kept line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while line := await self._process.stderr.readline():
            self.lines.append(line.decode())

    def log(self) -> str:
        return "".join(self.lines)

    async def until_logged(self, *texts: str, seconds: float = 40.0) -> None:
        """The node has logged one of the texts."""
        async with asyncio.timeout(seconds):
            while not any(text in self.log() for text in texts):
                await asyncio.sleep(0.005)

    async def kill(self) -> None:
        """As a power cut: SIGKILL."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        await self._reading


async def start_process(network: Rehearsal, name: str) -> NodeProcess:
    return NodeProcess(
        await asyncio.create_subprocess_exec(
            *NODE, _config(network, network.operators[name]), stderr=asyncio.subprocess.PIPE
        )
    )


@asynccontextmanager
async def processes(network: Rehearsal, *names: str) -> AsyncIterator[dict[str, NodeProcess]]:
    """A process for each of those operators; whatever is in the dictionary at the end is killed."""
    running = {name: await start_process(network, name) for name in names}
    try:
        yield running
    finally:
        for process in running.values():
            await process.kill()


def _config(network: Rehearsal, operator: Operator) -> Path:
    keys = operator.directory / "keys"
    ensure_directory(keys)
    for name, key in (("tls_key", operator.tls), ("account_key", operator.account)):
        write_file(keys / name, key.text().reveal() + b"\n")
    path = operator.directory / "node.toml"
    path.write_text(
        f'account_id = "{operator.account_id}"\nkeys_dir = "keys"\nkeyshares_dir = "keyshares"\n'
        f'listen = "127.0.0.1:{operator.port}"\nhealth_address = "127.0.0.1:0"\n'
        f'[near]\nrpc_url = "{network.chain.rpc_url}"\nchain_id = "dev"\ncontract_id = "{CONTRACT}"\n'
    )
    return path
