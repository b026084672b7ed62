"""Account ids by NEAR's rules."""

import re

MIN_ACCOUNT_ID_CHARS, MAX_ACCOUNT_ID_CHARS = 2, 64
_ACCOUNT_ID = re.compile(r"(?:(?:[a-z0-9]+[-_])*[a-z0-9]+\.)*(?:[a-z0-9]+[-_])*[a-z0-9]+")
_IMPLICIT_ACCOUNT_ID = re.compile(r"[0-9a-f]{64}")


def is_account_id(text: str) -> bool:
    """Whether `text` follows NEAR's account id rules."""
    fits = MIN_ACCOUNT_ID_CHARS <= len(text) <= MAX_ACCOUNT_ID_CHARS
    return fits and _ACCOUNT_ID.fullmatch(text) is not None


def is_implicit_account_id(account_id: str) -> bool:
    """Whether the account id is the hex of an Ed25519 key, which a transfer may bring into being."""
    return _IMPLICIT_ACCOUNT_ID.fullmatch(account_id) is not None
