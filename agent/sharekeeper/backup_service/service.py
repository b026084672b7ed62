"""The backup service: watch final blocks, keep a backup of the keyset in force, hand it out when the contract says so.

Each turn: look at the newest final block, decide one step from the state and from what the vault holds
(`protocol/monitoring.py`, `protocol/onboarding.py`), and let the worker do exactly that. A decision that
changes ends the action that rests on it. Nothing but the vault, the spent approvals and one small memory
file survives a restart, and nothing else needs to.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from sharekeeper.backup_service.endpoints import EndpointWatch, ReleaseGate
from sharekeeper.backup_service.setup import BackupServicePorts, BackupServiceSettings, Parts
from sharekeeper.domain.attestation import Verdict
from sharekeeper.domain.backup import Approval, StoredBackup
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.protocol_state import (
    ProtocolState,
    Recovery,
    running_part,
    without_progress,
)
from sharekeeper.errors import ChainFault, PeerUnreachable, PinChanged, PolicyRefused, SharekeeperError, VaultCorrupt
from sharekeeper.ops.logs import log_event
from sharekeeper.protocol.contract_json import encode_evidence_stamp
from sharekeeper.protocol.monitoring import (
    Alarm,
    ConfirmDelivery,
    DestroyOlder,
    FetchCopy,
    FetchShares,
    HandOut,
    Holdings,
    MonitoringStep,
    Rest,
    VerifyVault,
    decide_backup,
)
from sharekeeper.protocol.onboarding import (
    BackupServiceOnboarding,
    Onboarded,
    OperatorNeeded,
    RegisterBackupService,
    Wait,
    decide_backup_service_onboarding,
    remember_backup_service,
)
from sharekeeper.protocol.policy import (
    EvidenceNeeded,
    HandOutAllowed,
    HandOutRefused,
    HandOutVerdict,
    decide_hand_out,
)
from sharekeeper.protocol.quorum import ReadViews
from sharekeeper.reconcile import Backoff, ChainWatch, Faults, View, Worker

_LOG: Final = logging.getLogger(__name__)
_INDEX_SECONDS: Final = 60.0
"""The vault's index is read again at least this often, and after every action."""

Step = MonitoringStep | Wait | OperatorNeeded | RegisterBackupService
Action = FetchShares | FetchCopy | HandOut | ConfirmDelivery | VerifyVault | DestroyOlder | RegisterBackupService
_ACTIONS: Final = (FetchShares, FetchCopy, HandOut, ConfirmDelivery, VerifyVault, DestroyOlder, RegisterBackupService)

_TOPICS: Final[dict[type[Action], str]] = {
    FetchShares: "backup",
    FetchCopy: "backup",
    HandOut: "hand-out",
    ConfirmDelivery: "confirmation",
    VerifyVault: "verification",
    DestroyOlder: "clean-up",
    RegisterBackupService: "registration",
}
_PURPOSES: Final = {FetchShares: "backup", FetchCopy: "copy", HandOut: "recovery"}


