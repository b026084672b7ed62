"""What all clients meet: one genesis, one history of the contract, and one list of faults.

Every client deploys the contract from an account it made, gives a participant a key that may call one method, calls
it with that key, and reads the result; then it provokes every fault of `FAULTS` and says how it shows it.
"""

import hashlib
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import base58
from py_near import transactions as py_near

from sharekeeper_devnet.chain import NEAR, DevChain, Genesis, GenesisAccount
from sharekeeper_devnet.chain.transaction import AccessKey, FullAccess, FunctionCallAccess
from sharekeeper_devnet.runtime import PublicKey
from tests.contract.world import ALICE as PARTICIPANT
from tests.contract.world import CONTRACT, info, init_arguments, key, node_signer, node_tls, private_key, url
from tests.devchain.conftest import ALICE, BOB, CAROL, TERA, Client, Key
from tests.devchain.wasm import COUNTER_WASM

PARENT = "test.near"
ALICE_ID, POOR_ID, COUNTER, NOBODY = "alice.test.near", "poor.test.near", "counter.test.near", "nobody.test.near"
RESTRICTED, SPENT, STRANGER = BOB, CAROL, Key.numbered(9)
"""Keys of alice: one may call `increment` of the counter, one has no allowance left; the stranger is no key at all."""

CODE = (Path(__file__).parents[3] / "agent" / "contract" / "mpc_contract.wasm").read_bytes()
GAS = 100 * TERA
CALL_GAS = 30 * TERA
CONTRACT_BALANCE = 50 * NEAR
ALLOWANCE = NEAR
METHOD = "submit_participant_info"
ARGUMENTS = {"participant_info": info(node_tls(PARTICIPANT), url(PARTICIPANT))}
INIT = init_arguments()
NODE_KEY = Key(private_key(node_signer(PARTICIPANT)))
"""The participant's node key in force, which the session adds to the account, restricted to `METHOD`."""

FAR = 300_000
"""Where the chain goes before faults are provoked: the state of the genesis is gone and its hash is too old to sign."""
NO_BLOCK = 387_420_489
NO_TRANSACTION = base58.b58encode(b"\1" * 32).decode()
TOO_HIGH = 9 * 10**18
INVALID = "INVALID_TRANSACTION"


