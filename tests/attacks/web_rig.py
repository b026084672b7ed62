"""Both sides of version 2 on real sockets, vault and disk; the chain and the wire between them do what a test says."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from aiohttp import web as aiohttp_web

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.adapters.vault import AgeVault
from sharekeeper.adapters.web_client import WebClient
from sharekeeper.adapters.web_server import WebLimits, WebServer
from sharekeeper.backup_service.web_exchanges import WebExchanges, WebPorts
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.attestation import Verdict
from sharekeeper.domain.ephemeral import PublishedRecord
from sharekeeper.domain.identity import Role, SignerKey, TlsKey
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.protocol_state import (
    AccountRecord,
    BackupServiceKeys,
    NodeKeys,
    Participant,
    ParticipantInfo,
    Participants,
    Recovering,
    Recovery,
    Running,
)
from sharekeeper.errors import SharekeeperError, TransactionFailed
from sharekeeper.mutual_attestation import MutualAttestation
from sharekeeper.node_agent.sessions import Sessions
from sharekeeper.node_agent.web_sessions import WebSessionPorts, WebSessions
from sharekeeper.ports import Clock, ContractCaller
from sharekeeper.protocol.contract_json import decode_ephemeral_keys
from sharekeeper.protocol.key_exchange import KeyExchange, KeyExchangeServer, own_exchange
from sharekeeper.protocol.monitoring import FetchShares, HandOut
from sharekeeper.protocol.sealed_body import SealedBodies
from sharekeeper.reconcile import ChainWatch, Faults
from sharekeeper.secret import Secret
from sharekeeper.spec import PUBLIC_DATA_PATH
from tests.protocol.attestation_values import TestTee, stamped
from tests.protocol.exchange_values import (
    ALICE,
    BACKUP_SERVICE,
    KEYSET,
    NETWORK,
    NODE,
    RECOVERY_ID,
    SHARES,
    STRANGER,
)
from tests.protocol.web_values import signed
from tests.unit.simulators import PlainMemory, SimulatedChain
from tests.unit.vault_values import RECIPIENTS, SERVICE_IDENTITY, SIGNING_KEY

HOST = "127.0.0.1"
INFO = ParticipantInfo(url=f"http://{HOST}:8090", tls_public_key=NODE.tls_key)
OLD_INFO = ParticipantInfo(url=f"http://{HOST}:8090", tls_public_key=STRANGER.tls_key)
PRIVATE = tuple(share.private_share.reveal() for share in SHARES)


def members(info: ParticipantInfo) -> Participants:
    return Participants(members=(Participant(account_id=ALICE, participant_id=0, info=info),))


RUNNING = Running(keyset=KEYSET, participants=members(INFO), threshold=1)
RECOVERY = Recovery(
    recovery_id=RECOVERY_ID,
    previous=replace(RUNNING, participants=members(OLD_INFO)),
    prospective=members(INFO),
    recovering=Recovering(account_id=ALICE, info=INFO, signer_key=SignerKey(b"n" * 32)),
    started_in=900,
    expires_on=9000,
    shares_confirmed=False,
)
RECORD = AccountRecord(
    account_id=ALICE,
    is_participant=True,
    node=NodeKeys(info=INFO, signer_key=SignerKey(b"n" * 32)),
    node_candidate=None,
    backup_services=(BackupServiceKeys(tls_public_key=BACKUP_SERVICE.tls_key, signer_key=SignerKey(b"b" * 32)), None),
    cooldown_until=0,
)
FETCH = FetchShares(keyset=KEYSET, node=INFO)


class SimulatedContract(SimulatedChain):
    """Takes records as the contract does: in one form, one for each exchange id and role, unverified.

    Its account's machines have valid evidence.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        valid = stamped(NODE.tls_key, BACKUP_SERVICE.tls_key)
        super().__init__(clock or SystemClock(), RUNNING, replace(RECORD, evidence=valid))
        self.taken: list[PublishedRecord] = []

    def take(self, args: dict) -> None:
        stored = args["record"] | {"account_id": ALICE, "submitted_in": self.height}
        role = stored["role"].replace("-", "_")
        shown = {"backup_services": [None, None], "nodes": [None, None]} | {f"{role}s": [stored, None]}
        published = getattr(decode_ephemeral_keys(shown)[0], role)
        before = getattr(self.ephemeral, role)
        if before is not None and before.record.exchange_id == published.record.exchange_id:
            if before.record != published.record:
                raise TransactionFailed("the exchange_id has another record of this role")
            return
        self.put(published)
        self.taken.append(published)

    def put(self, published: PublishedRecord) -> None:
        """What a stolen account key can do: any record, without the TLS key's signature."""
        role = "node" if published.record.role is Role.NODE else "backup_service"
        self.ephemeral = replace(self.ephemeral, **{role: published})
        self.height += 1


