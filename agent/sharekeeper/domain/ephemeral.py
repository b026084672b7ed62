"""Ephemeral keys on the contract: what each side publishes for one exchange (docs/contract.md, "Ephemeral keys")."""

import re
from dataclasses import dataclass
from typing import Final, Self

import base58

from sharekeeper.domain.identity import AccountId, NetworkId, Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.spec import MAX_KEY_TEXT_CHARS

X25519_KEY_BYTES: Final = 32
ED25519_SIGNATURE_BYTES: Final = 64
_KEY_PREFIX: Final = "x25519:"
_TEXT_TAG: Final = "sharekeeper-ephemeral-v1"
_NONE: Final = "-"
_EXCHANGE_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class ExchangeId(str):
    """16 random bytes as 32 lower-case hex digits, chosen by the backup service. Raises `ValueError` on anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _EXCHANGE_ID.fullmatch(text):
            raise ValueError(f"an exchange id is 32 lower-case hex digits, not {text[:80]!r}")
        return super().__new__(cls, text)


@dataclass(frozen=True, slots=True)
class X25519Key:
    """An X25519 public key: 32 raw bytes; written `x25519:<base58>`. Whether it contributes is for the exchange."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != X25519_KEY_BYTES:
            raise ValueError(f"an X25519 public key has {X25519_KEY_BYTES} bytes, not {len(self.raw)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key written as `x25519:<base58>`, in that one form. Raises `ValueError`."""
        if len(text) > MAX_KEY_TEXT_CHARS:
            raise ValueError(f"not an X25519 public key: {text[:80]!r}")
        if not text.startswith(_KEY_PREFIX):
            raise ValueError(f"an X25519 public key starts with {_KEY_PREFIX!r}, not {text[:12]!r}")
        try:
            key = cls(base58.b58decode(text.removeprefix(_KEY_PREFIX)))
        except ValueError:
            raise ValueError(f"not an X25519 public key: {text[:80]!r}") from None
        if str(key) != text:
            raise ValueError(f"not the one form of an X25519 public key: {text[:80]!r}")
        return key

    def __str__(self) -> str:
        return _KEY_PREFIX + base58.b58encode(self.raw).decode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class EphemeralRecord:
    """What one side says about its key for one exchange. Raises `ValueError` when it contradicts itself.

    `recovery_id` is the contract's for a recovery and None for a backup. `expires_on` is a block height: from
    that block on the key is void. `answers` is the hash of the record this one answers, None in the record of
    the backup service, which opens the exchange. Not checked here: anything against the chain or a signature.
    """

    account_id: AccountId
    role: Role
    purpose: Purpose
    recovery_id: int | None
    exchange_id: ExchangeId
    public_key: X25519Key
    expires_on: int
    answers: Sha256Hex | None

    def __post_init__(self) -> None:
        if self.purpose not in (Purpose.BACKUP, Purpose.RECOVERY):
            raise ValueError(f"a {self.purpose} is no exchange of version 2")
        if (self.recovery_id is None) is (self.purpose is Purpose.RECOVERY):
            raise ValueError("a recovery has a recovery_id, a backup has none")
        if (self.answers is None) is (self.role is Role.NODE):
            raise ValueError("the node answers a record, the backup service answers none")

    def canonical(self, network: NetworkId) -> bytes:
        """The text its owner's TLS key signs: UTF-8, twelve lines, each ended by a line feed."""
        lines = (
            _TEXT_TAG,
            network.chain_id,
            network.genesis_hash,
            network.contract_id,
            self.account_id,
            self.role.value,
            self.purpose.value,
            _NONE if self.recovery_id is None else str(self.recovery_id),
            self.exchange_id,
            str(self.public_key),
            str(self.expires_on),
            self.answers or _NONE,
        )
        return "".join(f"{line}\n" for line in lines).encode()

    def hash(self, network: NetworkId) -> Sha256Hex:
        """SHA-256 of the canonical text: what an answer to this record names."""
        return Sha256Hex.of(self.canonical(network))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRecord:
    """A record as the contract shows it. The contract checks neither `claimed_hash` nor `signature`: its reader does.

    `claimed_hash` is what the submitter gave as the record's hash, `signature` 64 bytes over the canonical text
    by the TLS key its owner is pinned to, `submitted_in` the height of the block the record was accepted in.
    """

    record: EphemeralRecord
    claimed_hash: Sha256Hex
    signature: bytes
    submitted_in: int

    def __post_init__(self) -> None:
        if len(self.signature) != ED25519_SIGNATURE_BYTES:
            raise ValueError(f"an Ed25519 signature has {ED25519_SIGNATURE_BYTES} bytes, not {len(self.signature)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EphemeralKeys:
    """One slot of view `ephemeral_keys`: each side's record, None when there is none or it has expired."""

    backup_service: PublishedRecord | None
    node: PublishedRecord | None


EphemeralSlots = tuple[EphemeralKeys, EphemeralKeys]
"""View `ephemeral_keys` of one account, by slot: what one backup service exchanges leaves the other's alone."""
