"""Both sides of one key exchange on the contract, without I/O (spec: "Version 2", "Cryptography").

Rules:

1. The backup service opens with a record of its fresh key; the node answers that record once, by its hash.
2. A record counts only when the TLS key its owner is pinned to signed it: the account key proves nothing.
3. A reader checks whose it is, its signature, its purpose, its time, that it belongs to this exchange, and
   that its key is not the reader's own; each has its own error. What it reads is final.
4. Keys are derived only while the contract shows both records of this exchange, by libsodium's `crypto_kx`:
   the backup service is its client, the node its server, and each direction has a key of its own. A peer's
   key that contributes nothing is refused.
5. The pair is forgotten when it was used once, or by `forget`.

A decision of the node to answer is `decide_answer`.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from nacl import exceptions
from nacl.bindings import (
    crypto_kx_client_session_keys,
    crypto_kx_server_session_keys,
    crypto_scalarmult_base,
)

from sharekeeper.crypto.keypair import KeyPair, signed_by
from sharekeeper.domain.ephemeral import (
    EphemeralKeys,
    EphemeralRecord,
    EphemeralSlots,
    ExchangeId,
    PublishedRecord,
    X25519Key,
)
from sharekeeper.domain.identity import AccountId, NetworkId, Role, TlsKey
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.domain.protocol_state import ProtocolState, Recovery, running_part
from sharekeeper.errors import (
    PurposeDiffers,
    RecordExpired,
    RecordForeign,
    RecordForged,
    RecordReplaced,
    Reflected,
    UnknownExchange,
    WeakKey,
)
from sharekeeper.protocol.contract_json import encode_ephemeral_record
from sharekeeper.protocol.messages import Exchange
from sharekeeper.protocol.recovery_protocol import names, recovers
from sharekeeper.protocol.sealed_body import SealedBodies, Transcript
from sharekeeper.secret import Secret


class KeyExchange:
    """One side of one exchange: its pair, its signed record, and the keys it derives; see the two subclasses."""

    role: ClassVar[Role]

    def __init__(
        self,
        exchange: Exchange,
        *,
        exchange_id: ExchangeId,
        secret: Secret,
        tls: KeyPair,
        expires_on: int,
        answers: Sha256Hex | None,
    ) -> None:
        """`exchange` as this side sees it; `secret`: 32 bytes fresh from the operating system; `tls`: the own TLS key."""
        self.exchange: Final = exchange
        self._secret: Secret | None = secret
        self.record: Final = EphemeralRecord(
            account_id=exchange.account_id,
            role=self.role,
            purpose=exchange.purpose,
            recovery_id=exchange.recovery_id,
            exchange_id=exchange_id,
            public_key=X25519Key(crypto_scalarmult_base(secret.reveal())),
            expires_on=expires_on,
            answers=answers,
        )
        self.signature: Final = tls.sign(self.record.canonical(exchange.network))

    @property
    def forgotten(self) -> bool:
        """The pair is not held any more."""
        return self._secret is None

    def arguments(self) -> dict[str, Any]:
        """The arguments of `submit_ephemeral_key` that publish this side's record."""
        return encode_ephemeral_record(self.record, self.exchange.network, self.signature)

    def forget(self) -> None:
        """The pair is not held any more; what it derived before still works."""
        self._secret = None

    def _is_own(self, published: PublishedRecord | None) -> bool:
        return published is not None and published.record == self.record

    def _agree(self, peer: X25519Key, transcript: Transcript) -> SealedBodies:
        """The keys of both directions; the pair is forgotten. Raises `WeakKey`, `UnknownExchange`."""
        if self._secret is None:
            raise UnknownExchange(f"the key of exchange {self.record.exchange_id} was used or forgotten")
        secret, self._secret = self._secret, None
        derive = crypto_kx_client_session_keys if self.role is Role.BACKUP_SERVICE else crypto_kx_server_session_keys
        try:
            receive, send = derive(self.record.public_key.raw, secret.reveal(), peer.raw)
        except exceptions.CryptoError:
            raise WeakKey("the peer's ephemeral key has low order: it would make the shared secret all zero") from None
        return SealedBodies(self.role, transcript, receive=Secret(receive), send=Secret(send))


