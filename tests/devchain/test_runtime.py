"""Contract calls as values: host functions, gas, limits, refusals. No chain is involved."""

import hashlib
import json
import threading

import pytest
import wasmtime
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from sharekeeper_devnet.runtime import (
    MAX_GAS,
    TERA,
    CallContext,
    CodeRefusedError,
    FailureKind,
    Outcome,
    PublicKey,
    check_code,
    run,
    use_disk_cache,
)
from sharekeeper_devnet.runtime.vm import _MACHINE

ALICE_KEY = "ed25519:AefQKyip38jWdWyX1zwgbx3rRjNJB1U9Cj5oxzFih3nX"
TYPES = {"q": "i64", "d": "i32"}


def contract(imports: dict[str, str], methods: dict[str, str], data: bytes = b"", *, pages: int = 1) -> bytes:
    """Wasm with `imports` {name: "qq>q"} and exported `methods` {name: wat body}; `data` lies at address 0."""
    lines = ["(module"]
    for name, signature in imports.items():
        params, _, results = signature.partition(">")
        param = f"(param {' '.join(TYPES[kind] for kind in params)})" if params else ""
        result = f"(result {TYPES[results]})" if results else ""
        lines.append(f'(import "env" "{name}" (func ${name} {param} {result}))')
    lines.append(f'(memory (export "memory") {pages})')
    escaped = "".join(f"\\{byte:02x}" for byte in data)
    lines.append(f'(data (i32.const 0) "{escaped}")')
    lines += [f'(func (export "{name}") {body})' for name, body in methods.items()]
    return bytes(wasmtime.wat2wasm("\n".join([*lines, ")"])))


def call(imports: dict[str, str], body: str, data: bytes = b"", storage=None, **context) -> Outcome:
    code = contract(imports, {"main": body}, data)
    fields = {"current_account_id": "mpc.near", "signer_public_key": ALICE_KEY, **context}
    return run(code, "main", CallContext(**fields), {} if storage is None else storage)


RETURN = {"value_return": "qq"}
RETURN_0 = "(call $value_return (i64.const -1) (i64.const 0))"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("current_account_id", b"mpc.near"),
        ("signer_account_id", b"alice.near"),
        ("signer_account_pk", PublicKey.from_text(ALICE_KEY).borsh),
        ("predecessor_account_id", b"bob.near"),
        ("input", b"arguments"),
        ("random_seed", b"\x07" * 32),
    ],
)
def test_context_arrives_through_a_register(name, expected):
    outcome = call(
        {name: "q", **RETURN},
        f"(call ${name} (i64.const 0)) {RETURN_0}",
        signer_account_id="alice.near",
        predecessor_account_id="bob.near",
        input=b"arguments",
        random_seed=b"\x07" * 32,
    )
    assert (outcome.status, outcome.return_value) == ("ok", expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("block_index", 120),
        ("block_timestamp", 1_700_000_000_000_000_000),
        ("epoch_height", 3),
        ("storage_usage", 182),
        ("prepaid_gas", 50 * TERA),
    ],
)
def test_context_numbers_are_results(name, expected):
    outcome = call(
        {name: ">q", **RETURN},
        f"(i64.store (i32.const 0) (call ${name})) (call $value_return (i64.const 8) (i64.const 0))",
        block_height=120,
        block_timestamp=1_700_000_000_000_000_000,
        epoch_height=3,
        storage_usage=182,
        prepaid_gas=50 * TERA,
    )
    assert int.from_bytes(outcome.return_value, "little") == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("account_balance", 10**27), ("attached_deposit", 2**64 + 5), ("account_locked_balance", 0)]
)
def test_balances_are_written_as_128_bits(name, expected):
    outcome = call(
        {name: "q", **RETURN},
        f"(call ${name} (i64.const 0)) (call $value_return (i64.const 16) (i64.const 0))",
        account_balance=10**27,
        attached_deposit=2**64 + 5,
    )
    assert int.from_bytes(outcome.return_value, "little") == expected


