"""The key files of a machine: one directory (0700), one file each (0600), one line.

| file | holds | role |
|---|---|---|
| `tls_key`, `account_key` | `ed25519:<base58 of seed and public key>` | both |
| `vault_identity` | `AGE-SECRET-KEY-1...` | backup service |
| `vault_signing_key` | as `tls_key` | backup service |

systemd credentials of the same names in one directory are read the same way.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sharekeeper.adapters.durable_file import ensure_directory, read_file, write_directory, write_file
from sharekeeper.crypto.keypair import SEED_BYTES, KeyPair
from sharekeeper.crypto.sealing import recipient_of
from sharekeeper.domain.identity import Ed25519Key, Role, SignerKey, TlsKey
from sharekeeper.errors import KeysExist, KeysMissing
from sharekeeper.protocol.codec import parse_json, text
from sharekeeper.secret import Secret

TLS_KEY: Final = "tls_key"
ACCOUNT_KEY: Final = "account_key"
VAULT_IDENTITY: Final = "vault_identity"
VAULT_SIGNING_KEY: Final = "vault_signing_key"

STANDARD_INPUT: Final = Path("-")

_FILES: Final = {
    Role.NODE: (TLS_KEY, ACCOUNT_KEY),
    Role.BACKUP_SERVICE: (TLS_KEY, ACCOUNT_KEY, VAULT_IDENTITY, VAULT_SIGNING_KEY),
}
_MAX_KEY_FILE_BYTES: Final = 512
_ANYONE: Final = 0o007


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeyFiles:
    """The node agent's keys."""

    tls: KeyPair
    account: KeyPair


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupServiceKeyFiles:
    """The backup service's keys. `vault_identity` is the age secret key line, without its line end."""

    tls: KeyPair
    account: KeyPair
    vault_identity: Secret
    vault_signing: KeyPair


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeys:
    """What may be shown of a key directory. The vault's keys are None for a node."""

    role: Role
    tls_public_key: TlsKey
    account_public_key: SignerKey
    vault_recipient: str | None
    vault_signing_public_key: Ed25519Key | None


def load_node_keys(directory: Path) -> NodeKeyFiles:
    """The node agent's keys. Raises `KeysMissing` that names the file and the cure."""
    return NodeKeyFiles(tls=read_key(directory / TLS_KEY), account=read_key(directory / ACCOUNT_KEY))


def load_backup_service_keys(directory: Path) -> BackupServiceKeyFiles:
    """The backup service's keys. Raises `KeysMissing` that names the file and the cure."""
    return BackupServiceKeyFiles(
        tls=read_key(directory / TLS_KEY),
        account=read_key(directory / ACCOUNT_KEY),
        vault_identity=read_identity(directory / VAULT_IDENTITY),
        vault_signing=read_key(directory / VAULT_SIGNING_KEY),
    )


def read_key(path: Path) -> KeyPair:
    """The Ed25519 key pair in a file that only its owner can read.

    Raises:
        KeysMissing: absent, unreadable, readable by others, or not a key; nothing of its content is quoted.
    """
    return _parsed_key(path, _read_line(path))


def _parsed_key(path: Path, line: Secret) -> KeyPair:
    try:
        return KeyPair.parse(line.reveal().decode("ascii"))
    except ValueError as error:
        reason = "not ASCII text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise KeysMissing(f"{path} is not a private key: {reason}; restore that file, or make new keys") from None


def read_operator_key(path: Path) -> KeyPair:
    """The operator's key: one line as `read_key` takes, or near-cli's JSON with `private_key`. Raises `KeysMissing`.

    `-` is standard input, for a key that lies in no file of this machine.
    """
    line = _read_standard_input() if path == STANDARD_INPUT else _read_line(path)
    if not line.reveal().lstrip().startswith(b"{"):
        return _parsed_key(path, line)
    try:
        return KeyPair.parse(text(parse_json(line.reveal()), "private_key"))
    except ValueError as error:
        raise KeysMissing(f"{path} is not a near-cli key file: {error}") from None


