"""A network whose states a test walks through: the contract's own rules, real daemons, simulated wires.

The contract is its Python sources; each call is a block. Alice has two node machines, `first` (in force at the start)
and `second` (which wants in once it is started), and a backup service. They are real `NodeAgent` and `BackupService`
objects, which act only when a block is shown to them: the rest of the time their processes are down. The MPC nodes of
all others, and what governs the network, are the walk itself. Bob and Carol stay participants at threshold 2.
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

from contract.codec import ContractError
from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.backup_service.service import BackupService
from sharekeeper.backup_service.setup import BackupServicePorts, BackupServiceSettings
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId, SignerKey, TlsKey
from sharekeeper.domain.keyset import Curve, DomainPublicKey, KeyEventId
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.domain.protocol_state import (
    BackupServiceKeys,
    Initializing,
    KeyEvent,
    NodeKeys,
    ParticipantInfo,
    Participants,
    ProtocolState,
    Recovery,
    Resharing,
    Running,
)
from sharekeeper.errors import PeerUnreachable, SharekeeperError
from sharekeeper.node_agent.agent import NodeAgent, NodeAgentPorts, NodeAgentSettings
from sharekeeper.protocol.policy import HandOutPolicy
from sharekeeper.secret import Secret
from tests.unit.protocol_values import ALICE, BOB, CAROL, NETWORK
from tests.unit.simulators import ManualClock, PlainMemory

from .walk_ports import CONTRACT, Caller, Contract, NoListener, Nothing, PlainVault, Reader, Supervisor, Truth
from .wires import wire

CONFIG = {
    "recovery_timeout_blocks": 25,
    "recovery_cooldown_blocks": 5,
    "key_event_timeout_blocks": 40,
}
GRACE_SECONDS = 4.0
TURNS_PER_BLOCK = 5


def key_pair(name: str) -> KeyPair:
    return KeyPair.generate(hashlib.sha256(name.encode()).digest())


def node_keys(name: str) -> NodeKeys:
    """Keys and url of the node machine of that name."""
    info = ParticipantInfo(url=f"http://{name}.example:8090", tls_public_key=key_pair(f"{name} tls").tls_key)
    return NodeKeys(info=info, signer_key=key_pair(f"{name} account").signer_key)


OWNERS = {account: key_pair(f"{account} owner").signer_key for account in (ALICE, BOB, CAROL)}
SERVICE = BackupServiceKeys(
    tls_public_key=key_pair("service tls").tls_key, signer_key=key_pair("service account").signer_key
)


def info_json(info: ParticipantInfo) -> dict[str, str]:
    return {"url": info.url, "tls_public_key": str(info.tls_public_key)}


def share_of(event: KeyEventId, public_key: DomainPublicKey) -> KeyShare:
    """The share that Alice gets in that key event."""
    text = f"{event.epoch_id} {event.domain_id} {event.attempt_id}"
    scalar = bytearray(hashlib.sha256(text.encode()).digest())
    scalar[31] = 1  # little-endian, below the order
    return KeyShare(
        key_id=event, curve=Curve.ED25519, private_share=Secret(bytes(scalar)), public_key=public_key.share_form()
    )


class Machine:
    """One of Alice's node machines: its disk, its MPC node, and its agent when a block is shown to it."""

    def __init__(self, name: str, contract: Contract, directory: Path) -> None:
        self.name, self.keys = name, node_keys(name)
        self.store = DirectoryKeyShareStore(directory / name)
        self.supervisor = Supervisor()
        self.up = False
        self._contract, self._memory = contract, PlainMemory()
        self.agent = self._agent()

    def _agent(self) -> NodeAgent:
        return NodeAgent(
            NodeAgentSettings(account_id=ALICE, network=NETWORK, own=self.keys),
            NodeAgentPorts(
                chain=Reader(self._contract),
                caller=Caller(self._contract, self.keys.signer_key),
                store=self.store,
                supervisor=self.supervisor,
                memory=self._memory,
                clock=self._contract.clock,
            ),
        )

    def restart(self) -> None:
        """The process of the agent ended and began again: it knows what its disk and its memory file say."""
        self.agent = self._agent()

    async def turn(self) -> None:
        await self.agent.turn(NoListener())
        await settled(self.agent._caller)
        await settled(self.agent._supervision._worker)

    def codes(self) -> set[str]:
        return {fault.code for fault in self.agent.faults.current()}