STORAGE = {"storage_write": "qqqqq>q", "storage_read": "qqq>q", "storage_remove": "qqq>q", "storage_has_key": "qq>q"}
WRITE = "(call $storage_write (i64.const 3) (i64.const 0) (i64.const 5) (i64.const 3) (i64.const 1))"


def test_a_write_is_in_the_outcome_and_not_in_the_storage_given():
    storage = {}
    outcome = call(STORAGE, f"(drop {WRITE})", b"keyvalue", storage)
    assert outcome.storage_writes == {b"key": b"value"}
    assert storage == {}
    assert outcome.storage_usage_change == 3 + 5 + 40
    outcome.apply_to(storage)
    assert storage == {b"key": b"value"}


def test_a_write_over_a_value_evicts_it_into_the_register():
    body = f"(if (i64.ne {WRITE} (i64.const 1)) (then unreachable)) (call $value_return (i64.const -1) (i64.const 1))"
    outcome = call({**STORAGE, **RETURN}, body, b"keyvalue", {b"key": b"old"})
    assert outcome.return_value == b"old"
    assert outcome.storage_usage_change == 2


def test_a_read_sees_the_write_of_the_same_call():
    body = f"(drop {WRITE}) (drop (call $storage_read (i64.const 3) (i64.const 0) (i64.const 0))) {RETURN_0}"
    assert call({**STORAGE, **RETURN}, body, b"keyvalue").return_value == b"value"


def test_a_removed_key_is_gone_within_the_call_and_in_the_outcome():
    remove = "(drop (call $storage_remove (i64.const 3) (i64.const 0) (i64.const 0)))"
    gone = "(if (i64.ne (call $storage_has_key (i64.const 3) (i64.const 0)) (i64.const 0)) (then unreachable))"
    storage = {b"key": b"old"}
    outcome = call(STORAGE, remove + gone, b"key", storage)
    assert outcome.storage_writes == {b"key": None}
    assert outcome.storage_usage_change == -(3 + 3 + 40)
    outcome.apply_to(storage)
    assert storage == {}


def test_storage_rolls_back_when_the_contract_panics_and_logs_stay():
    body = f"(drop {WRITE}) (call $log_utf8 (i64.const 3) (i64.const 0)) (call $panic_utf8 (i64.const 5) (i64.const 3))"
    outcome = call({**STORAGE, "panic_utf8": "qq", "log_utf8": "qq"}, body, b"keyvalue")
    assert outcome.panic == "value"
    assert outcome.status == "Smart contract panicked: value"
    assert outcome.failure.debug == 'HostError(GuestPanic { panic_msg: "value" })'
    assert outcome.storage_writes == {}
    assert outcome.logs == ("key",)


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("signer_account_id", "q"),
        ("signer_account_pk", "q"),
        ("predecessor_account_id", "q"),
        ("attached_deposit", "q"),
        ("prepaid_gas", ">q"),
        ("used_gas", ">q"),
        ("storage_write", "qqqqq>q"),
        ("storage_remove", "qqq>q"),
    ],
)
def test_a_view_may_not_ask_or_write(name, signature):
    params, _, results = signature.partition(">")
    arguments = " ".join("(i64.const 0)" for _ in params)
    body = f"(call ${name} {arguments})"
    outcome = call({name: signature}, f"(drop {body})" if results else body, is_view=True)
    assert outcome.status == f"{name} is not allowed in view calls"
    assert outcome.failure.debug == f'HostError(ProhibitedInView {{ method_name: "{name}" }})'


def test_sha256_is_sha256():
    body = f"(call $sha256 (i64.const 3) (i64.const 0) (i64.const 0)) {RETURN_0}"
    assert call({"sha256": "qqq", **RETURN}, body, b"abc").return_value == hashlib.sha256(b"abc").digest()


@pytest.mark.parametrize(("tampered", "expected"), [(False, 1), (True, 0)])
def test_ed25519_verify_tells_a_signature_from_a_forgery(tampered, expected):
    key = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    data = key.sign(b"message") + (b"massage" if tampered else b"message") + public
    body = (
        "(i64.store (i32.const 200) (call $ed25519_verify (i64.const 64) (i64.const 0) (i64.const 7) (i64.const 64)"
        " (i64.const 32) (i64.const 71))) (call $value_return (i64.const 1) (i64.const 200))"
    )
    outcome = call({"ed25519_verify": "qqqqqq>q", **RETURN}, body, data)
    assert outcome.return_value == bytes([expected])
    assert outcome.gas_burnt > TERA // 5


