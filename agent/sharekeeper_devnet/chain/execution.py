"""Executing a receipt: its actions in order, all of them or none.

A receipt that fails changes nothing but the balances it refunds. Gas that was bought and not burnt goes back
to the signer, and to the allowance of the key that signed; the deposit of a failed receipt goes back too. Refunds
take effect at once; nearcore sends them as receipts of their own, one block later.
"""

from dataclasses import dataclass, replace

from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.admission import first_nonce
from sharekeeper_devnet.chain.block import ActionFailure, ExecutionOutcome, Status, SuccessValue
from sharekeeper_devnet.chain.fees import GAS_PRICE, RECEIPT, TransactionCost, execution_gas, required_balance
from sharekeeper_devnet.chain.primitives import (
    REGISTRAR_ACCOUNT,
    ZERO_HASH,
    is_implicit_account_id,
    is_sub_account_of,
)
from sharekeeper_devnet.chain.state import Account, ContractStorage, Overlay
from sharekeeper_devnet.chain.transaction import (
    AccessKey,
    Action,
    AddKey,
    CreateAccount,
    DeleteKey,
    DeployContract,
    FullAccess,
    FunctionCall,
    FunctionCallAccess,
    SignedTransaction,
    Transfer,
)
from sharekeeper_devnet.runtime import CallContext, CallFailure, CodeRefusedError, FailureKind, check_code, run
from sharekeeper_devnet.runtime.public_key import Curve, PublicKey


class ActionError(Exception):
    """An action cannot be done; `kind` is the `ActionErrorKind` as clients see it."""

    def __init__(self, kind: object) -> None:
        super().__init__(str(kind))
        self.kind = kind


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockContext:
    """What contracts can know of the block they run in."""

    height: int
    timestamp_ns: int
    epoch_height: int
    random_seed: bytes


class ReceiptRun:
    """One receipt in execution: the transaction it came from, the state it changes, what it has burnt."""

    def __init__(self, transaction: SignedTransaction, state: Overlay, block: BlockContext) -> None:
        self._transaction = transaction
        self._receiver_id = transaction.receiver_id
        self._actor_id = transaction.signer_id
        self._state = Overlay(state)
        self._block = block
        self._gas_burnt = RECEIPT.execution
        self._logs: list[str] = []
        self._value = b""

    @property
    def state(self) -> Overlay:
        """The changes of the receipt."""
        return self._state

    def execute(self) -> ExecutionOutcome:
        """Runs all actions; after a failure `state` must not be merged."""
        return ExecutionOutcome(
            status=self._run_actions(),
            executor_id=self._receiver_id,
            gas_burnt=self._gas_burnt,
            logs=tuple(self._logs),
        )

    def _run_actions(self) -> Status:
        for index, action in enumerate(self._transaction.actions):
            self._gas_burnt += execution_gas(action, self._receiver_id)
            try:
                self._apply(action)
            except ActionError as error:
                return ActionFailure(index=index, kind=error.kind)
        return self._check_storage_balance() or SuccessValue(value=self._value)

    def _check_storage_balance(self) -> ActionFailure | None:
        account = chain_state.read_account(self._state, self._receiver_id)
        if account is None:
            return None
        missing = required_balance(account.storage_usage) - account.amount
        if missing <= 0:
            return None
        kind = {"LackBalanceForState": {"account_id": self._receiver_id, "amount": str(missing)}}
        return ActionFailure(index=None, kind=kind)

    def _apply(self, action: Action) -> None:
        self._value = b""
        match action:
            case CreateAccount():
                self._create_account()
            case Transfer(deposit=deposit):
                self._transfer(deposit)
            case FunctionCall():
                self._call(action)
            case DeployContract(code=code):
                self._deploy(code)
            case AddKey(public_key=public_key, access_key=access_key):
                self._add_key(public_key, access_key)
            case DeleteKey(public_key=public_key):
                self._delete_key(public_key)

    def _account(self) -> Account:
        account = chain_state.read_account(self._state, self._receiver_id)
        if account is None:
            raise ActionError({"AccountDoesNotExist": {"account_id": self._receiver_id}})
        return account

    def _own_account(self) -> Account:
        """The receiver, when the actor may administer it."""
        account = self._account()
        if self._actor_id != self._receiver_id:
            raise ActionError({"ActorNoPermission": {"account_id": self._receiver_id, "actor_id": self._actor_id}})
        return account

    def _write(self, account: Account) -> None:
        chain_state.write_account(self._state, self._receiver_id, account)

    def _create_account(self) -> None:
        account_id, creator = self._receiver_id, self._actor_id
        if chain_state.read_account(self._state, account_id) is not None:
            raise ActionError({"AccountAlreadyExists": {"account_id": account_id}})
        if is_implicit_account_id(account_id):
            raise ActionError({"OnlyImplicitAccountCreationAllowed": {"account_id": account_id}})
        if "." not in account_id and creator != REGISTRAR_ACCOUNT:
            raise ActionError(
                {
                    "CreateAccountOnlyByRegistrar": {
                        "account_id": account_id,
                        "registrar_account_id": REGISTRAR_ACCOUNT,
                        "predecessor_id": creator,
                    }
                }
            )
        if "." in account_id and not is_sub_account_of(account_id, creator):
            raise ActionError({"CreateAccountNotAllowed": {"account_id": account_id, "predecessor_id": creator}})
        self._actor_id = account_id
        self._write(Account(amount=0))

    def _transfer(self, deposit: int) -> None:
        account = chain_state.read_account(self._state, self._receiver_id)
        if account is None and is_implicit_account_id(self._receiver_id):
            self._write(Account(amount=0))
            self._put_key(PublicKey(Curve.ED25519, bytes.fromhex(self._receiver_id)), FullAccess())
        account = self._account()
        self._write(replace(account, amount=account.amount + deposit))

    def _deploy(self, code: bytes) -> None:
        account = self._own_account()
        try:
            check_code(code)
        except CodeRefusedError as error:
            raise _call_error(error.failure) from None
        self._write(chain_state.write_code(self._state, self._receiver_id, account, code))

    def _add_key(self, public_key: PublicKey, access_key: AccessKey) -> None:
        self._own_account()
        if chain_state.read_access_key(self._state, self._receiver_id, public_key) is not None:
            detail = {"account_id": self._receiver_id, "public_key": str(public_key)}
            raise ActionError({"AddKeyAlreadyExists": detail})
        self._put_key(public_key, access_key.permission)

    def _put_key(self, public_key: PublicKey, permission: FullAccess | FunctionCallAccess) -> None:
        key = AccessKey(nonce=first_nonce(self._block.height), permission=permission)
        chain_state.write_access_key(self._state, self._receiver_id, public_key, key)
        account = self._account()
        usage = account.storage_usage + chain_state.access_key_bytes(public_key, key)
        self._write(replace(account, storage_usage=usage))

    def _delete_key(self, public_key: PublicKey) -> None:
        account = self._own_account()
        key = chain_state.read_access_key(self._state, self._receiver_id, public_key)
        if key is None:
            detail = {"account_id": self._receiver_id, "public_key": str(public_key)}
            raise ActionError({"DeleteKeyDoesNotExist": detail})
        chain_state.write_access_key(self._state, self._receiver_id, public_key, None)
        usage = account.storage_usage - chain_state.access_key_bytes(public_key, key)
        self._write(replace(account, storage_usage=usage))

    def _call(self, call: FunctionCall) -> None:
        account = self._account()
        account = replace(account, amount=account.amount + call.deposit)
        if account.code_hash == ZERO_HASH:
            raise ActionError(code_does_not_exist(self._receiver_id))
        code = self._state.get(chain_state.code_key(self._receiver_id)) or b""
        storage = ContractStorage(self._state, self._receiver_id)
        outcome = run(code, call.method_name, self._context(call, account), storage)
        self._gas_burnt += outcome.gas_burnt
        self._logs += outcome.logs
        if outcome.failure is not None:
            raise _call_error(outcome.failure)
        prefix = chain_state.data_prefix(self._receiver_id)
        for key, value in outcome.storage_writes.items():
            self._state.set(prefix + key, value)
        self._value = outcome.return_value
        self._write(replace(account, storage_usage=account.storage_usage + outcome.storage_usage_change))

    def _context(self, call: FunctionCall, account: Account) -> CallContext:
        return CallContext(
            current_account_id=self._receiver_id,
            signer_account_id=self._transaction.signer_id,
            signer_public_key=str(self._transaction.public_key),
            predecessor_account_id=self._transaction.signer_id,
            input=call.args,
            attached_deposit=call.deposit,
            prepaid_gas=call.gas,
            block_height=self._block.height,
            block_timestamp=self._block.timestamp_ns,
            epoch_height=self._block.epoch_height,
            account_balance=account.amount,
            storage_usage=account.storage_usage,
            random_seed=self._block.random_seed,
        )


