"""The keyset: what exactly a backup must hold (design decision 4; docs/contract.md, canonical keyset)."""

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final, Self

import base58

from sharekeeper.domain.identity import AccountId, NetworkId
from sharekeeper.spec import MAX_DOMAINS, MAX_KEY_TEXT_CHARS

U64_MAX: Final = 2**64 - 1
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Curve(StrEnum):
    """The curve of a domain's key; the value is near/mpc's variant name in keyset and key-share JSON."""

    SECP256K1 = "Secp256k1"
    ED25519 = "Ed25519"
    BLS12381 = "Bls12381"


class Sha256Hex(str):
    """A SHA-256 digest as 64 lower-case hex digits. Raises `ValueError` on anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _DIGEST.fullmatch(text):
            raise ValueError(f"not a SHA-256 digest in lower-case hex: {text[:80]!r}")
        return super().__new__(cls, text)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """The digest of `data`."""
        return cls(hashlib.sha256(data).hexdigest())


class KeysetDigest(Sha256Hex):
    """Names one keyset; the contract computes the same value."""

    __slots__ = ()


class BackupId(Sha256Hex):
    """Names one backup: a keyset of one account under one contract of one network."""

    __slots__ = ()


_TEXT_PREFIX: Final = {Curve.SECP256K1: "secp256k1:", Curve.ED25519: "ed25519:", Curve.BLS12381: "bls12381g2:"}
_TEXT_BYTES: Final = {Curve.SECP256K1: 64, Curve.ED25519: 32, Curve.BLS12381: 96}


_CACHED_KEYS: Final = 2 * MAX_DOMAINS
"""Base58 takes long, and the keys of a network stay the same: each is decoded and encoded once."""


@lru_cache(maxsize=_CACHED_KEYS)
def _from_base58(text: str) -> bytes:
    return base58.b58decode(text)


@lru_cache(maxsize=_CACHED_KEYS)
def _to_base58(raw: bytes) -> str:
    return base58.b58encode(raw).decode("ascii")


@dataclass(frozen=True, slots=True)
class DomainPublicKey:
    """The public key of a domain. `raw`: 64 bytes x||y (secp256k1), 32 (Ed25519) or 96 compressed G2 (BLS12-381)."""

    curve: Curve
    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != _TEXT_BYTES[self.curve]:
            raise ValueError(f"a {self.curve} public key has {_TEXT_BYTES[self.curve]} bytes, not {len(self.raw)}")

    @classmethod
    def parse(cls, curve: Curve, text: str) -> Self:
        """The key in the contract's text form `<prefix>:<base58>`. Raises `ValueError`."""
        if len(text) > MAX_KEY_TEXT_CHARS:
            raise ValueError(f"not a {curve} public key: {text[:160]!r}")
        if not text.startswith(_TEXT_PREFIX[curve]):
            raise ValueError(f"a {curve} key starts with {_TEXT_PREFIX[curve]!r}, not {text[:12]!r}")
        try:
            return cls(curve, _from_base58(text.removeprefix(_TEXT_PREFIX[curve])))
        except ValueError:
            raise ValueError(f"not a {curve} public key: {text[:160]!r}") from None

    def __str__(self) -> str:
        return _TEXT_PREFIX[self.curve] + _to_base58(self.raw)

    def share_form(self) -> bytes:
        """The key as a key share carries it: SEC1 compressed (33 bytes) for secp256k1, else `raw`."""
        if self.curve is not Curve.SECP256K1:
            return self.raw
        return bytes([2 + (self.raw[63] & 1)]) + self.raw[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEventId:
    """One key event: epoch, domain and attempt (each a u64). A key share belongs to exactly one."""

    epoch_id: int
    domain_id: int
    attempt_id: int

    def __post_init__(self) -> None:
        for value in (self.epoch_id, self.domain_id, self.attempt_id):
            if not 0 <= value <= U64_MAX:
                raise ValueError(f"not a u64: {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainKey:
    """The winning attempt and the public key of one domain."""

    domain_id: int
    attempt: int
    public_key: DomainPublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyset:
    """Epoch and, for each domain in contract order, attempt and public key. A network may have no domain yet."""

    epoch_id: int
    domains: tuple[DomainKey, ...]
    _digest: KeysetDigest | None = field(default=None, init=False, repr=False, compare=False)
    """What `digest` found before."""

    def __post_init__(self) -> None:
        ids = {domain.domain_id for domain in self.domains}
        if len(self.domains) > MAX_DOMAINS:
            raise ValueError(f"a keyset has at most {MAX_DOMAINS} domains, not {len(self.domains)}")
        if len(ids) != len(self.domains):
            raise ValueError("a keyset names a domain twice")
        for domain in self.domains:
            KeyEventId(epoch_id=self.epoch_id, domain_id=domain.domain_id, attempt_id=domain.attempt)

    def canonical(self) -> bytes:
        """The bytes both the contract and the agent hash (docs/contract.md)."""
        lines = ["sharekeeper-keyset-v1", str(self.epoch_id)]
        lines += [f"{domain.domain_id}:{domain.attempt}:{domain.public_key}" for domain in self.domains]
        return "".join(f"{line}\n" for line in lines).encode("ascii")

    def digest(self) -> KeysetDigest:
        """SHA-256 of `canonical()`."""
        digest = self._digest
        if digest is None:
            digest = KeysetDigest.of(self.canonical())
            object.__setattr__(self, "_digest", digest)
        return digest

    def backup_id(self, network: NetworkId, account_id: AccountId) -> BackupId:
        """The identity of this keyset's backup: the keyset with network, contract and account."""
        head = (
            f"sharekeeper-backup-v1\n{network.chain_id}\n{network.genesis_hash}\n{network.contract_id}\n{account_id}\n"
        )
        return BackupId.of(head.encode() + self.canonical())

    def key_event(self, domain: DomainKey) -> KeyEventId:
        """The key event whose shares belong to `domain`."""
        return KeyEventId(epoch_id=self.epoch_id, domain_id=domain.domain_id, attempt_id=domain.attempt)
