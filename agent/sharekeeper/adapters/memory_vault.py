"""The vault kind `memory`: backups in the RAM of this process and nowhere else (hard launch; docs/vault-format.md).

A restart loses them, as near/mpc plans it: the backup service fetches again, from the node or from the sibling.
They are held as age files sealed to an identity that this object makes for itself and shows to nobody, so one
backup has the same facts, and is opened and checked the same way, whichever vault holds it.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sharekeeper.adapters.vault_manifest import VaultOwner
from sharekeeper.adapters.vault_reader import decode_plaintext, encode_plaintext
from sharekeeper.crypto.sealing import IDENTITY_BYTES, Unopenable, identity_of, recipient_of, seal, unseal
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.keyset import BackupId, Keyset, Sha256Hex
from sharekeeper.domain.keyshare import KeyShare, SharesMismatch, check_shares
from sharekeeper.errors import ChainContradiction, NoBackup, SharesRefused, VaultCorrupt
from sharekeeper.ports import Clock, Vault
from sharekeeper.protocol.codec import DecodeError
from sharekeeper.secret import Secret

_CHECK_CHAIN: Final = "check which chain the endpoint serves"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    backup: StoredBackup
    ciphertext: bytes


class MemoryVault(Vault):
    """The vault of one account, empty at every start."""

    def __init__(
        self, *, network: NetworkId, account_id: AccountId, clock: Clock, entropy: Callable[[int], bytes]
    ) -> None:
        """`entropy`: the operating system's source of random bytes; it makes the identity."""
        self._owner = VaultOwner(network=network, account_id=account_id)
        self._clock = clock
        self._identity = identity_of(Secret(entropy(IDENTITY_BYTES)))
        self._recipients = (recipient_of(self._identity),)
        self._held: dict[BackupId, _Held] = {}
        self._newest_epoch = 0
        self._mutex = threading.Lock()

    def index(self) -> tuple[StoredBackup, ...]:
        """As the port says; never fails."""
        return tuple(held.backup for held in tuple(self._held.values()))

    async def store(self, keyset: Keyset, shares: tuple[KeyShare, ...], source: TlsKey) -> StoredBackup:
        """The shares are in memory, opened once and compared. Repeating a store changes nothing.

        Raises:
            SharesRefused: not the shares of `keyset`, or not those the vault holds for it.
            ChainContradiction: `keyset` is of an older epoch than the newest one this process stored.
            VaultCorrupt: what was opened differs.
        """
        return await asyncio.to_thread(self._store, keyset, shares, source)

    async def open(self, backup_id: BackupId) -> tuple[KeyShare, ...]:
        """The shares, checked against their keyset. Raises `NoBackup`, `VaultCorrupt`."""
        return await asyncio.to_thread(lambda: self._open(self._find(backup_id)))

    async def destroy_older(self, current: BackupId) -> Sequence[BackupId]:
        """No backup but `current`, which opens, is held; returns which were. Python cannot wipe what they occupied.

        Raises:
            NoBackup, VaultCorrupt: `current` does not open; nothing was destroyed.
            ChainContradiction: this process has held a newer epoch than `current`; nothing was destroyed.
        """
        return await asyncio.to_thread(self._destroy_older, current)

    async def verify(self) -> Sequence[str]:
        """Every backup was opened; one sentence for each that does not."""
        problems = []
        for backup in self.index():
            try:
                await self.open(backup.backup_id)
            except VaultCorrupt as error:
                problems.append(str(error))
        return problems

    # --- under the mutex ------------------------------------------------------------------------

    def _store(self, keyset: Keyset, shares: tuple[KeyShare, ...], source: TlsKey) -> StoredBackup:
        try:
            check_shares(keyset, shares)
        except SharesMismatch as error:
            raise SharesRefused(f"these are not the shares of the keyset, nothing was stored: {error}") from None
        with self._mutex:
            backup_id = keyset.backup_id(self._owner.network, self._owner.account_id)
            held = self._held.get(backup_id)
            if held is None and keyset.epoch_id < self._newest_epoch:
                raise ChainContradiction(
                    f"a keyset of epoch {keyset.epoch_id} was not stored: this process has held epoch "
                    f"{self._newest_epoch}, and an older epoch never replaces a newer one; {_CHECK_CHAIN}"
                )
            if held is not None and self._is_whole(held, shares):
                return held.backup
            made = self._sealed(backup_id, keyset, shares, source)
            if self._open(made) != shares:
                raise VaultCorrupt("memory vault: other shares were opened than were sealed; test this host's memory")
            self._held[backup_id] = made
            self._newest_epoch = max(self._newest_epoch, keyset.epoch_id)
            return made.backup

    def _is_whole(self, held: _Held, shares: tuple[KeyShare, ...]) -> bool:
        try:
            found = self._open(held)
        except VaultCorrupt:
            return False
        if found != shares:
            raise SharesRefused(
                f"the vault holds other shares of keyset {held.backup.digest}; nothing was changed: one of the two copies "
                "is wrong"
            )
        return True

    def _sealed(self, backup_id: BackupId, keyset: Keyset, shares: tuple[KeyShare, ...], source: TlsKey) -> _Held:
        ciphertext = seal(encode_plaintext(self._owner, keyset, shares), self._recipients)
        backup = StoredBackup(
            backup_id=backup_id,
            keyset=keyset,
            digest=keyset.digest(),
            source_tls_key=source,
            stored_at_ns=self._clock.wall_ns(),
            ciphertext_sha256=Sha256Hex.of(ciphertext),
            ciphertext_bytes=len(ciphertext),
        )
        return _Held(backup=backup, ciphertext=ciphertext)

    def _destroy_older(self, current: BackupId) -> tuple[BackupId, ...]:
        with self._mutex:
            kept = self._find(current)
            self._open(kept)
            epoch = kept.backup.keyset.epoch_id
            if epoch < self._newest_epoch:
                raise ChainContradiction(
                    f"nothing was destroyed: epoch {epoch} is older than epoch {self._newest_epoch}, which this process has "
                    f"held; {_CHECK_CHAIN}"
                )
            gone = tuple(backup_id for backup_id in self._held if backup_id != current)
            self._held = {current: kept}
            return gone

    def _find(self, backup_id: BackupId) -> _Held:
        held = self._held.get(backup_id)
        if held is None:
            raise NoBackup(f"the memory of this process holds no backup {backup_id}")
        return held

    def _open(self, held: _Held) -> tuple[KeyShare, ...]:
        try:
            return decode_plaintext(unseal(held.ciphertext, self._identity), self._owner, held.backup.keyset)
        except (Unopenable, DecodeError, SharesMismatch) as error:
            raise VaultCorrupt(
                f"memory vault: backup {held.backup.backup_id} does not open any more: {error}; test this host's memory"
            ) from None