class BackupService:
    """One operator's backup service; `run` until cancelled."""

    def __init__(self, settings: BackupServiceSettings, ports: BackupServicePorts) -> None:
        """Raises `ConfigInvalid` if the policy is not that of the launch."""
        self.settings: Final = settings
        self._ports = ports
        self._clock = ports.clock
        self.watch: Final = ChainWatch(ports.chain, ports.clock, floor=ports.memory.floor_height)
        self.faults: Final = Faults(ports.clock)
        self.endpoints: Final = EndpointWatch(ports.truth, self.faults, ports.clock)
        self.gate: Final = ReleaseGate(self.endpoints, ports.overrides, ports.clock, self._decide_on)
        parts = Parts(settings, ports, self.watch, self.faults)
        self.attestation: Final = parts.attestation
        self._exchanges = parts.exchanges()
        self._worker = Worker(self._perform)
        self._backoff = Backoff(ports.clock)
        self._renewing = Worker(self._renew)
        self._renewal_backoff = Backoff(ports.clock)
        self._renewal: RegisterBackupService | None = None
        self._registered = False
        self._settled: tuple[ProtocolState, object] | None = None
        self._slot: int | None = None
        self._index: Sequence[StoredBackup] = ()
        self._index_read_at: float | None = None
        self.verified_at_ns: int | None = None
        """When this process last verified the vault (wall time), or None."""
        self._verify_again = False
        self._delivered: int | None = None
        self._failed: tuple[Keyset, int] | None = None
        self.sibling: Final = parts.sibling(self.gate, self._holdings, lambda: self.current_backup)
        """The account's other backup service, or None when its address is not known."""
        self.step: Step = Wait(reason="starting")
        """What was decided last."""
        self.exchanges_total: dict[tuple[str, str], int] = {}
        """Exchanges that ended, by purpose and result (`durable` or the code of the fault)."""

    # --- the loop -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Never returns. On cancellation the exchange under way is cut, and nothing is half-done."""
        comparing = asyncio.ensure_future(self.endpoints.run())
        try:
            while True:
                await self.turn()
                await self._worker.wait(self._clock, self.watch.pause_seconds)
                if comparing.done():
                    comparing.result()
        finally:
            comparing.cancel()
            await asyncio.wait({comparing})
            await self._worker.stop()
            await self._renewing.stop()

    async def turn(self) -> None:
        """One look at the chain, one decision, and its action under way."""
        try:
            view = await self.watch.look()
            self.faults.clear("chain")
            self.step = await self._decide(view)
        except SharekeeperError as error:
            self.faults.note("chain" if isinstance(error, ChainFault) else "vault", error)
            return
        self._note_duty(self.step)
        self._worker.reap()
        action = self.step if isinstance(self.step, _ACTIONS) else None
        if action is not None and action != self._worker.basis and not self._backoff.due(_basis(action, view)):
            action = None
        await self._worker.follow(action)
        await self._follow_renewal()

    async def _decide(self, view: View) -> Step:
        onboarding = await self._decide_onboarding(view)
        if not isinstance(onboarding, Onboarded):
            return onboarding
        holdings = self._holdings()
        self.faults.clear("vault")
        return self._decide_monitoring(view.state, holdings)

    def _decide_on(self, views: ReadViews) -> Step:
        """What those views call for, whoever shows them. Raises `VaultCorrupt`."""
        own, history = self.settings.own, self._ports.memory.history
        onboarding = decide_backup_service_onboarding(
            record=views.account, own=own, history=history, slot=self.settings.slot
        )
        if not isinstance(onboarding, Onboarded):
            return onboarding
        return self._decide_monitoring(views.state, self._holdings())

    def _decide_monitoring(self, state: ProtocolState, holdings: Holdings) -> MonitoringStep:
        return decide_backup(
            state=state,
            account_id=self.settings.account_id,
            holdings=holdings,
            now_ns=self._clock.wall_ns(),
            grace_seconds=self.settings.grace_seconds,
        )

    async def _decide_onboarding(self, view: View) -> BackupServiceOnboarding:
        """The account is viewed again whenever state or own evidence changed or a call failed, and until all is well."""
        stamp = self.settings.stamp
        evidence = None if stamp is None else stamp()
        if self._settled == (view.state, evidence):
            return Onboarded(reason="this backup service is registered")
        memory, own = self._ports.memory, self.settings.own
        record = await self._ports.chain.account(self.settings.account_id, view.head)
        history = remember_backup_service(memory.history, record=record, tls_key=own.tls_public_key)
        if history != memory.history:
            await memory.remember(history, view.head.height)
        self._slot = record.slot_of(own.tls_public_key)
        step = decide_backup_service_onboarding(
            record=record,
            own=own,
            history=history,
            slot=self.settings.slot,
            evidence=evidence,
            attested=stamp is not None,
        )
        self._registered = isinstance(step, Onboarded)
        renewal = step.renewal if isinstance(step, Onboarded) else None
        self._renewal = renewal if isinstance(renewal, RegisterBackupService) else None
        self._settled = (view.state, evidence) if self._registered and renewal is None else None
        return step

    def _holdings(self) -> Holdings:
        now = self._clock.monotonic()
        if self._index_read_at is None or now - self._index_read_at >= _INDEX_SECONDS:
            self._index, self._index_read_at = self._ports.vault.index(), now
        return Holdings(
            usable=self._index,
            verified_at_ns=self.verified_at_ns,
            delivered=self._delivered,
            sibling=self.settings.sibling is not None,
            failed=self._failed,
        )

    def _note_duty(self, step: Step) -> None:
        if isinstance(step, Alarm | OperatorNeeded):
            self.faults.note("duty", step.fault(step.message), alarm=True)
        else:
            self.faults.clear("duty")
        if isinstance(step, Rest):
            for topic in ("backup", "hand-out", "confirmation", "registration"):
                self.faults.clear(topic)
            if self.attestation is not None:
                sibling = None if self.sibling is None else self.sibling.tls_key
                self.attestation.forget_peers(but=() if sibling is None else (sibling,))

    # --- the actions ----------------------------------------------------------------------------

    async def _perform(self, action: Action) -> None:
        """The action is done, or its fault noted and its next try put off."""
        topic = _TOPICS[type(action)]
        result = "cancelled"
        try:
            await self._act(action)
            result = "durable"
            self.faults.clear(topic)
            self._failed = None
        except SharekeeperError as error:
            result = error.code
            self._note_failure(action, error)
            self._settled = None
        finally:
            self._index_read_at = None
            newest = self.watch.newest
            self._backoff.tried(newest and _basis(action, newest), block_seconds=self.watch.pause_seconds)
            if (purpose := _PURPOSES.get(type(action))) is not None:
                key = (purpose, result)
                self.exchanges_total[key] = self.exchanges_total.get(key, 0) + 1

    def _note_failure(self, action: Action, error: SharekeeperError) -> None:
        """A copy that cannot be had is an alarm: the node could not give the shares either."""
        self.faults.note(_TOPICS[type(action)], error, alarm=True if isinstance(action, FetchCopy) else None)
        if isinstance(action, FetchShares | FetchCopy):
            before = self._failed[1] if self._failed is not None and self._failed[0] == action.keyset else 0
            self._failed = (action.keyset, before + 1)

    async def _act(self, action: Action) -> None:
        match action:
            case FetchShares() | FetchCopy():
                await self._fetch(action)
            case HandOut():
                await self._hand_out(action)
            case ConfirmDelivery(recovery_id=recovery_id):
                await self._ports.caller.call("confirm_key_share_delivery", {"recovery_id": recovery_id})
                log_event(_LOG, logging.INFO, "delivery confirmed to the contract", recovery_id=recovery_id)
            case VerifyVault():
                await self._verify()
            case DestroyOlder(current=current):
                await self.gate.pass_destruction(action)
                for gone in await self._ports.vault.destroy_older(current):
                    log_event(_LOG, logging.INFO, "older backup destroyed", backup_id=gone)
            case RegisterBackupService(tls_public_key=key, slot=slot, evidence=evidence):
                info = {"backup_service_info": {"public_key": str(key)}, "slot": slot}
                args = info | encode_evidence_stamp(evidence)
                await self._ports.caller.call("register_backup_service", args)
                log_event(_LOG, logging.INFO, "registered with the contract", tls_public_key=str(key), slot=slot)

    async def _follow_renewal(self) -> None:
        """Newer evidence is sent while there is nothing else to do; an action that begins comes first."""
        if self._renewal is None:
            self.faults.clear("evidence")
        renewal = self._renewal if self._worker.basis is None else None
        await self._renewing.follow(renewal if renewal is not None and self._renewal_backoff.due(renewal) else None)

    async def _renew(self, renewal: RegisterBackupService) -> None:
        """The contract has the newer evidence, or the fault is noted and the next try put off."""
        try:
            await self._act(renewal)
        except SharekeeperError as error:
            self.faults.note("evidence", error)
        self._renewal_backoff.tried(renewal, block_seconds=self.watch.pause_seconds)

    async def _fetch(self, step: FetchShares | FetchCopy) -> None:
        if isinstance(step, FetchShares):
            stored = await self._exchanges.fetch(step)
        elif self.sibling is not None:
            stored = await self.sibling.copies.fetch(step)
        else:
            raise PeerUnreachable("the address of this account's other backup service is not known: configure it")
        if self._verify_again:
            self.verified_at_ns = None
        log_event(_LOG, logging.INFO, "backup is durable", epoch=stored.keyset.epoch_id, backup_id=stored.backup_id)

    async def _hand_out(self, step: HandOut) -> None:
        recovery = step.recovery
        foreseen = self._decide_hand_out(recovery, None)
        if not isinstance(foreseen, EvidenceNeeded):
            _approval(foreseen)
        await self.gate.pass_hand_out(step)

        async def release(peer: Verdict | None) -> None:
            view = await self.watch.look()
            if self._decide_monitoring(view.state, self._holdings()) != step:
                raise PinChanged(f"recovery {recovery.recovery_id} changed before a share left")
            override = await self.gate.pass_hand_out(step)
            approval = _approval(self._decide_hand_out(recovery, peer))
            if approval is not None:
                await self._ports.approvals.spend(approval, recovery.recovery_id)
            if override is not None:
                await self.gate.spend(override, recovery)

        await self._exchanges.hand_out(step, release)
        self._delivered = recovery.recovery_id
        log_event(_LOG, logging.INFO, "shares are durable at the recovering node", recovery_id=recovery.recovery_id)

    def _decide_hand_out(self, recovery: Recovery, peer: Verdict | None) -> HandOutVerdict:
        """`peer`: what the recovering node's evidence proved in the exchange under way, if there was any."""
        return decide_hand_out(
            policy=self.settings.policy,
            network=self.settings.network,
            recovery=recovery,
            approvals=self._ports.approvals.pending(),
            now_ns=self._clock.wall_ns(),
            peer=peer,
        )

    async def _verify(self) -> None:
        """Every backup was opened. A failure is not tried again before the next day or start: it must not hold up more.

        But once after the next fetch, which may have mended it; only once, for a disk that damages every copy.
        A verification that is cut short counts for nothing: what it found is known to nobody.
        """
        before, self.verified_at_ns = self.verified_at_ns, self._clock.wall_ns()
        after_fetch = before is None and self._verify_again
        try:
            problems = await self._ports.verify_vault()
        except asyncio.CancelledError:
            self.verified_at_ns = before
            raise
        self.verified_at_ns = self._clock.wall_ns()
        self._verify_again = bool(problems) and not after_fetch
        if problems:
            raise VaultCorrupt("; ".join(problems))

    # --- what others may know -------------------------------------------------------------------

    @property
    def slot(self) -> int | None:
        """The account's slot that has this service's TLS key, as last looked up; None when none has."""
        return self._slot if self.registered else None

    @property
    def registered(self) -> bool:
        """The contract has this service's keys in force, as of the newest view."""
        return self._registered

    def held(self) -> Sequence[StoredBackup]:
        """The usable backups, as last read."""
        return self._index

    @property
    def current_backup(self) -> StoredBackup | None:
        """The usable backup of the keyset in force, as of the newest view and as last read; None when there is none."""
        view = self.watch.newest
        running = None if view is None else running_part(view.state)
        return next((held for held in self._index if running is not None and held.keyset == running.keyset), None)

    @property
    def delivered(self) -> int | None:
        """The recovery whose durable receipt this process holds, or None."""
        return self._delivered


def _approval(verdict: HandOutVerdict) -> Approval | None:
    """The approval to spend, or None where none is needed. Raises `PolicyRefused`."""
    match verdict:
        case HandOutAllowed(approval=approval):
            return approval
        case EvidenceNeeded():
            raise PolicyRefused("the recovering node showed no evidence in this exchange")
        case HandOutRefused(reason=reason):
            raise PolicyRefused(reason)


def _basis(action: Action, view: View) -> object:
    """What has to change for a failed action to be tried again at once. Whom shares are fetched from is no change."""
    what = action.keyset if isinstance(action, FetchShares | FetchCopy) else action
    return what, without_progress(view.state)
