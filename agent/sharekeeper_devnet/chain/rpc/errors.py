"""Errors as neard's JSON-RPC writes them, and the HTTP status each comes with."""

from collections.abc import Sequence
from http import HTTPStatus

from sharekeeper_devnet.chain.block import Block
from sharekeeper_devnet.chain.primitives import hash_text
from sharekeeper_devnet.chain.rejection import InvalidTransactionError
from sharekeeper_devnet.runtime import CallFailure, FailureKind
from sharekeeper_devnet.runtime.public_key import PublicKey


class RpcError(Exception):
    """An answer that is an error.

    Attributes:
        http_status: the HTTP status the answer travels with.
        body: the `error` object of the JSON-RPC envelope.
    """

    def __init__(self, http_status: HTTPStatus, body: dict[str, object]) -> None:
        super().__init__(str(body.get("data", body)))
        self.http_status = http_status
        self.body = body


class QueryError(RpcError):
    """An error that the `query` method still answers as a result, the older way.

    Attributes:
        result: that result.
    """

    def __init__(self, error: RpcError, result: dict[str, object]) -> None:
        super().__init__(error.http_status, error.body)
        self.result = result


def _handler_error(cause: str, info: object, data: object, http_status: HTTPStatus = HTTPStatus.OK) -> RpcError:
    """`info` None means that the cause has none."""
    body = {
        "name": "HANDLER_ERROR",
        "cause": {"name": cause} if info is None else {"name": cause, "info": info},
        "code": -32000,
        "message": "Server error",
        "data": data,
    }
    return RpcError(http_status, body)