def read_identity(path: Path) -> Secret:
    """The age identity in a file that only its owner can read. Raises `KeysMissing` as `read_key` does."""
    identity = _read_line(path)
    try:
        recipient_of(identity)
    except KeysMissing:
        raise KeysMissing(f"{path} is not an age identity (AGE-SECRET-KEY-1...); restore that file") from None
    return identity


def public_keys(directory: Path) -> PublicKeys:
    """The public keys of a complete key directory, and whose it is. Raises `KeysMissing`."""
    if not any((directory / name).exists() for name in (VAULT_IDENTITY, VAULT_SIGNING_KEY)):
        node = load_node_keys(directory)
        return PublicKeys(
            role=Role.NODE,
            tls_public_key=node.tls.tls_key,
            account_public_key=node.account.signer_key,
            vault_recipient=None,
            vault_signing_public_key=None,
        )
    service = load_backup_service_keys(directory)
    return PublicKeys(
        role=Role.BACKUP_SERVICE,
        tls_public_key=service.tls.tls_key,
        account_public_key=service.account.signer_key,
        vault_recipient=recipient_of(service.vault_identity),
        vault_signing_public_key=Ed25519Key(service.vault_signing.public_raw),
    )


def generate(directory: Path, role: Role, *, entropy: Callable[[int], bytes] = os.urandom) -> bool:
    """The directory holds a complete set of keys for `role`; True if they were made now. Nothing is overwritten.

    Raises:
        KeysExist: some files are there and others not, or they are those of the other role.
        KeysMissing: a complete set is there, but a file of it cannot be used.
        StoreFailed: the disk; an incomplete set may be left if the directory was there before.
    """
    names = _FILES[role]
    others = sorted({name for files in _FILES.values() for name in files} - set(names))
    there = [name for name in (*names, *others) if os.path.lexists(directory / name)]
    if there == list(names):
        public_keys(directory)
        return False
    if there:
        raise KeysExist(
            f"{directory} already holds {', '.join(there)}, which is not the set of a {role}: keys are never"
            f" overwritten; choose another directory, restore what is missing, or remove keys that were never registered"
        )
    files = {name: _new_line(name, entropy) for name in names}
    if directory.exists():
        ensure_directory(directory, what="key directory")
        for name, line in files.items():
            write_file(directory / name, line, what="key file")
        return True
    if not directory.absolute().parent.exists():
        ensure_directory(directory.absolute().parent, what="key directory")
    write_directory(directory, files, what="key directory")
    return True


def _new_line(name: str, entropy: Callable[[int], bytes]) -> bytes:
    if name == VAULT_IDENTITY:
        return _new_identity().reveal() + b"\n"
    return KeyPair.generate(entropy(SEED_BYTES)).text().reveal() + b"\n"


def _new_identity() -> Secret:
    import pyrage  # noqa: PLC0415  # only key generation needs it here

    return Secret(str(pyrage.x25519.Identity.generate()).encode("ascii"))  # type: ignore[attr-defined]  # untyped


def _read_standard_input() -> Secret:
    return Secret(sys.stdin.buffer.read(_MAX_KEY_FILE_BYTES).strip())


def _read_line(path: Path) -> Secret:
    try:
        data = read_file(path, limit=_MAX_KEY_FILE_BYTES, private=not _granted_by_list(path))
    except FileNotFoundError:
        raise KeysMissing(f"{path} does not exist: make keys with `sharekeeper keys generate`") from None
    except PermissionError as error:
        cure = f"chmod 600 {path}" if os.access(path, os.R_OK) else "run as the user who owns it"
        raise KeysMissing(f"{path} cannot be used: {error.strerror}; {cure}") from None
    except OSError as error:
        raise KeysMissing(f"{path} cannot be read: {error.strerror}") from None
    return Secret(data.removesuffix(b"\n"))


def _granted_by_list(path: Path) -> bool:
    """A file of root that this user may read, closed to the world: systemd grants credentials by access list.

    The group bits of such a file are the list's mask, not a group's right.
    """
    try:
        facts = path.lstat()
    except OSError:
        return False
    return facts.st_uid == 0 and os.geteuid() != 0 and not facts.st_mode & _ANYONE
