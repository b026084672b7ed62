"""The evidence of this machine for the contract and for whoever asks: made at the start and every hour.

Evidence over the registration's report data is held here: the daemon names its stamp to the contract, and the page
/public_data shows all of it. It counts for `validity_seconds` after it was made and no longer. The machine judges its
own evidence as its peers would, at the newest final block, so that a withdrawn vote is an alarm before it is needed.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from sharekeeper.attestation.evidence import encode_evidence
from sharekeeper.domain.attestation import Evidence, EvidenceStamp, Verdict
from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import AttestationRefused, AttestationUnavailable, ChainFault
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import Attestation, ChainReader, Clock
from sharekeeper.protocol.codec import parse_json
from sharekeeper.reconcile import Faults

TOPIC: Final = "attestation"
"""Of the fault that there is no new evidence, or that the network would refuse it."""
COLLATERAL_TOPIC: Final = "collateral"
"""Of the fault that no PCCS gives collateral."""

LOOK_SECONDS: Final = 60.0
"""How often evidence is judged, and due dates are looked at."""
FIRST_RETRY_SECONDS: Final = 2.0
START_ALARM_SECONDS: Final = 300.0
"""A machine that has had no evidence for so long since its start raises an alarm."""
LATE_INTERVALS: Final = 3
"""One whose evidence is this many intervals old raises it too, long before the evidence expires."""
COLLATERAL_ALARM_SECONDS: Final = 3 * 86_400
"""Held collateral that expires within this time, while no PCCS answers, is an alarm."""
_NS: Final = 1_000_000_000
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEvidence:
    """Evidence of this machine, its encoding, and its stamp."""

    evidence: Evidence
    encoded: bytes
    stamp: EvidenceStamp


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestingSettings:
    """What is attested. Durations in seconds."""

    role: Role
    report_data: bytes
    """Of the registration: over this machine's TLS key and account key."""
    reattest_seconds: float
    validity_seconds: float


class CollateralHealth(Protocol):
    """What is known here of collateral (`adapters/collateral.py`)."""

    @property
    def fault(self) -> AttestationUnavailable | None:
        """Why the newest attempt to get some failed."""

    async def refresh(self) -> None:
        """What is held was asked for anew."""

    def holds(self, quote: bytes) -> bool:
        """Some that is valid now is held for the platform of `quote`."""

    def expires_at_s(self) -> int | None:
        """When the first that is held expires, in seconds since 1970, UTC; None: none is held."""


