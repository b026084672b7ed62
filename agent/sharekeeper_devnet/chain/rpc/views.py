"""Chain values as neard's JSON shows them."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sharekeeper_devnet.chain import fees
from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.block import Block, ExecutionOutcome, status_view
from sharekeeper_devnet.chain.genesis import (
    GAS_LIMIT,
    PROTOCOL_VERSION,
    permission_view,
)
from sharekeeper_devnet.chain.inclusion import Inclusion
from sharekeeper_devnet.chain.ledger import ExecutionStatus, epoch_height
from sharekeeper_devnet.chain.primitives import ZERO_HASH, hash_text, sha256
from sharekeeper_devnet.chain.receipt import ActionReceipt, DataReceipt, Receipt, ReceiptRecord
from sharekeeper_devnet.chain.state import Account
from sharekeeper_devnet.chain.store import StateChange
from sharekeeper_devnet.chain.transaction import (
    AccessKey,
    Action,
    AddKey,
    CreateAccount,
    DeleteAccount,
    DeleteKey,
    DeployContract,
    FunctionCall,
    SignedTransaction,
    Transfer,
)
from sharekeeper_devnet.runtime.public_key import Curve, PublicKey

NO_KEY = PublicKey(Curve.ED25519, bytes(32))
NO_SIGNATURE = "ed25519:" + "1" * 64
NO_HASH = hash_text(ZERO_HASH)
EMPTY_CHUNK_BYTES = 8

View = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIdentity:
    """Who the node says it is."""

    validator_account_id: str = "test.near"
    validator_public_key: PublicKey = NO_KEY
    node_public_key: PublicKey = NO_KEY


def base64_text(data: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(data).decode()


def at_view(block: Block) -> View:
    """The block an answer is about."""
    return {"block_height": block.height, "block_hash": hash_text(block.hash)}


def epoch_id(block: Block) -> str:
    """The id of the block's epoch."""
    number = epoch_height(block.height)
    return NO_HASH if number == 1 else hash_text(sha256(b"epoch", number.to_bytes(8, "little")))


def next_epoch_id(block: Block) -> str:
    """The id of the epoch after the block's."""
    return hash_text(sha256(b"epoch", (epoch_height(block.height) + 1).to_bytes(8, "little")))


def block_view(block: Block, last_final: bytes, author: str, total_supply: int) -> View:
    """A block; `last_final` is the hash of the newest block that was final when it was made."""
    header = {
        "height": block.height,
        "prev_height": block.prev_height,
        "epoch_id": epoch_id(block),
        "next_epoch_id": next_epoch_id(block),
        "hash": hash_text(block.hash),
        "prev_hash": hash_text(block.prev_hash),
        "prev_state_root": hash_text(block.prev_state_root),
        "chunk_receipts_root": NO_HASH,
        "chunk_headers_root": hash_text(block.chunk_hash),
        "chunk_tx_root": hash_text(block.tx_root),
        "outcome_root": hash_text(block.outcome_root),
        "chunks_included": 1,
        "challenges_root": NO_HASH,
        "timestamp": block.timestamp_ns,
        "timestamp_nanosec": str(block.timestamp_ns),
        "random_value": hash_text(sha256(b"random value", block.hash)),
        "validator_proposals": [],
        "chunk_mask": [True],
        "gas_price": str(fees.GAS_PRICE),
        "block_ordinal": block.ordinal,
        "rent_paid": "0",
        "validator_reward": "0",
        "total_supply": str(total_supply),
        "challenges_result": [],
        "last_final_block": hash_text(last_final),
        "last_ds_final_block": hash_text(block.prev_hash),
        "next_bp_hash": NO_HASH,
        "block_merkle_root": hash_text(sha256(b"merkle", block.prev_hash)),
        "epoch_sync_data_hash": None,
        "approvals": [NO_SIGNATURE],
        "signature": NO_SIGNATURE,
        "latest_protocol_version": PROTOCOL_VERSION,
        "block_body_hash": NO_HASH,
        "chunk_endorsements": [[1]],
        "shard_split": None,
    }
    return {"author": author, "header": header, "chunks": [chunk_header_view(block)]}


