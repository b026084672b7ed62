"""Compiling and running contract code on wasmtime.

Code runs under the wasm features of protocol version 84 and later: sign extension, saturating conversion, bulk
memory and reference types are on, everything after them is off. One call runs at a time in a process, because
wasmtime's Python binding keeps the exception of a host function in a global.
"""

import hashlib
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wasmtime

from sharekeeper_devnet.runtime import faults, gas, promise_functions
from sharekeeper_devnet.runtime.faults import CallFailure, HostFaultError
from sharekeeper_devnet.runtime.host import HOST_FUNCTIONS, Host, HostFunction
from sharekeeper_devnet.runtime.promises import PromiseBook
from sharekeeper_devnet.runtime.values import CallContext, Outcome, Storage

PAGE_BYTES = 65_536
MAX_MEMORY_PAGES = 2_048
MAX_TABLE_ELEMENTS = 10_000
MAX_CODE_BYTES = promise_functions.MAX_CODE_BYTES
MAX_CACHED_MODULES = 32
U64_MASK = 2**64 - 1
WIDTH = {"i32": 32, "i64": 64}

TRAPS = {
    wasmtime.TrapCode.STACK_OVERFLOW: ("StackOverflow", "Stack overflow."),
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: ("MemoryOutOfBounds", "Memory out of bounds trap."),
    wasmtime.TrapCode.HEAP_MISALIGNED: ("MisalignedAtomicAccess", "Misaligned atomic access trap."),
    wasmtime.TrapCode.TABLE_OUT_OF_BOUNDS: ("CallIndirectOOB", "Call indirect out of bounds trap."),
    wasmtime.TrapCode.INDIRECT_CALL_TO_NULL: ("IndirectCallToNull", "Indirect call to null trap."),
    wasmtime.TrapCode.BAD_SIGNATURE: (
        "IncorrectCallIndirectSignature",
        "Call indirect incorrect signature trap.",
    ),
    wasmtime.TrapCode.INTEGER_OVERFLOW: (
        "IllegalArithmetic",
        "An arithmetic exception, e.g. divided by zero.",
    ),
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: (
        "IllegalArithmetic",
        "An arithmetic exception, e.g. divided by zero.",
    ),
    wasmtime.TrapCode.BAD_CONVERSION_TO_INTEGER: (
        "IllegalArithmetic",
        "An arithmetic exception, e.g. divided by zero.",
    ),
    wasmtime.TrapCode.UNREACHABLE: ("Unreachable", "An `unreachable` opcode was executed."),
}


class CodeRefusedError(Exception):
    """The bytes are not a contract that could ever run here; `failure` says why."""

    def __init__(self, failure: CallFailure, sentence: str) -> None:
        super().__init__(sentence)
        self.failure = failure


class _Slot:
    """Holds the host of the call in progress; imports are linked once per module and find it here."""

    host: Host | None = None
    fault: HostFaultError | None = None


@dataclass(frozen=True, slots=True)
class _Contract:
    instance: wasmtime.InstancePre
    methods: dict[str, bool]
    """Exported functions; true when callable, which takes no parameters and no results."""
    slot: _Slot
    code_bytes: int


def _new_engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    config.signals_based_traps = False  # whoever sets a signal handler after us would get our traps
    config.wasm_bulk_memory = True
    config.wasm_reference_types = True
    config.wasm_multi_value = False
    config.wasm_simd = False
    config.wasm_relaxed_simd = False
    config.wasm_threads = False
    config.wasm_exceptions = False
    config.wasm_multi_memory = False
    config.wasm_memory64 = False
    config.wasm_tail_call = False
    return wasmtime.Engine(config)