class SimulatedCaller(ContractCaller):
    """Submits records to the simulated contract; `before` may act first."""

    account_id = ALICE
    signer_key = SignerKey(b"s" * 32)

    def __init__(self, chain: SimulatedContract) -> None:
        self.chain = chain
        self.before: Callable[[dict], None] = lambda args: None

    async def call(self, method, args):
        assert method == "submit_ephemeral_key"
        self.before(args)
        self.chain.take(args)


class Entropy:
    """Real entropy that remembers what it gave, so that a test can look for it on the wire."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        self.given.append(os.urandom(size))
        return self.given[-1]


class EvilNode:
    """A node that owns the pinned TLS key and lies: it answers records as told, and bodies as told."""

    def __init__(self, rig: "Rig", answer: Callable[[SealedBodies, bytes], bytes]) -> None:
        self.rig, self.answer = rig, answer
        self.side: KeyExchangeServer | None = None
        self.publish: Callable[[KeyExchangeServer], PublishedRecord] | None = None
        self.shows: Callable[[bytes], bytes] = lambda body: body

    async def expected_peers(self):
        return (BACKUP_SERVICE.tls_key,)

    def admit(self, peer, purpose, exchange_id):
        pass

    async def attest(self, peer, exchange_id, body):
        assert self.side is not None
        return self.shows(body)

    async def serve(self, peer, purpose, exchange_id, body):
        assert self.side is not None
        return self.answer(self.side.derive(self.rig.chain.ephemeral, self.rig.chain.height), body)

    async def turn(self) -> None:
        opening = self.rig.chain.ephemeral.backup_service
        if opening is None or (self.side is not None and self.side.opening == opening.record):
            return
        self.side = KeyExchangeServer(
            self.rig.exchange(),
            opening=opening,
            secret=Secret(os.urandom(32)),
            tls=NODE,
            height=self.rig.chain.height,
        )
        if self.publish is None:
            self.rig.chain.take(self.side.arguments())
        else:
            self.rig.chain.put(self.publish(self.side))


@dataclass
class Relay:
    """Between client and node: sees every byte of both ways, and may change each message as a whole."""

    requests: list[bytes] = field(default_factory=list)
    responses: list[bytes] = field(default_factory=list)
    change_request: Callable[[bytes], bytes] = lambda data: data
    change_response: Callable[[bytes], bytes] = lambda data: data
    port: int = 0
    target: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await read_message(reader)
            if f" {PUBLIC_DATA_PATH} ".encode() not in request:
                self.requests.append(request)
                request = self.change_request(request)
            response = await exchange_raw(self.target, request)
            if f" {PUBLIC_DATA_PATH} ".encode() not in request:
                self.responses.append(response)
                response = self.change_response(response)
            writer.write(response)
            await writer.drain()
        writer.close()


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message: head, and the body its Content-Length announces."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = header(head, "content-length")
    return head + (await reader.readexactly(int(length)) if length else b"")


async def exchange_raw(port: int, request: bytes) -> bytes:
    """Everything the server at `port` answers to these bytes."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request)
    answer = await read_message(reader)
    writer.close()
    return answer


