"""The node agent: onboards the node, serves its backups, takes its recovery, runs or stops the MPC node.

Each turn: look at the newest final block; settle staged shares; decide whether the MPC node runs; close
channels whose pin changed; do the one contract call that is due. The agent itself is the fence (ADR 7): a
replaced machine's agent stops the MPC node, listens to nobody, and keeps watching, because only the chain
can say that the replacement was cancelled.
"""

import logging
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.protocol_state import (
    AccountRecord,
    NodeKeys,
    ParticipantInfo,
    ProtocolState,
    running_part,
    without_progress,
)
from sharekeeper.errors import PeerFault, SharekeeperError, ShareStoreCorrupt
from sharekeeper.mutual_attestation import MutualAttestation
from sharekeeper.node_agent.sessions import Sessions
from sharekeeper.node_agent.supervision import Supervision
from sharekeeper.node_agent.web_sessions import WebSessionPorts, WebSessions
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import Attestation, ChainReader, Channel, Clock, ContractCaller, KeyShareStore, NodeSupervisor
from sharekeeper.protocol.contract_json import encode_evidence_stamp
from sharekeeper.protocol.onboarding import (
    NodeOnboarding,
    Onboarded,
    OperatorNeeded,
    Stamp,
    SubmitParticipantInfo,
    SubmitRecoveryInfo,
    Wait,
    decide_node_onboarding,
    remember_node,
)
from sharekeeper.protocol.recovery_protocol import (
    Conclude,
    EraseStaged,
    NodeRun,
    NodeRunDecision,
    NothingToDo,
    Promote,
    RecoveryStep,
    decide_node_run,
    decide_recovery,
    names,
)
from sharekeeper.reconcile import Backoff, ChainWatch, Faults, Memory, View, Worker, uninterrupted

_LOG: Final = logging.getLogger(__name__)
_WEB_LOOKS_PER_BLOCK: Final = 2
"""By version 2 a new block is looked for twice in its time: the backup service waits for the answer to its record."""
DURABLE: Final = "durable"
"""How an exchange that succeeded is counted."""
_LOOK_AGAIN_SECONDS: Final = 15.0
"""Held shares are read again at least this often."""

Call = SubmitParticipantInfo | SubmitRecoveryInfo | Conclude
_CALLS: Final = (SubmitParticipantInfo, SubmitRecoveryInfo, Conclude)


class Listener(Protocol):
    """What the agent needs of `adapters.tls_channel.ChannelListener`."""

    async def enforce_pins(self) -> None:
        """Sessions whose peer is pinned no longer are cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAgentSettings:
    """Who this machine is."""

    account_id: AccountId
    network: NetworkId
    own: NodeKeys
    stamp: Stamp | None = None
    """Of the own evidence; None: soft launch, which names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAgentPorts:
    """What the agent works with."""

    chain: ChainReader
    caller: ContractCaller
    store: KeyShareStore
    supervisor: NodeSupervisor
    memory: Memory
    clock: Clock
    web_identity: KeyPair | None = None
    """The own TLS key where version 2 is spoken; then `serve` is never called."""
    attestation: Attestation | None = None
    """None: soft launch, in which no machine shows evidence (`unsafe_no_attestation`)."""


