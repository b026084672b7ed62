"""The genesis: what the chain starts with. The file has neard's form; fields the dev chain does not use are ignored."""

import base64
import binascii
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.primitives import ZERO_HASH, hash_text, is_account_id
from sharekeeper_devnet.chain.state import Account, Overlay
from sharekeeper_devnet.chain.transaction import AccessKey, FullAccess, FunctionCallAccess, Permission
from sharekeeper_devnet.runtime.public_key import InvalidPublicKeyError, PublicKey

PROTOCOL_VERSION = 85
EPOCH_LENGTH = 43_200
TRANSACTION_VALIDITY_PERIOD = 86_400
YIELD_TIMEOUT_BLOCKS = 200
GAS_LIMIT = 1_000_000_000_000_000
NEAR = 10**24
MAX_BALANCE = 2**128 - 1


class InvalidGenesisError(Exception):
    """A genesis or accounts file does not say what it must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisAccount:
    """An account that exists from the start.

    Attributes:
        balance: yoctoNEAR.
        keys: access keys; a full-access key is `(public_key, AccessKey(nonce=0, permission=FullAccess()))`.
        code: its contract, empty without one.

    Raises:
        InvalidGenesisError: the account id or the balance is out of range.
    """

    account_id: str
    balance: int
    keys: tuple[tuple[PublicKey, AccessKey], ...] = ()
    code: bytes = b""

    def __post_init__(self) -> None:
        if not is_account_id(self.account_id):
            raise InvalidGenesisError(f"{self.account_id[:80]!r} is no account id")
        if not 0 <= self.balance <= MAX_BALANCE:
            raise InvalidGenesisError(f"the balance of {self.account_id} must lie between 0 and 2^128 - 1 yoctoNEAR")

    @classmethod
    def with_full_access_key(cls, account_id: str, public_key: str, balance: int = 1_000 * NEAR) -> "GenesisAccount":
        """An account with one full-access key, `ed25519:<base58>`; `balance` in yoctoNEAR.

        Raises:
            InvalidGenesisError: the account id, the key or the balance is not valid.
        """
        key = AccessKey(nonce=0, permission=FullAccess())
        return cls(account_id=account_id, balance=balance, keys=((_key(public_key), key),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """What the chain starts with.

    Attributes:
        genesis_time_ns: nanoseconds since 1970.
        transaction_validity_period: blocks after the named one in which a transaction may be taken up.
        yield_timeout_blocks: blocks after which a call that yielded runs although nothing resumed it.

    Raises:
        InvalidGenesisError: an account is there twice.
    """

    chain_id: str
    genesis_time_ns: int
    accounts: tuple[GenesisAccount, ...]
    genesis_height: int = 0
    transaction_validity_period: int = TRANSACTION_VALIDITY_PERIOD
    yield_timeout_blocks: int = YIELD_TIMEOUT_BLOCKS

    def __post_init__(self) -> None:
        counts = Counter(account.account_id for account in self.accounts)
        twice = [account_id for account_id, count in counts.items() if count > 1]
        if twice:
            raise InvalidGenesisError(f"the genesis has these accounts more than once: {', '.join(sorted(twice))}")

    @property
    def digest(self) -> bytes:
        """SHA-256 of the canonical form; the genesis block's hash derives from it."""
        return hashlib.sha256(json.dumps(_file_of(self), sort_keys=True).encode()).digest()

    def write_state(self, state: Overlay) -> None:
        """Puts all accounts into `state`."""
        for genesis_account in self.accounts:
            account_id = genesis_account.account_id
            account = Account(amount=genesis_account.balance)
            for public_key, key in genesis_account.keys:
                chain_state.write_access_key(state, account_id, public_key, key)
                usage = account.storage_usage + chain_state.access_key_bytes(public_key, key)
                account = replace(account, storage_usage=usage)
            if genesis_account.code:
                account = chain_state.write_code(state, account_id, account, genesis_account.code)
            chain_state.write_account(state, account_id, account)


