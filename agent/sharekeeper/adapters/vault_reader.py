"""Reading the vault: what is held, opening it, and what is wrong with it. Changes nothing, needs no lock.

The head record lies outside the vault directory and names every entry with the hash of its manifest; the
manifest holds the hash of the ciphertext. An entry counts only if that chain holds from the head down.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeVar

from sharekeeper.adapters.durable_file import TEMPORARY_PREFIX, read_file
from sharekeeper.adapters.vault_manifest import (
    EntryName,
    EntryRef,
    Head,
    Manifest,
    NotAuthentic,
    VaultOwner,
    decode_head,
    decode_manifest,
)
from sharekeeper.crypto.sealing import Unopenable, unseal
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.keyset import BackupId, Keyset, Sha256Hex
from sharekeeper.domain.keyshare import KeyShare, SharesMismatch, check_shares
from sharekeeper.errors import AlreadyRunning, ConfigInvalid, NoBackup, VaultCorrupt
from sharekeeper.protocol.codec import (
    DecodeError,
    canonical_json,
    decode_keyset,
    decode_shares,
    encode_keyset,
    encode_shares,
    field,
    integer,
    parse_json,
    text,
)
from sharekeeper.secret import Secret
from sharekeeper.spec import MAX_VAULT_FILE_BYTES, VAULT_FORMAT

SHARES_FILE: Final = "shares.age"
MANIFEST_FILE: Final = "manifest.json"
HEAD_FILE: Final = "head.json"
JOURNAL_FILE: Final = "journal.jsonl"
_TRIES: Final = 50
T = TypeVar("T")


class Problem(StrEnum):
    """What is wrong with an entry."""

    MISSING = "missing"
    """The head record names it and it is not there."""
    UNREADABLE = "unreadable"
    """The disk or its permissions do not let it be read."""
    NOT_AUTHENTIC = "not_authentic"
    """The manifest is not the one the head record names."""
    DAMAGED = "damaged"
    """The ciphertext is not the one the manifest names."""
    NOT_OPENED = "not_opened"
    """The ciphertext is the right one, and this service's vault identity does not open it."""
    UNEXPECTED = "unexpected"
    """The head record does not name it: planted, or brought back from an old copy."""


class EntryFault(VaultCorrupt):
    """One entry of the vault cannot be used."""

    def __init__(self, problem: Problem, path: Path, detail: str) -> None:
        super().__init__(f"vault: {path} was not used ({problem}): {detail}; {_CURES[problem]}")
        self.problem = problem