class NodeAgent:
    """One machine's node agent. `run` until cancelled.

    The listener asks `expected_peers` and calls `serve` (version 1), or asks `web` (version 2).
    """

    def __init__(self, settings: NodeAgentSettings, ports: NodeAgentPorts) -> None:
        self.settings: Final = settings
        self._ports = ports
        self._clock = ports.clock
        self._tls_key = settings.own.info.tls_public_key
        self.watch: Final = ChainWatch(ports.chain, ports.clock, floor=ports.memory.floor_height)
        self.faults: Final = Faults(ports.clock)
        self.attestation: Final = None if ports.attestation is None else self._mutual(ports.attestation)
        self._sessions = Sessions(
            account_id=settings.account_id,
            network=settings.network,
            tls_key=self._tls_key,
            store=ports.store,
            memory=ports.memory,
            look=self.watch.look,
            attestation=self.attestation,
        )
        self.web: Final = None if ports.web_identity is None else self._web_sessions(ports.web_identity)
        """Version 2, or None where version 1 is spoken."""
        self._looks_per_block = 1 if self.web is None else _WEB_LOOKS_PER_BLOCK
        self._caller = Worker(self._perform)
        self._call_backoff = Backoff(ports.clock)
        self._supervision = Supervision(ports.supervisor, watch=self.watch, clock=ports.clock, faults=self.faults)
        self._held: tuple[Keyset, float] | None = None
        self._record: tuple[str, AccountRecord] | None = None
        self._settled: tuple[ProtocolState, object] | None = None
        self._asked: SubmitRecoveryInfo | None = None
        self._open_sessions = 0
        self.staged: int | None = None
        """The recovery whose shares were staged at the last turn."""
        self.recovery_step: RecoveryStep = NothingToDo(reason="starting")
        self.onboarding: NodeOnboarding = Wait(reason="starting")
        self.node_run = NodeRunDecision(run=NodeRun.LEAVE, fenced=False, reason="starting")
        self.exchanges_total: dict[tuple[str, str], int] = {}
        """Exchanges that ended, by purpose and result (`durable` or the code of the fault)."""

    def _mutual(self, attestation: Attestation) -> MutualAttestation:
        return MutualAttestation(
            attestation,
            account_id=self.settings.account_id,
            chain=self._ports.chain,
            look=self.watch.look,
            clock=self._clock,
            faults=self.faults,
        )

    def _web_sessions(self, identity: KeyPair) -> WebSessions:
        ports = WebSessionPorts(
            chain=self._ports.chain,
            caller=self._ports.caller,
            clock=self._clock,
            watch=self.watch,
            faults=self.faults,
            tls=identity,
            expected_peers=self.expected_peers,
            account=self._account,
            ended=self._count,
        )
        return WebSessions(self._sessions, ports)

    # --- the loop -------------------------------------------------------------------------------

    async def run(self, listener: Listener) -> None:
        """Never returns. On cancellation nothing is half-done; the MPC node is left as it is."""
        try:
            while True:
                await self.turn(listener)
                await self._caller.wait(self._clock, self.watch.pause_seconds / self._looks_per_block)
        finally:
            await self._caller.stop()
            await self._supervision.stop()
            if self.web is not None:
                await self.web.stop()

    async def turn(self, listener: Listener) -> None:
        """One look at the chain and everything that follows from it; one duty's fault does not hold up another."""
        view = None
        with self.faults.duty("chain"):
            view = await self.watch.look()
        if view is None:
            return
        with self.faults.duty("memory"):
            await self._remember(view, None)
        with self.faults.duty("import"):
            await self._settle_staged(view)
        await self._decide_run(view)
        with self.faults.duty("pins"):
            if self._open_sessions or self.web is not None:
                await listener.enforce_pins()
        if self.web is not None:
            with self.faults.duty("ephemeral keys"):
                await self.web.turn(view, held=self.holds_shares)
        with self.faults.duty("account"):
            await self._follow_call(view)

    # --- staged shares --------------------------------------------------------------------------

    async def _settle_staged(self, view: View) -> None:
        """Staged shares are promoted or erased if that is decided; `recovery_step` says what is due now."""
        self.recovery_step = NothingToDo(reason="the staged shares are not settled")
        async with self._sessions.import_lock:
            step = await self._decide_recovery(view)
            match step:
                case Promote(recovery_id=recovery_id, keyset=keyset):
                    await self._ports.store.promote(recovery_id, keyset)
                    log_event(_LOG, logging.INFO, "recovered shares are in place", recovery_id=recovery_id)
                    step = await self._decide_recovery(view)
                case EraseStaged(reason=reason):
                    await self._ports.store.discard_staged()
                    log_event(_LOG, logging.INFO, f"staged shares erased: {reason}")
                    step = await self._decide_recovery(view)
                case _:
                    pass
            self.recovery_step = step

    async def _decide_recovery(self, view: View) -> RecoveryStep:
        self.staged = await self._ports.store.staged()
        return decide_recovery(
            state=view.state,
            account_id=self.settings.account_id,
            tls_key=self._tls_key,
            held=self.staged is not None and await self._holds_whole(view),
            staged=self.staged,
        )

    async def _holds_whole(self, view: View) -> bool:
        """As `_holds_in_force`; a damaged file counts as none, since the staged shares are there to replace it."""
        try:
            return await self._holds_in_force(view)
        except ShareStoreCorrupt:
            return False

    async def _holds_in_force(self, view: View) -> bool:
        """The shares of the keyset in force are on disk; found shares are not read again for a while.

        Shares of key events that the contract has accepted are made permanent: the MPC node may not run to do so.
        """
        running, now = running_part(view.state), self._clock.monotonic()
        if running is None:
            return False
        if self._held is not None and self._held[0] == running.keyset and now - self._held[1] < _LOOK_AGAIN_SECONDS:
            return True
        self._held = None
        store, keyset = self._ports.store, running.keyset
        own = names(running, self.settings.account_id, self._tls_key)
        if await store.read(keyset) is not None or (own and await uninterrupted(store.make_permanent(keyset))):
            self._held = (running.keyset, now)
        return self._held is not None

    # --- the MPC node ---------------------------------------------------------------------------

    async def _decide_run(self, view: View) -> None:
        held = False
        with self.faults.duty("shares"):
            held = await self._holds_in_force(view)
        decision = self._decide_node_run(view, held=held, announced=await self._announced(view))
        if decision != self.node_run:
            log_event(_LOG, logging.INFO, f"MPC node: {decision.run.value}: {decision.reason}", fenced=decision.fenced)
        self.node_run = decision
        await self._supervision.follow(decision.run)

    def _decide_node_run(self, view: View, *, held: bool, announced: bool | None = None) -> NodeRunDecision:
        return decide_node_run(
            state=view.state,
            account_id=self.settings.account_id,
            tls_key=self._tls_key,
            held=held,
            staged=self.staged is not None,
            announced=announced,
        )

    async def _announced(self, view: View) -> bool | None:
        """The contract has this machine as its account's candidate; None when not known, or of no interest."""
        running = running_part(view.state)
        if running is None or running.participants.find(self.settings.account_id) is not None:
            return None
        try:
            candidate = (await self._account(view)).node_candidate
        except SharekeeperError:
            return None  # the duty "account" asks again and says what is wrong
        return candidate is not None and candidate.info.tls_public_key == self._tls_key

    @property
    def node_running(self) -> bool | None:
        """As `Supervision.running`."""
        return self._supervision.running

    @property
    def holds_shares(self) -> bool:
        """The shares of the keyset in force were on disk at the last turn."""
        return self._held is not None

    # --- the contract ---------------------------------------------------------------------------

    async def _follow_call(self, view: View) -> None:
        self.onboarding = await self._decide_onboarding(view)
        if isinstance(self.onboarding, OperatorNeeded):
            self.faults.note("onboarding", self.onboarding.fault(self.onboarding.message), alarm=True)
        wanted = self.onboarding.renewal if isinstance(self.onboarding, Onboarded) else self.onboarding
        if not isinstance(wanted, (OperatorNeeded, *_CALLS)):
            self.faults.clear("onboarding")
        due: object = self.recovery_step if isinstance(self.recovery_step, Conclude) else wanted
        call = due if isinstance(due, _CALLS) else None
        self._caller.reap()
        if call is not None and call != self._caller.basis and not self._call_backoff.due(_basis(call, view)):
            call = None
        await self._caller.follow(call)

    async def _decide_onboarding(self, view: View) -> NodeOnboarding:
        """The account is viewed again whenever state or own evidence changed or a call was made, until all is well."""
        stamp = self.settings.stamp
        evidence = None if stamp is None else stamp()
        if self._settled == (view.state, evidence):
            return self.onboarding
        record = await self._account(view)
        await self._remember(view, record)
        step = decide_node_onboarding(
            state=view.state,
            record=record,
            own=self.settings.own,
            history=self._ports.memory.history,
            height=view.head.height,
            evidence=evidence,
            attested=stamp is not None,
        )
        settled = isinstance(step, Onboarded) and step.renewal is None
        self._settled = (view.state, evidence) if settled else None
        return step

    async def _account(self, view: View) -> AccountRecord:
        """The own account at that block, viewed once a block."""
        if self._record is None or self._record[0] != view.head.hash:
            before = self.backup_services
            self._record = (view.head.hash, await self._ports.chain.account(self.settings.account_id, view.head))
            if self.attestation is not None:
                self.attestation.forget_peers(but=self._record[1].backup_service_tls_keys)
            if before not in (None, self.backup_services):
                words = ", ".join(map(str, self.backup_services or ())) or "none"
                log_event(
                    _LOG, logging.WARNING, f"the contract has other backup services in force than before: {words}"
                )
        return self._record[1]

    @property
    def backup_services(self) -> tuple[TlsKey, ...] | None:
        """The TLS keys of the account's backup services in force when it was last viewed; None before."""
        return None if self._record is None else self._record[1].backup_service_tls_keys

    async def _remember(self, view: View, record: AccountRecord | None) -> None:
        memory = self._ports.memory
        history = remember_node(
            memory.history,
            state=view.state,
            record=record,
            account_id=self.settings.account_id,
            tls_key=self._tls_key,
        )
        if history != memory.history:
            await memory.remember(history, view.head.height)

    async def _perform(self, call: Call) -> None:
        """The call is final, or its fault noted and its next try put off."""
        topic = "conclusion" if isinstance(call, Conclude) else "onboarding"
        self._settled = None
        with self.faults.duty(topic):
            await self._call(call)
        newest = self.watch.newest
        self._call_backoff.tried(newest and _basis(call, newest), block_seconds=self.watch.pause_seconds)

    async def _call(self, call: Call) -> None:
        match call:
            case SubmitParticipantInfo(info=info, evidence=evidence):
                args = {"participant_info": _info_args(info), **encode_evidence_stamp(evidence)}
                await self._send("submit_participant_info", args)
            case SubmitRecoveryInfo():
                await self._send("submit_participant_recovery_info", self._recovery_args(call))
            case Conclude(recovery_id=recovery_id, expected_keyset=expected):
                await self._send("conclude_recovery", {"recovery_id": recovery_id, "expected_keyset": expected})

    async def _send(self, method: str, args: dict[str, Any]) -> None:
        """The call is final, and this machine remembers that the contract has recorded its keys since."""
        await self._ports.caller.call(method, args)
        log_event(_LOG, logging.INFO, f"{method} is final")
        memory = self._ports.memory
        if not memory.history.recorded:
            await memory.remember(replace(memory.history, recorded=True), memory.floor_height)

    def _recovery_args(self, call: SubmitRecoveryInfo) -> dict[str, Any]:
        """The arguments of the first try while they are valid: the same call, so at most one of them takes effect."""
        newest = self.watch.newest
        height = 0 if newest is None else newest.head.height
        if self._asked != call or self._asked is None or height >= self._asked.valid_until_block:
            self._asked = call
        return {
            "participant_info": _info_args(call.info),
            "expected_tls_key": str(call.expected_tls_key),
            "expected_keyset": call.expected_keyset,
            "valid_until_block": self._asked.valid_until_block,
            **encode_evidence_stamp(self._asked.evidence),
        }

    # --- the listener asks ----------------------------------------------------------------------

    async def expected_peers(self) -> tuple[TlsKey, ...]:
        """The backup services the contract registers for this account at the newest final block, one for each slot.

        None, so that nobody is let in: while fenced, or when none is registered. Spec: "Backup", MPC node.

        Raises:
            ChainFault: there is no fresh view, so nobody is let in either.
        """
        view = await self.watch.look()
        if self._decide_node_run(view, held=False).fenced:
            return ()
        return (await self._account(view)).backup_service_tls_keys

    async def serve(self, channel: Channel) -> None:
        """One session with the backup service, to its end. Raises `SharekeeperError`."""
        self._open_sessions += 1
        result = "cancelled"
        purpose = "unknown"
        try:
            purpose = (await self._sessions.serve(channel)).value
            result = DURABLE
        except SharekeeperError as error:
            result = error.code
            if not isinstance(error, PeerFault):
                self.faults.note("exchange", error)
            raise
        finally:
            self._open_sessions -= 1
            self._count(purpose, result)

    def _count(self, purpose: str, result: str) -> None:
        """An exchange ended: `durable`, or the code of its fault."""
        if result == DURABLE:
            log_event(_LOG, logging.INFO, f"{purpose} exchange complete")
            self.faults.clear("exchange")
        self.exchanges_total[purpose, result] = self.exchanges_total.get((purpose, result), 0) + 1


def _basis(call: Call, view: View) -> object:
    """What has to change for a failed call to be tried again at once."""
    return call, without_progress(view.state)


def _info_args(info: ParticipantInfo) -> dict[str, str]:
    return {"url": info.url, "tls_public_key": str(info.tls_public_key)}
