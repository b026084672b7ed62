"""Executing a receipt: its actions in order, all of them or none.

A receipt that fails changes nothing; the receipts its calls asked for are never made. Gas that was bought and
neither burnt nor given on goes back to the signer, and to the allowance of the key that signed; the deposit of a
failed receipt goes back to who sent it. Refunds are receipts of their own, as everything that reaches another
account: they run in a later block.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.admission import check_actions, first_nonce
from sharekeeper_devnet.chain.block import ActionFailure, ExecutionOutcome, Status, SuccessReceipt, SuccessValue
from sharekeeper_devnet.chain.fees import RECEIPT, bought_gas, deposit, execution_gas, required_balance
from sharekeeper_devnet.chain.primitives import (
    REGISTRAR_ACCOUNT,
    ZERO_HASH,
    is_implicit_account_id,
    is_sub_account_of,
    sha256,
)
from sharekeeper_devnet.chain.receipt import ActionReceipt, DataReceipt, Receipt, Unmade, receipt_id, refund
from sharekeeper_devnet.chain.rejection import InvalidActionsError
from sharekeeper_devnet.chain.state import Account, ContractStorage, ContractYields, Overlay
from sharekeeper_devnet.chain.transaction import (
    AccessKey,
    Action,
    AddKey,
    CreateAccount,
    DeleteAccount,
    DeleteKey,
    DeployContract,
    FullAccess,
    FunctionCall,
    FunctionCallAccess,
    Transfer,
)
from sharekeeper_devnet.runtime import (
    CallContext,
    CallFailure,
    CodeRefusedError,
    FailureKind,
    NewReceipt,
    Outcome,
    check_code,
    run,
)
from sharekeeper_devnet.runtime.public_key import Curve, PublicKey

MAX_DELETED_BYTES = 10_000
"""An account with more state than this, code not counted, cannot be deleted."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What executing a receipt did, and the receipts it made: promises, refunds, data for those who wait."""

    outcome: ExecutionOutcome
    receipts: tuple[Receipt, ...]


