"""The cryptography of version 2 written a second time, without libsodium, to check the first by.

X25519 and ChaCha20-Poly1305 are `cryptography`'s (OpenSSL), BLAKE2b is `hashlib`'s, HChaCha20 is written out from
draft-irtf-cfrg-xchacha-03, section 2.2; crypto_kx is written out from libsodium's documentation.
"""

import hashlib
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_MASK = 0xFFFFFFFF
_CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")
_ROUNDS = (
    ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    (
        (0, 5, 10, 15),
        (1, 6, 11, 12),
        (2, 7, 8, 13),
        (3, 4, 9, 14),
    ),
)


def public_key(secret: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def session_keys(own_secret: bytes, peer: bytes, *, is_client: bool) -> tuple[bytes, bytes]:
    """Receive and send key of crypto_kx."""
    own = public_key(own_secret)
    shared = X25519PrivateKey.from_private_bytes(own_secret).exchange(X25519PublicKey.from_public_bytes(peer))
    client, server = (own, peer) if is_client else (peer, own)
    keys = hashlib.blake2b(shared + client + server, digest_size=64).digest()
    return (keys[:32], keys[32:]) if is_client else (keys[32:], keys[:32])


def seal(key: bytes, nonce: bytes, message: bytes, data: bytes) -> bytes:
    return nonce + ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], message, data)


def unseal(key: bytes, body: bytes, data: bytes) -> bytes:
    nonce = body[:24]
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).decrypt(bytes(4) + nonce[16:], body[24:], data)


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    state = [*_CONSTANTS, *struct.unpack("<8I", key), *struct.unpack("<4I", nonce)]
    for _ in range(10):
        for half in _ROUNDS:
            for places in half:
                _quarter(state, *places)
    return struct.pack("<8I", *state[:4], *state[12:])


def _quarter(s: list[int], a: int, b: int, c: int, d: int) -> None:
    for x, y, z, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & _MASK
        s[z] ^= s[x]
        s[z] = ((s[z] << bits) | (s[z] >> (32 - bits))) & _MASK