def genesis() -> Genesis:
    full = AccessKey(nonce=0, permission=FullAccess())
    accounts = (
        GenesisAccount.with_full_access_key(PARENT, ALICE.public, 10**6 * NEAR),
        GenesisAccount(
            account_id=ALICE_ID,
            balance=1_000 * NEAR,
            keys=(
                (PublicKey.from_text(ALICE.public), full),
                (PublicKey.from_text(RESTRICTED.public), _increments(ALLOWANCE)),
                (PublicKey.from_text(SPENT.public), _increments(1)),
            ),
        ),
        GenesisAccount.with_full_access_key(POOR_ID, ALICE.public, NEAR // 10),
        GenesisAccount(account_id=COUNTER, balance=100 * NEAR, code=COUNTER_WASM),
    )
    return Genesis(chain_id="dev", genesis_time_ns=time.time_ns(), accounts=accounts)


def _increments(allowance: int) -> AccessKey:
    permission = FunctionCallAccess(allowance=allowance, receiver_id=COUNTER, method_names=("increment",))
    return AccessKey(nonce=0, permission=permission)


async def go_far(chain: DevChain) -> None:
    """The chain is at `FAR`, and so are its final blocks."""
    await chain.skip_to(FAR)
    for _ in range(3):
        await chain.produce_block()


def secret(of: Key) -> str:
    """The secret as command lines and configuration files of NEAR's tools write it."""
    return "ed25519:" + base58.b58encode(of.secret).decode()


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a client found after its session: views as JSON, access keys and the call's outcome as the chain gives them.

    `again` is what it says of a second `init`.
    """

    state: dict
    participant_info: dict
    keys: list[dict]
    status: dict
    code_hash: str
    again: str


def check_session(found: Session) -> None:
    """The same whichever client was there."""
    assert set(found.state) == {"Running"}
    running = found.state["Running"]["parameters"]["participants"]
    assert [entry[0] for entry in running["participants"]] == [
        entry[0] for entry in INIT["parameters"]["participants"]["participants"]
    ]
    assert url(PARTICIPANT) in json.dumps(found.participant_info)
    assert found.code_hash == base58.b58encode(hashlib.sha256(CODE).digest()).decode()
    assert "SuccessValue" in found.status
    restricted = {"allowance", "receiver_id", "method_names"}
    (permission,) = (
        each["access_key"]["permission"]["FunctionCall"]
        for each in found.keys
        if each["public_key"] == key(node_signer(PARTICIPANT))
    )
    assert set(permission) == restricted
    assert (permission["receiver_id"], permission["method_names"]) == (CONTRACT, [METHOD])
    assert 0 < int(permission["allowance"]) < ALLOWANCE
    assert "Smart contract panicked: " in found.again
    assert "NotInitialized" in found.again


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A request that is refused.

    `ask` makes method and parameters; `status` and `cause` are those of the answer, `detail` what its data or its
    result says: for a transaction the InvalidTxError.
    """

    ask: Callable[[Client], Awaitable[tuple[str, object]]]
    status: int
    cause: str | None
    detail: object


def _asking(method: str, params: object) -> Callable[[Client], Awaitable[tuple[str, object]]]:
    async def ask(_client: Client) -> tuple[str, object]:
        return method, params

    return ask


def _viewing(kind: str, account_id: str, **more) -> Callable[[Client], Awaitable[tuple[str, object]]]:
    at = {} if "block_id" in more else {"finality": "final"}
    return _asking("query", {"request_type": kind, "account_id": account_id, **at, **more})


def _calling(method: str, account_id: str = COUNTER, **more) -> Callable[[Client], Awaitable[tuple[str, object]]]:
    return _viewing("call_function", account_id, method_name=method, args_base64="", **more)


def call_of(method: str = "increment", deposit: int = 0):
    return py_near.create_function_call_action(method, b"{}", CALL_GAS, deposit)


def _sending(key: Key = ALICE, *, action=None, receiver=COUNTER, signer=ALICE_ID, nonce=None, at=None):
    async def ask(client: Client) -> tuple[str, object]:
        number = client.chain.tip.head.height * 10**6 - 1 if nonce is None else nonce
        block_hash = None if at is None else at(client)
        signed = await client.sign(signer, key, receiver, [action or call_of()], nonce=number, block_hash=block_hash)
        return "send_tx", {"signed_tx_base64": signed, "wait_until": "EXECUTED_OPTIMISTIC"}

    return ask


def genesis_hash(client: Client) -> bytes:
    return client.chain._driver._ledger.earliest.hash


FAULTS = {
    "unknown account": Fault(
        ask=_viewing("view_account", NOBODY),
        status=200,
        cause="UNKNOWN_ACCOUNT",
        detail=f"account {NOBODY} does not exist while viewing",
    ),
    "unknown access key": Fault(
        ask=_viewing("view_access_key", ALICE_ID, public_key=STRANGER.public),
        status=200,
        cause=None,
        detail=f"access key {STRANGER.public} does not exist while viewing",
    ),
    "unknown method": Fault(
        ask=_asking("no_such_method", []), status=400, cause="METHOD_NOT_FOUND", detail="no_such_method"
    ),
    "unknown block": Fault(
        ask=_calling("get", block_id=NO_BLOCK), status=422, cause="UNKNOWN_BLOCK", detail=f"BLOCK HEIGHT: {NO_BLOCK}"
    ),
    "garbage-collected block": Fault(
        ask=_calling("get", block_id=0), status=200, cause="GARBAGE_COLLECTED_BLOCK", detail="use an archival node"
    ),
    "parse error": Fault(
        ask=_asking("send_tx", {"signed_tx_base64": "AAAA"}),
        status=400,
        cause="PARSE_ERROR",
        detail="Failed to decode transaction: ",
    ),
    "panic of a view": Fault(
        ask=_calling("fail"), status=200, cause=None, detail="wasm execution failed with error: HostError("
    ),
    "method a contract has not": Fault(
        ask=_calling("missing"),
        status=200,
        cause=None,
        detail="wasm execution failed with error: MethodResolveError(MethodNotFound)",
    ),
    "contract an account has not": Fault(
        ask=_calling("get", ALICE_ID),
        status=200,
        cause=None,
        detail=f'wasm execution failed with error: CompilationError(CodeDoesNotExist {{ account_id: "{ALICE_ID}" }})',
    ),
    "unknown transaction": Fault(
        ask=_asking("tx", {"tx_hash": NO_TRANSACTION, "sender_account_id": ALICE_ID, "wait_until": "FINAL"}),
        status=200,
        cause="UNKNOWN_TRANSACTION",
        detail=f"Transaction {NO_TRANSACTION} doesn't exist",
    ),
    "nonce too low": Fault(ask=_sending(nonce=0), status=200, cause=INVALID, detail="InvalidNonce"),
    "nonce too high": Fault(ask=_sending(nonce=TOO_HIGH), status=200, cause=INVALID, detail="NonceTooLarge"),
    "expired transaction": Fault(ask=_sending(at=genesis_hash), status=200, cause=INVALID, detail="Expired"),
    "wrong key": Fault(ask=_sending(STRANGER), status=200, cause=INVALID, detail="AccessKeyNotFound"),
    "unknown signer": Fault(ask=_sending(signer=NOBODY), status=200, cause=INVALID, detail="SignerDoesNotExist"),
    "not enough balance": Fault(
        ask=_sending(signer=POOR_ID, action=py_near.create_transfer_action(NEAR)),
        status=200,
        cause=INVALID,
        detail="NotEnoughBalance",
    ),
    "not enough allowance": Fault(ask=_sending(SPENT), status=200, cause=INVALID, detail="NotEnoughAllowance"),
    "method name mismatch": Fault(
        ask=_sending(RESTRICTED, action=call_of("get")), status=200, cause=INVALID, detail="MethodNameMismatch"
    ),
    "receiver mismatch": Fault(
        ask=_sending(RESTRICTED, receiver=ALICE_ID), status=200, cause=INVALID, detail="ReceiverMismatch"
    ),
    "deposit with a function-call key": Fault(
        ask=_sending(RESTRICTED, action=call_of(deposit=1)), status=200, cause=INVALID, detail="DepositWithFunctionCall"
    ),
    "more than a function-call key may": Fault(
        ask=_sending(RESTRICTED, action=py_near.create_transfer_action(1)),
        status=200,
        cause=INVALID,
        detail="RequiresFullAccess",
    ),
    "contract panic": Fault(
        ask=_sending(action=call_of("fail")), status=200, cause=None, detail="Smart contract panicked: {}"
    ),
}
"""By name; `TIME_OUT` is the one more that needs a chain without blocks."""

TIME_OUT = Fault(ask=_sending(), status=408, cause="TIMEOUT_ERROR", detail="Timeout")
