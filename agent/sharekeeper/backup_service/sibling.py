"""The account's other backup service, as this one sees it: registered, reachable, holding the same shares.

It is asked whenever something changed, and every `CHECK_EVERY_SECONDS` otherwise: a copy counts as confirmed only while
the last answer was good. The one that answers opens its backup each time, so a confirmed copy is one that opens.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from sharekeeper.backup_service.copies import Copies
from sharekeeper.config_values import NetAddress
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import TlsKey
from sharekeeper.errors import NoBackup, PeerFault, SharekeeperError
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import Channel, Clock
from sharekeeper.protocol.survival import SiblingCopy
from sharekeeper.reconcile import Backoff, ChainWatch, Faults

_LOG: Final = logging.getLogger(__name__)
CHECK_EVERY_SECONDS: Final = 300.0
"""How often the sibling is asked again while nothing changes."""
TOPIC: Final = "sibling"
_LOOK_BLOCKS: Final = 2


class Listener(Protocol):
    """What is needed of `adapters.tls_channel.ChannelListener`."""

    async def enforce_pins(self) -> None:
        """Sessions whose peer is pinned no longer are cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiblingSettings:
    """Where the other backup service listens.

    `demanded`: its copy is all that is left after a restart, so its lack is an alarm (`vault = "memory"`).
    """

    address: NetAddress
    demanded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Confirmed:
    """That machine held the same shares as this backup, at that time."""

    tls_key: TlsKey
    backup: StoredBackup
    at_s: float
    at_ns: int


class Sibling:
    """What is known of it. `run` until cancelled; the listener asks `expected_peers` and calls `serve`."""

    def __init__(
        self,
        settings: SiblingSettings,
        copies: Copies,
        *,
        watch: ChainWatch,
        clock: Clock,
        faults: Faults,
        current: Callable[[], StoredBackup | None],
    ) -> None:
        """`current`: the backup of the keyset in force, if it is held."""
        self.settings: Final = settings
        self.copies: Final = copies
        self._watch = watch
        self._clock = clock
        self._faults = faults
        self._current = current
        self._confirmed: _Confirmed | None = None
        self._backoff = Backoff(clock)
        self.tls_key: TlsKey | None = None
        """Of the sibling in force when the account was last viewed, or None."""
        self.exchanges_total: dict[tuple[str, str], int] = {}
        """Exchanges that this side answered or checks that it began, by purpose and result."""

    # --- the loop -------------------------------------------------------------------------------

    async def run(self, listener: Listener) -> None:
        """Never returns."""
        while True:
            await self.turn(listener)
            await self._clock.sleep(_LOOK_BLOCKS * self._watch.pause_seconds)

    async def turn(self, listener: Listener) -> None:
        """The sibling was looked up, channels to another were cut, and it was asked if that is due."""
        try:
            self.tls_key = next(iter(await self.copies.expected_peers()), None)
            await listener.enforce_pins()
        except SharekeeperError:
            return  # the service's own loop tells of the chain
        backup = self._current()
        if self.tls_key is None:
            self._note(NoBackup("no other backup service of this account is registered: start it, in the other slot"))
        elif backup is None:
            self._faults.clear(TOPIC)
        else:
            await self._ask(self.tls_key, backup)

    async def _ask(self, tls_key: TlsKey, backup: StoredBackup) -> None:
        if self._is_confirmed(tls_key, backup, within_seconds=CHECK_EVERY_SECONDS):
            return
        basis = (tls_key, backup.backup_id)
        if not self._backoff.due(basis):
            return
        result = "cancelled"
        try:
            peer = await self.copies.check(backup)
            now = self._clock
            self._confirmed = _Confirmed(tls_key=peer, backup=backup, at_s=now.monotonic(), at_ns=now.wall_ns())
            result = "confirmed"
            self._faults.clear(TOPIC)
        except SharekeeperError as error:
            result = error.code
            self._confirmed = None
            self._note(error)
        finally:
            self._backoff.tried(basis, block_seconds=self._watch.pause_seconds)
            self._count("check", result)

    def _note(self, error: SharekeeperError) -> None:
        self._faults.note(TOPIC, error, alarm=self.settings.demanded)

    # --- the listener asks ----------------------------------------------------------------------

    async def expected_peers(self) -> tuple[TlsKey, ...]:
        """As `Copies.expected_peers`."""
        return await self.copies.expected_peers()

    async def serve(self, channel: Channel) -> None:
        """As `Copies.serve`, and it is counted."""
        purpose, result = "unknown", "cancelled"
        try:
            purpose = (await self.copies.serve(channel)).value
            result = "durable"
            log_event(_LOG, logging.INFO, f"{purpose} exchange with the sibling complete", peer=str(channel.peer))
        except SharekeeperError as error:
            result = error.code
            if not isinstance(error, PeerFault):
                self._faults.note("exchange", error)
            raise
        else:
            self._faults.clear("exchange")
        finally:
            self._count(purpose, result)

    def _count(self, purpose: str, result: str) -> None:
        self.exchanges_total[purpose, result] = self.exchanges_total.get((purpose, result), 0) + 1

    # --- what others may know -------------------------------------------------------------------

    @property
    def copy(self) -> SiblingCopy:
        """Whether its copy of the keyset in force is confirmed."""
        backup, within_seconds = self._current(), 2 * CHECK_EVERY_SECONDS
        confirmed = backup is not None and self._is_confirmed(self.tls_key, backup, within_seconds=within_seconds)
        return SiblingCopy.CONFIRMED if confirmed else SiblingCopy.UNCONFIRMED

    @property
    def confirmed_at_ns(self) -> int | None:
        """When it last proved that copy, or None while it is not confirmed."""
        return self._confirmed.at_ns if self._confirmed and self.copy is SiblingCopy.CONFIRMED else None

    def _is_confirmed(self, tls_key: TlsKey | None, backup: StoredBackup, *, within_seconds: float) -> bool:
        found = self._confirmed
        return (
            found is not None
            and (found.tls_key, found.backup.keyset) == (tls_key, backup.keyset)
            and self._clock.monotonic() - found.at_s < within_seconds
        )