def light_client_block_view(block: Block, validator: View) -> View:
    """The block as light clients get it; signatures and merkle roots are empty."""
    inner = {
        "height": block.height,
        "epoch_id": epoch_id(block),
        "next_epoch_id": next_epoch_id(block),
        "prev_state_root": hash_text(block.prev_state_root),
        "outcome_root": hash_text(block.outcome_root),
        "timestamp": block.timestamp_ns,
        "timestamp_nanosec": str(block.timestamp_ns),
        "next_bp_hash": NO_HASH,
        "block_merkle_root": hash_text(sha256(b"merkle", block.prev_hash)),
    }
    return {
        "prev_block_hash": hash_text(block.prev_hash),
        "next_block_inner_hash": NO_HASH,
        "inner_lite": inner,
        "inner_rest_hash": NO_HASH,
        "next_bps": [validator],
        "approvals_after_next": [NO_SIGNATURE],
    }


def chunk_header_view(block: Block) -> View:
    """The header of the block's only chunk."""
    return {
        "chunk_hash": hash_text(block.chunk_hash),
        "prev_block_hash": hash_text(block.prev_hash),
        "outcome_root": hash_text(block.outcome_root),
        "prev_state_root": hash_text(block.prev_state_root),
        "encoded_merkle_root": NO_HASH,
        "encoded_length": EMPTY_CHUNK_BYTES,
        "height_created": block.height,
        "height_included": block.height,
        "shard_id": 0,
        "gas_used": block.gas_used,
        "gas_limit": GAS_LIMIT,
        "rent_paid": "0",
        "validator_reward": "0",
        "balance_burnt": str(block.gas_used * fees.GAS_PRICE),
        "outgoing_receipts_root": NO_HASH,
        "tx_root": hash_text(block.tx_root),
        "validator_proposals": [],
        "congestion_info": None,
        "bandwidth_requests": None,
        "signature": NO_SIGNATURE,
    }


def chunk_view(block: Block, taken: Sequence[Inclusion], executed: Sequence[ReceiptRecord], author: str) -> View:
    """The block's only chunk: transactions it took up, receipts it executed or delivered."""
    return {
        "author": author,
        "header": chunk_header_view(block),
        "transactions": [transaction_view(each.transaction) for each in taken],
        "receipts": [receipt_view(each.receipt) for each in executed],
    }


def account_view(account: Account) -> View:
    """An account."""
    return {
        "amount": str(account.amount),
        "locked": "0",
        "code_hash": hash_text(account.code_hash),
        "storage_usage": account.storage_usage,
        "storage_paid_at": 0,
    }


def access_key_view(key: AccessKey) -> View:
    """An access key."""
    return {"nonce": key.nonce, "permission": permission_view(key.permission)}


def action_view(action: Action) -> object:  # noqa: PLR0911 - one per action
    """An action."""
    match action:
        case CreateAccount():
            return "CreateAccount"
        case DeployContract(code=code):
            return {"DeployContract": {"code": base64_text(code)}}
        case FunctionCall(method_name=name, args=args, gas=gas, deposit=deposit):
            call = {"method_name": name, "args": base64_text(args), "gas": gas, "deposit": str(deposit)}
            return {"FunctionCall": call}
        case Transfer(deposit=deposit):
            return {"Transfer": {"deposit": str(deposit)}}
        case AddKey(public_key=public_key, access_key=key):
            return {"AddKey": {"public_key": str(public_key), "access_key": access_key_view(key)}}
        case DeleteKey(public_key=public_key):
            return {"DeleteKey": {"public_key": str(public_key)}}
        case DeleteAccount(beneficiary_id=beneficiary_id):
            return {"DeleteAccount": {"beneficiary_id": beneficiary_id}}


def transaction_view(transaction: SignedTransaction) -> View:
    """A signed transaction."""
    curve = transaction.public_key.curve.name.lower()
    return {
        "signer_id": transaction.signer_id,
        "public_key": str(transaction.public_key),
        "nonce": transaction.nonce,
        "receiver_id": transaction.receiver_id,
        "actions": [action_view(action) for action in transaction.actions],
        "signature": f"{curve}:{hash_text(transaction.signature)}",
        "hash": hash_text(transaction.hash),
        "priority_fee": 0,
    }