def code_does_not_exist(account_id: str) -> dict[str, object]:
    """The action error of a call to an account without a contract."""
    return {"FunctionCallError": {"CompilationError": {"CodeDoesNotExist": {"account_id": account_id}}}}


def _call_error(failure: CallFailure) -> ActionError:
    detail: object = failure.detail
    if failure.kind is FailureKind.COMPILATION:
        detail = {"PrepareError": failure.detail}
    return ActionError({"FunctionCallError": {failure.kind.value: detail}})


def execute_receipt(
    transaction: SignedTransaction, cost: TransactionCost, state: Overlay, block: BlockContext
) -> ExecutionOutcome:
    """Executes the receipt of `transaction` on `state` and settles its refunds; `cost` is what was charged for it."""
    receipt = ReceiptRun(transaction, state, block)
    outcome = receipt.execute()
    failed = isinstance(outcome.status, ActionFailure)
    if not failed:
        state.merge(receipt.state)
    unused_gas = max(cost.gas_remaining - outcome.gas_burnt, 0) * GAS_PRICE
    _refund(transaction, state, unused_gas, cost.deposit if failed else 0)
    return outcome


def _refund(transaction: SignedTransaction, state: Overlay, gas_money: int, deposit: int) -> None:
    signer_id, public_key = transaction.signer_id, transaction.public_key
    account = chain_state.read_account(state, signer_id)
    if account is None or gas_money + deposit == 0:
        return
    chain_state.write_account(state, signer_id, replace(account, amount=account.amount + gas_money + deposit))
    key = chain_state.read_access_key(state, signer_id, public_key)
    if key is not None and isinstance(key.permission, FunctionCallAccess) and key.permission.allowance is not None:
        permission = replace(key.permission, allowance=key.permission.allowance + gas_money)
        chain_state.write_access_key(state, signer_id, public_key, replace(key, permission=permission))