class Attesting:
    """Makes and holds the evidence of one machine; `run` until cancelled, beside its daemon."""

    def __init__(
        self,
        settings: AttestingSettings,
        *,
        attestation: Attestation,
        announce: Callable[[], Awaitable[None]],
        collateral: CollateralHealth,
        chain: ChainReader,
        clock: Clock,
    ) -> None:
        """`announce`: RTMR3 names this image, once per boot (`TeeAttestation.announce_image`); done before all else."""
        self._settings = settings
        self._attestation = attestation
        self._announce = announce
        self._collateral = collateral
        self._chain = chain
        self._clock = clock
        self._announced = False
        self._since = clock.monotonic()
        self._failures = 0
        self.newest: OwnEvidence | None = None
        """Made last, expired or not."""
        self.verdict: Verdict | None = None
        """On `newest`, at the newest block it was judged at; None while the network refuses it."""

    def stamp(self) -> EvidenceStamp | None:
        """Of the newest evidence, which is what the contract is told; None while there is none that is valid."""
        newest = self.newest
        if newest is None or self._now_s() >= newest.stamp.attested_at + self._settings.validity_seconds:
            return None
        return newest.stamp

    def public_data(self) -> Mapping[str, Any]:
        """What /public_data shows of it, as JSON: `evidence` in its one form or null, its digest and its time."""
        stamp = self.stamp()
        if self.newest is None or stamp is None:
            return {"evidence": None, "evidence_digest": None, "attested_at": None}
        return {
            "evidence": parse_json(self.newest.encoded),
            "evidence_digest": stamp.digest,
            "attested_at": stamp.attested_at,
        }

    async def run(self, faults: Faults) -> None:
        """Never returns. `faults`: the daemon's."""
        while True:
            await self.turn(faults)
            await self._clock.sleep(self._pause_seconds())

    async def turn(self, faults: Faults) -> None:
        """New evidence is there if it was due and could be made; what is wrong with it is noted in `faults`."""
        try:
            newest = await self._renewed()
        except (AttestationUnavailable, AttestationRefused) as error:
            self._failures += 1
            late = (
                AttestationUnavailable(f"{self._how_late()}: {error}") if error.retryable and self._is_late() else error
            )
            faults.note(TOPIC, late, alarm=not error.retryable or late is not error)
        else:
            self._failures = 0
            await self._judge(newest, faults)
        self._note_collateral(faults)

    async def _renewed(self) -> OwnEvidence:
        """The newest evidence, made just now if it was due."""
        if not self._announced:
            await self._announce()
            self._announced = True
        newest = self.newest
        if newest is not None and not self._is_due(newest):
            return newest
        await self._collateral.refresh()
        self.newest = newest = await self._made()
        self._since = self._clock.monotonic()
        log_event(_LOG, logging.INFO, "evidence made", digest=newest.stamp.digest)
        return newest

    def _is_due(self, newest: OwnEvidence) -> bool:
        """It is an interval old, or was made without collateral and now there is some for this machine."""
        without = newest.evidence.collateral is None and self._collateral.holds(newest.evidence.quote)
        return without or self._age_seconds() >= self._settings.reattest_seconds

    async def _made(self) -> OwnEvidence:
        """Dated before the quote is asked for: evidence is never younger than its stamp says."""
        attested_at = self._now_s()
        evidence = await self._attestation.prove(self._settings.report_data)
        try:
            encoded = encode_evidence(evidence)
        except ValueError as error:
            raise AttestationUnavailable(f"this machine's evidence cannot be shown: {error}") from None
        stamp = EvidenceStamp(digest=Sha256Hex.of(encoded), attested_at=attested_at)
        return OwnEvidence(evidence=evidence, encoded=encoded, stamp=stamp)

    async def _judge(self, newest: OwnEvidence, faults: Faults) -> None:
        """What peers would say. A chain that does not answer is the daemon's to report, and changes nothing here."""
        settings = self._settings
        try:
            head = await self._chain.head()
            self.verdict = await self._attestation.check(
                newest.evidence, role=settings.role, report_data=settings.report_data, at=head
            )
        except ChainFault:
            return
        except AttestationUnavailable as error:
            faults.note(TOPIC, error)
            return
        except AttestationRefused as error:
            self.verdict = None
            told = f"no peer accepts this machine's evidence, so no share moves: {error}"
            faults.note(TOPIC, AttestationRefused(told, check=error.check), alarm=True)
            return
        faults.clear(TOPIC)

    def _note_collateral(self, faults: Faults) -> None:
        """An outage is an alarm once what is held is about to expire, or nothing is held."""
        fault = self._collateral.fault
        if fault is None:
            faults.clear(COLLATERAL_TOPIC)
            return
        expires_at_s = self._collateral.expires_at_s()
        urgent = expires_at_s is None or expires_at_s - self._now_s() < COLLATERAL_ALARM_SECONDS
        told = "none is held" if expires_at_s is None else f"what is held counts until {_utc(expires_at_s)}"
        noted = AttestationUnavailable(f"{told}, and then evidence cannot be verified: {fault}") if urgent else fault
        faults.note(COLLATERAL_TOPIC, noted, alarm=urgent)

    # --- time -----------------------------------------------------------------------------------

    def _now_s(self) -> int:
        return self._clock.wall_ns() // _NS

    def _age_seconds(self) -> float:
        """Of the newest evidence; of this process while there is none."""
        return self._clock.monotonic() - self._since

    def _is_late(self) -> bool:
        allowed = START_ALARM_SECONDS if self.newest is None else LATE_INTERVALS * self._settings.reattest_seconds
        return self._age_seconds() >= allowed

    def _how_late(self) -> str:
        if self.newest is None:
            return "this machine has made no evidence since it started, and without it takes part in nothing"
        until = int(self.newest.stamp.attested_at + self._settings.validity_seconds)
        return f"this machine has made no evidence for long; its last one counts until {_utc(until)}"

    def _pause_seconds(self) -> float:
        if self._failures:
            return min(FIRST_RETRY_SECONDS * 2.0 ** min(self._failures - 1, 10), LOOK_SECONDS)
        return min(LOOK_SECONDS, max(self._settings.reattest_seconds - self._age_seconds(), 0.0))


def _utc(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