def receipt_view(receipt: Receipt) -> View:
    """A receipt: actions for an account, or data for one that waits."""
    match receipt.body:
        case ActionReceipt() as body:
            content: View = {"Action": _action_receipt_view(body)}
        case DataReceipt(data_id=data_id, data=data, is_promise_resume=resumes):
            encoded = None if data is None else base64_text(data)
            content = {"Data": {"data_id": hash_text(data_id), "data": encoded, "is_promise_resume": resumes}}
    return {
        "predecessor_id": receipt.predecessor_id,
        "receiver_id": receipt.receiver_id,
        "receipt_id": hash_text(receipt.id),
        "priority": 0,
        "receipt": content,
    }


def _action_receipt_view(body: ActionReceipt) -> View:
    return {
        "signer_id": body.signer_id,
        "signer_public_key": str(body.signer_public_key),
        "gas_price": str(body.gas_price),
        "output_data_receivers": [
            {"data_id": hash_text(each.data_id), "receiver_id": each.receiver_id} for each in body.output_data_receivers
        ],
        "input_data_ids": [hash_text(each) for each in body.input_data_ids],
        "actions": [action_view(each) for each in body.actions],
        "is_promise_yield": body.is_promise_yield,
        "refund_to": None,
    }


def outcome_view(outcome: ExecutionOutcome, digest: bytes, block_hash: bytes) -> View:
    """What executing the transaction or receipt `digest` in the block of `block_hash` did."""
    body = {
        "logs": list(outcome.logs),
        "receipt_ids": [hash_text(each) for each in outcome.receipt_ids],
        "gas_burnt": outcome.gas_burnt,
        "tokens_burnt": str(outcome.tokens_burnt),
        "executor_id": outcome.executor_id,
        "status": status_view(outcome.status),
        "metadata": {"version": 3, "gas_profile": None},
    }
    return {"proof": [], "block_hash": hash_text(block_hash), "id": hash_text(digest), "outcome": body}


def final_outcome_view(inclusion: Inclusion, status: ExecutionStatus, hash_of: Callable[[int], bytes]) -> View:
    """A transaction with all that came of it; `hash_of` gives the hash of the block of a height."""
    transaction, result = inclusion.transaction, inclusion.result()
    outcomes = [
        outcome_view(each.outcome, each.receipt.id, hash_of(each.executed_height))
        for each in inclusion.executed()
        if each.outcome is not None and each.executed_height is not None
    ]
    return {
        "final_execution_status": status.value,
        "status": "Started" if result is None else status_view(result),
        "transaction": transaction_view(transaction),
        "transaction_outcome": outcome_view(inclusion.outcome, transaction.hash, hash_of(inclusion.height)),
        "receipts_outcome": outcomes,
    }


def change_view(change: StateChange, account_id: str) -> View:
    """A state change of `account_id` with its cause."""
    kind, body = _change(change, account_id)
    return {"cause": _cause(change.cause), "type": kind, "change": {"account_id": account_id, **body}}


def _cause(cause: str) -> View:
    kind, _, digest = cause.partition(" ")
    if not digest:
        return {"type": kind}
    name = "tx_hash" if kind == "transaction_processing" else "receipt_hash"
    return {"type": kind, name: hash_text(bytes.fromhex(digest))}


def _change(change: StateChange, account_id: str) -> tuple[str, View]:
    value = change.value
    if change.key == chain_state.account_key(account_id):
        if value is None:
            return "account_deletion", {}
        return "account_update", account_view(chain_state.decode_account(value))
    if change.key == chain_state.code_key(account_id):
        return "contract_code_update", {"code_base64": base64_text(value or b"")}
    prefix = chain_state.access_key_prefix(account_id)
    if change.key.startswith(prefix):
        return _key_change(change.key[len(prefix) :], value)
    key: View = {"key_base64": base64_text(change.key[len(chain_state.data_prefix(account_id)) :])}
    if value is None:
        return "data_deletion", key
    return "data_update", {**key, "value_base64": base64_text(value)}


def _key_change(borsh_key: bytes, value: bytes | None) -> tuple[str, View]:
    body: View = {"public_key": str(PublicKey(Curve(borsh_key[0]), borsh_key[1:]))}
    if value is None:
        return "access_key_deletion", body
    return "access_key_update", {**body, "access_key": access_key_view(chain_state.decode_access_key(value))}