def test_logs_come_out_in_order_in_both_encodings():
    data = "größe".encode() + b"\0" + "größe".encode("utf-16-le")
    body = (
        "(call $log_utf8 (i64.const 7) (i64.const 0)) (call $log_utf8 (i64.const -1) (i64.const 0))"
        "(call $log_utf16 (i64.const 10) (i64.const 8))"
    )
    assert call({"log_utf8": "qq", "log_utf16": "qq"}, body, data).logs == ("größe", "größe", "größe")


def test_a_log_that_is_not_utf8_fails_the_call():
    outcome = call({"log_utf8": "qq"}, "(call $log_utf8 (i64.const 1) (i64.const 0))", b"\xff")
    assert outcome.status == "String encoding is bad UTF8 sequence."


def test_more_than_a_hundred_logs_fail_the_call():
    body = "(local i32) (loop (call $log_utf8 (i64.const 0) (i64.const 0)) (br 0))"
    outcome = call({"log_utf8": "qq"}, body)
    assert outcome.status == "The number of logs will exceed the limit 100"
    assert len(outcome.logs) == 100


@pytest.mark.parametrize("pointer", [65_530, 2**40, -1])
def test_memory_outside_the_bounds_is_refused(pointer):
    outcome = call(RETURN, f"(call $value_return (i64.const 10) (i64.const {pointer}))")
    assert outcome.status == "Accessed memory outside the bounds."


def test_an_empty_register_is_refused():
    assert call(RETURN, "(call $value_return (i64.const -1) (i64.const 9))").status == "Accessed invalid register 9"


def test_a_host_function_that_is_not_served_traps_by_name():
    outcome = call({"validator_stake": "qqq"}, "(call $validator_stake (i64.const 0) (i64.const 0) (i64.const 0))")
    assert outcome.status == "The host function validator_stake is not served by this runtime."


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("unreachable", "Unreachable"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "IllegalArithmetic"),
        ("(drop (i32.load (i32.const 70000)))", "MemoryOutOfBounds"),
    ],
)
def test_a_wasm_trap_is_named(body, name):
    outcome = call({}, body)
    assert outcome.status.startswith("WebAssembly trap: ")
    assert outcome.failure.debug == f"WasmTrap({name})"


def test_endless_recursion_ends_as_a_stack_overflow():
    code = bytes(wasmtime.wat2wasm('(module (func $f (export "main") (call $f)))'))
    assert run(code, "main", CallContext(current_account_id="a.near"), {}).failure.debug == "WasmTrap(StackOverflow)"


def test_an_endless_loop_burns_what_was_prepaid_and_no_more():
    outcome = call({}, "(loop (br 0))", prepaid_gas=TERA)
    assert outcome.status == "Exceeded the prepaid gas."
    assert outcome.gas_burnt == TERA


def test_no_call_burns_more_than_the_limit():
    outcome = call({}, "(loop (br 0))", prepaid_gas=2 * MAX_GAS)
    assert outcome.status == "Exceeded the maximum amount of gas allowed to burn per contract."
    assert outcome.gas_burnt == MAX_GAS


def test_host_calls_are_charged_too():
    outcome = call(STORAGE, f"(drop {WRITE})", b"keyvalue")
    assert 0.06 * TERA < outcome.gas_burnt < 0.1 * TERA
    assert call(STORAGE, f"(drop {WRITE})", b"keyvalue", prepaid_gas=outcome.gas_burnt // 2).status == (
        "Exceeded the prepaid gas."
    )