class KeyExchangeClient(KeyExchange):
    """The backup service's side: it opens."""

    role = Role.BACKUP_SERVICE

    def __init__(
        self, exchange: Exchange, *, exchange_id: ExchangeId, secret: Secret, tls: KeyPair, expires_on: int
    ) -> None:
        """As `KeyExchange`; `expires_on`: block height from which the key is void."""
        super().__init__(exchange, exchange_id=exchange_id, secret=secret, tls=tls, expires_on=expires_on, answers=None)

    def slot_opened(self, slots: EphemeralSlots) -> EphemeralKeys:
        """The records of the slot that shows the own one; those of slot 0 when none does."""
        return next((keys for keys in slots if self._is_own(keys.backup_service)), slots[0])

    def derive(self, keys: EphemeralKeys, height: int) -> SealedBodies | None:
        """The keys, or None while the node has not answered. `keys`: the contract's in its slot at final block `height`.

        Raises:
            RecordExpired: the own key's time is over.
            RecordReplaced: the own record is not on the contract, or the answer is to other content.
            PeerFault: as `check_record`, about the node's record.
            WeakKey: the node's key contributes nothing.
            UnknownExchange: the pair was used or forgotten.
        """
        if height >= self.record.expires_on:
            raise RecordExpired(f"the node did not answer exchange {self.record.exchange_id} in its time; try again")
        if not self._is_own(keys.backup_service):
            raise RecordReplaced(
                f"the contract shows another record than the one that opened {self.record.exchange_id}"
            )
        answer = keys.node
        if answer is None or answer.record.exchange_id != self.record.exchange_id:
            return None
        check_record(answer, role=Role.NODE, exchange=self.exchange, own=self.record.public_key, height=height)
        if answer.record.answers != self.record.hash(self.exchange.network):
            raise RecordReplaced("the node answered another record than the one that opened this exchange")
        transcript = Transcript(
            exchange=self.exchange,
            exchange_id=self.record.exchange_id,
            node_key=answer.record.public_key,
            backup_service_key=self.record.public_key,
        )
        return self._agree(answer.record.public_key, transcript)


class KeyExchangeServer(KeyExchange):
    """The node's side: it answers `opening`, which it has checked."""

    role = Role.NODE

    def __init__(
        self, exchange: Exchange, *, opening: PublishedRecord, secret: Secret, tls: KeyPair, height: int
    ) -> None:
        """As `KeyExchange`; the answer expires with the record it answers.

        Raises:
            PeerFault: as `check_record`, about `opening` at final block `height`.
        """
        check_record(opening, role=Role.BACKUP_SERVICE, exchange=exchange, own=None, height=height)
        self.opening: Final = opening.record
        super().__init__(
            exchange,
            exchange_id=opening.record.exchange_id,
            secret=secret,
            tls=tls,
            expires_on=opening.record.expires_on,
            answers=opening.record.hash(exchange.network),
        )

    def stands(self, keys: EphemeralKeys) -> bool:
        """The contract shows the own answer, and the record it answers."""
        opening = keys.backup_service
        return self._is_own(keys.node) and opening is not None and opening.record == self.opening

    def check_records(self, keys: EphemeralKeys, height: int) -> None:
        """Returns when this exchange may go on. `keys`: the contract's at final block `height`.

        Raises:
            RecordExpired: the key's time is over.
            RecordReplaced: the contract does not show both records.
            Reflected: the opening record's key is the own one.
        """
        if height >= self.record.expires_on:
            raise RecordExpired(f"the time of exchange {self.record.exchange_id} was over at block {height}")
        if not self.stands(keys):
            raise RecordReplaced("the contract shows other records than this exchange was opened and answered with")
        if self.opening.public_key == self.record.public_key:
            raise Reflected("the backup service gave the node's own ephemeral key back")

    def derive(self, keys: EphemeralKeys, height: int) -> SealedBodies:
        """The keys. `keys`: the contract's at final block `height`.

        Raises:
            PeerFault: as `check_records`.
            WeakKey: the backup service's key contributes nothing.
            UnknownExchange: the pair was used or forgotten.
        """
        self.check_records(keys, height)
        transcript = Transcript(
            exchange=self.exchange,
            exchange_id=self.record.exchange_id,
            node_key=self.record.public_key,
            backup_service_key=self.opening.public_key,
        )
        return self._agree(self.opening.public_key, transcript)


