"""What receipts and actions cost beside contract execution, with nearcore's parameters, in gas units.

A fee is paid once when a receipt is sent (`send_sir` when sender is receiver) and once when it is executed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sharekeeper_devnet.runtime.account_id import is_implicit_account_id
from sharekeeper_devnet.runtime.actions import (
    Action,
    AddKey,
    CreateAccount,
    DeleteAccount,
    DeleteKey,
    DeployContract,
    FunctionCall,
    FunctionCallAccess,
    Transfer,
)


@dataclass(frozen=True, slots=True)
class Fee:
    """Gas units of one action or one byte."""

    send_sir: int
    send_not_sir: int
    execution: int

    def send(self, *, sir: bool) -> int:
        """The sending part; `sir` says that sender is receiver."""
        return self.send_sir if sir else self.send_not_sir


def _same(gas: int) -> Fee:
    return Fee(gas, gas, gas)


RECEIPT = _same(108_059_500_000)
CREATE_ACCOUNT = _same(3_850_000_000_000)
DEPLOY_BASE = _same(184_765_750_000)
DEPLOY_BYTE = Fee(6_812_999, 47_683_715, 64_572_944)
CALL_BASE = Fee(200_000_000_000, 200_000_000_000, 780_000_000_000)
CALL_BYTE = Fee(2_235_934, 47_683_715, 2_235_934)
TRANSFER = _same(115_123_062_500)
FULL_KEY = _same(101_765_125_000)
CALL_KEY_BASE = _same(102_217_625_000)
CALL_KEY_BYTE = Fee(1_925_331, 47_683_715, 1_925_331)
DELETE_KEY = _same(94_946_625_000)
DELETE_ACCOUNT = _same(147_489_000_000)
DATA_RECEIPT = _same(36_486_732_312)
DATA_RECEIPT_BYTE = Fee(17_212_011, 47_683_715, 17_212_011)


def _parts(action: Action, receiver_id: str) -> Iterable[tuple[Fee, int]]:
    """Fees of one action, each with how often it is due."""
    match action:
        case CreateAccount():
            yield CREATE_ACCOUNT, 1
        case DeployContract(code=code):
            yield DEPLOY_BASE, 1
            yield DEPLOY_BYTE, len(code)
        case FunctionCall(method_name=name, args=args):
            yield CALL_BASE, 1
            yield CALL_BYTE, len(name.encode()) + len(args)
        case Transfer():
            yield TRANSFER, 1
            if is_implicit_account_id(receiver_id):
                yield CREATE_ACCOUNT, 1
                yield FULL_KEY, 1
        case AddKey(access_key=key) if isinstance(key.permission, FunctionCallAccess):
            yield CALL_KEY_BASE, 1
            yield CALL_KEY_BYTE, sum(len(name.encode()) + 1 for name in key.permission.method_names)
        case AddKey():
            yield FULL_KEY, 1
        case DeleteKey():
            yield DELETE_KEY, 1
        case DeleteAccount():
            yield DELETE_ACCOUNT, 1


def send_gas(action: Action, receiver_id: str, *, sir: bool) -> int:
    """Gas to send `action` to `receiver_id`."""
    return sum(fee.send(sir=sir) * times for fee, times in _parts(action, receiver_id))


def execution_gas(action: Action, receiver_id: str) -> int:
    """Gas to execute `action` on `receiver_id`, contract execution not included."""
    return sum(fee.execution * times for fee, times in _parts(action, receiver_id))


def deposit(action: Action) -> int:
    """YoctoNEAR that moves with the action."""
    return action.deposit if isinstance(action, FunctionCall | Transfer) else 0


def attached_gas(action: Action) -> int:
    """Gas attached to the action for contract execution."""
    return action.gas if isinstance(action, FunctionCall) else 0
