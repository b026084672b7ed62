"""What a request asks, read strictly from its JSON parameters."""

import base64
import binascii
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias, TypeVar

from sharekeeper_devnet.chain.borsh import DecodeError
from sharekeeper_devnet.chain.ledger import ExecutionStatus, Finality
from sharekeeper_devnet.chain.primitives import is_account_id, parse_hash
from sharekeeper_devnet.chain.rpc.errors import RpcError, parse_error
from sharekeeper_devnet.chain.transaction import SignedTransaction, decode_signed_transaction
from sharekeeper_devnet.runtime.public_key import InvalidPublicKeyError, PublicKey


@dataclass(frozen=True, slots=True)
class ByHeight:
    """The block of a height."""

    height: int


@dataclass(frozen=True, slots=True)
class ByHash:
    """The block of a hash."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Earliest:
    """The genesis block."""


U64_MAX = 2**64 - 1
Variant = TypeVar("Variant", bound=StrEnum)
BlockReference: TypeAlias = Finality | ByHeight | ByHash | Earliest


def invalid(message: str) -> RpcError:
    """The parameters are not what the method takes."""
    return parse_error(f"Failed parsing args: {message}")


def _variant(kind: type[Variant], value: object, name: str) -> Variant:
    for variant in kind:
        if variant == value:
            return variant
    raise invalid(f"unknown variant `{str(value)[:40]}` of `{name}`")


class Params:
    """The `params` of a request: an object, a list, or nothing."""

    def __init__(self, value: object) -> None:
        """Raises RpcError when `value` is none of these."""
        if value is not None and not isinstance(value, dict | list):
            raise invalid("params must be an object or an array")
        self._value = value

    def get(self, name: str, position: int | None = None) -> object | None:
        """The parameter of that name, or of that position when the parameters are a list; None when absent."""
        if isinstance(self._value, dict):
            return self._value.get(name)
        if isinstance(self._value, list) and position is not None and position < len(self._value):
            found: object = self._value[position]
            return found
        return None

    def text(self, name: str, position: int | None = None) -> str:
        """A string that must be there."""
        value = self.get(name, position)
        if not isinstance(value, str):
            raise invalid(f"missing field `{name}`" if value is None else f"field `{name}` must be a string")
        return value

    def base64(self, name: str, position: int | None = None) -> bytes:
        """Base64 that must be there."""
        try:
            return base64.b64decode(self.text(name, position), validate=True)
        except (binascii.Error, ValueError):
            raise invalid(f"field `{name}` is not base64") from None

    def account_id(self, name: str) -> str:
        """An account id that must be there."""
        text = self.text(name)
        if not is_account_id(text):
            raise invalid(f"the value is not a valid account id: {text[:80]!r}")
        return text

    def account_ids(self, name: str) -> list[str]:
        """A list of account ids that must be there."""
        value = self.get(name)
        if not isinstance(value, list) or not all(isinstance(each, str) and is_account_id(each) for each in value):
            raise invalid(f"field `{name}` must be a list of account ids")
        return value

    def account_keys(self, name: str) -> list[tuple[str, PublicKey]]:
        """A list of objects with an account id and a public key each, which must be there."""
        value = self.get(name)
        if not isinstance(value, list):
            raise invalid(f"field `{name}` must be a list of accounts with public keys")
        each_of = [Params(each) for each in value]
        return [(each.account_id("account_id"), each.public_key("public_key")) for each in each_of]

    def hash(self, name: str, position: int | None = None) -> bytes:
        """A hash of 32 bytes in base58 that must be there."""
        digest = parse_hash(self.text(name, position))
        if digest is None:
            raise invalid(f"field `{name}` is not a hash of 32 bytes in base58")
        return digest

    def public_key(self, name: str) -> PublicKey:
        """A public key that must be there; `ed25519:` in front of it may be left out."""
        try:
            return PublicKey.from_text(self.text(name))
        except InvalidPublicKeyError as error:
            raise invalid(f"field `{name}`: {error}") from None

    def wait_until(self, position: int | None = None) -> ExecutionStatus:
        """How far a transaction must have come before the answer; EXECUTED_OPTIMISTIC when not said."""
        value = self.get("wait_until", position)
        if value is None:
            return ExecutionStatus.EXECUTED_OPTIMISTIC
        return _variant(ExecutionStatus, value, "wait_until")

    def transaction(self) -> SignedTransaction:
        """The signed transaction that must be there."""
        encoded = self.base64("signed_tx_base64", 0)
        try:
            return decode_signed_transaction(encoded)
        except DecodeError as error:
            raise parse_error(f"Failed to decode transaction: {error}") from None

    def block_reference(self, position: int | None = None) -> BlockReference:
        """The block the question is about, which must be said."""
        finality, checkpoint = self.get("finality"), self.get("sync_checkpoint")
        block_id = self.get("block_id", position)
        if finality is not None and block_id is None:
            return _variant(Finality, finality, "finality")
        if checkpoint in ("genesis", "earliest_available"):
            return Earliest()
        return self._block_id(block_id)

    def optional_block_reference(self, position: int) -> BlockReference:
        """The block the question is about; the head when not said."""
        return Finality.OPTIMISTIC if self.get("block_id", position) is None else self.block_reference(position)

    def _block_id(self, value: object) -> BlockReference:
        digest = parse_hash(value) if isinstance(value, str) else None
        if digest is not None:
            return ByHash(digest)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= U64_MAX:
            return ByHeight(value)
        raise invalid("a block is named by `finality` or by `block_id`, which is a height or a hash")
