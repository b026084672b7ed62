"""The host functions that make promises, as a contract imports them from `env`.

Making a receipt burns the gas of sending it and reserves the gas of executing it; a call also reserves the gas it
is given. Deposits leave the account's balance at once. `promise_batch_action_stake` is not served: a dev chain has
no validators to stake with, so a contract that calls it traps with its name.
"""

from sharekeeper_devnet.runtime import faults, fees, gas
from sharekeeper_devnet.runtime.account_id import is_account_id
from sharekeeper_devnet.runtime.actions import (
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
from sharekeeper_devnet.runtime.host import BALANCE_BYTES, Host, env
from sharekeeper_devnet.runtime.public_key import KEY_BYTES, Curve, PublicKey

MAX_CODE_BYTES = 4 * 2**20
MAX_YIELD_PAYLOAD_BYTES = 1_024
DATA_ID_BYTES = 32
INDEX_BYTES = 8
SUCCESSFUL, FAILED = 1, 2


# arguments


def _amount(host: Host, pointer: int) -> int:
    return int.from_bytes(host.read(BALANCE_BYTES, pointer), "little")


def _account_id(host: Host, length: int, pointer: int) -> str:
    data = host.read(length, pointer)
    host.meter.charge(gas.UTF8_BASE + gas.UTF8_BYTE * len(data))
    text = data.decode(errors="replace")
    if not is_account_id(text):
        raise faults.HostFaultError("InvalidAccountId", "VM Logic returned an invalid account id")
    return text


def _public_key(host: Host, length: int, pointer: int) -> PublicKey:
    borsh = host.read(length, pointer)
    if not borsh or borsh[0] not in KEY_BYTES or len(borsh) - 1 != KEY_BYTES[Curve(borsh[0])]:
        raise faults.HostFaultError("InvalidPublicKey", "VM Logic provided an invalid public key")
    return PublicKey(Curve(borsh[0]), borsh[1:])


def _method_name(name: bytes) -> str:
    if not name:
        raise faults.HostFaultError("EmptyMethodName", "Tried to call an empty method name.")
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise faults.HostFaultError("InvalidMethodName", "VM Logic returned an invalid method name") from None


def _call(host: Host, method: tuple[int, int], args: tuple[int, int], amount_pointer: int, call_gas: int) -> Action:
    """The call that a contract describes by (length, pointer) of its method and arguments."""
    return FunctionCall(
        deposit=_amount(host, amount_pointer),
        method_name=_method_name(host.read(*method)),
        args=host.read(*args),
        gas=call_gas,
    )


# payment


def _pay_for_receipt(host: Host, receiver_id: str, after: tuple[int, ...] = ()) -> None:
    sir = receiver_id == host.context.current_account_id
    burnt = fees.RECEIPT.send(sir=sir)
    for receipt in after:
        same = host.promises.receiver_of(receipt) == receiver_id
        burnt += fees.DATA_RECEIPT.send(sir=same) + fees.DATA_RECEIPT.execution
    host.meter.charge(burnt)
    host.meter.reserve(fees.RECEIPT.execution)


def _append(host: Host, promise: int, action: Action, weight: int = 0) -> None:
    """`action` is paid for and the last of the promise's receipt."""
    receipt = host.promises.receipt_of(promise)
    receiver_id = host.promises.receiver_of(receipt)
    sir = receiver_id == host.context.current_account_id
    host.meter.charge(fees.send_gas(action, receiver_id, sir=sir))
    host.meter.reserve(fees.execution_gas(action, receiver_id) + fees.attached_gas(action))
    host.spend(fees.deposit(action))
    host.promises.append(receipt, action, weight)


# promises


@env("i64 i64", "i64")
def promise_batch_create(host: Host, length: int, pointer: int) -> int:
    """A promise of a receipt without actions."""
    host.refuse_in_view("promise_batch_create")
    receiver_id = _account_id(host, length, pointer)
    _pay_for_receipt(host, receiver_id)
    return host.promises.create(receiver_id)


@env("i64 i64 i64", "i64")
def promise_batch_then(host: Host, promise: int, length: int, pointer: int) -> int:
    """A promise of a receipt that sees the results of `promise`."""
    host.refuse_in_view("promise_batch_then")
    receiver_id = _account_id(host, length, pointer)
    after = host.promises.receipts_of(promise)
    _pay_for_receipt(host, receiver_id, after)
    return host.promises.create(receiver_id, after)


@env("i64 i64 i64 i64 i64 i64 i64 i64", "i64")
def promise_create(  # noqa: PLR0917 - the signature NEAR gives it
    host: Host,
    length: int,
    pointer: int,
    method_length: int,
    method_pointer: int,
    args_length: int,
    args_pointer: int,
    amount_pointer: int,
    call_gas: int,
) -> int:
    """A promise of one call."""
    promise = promise_batch_create(host, length, pointer)
    method, args = (method_length, method_pointer), (args_length, args_pointer)
    _append(host, promise, _call(host, method, args, amount_pointer, call_gas))
    return promise


@env("i64 i64 i64 i64 i64 i64 i64 i64 i64", "i64")
def promise_then(  # noqa: PLR0917 - the signature NEAR gives it
    host: Host,
    promise: int,
    length: int,
    pointer: int,
    method_length: int,
    method_pointer: int,
    args_length: int,
    args_pointer: int,
    amount_pointer: int,
    call_gas: int,
) -> int:
    """A promise of one call that sees the results of `promise`."""
    following = promise_batch_then(host, promise, length, pointer)
    method, args = (method_length, method_pointer), (args_length, args_pointer)
    _append(host, following, _call(host, method, args, amount_pointer, call_gas))
    return following


@env("i64 i64", "i64")
def promise_and(host: Host, pointer: int, count: int) -> int:
    """A promise of `count` promises together; their indices lie at `pointer`, 8 bytes each."""
    host.refuse_in_view("promise_and")
    host.meter.charge(gas.PROMISE_AND_BASE + gas.PROMISE_AND_EACH * count)
    data = host.read(count * INDEX_BYTES, pointer)
    indices = (data[at : at + INDEX_BYTES] for at in range(0, len(data), INDEX_BYTES))
    return host.promises.join(tuple(int.from_bytes(index, "little") for index in indices))


# actions


@env("i64")
def promise_batch_action_create_account(host: Host, promise: int) -> None:
    """The receipt creates its receiver."""
    host.refuse_in_view("promise_batch_action_create_account")
    _append(host, promise, CreateAccount())


@env("i64 i64 i64")
def promise_batch_action_deploy_contract(host: Host, promise: int, length: int, pointer: int) -> None:
    """The receipt deploys code."""
    host.refuse_in_view("promise_batch_action_deploy_contract")
    code = host.read(length, pointer)
    if len(code) > MAX_CODE_BYTES:
        raise faults.over_limit("ContractSizeExceeded", "a contract code", len(code), MAX_CODE_BYTES)
    _append(host, promise, DeployContract(code=code))


@env("i64 i64 i64 i64 i64 i64 i64")
def promise_batch_action_function_call(  # noqa: PLR0917 - the signature NEAR gives it
    host: Host,
    promise: int,
    method_length: int,
    method_pointer: int,
    args_length: int,
    args_pointer: int,
    amount_pointer: int,
    call_gas: int,
) -> None:
    """The receipt calls its receiver."""
    host.refuse_in_view("promise_batch_action_function_call")
    method, args = (method_length, method_pointer), (args_length, args_pointer)
    _append(host, promise, _call(host, method, args, amount_pointer, call_gas))


@env("i64 i64 i64 i64 i64 i64 i64 i64")
def promise_batch_action_function_call_weight(  # noqa: PLR0917 - the signature NEAR gives it
    host: Host,
    promise: int,
    method_length: int,
    method_pointer: int,
    args_length: int,
    args_pointer: int,
    amount_pointer: int,
    call_gas: int,
    weight: int,
) -> None:
    """The receipt calls its receiver with `call_gas` and a share of the gas that this call leaves over."""
    host.refuse_in_view("promise_batch_action_function_call_weight")
    method, args = (method_length, method_pointer), (args_length, args_pointer)
    _append(host, promise, _call(host, method, args, amount_pointer, call_gas), weight)


@env("i64 i64")
def promise_batch_action_transfer(host: Host, promise: int, amount_pointer: int) -> None:
    """The receipt brings money."""
    host.refuse_in_view("promise_batch_action_transfer")
    _append(host, promise, Transfer(deposit=_amount(host, amount_pointer)))


@env("i64 i64 i64 i64")
def promise_batch_action_add_key_with_full_access(
    host: Host, promise: int, length: int, pointer: int, nonce: int
) -> None:
    """The receipt adds a key that may sign anything."""
    host.refuse_in_view("promise_batch_action_add_key_with_full_access")
    key = _public_key(host, length, pointer)
    _append(host, promise, AddKey(public_key=key, access_key=AccessKey(nonce=nonce, permission=FullAccess())))


@env("i64 i64 i64 i64 i64 i64 i64 i64 i64")
def promise_batch_action_add_key_with_function_call(  # noqa: PLR0917 - the signature NEAR gives it
    host: Host,
    promise: int,
    length: int,
    pointer: int,
    nonce: int,
    allowance_pointer: int,
    receiver_length: int,
    receiver_pointer: int,
    names_length: int,
    names_pointer: int,
) -> None:
    """The receipt adds a key for calls; an allowance of zero is none, method names are separated by commas."""
    host.refuse_in_view("promise_batch_action_add_key_with_function_call")
    key = _public_key(host, length, pointer)
    allowance = _amount(host, allowance_pointer)
    receiver_id = _account_id(host, receiver_length, receiver_pointer)
    names = host.read(names_length, names_pointer)
    permission = FunctionCallAccess(
        allowance=allowance or None,
        receiver_id=receiver_id,
        method_names=tuple(map(_method_name, names.split(b","))) if names else (),
    )
    _append(host, promise, AddKey(public_key=key, access_key=AccessKey(nonce=nonce, permission=permission)))


@env("i64 i64 i64")
def promise_batch_action_delete_key(host: Host, promise: int, length: int, pointer: int) -> None:
    """The receipt removes a key."""
    host.refuse_in_view("promise_batch_action_delete_key")
    _append(host, promise, DeleteKey(public_key=_public_key(host, length, pointer)))


@env("i64 i64 i64")
def promise_batch_action_delete_account(host: Host, promise: int, length: int, pointer: int) -> None:
    """The receipt ends its receiver."""
    host.refuse_in_view("promise_batch_action_delete_account")
    _append(host, promise, DeleteAccount(beneficiary_id=_account_id(host, length, pointer)))


# yield and resume


@env("i64 i64 i64 i64 i64 i64 i64", "i64")
def promise_yield_create(  # noqa: PLR0917 - the signature NEAR gives it
    host: Host,
    method_length: int,
    method_pointer: int,
    args_length: int,
    args_pointer: int,
    call_gas: int,
    weight: int,
    register_id: int,
) -> int:
    """A promise of a call of the contract's own that waits to be resumed; the register holds its data id."""
    host.refuse_in_view("promise_yield_create")
    host.meter.charge(gas.YIELD_CREATE_BASE)
    name, args = _method_name(host.read(method_length, method_pointer)), host.read(args_length, args_pointer)
    host.meter.charge(gas.YIELD_CREATE_BYTE * (len(name.encode()) + len(args)))
    account_id = host.context.current_account_id
    host.meter.charge(fees.DATA_RECEIPT.send(sir=True) + fees.DATA_RECEIPT.execution)
    _pay_for_receipt(host, account_id)
    promise, data_id = host.promises.create_yield(account_id)
    _append(host, promise, FunctionCall(method_name=name, args=args, gas=call_gas, deposit=0), weight)
    host.to_register(register_id, data_id)
    return promise


@env("i64 i64 i64 i64", "i32")
def promise_yield_resume(
    host: Host, data_id_length: int, data_id_pointer: int, payload_length: int, payload_pointer: int
) -> int:
    """1 when a call of this contract waits under the data id: it gets the payload. Else 0."""
    host.refuse_in_view("promise_yield_resume")
    host.meter.charge(gas.YIELD_RESUME_BASE)
    payload = host.read(payload_length, payload_pointer)
    host.meter.charge(gas.YIELD_RESUME_BYTE * len(payload))
    data_id = host.read(data_id_length, data_id_pointer)
    if len(payload) > MAX_YIELD_PAYLOAD_BYTES:
        raise faults.HostFaultError(
            "YieldPayloadLength",
            f"Yield resume payload is {len(payload)} bytes which exceeds the {MAX_YIELD_PAYLOAD_BYTES} byte limit",
            fields=f"length: {len(payload)}, limit: {MAX_YIELD_PAYLOAD_BYTES}",
        )
    if len(data_id) != DATA_ID_BYTES:
        raise faults.HostFaultError("DataIdMalformed", "Data Id has to be 32 bytes.")
    return int(host.promises.resume(data_id, payload))


# results


@env("", "i64")
def promise_results_count(host: Host) -> int:
    """How many results this call waited for."""
    host.refuse_in_view("promise_results_count")
    return len(host.context.promise_results)


@env("i64 i64", "i64")
def promise_result(host: Host, index: int, register_id: int) -> int:
    """1 when the result is there, which the register then holds; 2 when what it waited for failed."""
    host.refuse_in_view("promise_result")
    results = host.context.promise_results
    if index >= len(results):
        raise faults.invalid_index(
            "InvalidPromiseResultIndex", f"Accessed invalid promise result index: {index}", "result_idx", index
        )
    data = results[index]
    if data is None:
        return FAILED
    host.to_register(register_id, data)
    return SUCCESSFUL


@env("i64")
def promise_return(host: Host, promise: int) -> None:
    """The result of this call is that of `promise`."""
    host.refuse_in_view("promise_return")
    host.meter.charge(gas.PROMISE_RETURN)
    host.promises.give_back(promise)
