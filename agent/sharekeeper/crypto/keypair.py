"""Ed25519 key pairs: the TLS key and the account key of each machine (design decision 2)."""

from dataclasses import dataclass
from typing import Final, Self

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sharekeeper.domain.identity import Ed25519Key, SignerKey, TlsKey
from sharekeeper.secret import Secret

SEED_BYTES: Final = 32
_PREFIX: Final = "ed25519:"
_MAX_TEXT_CHARACTERS: Final = len(_PREFIX) + 88  # 64 bytes are at most 88 base58 digits


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """An Ed25519 key pair, held as its 32-byte seed. Raises `ValueError` on a seed of another length."""

    seed: Secret

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise ValueError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(self.seed)}")

    @classmethod
    def generate(cls, entropy: bytes) -> Self:
        """The key pair whose seed is `entropy`: 32 bytes fresh from the operating system."""
        return cls(seed=Secret(entropy))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key pair written as NEAR does: `ed25519:<base58 of seed || public key>`, in exactly one way.

        Raises:
            ValueError: other text, or a public key that is not the seed's. The text is never quoted.
        """
        raw = _decode(text)
        pair = cls(seed=Secret(raw[:SEED_BYTES]))
        if pair.public_raw != raw[SEED_BYTES:]:
            raise ValueError("the public half of the private key does not belong to its seed")
        if pair.text() != Secret(text.encode()):
            raise ValueError("a private key is 'ed25519:' and base58; this text has white space around it")
        return pair

    def text(self) -> Secret:
        """The NEAR text form as ASCII bytes, without a line end."""
        return Secret(_PREFIX.encode() + base58.b58encode(self.seed.reveal() + self.public_raw))

    @property
    def public_raw(self) -> bytes:
        """The public key, 32 bytes."""
        return self._private().public_key().public_bytes_raw()

    @property
    def tls_key(self) -> TlsKey:
        """The public key of a machine's TLS identity."""
        return TlsKey(self.public_raw)

    @property
    def signer_key(self) -> SignerKey:
        """The public key of a NEAR access key."""
        return SignerKey(self.public_raw)

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature (RFC 8032) of `message`, 64 bytes."""
        return self._private().sign(message)

    def _private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed.reveal())


def signed_by(key: Ed25519Key, signature: bytes, message: bytes) -> bool:
    """True if `signature` is an Ed25519 signature (RFC 8032) of `message` by the owner of `key`."""
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _decode(text: str) -> bytes:
    """Seed and public key, 64 bytes. Messages must not quote `text`."""
    if not text.startswith(_PREFIX):
        raise ValueError("a private key starts with 'ed25519:'")
    if len(text) > _MAX_TEXT_CHARACTERS:
        raise ValueError("a private key is 'ed25519:' and the base58 form of 64 bytes; this text is longer")
    try:
        raw = base58.b58decode(text.removeprefix(_PREFIX))
    except ValueError:
        raise ValueError("a private key is 'ed25519:' and base58; this text has other characters") from None
    if len(raw) != 2 * SEED_BYTES:
        raise ValueError(f"a private key has 64 bytes, seed and public key, not {len(raw)}")
    return raw
