"""Evidence in an exchange of the hard launch: made for it, shown in it, verified before shares travel (decision 9).

The state machine (`protocol/session.py`) says when what is due; here is who asks the TEE, the chain and the clock.
Both sides, both versions of the transfer. In soft launch there is none of this.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import replace
from typing import Final

from sharekeeper.domain.attestation import Evidence, Verdict
from sharekeeper.domain.identity import AccountId, Role, TlsKey
from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.errors import (
    AttestationRefused,
    AttestationUnavailable,
    PeerNotAttested,
)
from sharekeeper.exchange import receive, told
from sharekeeper.ops.report import Metric, counter
from sharekeeper.ports import Attestation, ChainReader, Channel, Clock
from sharekeeper.protocol.messages import ShownEvidence
from sharekeeper.protocol.session import Nonces, Session
from sharekeeper.reconcile import Faults, View
from sharekeeper.spec import ATTESTATION_NONCE_BYTES, EVIDENCE_TIMEOUT_SECONDS

TOPIC: Final = "peer's evidence"
"""Of the fault that the evidence of a peer was refused."""
STAMP_CHECK: Final = "contract stamp"
"""The check that precedes those of the verifier."""
_NS: Final = 1_000_000_000


class MutualAttestation:
    """What one machine shows in its exchanges, and what it demands of its peers."""

    def __init__(
        self,
        attestation: Attestation,
        *,
        account_id: AccountId,
        chain: ChainReader,
        look: Callable[[], Awaitable[View]],
        clock: Clock,
        faults: Faults,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """`look`: the newest final view, asked from the chain. `account_id`: the account of both machines."""
        self._attestation = attestation
        self._account_id = account_id
        self._chain = chain
        self._look = look
        self._clock = clock
        self._faults = faults
        self._entropy = entropy
        self._refused: dict[TlsKey, PeerNotAttested] = {}
        self.refused_total: dict[str, int] = {}
        """How often evidence of a peer was refused, by the check that failed."""

    def nonces(self) -> Nonces:
        """A fresh nonce of this side; the peer's comes with its hello."""
        return Nonces(own=self._entropy(ATTESTATION_NONCE_BYTES))

    # --- one channel --------------------------------------------------------------------------------

    async def open(self, channel: Channel, session: Session) -> None:
        """After the hellos: this side, which opened, has shown its evidence, and the peer's satisfies every check.

        The peer is told of a failure.

        Raises:
            PeerFault: the peer, `PeerNotAttested` among them.
            AttestationUnavailable, AttestationRefused, ChainFault: this side.
        """
        async with told(channel, session):
            frame = await self.prove(session)
        await channel.send_frame(frame)
        shown = await receive(channel, session, ShownEvidence)
        async with told(channel, session):
            await self.verify(session, shown)

    async def answer(self, channel: Channel, session: Session) -> None:
        """As `open`, for the side that answers: it shows its evidence only to a peer whose own satisfies every check."""
        shown = await receive(channel, session, ShownEvidence)
        async with told(channel, session):
            await self.verify(session, shown)
            frame = await self.prove(session)
        await channel.send_frame(frame)

    # --- one session --------------------------------------------------------------------------------

    async def prove(self, session: Session) -> bytes:
        """The frame of evidence that this machine made for `session` just now, and that it would accept itself.

        Raises:
            AttestationUnavailable: none can be made or checked in time.
            AttestationRefused: the network does not allow what this machine runs.
            ChainFault: there is no fresh view.
        """
        report_data = session.report_data(session.role)
        async with _deadline("this machine's TEE did not make its evidence"):
            evidence = await self._attestation.prove(report_data)
        head = (await self._look()).head
        verdict = await self._check(evidence, session.code_of(session.role), report_data, head)
        return session.send_evidence(evidence, verdict)

    async def verify(self, session: Session, shown: ShownEvidence) -> None:
        """The peer's evidence is accepted: at the newest final block, the contract and every check allow it.

        1. The contract shows evidence of the peer's TLS key that is valid. 2. The verifier's checks, with what the
        contract allows at that same block. What is accepted lasts no longer than either.

        Raises:
            PeerNotAttested: a check failed; health shows it until evidence of this peer is accepted.
            AttestationUnavailable: this side cannot check just now.
            ChainFault: there is no fresh view.
        """
        peer = session.peer_tls_key
        try:
            verdict = await self._verdict(session, shown.evidence)
        except PeerNotAttested as fault:
            self._note(peer, fault)
            raise
        session.accept_evidence(verdict)
        self._refused.pop(peer, None)
        self._show_refused()

    def check_unexpired(self, session: Session) -> None:
        """Returns when the evidence of both sides is valid at this moment. Raises `EvidenceExpired`."""
        session.check_unexpired(self._now_s())

    def forget_peers(self, but: Collection[TlsKey]) -> None:
        """Only `but` are peers now: what was wrong with others is no concern any more."""
        self._refused = {peer: fault for peer, fault in self._refused.items() if peer in but}
        self._show_refused()

    async def _verdict(self, session: Session, evidence: Evidence) -> Verdict:
        peer, role = session.peer_tls_key, session.code_of(session.peer_role)
        head = (await self._look()).head
        record = await self._chain.account(self._account_id, head)
        recorded = next((one for one in record.evidence if one.tls_public_key == peer), None)
        if recorded is None or self._now_s() >= recorded.valid_until:  # 1
            raise PeerNotAttested(
                f"at block {head.height} the contract has no valid evidence of {peer}: the {role} there must register "
                "its own",
                check=STAMP_CHECK,
            )
        try:
            verdict = await self._check(evidence, role, session.report_data(session.peer_role), head)  # 2
        except AttestationRefused as error:
            raise PeerNotAttested(f"the evidence of {role} {peer} is refused: {error}", check=error.check) from None
        return replace(verdict, expires_at_s=min(verdict.expires_at_s, recorded.valid_until))

    async def _check(self, evidence: Evidence, role: Role, report_data: bytes, at: BlockRef) -> Verdict:
        async with _deadline("evidence could not be checked"):
            return await self._attestation.check(evidence, role=role, report_data=report_data, at=at)

    def _now_s(self) -> int:
        return self._clock.wall_ns() // _NS

    def _note(self, peer: TlsKey, fault: PeerNotAttested) -> None:
        check = fault.check or "unknown"
        self.refused_total[check] = self.refused_total.get(check, 0) + 1
        self._refused[peer] = fault
        self._show_refused()

    def _show_refused(self) -> None:
        """An alarm, except that a stamp may be on its way to the contract."""
        newest = next(reversed(self._refused.values()), None)
        if newest is None:
            self._faults.clear(TOPIC)
        else:
            self._faults.note(TOPIC, newest, alarm=newest.check != STAMP_CHECK)


def refused_evidence(attestation: MutualAttestation | None) -> Metric:
    """The metric of both daemons; without samples in soft launch."""
    totals = {} if attestation is None else attestation.refused_total
    return counter(
        "sharekeeper_evidence_refused_total",
        "Evidence of peers that was refused, by the check that failed.",
        [({"check": check}, count) for check, count in totals.items()],
    )


@contextlib.asynccontextmanager
async def _deadline(failure: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(EVIDENCE_TIMEOUT_SECONDS):
            yield
    except TimeoutError:
        raise AttestationUnavailable(f"{failure} within {EVIDENCE_TIMEOUT_SECONDS:g} s; try again") from None