_FETCH: Final = "verification moves it to quarantine and the backup service fetches a fresh copy"
_CURES: Final = {
    Problem.MISSING: "if the disk is not mounted, mount it; otherwise the backup service fetches a fresh copy",
    Problem.UNREADABLE: "repair the disk or its permissions",
    Problem.NOT_AUTHENTIC: _FETCH,
    Problem.DAMAGED: _FETCH,
    Problem.NOT_OPENED: "put back the vault identity it was sealed to; if that is lost, `sharekeeper vault verify --adopt` "
    "gives it up and the backup service fetches a fresh copy",
    Problem.UNEXPECTED: "verification moves it to quarantine; find out who can write to the vault",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One entry, checked. `backup` is None when its manifest cannot be trusted; `problem` is None when it is whole."""

    entry: str
    backup: StoredBackup | None
    problem: Problem | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultReport:
    """What a verification found. It does not say whether the current keyset is among the backups."""

    at_ns: int
    deep: bool
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """No entry has a problem."""
        return not self.problems

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that are alarms."""
        return tuple(finding for finding in self.findings if finding.problem is not None)


class VaultReader:
    """A vault, for reading. Safe beside one writing process; reads are repeated when it changes something."""

    def __init__(
        self, directory: Path, *, state_dir: Path, owner: VaultOwner, identity: Secret, signing_public_key: bytes
    ) -> None:
        self.directory = directory
        self._keysets = directory / "keysets"
        self._records = state_dir / "vault"
        if self._records.resolve().is_relative_to(directory.resolve()):
            raise ConfigInvalid(
                f"state_dir {state_dir} puts the vault's head record into the vault; move one of the two"
            )
        self._head_path = self._records / HEAD_FILE
        self._owner = owner
        self._identity = identity
        self._public_key = signing_public_key
        self._known: dict[Sha256Hex, Manifest] = {}
        self._known_lock = threading.Lock()

    def index(self) -> tuple[StoredBackup, ...]:
        """The backups whose manifests are authentic, oldest first. Reads no share.

        An entry with a problem is left out; `verify` names it. That the ciphertext is whole is not checked.

        Raises:
            VaultCorrupt: the head record is missing, damaged or forged, so that nothing can be trusted.
            ConfigInvalid: the vault belongs to another account or network.
        """
        return tuple(manifest.backup for manifest in self._consistent(self._manifests))

    def open_now(self, backup_id: BackupId) -> tuple[KeyShare, ...]:
        """The shares, authenticated and checked. Blocks. Raises `NoBackup`, `VaultCorrupt`, `KeysMissing`."""
        return self._consistent(lambda head: self._opened(head, backup_id))

    def inspect(self, *, deep: bool) -> tuple[Finding, ...]:
        """Every entry checked, and everything that should not be there; blocks. `deep` decrypts each.

        Without `deep`: manifest, signature, and the hash of the ciphertext. Raises as `index`.
        """
        return self._consistent(lambda head: self._inspected(head, deep=deep))

    # --- the head record ------------------------------------------------------------------------

    def _read_head(self) -> Head:
        try:
            head = decode_head(read_file(self._head_path, limit=MAX_VAULT_FILE_BYTES), self._public_key)
        except FileNotFoundError:
            return self._fresh_head()
        except OSError as error:
            raise VaultCorrupt(f"vault: head record {self._head_path} cannot be read: {error.strerror}") from None
        except NotAuthentic as error:
            raise VaultCorrupt(f"vault: head record {self._head_path} was not used: {error}; {_ADOPT}") from None
        if head.owner != self._owner:
            raise ConfigInvalid(
                f"the vault {self.directory} belongs to {head.owner.account_id} under {head.owner.network.contract_id} on "
                f"{head.owner.network.chain_id}, not to the configured account and network; configure another vault_dir"
            )
        return head

    def _fresh_head(self) -> Head:
        """The head of a vault that was never used. One that was and lost its head record is an alarm."""
        if self._names() or (self.directory / JOURNAL_FILE).exists():
            raise VaultCorrupt(f"vault: head record {self._head_path} is missing and the vault is not empty; {_ADOPT}")
        return Head(owner=self._owner)

    def _consistent(self, read: Callable[[Head], T]) -> T:
        """What `read` finds while the head record stays the same."""
        for _ in range(_TRIES):
            head = self._read_head()
            try:
                found = read(head)
            except (VaultCorrupt, NoBackup):
                if self._read_head() == head:
                    raise
                continue
            if self._read_head() == head:
                return found
        raise AlreadyRunning("the vault is being changed all the time; try again")

    # --- entries --------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        try:
            names = [path.name for path in self._keysets.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise VaultCorrupt(f"vault: {self._keysets} cannot be read: {error.strerror}") from None
        return sorted(name for name in names if not name.startswith(TEMPORARY_PREFIX))

    def _path(self, name: EntryName) -> Path:
        return self._keysets / str(name)

    def _manifests(self, head: Head) -> list[Manifest]:
        """The authentic manifests of the head's entries, oldest first."""
        found = []
        for ref in head.entries:
            with suppress(EntryFault):
                found.append(self._manifest(ref))
        return sorted(found, key=lambda manifest: manifest.number)

    def _find(self, head: Head, backup_id: BackupId) -> EntryRef:
        """Raises `NoBackup`."""
        ref = head.find(backup_id)
        if ref is None:
            raise NoBackup(f"the vault {self.directory} holds no backup {backup_id}; `vault list` shows what it holds")
        return ref

    def _manifest(self, ref: EntryRef) -> Manifest:
        """The manifest that the head record names. Raises `EntryFault`."""
        path = self._path(ref.name) / MANIFEST_FILE
        data = self._read(path)
        digest = Sha256Hex.of(data)
        if digest != ref.manifest:
            raise EntryFault(Problem.NOT_AUTHENTIC, path, "it is not the manifest the head record names")
        with self._known_lock:
            known = self._known.get(digest)
        return known or self._learn(digest, self._decoded(ref.name, path, data))

    def _learn(self, digest: Sha256Hex, manifest: Manifest) -> Manifest:
        """Authentic bytes need decoding once: a keyset of 10,000 domains takes a while."""
        with self._known_lock:
            if len(self._known) >= _TRIES:
                self._known.clear()
            self._known[digest] = manifest
        return manifest

    def _decoded(self, name: EntryName, path: Path, data: bytes) -> Manifest:
        try:
            manifest = decode_manifest(data, self._public_key)
        except NotAuthentic as error:
            raise EntryFault(Problem.NOT_AUTHENTIC, path, str(error)) from None
        keyset = manifest.backup.keyset
        if manifest.owner != self._owner or (keyset.epoch_id, keyset.digest()) != (name.epoch_id, name.digest):
            raise EntryFault(Problem.NOT_AUTHENTIC, path, "it speaks of another backup than its place says")
        return manifest

    def _ciphertext(self, ref: EntryRef, manifest: Manifest) -> bytes:
        path = self._path(ref.name) / SHARES_FILE
        data = self._read(path)
        if Sha256Hex.of(data) != manifest.backup.ciphertext_sha256:
            raise EntryFault(Problem.DAMAGED, path, "it is not the ciphertext the manifest names")
        return data

    def _shares(self, ref: EntryRef, manifest: Manifest) -> tuple[KeyShare, ...]:
        """Decrypted and checked. Raises `EntryFault`, `KeysMissing`."""
        ciphertext = self._ciphertext(ref, manifest)
        try:
            plaintext = unseal(ciphertext, self._identity)
            return decode_plaintext(plaintext, self._owner, manifest.backup.keyset)
        except (Unopenable, DecodeError, SharesMismatch) as error:
            raise EntryFault(Problem.NOT_OPENED, self._path(ref.name) / SHARES_FILE, str(error)) from None

    def _opened(self, head: Head, backup_id: BackupId) -> tuple[KeyShare, ...]:
        ref = self._find(head, backup_id)
        return self._shares(ref, self._manifest(ref))

    def _read(self, path: Path) -> bytes:
        try:
            return read_file(path, limit=MAX_VAULT_FILE_BYTES, from_disk=True)
        except FileNotFoundError:
            raise EntryFault(Problem.MISSING, path, "no such file") from None
        except OSError as error:
            raise EntryFault(Problem.UNREADABLE, path, error.strerror or str(error)) from None

    # --- verification ---------------------------------------------------------------------------

    def _inspected(self, head: Head, *, deep: bool) -> tuple[Finding, ...]:
        expected = [self._inspect_entry(ref, deep=deep) for ref in head.entries]
        known = {str(ref.name) for ref in (*head.entries, *head.leaving, *((head.arriving,) if head.arriving else ()))}
        unexpected = [self._unexpected(name) for name in self._names() if name not in known]
        return (*expected, *unexpected)

    def _inspect_entry(self, ref: EntryRef, *, deep: bool) -> Finding:
        backup = None
        try:
            manifest = self._manifest(ref)
            backup = manifest.backup
            if deep:
                self._shares(ref, manifest)
            else:
                self._ciphertext(ref, manifest)
        except EntryFault as fault:
            return Finding(entry=str(ref.name), backup=backup, problem=fault.problem, detail=str(fault))
        detail = "opens, and its shares are those of the keyset" if deep else "authentic and whole; not decrypted"
        return Finding(entry=str(ref.name), backup=backup, problem=None, detail=detail)

    def _unexpected(self, name: str) -> Finding:
        fault = EntryFault(Problem.UNEXPECTED, self._keysets / name, "the head record does not name it")
        return Finding(entry=name, backup=None, problem=fault.problem, detail=str(fault))


_ADOPT: Final = "put the record back, or accept what the vault holds with `sharekeeper vault verify --adopt`"


# --- the sealed content (docs/vault-format.md, section 5) ----------------------------------------


def encode_plaintext(owner: VaultOwner, keyset: Keyset, shares: tuple[KeyShare, ...]) -> Secret:
    """What is sealed: the shares, and all that is needed to use them without the manifest."""
    content: dict[str, Any] = {
        "format": VAULT_FORMAT,
        "chain_id": owner.network.chain_id,
        "genesis_hash": owner.network.genesis_hash,
        "contract_id": owner.network.contract_id,
        "account_id": owner.account_id,
        "keyset": encode_keyset(keyset),
        "shares": encode_shares(shares),
    }
    return Secret(canonical_json(content) + b"\n")


def decode_plaintext(plaintext: Secret, owner: VaultOwner, keyset: Keyset) -> tuple[KeyShare, ...]:
    """The shares of `keyset`, checked against it. Raises `DecodeError`, `SharesMismatch`."""
    content = parse_json(plaintext.reveal())
    if integer(content, "format") != VAULT_FORMAT:
        raise DecodeError(f"this release reads format {VAULT_FORMAT}")
    network = owner.network
    expected = (network.chain_id, network.genesis_hash, network.contract_id, owner.account_id)
    if tuple(text(content, name) for name in ("chain_id", "genesis_hash", "contract_id", "account_id")) != expected:
        raise DecodeError("the shares belong to another account or network")
    if decode_keyset(field(content, "keyset")) != keyset:
        raise DecodeError("the shares belong to another keyset")
    shares = decode_shares(field(content, "shares"))
    check_shares(keyset, shares)
    return shares
