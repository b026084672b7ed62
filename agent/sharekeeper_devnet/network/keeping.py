"""Which key shares a node has on its disk: those that the contract's final state still needs, and no others.

A share of a key event is held without being in use until a final Running names exactly that key event in its
keyset. It is erased when no state can name it any more. Shares of older keysets stay through a resharing, which may
be cancelled, and are destroyed once a newer Running is final and this node holds all its shares of it.
"""

import logging
from collections.abc import Collection
from typing import Final

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.domain.identity import AccountId, TlsKey
from sharekeeper.domain.keyset import KeyEventId, Keyset, KeysetDigest
from sharekeeper.domain.protocol_state import (
    Initializing,
    KeyEvent,
    NotInitialized,
    ProtocolState,
    Recovery,
    Resharing,
    Running,
)
from sharekeeper.ops.logs import log_event

_LOG: Final = logging.getLogger(__name__)


class ShareKeeper:
    """Keeps one node's key-share directory as the contract's state says."""

    def __init__(self, *, store: DirectoryKeyShareStore, account_id: AccountId, tls_key: TlsKey) -> None:
        self._store = store
        self._account_id = account_id
        self._tls_key = tls_key
        self._complete: KeysetDigest | None = None
        self._height = 0

    async def settle(self, state: ProtocolState, height: int) -> None:
        """The directory is as it has to be at that final state of block `height`. Repeating it changes nothing.

        Raises:
            ShareStoreCorrupt, SharesRefused: a file is damaged or not of the keyset; nothing was erased.
            StoreFailed: disk.
        """
        self._height = height
        match state:
            case NotInitialized():
                return
            case Initializing():
                await self._erase(_events(state.previous.keyset), _in_progress(state.generating))
            case Resharing():
                reshared = Keyset(epoch_id=state.resharing.epoch_id, domains=state.reshared)
                await self._settle(state.previous, (*_events(reshared), *_in_progress(state.resharing)))
            case Recovery():
                await self._settle(state.previous, ())
            case Running():
                await self._settle(state, ())

    async def _settle(self, running: Running, keep: Collection[KeyEventId]) -> None:
        me = running.participants.find(self._account_id)
        if me is None:
            await self._erase(keep)
            await self._left(running)
        elif me.info.tls_public_key != self._tls_key or await self._is_complete(running.keyset):
            await self._erase(keep)
        else:
            await self._erase(keep, _events(running.keyset))

    async def _is_complete(self, keyset: Keyset) -> bool:
        """True when all shares of the keyset are in use; those of other keysets are gone then."""
        if self._complete == keyset.digest():
            return True
        if await self._store.read(keyset) is None:
            if not await self._store.make_permanent(keyset):
                return False
            log_event(_LOG, logging.INFO, "key shares in use", epoch=keyset.epoch_id, domains=len(keyset.domains))
        if keyset.domains and (gone := await self._store.destroy_others(keyset)):
            log_event(_LOG, logging.INFO, "older key shares destroyed", files=len(gone))
        self._complete = keyset.digest()
        return True

    async def _left(self, running: Running) -> None:
        if gone := await self._store.destroy_older(running.keyset.epoch_id):
            log_event(_LOG, logging.INFO, "this node left the network, its key shares destroyed", files=len(gone))

    async def _erase(self, *keep: Collection[KeyEventId]) -> None:
        if gone := await self._store.erase_held(
            keep={event for events in keep for event in events}, height=self._height
        ):
            log_event(_LOG, logging.INFO, "held shares erased", files=len(gone))


def _events(keyset: Keyset) -> tuple[KeyEventId, ...]:
    return tuple(keyset.key_event(domain) for domain in keyset.domains)


def _in_progress(event: KeyEvent) -> tuple[KeyEventId, ...]:
    if event.instance is None:
        return ()
    named = KeyEventId(epoch_id=event.epoch_id, domain_id=event.domain.domain_id, attempt_id=event.instance.attempt_id)
    return (named,)
