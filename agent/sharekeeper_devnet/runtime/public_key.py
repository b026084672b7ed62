"""Public keys as NEAR writes them: text `<curve>:<base58>`, borsh one curve byte and the raw key."""

from dataclasses import dataclass
from enum import IntEnum

import base58


class InvalidPublicKeyError(ValueError):
    """A text or a byte string is not a NEAR public key."""


class Curve(IntEnum):
    """Signature curve; the value is the borsh discriminant."""

    ED25519 = 0
    SECP256K1 = 1


KEY_BYTES = {Curve.ED25519: 32, Curve.SECP256K1: 64}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: `data` is 32 bytes (Ed25519) or 64 bytes (secp256k1, uncompressed without prefix).

    Raises:
        InvalidPublicKeyError: `data` has the wrong length for the curve.
    """

    curve: Curve
    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != KEY_BYTES[self.curve]:
            raise InvalidPublicKeyError(f"a {self.curve.name.lower()} key has {KEY_BYTES[self.curve]} bytes")

    @classmethod
    def from_text(cls, text: str) -> "PublicKey":
        """The key of `ed25519:...`, `secp256k1:...` or, as nearcore accepts too, bare base58 for Ed25519.

        Raises:
            InvalidPublicKeyError: unknown curve, foreign characters or wrong length.
        """
        curve_name, _, encoded = text.rpartition(":")
        curve = {"": Curve.ED25519, "ed25519": Curve.ED25519, "secp256k1": Curve.SECP256K1}.get(curve_name)
        if curve is None:
            raise InvalidPublicKeyError(f"unknown curve {curve_name[:32]!r} in a public key")
        if len(encoded) > 128:  # noqa: PLR2004 - the longest key has 88 characters; base58 is quadratic
            raise InvalidPublicKeyError("a public key has at most 88 base58 characters")
        try:
            return cls(curve, base58.b58decode(encoded))
        except InvalidPublicKeyError:
            raise
        except ValueError as error:
            raise InvalidPublicKeyError("a public key is written in base58") from error

    @property
    def borsh(self) -> bytes:
        """The curve byte and the key, as contracts see it in `signer_account_pk`."""
        return bytes([self.curve]) + self.data

    def __str__(self) -> str:
        return f"{self.curve.name.lower()}:{base58.b58encode(self.data).decode()}"