class ReceiptRun:
    """One action receipt in execution: the state it changes, what it has burnt, the receipts it makes."""

    def __init__(
        self,
        receipt: Receipt,
        body: ActionReceipt,
        results: tuple[bytes | None, ...],
        state: Overlay,
        block: BlockContext,
    ) -> None:
        """`results` are those that the receipt waited for; `state` is what its changes are merged into."""
        self._receipt = receipt
        self._body = body
        self._results = results
        self._receiver_id = receipt.receiver_id
        self._actor_id = receipt.predecessor_id
        self._below = state
        self._state = Overlay(state)
        self._block = block
        self._gas_burnt = RECEIPT.execution
        self._gas_reserved = 0
        self._logs: list[str] = []
        self._value = b""
        self._returned: int | None = None
        self._made: list[Unmade] = []

    def execute(self) -> Execution:
        """Runs all actions; after a failure the state is as before, and refunds and failed data are all it makes."""
        status = self._run_actions()
        made = self._settle(isinstance(status, ActionFailure))
        receipts = tuple(
            Receipt(id=receipt_id(self._receipt.id, index), predecessor_id=predecessor, receiver_id=receiver, body=body)
            for index, (predecessor, receiver, body) in enumerate(made)
        )
        if self._returned is not None and not isinstance(status, ActionFailure):
            status = SuccessReceipt(receipt_id=receipts[self._returned].id)
        outcome = ExecutionOutcome(
            status=status,
            executor_id=self._receiver_id,
            gas_burnt=self._gas_burnt,
            tokens_burnt=self._gas_burnt * self._body.gas_price,
            logs=tuple(self._logs),
            receipt_ids=tuple(each.id for each in receipts if each.is_action),
        )
        return Execution(outcome=outcome, receipts=receipts)

    def _settle(self, failed: bool) -> list[Unmade]:
        """The receipts that go out, and the changes that stay."""
        if failed:
            return [*self._refunds(failed=True), *self._results_for_receivers(None)]
        self._below.merge(self._state)
        if self._returned is None:
            return [*self._made, *self._refunds(failed=False), *self._results_for_receivers(self._value)]
        self._made[self._returned] = self._with_receivers(self._made[self._returned])
        return [*self._made, *self._refunds(failed=False)]

    def _with_receivers(self, made: Unmade) -> Unmade:
        """`made`, whose result goes to whoever waits for that of this receipt."""
        predecessor, receiver, body = made
        if isinstance(body, ActionReceipt):
            receivers = (*body.output_data_receivers, *self._body.output_data_receivers)
            body = replace(body, output_data_receivers=receivers)
        return predecessor, receiver, body

    def _refunds(self, *, failed: bool) -> Iterator[Unmade]:
        """The deposit of a failed receipt to who sent it, gas that was not used to who signed."""
        if self._receipt.is_refund:
            return
        deposits = sum(map(deposit, self._body.actions)) if failed else 0
        if deposits:
            yield refund(self._receipt.predecessor_id, deposits)
        used = self._gas_burnt + (0 if failed else self._gas_reserved)
        unused = bought_gas(self._receiver_id, self._body.actions) - used
        if unused > 0:
            yield refund(self._body.signer_id, unused * self._body.gas_price, self._body.signer_public_key)

    def _results_for_receivers(self, data: bytes | None) -> Iterator[Unmade]:
        for receiver in self._body.output_data_receivers:
            yield self._receiver_id, receiver.receiver_id, DataReceipt(data_id=receiver.data_id, data=data)

    def _run_actions(self) -> Status:
        for index, action in enumerate(self._body.actions):
            self._gas_burnt += execution_gas(action, self._receiver_id)
            try:
                self._apply(index, action)
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

    def _apply(self, index: int, action: Action) -> None:
        self._value, self._returned = b"", None
        match action:
            case CreateAccount():
                self._create_account()
            case Transfer(deposit=amount):
                self._transfer(amount)
            case FunctionCall():
                self._call(index, action)
            case DeployContract(code=code):
                self._deploy(code)
            case AddKey(public_key=public_key, access_key=access_key):
                self._add_key(public_key, access_key)
            case DeleteKey(public_key=public_key):
                self._delete_key(public_key)
            case DeleteAccount(beneficiary_id=beneficiary_id):
                self._delete_account(beneficiary_id)

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

    def _transfer(self, amount: int) -> None:
        account = chain_state.read_account(self._state, self._receiver_id)
        if account is None and is_implicit_account_id(self._receiver_id) and not self._receipt.is_refund:
            self._write(Account(amount=0))
            self._put_key(PublicKey(Curve.ED25519, bytes.fromhex(self._receiver_id)), FullAccess())
        account = self._account()
        self._write(replace(account, amount=account.amount + amount))
        if self._receipt.is_refund:
            self._restore_allowance(amount)

    def _restore_allowance(self, amount: int) -> None:
        """Gas that was not used no longer counts against the allowance of the key that bought it."""
        public_key = self._body.signer_public_key
        key = chain_state.read_access_key(self._state, self._receiver_id, public_key)
        if key is None or not isinstance(key.permission, FunctionCallAccess) or key.permission.allowance is None:
            return
        permission = replace(key.permission, allowance=key.permission.allowance + amount)
        chain_state.write_access_key(self._state, self._receiver_id, public_key, replace(key, permission=permission))

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

    def _delete_account(self, beneficiary_id: str) -> None:
        account = self._own_account()
        code_bytes = len(self._state.get(chain_state.code_key(self._receiver_id)) or b"")
        if account.storage_usage - code_bytes > MAX_DELETED_BYTES:
            raise ActionError({"DeleteAccountWithLargeState": {"account_id": self._receiver_id}})
        chain_state.remove_account(self._state, self._receiver_id)
        self._actor_id = self._receipt.predecessor_id
        if account.amount:
            self._made.append(refund(beneficiary_id, account.amount))

    def _call(self, index: int, call: FunctionCall) -> None:
        account = self._account()
        account = replace(account, amount=account.amount + call.deposit)
        if account.code_hash == ZERO_HASH:
            raise ActionError(code_does_not_exist(self._receiver_id))
        code = self._state.get(chain_state.code_key(self._receiver_id)) or b""
        storage = ContractStorage(self._state, self._receiver_id)
        yielded = ContractYields(self._state, self._receiver_id)
        outcome = run(code, call.method_name, self._context(index, call, account), storage, yielded)
        self._gas_burnt += outcome.gas_burnt
        self._logs += outcome.logs
        if outcome.failure is not None:
            raise _call_error(outcome.failure)
        self._gas_reserved += outcome.gas_reserved
        self._take_over(account, outcome)

    def _take_over(self, account: Account, outcome: Outcome) -> None:
        """Writes and promises of a call that succeeded."""
        prefix = chain_state.data_prefix(self._receiver_id)
        for key, value in outcome.storage_writes.items():
            self._state.set(prefix + key, value)
        usage = account.storage_usage + outcome.storage_usage_change
        self._write(replace(account, amount=account.amount - outcome.spent, storage_usage=usage))
        self._value = outcome.return_value
        self._returned = None if outcome.returned is None else len(self._made) + outcome.returned
        for new in outcome.receipts:
            self._make(new)
        for resumption in outcome.resumptions:
            data = DataReceipt(
                data_id=resumption.data_id, data=resumption.data, is_promise_resume=resumption.is_promise_resume
            )
            self._made.append((self._receiver_id, self._receiver_id, data))

    def _make(self, new: NewReceipt) -> None:
        try:
            check_actions(new.actions)
        except InvalidActionsError as error:
            raise ActionError({"NewReceiptValidationError": error.reason}) from None
        body = ActionReceipt(
            signer_id=self._body.signer_id,
            signer_public_key=self._body.signer_public_key,
            actions=new.actions,
            output_data_receivers=new.output_data_receivers,
            input_data_ids=new.input_data_ids,
            is_promise_yield=new.is_promise_yield,
        )
        self._made.append((self._receiver_id, new.receiver_id, body))
        for data_id in new.input_data_ids if new.is_promise_yield else ():
            self._state.set(chain_state.yield_key(self._receiver_id, data_id), b"")

    def _context(self, index: int, call: FunctionCall, account: Account) -> CallContext:
        is_last = index == len(self._body.actions) - 1
        receivers = self._body.output_data_receivers if is_last else ()
        return CallContext(
            current_account_id=self._receiver_id,
            signer_account_id=self._body.signer_id,
            signer_public_key=str(self._body.signer_public_key),
            predecessor_account_id=self._receipt.predecessor_id,
            input=call.args,
            attached_deposit=call.deposit,
            prepaid_gas=call.gas,
            block_height=self._block.height,
            block_timestamp=self._block.timestamp_ns,
            epoch_height=self._block.epoch_height,
            account_balance=account.amount,
            storage_usage=account.storage_usage,
            random_seed=self._block.random_seed,
            promise_results=self._results,
            output_receiver_ids=tuple(each.receiver_id for each in receivers),
            action_id=sha256(b"action", self._receipt.id, index.to_bytes(8, "little")),
        )


def code_does_not_exist(account_id: str) -> dict[str, object]:
    """The action error of a call to an account without a contract."""
    return {"FunctionCallError": {"CompilationError": {"CodeDoesNotExist": {"account_id": account_id}}}}


def _call_error(failure: CallFailure) -> ActionError:
    detail: object = failure.detail
    if failure.kind is FailureKind.COMPILATION:
        detail = {"PrepareError": failure.detail}
    return ActionError({"FunctionCallError": {failure.kind.value: detail}})