def time_text(timestamp_ns: int) -> str:
    """Nanoseconds since 1970 as neard writes times: UTC with nine decimals."""
    seconds, nanoseconds = divmod(timestamp_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def encode_genesis(genesis: Genesis) -> str:
    """The text of genesis.json."""
    return json.dumps(_file_of(genesis), indent=2) + "\n"


def _file_of(genesis: Genesis) -> dict[str, object]:
    return {
        "protocol_version": PROTOCOL_VERSION,
        "genesis_time": time_text(genesis.genesis_time_ns),
        "chain_id": genesis.chain_id,
        "genesis_height": genesis.genesis_height,
        "epoch_length": EPOCH_LENGTH,
        "gas_limit": GAS_LIMIT,
        "transaction_validity_period": genesis.transaction_validity_period,
        "yield_timeout_length_in_blocks": genesis.yield_timeout_blocks,
        "total_supply": str(sum(account.balance for account in genesis.accounts)),
        "records": [record for account in genesis.accounts for record in _records_of(account)],
    }


def _records_of(account: GenesisAccount) -> list[dict[str, object]]:
    code_hash = hashlib.sha256(account.code).digest() if account.code else ZERO_HASH
    body = {"amount": str(account.balance), "locked": "0", "code_hash": hash_text(code_hash), "storage_usage": 0}
    records: list[dict[str, object]] = [
        {"Account": {"account_id": account.account_id, "account": {**body, "version": "V1"}}}
    ]
    for public_key, key in account.keys:
        access_key = {"nonce": key.nonce, "permission": permission_view(key.permission)}
        record = {"account_id": account.account_id, "public_key": str(public_key), "access_key": access_key}
        records.append({"AccessKey": record})
    if account.code:
        records.append(
            {"Contract": {"account_id": account.account_id, "code": base64.b64encode(account.code).decode()}}
        )
    return records


def permission_view(permission: Permission) -> object:
    """A key's permission as NEAR writes it in JSON."""
    match permission:
        case FullAccess():
            return "FullAccess"
        case FunctionCallAccess(allowance=allowance, receiver_id=receiver_id, method_names=names):
            return {
                "FunctionCall": {
                    "allowance": None if allowance is None else str(allowance),
                    "receiver_id": receiver_id,
                    "method_names": list(names),
                }
            }


def decode_genesis(text: str) -> Genesis:
    """The genesis of a genesis.json.

    Raises:
        InvalidGenesisError: the text is no JSON, or a field the dev chain needs is missing or wrong.
    """
    try:
        file = json.loads(text)
        return Genesis(
            chain_id=_string(file["chain_id"]),
            genesis_time_ns=_parse_time(_string(file["genesis_time"])),
            genesis_height=_count(file.get("genesis_height", 0)),
            transaction_validity_period=_count(file.get("transaction_validity_period", TRANSACTION_VALIDITY_PERIOD)),
            yield_timeout_blocks=_count(file.get("yield_timeout_length_in_blocks", YIELD_TIMEOUT_BLOCKS)),
            accounts=_accounts_of(file["records"]),
        )
    except KeyError as error:
        raise InvalidGenesisError(f"the genesis file lacks the field {error}") from None
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise InvalidGenesisError(f"the genesis file cannot be read: {error}") from None


def decode_accounts(text: str) -> tuple[GenesisAccount, ...]:
    """The accounts of an accounts file: a JSON list of `{"account_id", "public_key", "balance"}`.

    Balances are strings of yoctoNEAR.

    Raises:
        InvalidGenesisError: the text does not have that form.
    """
    try:
        return tuple(
            GenesisAccount.with_full_access_key(
                _string(entry["account_id"]), _string(entry["public_key"]), int(_string(entry["balance"]))
            )
            for entry in json.loads(text)
        )
    except KeyError as error:
        raise InvalidGenesisError(f"an account in the accounts file lacks the field {error}") from None
    except (TypeError, ValueError) as error:
        raise InvalidGenesisError(f"the accounts file cannot be read: {error}") from None


def _accounts_of(records: list[Mapping[str, Any]]) -> tuple[GenesisAccount, ...]:
    accounts: dict[str, GenesisAccount] = {}
    for record in records:
        ((kind, body),) = record.items()
        account_id = _string(body["account_id"])
        if kind == "Account" and account_id in accounts:
            raise InvalidGenesisError(f"the genesis has the account {account_id} more than once")
        if kind == "Account":
            amount = int(_string(body["account"]["amount"]))
            accounts[account_id] = GenesisAccount(account_id=account_id, balance=amount)
            continue
        if account_id not in accounts:
            raise InvalidGenesisError(f"a record of {account_id} stands before its Account record")
        accounts[account_id] = _with_record(accounts[account_id], kind, body)
    return tuple(accounts.values())


def _with_record(account: GenesisAccount, kind: str, body: Mapping[str, Any]) -> GenesisAccount:
    if kind == "AccessKey":
        entry = (_key(_string(body["public_key"])), _access_key_of(body["access_key"]))
        return replace(account, keys=(*account.keys, entry))
    if kind == "Contract":
        return replace(account, code=_base64(_string(body["code"])))
    raise InvalidGenesisError(f"the dev chain does not serve genesis records of kind {kind}")


def _access_key_of(value: Mapping[str, Any]) -> AccessKey:
    nonce, permission = _count(value["nonce"]), value["permission"]
    if permission == "FullAccess":
        return AccessKey(nonce=nonce, permission=FullAccess())
    call = permission["FunctionCall"]
    allowance = call["allowance"]
    return AccessKey(
        nonce=nonce,
        permission=FunctionCallAccess(
            allowance=None if allowance is None else int(_string(allowance)),
            receiver_id=_string(call["receiver_id"]),
            method_names=tuple(map(_string, call["method_names"])),
        ),
    )


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidGenesisError(f"{value!r} should be a string")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidGenesisError(f"{value!r} should be a whole number of at least 0")
    return value


def _key(text: str) -> PublicKey:
    try:
        return PublicKey.from_text(text)
    except InvalidPublicKeyError as error:
        raise InvalidGenesisError(f"{text[:100]!r} is no public key: {error}") from None


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise InvalidGenesisError("contract code in the genesis file is not base64") from None


def _parse_time(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 UTC time with up to nine decimals."""
    whole, _, rest = text.removesuffix("Z").removesuffix("+00:00").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * 10**9 + int(rest.ljust(9, "0")[:9])
