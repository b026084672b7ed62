"""The port `Attestation` of a machine inside a dstack CVM (hard launch; docs/attestation.md)."""

from collections.abc import Mapping
from typing import Final

from sharekeeper.adapters.collateral import CollateralSource
from sharekeeper.adapters.dstack import GuestAgent, GuestInfo
from sharekeeper.attestation.events import IMAGE_DIGEST, named
from sharekeeper.attestation.policy import AttestationPolicy
from sharekeeper.attestation.verifier import verify_evidence
from sharekeeper.domain.attestation import CodeHash, Evidence, Verdict
from sharekeeper.domain.identity import Role
from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.errors import AttestationRefused, AttestationUnavailable
from sharekeeper.ports import Attestation, ChainReader, Clock

_NS: Final = 1_000_000_000
_REBOOT: Final = "reboot the CVM, which empties RTMR3"


class TeeAttestation(Attestation):
    """Quotes come from the guest agent, collateral from PCCSs, what is allowed from the contract."""

    def __init__(
        self,
        *,
        guest: GuestAgent,
        collateral: CollateralSource,
        chain: ChainReader,
        policies: Mapping[Role, AttestationPolicy],
        clock: Clock,
        root_ca: bytes | None = None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            guest: this CVM's guest agent.
            collateral: with the same `root_ca`.
            chain: the own node, inside the TEE.
            policies: what is demanded of each role.
            clock: says what is valid now. A CVM's clock is its host's; decisions rest on final blocks besides, which
                must be about as old as this clock says.
            root_ca: another root than Intel's; only a TEE host stand-in has one.
        """
        self._guest = guest
        self._collateral = collateral
        self._chain = chain
        self._policies = dict(policies)
        self._clock = clock
        self._root_ca = root_ca
        self._app_compose: str | None = None

    async def prove(self, report_data: bytes) -> Evidence:
        """As the port says. The app-compose is asked for once: it cannot change while this process runs."""
        if self._app_compose is None:
            self._app_compose = (await self._guest.info()).app_compose
        quoted = await self._guest.quote(report_data)
        return Evidence(
            quote=quoted.quote,
            events=quoted.events,
            app_compose=self._app_compose,
            collateral=await self._own_collateral(quoted.quote),
        )

    async def check(self, evidence: Evidence, *, role: Role, report_data: bytes, at: BlockRef) -> Verdict:
        """As the port says."""
        allowed = await self._chain.allowed_code(at)
        return verify_evidence(
            evidence,
            role=role,
            report_data=report_data,
            allowed=allowed,
            policy=self._policies[role],
            now_s=self._clock.wall_ns() // _NS,
            collateral=await self._collateral_for(evidence),
            root_ca=self._root_ca,
        )

    async def announce_image(self, role: Role, image: CodeHash) -> None:
        """RTMR3 of this boot has the event that names the image, once; whoever verifies compares it with the votes.

        Repeating it changes nothing, also after a call whose fate is not known: the event log is looked at first.

        Raises:
            AttestationRefused: this boot's RTMR3 already names another image, or names one more than once.
            AttestationUnavailable: the guest agent did not do it.
        """
        name = IMAGE_DIGEST[role]
        if not _announced(await self._guest.info(), name, image):
            await self._guest.emit_event(name, bytes.fromhex(image))
            if not _announced(await self._guest.info(), name, image):
                raise AttestationUnavailable(
                    f"the guest agent took the event {name}, and its event log does not have it: use dstack 0.5.x"
                )

    async def _own_collateral(self, quote: bytes) -> str | None:
        try:
            return await self._collateral.of(quote, offered=None)
        except AttestationUnavailable:
            return None
        except ValueError as error:
            raise AttestationUnavailable(f"the guest agent made a quote that nobody can read: {error}") from None

    async def _collateral_for(self, evidence: Evidence) -> str:
        """Collateral to check with. What the prover offers counts only where it is known to be of his platform.

        dcap-qvl takes a quote without certificates if the collateral has them: then the prover would choose it.
        """
        try:
            return await self._collateral.of(evidence.quote, offered=evidence.collateral)
        except ValueError as error:
            raise AttestationRefused(f"check 1 (quote): its platform cannot be read: {error}", check="quote") from None


def _announced(info: GuestInfo, name: str, image: CodeHash) -> bool:
    found = named(info.events, name)
    if not found:
        return False
    if len(found) > 1:
        raise AttestationRefused(f"RTMR3 has {len(found)} events {name} since this CVM started, not one: {_REBOOT}")
    if found[0].payload != image:
        raise AttestationRefused(
            f"RTMR3 names image {found[0].payload} since this CVM started, and this is image {image}: {_REBOOT}"
        )
    return True