def parse_error(message: str, http_status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> RpcError:
    """The request cannot be read."""
    body: dict[str, object] = {
        "name": "REQUEST_VALIDATION_ERROR",
        "cause": {"name": "PARSE_ERROR", "info": {"error_message": message}},
        "code": -32700,
        "message": "Parse error",
        "data": message,
    }
    return RpcError(http_status, body)


def method_not_found(method: str) -> RpcError:
    """There is no such method."""
    body: dict[str, object] = {
        "name": "REQUEST_VALIDATION_ERROR",
        "cause": {"name": "METHOD_NOT_FOUND", "info": {"method_name": method}},
        "code": -32601,
        "message": "Method not found",
        "data": method,
    }
    return RpcError(HTTPStatus.BAD_REQUEST, body)


def internal_error(message: str) -> RpcError:
    """The node failed; the request may be repeated."""
    body: dict[str, object] = {
        "name": "INTERNAL_ERROR",
        "cause": {"name": "INTERNAL_ERROR", "info": {"error_message": message}},
        "code": -32000,
        "message": "Server error",
        "data": message,
    }
    return RpcError(HTTPStatus.INTERNAL_SERVER_ERROR, body)


def unknown_block(text: str, reference: object | None = None) -> RpcError:
    """There is no block of that reference (`BLOCK HEIGHT: 7`, `BLOCK: <hash>`); queries also get it as they gave it."""
    data = f"DB Not Found Error: {text} \n Cause: Unknown"
    info = {} if reference is None else {"block_reference": reference}
    return _handler_error("UNKNOWN_BLOCK", info, data, HTTPStatus.UNPROCESSABLE_ENTITY)


def garbage_collected_block(block: Block) -> RpcError:
    """The block is known and its state is no longer kept."""
    data = (
        f"The data for block #{block.height} is garbage collected on this node, "
        "use an archival node to fetch historical data"
    )
    return _handler_error("GARBAGE_COLLECTED_BLOCK", _at(block), data)


def unknown_chunk(chunk_hash: str) -> RpcError:
    """There is no chunk of that hash."""
    return _handler_error("UNKNOWN_CHUNK", {"chunk_hash": chunk_hash}, f"Chunk Missing (unavailable): {chunk_hash}")


def invalid_shard_id(shard_id: int) -> RpcError:
    """There is no shard of that id."""
    return _handler_error("INVALID_SHARD_ID", {"shard_id": shard_id}, f"Shard id {shard_id} does not exist")


def unknown_epoch() -> RpcError:
    """There is no such epoch, or no block that could be of one."""
    return _handler_error("UNKNOWN_EPOCH", None, "Epoch not found")


def validator_info_unavailable() -> RpcError:
    """Validators are told of the current epoch, or by the last block of another."""
    return _handler_error("VALIDATOR_INFO_UNAVAILABLE", None, "Validator info unavailable")


def no_new_blocks(seconds: float) -> RpcError:
    """The newest block is `seconds` old."""
    elapsed = [int(seconds), int(seconds % 1 * 10**9)]
    return _handler_error("NO_NEW_BLOCKS", {"elapsed": elapsed}, f"No blocks for {seconds:.1f}s")


def _at(block: Block) -> dict[str, object]:
    return {"block_height": block.height, "block_hash": hash_text(block.hash)}


def unknown_account(account_id: str, block: Block) -> RpcError:
    """The account does not exist after `block`."""
    info = {"requested_account_id": account_id, **_at(block)}
    return _handler_error("UNKNOWN_ACCOUNT", info, f"account {account_id} does not exist while viewing")


def no_contract_code(account_id: str, block: Block) -> RpcError:
    """The account has no contract after `block`."""
    info = {"contract_account_id": account_id, **_at(block)}
    data = f"Contract code for contract ID {account_id} has never been observed on the node"
    return _handler_error("NO_CONTRACT_CODE", info, data)


def too_large_contract_state(account_id: str, block: Block) -> RpcError:
    """The contract's data is too much for one answer."""
    info = {"contract_account_id": account_id, **_at(block)}
    return _handler_error("TOO_LARGE_CONTRACT_STATE", info, f"State of contract {account_id} is too large to be viewed")


def unknown_access_key(public_key: PublicKey, block: Block) -> QueryError:
    """The account has no such key after `block`."""
    sentence = f"access key {public_key} does not exist while viewing"
    error = _handler_error("UNKNOWN_ACCESS_KEY", {"public_key": str(public_key), **_at(block)}, sentence)
    return QueryError(error, {"error": sentence, "logs": [], **_at(block)})


def nothing_to_call(account_id: str, block: Block) -> QueryError:
    """A view call to an account without a contract."""
    missing = f'CompilationError(CodeDoesNotExist {{ account_id: "{account_id}" }})'
    sentence = f"wasm execution failed with error: {missing}"
    return QueryError(no_contract_code(account_id, block), {"error": sentence, "logs": [], **_at(block)})


def contract_execution_error(failure: CallFailure, logs: Sequence[str], block: Block) -> QueryError:
    """A view call failed after it wrote `logs`."""
    sentence = f"wasm execution failed with error: {failure.debug}"
    error = _handler_error("CONTRACT_EXECUTION_ERROR", {"vm_error": _vm_error(failure), **_at(block)}, sentence)
    return QueryError(error, {"error": sentence, "logs": list(logs), **_at(block)})


def _vm_error(failure: CallFailure) -> dict[str, object]:
    match failure.kind:
        case FailureKind.COMPILATION:
            return {failure.kind.value: {"PrepareError": failure.detail}}
        case FailureKind.LINK:
            return {failure.kind.value: {"msg": failure.detail}}
        case FailureKind.METHOD_RESOLVE | FailureKind.EXECUTION:
            return {failure.kind.value: failure.detail}


def unknown_transaction(tx_hash: str) -> RpcError:
    """No block has the transaction and it does not wait for one."""
    info = {"requested_transaction_hash": tx_hash}
    return _handler_error("UNKNOWN_TRANSACTION", info, f"Transaction {tx_hash} doesn't exist")


def unknown_receipt(receipt_id: str) -> RpcError:
    """Nothing the chain did made a receipt of that id."""
    data = f"Receipt with id {receipt_id} has never been observed on this node"
    return _handler_error("UNKNOWN_RECEIPT", {"receipt_id": receipt_id}, data)


def invalid_transaction(error: InvalidTransactionError) -> RpcError:
    """The transaction will never run."""
    return _handler_error("INVALID_TRANSACTION", {}, {"TxExecutionError": {"InvalidTxError": error.reason}})


def transaction_timeout(status: object | None) -> RpcError:
    """The transaction has not come as far as was asked for in the time the node waits.

    `status` is what `tx` answers for it now, None while no block has it.
    """
    info = {"cause": "NOT_OBSERVED"} if status is None else {"cause": "PENDING", "status": status}
    return _handler_error("TIMEOUT_ERROR", info, "Timeout", HTTPStatus.REQUEST_TIMEOUT)
