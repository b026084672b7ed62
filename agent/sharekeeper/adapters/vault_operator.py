"""What only the operator does to a vault (docs/vault-format.md): new recipients, another head record.

The image of the hard launch has none of it: there nobody outside the TEE is an operator of a vault.
"""

from collections.abc import Iterator

from sharekeeper.adapters.vault import AgeVault
from sharekeeper.adapters.vault_manifest import EntryName, EntryRef, Head, Manifest
from sharekeeper.adapters.vault_reader import MANIFEST_FILE, EntryFault
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.errors import VaultCorrupt


class OperatorVault(AgeVault):
    """The vault of one account in the hands of its operator."""

    def rekey(self, recipients: tuple[str, ...]) -> tuple[StoredBackup, ...]:
        """Every backup is sealed to exactly `recipients`; returns those encrypted anew. Blocks.

        One backup after the other, each as a store: its old copy is destroyed after the new one was read back.
        Repeating it finishes what was interrupted. Later stores of this object use `recipients` too.

        Raises:
            ConfigInvalid: not the recipients that the vault's `sealed_to` demands.
            VaultCorrupt, StoreFailed, AlreadyRunning: backups not reached yet are as before.
        """
        wanted = self._checked(recipients)
        with self._changing() as head:
            self._recipients = wanted
            done = []
            for ref in head.entries:
                manifest = self._manifest(ref)
                if set(manifest.recipients) != set(wanted):
                    done.append(self._seal_again(self._read_head(), ref, manifest))
        return tuple(done)

    def _seal_again(self, head: Head, ref: EntryRef, manifest: Manifest) -> StoredBackup:
        backup = manifest.backup
        shares = self._shares(ref, manifest)
        return self._write_entry(head, backup.keyset, shares, backup.source_tls_key, backup.stored_at_ns)

    def adopt(self) -> tuple[StoredBackup, ...]:
        """The head record names exactly the entries that are authentic and open; returns them. Blocks.

        The operator's way out after losing the head record, or after bringing entries back from a copy: nothing
        shows any more that one is missing. Of two copies of a backup the newer one counts.

        Raises:
            AlreadyRunning: another process writes to this vault.
            StoreFailed: disk.
        """
        with self._mutex:
            if self._lock is None:
                self._take_lock()
            found = sorted(self._whole_entries(), key=lambda pair: pair[1].number)
            self._write_head(self._adopted(found))
            self._journal("adopted", detail=f"{len(found)} entries")
            return tuple(manifest.backup for manifest in self._manifests(self._read_head()))

    def _adopted(self, found: list[tuple[EntryRef, Manifest]]) -> Head:
        """The head record that names `found`, oldest first; what the old one counted is not counted down."""
        try:
            old = self._read_head()
        except VaultCorrupt:
            old = Head(owner=self._owner)
        entries = {ref.backup_id: ref for ref, _ in found}
        ends = [(old.number, old.last)] + [(manifest.number, ref.manifest) for ref, manifest in found]
        number, last = max(ends)
        return Head(
            owner=self._owner,
            number=number,
            last=last,
            newest_epoch=max([old.newest_epoch, *(ref.name.epoch_id for ref in entries.values())]),
            entries=tuple(entries.values()),
        )

    def _whole_entries(self) -> Iterator[tuple[EntryRef, Manifest]]:
        """Every entry on disk that this vault's key signed and that opens."""
        for text in self._names():
            name = EntryName.parse(text)
            if name is not None:
                try:
                    data = self._read(self._path(name) / MANIFEST_FILE)
                    manifest = self._decoded(name, self._path(name) / MANIFEST_FILE, data)
                    ref = EntryRef(name=name, backup_id=manifest.backup.backup_id, manifest=Sha256Hex.of(data))
                    self._shares(ref, manifest)
                except EntryFault:
                    continue
                yield ref, manifest
