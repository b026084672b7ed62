"""How the vault changes: one rule for every change (docs/vault-format.md gives each write and each crash gap).

The head record, outside the vault directory, first says what is about to arrive or to leave; then the
directory changes; then the head record says that it is done. After a crash the next change, or the next
start, settles what the head record left open: an entry that arrived whole is taken in, one that did not
is put aside, one that was leaving is deleted.
"""

import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Final

from sharekeeper.adapters.durable_file import (
    DISK,
    Disk,
    FileLock,
    append_line,
    clean,
    ensure_directory,
    move,
    remove_tree,
    sync_directory,
    write_directory,
    write_file,
)
from sharekeeper.adapters.vault_manifest import (
    EntryName,
    EntryRef,
    Head,
    Manifest,
    VaultOwner,
    encode_head,
    encode_manifest,
)
from sharekeeper.adapters.vault_reader import (
    JOURNAL_FILE,
    MANIFEST_FILE,
    SHARES_FILE,
    EntryFault,
    VaultReader,
    encode_plaintext,
)
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.crypto.sealing import check_recipients, recipient_of, seal
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.keyset import BackupId, Keyset, Sha256Hex
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.errors import ConfigInvalid, VaultCorrupt
from sharekeeper.ports import Clock
from sharekeeper.protocol.codec import canonical_json
from sharekeeper.secret import Secret

MIN_RECIPIENTS: Final = 2


class SealedTo(Enum):
    """Who opens the backups of a vault besides its service; one launch never takes the other's rule."""

    SERVICE_AND_OPERATOR = "soft launch: the service, and at least one identity that is kept elsewhere"
    TEE_ALONE = "hard launch, vault kind sealed: the identity that this TEE derives, and nobody outside a TEE"


_ENTRY: Final = "vault entry"


