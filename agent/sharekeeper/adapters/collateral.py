"""Collateral from a list of PCCSs, kept in memory and on disk until it expires (docs/attestation.md, "Collateral").

Only what Intel signed for the platform is kept (`check_collateral`), so nothing here has to be secret or believed:
a PCCS that hangs costs its deadline, one that lies costs nothing, and one that serves documents which were replaced
already is not followed. While none answers, what is held counts until it expires, and `fault` says so. The prover's
own collateral is the last resort, is checked the same way, and is kept for nobody else.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from sharekeeper.adapters.durable_file import ensure_directory, read_file, write_file
from sharekeeper.adapters.pccs import Pccs
from sharekeeper.attestation.collateral_check import CheckedCollateral, Platform, check_collateral, platform_of
from sharekeeper.errors import AttestationUnavailable, StoreFailed
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import Clock
from sharekeeper.spec import MAX_COLLATERAL_BYTES

PCCS_SECONDS: Final = 2.0
"""Deadline of one PCCS, all of its answers, while somebody waits for a verdict."""

LIST_SECONDS: Final = 4.0
"""Deadline of the whole list then: below `EVIDENCE_TIMEOUT_SECONDS`, so that what the prover offers is still looked at."""

REFRESH_PATIENCE: Final = 5
"""A refresh, for which nobody waits, takes so many times as long."""

RETRY_SECONDS: Final = 30.0
"""After the whole list failed, a platform's collateral is not asked for again for so long."""

MAX_PLATFORMS: Final = 16
"""Platforms whose collateral is held; an operator's machines have one or two."""

_LOG: Final = logging.getLogger(__name__)
_WHAT: Final = "collateral"
_NS: Final = 1_000_000_000


