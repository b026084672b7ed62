"""The host functions a contract imports from `env`.

Pointers, lengths and register ids arrive as unsigned 64-bit integers. A length of `NO_LENGTH` means that the
pointer beside it is a register id. Every function pays for what it reads and writes before it acts.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sharekeeper_devnet.runtime import faults, fees, gas
from sharekeeper_devnet.runtime.promises import PromiseBook
from sharekeeper_devnet.runtime.public_key import PublicKey
from sharekeeper_devnet.runtime.values import CallContext, Storage

NO_LENGTH = 2**64 - 1
MAX_REGISTERS = 100
MAX_REGISTER_BYTES = 100 * 2**20
MAX_KEY_BYTES = 2048
MAX_VALUE_BYTES = 4 * 2**20
MAX_RETURN_BYTES = 4 * 2**20
MAX_LOGS = 100
MAX_LOG_BYTES = 16 * 2**10
RECORD_OVERHEAD_BYTES = 40
ED25519_KEY_BYTES, ED25519_SIGNATURE_BYTES = 32, 64
BALANCE_BYTES = 16


class Memory(Protocol):
    """The wasm memory of the running instance."""

    def size(self) -> int:
        """Bytes."""

    def read(self, start: int, length: int) -> bytes:
        """A copy; the caller has checked the bounds."""

    def write(self, start: int, data: bytes) -> None:
        """The caller has checked the bounds."""


class Meter(Protocol):
    """Counts gas down."""

    def charge(self, amount: int) -> None:
        """Burns `amount`; raises HostFaultError when less is left."""

    def reserve(self, amount: int) -> None:
        """Sets `amount` aside for receipts; raises HostFaultError when less is left."""

    def used(self) -> int:
        """Gas burnt and set aside so far."""


@dataclass(frozen=True, slots=True)
class HostFunction:
    """A host function with its wasm signature, each type `i32` or `i64`."""

    call: Callable[..., int | None]
    params: tuple[str, ...]
    results: tuple[str, ...]


HOST_FUNCTIONS: dict[str, HostFunction] = {}

Function = TypeVar("Function", bound=Callable[..., Any])


def env(params: str, results: str = "") -> Callable[[Function], Function]:
    """Serves the decorated method to contracts under its own name; types are separated by spaces."""

    def register(function: Function) -> Function:
        HOST_FUNCTIONS[function.__name__] = HostFunction(function, tuple(params.split()), tuple(results.split()))
        return function

    return register


class Host:
    """One call's view of the world: registers, context, storage overlay, logs, promises, return value."""

    def __init__(
        self, context: CallContext, storage: Storage, memory: Memory, meter: Meter, promises: PromiseBook
    ) -> None:
        self.context = context
        self.memory = memory
        self.meter = meter
        self.promises = promises
        self.balance = context.account_balance
        self.logs: list[str] = []
        self.return_value = b""
        self.writes: dict[bytes, bytes | None] = {}
        self.storage_usage_change = 0
        self._storage = storage
        self._registers: dict[int, bytes] = {}
        self._log_bytes = 0

    # memory and registers

    def _check_bounds(self, start: int, length: int) -> None:
        if start + length > self.memory.size():
            raise faults.memory_access_violation()

    def read(self, length: int, pointer: int) -> bytes:
        """The bytes at `pointer`, or of the register `pointer` when the length is `NO_LENGTH`."""
        if length == NO_LENGTH:
            return self._from_register(pointer)
        self.meter.charge(gas.READ_MEMORY_BASE + gas.READ_MEMORY_BYTE * length)
        self._check_bounds(pointer, length)
        return self.memory.read(pointer, length)

    def _write(self, pointer: int, data: bytes) -> None:
        self.meter.charge(gas.WRITE_MEMORY_BASE + gas.WRITE_MEMORY_BYTE * len(data))
        self._check_bounds(pointer, len(data))
        self.memory.write(pointer, data)

    def _from_register(self, register_id: int) -> bytes:
        data = self._registers.get(register_id)
        if data is None:
            raise faults.invalid_register(register_id)
        self.meter.charge(gas.READ_REGISTER_BASE + gas.READ_REGISTER_BYTE * len(data))
        return data

    def to_register(self, register_id: int, data: bytes) -> None:
        """The register holds `data`."""
        self.meter.charge(gas.WRITE_REGISTER_BASE + gas.WRITE_REGISTER_BYTE * len(data))
        too_many = register_id not in self._registers and len(self._registers) >= MAX_REGISTERS
        if too_many or len(data) > MAX_REGISTER_BYTES:
            raise faults.memory_access_violation()
        self._registers[register_id] = data

    @env("i64 i64")
    def read_register(self, register_id: int, pointer: int) -> None:
        self._write(pointer, self._from_register(register_id))

    @env("i64", "i64")
    def register_len(self, register_id: int) -> int:
        data = self._registers.get(register_id)
        return NO_LENGTH if data is None else len(data)

    @env("i64 i64 i64")
    def write_register(self, register_id: int, length: int, pointer: int) -> None:
        self.to_register(register_id, self.read(length, pointer))

    # context

    def refuse_in_view(self, method_name: str) -> None:
        """Returns when the call is no view."""
        if self.context.is_view:
            raise faults.prohibited_in_view(method_name)

    @env("i64")
    def current_account_id(self, register_id: int) -> None:
        self.to_register(register_id, self.context.current_account_id.encode())

    @env("i64")
    def signer_account_id(self, register_id: int) -> None:
        self.refuse_in_view("signer_account_id")
        self.to_register(register_id, self.context.signer_account_id.encode())

    @env("i64")
    def signer_account_pk(self, register_id: int) -> None:
        self.refuse_in_view("signer_account_pk")
        self.to_register(register_id, PublicKey.from_text(self.context.signer_public_key).borsh)

    @env("i64")
    def predecessor_account_id(self, register_id: int) -> None:
        self.refuse_in_view("predecessor_account_id")
        self.to_register(register_id, self.context.predecessor_account_id.encode())

    @env("i64")
    def input(self, register_id: int) -> None:
        self.to_register(register_id, self.context.input)

    @env("", "i64")
    def block_index(self) -> int:
        return self.context.block_height

    @env("", "i64")
    def block_timestamp(self) -> int:
        return self.context.block_timestamp

    @env("", "i64")
    def epoch_height(self) -> int:
        return self.context.epoch_height

    @env("", "i64")
    def storage_usage(self) -> int:
        return self.context.storage_usage + self.storage_usage_change

    def _write_balance(self, pointer: int, amount: int) -> None:
        self._write(pointer, amount.to_bytes(BALANCE_BYTES, "little"))

    @env("i64")
    def account_balance(self, pointer: int) -> None:
        self._write_balance(pointer, self.balance)

    def spend(self, amount: int) -> None:
        """`amount` yoctoNEAR leaves the account with a receipt."""
        if amount > self.balance:
            raise faults.balance_exceeded()
        self.balance -= amount

    @env("i64")
    def account_locked_balance(self, pointer: int) -> None:
        self._write_balance(pointer, 0)

    @env("i64")
    def attached_deposit(self, pointer: int) -> None:
        self.refuse_in_view("attached_deposit")
        self._write_balance(pointer, self.context.attached_deposit)

    @env("", "i64")
    def prepaid_gas(self) -> int:
        self.refuse_in_view("prepaid_gas")
        return self.context.prepaid_gas

    @env("", "i64")
    def used_gas(self) -> int:
        self.refuse_in_view("used_gas")
        return self.meter.used()

    # cryptography

    @env("i64")
    def random_seed(self, register_id: int) -> None:
        self.to_register(register_id, self.context.random_seed)

    @env("i64 i64 i64")
    def sha256(self, length: int, pointer: int, register_id: int) -> None:
        data = self.read(length, pointer)
        self.meter.charge(gas.SHA256_BASE + gas.SHA256_BYTE * len(data))
        self.to_register(register_id, hashlib.sha256(data).digest())

    @env("i64 i64 i64 i64 i64 i64", "i64")
    def ed25519_verify(  # noqa: PLR0917 - the signature NEAR gives it
        self,
        signature_length: int,
        signature_pointer: int,
        message_length: int,
        message_pointer: int,
        key_length: int,
        key_pointer: int,
    ) -> int:
        self.meter.charge(gas.ED25519_BASE)
        signature = self.read(signature_length, signature_pointer)
        if len(signature) != ED25519_SIGNATURE_BYTES:
            raise faults.invalid_argument("Ed25519VerifyInvalidInput", "invalid signature length")
        message = self.read(message_length, message_pointer)
        self.meter.charge(gas.ED25519_BYTE * len(message))
        key = self.read(key_length, key_pointer)
        if len(key) != ED25519_KEY_BYTES:
            raise faults.invalid_argument("Ed25519VerifyInvalidInput", "invalid public key length")
        return int(ed25519_signature_holds(key, signature, message))

    # results, logs and panics

    @env("i64 i64")
    def value_return(self, length: int, pointer: int) -> None:
        value = self.read(length, pointer)
        if len(value) > MAX_RETURN_BYTES:
            raise faults.over_limit("ReturnedValueLengthExceeded", "a returned value", len(value), MAX_RETURN_BYTES)
        self._pay_for_output(len(value))
        self.return_value = value
        self.promises.returned = None

    def _pay_for_output(self, size: int) -> None:
        """Burns what it costs to bring a result of `size` bytes to whoever waits for it."""
        for receiver_id in self.context.output_receiver_ids:
            sir = receiver_id == self.context.current_account_id
            self.meter.charge((fees.DATA_RECEIPT_BYTE.send(sir=sir) + fees.DATA_RECEIPT_BYTE.execution) * size)

    def _log(self, text: str, size: int) -> None:
        self.meter.charge(gas.LOG_BASE + gas.LOG_BYTE * size)
        if len(self.logs) >= MAX_LOGS:
            raise faults.HostFaultError(
                "NumberOfLogsExceeded", f"The number of logs will exceed the limit {MAX_LOGS}", fields="limit: 100"
            )
        self._log_bytes += size
        if self._log_bytes > MAX_LOG_BYTES:
            raise faults.over_limit("TotalLogLengthExceeded", "a log message", self._log_bytes, MAX_LOG_BYTES)
        self.logs.append(text)

    def _zero_terminated(self, pointer: int, width: int) -> bytes:
        """The bytes from `pointer` up to a zero of `width` bytes, at most a log's worth."""
        longest = min(MAX_LOG_BYTES, max(self.memory.size() - pointer, 0))
        for length in range(0, longest - width + 1, width):
            self.meter.charge(gas.READ_MEMORY_BASE // 100 + gas.READ_MEMORY_BYTE * width)
            if not any(self.memory.read(pointer + length, width)):
                return self.memory.read(pointer, length)
        raise faults.memory_access_violation()

    def _text(self, length: int, pointer: int, encoding: str) -> tuple[str, int]:
        """The decoded string and its size; the largest u64 as length means it ends at a zero."""
        if length == NO_LENGTH:
            data = self._zero_terminated(pointer, 2 if encoding == "utf-16-le" else 1)
        else:
            data = self.read(length, pointer)
        base, per_byte = (gas.UTF8_BASE, gas.UTF8_BYTE) if encoding == "utf-8" else (gas.UTF16_BASE, gas.UTF16_BYTE)
        self.meter.charge(base + per_byte * len(data))
        try:
            return data.decode(encoding), len(data)
        except UnicodeDecodeError:
            raise faults.bad_text("UTF8" if encoding == "utf-8" else "UTF16") from None

    @env("i64 i64")
    def log_utf8(self, length: int, pointer: int) -> None:
        self._log(*self._text(length, pointer, "utf-8"))

    @env("i64 i64")
    def log_utf16(self, length: int, pointer: int) -> None:
        self._log(*self._text(length, pointer, "utf-16-le"))

    @env("")
    def panic(self) -> None:
        raise faults.guest_panic("explicit guest panic")

    @env("i64 i64")
    def panic_utf8(self, length: int, pointer: int) -> None:
        raise faults.guest_panic(self._text(length, pointer, "utf-8")[0])

    @env("i32 i32 i32 i32")
    def abort(self, message_pointer: int, file_pointer: int, line: int, column: int) -> None:
        message, file = (self._assembly_script_string(pointer) for pointer in (message_pointer, file_pointer))
        raise faults.guest_panic(f'{message}, filename: "{file}" line: {line} col: {column}')

    def _assembly_script_string(self, pointer: int) -> str:
        """An AssemblyScript string: its length in bytes stands in the 4 bytes before it."""
        if pointer < 4:  # noqa: PLR2004 - the width of that length
            raise faults.bad_text("UTF16")
        length = int.from_bytes(self.read(4, pointer - 4), "little")
        return self._text(length, pointer, "utf-16-le")[0]

    # storage

    def _stored(self, key: bytes) -> bytes | None:
        return self.writes[key] if key in self.writes else self._storage.get(key)

    def _read_key(self, length: int, pointer: int) -> bytes:
        key = self.read(length, pointer)
        if len(key) > MAX_KEY_BYTES:
            raise faults.over_limit("KeyLengthExceeded", "a storage key", len(key), MAX_KEY_BYTES)
        return key

    @env("i64 i64 i64 i64 i64", "i64")
    def storage_write(
        self, key_length: int, key_pointer: int, value_length: int, value_pointer: int, register_id: int
    ) -> int:
        self.refuse_in_view("storage_write")
        self.meter.charge(gas.STORAGE_WRITE_BASE)
        key = self._read_key(key_length, key_pointer)
        value = self.read(value_length, value_pointer)
        if len(value) > MAX_VALUE_BYTES:
            raise faults.over_limit("ValueLengthExceeded", "a storage value", len(value), MAX_VALUE_BYTES)
        self.meter.charge(gas.STORAGE_WRITE_KEY_BYTE * len(key) + gas.STORAGE_WRITE_VALUE_BYTE * len(value))
        evicted = self._stored(key)
        self.writes[key] = value
        if evicted is None:
            self.storage_usage_change += len(key) + len(value) + RECORD_OVERHEAD_BYTES
            return 0
        self.storage_usage_change += len(value) - len(evicted)
        self.meter.charge(gas.STORAGE_WRITE_EVICTED_BYTE * len(evicted))
        self.to_register(register_id, evicted)
        return 1

    @env("i64 i64 i64", "i64")
    def storage_read(self, key_length: int, key_pointer: int, register_id: int) -> int:
        self.meter.charge(gas.STORAGE_READ_BASE)
        key = self._read_key(key_length, key_pointer)
        self.meter.charge(gas.STORAGE_READ_KEY_BYTE * len(key))
        value = self._stored(key)
        if value is None:
            return 0
        self.meter.charge(gas.STORAGE_READ_VALUE_BYTE * len(value))
        self.to_register(register_id, value)
        return 1

    @env("i64 i64 i64", "i64")
    def storage_remove(self, key_length: int, key_pointer: int, register_id: int) -> int:
        self.refuse_in_view("storage_remove")
        self.meter.charge(gas.STORAGE_REMOVE_BASE)
        key = self._read_key(key_length, key_pointer)
        self.meter.charge(gas.STORAGE_REMOVE_KEY_BYTE * len(key))
        value = self._stored(key)
        if value is None:
            return 0
        self.writes[key] = None
        self.storage_usage_change -= len(key) + len(value) + RECORD_OVERHEAD_BYTES
        self.meter.charge(gas.STORAGE_REMOVE_VALUE_BYTE * len(value))
        self.to_register(register_id, value)
        return 1

    @env("i64 i64", "i64")
    def storage_has_key(self, key_length: int, key_pointer: int) -> int:
        self.meter.charge(gas.STORAGE_HAS_KEY_BASE)
        key = self._read_key(key_length, key_pointer)
        self.meter.charge(gas.STORAGE_HAS_KEY_BYTE * len(key))
        return int(self._stored(key) is not None)


def ed25519_signature_holds(key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` (64 bytes) over `message` was made by `key` (32 bytes)."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True
