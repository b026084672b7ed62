"""Whether a transaction may be taken up, and what that takes from its signer.

`check_form` needs no state: limits and the signature. `charge` checks against a state and takes nonce and money
out of it: existence, key, nonce, allowance, balance, in nearcore's order.
"""

from dataclasses import replace

from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.fees import TransactionCost, attached_gas, required_balance, transaction_cost
from sharekeeper_devnet.chain.primitives import is_account_id
from sharekeeper_devnet.chain.rejection import (
    InvalidAccessKeyError,
    InvalidActionsError,
    InvalidTransactionError,
    access_key_not_found,
    not_enough_balance,
)
from sharekeeper_devnet.chain.state import Account, Overlay
from sharekeeper_devnet.chain.transaction import (
    AccessKey,
    Action,
    AddKey,
    DeleteAccount,
    DeployContract,
    FunctionCall,
    FunctionCallAccess,
    SignedTransaction,
)
from sharekeeper_devnet.runtime.gas import MAX_GAS
from sharekeeper_devnet.runtime.vm import MAX_CODE_BYTES

MAX_TRANSACTION_BYTES = 1_572_864
MAX_ACTIONS_PER_RECEIPT = 100
MAX_METHOD_NAME_BYTES = 256
MAX_METHOD_NAMES_BYTES = 2_000
MAX_ARGUMENT_BYTES = 4 * 2**20
NONCES_PER_BLOCK = 1_000_000
U128_MAX = 2**128 - 1


def first_nonce(height: int) -> int:
    """The nonce a key starts with when the block of `height` adds it: above all it could have used before."""
    return max(height - 1, 0) * NONCES_PER_BLOCK


def check_form(transaction: SignedTransaction) -> None:
    """Returns when size, actions and signature are in order.

    Raises:
        InvalidTransactionError: they are not.
    """
    check_actions(transaction.actions)
    size = len(transaction.encoded)
    if size > MAX_TRANSACTION_BYTES:
        raise InvalidTransactionError({"TransactionSizeExceeded": {"size": size, "limit": MAX_TRANSACTION_BYTES}})
    if not transaction.has_valid_signature():
        raise InvalidTransactionError("InvalidSignature")


def check_actions(actions: tuple[Action, ...]) -> None:
    """Returns when a transaction or a receipt may have `actions`.

    Raises:
        InvalidActionsError: it may not.
    """
    if any(isinstance(action, DeleteAccount) for action in actions[:-1]):
        raise InvalidActionsError("DeleteActionMustBeFinal")
    if len(actions) > MAX_ACTIONS_PER_RECEIPT:
        raise InvalidActionsError(
            {
                "TotalNumberOfActionsExceeded": {
                    "total_number_of_actions": len(actions),
                    "limit": MAX_ACTIONS_PER_RECEIPT,
                }
            }
        )
    for action in actions:
        _check_action(action)
    prepaid = sum(map(attached_gas, actions))
    if prepaid > MAX_GAS:
        raise InvalidActionsError({"TotalPrepaidGasExceeded": {"total_prepaid_gas": prepaid, "limit": MAX_GAS}})


def _check_action(action: Action) -> None:
    match action:
        case FunctionCall():
            _check_call(action)
        case AddKey(access_key=AccessKey(permission=FunctionCallAccess() as permission)):
            _check_permission(permission)
        case DeployContract(code=code):
            _check_limit("ContractSizeExceeded", "size", len(code), MAX_CODE_BYTES)
        case _:
            return


def _check_call(action: FunctionCall) -> None:
    if action.gas == 0:
        raise InvalidActionsError("FunctionCallZeroAttachedGas")
    if not action.method_name:
        raise InvalidActionsError("FunctionCallEmptyMethodName")
    length = len(action.method_name.encode())
    _check_limit("FunctionCallMethodNameLengthExceeded", "length", length, MAX_METHOD_NAME_BYTES)
    _check_limit("FunctionCallArgumentsLengthExceeded", "length", len(action.args), MAX_ARGUMENT_BYTES)


