"""Bodies of version 2: sealed end to end under keys of one exchange (docs/wire-format.md, section 10).

Each direction has a key of its own, and each key seals one message. The associated data is the whole
transcript, so a body opens in the one exchange, direction and circumstances it was sealed for.
"""

from dataclasses import dataclass
from typing import Final

from nacl import exceptions
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)

from sharekeeper.domain.ephemeral import ExchangeId, X25519Key
from sharekeeper.domain.identity import Role
from sharekeeper.errors import SealBroken
from sharekeeper.protocol.messages import Exchange
from sharekeeper.secret import Secret
from sharekeeper.spec import SPEC_REVISION

NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
_TAG_LINE: Final = "sharekeeper-sealed-v2"
_NONE: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """Everything both sides must agree on before a body opens."""

    exchange: Exchange
    exchange_id: ExchangeId
    node_key: X25519Key
    backup_service_key: X25519Key

    def canonical(self, sender: Role) -> bytes:
        """The associated data of what `sender` seals: UTF-8, fifteen lines, each ended by a line feed."""
        exchange, network = self.exchange, self.exchange.network
        lines = (
            _TAG_LINE,
            SPEC_REVISION,
            network.chain_id,
            network.genesis_hash,
            network.contract_id,
            exchange.account_id,
            exchange.purpose.value,
            _NONE if exchange.recovery_id is None else str(exchange.recovery_id),
            self.exchange_id,
            str(exchange.node_tls_key),
            str(exchange.backup_service_tls_key),
            str(self.node_key),
            str(self.backup_service_key),
            exchange.keyset_digest,
            f"from {sender.value}",
        )
        return "".join(f"{line}\n" for line in lines).encode()


class SealedBodies:
    """One side's two keys: one message out, one message in. `forget` ends both."""

    def __init__(self, role: Role, transcript: Transcript, *, receive: Secret, send: Secret) -> None:
        """`receive` and `send`: 32 bytes each, this side's session keys."""
        self._role = role
        self.transcript: Final = transcript
        self._receive: Secret | None = receive
        self._send: Secret | None = send

    def seal(self, message: bytes, nonce: bytes) -> bytes:
        """Nonce, ciphertext and tag of `message`. `nonce`: 24 bytes fresh from the operating system.

        Raises:
            RuntimeError: this side has sealed its one message, or has forgotten the key.
        """
        if self._send is None:
            raise RuntimeError("a key of an exchange seals one message")
        key, self._send = self._send, None
        data = self.transcript.canonical(self._role)
        return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(message, data, nonce, key.reveal())

    def open(self, body: bytes) -> bytes:
        """The peer's one message in `body`; the key is forgotten, whether it opened or not.

        Raises:
            SealBroken: it was sealed under another key, transcript or direction, or was changed.
            RuntimeError: a body was opened before, or the key was forgotten.
        """
        if self._receive is None:
            raise RuntimeError("a key of an exchange opens one message")
        key, self._receive = self._receive, None
        if len(body) < NONCE_BYTES + TAG_BYTES:
            raise SealBroken(f"the peer's body has {len(body)} bytes, too few to be sealed")
        sender = Role.NODE if self._role is Role.BACKUP_SERVICE else Role.BACKUP_SERVICE
        data = self.transcript.canonical(sender)
        try:
            return crypto_aead_xchacha20poly1305_ietf_decrypt(
                body[NONCE_BYTES:], data, body[:NONCE_BYTES], key.reveal()
            )
        except exceptions.CryptoError:
            raise SealBroken(
                "the peer's body does not open: it was changed, or sealed for another exchange, purpose or keyset"
            ) from None

    def forget(self) -> None:
        """Neither key is held any more."""
        self._receive = self._send = None
