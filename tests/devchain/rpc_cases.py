"""What every method is asked in the tests of bodies, the models of what it answers, and the errors it meets."""

from collections.abc import Callable
from dataclasses import dataclass

import base58

from tests.devchain.conftest import ALICE, BOB, CAROL

COUNTER = "counter.test.near"
BIG = "big.alice.test.near"
NO_BLOCK = "4reLvkAWfqk5fsqio1KLudk46cqRz9erQdaHkWZKMJDZ"
FINAL = {"finality": "final"}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a method answers: the models of its result and its errors, requests, and the errors some of them meet.

    `result` None: the result is null. A request is made of a scene. `refused` gives the cause and HTTP status of each.
    """

    result: str | None
    error: str
    asked: tuple[Callable, ...]
    refused: tuple[tuple[Callable, str, int], ...] = ()
    not_here: frozenset[str] = frozenset()


def always(params) -> Callable:
    return lambda _scene: params


def of_counter(**more) -> tuple[Callable, ...]:
    return tuple(always({**at, "account_id": COUNTER, **more}) for at in (FINAL, {"block_id": 0}))


def of_nobody(**more) -> tuple[Callable, str, int]:
    return always({**FINAL, "account_id": "no.near", **more}), "UNKNOWN_ACCOUNT", 200


def at_no_block(**more) -> tuple[tuple[Callable, str, int], ...]:
    return tuple((always({"block_id": each, **more}), "UNKNOWN_BLOCK", 422) for each in (387_420_489, NO_BLOCK))


KEY = {"public_key": ALICE.public}
CALL = {"method_name": "get", "args_base64": ""}
STATE = {"prefix_base64": "", "include_proof": True}
OF_ALICE = {"account_id": "alice.test.near"}
NO_TX = base58.b58encode(bytes(31) + b"\1").decode()
NO_SUCH_TX = (lambda _: [NO_TX, "alice.test.near"], "UNKNOWN_TRANSACTION", 200)
WITHHELD = frozenset({"TIMEOUT_ERROR", "INVALID_TRANSACTION"})

PARAMS_OF_CHANGES = (
    lambda scene: {"changes_type": "account_changes", "account_ids": ["alice.test.near"], "block_id": scene.taken_in},
    lambda scene: {
        "changes_type": "single_access_key_changes",
        "keys": [{"account_id": "alice.test.near", "public_key": ALICE.public}],
        "block_id": scene.taken_in,
    },
    lambda scene: {
        "changes_type": "all_access_key_changes",
        "account_ids": ["alice.test.near"],
        "block_id": scene.taken_in,
    },
    lambda scene: {"changes_type": "contract_code_changes", "account_ids": [COUNTER], "block_id": 0},
    lambda scene: {
        "changes_type": "data_changes",
        "account_ids": [COUNTER],
        "key_prefix_base64": "",
        "block_id": scene.executed_in,
    },
)
CHANGES = Answers(
    result="RpcStateChangesInBlockResponse",
    error="RpcStateChangesError",
    asked=PARAMS_OF_CHANGES,
    refused=at_no_block(changes_type="account_changes", account_ids=[COUNTER]),
)
EFFECTS = Answers(
    result="RpcStateChangesInBlockByTypeResponse",
    error="RpcStateChangesError",
    asked=(lambda scene: {"block_id": scene.taken_in}, lambda scene: {"block_id": scene.executed_in}, always(FINAL)),
    refused=at_no_block(),
)
OUTCOME = Answers(
    result="RpcTransactionResponse",
    error="RpcTransactionError",
    asked=(
        lambda scene: [scene.tx_hash, "alice.test.near"],
        lambda scene: {"tx_hash": scene.tx_hash, "sender_account_id": "alice.test.near", "wait_until": "FINAL"},
        lambda scene: {"signed_tx_base64": scene.signed, "wait_until": "EXECUTED"},
        lambda scene: [scene.failed_tx_hash, "alice.test.near"],
        *(
            lambda scene, until=until: {
                "tx_hash": scene.tx_hash,
                "sender_account_id": "alice.test.near",
                "wait_until": until,
            }
            for until in ("NONE", "INCLUDED", "INCLUDED_FINAL")
        ),
    ),
    refused=(
        NO_SUCH_TX,
        (
            lambda scene: {
                "tx_hash": scene.waiting_tx_hash,
                "sender_account_id": "alice.test.near",
                "wait_until": "NONE",
            },
            "UNKNOWN_TRANSACTION",
            200,
        ),
        (lambda scene: [scene.dropped_tx_hash, "alice.test.near"], "INVALID_TRANSACTION", 200),
        (lambda scene: [scene.waiting_tx_hash, "alice.test.near"], "TIMEOUT_ERROR", 408),
    ),
)
SENT = Answers(
    result="RpcTransactionResponse",
    error="RpcTransactionError",
    asked=(lambda scene: [scene.signed], lambda scene: {"signed_tx_base64": scene.signed, "wait_until": "FINAL"}),
    refused=(
        (lambda scene: [scene.invalid], "INVALID_TRANSACTION", 200),
        (lambda scene: [scene.waiting], "TIMEOUT_ERROR", 408),
    ),
    not_here=frozenset({"UNKNOWN_TRANSACTION"}),
)
METHODS = {
    "status": Answers(result="RpcStatusResponse", error="RpcStatusError", asked=(always([]), always(FINAL))),
    "health": Answers(result=None, error="RpcStatusError", asked=(always([]),)),
    "block": Answers(
        result="RpcBlockResponse",
        error="RpcBlockError",
        asked=(
            always(FINAL),
            always({"finality": "near-final"}),
            always({"finality": "optimistic", "block_id": None}),
            always({"block_id": 0}),
            always([0]),
            always({"sync_checkpoint": "genesis"}),
            lambda scene: [scene.taken_in],
        ),
        refused=at_no_block(),
    ),
    "chunk": Answers(
        result="RpcChunkResponse",
        error="RpcChunkError",
        asked=(
            always({"block_id": 0, "shard_id": 0}),
            lambda scene: {"block_id": scene.taken_in, "shard_id": 0},
            lambda scene: {"block_id": scene.executed_in, "shard_id": 0},
            lambda scene: [scene.chunk_hash],
        ),
        refused=(
            *at_no_block(shard_id=0),
            (always({"block_id": 0, "shard_id": 3}), "INVALID_SHARD_ID", 200),
            (always([NO_BLOCK]), "UNKNOWN_CHUNK", 200),
        ),
    ),
    "gas_price": Answers(
        result="RpcGasPriceResponse",
        error="RpcGasPriceError",
        asked=(always([None]), always([0]), always({"block_id": None})),
        refused=at_no_block(),
    ),
    "validators": Answers(
        result="RpcValidatorResponse",
        error="RpcValidatorError",
        asked=(always([None]), lambda scene: {"epoch_id": scene.epoch_id}),
        refused=(
            (always({"epoch_id": NO_BLOCK}), "UNKNOWN_EPOCH", 200),
            (always({"block_id": 387_420_489}), "UNKNOWN_EPOCH", 200),
            (always([0]), "VALIDATOR_INFO_UNAVAILABLE", 200),
        ),
    ),
    "network_info": Answers(result="RpcNetworkInfoResponse", error="RpcNetworkInfoError", asked=(always([]),)),
    "EXPERIMENTAL_receipt": Answers(
        result="RpcReceiptResponse",
        error="RpcReceiptError",
        asked=tuple(lambda scene, at=at: {"receipt_id": scene.receipt_ids[at]} for at in (0, -1)),
        refused=((always({"receipt_id": NO_TX}), "UNKNOWN_RECEIPT", 200),),
    ),
    "EXPERIMENTAL_protocol_config": Answers(
        result="RpcProtocolConfigResponse",
        error="RpcProtocolConfigError",
        asked=(always(FINAL), always({"block_id": 0})),
        refused=at_no_block(),
    ),
    "next_light_client_block": Answers(
        result="RpcLightClientNextBlockResponse",
        error="RpcLightClientNextBlockError",
        asked=(
            lambda scene: {"last_block_hash": scene.genesis_hash},
            lambda scene: [scene.genesis_hash],
        ),
        refused=((always([NO_BLOCK]), "UNKNOWN_BLOCK", 422),),
    ),
    "changes": CHANGES,
    "EXPERIMENTAL_changes": CHANGES,
    "block_effects": EFFECTS,
    "EXPERIMENTAL_changes_in_block": EFFECTS,
    "send_tx": SENT,
    "broadcast_tx_commit": SENT,
    "broadcast_tx_async": Answers(
        result="CryptoHash",
        error="RpcTransactionError",
        asked=(lambda scene: [scene.signed], lambda scene: [scene.invalid]),
        not_here=frozenset({"UNKNOWN_TRANSACTION"}) | WITHHELD,
    ),
    "tx": OUTCOME,
    "tx_status": OUTCOME,
    "EXPERIMENTAL_tx_status": OUTCOME,
    "EXPERIMENTAL_view_account": Answers(
        result="RpcViewAccountResponse",
        error="RpcViewAccountError",
        asked=of_counter(),
        refused=(of_nobody(), *at_no_block(account_id=COUNTER)),
    ),
    "EXPERIMENTAL_view_code": Answers(
        result="RpcViewCodeResponse",
        error="RpcViewCodeError",
        asked=of_counter(),
        refused=(
            of_nobody(),
            *at_no_block(account_id=COUNTER),
            (always({**FINAL, **OF_ALICE}), "NO_CONTRACT_CODE", 200),
        ),
    ),
    "EXPERIMENTAL_view_state": Answers(
        result="RpcViewStateResponse",
        error="RpcViewStateError",
        asked=of_counter(**STATE),
        refused=(
            of_nobody(**STATE),
            *at_no_block(account_id=COUNTER, **STATE),
            (always({**FINAL, **STATE, "account_id": BIG}), "TOO_LARGE_CONTRACT_STATE", 200),
        ),
    ),
    "EXPERIMENTAL_view_access_key_list": Answers(
        result="RpcViewAccessKeyListResponse",
        error="RpcViewAccessKeyListError",
        asked=(*of_counter(), always({**FINAL, **OF_ALICE})),
        refused=(of_nobody(), *at_no_block(account_id=COUNTER)),
    ),
    "EXPERIMENTAL_view_access_key": Answers(
        result="RpcViewAccessKeyResponse",
        error="RpcViewAccessKeyError",
        asked=(always({**FINAL, **OF_ALICE, **KEY}), always({**FINAL, **OF_ALICE, "public_key": BOB.public})),
        refused=(
            *at_no_block(**OF_ALICE, **KEY),
            (always({**FINAL, **OF_ALICE, "public_key": CAROL.public}), "UNKNOWN_ACCESS_KEY", 200),
            (always({**FINAL, "account_id": "no.near", **KEY}), "UNKNOWN_ACCESS_KEY", 200),
        ),
        not_here=frozenset({"UNKNOWN_ACCOUNT"}),
    ),
    "EXPERIMENTAL_call_function": Answers(
        result="RpcCallFunctionResponse",
        error="RpcCallFunctionError",
        asked=of_counter(**CALL),
        refused=(
            of_nobody(**CALL),
            *at_no_block(account_id=COUNTER, **CALL),
            (always({**FINAL, **OF_ALICE, **CALL}), "NO_CONTRACT_CODE", 200),
            *(
                (
                    always({**FINAL, "account_id": COUNTER, "method_name": name, "args_base64": ""}),
                    "CONTRACT_EXECUTION_ERROR",
                    200,
                )
                for name in ("missing", "signer", "increment", "spin")
            ),
        ),
    ),
}
"""All methods but `query`, whose results are of one model for each kind of question."""

VIEWS = {
    "view_account": "RpcQueryResponseAccountView",
    "view_access_key": "RpcQueryResponseAccessKeyView",
    "view_access_key_list": "RpcQueryResponseAccessKeyList",
    "view_code": "RpcQueryResponseContractCodeView",
    "view_state": "RpcQueryResponseViewStateResult",
    "call_function": "RpcQueryResponseCallResult",
}
"""Model of what `query` answers, by `request_type`; the same questions are methods of their own."""

LEGACY = frozenset({"UNKNOWN_ACCESS_KEY", "CONTRACT_EXECUTION_ERROR"})
"""What `query` answers as a result with `error` in it; it does so as well for a call where there is no contract."""

NEVER = {
    "INTERNAL_ERROR": "a fault of the node is no error of a handler",
    "NOT_SYNCED_YET": "a single node is never behind",
    "NO_SYNCED_BLOCKS": "a single node is never behind",
    "NODE_IS_SYNCING": "a single node is never behind",
    "NO_NEW_BLOCKS": "of `health`, shown in a test of its own",
    "GARBAGE_COLLECTED_BLOCK": "of `query`, shown in a test of its own",
    "UNAVAILABLE_SHARD": "there is one shard",
    "DOES_NOT_TRACK_SHARD": "there is one shard",
    "SHARD_NOT_APPLIED": "there is one shard",
    "REQUEST_ROUTED": "there is no other node",
    "INVALID_ACCOUNT": "neard refuses to read an account id that is none",
    "TOO_MANY_ACCESS_KEYS": "lists of keys have no limit",
    "UNKNOWN_GAS_KEY": "there are no gas keys",
    "NO_GLOBAL_CONTRACT_CODE": "there are no global contracts",
    "EPOCH_OUT_OF_BOUNDS": "every epoch has the same validator",
}
"""Causes that the models know and the methods do not meet, and why."""