def test_memory_cannot_grow_past_the_limit():
    body = "(if (i32.ne (memory.grow (i32.const 3000)) (i32.const -1)) (then unreachable))"
    assert call({}, body).status == "ok"


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("", "MethodEmptyName"),
        ("missing", "MethodNotFound"),
        ("memory", "MethodNotFound"),
        ("takes", "MethodInvalidSignature"),
    ],
)
def test_a_method_that_cannot_be_called_is_named(method, name):
    code = bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "takes") (param i32)))'))
    failure = run(code, method, CallContext(current_account_id="a.near"), {}).failure
    assert (failure.kind, failure.detail) == (FailureKind.METHOD_RESOLVE, name)


@pytest.mark.parametrize(
    ("wat", "prepare_error"),
    [
        ('(module (import "wasi_snapshot_preview1" "fd_write" (func)))', "Instantiate"),
        ('(module (import "env" "memory" (memory 1)))', "Instantiate"),
        ('(module (import "env" "input" (func (param i32))))', "Instantiate"),
        ("(module (func (result i32 i32) (i32.const 1) (i32.const 2)))", "Deserialization"),
        ("(module (func (drop (v128.const i64x2 0 0))))", "Deserialization"),
        ("(module (memory 1 1 shared))", "Deserialization"),
        ("(module (memory i64 1))", "Deserialization"),
    ],
)
def test_code_that_could_never_run_is_refused(wat, prepare_error):
    code = bytes(wasmtime.wat2wasm(wat))
    with pytest.raises(CodeRefusedError) as caught:
        check_code(code)
    assert caught.value.failure.detail == prepare_error
    assert run(code, "main", CallContext(current_account_id="a.near"), {}).failure == caught.value.failure


@pytest.mark.parametrize(
    "wat",
    [
        "(module (func (drop (i32.extend8_s (i32.const 1)))))",
        "(module (func (drop (i32.trunc_sat_f32_s (f32.const 1)))))",
        "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1))))",
        "(module (table 1 externref))",
    ],
)
def test_the_features_of_protocol_version_84_are_accepted(wat):
    check_code(bytes(wasmtime.wat2wasm(wat)))


def test_code_over_the_size_limit_is_refused_before_it_is_compiled():
    with pytest.raises(CodeRefusedError, match="at most 4194304 bytes"):
        check_code(b"\0asm" + bytes(5 * 2**20))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_code_or_refused(data):
    for code in (data, b"\0asm\1\0\0\0" + data):
        outcome = run(code, "main", CallContext(current_account_id="a.near"), {})
        assert outcome.failure is not None


def test_compiled_code_is_reused_from_disk_and_a_foreign_file_is_replaced(tmp_path):
    code = contract({}, {"main": "nop"}, json.dumps({"unique": str(tmp_path)}).encode())
    cached = tmp_path / f"{hashlib.sha256(code).hexdigest()}.cwasm"
    cached.write_bytes(b"compiled by something else")
    use_disk_cache(tmp_path)
    try:
        check_code(code)
        assert len(cached.read_bytes()) > 1000
        _MACHINE._contracts.clear()
        assert run(code, "main", CallContext(current_account_id="a.near"), {}).status == "ok"
    finally:
        _MACHINE.disk_cache = None


