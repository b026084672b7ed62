"""A contract that answers with prepared views: for keysets larger than one call of the real contract can make.

`put` writes; `state` and `participant_info` show the chunks that lie under their name and the step; each of the two calls
that end a recovery goes one step on. The arguments of the calls are not looked at.
"""

from collections.abc import Iterable
from typing import Final

import wasmtime
from py_near import transactions as py_near

from sharekeeper.adapters.transactions import Action, NearCaller, function_call
from sharekeeper.domain.identity import AccountId

VIEWS: Final = ("state", "participant_info")
ADVANCING: Final = ("confirm_key_share_delivery", "conclude_recovery")
CHUNK_BYTES: Final = 1_000_000
CALLS_TOGETHER: Final = 6
GAS: Final = 300 * 10**12

_HEAD: Final = """
(import "env" "input" (func $input (param i64)))
(import "env" "read_register" (func $read_register (param i64 i64)))
(import "env" "register_len" (func $register_len (param i64) (result i64)))
(import "env" "storage_read" (func $storage_read (param i64 i64 i64) (result i64)))
(import "env" "storage_write" (func $storage_write (param i64 i64 i64 i64 i64) (result i64)))
(import "env" "value_return" (func $value_return (param i64 i64)))
(memory (export "memory") 320)
(data (i32.const 0) "step")
(func $step (result i32)
  (if (result i32) (i64.eqz (call $storage_read (i64.const 4) (i64.const 0) (i64.const 0)))
    (then (i32.const 48))
    (else (call $read_register (i64.const 0) (i64.const 8)) (i32.load8_u (i32.const 8)))))
(func $go_on
  (i32.store8 (i32.const 8) (i32.add (call $step) (i32.const 1)))
  (drop (call $storage_write (i64.const 4) (i64.const 0) (i64.const 1) (i64.const 8) (i64.const 1))))
(func $show (param $name i32) (param $length i32) (local $chunk i32) (local $end i64)
  (i32.store8 (i32.add (local.get $name) (local.get $length)) (call $step))
  (local.set $chunk (i32.const 48))
  (local.set $end (i64.const 1048576))
  (block $done (loop $next
    (i32.store8 (i32.add (i32.add (local.get $name) (local.get $length)) (i32.const 1)) (local.get $chunk))
    (br_if $done (i64.eqz (call $storage_read
      (i64.extend_i32_u (i32.add (local.get $length) (i32.const 2)))
      (i64.extend_i32_u (local.get $name)) (i64.const 0))))
    (call $read_register (i64.const 0) (local.get $end))
    (local.set $end (i64.add (local.get $end) (call $register_len (i64.const 0))))
    (local.set $chunk (i32.add (local.get $chunk) (i32.const 1)))
    (br $next)))
  (call $value_return (i64.sub (local.get $end) (i64.const 1048576)) (i64.const 1048576)))
(func (export "put") (local $name i64)
  (call $input (i64.const 0))
  (call $read_register (i64.const 0) (i64.const 1048576))
  (local.set $name (i64.extend_i32_u (i32.load8_u (i32.const 1048576))))
  (drop (call $storage_write (local.get $name) (i64.const 1048577)
    (i64.sub (i64.sub (call $register_len (i64.const 0)) (local.get $name)) (i64.const 1))
    (i64.add (local.get $name) (i64.const 1048577)) (i64.const 1))))
"""


def wasm() -> bytes:
    """The contract's code."""
    parts = [_HEAD]
    for number, view in enumerate(VIEWS):
        place = 16 + 32 * number
        parts.append(f'(data (i32.const {place}) "{view}/")')
        parts.append(f'(func (export "{view}") (call $show (i32.const {place}) (i32.const {len(view) + 1})))')
    parts += [f'(func (export "{method}") (call $go_on))' for method in ADVANCING]
    return bytes(wasmtime.wat2wasm(f'(module {" ".join(parts)} (func (export "go_on") (call $go_on)))'))


async def put(owner: NearCaller, contract: AccountId, answers: Iterable[tuple[str, int, bytes]]) -> None:
    """From each step on, counted from 0, the view of that name answers that JSON."""
    calls: list[bytes] = []
    for name, step, answer in answers:
        for number, start in enumerate(range(0, len(answer), CHUNK_BYTES)):
            key = f"{name}/{step}{number}".encode()
            calls.append(bytes([len(key)]) + key + answer[start : start + CHUNK_BYTES])
    while calls:
        number = 1
        while number < min(len(calls), CALLS_TOGETHER) and sum(map(len, calls[: number + 1])) <= CHUNK_BYTES:
            number += 1
        chosen, calls = calls[:number], calls[number:]
        actions = [Action(py_near.create_function_call_action("put", raw, GAS // number, 0)) for raw in chosen]
        await owner.send_actions(contract, actions)


async def go_on(owner: NearCaller, contract: AccountId) -> None:
    """The views show the next step."""
    await owner.send_actions(contract, [function_call("go_on", {})])
