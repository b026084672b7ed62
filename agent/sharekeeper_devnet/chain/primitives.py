"""Small values every part of the chain speaks of: account ids, hashes, amounts."""

import hashlib
import re

import base58

HASH_BYTES = 32
ZERO_HASH = bytes(HASH_BYTES)
SYSTEM_ACCOUNT = "system"
REGISTRAR_ACCOUNT = "registrar"

MIN_ACCOUNT_ID_CHARS, MAX_ACCOUNT_ID_CHARS = 2, 64
_ACCOUNT_ID = re.compile(r"(?:(?:[a-z0-9]+[-_])*[a-z0-9]+\.)*(?:[a-z0-9]+[-_])*[a-z0-9]+")
_IMPLICIT_ACCOUNT_ID = re.compile(r"[0-9a-f]{64}")
MAX_HASH_CHARS = 44


def is_account_id(text: str) -> bool:
    """Whether `text` follows NEAR's account id rules."""
    fits = MIN_ACCOUNT_ID_CHARS <= len(text) <= MAX_ACCOUNT_ID_CHARS
    return fits and _ACCOUNT_ID.fullmatch(text) is not None


def is_implicit_account_id(account_id: str) -> bool:
    """Whether the account id is the hex of an Ed25519 key, which a transfer may bring into being."""
    return _IMPLICIT_ACCOUNT_ID.fullmatch(account_id) is not None


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
