"""What is told of a transaction with several faults, and what a refused one does to others."""

import base64

import pytest
from py_near import transactions as py_near

from sharekeeper_devnet.chain import NEAR, admission
from sharekeeper_devnet.chain.fees import transaction_cost
from sharekeeper_devnet.chain.rejection import InvalidTransactionError
from sharekeeper_devnet.chain.state import Account, Overlay, write_access_key, write_account
from sharekeeper_devnet.chain.transaction import AccessKey, FunctionCallAccess, decode_signed_transaction
from sharekeeper_devnet.runtime.public_key import PublicKey
from tests.devchain.conftest import ALICE, BOB, TERA, Key, RpcFailure

COUNTER, HEIGHT = "counter.test.near", 10


class Nothing:
    """A state that holds nothing."""

    def get(self, _key: bytes, /) -> None:
        return None

    def scan(self, _prefix: bytes):
        return iter(())


def call(method: str = "increment", *, deposit: int = 0, gas: int = TERA):
    return py_near.create_function_call_action(method, b"", gas, deposit)


def transaction(*actions, nonce: int = 1, of: Key = BOB, receiver: str = COUNTER):
    arguments = ("alice.test.near", of.secret, receiver, nonce, list(actions), bytes(32))
    return decode_signed_transaction(base64.b64decode(py_near.sign_and_serialize_transaction(*arguments)))


def state(*, amount: int = NEAR, allowance: int | None = NEAR, storage_usage: int = 182) -> Overlay:
    """Alice with a key that may call `increment`."""
    made = Overlay(Nothing())
    permission = FunctionCallAccess(allowance=allowance, receiver_id=COUNTER, method_names=("increment",))
    write_account(made, "alice.test.near", Account(amount=amount, storage_usage=storage_usage))
    key = AccessKey(nonce=0, permission=permission)
    write_access_key(made, "alice.test.near", PublicKey.from_text(BOB.public), key)
    return made


def fault(sent, held: Overlay) -> str:
    with pytest.raises(InvalidTransactionError) as caught:
        admission.charge(sent, held, HEIGHT)
    reason = caught.value.reason
    if isinstance(reason, dict) and "InvalidAccessKeyError" in reason:
        reason = reason["InvalidAccessKeyError"]
    return reason if isinstance(reason, str) else next(iter(reason))


@pytest.mark.parametrize(
    ("sent", "held", "told"),
    [
        (transaction(call(deposit=2**128 - 1), of=ALICE), Overlay(Nothing()), "CostOverflow"),
        (transaction(call("get")), Overlay(Nothing()), "SignerDoesNotExist"),
        (transaction(call("get"), of=ALICE, nonce=0), state(), "AccessKeyNotFound"),
        (transaction(call("get"), nonce=0), state(amount=0), "InvalidNonce"),
        (transaction(call("get"), nonce=10**9), state(amount=0), "NonceTooLarge"),
        (transaction(call("get")), state(amount=0, allowance=0), "NotEnoughBalance"),
        (transaction(call("get")), state(allowance=0, storage_usage=10**6), "NotEnoughAllowance"),
        (transaction(call("get")), state(storage_usage=10**6), "LackBalanceForState"),
        (transaction(call("get"), call()), state(), "RequiresFullAccess"),
        (transaction(py_near.create_transfer_action(1)), state(), "RequiresFullAccess"),
        (transaction(call("get", deposit=1), receiver="a.near"), state(), "DepositWithFunctionCall"),
        (transaction(call("get"), receiver="a.near"), state(), "ReceiverMismatch"),
        (transaction(call("get")), state(), "MethodNameMismatch"),
    ],
)
def test_of_several_faults_the_one_that_nearcore_finds_first_is_told(sent, held, told):
    assert fault(sent, held) == told


def test_a_deposit_counts_against_the_allowance():
    sent = transaction(call(deposit=NEAR // 2))
    cost = transaction_cost(sent.signer_id, sent.receiver_id, sent.actions).total
    assert fault(sent, state(allowance=cost - 1)) == "NotEnoughAllowance"
    assert fault(sent, state(allowance=cost)) == "DepositWithFunctionCall"


def test_a_refused_transaction_takes_nothing():
    held = state()
    before = dict(held.changes)
    assert fault(transaction(call("get")), held) == "MethodNameMismatch"
    assert dict(held.changes) == before


async def test_a_forged_copy_does_not_push_the_genuine_transaction_out(manual_client):
    client = manual_client
    signed = await client.sign("alice.test.near", ALICE, COUNTER, [call(gas=30 * TERA)])
    forged = bytearray(base64.b64decode(signed))
    forged[-1] ^= 1
    tx_hash = await client.rpc("broadcast_tx_async", [signed])
    with pytest.raises(RpcFailure) as caught:
        await client.rpc("send_tx", [base64.b64encode(forged).decode()])
    assert caught.value.invalid_tx == "InvalidSignature"
    for _ in range(2):
        await client.chain.produce_block()
    assert (await client.rpc("tx", [tx_hash, "alice.test.near"]))["status"] == {"SuccessValue": "AQAAAAAAAAA="}
