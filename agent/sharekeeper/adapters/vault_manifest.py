"""The vault's two signed documents: the manifest of a backup, and the head record (docs/vault-format.md, 2 and 3).

Both are one line of canonical JSON, `{"body": ..., "signature": ...}`. The signature is Ed25519 by the vault
signing key over a context line and the canonical body, so neither document passes for the other.
Each decoder is total: a value or `NotAuthentic`, and one encoding is accepted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.keyset import U64_MAX, BackupId, KeysetDigest, Sha256Hex
from sharekeeper.protocol.codec import (
    array,
    canonical_json,
    decode_keyset,
    encode_keyset,
    field,
    integer,
    parse_json,
    text,
)
from sharekeeper.spec import VAULT_FORMAT

MANIFEST_CONTEXT: Final = b"sharekeeper-vault-manifest-v1\n"
HEAD_CONTEXT: Final = b"sharekeeper-vault-head-v1\n"
NO_MANIFEST: Final = Sha256Hex("0" * 64)
"""Stands for the manifest before the first one."""

MAX_ENTRIES: Final = 1000
MAX_RECIPIENTS: Final = 16
_ENTRY_NAME: Final = re.compile(r"(0|[1-9]\d{0,19})-([0-9a-f]{64})(?:\.([1-9]\d{0,19}))?", re.ASCII)


class NotAuthentic(ValueError):
    """The document is not one that the vault signing key signed, byte for byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultOwner:
    """Whose backups the vault holds: one account under one contract of one network."""

    network: NetworkId
    account_id: AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryName:
    """The name of an entry's directory: `<epoch>-<keyset digest>`, and `.<number>` once it was encrypted anew."""

    epoch_id: int
    digest: KeysetDigest
    number: int | None = None

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """The name, or None if it is not one."""
        found = _ENTRY_NAME.fullmatch(name)
        if found is None or int(found[1]) > U64_MAX:
            return None
        return cls(epoch_id=int(found[1]), digest=KeysetDigest(found[2]), number=int(found[3]) if found[3] else None)

    def __str__(self) -> str:
        suffix = "" if self.number is None else f".{self.number}"
        return f"{self.epoch_id}-{self.digest}{suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is said in public about one backup. `number` counts the manifests of this vault from 1."""

    owner: VaultOwner
    backup: StoredBackup
    recipients: tuple[str, ...]
    number: int
    previous: Sha256Hex


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRef:
    """An entry that the head record knows: its name, its backup and the SHA-256 of its manifest file."""

    name: EntryName
    backup_id: BackupId
    manifest: Sha256Hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What must be in the vault (`entries`) and what may be while a change is under way (`arriving`, `leaving`).

    `number` and `last` are those of the newest manifest ever committed; `newest_epoch` never goes down.
    """

    owner: VaultOwner
    number: int = 0
    last: Sha256Hex = NO_MANIFEST
    newest_epoch: int = 0
    entries: tuple[EntryRef, ...] = ()
    arriving: EntryRef | None = None
    leaving: tuple[EntryRef, ...] = ()

    def find(self, backup_id: BackupId) -> EntryRef | None:
        """The entry of that backup, or None."""
        return next((entry for entry in self.entries if entry.backup_id == backup_id), None)


# --- manifest -----------------------------------------------------------------------------------


def encode_manifest(manifest: Manifest, key: KeyPair) -> bytes:
    """The signed manifest file."""
    backup = manifest.backup
    body = {
        "format": VAULT_FORMAT,
        **_encode_owner(manifest.owner),
        "backup_id": backup.backup_id,
        "keyset": encode_keyset(backup.keyset),
        "keyset_digest": backup.digest,
        "source_tls_key": str(backup.source_tls_key),
        "stored_at_ns": backup.stored_at_ns,
        "ciphertext_sha256": backup.ciphertext_sha256,
        "ciphertext_bytes": backup.ciphertext_bytes,
        "recipients": list(manifest.recipients),
        "number": manifest.number,
        "previous": manifest.previous,
    }
    return _sign(MANIFEST_CONTEXT, body, key)


def decode_manifest(data: bytes, public_key: bytes) -> Manifest:
    """The manifest in `data`, signed by the 32-byte `public_key`. Raises `NotAuthentic`."""
    try:
        return _decode_manifest(_verified(MANIFEST_CONTEXT, data, public_key))
    except NotAuthentic:
        raise
    except ValueError as error:
        raise NotAuthentic(str(error)) from None


def _decode_manifest(body: object) -> Manifest:
    owner, keyset = _decode_owner(body), decode_keyset(field(body, "keyset"))
    backup = StoredBackup(
        backup_id=keyset.backup_id(owner.network, owner.account_id),
        keyset=keyset,
        digest=keyset.digest(),
        source_tls_key=TlsKey.parse(text(body, "source_tls_key")),
        stored_at_ns=integer(body, "stored_at_ns"),
        ciphertext_sha256=Sha256Hex(text(body, "ciphertext_sha256")),
        ciphertext_bytes=integer(body, "ciphertext_bytes"),
    )
    if (text(body, "backup_id"), text(body, "keyset_digest")) != (backup.backup_id, backup.digest):
        raise NotAuthentic("its digests are not those of its keyset")
    recipients = array(body, "recipients", maximum=MAX_RECIPIENTS)
    if not all(isinstance(recipient, str) for recipient in recipients):
        raise NotAuthentic("its recipients are not strings")
    return Manifest(
        owner=owner,
        backup=backup,
        recipients=tuple(recipients),
        number=integer(body, "number"),
        previous=Sha256Hex(text(body, "previous")),
    )


# --- head record --------------------------------------------------------------------------------


def encode_head(head: Head, key: KeyPair) -> bytes:
    """The signed head record file."""
    body = {
        "format": VAULT_FORMAT,
        **_encode_owner(head.owner),
        "number": head.number,
        "last": head.last,
        "newest_epoch": head.newest_epoch,
        "entries": [_encode_ref(entry) for entry in head.entries],
        "arriving": None if head.arriving is None else _encode_ref(head.arriving),
        "leaving": [_encode_ref(entry) for entry in head.leaving],
    }
    return _sign(HEAD_CONTEXT, body, key)


def decode_head(data: bytes, public_key: bytes) -> Head:
    """The head record in `data`, signed by the 32-byte `public_key`. Raises `NotAuthentic`."""
    try:
        body = _verified(HEAD_CONTEXT, data, public_key)
        return Head(
            owner=_decode_owner(body),
            number=integer(body, "number"),
            last=Sha256Hex(text(body, "last")),
            newest_epoch=integer(body, "newest_epoch"),
            entries=tuple(_decode_ref(item) for item in array(body, "entries", maximum=MAX_ENTRIES)),
            arriving=None if field(body, "arriving") is None else _decode_ref(field(body, "arriving")),
            leaving=tuple(_decode_ref(item) for item in array(body, "leaving", maximum=MAX_ENTRIES)),
        )
    except NotAuthentic:
        raise
    except ValueError as error:
        raise NotAuthentic(str(error)) from None


def _encode_ref(entry: EntryRef) -> dict[str, str]:
    return {"name": str(entry.name), "backup_id": entry.backup_id, "manifest_sha256": entry.manifest}


def _decode_ref(value: object) -> EntryRef:
    name = EntryName.parse(text(value, "name"))
    if name is None:
        raise NotAuthentic("it names an entry that cannot be")
    return EntryRef(
        name=name,
        backup_id=BackupId(text(value, "backup_id")),
        manifest=Sha256Hex(text(value, "manifest_sha256")),
    )


# --- both ---------------------------------------------------------------------------------------


def _encode_owner(owner: VaultOwner) -> dict[str, str]:
    return {
        "chain_id": owner.network.chain_id,
        "genesis_hash": owner.network.genesis_hash,
        "contract_id": owner.network.contract_id,
        "account_id": owner.account_id,
    }


def _decode_owner(body: object) -> VaultOwner:
    network = NetworkId(
        chain_id=text(body, "chain_id"),
        genesis_hash=text(body, "genesis_hash"),
        contract_id=AccountId(text(body, "contract_id")),
    )
    return VaultOwner(network=network, account_id=AccountId(text(body, "account_id")))


def _sign(context: bytes, body: Mapping[str, Any], key: KeyPair) -> bytes:
    signature = key.sign(context + canonical_json(body)).hex()
    return canonical_json({"body": body, "signature": signature}) + b"\n"


def _verified(context: bytes, data: bytes, public_key: bytes) -> object:
    """The body of a signed document of this format. Raises `ValueError`."""
    value = parse_json(data)
    body, signature = field(value, "body"), text(value, "signature")
    raw = bytes.fromhex(signature)
    if canonical_json({"body": body, "signature": raw.hex()}) + b"\n" != data:
        raise NotAuthentic("it is not in the one form the vault writes")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(raw, context + canonical_json(body))
    except InvalidSignature:
        raise NotAuthentic("the vault signing key did not sign it") from None
    if integer(body, "format") != VAULT_FORMAT:
        raise NotAuthentic(f"this release reads format {VAULT_FORMAT}")
    return body