def _check_permission(permission: FunctionCallAccess) -> None:
    if not is_account_id(permission.receiver_id):
        raise InvalidActionsError({"InvalidAccountId": {"account_id": permission.receiver_id}})
    lengths = [len(name.encode()) for name in permission.method_names]
    for length in lengths:
        _check_limit("AddKeyMethodNameLengthExceeded", "length", length, MAX_METHOD_NAME_BYTES)
    total = sum(lengths) + len(lengths)
    _check_limit("AddKeyMethodNamesNumberOfBytesExceeded", "total_number_of_bytes", total, MAX_METHOD_NAMES_BYTES)


def _check_limit(name: str, field: str, value: int, limit: int) -> None:
    if value > limit:
        raise InvalidActionsError({name: {field: value, "limit": limit}})


def charge(transaction: SignedTransaction, state: Overlay, next_height: int) -> TransactionCost:
    """Takes nonce, cost and allowance out of `state`, for a transaction of the block `next_height`.

    `state` is changed only when nothing is wrong.

    Raises:
        InvalidTransactionError: signer, key, nonce, permission, allowance or balance do not allow it.
    """
    signer_id, public_key = transaction.signer_id, transaction.public_key
    cost = transaction_cost(signer_id, transaction.receiver_id, transaction.actions)
    if cost.total > U128_MAX:
        raise InvalidTransactionError("CostOverflow")
    account = chain_state.read_account(state, signer_id)
    if account is None:
        raise InvalidTransactionError({"SignerDoesNotExist": {"signer_id": signer_id}})
    key = chain_state.read_access_key(state, signer_id, public_key)
    if key is None:
        raise access_key_not_found(signer_id, public_key)
    _check_nonce(transaction.nonce, key.nonce, next_height)
    if account.amount < cost.total:
        raise not_enough_balance(signer_id, account.amount, cost.total)
    charged = replace(account, amount=account.amount - cost.total)
    charged_key = _charge_key(transaction, key, cost)
    _check_storage_balance(signer_id, charged)
    if isinstance(key.permission, FunctionCallAccess):
        _check_function_call_access(transaction, key.permission)
    chain_state.write_account(state, signer_id, charged)
    chain_state.write_access_key(state, signer_id, public_key, charged_key)
    return cost


def _check_nonce(nonce: int, used: int, next_height: int) -> None:
    if nonce <= used:
        raise InvalidTransactionError({"InvalidNonce": {"tx_nonce": nonce, "ak_nonce": used}})
    upper_bound = next_height * NONCES_PER_BLOCK
    if nonce >= upper_bound:
        raise InvalidTransactionError({"NonceTooLarge": {"tx_nonce": nonce, "upper_bound": upper_bound}})


def _check_function_call_access(transaction: SignedTransaction, permission: FunctionCallAccess) -> None:
    match transaction.actions:
        case (FunctionCall() as call,):
            pass
        case _:
            raise InvalidAccessKeyError("RequiresFullAccess")
    if call.deposit > 0:
        raise InvalidAccessKeyError("DepositWithFunctionCall")
    if transaction.receiver_id != permission.receiver_id:
        raise InvalidAccessKeyError(
            {"ReceiverMismatch": {"tx_receiver": transaction.receiver_id, "ak_receiver": permission.receiver_id}}
        )
    if permission.method_names and call.method_name not in permission.method_names:
        raise InvalidAccessKeyError({"MethodNameMismatch": {"method_name": call.method_name}})


def _charge_key(transaction: SignedTransaction, key: AccessKey, cost: TransactionCost) -> AccessKey:
    """The key with the transaction's nonce and what is left of its allowance, which also bears the deposit."""
    permission = key.permission
    if not isinstance(permission, FunctionCallAccess) or permission.allowance is None:
        return AccessKey(nonce=transaction.nonce, permission=permission)
    if permission.allowance < cost.total:
        raise InvalidAccessKeyError(
            {
                "NotEnoughAllowance": {
                    "account_id": transaction.signer_id,
                    "public_key": str(transaction.public_key),
                    "allowance": str(permission.allowance),
                    "cost": str(cost.total),
                }
            }
        )
    left = replace(permission, allowance=permission.allowance - cost.total)
    return AccessKey(nonce=transaction.nonce, permission=left)


def _check_storage_balance(signer_id: str, account: Account) -> None:
    missing = required_balance(account.storage_usage) - account.amount
    if missing > 0:
        raise InvalidTransactionError({"LackBalanceForState": {"signer_id": signer_id, "amount": str(missing)}})
