"""Small values every part of the chain speaks of: account ids, hashes, amounts."""

import hashlib

import base58

from sharekeeper_devnet.runtime.account_id import is_account_id, is_implicit_account_id

__all__ = [
    "HASH_BYTES",
    "MAX_HASH_CHARS",
    "REGISTRAR_ACCOUNT",
    "SYSTEM_ACCOUNT",
    "ZERO_HASH",
    "hash_text",
    "is_account_id",
    "is_implicit_account_id",
    "is_sub_account_of",
    "parse_hash",
    "sha256",
]

HASH_BYTES = 32
ZERO_HASH = bytes(HASH_BYTES)
SYSTEM_ACCOUNT = "system"
REGISTRAR_ACCOUNT = "registrar"

MAX_HASH_CHARS = 44


def is_sub_account_of(account_id: str, parent: str) -> bool:
    """Whether `account_id` lies directly under `parent`."""
    prefix, _, rest = account_id.partition(".")
    return bool(prefix) and rest == parent


def sha256(*parts: bytes) -> bytes:
    """SHA-256 over `parts`, each preceded by its length, so that their borders count."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def hash_text(digest: bytes) -> str:
    """A hash as NEAR writes it, in base58."""
    return base58.b58encode(digest).decode()


def parse_hash(text: str) -> bytes | None:
    """The 32 bytes behind a base58 hash, or None when `text` is none."""
    if len(text) > MAX_HASH_CHARS:
        return None
    try:
        digest = base58.b58decode(text)
    except ValueError:
        return None
    return digest if len(digest) == HASH_BYTES else None