class VaultWriter(VaultReader):
    """A vault, for reading and for the changes all operations are made of."""

    def __init__(
        self,
        directory: Path,
        *,
        state_dir: Path,
        network: NetworkId,
        account_id: AccountId,
        recipients: tuple[str, ...],
        identity: Secret,
        signing_key: KeyPair,
        clock: Clock,
        disk: Disk = DISK,
        sealed_to: SealedTo = SealedTo.SERVICE_AND_OPERATOR,
    ) -> None:
        """A vault that may not exist yet; nothing is read or written.

        Args:
            directory: the vault.
            state_dir: outside the vault; its directory `vault` holds the head record and the verification records.
            network: chain and contract of the backups.
            account_id: whose shares they are.
            recipients: age recipients, the service's own among them; how many, `sealed_to` says.
            identity: the service's age identity.
            signing_key: signs manifests and the head record.
            clock: dates records.
            disk: the disk to write with.
            sealed_to: whether somebody besides the service must be able to open the backups, or must not.

        Raises:
            ConfigInvalid: recipients, or the head record would lie in the vault.
            KeysMissing: the identity is malformed.
        """
        super().__init__(
            directory,
            state_dir=state_dir,
            owner=VaultOwner(network=network, account_id=account_id),
            identity=identity,
            signing_public_key=signing_key.public_raw,
        )
        self._own_recipient = recipient_of(identity)
        self._sealed_to = sealed_to
        self._recipients = self._checked(recipients)
        self._signing_key = signing_key
        self._clock = clock
        self._disk = disk
        self._mutex = threading.RLock()
        self._lock: FileLock | None = None

    # --- one writing process --------------------------------------------------------------------

    def acquire(self) -> None:
        """This object is the vault's only writer and what a crash left open is settled. Repeating it changes nothing.

        Raises:
            AlreadyRunning: another process writes to this vault.
            VaultCorrupt, ConfigInvalid: as `index`.
            StoreFailed: disk.
        """
        with self._mutex:
            if self._lock is None:
                self._take_lock()
                try:
                    self._start()
                except BaseException:
                    self.close()
                    raise

    def close(self) -> None:
        """Another process may write to the vault."""
        with self._mutex:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    @property
    def _quarantine(self) -> Path:
        return self.directory / "quarantine"

    def _take_lock(self) -> None:
        """The lock is held, the directories are there and owner-only, and no leftover is in them."""
        directories = (self._records, self.directory, self._keysets, self._quarantine)
        for path in directories:
            ensure_directory(path, what="vault directory", disk=self._disk)
        lock = FileLock.take(self.directory / "lock", what="the vault's lock")
        try:
            for path in directories:
                clean(path, disk=self._disk)
        except BaseException:
            lock.release()
            raise
        self._lock = lock

    def _start(self) -> None:
        if not self._head_path.exists():
            self._write_head(self._read_head())
        self._settled()

    @contextmanager
    def _changing(self) -> Iterator[Head]:
        """The head record with nothing left open, for the only thread that changes the vault now."""
        with self._mutex:
            self.acquire()
            yield self._settled()

    # --- an entry comes and goes ------------------------------------------------------------

    def _write_entry(
        self, head: Head, keyset: Keyset, shares: tuple[KeyShare, ...], source: TlsKey, stored_at_ns: int
    ) -> StoredBackup:
        """Steps 1 to 6 of docs/vault-format.md, section 4."""
        ciphertext = seal(encode_plaintext(self._owner, keyset, shares), self._recipients)
        backup = StoredBackup(
            backup_id=self._backup_id(keyset),
            keyset=keyset,
            digest=keyset.digest(),
            source_tls_key=source,
            stored_at_ns=stored_at_ns,
            ciphertext_sha256=Sha256Hex.of(ciphertext),
            ciphertext_bytes=len(ciphertext),
        )
        manifest = Manifest(
            owner=self._owner, backup=backup, recipients=self._recipients, number=head.number + 1, previous=head.last
        )
        signed = encode_manifest(manifest, self._signing_key)
        name = self._free_name(head, keyset)
        ref = EntryRef(name=name, backup_id=backup.backup_id, manifest=Sha256Hex.of(signed))
        head = self._write_head(replace(head, arriving=ref))  # 1
        files = {SHARES_FILE: ciphertext, MANIFEST_FILE: signed}
        write_directory(self._path(name), files, what=_ENTRY, disk=self._disk)  # 2
        self._settle_arriving(head, ref, shares)  # 3 to 6
        return backup

    def _free_name(self, head: Head, keyset: Keyset) -> EntryName:
        """A name no entry has; what was planted there is put aside."""
        name = EntryName(epoch_id=keyset.epoch_id, digest=keyset.digest())
        if head.find(self._backup_id(keyset)) is not None:
            name = replace(name, number=head.number + 1)
        if os.path.lexists(self._path(name)):
            self._to_quarantine(str(name), "it was where a new entry belongs")
        return name

    def _settle_arriving(self, head: Head, ref: EntryRef, shares: tuple[KeyShare, ...] | None = None) -> Head:
        """The arriving entry is read back, opened and taken in. Compared with `shares` when they are at hand."""
        sync_directory(self._keysets, what=_ENTRY, disk=self._disk)
        try:
            manifest = self._manifest(ref)
            found = self._shares(ref, manifest)
        except EntryFault as fault:
            self._put_aside(head, ref, str(fault))
            raise
        if shares is not None and found != shares:
            self._put_aside(head, ref, "other shares were read back than were written")
            raise VaultCorrupt(
                f"vault: {ref.name} read back differs from what was written; test the disk, then try again"
            )
        self._journal("stored", ref, number=manifest.number, previous=manifest.previous)
        replaced = tuple(entry for entry in head.entries if entry.backup_id == ref.backup_id)
        kept = tuple(entry for entry in head.entries if entry.backup_id != ref.backup_id)
        committed = Head(
            owner=head.owner,
            number=manifest.number,
            last=ref.manifest,
            newest_epoch=max(head.newest_epoch, ref.name.epoch_id),
            entries=(*kept, ref),
            leaving=(*head.leaving, *replaced),
        )
        return self._settle_leaving(self._write_head(committed))

    def _settle_leaving(self, head: Head) -> Head:
        if not head.leaving:
            return head
        for ref in head.leaving:
            remove_tree(self._path(ref.name), what=_ENTRY, disk=self._disk)
            self._journal("destroyed", ref)
        clean(self._keysets, disk=self._disk)
        return self._write_head(replace(head, leaving=()))

    def _settled(self) -> Head:
        """The head record after finishing, or undoing, what a crash or a full disk interrupted."""
        head = self._read_head()
        ref = head.arriving
        if ref is not None and not os.path.lexists(self._path(ref.name)):
            head = self._write_head(replace(head, arriving=None))
        elif ref is not None:
            try:
                head = self._settle_arriving(head, ref)
            except EntryFault:
                head = self._read_head()
        return self._settle_leaving(head)

    def _put_aside(self, head: Head, ref: EntryRef, reason: str) -> Head:
        """The head record no longer names the entry, and it is in quarantine: evidence is kept.

        In this order: what a crash in between leaves is an entry that the next verification finds unexpected.
        """
        entries = tuple(entry for entry in head.entries if entry != ref)
        arriving = None if head.arriving == ref else head.arriving
        head = self._write_head(replace(head, entries=entries, arriving=arriving))
        if os.path.lexists(self._path(ref.name)):
            self._to_quarantine(str(ref.name), reason)
        return head

    def _to_quarantine(self, entry: str, reason: str) -> None:
        safe = entry if EntryName.parse(entry) else "foreign"
        target = self._quarantine / f"{safe}-{secrets.token_hex(8)}"
        move(self._keysets / entry, target, what="quarantined entry", disk=self._disk)
        self._journal("quarantined", detail=f"{entry!r} is now {target.name}: {reason}")

    def _backup_id(self, keyset: Keyset) -> BackupId:
        return keyset.backup_id(self._owner.network, self._owner.account_id)

    def _checked(self, recipients: tuple[str, ...]) -> tuple[str, ...]:
        distinct = tuple(dict.fromkeys(recipients))
        check_recipients(distinct)
        if self._sealed_to is SealedTo.TEE_ALONE:
            if distinct != (self._own_recipient,):
                raise ConfigInvalid(
                    f"a sealed vault has one age recipient, that of this TEE ({self._own_recipient}): in hard launch nobody "
                    f"outside a TEE opens a backup; {len(distinct)} given: remove the others"
                )
            return distinct
        if len(distinct) < MIN_RECIPIENTS or self._own_recipient not in distinct:
            raise ConfigInvalid(
                f"a vault needs at least {MIN_RECIPIENTS} age recipients, this service's own ({self._own_recipient}) and the "
                f"operator's offline key; {len(distinct)} given: set operator_recipient"
            )
        return distinct

    def _write_head(self, head: Head) -> Head:
        write_file(self._head_path, encode_head(head, self._signing_key), what="vault head record", disk=self._disk)
        return head

    def _journal(
        self,
        event: str,
        ref: EntryRef | None = None,
        *,
        number: int | None = None,
        previous: Sha256Hex | None = None,
        detail: str | None = None,
    ) -> None:
        """One line of history: for readers, never read back by the vault."""
        facts = {
            "at_ns": self._clock.wall_ns(),
            "event": event,
            "entry": None if ref is None else str(ref.name),
            "manifest_sha256": None if ref is None else ref.manifest,
            "number": number,
            "previous": previous,
            "detail": detail,
        }
        known = {name: value for name, value in facts.items() if value is not None}
        append_line(self.directory / JOURNAL_FILE, canonical_json(known), what="vault journal", disk=self._disk)
