"""A contract in wat that runs a script of host functions, so that one wasm exercises every promise function.

The script is the input: steps of 8-byte words, the first saying which host function, the others its arguments as
i64. An argument above `RESULT` stands for the result of an earlier step; strings lie in the input behind the steps.
A call without a script panics, one with an empty script does nothing.
"""

import struct
from dataclasses import dataclass

import wasmtime

RESULT = 1 << 62
BASE = 65_536
SIGNATURES = {
    "promise_create": "qqqqqqqq>q",
    "promise_then": "qqqqqqqqq>q",
    "promise_and": "qq>q",
    "promise_batch_create": "qq>q",
    "promise_batch_then": "qqq>q",
    "promise_batch_action_create_account": "q",
    "promise_batch_action_deploy_contract": "qqq",
    "promise_batch_action_function_call": "qqqqqqq",
    "promise_batch_action_function_call_weight": "qqqqqqqq",
    "promise_batch_action_transfer": "qq",
    "promise_batch_action_add_key_with_full_access": "qqqq",
    "promise_batch_action_add_key_with_function_call": "qqqqqqqqq",
    "promise_batch_action_delete_key": "qqq",
    "promise_batch_action_delete_account": "qqq",
    "promise_batch_action_stake": "qqqq",
    "promise_yield_create": "qqqqqqq>q",
    "promise_yield_resume": "qqqq>d",
    "promise_results_count": ">q",
    "promise_result": "qq>q",
    "promise_return": "q",
    "value_return": "qq",
    "log_utf8": "qq",
    "panic": "",
    "storage_write": "qqqqq>q",
    "storage_read": "qqq>q",
    "account_balance": "q",
    "prepaid_gas": ">q",
    "used_gas": ">q",
    "predecessor_account_id": "q",
    "signer_account_id": "q",
    "attached_deposit": "q",
    "read_register": "qq",
    "register_len": "q>q",
    "write_register": "qqq",
    "log_number": "q",
}
HOST_FUNCTIONS = {name: text for name, text in SIGNATURES.items() if name != "log_number"}
TYPES = {"q": "i64", "d": "i32"}


def _import(name: str, signature: str) -> str:
    params, _, results = signature.partition(">")
    param = f"(param {' '.join(TYPES[kind] for kind in params)})" if params else ""
    result = f"(result {TYPES[results]})" if results else ""
    return f'(import "env" "{name}" (func ${name} {param} {result}))'


def _step(number: int, name: str, signature: str) -> str:
    params, _, result = signature.partition(">")
    arguments = " ".join(f"(call $argument (i32.const {index}))" for index in range(1, len(params) + 1))
    call = f"(call ${name} {arguments})"
    if result == "d":
        call = f"(i64.extend_i32_u {call})"
    keep = f"(call $keep {call})" if result else call
    return f"""(if (i32.eq (local.get $function) (i32.const {number})) (then
      {keep} (local.set $width (i32.const {len(params) + 1}))))"""


def _wat() -> str:
    steps = "\n".join(_step(number, name, text) for number, (name, text) in enumerate(SIGNATURES.items(), 1))
    return f"""(module
  {chr(10).join(_import(name, text) for name, text in HOST_FUNCTIONS.items())}
  (import "env" "input" (func $input (param i64)))
  (memory (export "memory") 32)
  (global $at (mut i32) (i32.const 0))
  (global $results (mut i32) (i32.const 0))
  (func $log_number (param $number i64)
    (local $digit i32)
    (local.set $digit (i32.const 40))
    (loop $next
      (local.set $digit (i32.sub (local.get $digit) (i32.const 1)))
      (i32.store8 (i32.add (i32.const 1024) (local.get $digit))
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10)))))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $next (i64.ne (local.get $number) (i64.const 0))))
    (call $log_utf8 (i64.extend_i32_u (i32.sub (i32.const 40) (local.get $digit)))
      (i64.extend_i32_u (i32.add (i32.const 1024) (local.get $digit)))))
  (func $argument (param $index i32) (result i64)
    (local $value i64)
    (local.set $value (i64.load (i32.add (global.get $at) (i32.mul (local.get $index) (i32.const 8)))))
    (if (i64.ge_s (local.get $value) (i64.const {RESULT}))
      (then (local.set $value
        (i64.load (i32.wrap_i64 (i64.mul (i64.sub (local.get $value) (i64.const {RESULT})) (i64.const 8)))))))
    (local.get $value))
  (func $keep (param $value i64)
    (i64.store (i32.mul (global.get $results) (i32.const 8)) (local.get $value))
    (global.set $results (i32.add (global.get $results) (i32.const 1))))
  (func (export "run")
    (local $function i32) (local $width i32)
    (call $input (i64.const 0))
    (call $read_register (i64.const 0) (i64.const {BASE}))
    (global.set $at (i32.const {BASE}))
    (loop $next
      (local.set $function (i32.wrap_i64 (i64.load (global.get $at))))
      (if (i32.ne (local.get $function) (i32.const 0)) (then
        (local.set $width (i32.const 0))
        {steps}
        (if (i32.eqz (local.get $width)) (then unreachable))
        (global.set $at (i32.add (global.get $at) (i32.mul (local.get $width) (i32.const 8))))
        (br $next))))))
"""


SCRIPT_WASM = bytes(wasmtime.wat2wasm(_wat()))


@dataclass(frozen=True)
class Result:
    """The result of an earlier step."""

    index: int


class Script:
    """A script in the making: `script.promise_batch_create("bob.near")` appends a step, strings become pointers.

    Bytes and strings stand for a length and a pointer; `At(data)` for the pointer alone; `Result` for what an
    earlier step gave.
    """

    def __init__(self) -> None:
        self._steps: list[list[object]] = []
        self._results = 0

    def __getattr__(self, name: str):
        number = list(SIGNATURES).index(name) + 1

        def step(*arguments: object) -> Result | None:
            flat: list[object] = [number]
            for argument in arguments:
                if isinstance(argument, str | bytes):
                    data = argument.encode() if isinstance(argument, str) else argument
                    flat += [len(data), At(data)]
                else:
                    flat.append(argument)
            params, _, result = SIGNATURES[name].partition(">")
            assert len(flat) == len(params) + 1, f"{name} takes {len(params)} arguments"
            self._steps.append(flat)
            if not result:
                return None
            self._results += 1
            return Result(self._results - 1)

        return step

    def __bytes__(self) -> bytes:
        words = [word for step in self._steps for word in step] + [0]
        data, start = b"", BASE + 8 * len(words)
        packed = b""
        for word in words:
            match word:
                case At(data=content):
                    packed += struct.pack("<q", start + len(data))
                    data += content
                case Result(index=index):
                    packed += struct.pack("<q", RESULT + index)
                case int():
                    packed += struct.pack("<Q", word % 2**64)
        return packed + data


@dataclass(frozen=True)
class At:
    """The address of `data`, which is put into the input."""

    data: bytes


def amount(yocto: int) -> At:
    """The address of a 128-bit amount."""
    return At(yocto.to_bytes(16, "little"))


REGISTER = 2**64 - 1
"""As a length: the pointer beside it is a register."""
