"""A rehearsal network for tests: dev chain, real contract, dealt shares, reference nodes over real TLS."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sharekeeper_devnet
from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.transactions import NearCaller, add_key
from sharekeeper.config import NearConfig, NetAddress
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.deployment import deploy
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.protocol_state import Participant, ParticipantInfo
from sharekeeper.spec import NODE_METHODS
from sharekeeper_devnet.chain import DevChain, Genesis, GenesisAccount
from sharekeeper_devnet.network import admin
from sharekeeper_devnet.network.config import MpcNodeConfig
from sharekeeper_devnet.network.dealing import DealPlan, Member, deal_into_directories
from sharekeeper_devnet.network.mpc_node import MpcNode
from tests.ports import free_port

CONTRACT = AccountId("mpc.test.near")
WASM = Path(sharekeeper_devnet.__file__).parent.parent / "contract" / "mpc_contract.wasm"
BLOCK_MS = 60
POLL_SECONDS = 0.05
CONFIG = {
    "recovery_timeout_blocks": 500,
    "recovery_cooldown_blocks": 1,
    "request_timeout_blocks": 500,
    "key_event_timeout_blocks": 200,
}
CLOCK = SystemClock()


def key_pair() -> KeyPair:
    return KeyPair.generate(secrets.token_bytes(32))


@dataclass
class Operator:
    """One operator's keys, share directory and, while it runs, its node."""

    account_id: AccountId
    directory: Path
    port: int = field(default_factory=free_port)
    full_access: KeyPair = field(default_factory=key_pair)
    tls: KeyPair = field(default_factory=key_pair)
    account: KeyPair = field(default_factory=key_pair)
    node: MpcNode | None = None

    @property
    def keyshares_dir(self) -> Path:
        return self.directory / "keyshares"

    @property
    def info(self) -> ParticipantInfo:
        return ParticipantInfo(url=f"http://127.0.0.1:{self.port}", tls_public_key=self.tls.tls_key)


class Rehearsal:
    """A running chain with the contract on it; nodes are started by name."""

    def __init__(self, directory: Path, chain: DevChain, operators: dict[str, Operator], owner: KeyPair) -> None:
        self.directory, self.chain, self.operators, self.owner = directory, chain, operators, owner
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stack = AsyncExitStack()

    def near(self) -> NearConfig:
        return NearConfig(rpc_url=self.chain.rpc_url, chain_id="dev", genesis_hash=None, contract_id=CONTRACT)

    async def rpc(self) -> NearRpc:
        rpc = NearRpc(url=self.chain.rpc_url, contract_id=CONTRACT, chain_id="dev", genesis_hash=None, clock=CLOCK)
        return await self._stack.enter_async_context(rpc)

    async def caller(self, account_id: AccountId, key: KeyPair) -> NearCaller:
        return NearCaller(rpc=await self.rpc(), account_id=account_id, key=key, contract_id=CONTRACT, clock=CLOCK)

    async def start(self, *names: str) -> None:
        for name in names:
            operator = self.operators[name]
            operator.node = MpcNode(
                config=MpcNodeConfig(
                    account_id=operator.account_id,
                    keys_dir=operator.directory,
                    near=self.near(),
                    keyshares_dir=operator.keyshares_dir,
                    listen=NetAddress(host="127.0.0.1", port=operator.port),
                    health_address=NetAddress(host="127.0.0.1", port=0),
                ),
                tls_key=operator.tls,
                account_key=operator.account,
                rpc=await self.rpc(),
                clock=CLOCK,
                poll_seconds=POLL_SECONDS,
            )
            await operator.node.start()
            self._tasks[name] = asyncio.create_task(operator.node.run())

    async def kill(self, *names: str) -> None:
        for name in names:
            operator = self.operators[name]
            task = self._tasks.pop(name)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled(), f"the node of {name} had ended: {task.exception()}"
            await operator.node.stop()

    async def sign(self, message: bytes, timeout_blocks: int = 100) -> admin.Signature:
        rpc = await self.rpc()
        caller = await self.caller(CONTRACT, self.owner)
        return await admin.sign(rpc, caller, CLOCK, message, timeout_blocks)

    async def wait_for(self, what: Callable[[], bool], *, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not what():
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self.kill(*list(self._tasks))
        await self._stack.aclose()


@asynccontextmanager
async def rehearsal(
    directory: Path,
    *,
    names: tuple[str, ...] = ("alice", "bob", "carol"),
    threshold: int = 2,
    domains: int = 2,
    chain_id: str = "dev",
    deployed: bool = True,
    candidates: tuple[str, ...] = (),
    config: dict[str, int] | None = None,
) -> AsyncIterator[Rehearsal]:
    """Chain, dealt shares and, unless `deployed` is False, contract and every node's access key; no node runs yet.

    `candidates` have an account and keys, and are no participants.
    """
    owner = key_pair()
    operators = {
        name: Operator(account_id=AccountId(f"{name}.test.near"), directory=directory / name)
        for name in (*names, *candidates)
    }
    accounts = [(operator.account_id, operator.full_access) for operator in operators.values()]
    genesis = Genesis(
        chain_id=chain_id,
        genesis_time_ns=time.time_ns(),
        accounts=tuple(
            GenesisAccount.with_full_access_key(account_id, str(key.signer_key))
            for account_id, key in [*accounts, (CONTRACT, owner)]
        ),
    )
    async with DevChain(directory / "chain", genesis, block_time_ms=BLOCK_MS) as chain:
        network = Rehearsal(directory, chain, operators, owner)
        try:
            await _deal(network, names, threshold, domains, config or {})
            if deployed:
                await _deploy(network)
            yield network
        finally:
            await network.close()


async def _deal(
    network: Rehearsal, names: tuple[str, ...], threshold: int, domains: int, config: dict[str, int]
) -> None:
    plan = DealPlan(
        epoch_id=5,
        domains=domains,
        threshold=threshold,
        members=tuple(
            Member(
                participant=Participant(
                    account_id=operator.account_id,
                    participant_id=number,
                    info=operator.info,
                ),
                signer_key=operator.account.signer_key,
                keyshares_dir=operator.keyshares_dir,
            )
            for number, operator in enumerate(network.operators[name] for name in names)
        ),
        contract_config={**CONFIG, **config},
    )
    await deal_into_directories(plan, network.directory / "init.json", secrets.randbelow)


async def _deploy(network: Rehearsal) -> None:
    caller = await network.caller(CONTRACT, network.owner)
    init = json.loads((network.directory / "init.json").read_text())
    assert await deploy(await network.rpc(), caller, WASM.read_bytes(), init)
    grants = [grant_key(network, operator, operator.account, NODE_METHODS) for operator in network.operators.values()]
    await asyncio.gather(*grants)


async def grant_key(network: Rehearsal, operator: Operator, key: KeyPair, methods: tuple[str, ...]) -> None:
    """The operator adds an access key to its account, as `sharekeeper operator grant` does."""
    caller = await network.caller(operator.account_id, operator.full_access)
    action = add_key(key.signer_key, contract_id=CONTRACT, methods=methods)
    await caller.send_actions(operator.account_id, [action])