def check_record(
    published: PublishedRecord, *, role: Role, exchange: Exchange, own: X25519Key | None, height: int
) -> None:
    """Returns when the peer's record may be used in `exchange` at final block `height`.

    1. It is of this account and of `role`. 2. The TLS key pinned to that role signed exactly this record for
    this network. 3. It has this purpose and recovery. 4. Its time is not over. 5. Its key is not `own`.

    Raises:
        RecordForeign, RecordForged, PurposeDiffers, RecordExpired, Reflected: steps 1 to 5.
    """
    record = published.record
    if record.account_id != exchange.account_id or record.role is not role:  # 1
        raise RecordForeign(f"the ephemeral record is of {record.role} of {record.account_id}: the wrong machine")
    pinned = exchange.node_tls_key if role is Role.NODE else exchange.backup_service_tls_key
    canonical = record.canonical(exchange.network)
    if Sha256Hex.of(canonical) != published.claimed_hash or not signed_by(pinned, published.signature, canonical):  # 2
        raise RecordForged(
            f"the ephemeral record of {role} of {record.account_id} is not signed by {pinned}: "
            "whoever submitted it holds the account key alone; replace that key"
        )
    if (record.purpose, record.recovery_id) != (exchange.purpose, exchange.recovery_id):  # 3
        raise PurposeDiffers(
            f"the ephemeral record is for {_purpose(record)}, and {_purpose(exchange)} is what is under way"
        )
    if height >= record.expires_on:  # 4
        raise RecordExpired(f"the ephemeral record expired on block {record.expires_on}")
    if record.public_key == own:  # 5
        raise Reflected("the peer published this side's own ephemeral key")


def _purpose(of: EphemeralRecord | Exchange) -> str:
    return "a backup" if of.recovery_id is None else f"recovery {of.recovery_id}"


# --- what the node answers ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRecord:
    """Answer `opening`, which asks for `exchange`."""

    opening: PublishedRecord
    exchange: Exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """No record is to be answered now."""

    reason: str


def decide_answer(
    *,
    state: ProtocolState,
    account_id: AccountId,
    network: NetworkId,
    tls_key: TlsKey,
    backup_service: TlsKey | None,
    keys: EphemeralKeys,
    held: bool,
    height: int,
) -> AnswerRecord | NoAnswer:
    """Which record the node answers; all values at final block `height`.

    Args:
        state: the final protocol state.
        account_id: the own account.
        network: the contract this is about.
        tls_key: the own one.
        backup_service: the TLS key of the slot's backup service in force.
        keys: that slot in view `ephemeral_keys` of the own account.
        held: the shares of the keyset in force are on disk, so that a backup can be served.
        height: of that block.

    Raises:
        PeerFault: the opening record is not acceptable (`check_record`).
    """
    opening = keys.backup_service
    if opening is None or backup_service is None:
        return NoAnswer(reason="no exchange is open")
    if not unanswered(keys):
        return NoAnswer(reason="the open exchange is answered")
    exchange = own_exchange(state, account_id, network, tls_key, backup_service)
    if exchange is None:
        return NoAnswer(reason="this machine exchanges no shares in this state")
    check_record(opening, role=Role.BACKUP_SERVICE, exchange=exchange, own=None, height=height)
    if exchange.purpose is Purpose.BACKUP and not held:
        return NoAnswer(reason="the shares of the keyset in force are not on disk yet")
    return AnswerRecord(opening=opening, exchange=exchange)


def unanswered(keys: EphemeralKeys) -> bool:
    """The backup service has opened an exchange that the node has not answered."""
    opening, answer = keys.backup_service, keys.node
    return opening is not None and (answer is None or answer.record.exchange_id != opening.record.exchange_id)


def own_exchange(
    state: ProtocolState, account_id: AccountId, network: NetworkId, tls_key: TlsKey, backup_service: TlsKey
) -> Exchange | None:
    """The one exchange this node may have in that state: its own recovery, or else a backup of the keyset in force."""
    running = running_part(state)
    if running is None:
        return None
    recovery_id = None
    if isinstance(state, Recovery) and state.recovering.account_id == account_id:
        if not recovers(state, account_id, tls_key):
            return None
        recovery_id = state.recovery_id
    elif not names(running, account_id, tls_key):
        return None
    return Exchange(
        account_id=account_id,
        network=network,
        purpose=Purpose.BACKUP if recovery_id is None else Purpose.RECOVERY,
        recovery_id=recovery_id,
        keyset_digest=running.keyset.digest(),
        node_tls_key=tls_key,
        backup_service_tls_key=backup_service,
    )