def test_calls_from_several_threads_do_not_mix_their_failures():
    imports = {"panic_utf8": "qq", "input": "q", "read_register": "qq"}
    body = (
        "(call $input (i64.const 0)) (call $read_register (i64.const 0) (i64.const 0))"
        " (call $panic_utf8 (i64.const 1) (i64.const 0))"
    )
    code = contract(imports, {"main": body})
    panics = {}

    def worker(name):
        context = CallContext(current_account_id="a.near", input=name.encode())
        panics[name] = {run(code, "main", context, {}).panic for _ in range(100)}

    threads = [threading.Thread(target=worker, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert panics == {name: {name} for name in "abcd"}


def test_a_register_is_written_from_memory_and_measured():
    body = (
        "(call $write_register (i64.const 5) (i64.const 3) (i64.const 0))"
        "(i64.store (i32.const 16) (i64.add (call $register_len (i64.const 5)) (call $register_len (i64.const 6))))"
        "(call $read_register (i64.const 5) (i64.const 8)) (call $value_return (i64.const 16) (i64.const 8))"
    )
    imports = {"write_register": "qqq", "register_len": "q>q", "read_register": "qq", **RETURN}
    outcome = call(imports, body, b"abc")
    assert outcome.return_value[:3] == b"abc"
    assert int.from_bytes(outcome.return_value[8:], "little", signed=True) == 3 - 1  # an empty register is u64::MAX


def test_more_than_a_hundred_registers_fail_the_call():
    body = "(local i64) (loop (call $input (local.get 0)) (local.set 0 (i64.add (local.get 0) (i64.const 1))) (br 0))"
    assert call({"input": "q"}, body).status == "Accessed memory outside the bounds."


def test_used_gas_grows_with_the_call():
    body = "(i64.store (i32.const 0) (call $used_gas)) (call $value_return (i64.const 8) (i64.const 0))"
    outcome = call({"used_gas": ">q", **RETURN}, body)
    assert 0 < int.from_bytes(outcome.return_value, "little") < outcome.gas_burnt


VERIFY = (
    "(drop (call $ed25519_verify (i64.const {signature}) (i64.const 0) (i64.const 0) (i64.const 0)"
    " (i64.const {key}) (i64.const 0)))"
)


@pytest.mark.parametrize(
    ("imports", "body", "status"),
    [
        ({"panic": ""}, "(call $panic)", "Smart contract panicked: explicit guest panic"),
        (
            {"storage_read": "qqq>q"},
            "(drop (call $storage_read (i64.const 2049) (i64.const 0) (i64.const 0)))",
            "The length of a storage key 2049 exceeds the limit 2048",
        ),
        (
            {"log_utf8": "qq"},
            "(call $log_utf8 (i64.const 16385) (i64.const 0))",
            "The length of a log message 16385 exceeds the limit 16384",
        ),
        (
            {"log_utf16": "qq"},
            "(call $log_utf16 (i64.const 3) (i64.const 0))",
            "String encoding is bad UTF16 sequence.",
        ),
        (
            {"panic_utf8": "qq"},
            "(memory.fill (i32.const 0) (i32.const 65) (i32.const 65536)) (call $panic_utf8 (i64.const -1) (i64.const 0))",
            "Accessed memory outside the bounds.",
        ),
        (
            {"ed25519_verify": "qqqqqq>q"},
            VERIFY.format(signature=63, key=32),
            "Ed25519VerifyInvalidInput: invalid signature length",
        ),
        (
            {"ed25519_verify": "qqqqqq>q"},
            VERIFY.format(signature=64, key=31),
            "Ed25519VerifyInvalidInput: invalid public key length",
        ),
        (
            {"abort": "dddd"},
            "(call $abort (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))",
            "String encoding is bad UTF16 sequence.",
        ),
    ],
)
def test_a_host_function_refuses_by_name(imports, body, status):
    assert call(imports, body).status == status


def test_an_assembly_script_abort_tells_message_and_place():
    data = (4).to_bytes(4, "little") + "no".encode("utf-16-le") + (2).to_bytes(4, "little") + "f".encode("utf-16-le")
    outcome = call({"abort": "dddd"}, "(call $abort (i32.const 4) (i32.const 12) (i32.const 3) (i32.const 9))", data)
    assert outcome.panic == 'no, filename: "f" line: 3 col: 9'


@pytest.mark.parametrize(
    ("function", "signature", "body", "status"),
    [
        (
            "value_return",
            "qq",
            "(call $value_return (i64.const 4194305) (i64.const 0))",
            "The length of a returned value 4194305 exceeds the limit 4194304",
        ),
        (
            "storage_write",
            "qqqqq>q",
            "(drop (call $storage_write (i64.const 1) (i64.const 0) (i64.const 4194305) (i64.const 0) (i64.const 0)))",
            "The length of a storage value 4194305 exceeds the limit 4194304",
        ),
    ],
)
def test_values_over_four_mebibytes_are_refused(function, signature, body, status):
    code = contract({function: signature}, {"main": body}, pages=80)
    assert run(code, "main", CallContext(current_account_id="a.near"), {}).status == status