class CollateralSource:
    """Where this machine gets collateral from."""

    def __init__(
        self,
        urls: Sequence[str],
        directory: Path,
        *,
        clock: Clock,
        root_ca: bytes | None = None,
        pccs_seconds: float = PCCS_SECONDS,
        list_seconds: float = LIST_SECONDS,
    ) -> None:
        """Nothing is read or asked yet.

        Args:
            urls: PCCSs, asked in this order until one gives what Intel signed.
            directory: where it is kept across restarts; made when needed.
            clock: says what is valid now.
            root_ca: the root's certificate (DER); None for Intel's, which is all that a production machine takes.
            pccs_seconds: deadline of one PCCS while somebody waits.
            list_seconds: deadline of all of them together then.
        """
        self._pccs = tuple(Pccs(url) for url in urls)
        self._directory = directory
        self._clock = clock
        self._root_ca = root_ca
        self._pccs_seconds = pccs_seconds
        self._list_seconds = list_seconds
        self._held: dict[Platform, CheckedCollateral] = {}
        self._failed: dict[Platform, tuple[float, AttestationUnavailable]] = {}
        self._one_at_a_time = asyncio.Lock()
        self.fault: AttestationUnavailable | None = None
        """Why the newest attempt to get collateral failed, although some may be held; None when it succeeded."""

    async def of(self, quote: bytes, *, offered: str | None) -> str:
        """Collateral that is valid now for the platform of `quote`: held, fetched, or else `offered` by the prover.

        Returns at once when some is held; nothing of the quote is verified.

        Raises:
            AttestationUnavailable: there is none.
            ValueError: `quote` is no quote.
        """
        platform = platform_of(quote)
        held = self._valid(platform) or self._read(platform)
        if held is not None:
            return held.text
        try:
            async with self._one_at_a_time:
                found = self._valid(platform) or await self._fetched(platform, patience=1)
        except AttestationUnavailable as error:
            return self._offered(offered, platform, error)
        return found.text

    async def refresh(self) -> None:
        """Every platform's collateral was asked for anew; `fault` says what of it failed. Held collateral stays."""
        for platform in tuple(self._held):
            self._failed.pop(platform, None)
            with suppress(AttestationUnavailable):
                await self._fetched(platform, patience=REFRESH_PATIENCE)

    def holds(self, quote: bytes) -> bool:
        """Collateral that is valid now is held for the platform of `quote`. Raises `ValueError` if it is no quote."""
        return self._valid(platform_of(quote)) is not None

    def expires_at_s(self) -> int | None:
        """When the first held collateral expires (seconds since 1970, UTC), or None when none is held."""
        return min((held.expires_at_s for held in self._held.values()), default=None)

    # --- what is held ---------------------------------------------------------------------------

    def _now_s(self) -> int:
        return self._clock.wall_ns() // _NS

    def _valid(self, platform: Platform) -> CheckedCollateral | None:
        held = self._held.get(platform)
        if held is None or held.expires_at_s <= self._now_s():
            return None
        return held

    def _check(self, text: str, platform: Platform) -> CheckedCollateral:
        return check_collateral(text, platform, now_s=self._now_s(), root_ca=self._root_ca)

    def _read(self, platform: Platform) -> CheckedCollateral | None:
        """What an earlier process kept, checked as if somebody had just sent it."""
        try:
            kept = self._check(read_file(self._path(platform), limit=MAX_COLLATERAL_BYTES).decode(), platform)
        except (OSError, ValueError):
            return None
        self._hold(platform, kept)
        return kept

    def _hold(self, platform: Platform, found: CheckedCollateral) -> None:
        self._held.pop(platform, None)
        while len(self._held) >= MAX_PLATFORMS:
            self._held.pop(next(iter(self._held)))
        self._held[platform] = found

    def _path(self, platform: Platform) -> Path:
        return self._directory / f"{platform}.json"

    # --- what the list gives ----------------------------------------------------------------------

    async def _fetched(self, platform: Platform, *, patience: int) -> CheckedCollateral:
        """Held from now on, in memory and on disk. Raises `AttestationUnavailable`; `fault` is set or cleared."""
        failed_at, failure = self._failed.get(platform, (0.0, None))
        if failure is not None and self._clock.monotonic() - failed_at < RETRY_SECONDS:
            raise failure
        try:
            found = await self._first(platform, patience)
        except AttestationUnavailable as error:
            if len(self._failed) >= MAX_PLATFORMS:
                self._failed.clear()
            self._failed[platform] = (self._clock.monotonic(), error)
            self.fault = error
            raise
        self._failed.pop(platform, None)
        self.fault = None
        self._hold(platform, found)
        await asyncio.to_thread(self._keep, platform, found)
        return found

    async def _first(self, platform: Platform, patience: int) -> CheckedCollateral:
        """What the first PCCS gives that Intel signed. Raises `AttestationUnavailable` with every reason."""
        reasons = []
        deadline = self._clock.monotonic() + patience * self._list_seconds
        for pccs in self._pccs:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                reasons.append(f"{pccs.host}: not asked, the others took all the time")
                continue
            try:
                text = await pccs.fetch(platform, timeout_seconds=min(left, patience * self._pccs_seconds))
                return self._newer(self._check(text, platform), platform)
            except AttestationUnavailable as error:
                reasons.append(str(error))
            except ValueError as error:
                reasons.append(f"{pccs.host}: {error}")
        listed = "; ".join(reasons) or "no PCCS is configured"
        raise AttestationUnavailable(
            f"no PCCS gives collateral for platform {platform} ({listed}): check the list of PCCS urls and the way to them"
        )

    def _newer(self, found: CheckedCollateral, platform: Platform) -> CheckedCollateral:
        held = self._valid(platform)
        if held is not None and found.older_than(held):
            raise ValueError("it serves documents that were replaced already")
        return found

    def _keep(self, platform: Platform, found: CheckedCollateral) -> None:
        try:
            ensure_directory(self._directory, what=_WHAT)
            write_file(self._path(platform), found.text.encode(), what=_WHAT)
        except StoreFailed as error:
            log_event(_LOG, logging.WARNING, f"collateral is held in memory only: {error}", code=error.code)

    # --- what the prover gives ---------------------------------------------------------------------

    def _offered(self, offered: str | None, platform: Platform, reason: AttestationUnavailable) -> str:
        if offered is None:
            raise reason
        try:
            return self._check(offered, platform).text
        except ValueError as error:
            raise AttestationUnavailable(f"{reason}; the prover's own collateral is not used either: {error}") from None