async def settled(worker: Any) -> None:
    """The action under way, if any, has ended."""
    if worker._task is not None:
        await asyncio.wait({worker._task})


class Walk:
    """The network, and the moves a walk is made of. A move that is not possible now does nothing."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.contract = Contract(self.clock)
        self.first, self.second = (Machine(name, self.contract, directory) for name in ("first", "second"))
        self.machines = [self.first]
        self.nodes = {BOB: node_keys("bob"), CAROL: node_keys("carol")}
        self.bobs_machines = 0
        self.vault = PlainVault(self.clock)
        self._service_memory = PlainMemory()
        self.service_up = False
        self.service = self._service()
        self._sessions: set[asyncio.Task[None]] = set()
        self._initialise()

    def _service(self) -> BackupService:
        async def verify():
            return ()

        settings = BackupServiceSettings(
            account_id=ALICE,
            network=NETWORK,
            own=SERVICE,
            policy=HandOutPolicy.AUTOMATIC,
            node_agent_port=8079,
            grace_seconds=GRACE_SECONDS,
        )
        ports = BackupServicePorts(
            chain=Reader(self.contract),
            truth=Truth(self.contract),
            overrides=Nothing(),
            caller=Caller(self.contract, SERVICE.signer_key),
            vault=self.vault,
            verify_vault=verify,
            approvals=Nothing(),
            memory=self._service_memory,
            connect=self._connect,
            clock=self.clock,
        )
        return BackupService(settings, ports)

    def _initialise(self) -> None:
        in_force = {ALICE: self.first.keys, **self.nodes}
        entries = [[name, number, info_json(keys.info)] for number, (name, keys) in enumerate(in_force.items())]
        arguments = {
            "parameters": {"participants": {"next_id": 3, "participants": entries}, "threshold": 2},
            "domains": {"domains": [], "next_domain_id": 0},
            "keyset": {"epoch_id": 5, "domains": []},
            "signer_keys": {name: str(keys.signer_key) for name, keys in in_force.items()},
            "config": CONFIG,
        }
        self.contract.call(CONTRACT, OWNERS[BOB], "init", arguments)

    async def begin(self, *, domains: int) -> None:
        """Alice's daemons have done what a Running with `domains` domains needs."""
        await self.show()
        if domains:
            self.add_domains(domains)
        while isinstance(self.contract.state(), Initializing):
            await self.progress()
        await self.show()

    async def _connect(self, host: str, port: int, peer: TlsKey):
        machine = next((one for one in self.machines if one.keys.info.tls_public_key == peer and one.up), None)
        if machine is None or SERVICE.tls_public_key not in await machine.agent.expected_peers():
            raise PeerUnreachable(f"nobody answers at {host}:{port}")
        service, node = wire(SERVICE.tls_public_key, peer)
        session = asyncio.ensure_future(self._serve(machine, node))
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)
        return service

    async def _serve(self, machine: Machine, channel: Any) -> None:
        try:
            await machine.agent.serve(channel)
        except SharekeeperError as error:
            channel.abort(PeerUnreachable(str(error)))

    # --- blocks -----------------------------------------------------------------------------------

    async def show(
        self, *, first: bool = True, second: bool = True, service: bool = True, turns: int = TURNS_PER_BLOCK
    ) -> None:
        """A block passes; the daemons named are up, see it, and act in `turns` turns; then they are as they were."""
        self.contract.advance()
        self.first.up, self.second.up, self.service_up = first, second, service
        for _ in range(turns):
            for machine in self.machines:
                if machine.up:
                    await machine.turn()
            if service:
                await self.service.turn()
                await settled(self.service._worker)
        self.first.up = self.second.up = self.service_up = False

    def power_cut(self) -> None:
        """All of Alice's machines start anew: the agents and the backup service do, the MPC nodes do not by themselves."""
        for machine in self.machines:
            machine.restart()
            machine.supervisor.running = False
        self.service = self._service()

    # --- moves ------------------------------------------------------------------------------------

    def start_second(self) -> None:
        if self.second not in self.machines:
            self.machines.append(self.second)

    def govern(self, method: str, args: dict[str, Any]) -> None:
        """Bob and Carol vote for it: the threshold."""
        try:
            for account_id in (BOB, CAROL):
                self.contract.call(account_id, self.nodes[account_id].signer_key, method, args)
        except ContractError:
            return

    def add_domains(self, count: int) -> None:
        state = json.loads(self.contract.view("state"))
        if "Running" not in state:
            return
        first = state["Running"]["domains"]["next_domain_id"]
        wanted = [
            {"id": first + number, "protocol": "Frost", "reconstruction_threshold": 2, "purpose": "Sign"}
            for number in range(count)
        ]
        self.govern("vote_add_domains", {"domains": wanted})

    def cancel_key_event(self) -> None:
        state = json.loads(self.contract.view("state"))
        if "Initializing" in state:
            self.govern("vote_cancel_keygen", {"next_domain_id": state["Initializing"]["domains"]["next_domain_id"]})
        elif "Resharing" in state:
            self.govern("vote_cancel_resharing", {})

    def reshare(self, *, with_alice: bool) -> None:
        """The same set again, or the one without Alice, or the one with Alice's candidate."""
        shown = json.loads(self.contract.view("state"))
        running = shown.get("Running") or shown.get("Recovery", {}).get("previous_running_state")
        if running is None:
            return
        participants = running["parameters"]["participants"]
        next_id, entries = participants["next_id"], participants["participants"]
        named = [entry for entry in entries if entry[0] != ALICE]
        if with_alice:
            named = entries
            candidate = self.contract.record(ALICE).node_candidate
            if all(entry[0] != ALICE for entry in entries) and candidate is not None:
                named, next_id = [*entries, [ALICE, next_id, info_json(candidate.info)]], next_id + 1
        cancelled = running["previously_cancelled_resharing_epoch_id"] or 0
        proposal = {"parameters": {"participants": {"next_id": next_id, "participants": named}, "threshold": 2}}
        epoch_id = max(running["keyset"]["epoch_id"], cancelled) + 1
        self.govern("vote_new_parameters", {"prospective_epoch_id": epoch_id, "proposal": proposal})

    def begin_bobs_recovery(self) -> None:
        state = self.contract.state()
        if not isinstance(state, Running):
            return
        new = node_keys(f"bob {self.bobs_machines + 1}")
        args = {
            "participant_info": info_json(new.info),
            "expected_tls_key": str(self.nodes[BOB].info.tls_public_key),
            "expected_keyset": state.keyset.digest(),
            "valid_until_block": self.contract.height + 100,
        }
        self._quietly(BOB, new.signer_key, "submit_participant_recovery_info", args)
        self.bobs_machines += 1

    def end_recovery(self, *, conclude: bool) -> None:
        """Bob's is concluded by his machines, or any is cancelled by the votes of Bob and Carol."""
        state = self.contract.state()
        if not isinstance(state, Recovery):
            return
        args = {"recovery_id": state.recovery_id}
        if not conclude:
            self.govern("cancel_recovery", args)
        elif state.recovering.account_id == BOB:
            self._conclude_bobs(state, args)

    def _conclude_bobs(self, state: Recovery, args: dict[str, Any]) -> None:
        service = key_pair(f"bob's service {state.recovery_id}")
        registration = {"backup_service_info": {"public_key": str(key_pair(f"bob tls {state.recovery_id}").tls_key)}}
        self._quietly(BOB, service.signer_key, "register_backup_service", registration)
        self._quietly(BOB, service.signer_key, "confirm_key_share_delivery", args)
        new = NodeKeys(info=state.recovering.info, signer_key=state.recovering.signer_key)
        conclusion = {**args, "expected_keyset": state.previous.keyset.digest()}
        if self._quietly(BOB, new.signer_key, "conclude_recovery", conclusion):
            self.nodes[BOB] = new

    def _quietly(self, account_id: str, signer: SignerKey, method: str, args: dict[str, Any]) -> bool:
        try:
            self.contract.call(account_id, signer, method, args)
        except ContractError:
            return False
        return True

    async def progress(self) -> None:
        """The next step of the key event under way: the leader starts an attempt, or one more participant votes.

        Alice's MPC node takes part where it runs on the machine the key event names.
        """
        state = self.contract.state()
        match state:
            case Initializing(generating=event):
                start, vote = "start_keygen_instance", "vote_pk"
            case Resharing(resharing=event):
                start, vote = "start_reshare_instance", "vote_reshared"
            case _:
                return
        instance = event.instance
        if instance is None or self.contract.height + 1 >= instance.expires_on:
            leader = min(event.participants.members, key=lambda member: member.participant_id)
            event_id = self._event_json(event, event.next_attempt_id)
            self._act_as_node(leader.account_id, event.participants, start, {"key_event_id": event_id})
            return
        waited_for = [m for m in event.participants.members if m.participant_id not in instance.completed]
        for member in waited_for:
            args: dict[str, Any] = {"key_event_id": self._event_json(event, instance.attempt_id)}
            public_key = self._public_key(state, event)
            if vote == "vote_pk":
                args["public_key"] = {"Ed25519": {"near_public_key_compressed": str(public_key)}}
            if member.account_id == ALICE:
                await self._hold_alices_share(event, instance.attempt_id, public_key)
            if self._act_as_node(member.account_id, event.participants, vote, args):
                return

    def _event_json(self, event: KeyEvent, attempt_id: int) -> dict[str, int]:
        return {"epoch_id": event.epoch_id, "domain_id": event.domain.domain_id, "attempt_id": attempt_id}

    def _public_key(self, state: ProtocolState, event: KeyEvent) -> DomainPublicKey:
        if isinstance(state, Resharing):
            keys = {domain.domain_id: domain.public_key for domain in state.previous.keyset.domains}
            return keys[event.domain.domain_id]
        return DomainPublicKey(Curve.ED25519, hashlib.sha256(f"{event.domain.domain_id}".encode()).digest())

    def alices_node(self, participants: Participants) -> Machine | None:
        """The machine those participants name for Alice, if its MPC node runs."""
        named = participants.find(ALICE)
        keys = None if named is None else named.info.tls_public_key
        return next(
            (one for one in self.machines if one.keys.info.tls_public_key == keys and one.supervisor.running), None
        )

    async def _hold_alices_share(self, event: KeyEvent, attempt_id: int, public_key: DomainPublicKey) -> None:
        machine = self.alices_node(event.participants)
        if machine is not None:
            key_event = KeyEventId(epoch_id=event.epoch_id, domain_id=event.domain.domain_id, attempt_id=attempt_id)
            await machine.store.hold(share_of(key_event, public_key))

    def _act_as_node(
        self, account_id: AccountId, participants: Participants, method: str, args: dict[str, Any]
    ) -> bool:
        if account_id != ALICE:
            return self._quietly(account_id, self.nodes[account_id].signer_key, method, args)
        machine = self.alices_node(participants)
        return machine is not None and self._quietly(ALICE, machine.keys.signer_key, method, args)
