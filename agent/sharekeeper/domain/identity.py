"""Who is who: account ids and the two kinds of Ed25519 public keys (design decision 2)."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

import base58

from sharekeeper.spec import ACCOUNT_ID_MAX_BYTES, ACCOUNT_ID_MIN_BYTES

ED25519_KEY_BYTES: Final = 32
_PREFIX: Final = "ed25519:"
_MAX_TEXT_CHARS: Final = len(_PREFIX) + 44  # 32 bytes are at most 44 base58 digits
_ACCOUNT_ID: Final = re.compile(r"(?:[a-z\d]+[-_])*[a-z\d]+(?:\.(?:[a-z\d]+[-_])*[a-z\d]+)*", re.ASCII)


class AccountId(str):
    """A valid NEAR account id. Raises `ValueError` on construction from anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not (ACCOUNT_ID_MIN_BYTES <= len(text) <= ACCOUNT_ID_MAX_BYTES and _ACCOUNT_ID.fullmatch(text)):
            raise ValueError(f"not a NEAR account id: {text[:80]!r}")
        return super().__new__(cls, text)


class Role(StrEnum):
    """The two machines an operator runs. Keys are never shared between roles."""

    NODE = "node"
    BACKUP_SERVICE = "backup-service"


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """An Ed25519 public key: 32 raw bytes; written `ed25519:<base58>` as NEAR does."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != ED25519_KEY_BYTES:
            raise ValueError(f"an Ed25519 public key has 32 bytes, not {len(self.raw)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key written as `ed25519:<base58>`. Raises `ValueError`."""
        if len(text) > _MAX_TEXT_CHARS:  # not quoted: it may be a private key
            raise ValueError(
                f"not an Ed25519 public key: it has {len(text)} characters, at most {_MAX_TEXT_CHARS} are one"
            )
        if not text.startswith(_PREFIX):
            raise ValueError(f"a public key starts with 'ed25519:', not {text[:12]!r}")
        try:
            return cls(base58.b58decode(text.removeprefix(_PREFIX)))
        except ValueError:
            raise ValueError(f"not an Ed25519 public key: {text[:80]!r}") from None

    def __str__(self) -> str:
        return _PREFIX + base58.b58encode(self.raw).decode("ascii")


@dataclass(frozen=True, slots=True)
class TlsKey(Ed25519Key):
    """The key a machine proves in the TLS handshake; the contract pins it to an account and role."""

    __str__ = Ed25519Key.__str__


@dataclass(frozen=True, slots=True)
class SignerKey(Ed25519Key):
    """A NEAR access key: it signs transactions of an account."""

    __str__ = Ed25519Key.__str__


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkId:
    """The contract all keys and states belong to: chain id, genesis block hash (base58), contract account."""

    chain_id: str
    genesis_hash: str
    contract_id: AccountId
