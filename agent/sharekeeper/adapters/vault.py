"""The vault: where backups rest (design decision 5; docs/vault-format.md)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sharekeeper.adapters.durable_file import read_file, remove_tree, sync_directory, write_file
from sharekeeper.adapters.vault_manifest import EntryName, EntryRef
from sharekeeper.adapters.vault_reader import EntryFault, Finding, Problem, VaultReport
from sharekeeper.adapters.vault_writer import VaultWriter
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.keyset import BackupId, Keyset
from sharekeeper.domain.keyshare import KeyShare, SharesMismatch, check_shares
from sharekeeper.errors import ChainContradiction, SharesRefused, VaultCorrupt
from sharekeeper.ports import Vault
from sharekeeper.protocol.codec import boolean, canonical_json, integer, parse_json

VERIFIED_FILES: Final = {False: "verified.json", True: "verified-deep.json"}
_MAX_VERIFIED_BYTES: Final = 4096
_QUARANTINED: Final = (Problem.NOT_AUTHENTIC, Problem.DAMAGED, Problem.UNEXPECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastVerification:
    """When the vault was last verified by its service, and with what result."""

    at_ns: int
    deep: bool
    ok: bool
    entries: int


class AgeVault(VaultWriter, Vault):
    """The vault of one account, as a directory of age files.

    Reading needs no lock. The first change takes the vault's lock (`acquire`) and keeps it until `close`;
    a second writing process gets `AlreadyRunning`. Methods that are not coroutines block on the disk.
    """

    # --- the port -------------------------------------------------------------------------------

    async def store(self, keyset: Keyset, shares: tuple[KeyShare, ...], source: TlsKey) -> StoredBackup:
        """As the port says, see `store_now`."""
        return await asyncio.to_thread(self.store_now, keyset, shares, source)

    async def open(self, backup_id: BackupId) -> tuple[KeyShare, ...]:
        """As the port says, see `open_now`."""
        return await asyncio.to_thread(self.open_now, backup_id)

    async def destroy_older(self, current: BackupId) -> Sequence[BackupId]:
        """As the port says, see `destroy_older_now`."""
        return await asyncio.to_thread(self.destroy_older_now, current)

    # --- storing --------------------------------------------------------------------------------

    def store_now(self, keyset: Keyset, shares: tuple[KeyShare, ...], source: TlsKey) -> StoredBackup:
        """The shares are on disk, read back, decrypted and compared; see the port. Blocks.

        A held backup that has a problem is moved to quarantine and replaced.

        Raises:
            SharesRefused: not the shares of `keyset`, or not those the vault holds for it.
            ChainContradiction: `keyset` is of an older epoch than the newest one ever stored.
            StoreFailed, VaultCorrupt, AlreadyRunning: nothing of this store is visible.
        """
        try:
            check_shares(keyset, shares)
        except SharesMismatch as error:
            raise SharesRefused(f"these are not the shares of the keyset, nothing was stored: {error}") from None
        with self._changing() as head:
            held = head.find(self._backup_id(keyset))
            if held is None and keyset.epoch_id < head.newest_epoch:
                raise ChainContradiction(
                    f"a keyset of epoch {keyset.epoch_id} was not stored: the vault has held epoch {head.newest_epoch}, and "
                    "an older epoch never replaces a newer one; check which chain the endpoint serves"
                )
            if held is not None:
                backup = self._held(held, shares)
                if backup is not None:
                    return backup
                self._put_aside(head, held, "a fresh copy arrived")
            return self._write_entry(self._read_head(), keyset, shares, source, self._clock.wall_ns())

    def _held(self, ref: EntryRef, shares: tuple[KeyShare, ...]) -> StoredBackup | None:
        """The backup that is held already, durably, or None when it is not whole."""
        try:
            manifest = self._manifest(ref)
            held = self._shares(ref, manifest)
        except EntryFault:
            return None
        if held != shares:
            raise SharesRefused(
                f"the vault holds other shares of keyset {ref.name}; nothing was changed: one of the two copies is wrong"
            )
        for path in (self._keysets, self._records):
            sync_directory(path, what="vault directory", disk=self._disk)
        return manifest.backup

    # --- destroying -----------------------------------------------------------------------------

    def destroy_older_now(self, current: BackupId) -> tuple[BackupId, ...]:
        """Every backup but `current` is deleted, also from quarantine; returns which. Blocks. See the port.

        Raises:
            NoBackup, VaultCorrupt: `current` does not open; nothing was destroyed.
            ChainContradiction: the vault holds a newer epoch than `current`; nothing was destroyed.
            StoreFailed: disk; the next start or change finishes it.
        """
        with self._changing() as head:
            kept = self._find(head, current)
            self._shares(kept, self._manifest(kept))
            others = tuple(ref for ref in head.entries if ref != kept)
            if kept.name.epoch_id < head.newest_epoch:
                raise ChainContradiction(
                    f"nothing was destroyed: epoch {kept.name.epoch_id} is older than epoch {head.newest_epoch}, which "
                    "the vault has held; check which chain the endpoint serves"
                )
            if others:
                self._settle_leaving(self._write_head(replace(head, entries=(kept,), leaving=others)))
            self._put_older_aside(kept.name)
            self._empty_quarantine(kept.name)
            return tuple(ref.backup_id for ref in others)

    def _put_older_aside(self, kept: EntryName) -> None:
        """No entry of an older keyset is left that the head record does not name; others wait for verification."""
        for entry in self._names():
            name = EntryName.parse(entry)
            if name is not None and name.epoch_id <= kept.epoch_id and name.digest != kept.digest:
                self._to_quarantine(entry, "it is of an older keyset than the one in force")

    def _empty_quarantine(self, kept: EntryName) -> None:
        """What was put aside may hold shares of an older keyset: it goes when they go."""
        stem = str(replace(kept, number=None))
        for path in sorted(self._quarantine.iterdir()):
            if not path.name.startswith(stem):
                remove_tree(path, what="quarantined entry", disk=self._disk)
                self._journal("destroyed_quarantined", detail=path.name)

    # --- verifying ------------------------------------------------------------------------------

    def verify(self, *, deep: bool) -> VaultReport:
        """Every entry is checked, and decrypted when `deep`; blocks.

        The vault's writer (after `acquire`) also moves what is damaged or planted to quarantine and remembers
        the result for `last_verification`; any other process only reports.

        Raises:
            VaultCorrupt, ConfigInvalid: as `index`.
            StoreFailed: disk.
        """
        with self._mutex:
            if self._lock is not None:
                self._settled()
            report = VaultReport(at_ns=self._clock.wall_ns(), deep=deep, findings=self.inspect(deep=deep))
            if self._lock is not None:
                self._quarantine_damaged(report.problems)
                self._remember(report)
        return report

    def last_verification(self, *, deep: bool) -> LastVerification | None:
        """The newest remembered verification that was `deep` or not, or None. Raises `VaultCorrupt`."""
        path = self._records / VERIFIED_FILES[deep]
        try:
            content = parse_json(read_file(path, limit=_MAX_VERIFIED_BYTES))
            return LastVerification(
                at_ns=integer(content, "at_ns"),
                deep=deep,
                ok=boolean(content, "ok"),
                entries=integer(content, "entries"),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise VaultCorrupt(
                f"vault: {path} is no verification record: {error}; remove it and verify again"
            ) from None

    def _remember(self, report: VaultReport) -> None:
        content = {"at_ns": report.at_ns, "ok": report.ok, "entries": len(report.findings)}
        path = self._records / VERIFIED_FILES[report.deep]
        write_file(path, canonical_json(content) + b"\n", what="verification record", disk=self._disk)

    def _quarantine_damaged(self, problems: tuple[Finding, ...]) -> None:
        wanted = {finding.entry: finding for finding in problems if finding.problem in _QUARANTINED}
        head = self._read_head()
        for ref in head.entries:
            finding = wanted.pop(str(ref.name), None)
            if finding is not None:
                head = self._put_aside(head, ref, finding.detail)
        for entry, finding in wanted.items():
            self._to_quarantine(entry, finding.detail)