def header(message: bytes, name: str) -> str | None:
    lines = message.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return next((line.partition(": ")[2] for line in lines if line.lower().startswith(name + ":")), None)


def with_header(message: bytes, name: str, value: str | None) -> bytes:
    """The message with that field changed, or without it."""
    head, _, body = message.partition(b"\r\n\r\n")
    lines = [line for line in head.decode().split("\r\n") if not line.lower().startswith(name + ":")]
    if value is not None:
        lines.append(f"{name}: {value}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def with_body(message: bytes, body: bytes) -> bytes:
    head = with_header(message, "content-length", str(len(body))).partition(b"\r\n\r\n")[0]
    return head + b"\r\n\r\n" + body


class Rig:
    """The backup service on one side, the node on the other."""

    def __init__(self, directory: Path, limits: WebLimits, *, attested: bool = False) -> None:
        self.directory = directory
        self.chain = SimulatedContract()
        self.clock = self.chain.clock
        self.tees = {role: TestTee(role, self.clock) for role in Role}
        self.entropy, self.relay = Entropy(), Relay()
        self.service_caller, self.node_caller = SimulatedCaller(self.chain), SimulatedCaller(self.chain)
        self.store = DirectoryKeyShareStore(directory / "keyshares")
        self.vault = AgeVault(
            directory / "vault",
            state_dir=directory / "state",
            network=NETWORK,
            account_id=ALICE,
            recipients=RECIPIENTS,
            identity=Secret(SERVICE_IDENTITY.encode()),
            signing_key=SIGNING_KEY,
            clock=self.clock,
        )
        self.limits = limits
        self.released = 0
        self.verdicts: list[Verdict | None] = []
        self.ended: list[tuple[str, str]] = []
        self.faults = Faults(self.clock)
        self.pinned: tuple[TlsKey, ...] = (BACKUP_SERVICE.tls_key,)
        self.node_watch = ChainWatch(self.chain, self.clock)
        self.node_watch.pause_seconds = 0.01
        self.mutual = {role: self.new_mutual(role) if attested else None for role in Role}
        self.web = self.new_node()
        self.turning = True
        self.evil: EvilNode | None = None

    def new_mutual(self, role: Role) -> MutualAttestation:
        """What the machine of that role shows and demands in hard launch."""
        return MutualAttestation(
            self.tees[role],
            account_id=ALICE,
            chain=self.chain,
            look=ChainWatch(self.chain, self.clock).look,
            clock=self.clock,
            faults=self.faults,
        )

    def new_node(self) -> WebSessions:
        """The node's side after a restart: nothing of an exchange survives."""
        sessions = Sessions(
            account_id=ALICE,
            network=NETWORK,
            tls_key=NODE.tls_key,
            store=self.store,
            memory=PlainMemory(),
            look=self.node_watch.look,
            attestation=self.mutual[Role.NODE],
        )

        async def account(_view):
            return self.chain.record

        async def expected_peers():
            return self.pinned

        ports = WebSessionPorts(
            chain=self.chain,
            caller=self.node_caller,
            clock=self.clock,
            watch=self.node_watch,
            faults=self.faults,
            tls=NODE,
            expected_peers=expected_peers,
            account=account,
            ended=lambda purpose, result: self.ended.append((purpose, result)),
            entropy=self.entropy,
        )
        return WebSessions(sessions, ports)

    def client(self, identity: KeyPair = BACKUP_SERVICE) -> WebClient:
        return WebClient(identity, self.clock)

    def exchanges(self, identity: KeyPair = BACKUP_SERVICE, *, port: int | None = None) -> WebExchanges:
        watch = ChainWatch(self.chain, self.clock)
        watch.pause_seconds = 0.02
        return WebExchanges(
            account_id=ALICE,
            network=NETWORK,
            vault=self.vault,
            chain=self.chain,
            caller=self.service_caller,
            watch=watch,
            clock=self.clock,
            ports=WebPorts(
                web=self.client(identity),
                tls=identity,
                port=port or self.relay.port,
                node_url=None,
                entropy=self.entropy,
            ),
            attestation=self.mutual[Role.BACKUP_SERVICE],
        )

    def exchange(self):
        """What both sides mean, as the chain shows it now."""
        return own_exchange(self.chain.state, ALICE, NETWORK, NODE.tls_key, BACKUP_SERVICE.tls_key)

    async def fetch(self, **settings):
        return await self.exchanges(**settings).fetch(FETCH)

    async def hand_out(self, **settings):
        """Alice's recovery: the vault holds the backup, the node has nothing."""
        await self.vault.store(KEYSET, SHARES, STRANGER.tls_key)
        self.chain.state = RECOVERY
        step = HandOut(recovery=RECOVERY, backup_id=KEYSET.backup_id(NETWORK, ALICE))
        await self.exchanges(**settings).hand_out(step, self.release)

    async def release(self, peer) -> None:
        self.released += 1
        self.verdicts.append(peer)

    def as_evil(self, answer: Callable[[SealedBodies, bytes], bytes]) -> EvilNode:
        """The honest node is gone; one that lies has its key."""
        self.evil = EvilNode(self, answer)
        self.server._exchanges = self.evil
        return self.evil

    def stored(self) -> int:
        return len(self.vault.index())

    def on_the_wire(self) -> bytes:
        return b"".join(self.relay.requests + self.relay.responses)

    async def holds(self, keyset: Keyset) -> None:
        await self.store.store_permanent(keyset, SHARES)

    async def _turns(self) -> None:
        while True:
            await asyncio.sleep(0.005)
            if self.evil is not None:
                with contextlib.suppress(SharekeeperError):
                    await self.evil.turn()
            elif self.turning:
                view = await self.node_watch.look()
                try:
                    await self.web.turn(view, held=True)
                except SharekeeperError as error:
                    self.faults.note("ephemeral keys", error)


@asynccontextmanager
async def rig(directory: Path, *, limits: WebLimits | None = None, attested: bool = False) -> AsyncIterator[Rig]:
    """A node that holds its shares and a backup service with an empty vault, a relay between them."""
    made = Rig(directory, limits or WebLimits(), attested=attested)
    await made.holds(KEYSET)

    async def page(_request):
        return aiohttp_web.json_response({})

    made.server = WebServer(
        HOST, 0, NODE, _Current(made), made.clock, pages={PUBLIC_DATA_PATH: page}, limits=made.limits
    )
    await made.server.start()
    relay = await asyncio.start_server(made.relay.serve, HOST, 0, limit=2**24)
    made.relay.port, made.relay.target = relay.sockets[0].getsockname()[1], made.server.port
    turns = asyncio.create_task(made._turns())
    try:
        yield made
    finally:
        turns.cancel()
        await asyncio.wait({turns})
        await made.web.stop()
        relay.close()
        await made.server.stop()
        made.vault.close()
        if not turns.cancelled():
            turns.result()


def published(side: KeyExchange) -> PublishedRecord:
    """The side's record as the contract shows it."""
    return signed(side.record, None, signature=side.signature)


class _Current:
    """The node's side now: a test may restart it."""

    def __init__(self, of: Rig) -> None:
        self.of = of

    async def expected_peers(self):
        return await self.of.web.expected_peers()

    def admit(self, peer, purpose, exchange_id):
        self.of.web.admit(peer, purpose, exchange_id)

    async def attest(self, peer, exchange_id, body):
        return await self.of.web.attest(peer, exchange_id, body)

    async def serve(self, peer, purpose, exchange_id, body):
        return await self.of.web.serve(peer, purpose, exchange_id, body)