class _Machine:
    """The engine, the compiled modules by code hash, and the lock that lets one call run at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.disk_cache: Path | None = None
        self._engine = _new_engine()
        self._contracts: OrderedDict[bytes, _Contract] = OrderedDict()

    @property
    def engine(self) -> wasmtime.Engine:
        return self._engine

    def contract(self, code: bytes) -> _Contract:
        code_hash = hashlib.sha256(code).digest()
        known = self._contracts.get(code_hash)
        if known is not None:
            self._contracts.move_to_end(code_hash)
            return known
        contract = _link(self._engine, self._module(code, code_hash), len(code))
        self._contracts[code_hash] = contract
        if len(self._contracts) > MAX_CACHED_MODULES:
            self._contracts.popitem(last=False)
        return contract

    def _module(self, code: bytes, code_hash: bytes) -> wasmtime.Module:
        path = None if self.disk_cache is None else self.disk_cache / f"{code_hash.hex()}.cwasm"
        if path is not None and path.exists():
            try:
                return wasmtime.Module.deserialize(self._engine, path.read_bytes())
            except wasmtime.WasmtimeError:
                path.unlink()  # written by another version of the engine
        module = _compile(self._engine, code)
        if path is not None:
            _replace(path, bytes(module.serialize()))
        return module


def _replace(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    Path(temporary).rename(path)


def _refused(prepare_error: str, sentence: str) -> CodeRefusedError:
    return CodeRefusedError(faults.compilation_failure(prepare_error), sentence)


def _compile(engine: wasmtime.Engine, code: bytes) -> wasmtime.Module:
    if len(code) > MAX_CODE_BYTES:
        raise _refused("Deserialization", f"contract code has at most {MAX_CODE_BYTES} bytes")
    if not code.startswith(b"\0asm"):
        raise _refused("Deserialization", "contract code must be binary wasm")
    try:
        return wasmtime.Module(engine, code)
    except wasmtime.WasmtimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise _refused("Deserialization", f"contract code is not wasm of protocol version 84: {reason}") from None


def _link(engine: wasmtime.Engine, module: wasmtime.Module, code_bytes: int) -> _Contract:
    linker = wasmtime.Linker(engine)
    slot = _Slot()
    for item in module.imports:
        name, kind = item.name or "", item.type
        if item.module != "env":
            raise _refused("Instantiate", f"a contract imports from env only, not from {item.module}")
        if not isinstance(kind, wasmtime.FuncType):
            raise _refused("Instantiate", f"a contract imports functions only, and env.{name} is none")
        linker.define_func("env", name, kind, _import(name, kind, slot))
    methods = {
        item.name: not item.type.params and not item.type.results
        for item in module.exports
        if isinstance(item.type, wasmtime.FuncType)
    }
    return _Contract(linker.instantiate_pre(module), methods, slot, code_bytes)


def _import(name: str, kind: wasmtime.FuncType, slot: _Slot) -> Callable[..., int | None]:
    """The Python function behind one import: charges for the call, runs it, remembers why it failed."""
    function = HOST_FUNCTIONS.get(name)
    if function is None:
        return _trap_by_name(name, slot)
    params, results = tuple(map(str, kind.params)), tuple(map(str, kind.results))
    if (params, results) != (function.params, function.results):
        raise _refused("Instantiate", f"env.{name} is imported with a wrong signature")
    return _served(function, slot)


def _served(function: HostFunction, slot: _Slot) -> Callable[..., int | None]:
    masks = [(1 << WIDTH[kind]) - 1 for kind in function.params]

    def call(*args: int) -> int | None:
        host = slot.host
        if host is None:
            raise RuntimeError("a host function was called outside a contract call")
        try:
            host.meter.charge(gas.HOST_CALL)
            result = function.call(host, *(value & mask for value, mask in zip(args, masks, strict=True)))
        except HostFaultError as fault:
            slot.fault = fault
            raise
        return None if result is None else _signed(result)

    return call


def _trap_by_name(name: str, slot: _Slot) -> Callable[..., int | None]:
    def call(*_args: int) -> int | None:
        slot.fault = faults.unknown_import_failure(name)
        raise slot.fault

    return call


def _signed(value: int) -> int:
    return value - 2**64 if value >> 63 else value


class _FuelMeter:
    """Gas counted in wasmtime's fuel, one unit of fuel per wasm instruction."""

    def __init__(self, store: wasmtime.Store, prepaid_gas: int) -> None:
        self._store = store
        self._by_prepaid = prepaid_gas <= gas.MAX_GAS
        self._limit = min(prepaid_gas, gas.MAX_GAS)
        self._fuel = self._limit // gas.WASM_OP
        self._reserved_units = 0
        self.reserved = 0
        store.set_fuel(self._fuel)

    def charge(self, amount: int) -> None:
        self._take(-(-amount // gas.WASM_OP))

    def reserve(self, amount: int) -> None:
        units = -(-amount // gas.WASM_OP)
        self._take(units)
        self._reserved_units += units
        self.reserved += amount

    def _take(self, units: int) -> None:
        left = self._store.get_fuel()
        if units > left:
            self._store.set_fuel(0)
            raise self.exceeded()
        self._store.set_fuel(left - units)

    def used(self) -> int:
        left = self._store.get_fuel()
        return (self._fuel - left) * gas.WASM_OP if left else self._limit

    def burnt(self) -> int:
        """Gas that is gone: what was used and not set aside."""
        left = self._store.get_fuel()
        return (self._fuel - left - self._reserved_units) * gas.WASM_OP if left else self._limit - self.reserved

    def exceeded(self) -> HostFaultError:
        return faults.gas_exceeded(by_prepaid=self._by_prepaid)


class _WasmMemory:
    """The memory the instance exports as `memory`; an instance without one has none to read."""

    def __init__(self, store: wasmtime.Store) -> None:
        self._store = store
        self._memory: wasmtime.Memory | None = None

    def attach(self, exported: object) -> None:
        self._memory = exported if isinstance(exported, wasmtime.Memory) else None

    def size(self) -> int:
        return 0 if self._memory is None else self._memory.data_len(self._store)

    def read(self, start: int, length: int) -> bytes:
        return b"" if self._memory is None else bytes(self._memory.read(self._store, start, start + length))

    def write(self, start: int, data: bytes) -> None:
        if data and self._memory is not None:
            self._memory.write(self._store, data, start)


_MACHINE = _Machine()


def use_disk_cache(directory: Path) -> None:
    """Compiled code is kept in `directory` (which exists) from now on and reused by later processes.

    The files are trusted as much as the program itself: nobody else may write there.
    """
    _MACHINE.disk_cache = directory


def check_code(code: bytes) -> None:
    """Returns when `code` could run: binary wasm, supported features, imports from `env` with known signatures.

    Raises:
        CodeRefusedError: it could not.
    """
    with _MACHINE.lock:
        _MACHINE.contract(code)


def run(
    code: bytes, method: str, context: CallContext, storage: Storage, yielded: Container[bytes] = frozenset()
) -> Outcome:
    """Calls `method` of the contract `code`; every fault of the contract is in the outcome, none is raised.

    `storage` is only read. Writes and receipts are in the outcome, and empty when the call failed. `yielded` holds
    the data ids under which calls of this contract wait to be resumed.
    """
    if not method:
        return Outcome(failure=faults.method_failure("MethodEmptyName"), gas_burnt=0)
    with _MACHINE.lock:
        try:
            contract = _MACHINE.contract(code)
        except CodeRefusedError as error:
            return Outcome(failure=error.failure, gas_burnt=0)
        return _run(contract, method, context, storage, yielded)


def _run(
    contract: _Contract, method: str, context: CallContext, storage: Storage, yielded: Container[bytes]
) -> Outcome:
    callable_method = contract.methods.get(method)
    if callable_method is None:
        return Outcome(failure=faults.method_failure("MethodNotFound"), gas_burnt=0)
    if not callable_method:
        return Outcome(failure=faults.method_failure("MethodInvalidSignature"), gas_burnt=0)
    store = wasmtime.Store(_MACHINE.engine)
    store.set_limits(memory_size=MAX_MEMORY_PAGES * PAGE_BYTES, table_elements=MAX_TABLE_ELEMENTS)
    meter = _FuelMeter(store, context.prepaid_gas)
    memory = _WasmMemory(store)
    host = Host(context, storage, memory, meter, PromiseBook(context.action_id, yielded))
    failure = _execute(contract, method, store, host, memory)
    burnt = meter.burnt()
    if failure is not None:
        return Outcome(failure=failure, gas_burnt=burnt, logs=tuple(host.logs))
    shared = host.promises.share_out(context.prepaid_gas - burnt - meter.reserved)
    return Outcome(
        failure=None,
        return_value=host.return_value,
        logs=tuple(host.logs),
        gas_burnt=burnt,
        gas_reserved=meter.reserved + shared,
        spent=context.account_balance - host.balance,
        receipts=host.promises.finished(),
        resumptions=tuple(host.promises.resumptions),
        returned=host.promises.returned,
        storage_writes=host.writes,
        storage_usage_change=host.storage_usage_change,
    )


def _execute(
    contract: _Contract, method: str, store: wasmtime.Store, host: Host, memory: _WasmMemory
) -> CallFailure | None:
    slot = contract.slot
    slot.host, slot.fault = host, None
    try:
        host.meter.charge(gas.LOADING_BASE + gas.LOADING_BYTE * contract.code_bytes)
        exports: Any = contract.instance.instantiate(store).exports(store)
        memory.attach(exports.get("memory"))
        exports[method](store)
    except HostFaultError as fault:
        return fault.failure
    except wasmtime.Trap as trap:
        return _trap_failure(trap, host)
    except wasmtime.WasmtimeError:
        return faults.compilation_failure("Memory")
    finally:
        slot.host = None
    return None


def _trap_failure(trap: wasmtime.Trap, host: Host) -> CallFailure:
    if trap.trap_code == wasmtime.TrapCode.OUT_OF_FUEL:
        by_prepaid = host.context.prepaid_gas <= gas.MAX_GAS
        return faults.gas_exceeded(by_prepaid=by_prepaid).failure
    known = None if trap.trap_code is None else TRAPS.get(trap.trap_code)
    return faults.trap_failure(*(known or ("GenericTrap", "Generic trap.")))
