"""What a node derives from its own key share when it signs."""

from collections.abc import Callable

import nacl.exceptions
import nacl.signing

from sharekeeper.domain.keyset import Curve
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.curves import GROUPS, scalar_from_bytes
from sharekeeper_devnet.network.frost import NONCE_RANDOM_BYTES, SigningNonces

RandomBytes = Callable[[int], bytes]
"""Fresh random bytes from the operating system, as `secrets.token_bytes`."""


def fresh_nonces(share: KeyShare, identifier: int, random_bytes: RandomBytes) -> SigningNonces:
    """Nonces for one signature with that Ed25519 share."""
    return SigningNonces(
        identifier=identifier,
        private_share=share.private_share,
        hiding=Secret(random_bytes(NONCE_RANDOM_BYTES)),
        binding=Secret(random_bytes(NONCE_RANDOM_BYTES)),
    )


def verifying_share(share: KeyShare) -> bytes:
    """The public point of that Ed25519 share, 32 bytes."""
    return GROUPS[Curve.ED25519].base_multiple(scalar_from_bytes(Curve.ED25519, share.private_share.reveal()))


def verifies(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """True when the Ed25519 signature (64 bytes) of `message` is that key's, by an independent verifier."""
    try:
        nacl.signing.VerifyKey(public_key).verify(message, signature)
    except (nacl.exceptions.BadSignatureError, ValueError):
        return False
    return True
