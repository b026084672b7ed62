"""Errors as neard's JSON-RPC writes them, and the HTTP status each comes with."""

from http import HTTPStatus

from sharekeeper_devnet.chain.block import Block
from sharekeeper_devnet.chain.primitives import hash_text
from sharekeeper_devnet.chain.rejection import InvalidTransactionError


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


def _handler_error(cause: str, info: object, data: object, http_status: HTTPStatus = HTTPStatus.OK) -> RpcError:
    body = {
        "name": "HANDLER_ERROR",
        "cause": {"name": cause, "info": info},
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


def unknown_block(reference: str) -> RpcError:
    """There is no block of that reference (`BLOCK HEIGHT: 7`, `BLOCK: <hash>`)."""
    data = f"DB Not Found Error: {reference} \n Cause: Unknown"
    return _handler_error("UNKNOWN_BLOCK", {}, data, HTTPStatus.UNPROCESSABLE_ENTITY)


def unknown_chunk(chunk_hash: str) -> RpcError:
    """There is no chunk of that hash."""
    return _handler_error("UNKNOWN_CHUNK", {"chunk_hash": chunk_hash}, f"Chunk Missing (unavailable): {chunk_hash}")


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


def unknown_transaction(tx_hash: str) -> RpcError:
    """No block has the transaction and it does not wait for one."""
    info = {"requested_transaction_hash": tx_hash}
    return _handler_error("UNKNOWN_TRANSACTION", info, f"Transaction {tx_hash} doesn't exist")


def invalid_transaction(error: InvalidTransactionError) -> RpcError:
    """The transaction will never run."""
    return _handler_error("INVALID_TRANSACTION", {}, {"TxExecutionError": {"InvalidTxError": error.reason}})


def transaction_timeout(status: object | None) -> RpcError:
    """The transaction has not come as far as was asked for in the time the node waits.

    `status` is what `tx` answers for it now, None while no block has it.
    """
    info = {"cause": "NOT_OBSERVED"} if status is None else {"cause": "PENDING", "status": status}
    return _handler_error("TIMEOUT_ERROR", info, "Timeout", HTTPStatus.REQUEST_TIMEOUT)
