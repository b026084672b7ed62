"""A whole small network for tests: dev chain, real contract, dealt shares, real daemons in this process.

Every operator has two node machines (`old`, in force from the start, and `new`, its replacement) and one
backup machine. The machines are directories with a configuration, keys and state, as on a real host, and a
daemon is what `sharekeeper.app` runs on them. All machines of an operator use one port on different
loopback addresses. The MPC node is a file: the supervisor's commands make it and remove it.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pyrage

import sharekeeper_devnet
from sharekeeper import app
from sharekeeper.adapters import tls_channel
from sharekeeper.adapters.approvals import DirectoryApprovalStore
from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.tls_channel import DEFAULT_TIMEOUTS, ChannelTimeouts
from sharekeeper.adapters.transactions import NearCaller, add_key, deploy_contract, function_call
from sharekeeper.config import load_backup_service, load_node_agent
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.backup import Approval
from sharekeeper.domain.identity import AccountId, NetworkId, Role
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.domain.protocol_state import (
    BlockRef,
    Participant,
    ParticipantInfo,
    Participants,
    ProtocolState,
    Running,
    running_part,
)
from sharekeeper.keys import generate, load_backup_service_keys, load_node_keys
from sharekeeper.protocol.contract_json import decode_state
from sharekeeper.spec import BACKUP_SERVICE_METHODS, NODE_METHODS
from sharekeeper_devnet.chain import DevChain, Genesis, GenesisAccount
from sharekeeper_devnet.network.dealer import Deal, deal, init_arguments
from tests.ports import free_port
from tests.unit.contract_views import state_bytes

CONTRACT = AccountId("mpc.test.near")
WASM = Path(sharekeeper_devnet.__file__).parent.parent / "contract" / "mpc_contract.wasm"
CLOCK = SystemClock()
CHAIN_ID = "devnet"
BLOCK_MS = 80


class Late(SystemClock):
    """A minute later than the chain: for who reads it, every block is old."""

    def wall_ns(self):
        return super().wall_ns() + 61 * 10**9


A_MINUTE_LATE = Late()


class Daemon:
    """One machine's directory and, while it runs, its daemon."""

    def __init__(self, directory: Path, role: Role, config: str, health_port: int) -> None:
        self.directory, self.role, self.health_port = directory, role, health_port
        self.config_path = directory / "config.toml"
        generate(directory / "keys", role)
        self.config_path.write_text(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def keys(self):
        load = load_node_keys if self.role is Role.NODE else load_backup_service_keys
        return load(self.directory / "keys")

    def start(self) -> None:
        if self.role is Role.NODE:
            work = app._node_agent(load_node_agent(self.config_path), self.keys)
        else:
            work = app._backup_service(load_backup_service(self.config_path), self.keys)
        self._task = asyncio.create_task(work)

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()

    @property
    def failure(self) -> BaseException | None:
        if self._task is None or not self._task.done() or self._task.cancelled():
            return None
        return self._task.exception()

    async def page(self, name: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{self.health_port}/{name}") as answer,
        ):
            return answer.status, await answer.text()

    async def status(self) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        try:
            _, text = await self.page("status")
        except aiohttp.ClientConnectionError:
            return {"reasons": ["not listening"], "faults": []}
        return json.loads(text)

    async def codes(self) -> set[str]:
        return {fault["code"] for fault in (await self.status())["faults"]}


@dataclass
class Operator:
    """One operator: account, full-access key, machines."""

    account_id: AccountId
    directory: Path
    number: int
    port: int
    rpc_url: str
    policy: str = "automatic"
    transfer: str = "p2p"
    grace_seconds: float = 3600
    owner: KeyPair = field(default_factory=lambda: KeyPair.generate(secrets.token_bytes(32)))
    daemons: dict[str, Daemon] = field(default_factory=dict)
    offline: pyrage.x25519.Identity = field(default_factory=pyrage.x25519.Identity.generate)

    def host(self, machine: str) -> str:
        return f"127.91.{self.number}.{ {'old': 1, 'new': 2, 'newer': 3}[machine] }"

    def url(self, machine: str) -> str:
        return f"http://{self.host(machine)}:8090"

    def info(self, machine: str) -> ParticipantInfo:
        return ParticipantInfo(url=self.url(machine), tls_public_key=self.node(machine).keys.tls.tls_key)

    def near(self) -> str:
        return f"""account_id = "{self.account_id}"
keys_dir = "keys"
unsafe_no_attestation = true
[near]
rpc_url = "{self.rpc_url}"
chain_id = "{CHAIN_ID}"
contract_id = "{CONTRACT}"
"""

    def node(self, machine: str) -> Daemon:
        if machine not in self.daemons:
            directory, health_port = self.directory / machine, free_port()
            directory.mkdir(parents=True)
            config = f"""{self.near()}
[node_agent]
url = "{self.url(machine)}"
transfer = "{self.transfer}"
{"web_listen" if self.transfer == "web" else "listen"} = "{self.host(machine)}:{self.port}"
keyshares_dir = "keyshares"
state_dir = "state"
health_address = "127.0.0.1:{health_port}"
[node_agent.supervisor]
start = ["/bin/sh", "-c", "touch running"]
stop = ["/bin/sh", "-c", "rm -f running"]
"""
            self.daemons[machine] = Daemon(directory, Role.NODE, config, health_port)
        return self.daemons[machine]

    @property
    def service(self) -> Daemon:
        """The backup service of slot 0."""
        return self._service("backup", 0)

    @property
    def second(self) -> Daemon:
        """The backup service of slot 1, on a machine of its own."""
        return self._service("second-backup", 1)

    def _service(self, machine: str, slot: int) -> Daemon:
        if machine not in self.daemons:
            directory, health_port = self.directory / machine, free_port()
            directory.mkdir(parents=True)
            config = f"""{self.near()}
[backup_service]
vault_dir = "vault"
state_dir = "state"
operator_recipient = "{self.offline.to_public()}"
policy = "{self.policy}"
transfer = "{self.transfer}"
{"node_web_port" if self.transfer == "web" else "node_agent_port"} = {self.port}
old_keyset_grace_seconds = {self.grace_seconds}
health_address = "127.0.0.1:{health_port}"
{f"slot = {slot}" if slot else ""}
"""
            self.daemons[machine] = Daemon(directory, Role.BACKUP_SERVICE, config, health_port)
        return self.daemons[machine]

    def store(self, machine: str) -> DirectoryKeyShareStore:
        return DirectoryKeyShareStore(self.node(machine).directory / "keyshares")

    def node_runs(self, machine: str) -> bool:
        return (self.node(machine).directory / "running").exists()


class World:
    """The chain, the operators, and ways to look and to act."""

    def __init__(self, chain: DevChain, rpc: NearRpc, owner: KeyPair, operators: dict[str, Operator]) -> None:
        self.chain, self.rpc, self.owner, self.operators = chain, rpc, owner, operators
        self.dealt: Deal
        self.network: NetworkId

    def __getitem__(self, name: str) -> Operator:
        return self.operators[name]

    @property
    def keyset(self) -> Keyset:
        return self.dealt.keyset

    def shares(self, name: str) -> tuple[KeyShare, ...]:
        return self.dealt.shares[self.operators[name].number]

    def caller(self, account_id: AccountId, key: KeyPair) -> NearCaller:
        return NearCaller(rpc=self.rpc, account_id=account_id, key=key, contract_id=CONTRACT, clock=CLOCK)

    async def grant(self, name: str, daemon: Daemon) -> None:
        methods = NODE_METHODS if daemon.role is Role.NODE else BACKUP_SERVICE_METHODS
        operator = self[name]
        action = add_key(daemon.keys.account.signer_key, contract_id=CONTRACT, methods=methods)
        await self.caller(operator.account_id, operator.owner).send_actions(operator.account_id, [action])

    async def state(self) -> ProtocolState:
        return await self.rpc.protocol_state(await self.rpc.head())

    async def record(self, name: str):
        return await self.rpc.account(self[name].account_id, await self.rpc.head())

    async def until(self, seen: Callable[[], Any], *, seconds: float = 20, what: str = "") -> Any:
        """What `seen` (a coroutine function) returns once it is true."""
        deadline = time.monotonic() + seconds
        while True:
            found = await seen()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen within {seconds} s: {what}\n{await self._describe()}")
            await asyncio.sleep(0.03)

    async def _describe(self) -> str:
        lines = [f"state {type(await self.state()).__name__}"]
        for name, operator in self.operators.items():
            for machine, daemon in operator.daemons.items():
                if daemon._task is not None:
                    lines.append(f"{name} {machine}: {json.dumps(await daemon.status())}")
        return "\n".join(lines)

    async def until_state(self, kind: type, **wanted: Any) -> Any:
        async def seen():
            state = await self.state()
            fits = isinstance(state, kind) and all(getattr(state, k) == v for k, v in wanted.items())
            return state if fits else None

        return await self.until(seen, what=f"{kind.__name__} {wanted}")

    async def until_status(self, daemon: Daemon, check: Callable[[dict[str, Any]], Any], *, what: str = "") -> Any:
        async def seen():
            status = await daemon.status()
            return status if "network" in status and check(status) else None

        return await self.until(seen, what=what or "a status")

    async def until_healthy(self, *daemons: Daemon) -> None:
        for daemon in daemons:
            await self.until_status(daemon, lambda status: status["healthy"], what=f"healthy {daemon.directory}")

    async def names(self, name: str, machine: str) -> bool:
        """The Running part names that machine as the account's node."""
        running = running_part(await self.state())
        participant = running.participants.find(self[name].account_id)
        return participant.info.tls_public_key == self[name].node(machine).keys.tls.tls_key

    async def with_backup(self, name: str) -> None:
        """The operator's node agent and backup service run, and the backup is in the vault."""
        await self.grant(name, self[name].service)
        self[name].node("old").start()
        self[name].service.start()
        await self.until_healthy(self[name].node("old"), self[name].service)

    async def replace(self, name: str, machine: str = "new") -> None:
        """The replacement machine is granted access and started."""
        await self.grant(name, self[name].node(machine))
        self[name].node(machine).start()


DEFAULT_CONFIG = {"recovery_timeout_blocks": 400, "recovery_cooldown_blocks": 10}


@asynccontextmanager
async def world(
    directory: Path,
    *,
    names: tuple[str, ...] = ("alice", "bob"),
    newcomers: tuple[str, ...] = (),
    threshold: int = 2,
    domains: int = 2,
    epoch_id: int = 5,
    block_ms: int = BLOCK_MS,
    config: dict[str, int] | None = None,
    operator: type[Operator] = Operator,
    **operator_settings: Any,
) -> AsyncIterator[World]:
    """A network in Running, no daemon runs yet. The old nodes of `names` are participants and hold their shares."""
    owner = KeyPair.generate(secrets.token_bytes(32))
    port = free_port("127.0.0.1")
    operators = {
        name: operator(
            account_id=AccountId(f"{name}.test.near"),
            directory=directory / name,
            number=number,
            port=port,
            rpc_url="",
            **operator_settings,
        )
        for number, name in enumerate((*names, *newcomers))
    }
    accounts = [(CONTRACT, owner), *((operator.account_id, operator.owner) for operator in operators.values())]
    genesis = Genesis(
        chain_id=CHAIN_ID,
        genesis_time_ns=time.time_ns(),
        accounts=tuple(
            GenesisAccount.with_full_access_key(account_id, str(key.signer_key)) for account_id, key in accounts
        ),
    )
    async with AsyncExitStack() as stack:
        chain = await stack.enter_async_context(DevChain(directory / "chain", genesis, block_time_ms=block_ms))
        rpc = await stack.enter_async_context(
            NearRpc(url=chain.rpc_url, contract_id=CONTRACT, chain_id=CHAIN_ID, genesis_hash=None, clock=CLOCK)
        )
        for one in operators.values():
            one.rpc_url = chain.rpc_url
        network = World(chain, rpc, owner, operators)
        network.network = await rpc.network()
        network.dealt = deal(
            epoch_id=epoch_id,
            domains=domains,
            threshold=threshold,
            participant_ids=range(len(names)),
            random_below=secrets.randbelow,
        )
        await _deploy(network, names, config or DEFAULT_CONFIG)
        try:
            yield network
        finally:
            daemons = [daemon for operator in operators.values() for daemon in operator.daemons.values()]
            await asyncio.gather(*(daemon.stop() for daemon in daemons))


async def _deploy(network: World, names: tuple[str, ...], config: dict[str, int]) -> None:
    members, signers = [], {}
    for operator in (network[name] for name in names):
        node = operator.node("old")
        if network.keyset.domains:
            await operator.store("old").store_permanent(network.keyset, network.dealt.shares[operator.number])
        signers[operator.account_id] = str(node.keys.account.signer_key)
        members.append(
            Participant(account_id=operator.account_id, participant_id=operator.number, info=operator.info("old"))
        )
    init = {**init_arguments(network.dealt, Participants(members=tuple(members)), signers), "config": config}
    actions = [deploy_contract(WASM.read_bytes()), function_call("init", init, gas=250 * 10**12)]
    grants = [network.grant(name, network[name].node("old")) for name in network.operators]
    await asyncio.gather(network.caller(CONTRACT, network.owner).send_actions(CONTRACT, actions), *grants)


def approval_for(net: World, name: str, height: int, machine: str = "new") -> Approval:
    """The operator's consent to that replacement, valid for an hour."""
    return Approval(
        account_id=net[name].account_id,
        info=net[name].info(machine),
        signer_key=net[name].node(machine).keys.account.signer_key,
        keyset=net.keyset.digest(),
        approved_at_height=height,
        deadline_ns=time.time_ns() + 3600 * 10**9,
        used_for=None,
    )


async def approve(net: World, name: str, machine: str = "new") -> None:
    """What `sharekeeper backup-service approve` does."""
    store = DirectoryApprovalStore(net[name].service.directory / "state" / app.APPROVALS_DIRECTORY)
    await store.add(approval_for(net, name, (await net.rpc.head()).height, machine))


class Lie:
    """Changes what every reader of the chain in this process sees; everything else stays real."""

    def __init__(self, monkeypatch) -> None:
        self.state: Callable[[BlockRef, ProtocolState], ProtocolState] = lambda _, state: state
        real = NearRpc.view_bytes

        async def view_bytes(rpc: NearRpc, method: str, args: Any, at: BlockRef) -> bytes:
            found = await real(rpc, method, args, at)
            if method != "state":
                return found
            truth = decode_state(json.loads(found))
            shown = self.state(at, truth)
            return found if shown is truth else state_bytes(shown)

        monkeypatch.setattr(NearRpc, "view_bytes", view_bytes)

    def keyset_from(self, height: int, keyset: Keyset) -> None:
        """From that block on the contract shows `keyset`."""

        def changed(at: BlockRef, state: ProtocolState) -> ProtocolState:
            return replace(state, keyset=keyset) if at.height >= height and isinstance(state, Running) else state

        self.state = changed


class Gate:
    """Holds every outgoing channel of this process before its n-th frame, until `opened` is set."""

    def __init__(self, monkeypatch, *, before_frame: int, timeouts: ChannelTimeouts = DEFAULT_TIMEOUTS) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        real = tls_channel.connect

        async def connect(host, port, identity, peer):
            channel = await real(host, port, identity, peer, timeouts=timeouts)
            send, sent = channel.send_frame, 0

            async def send_frame(payload):
                nonlocal sent
                sent += 1
                if sent == before_frame:
                    self.reached.set()
                    await self.opened.wait()
                await send(payload)

            channel.send_frame = send_frame
            return channel

        monkeypatch.setattr(app, "connect", connect)
