"""The committed wasm: what it is and what it offers (what its calls cost: test_gas.py)."""

import hashlib
from datetime import UTC, datetime

import wasmtime

from contract.logic import CALLS, VIEWS
from sharekeeper_devnet.runtime import check_code
from tests.contract.layers import WASM


def module() -> wasmtime.Module:
    config = wasmtime.Config()
    for feature in ("bulk_memory", "multi_value", "simd", "relaxed_simd", "threads", "tail_call"):
        setattr(config, f"wasm_{feature}", False)
    return wasmtime.Module(wasmtime.Engine(config), WASM.read_bytes())


def test_the_digest_file_names_the_wasm() -> None:
    digest = hashlib.sha256(WASM.read_bytes()).hexdigest()
    assert WASM.with_suffix(".wasm.sha256").read_text() == f"{digest}  {WASM.name}\n"


def test_the_wasm_runs_on_every_protocol_version() -> None:
    check_code(WASM.read_bytes())
    assert {item.module for item in module().imports} == {"env"}


def test_the_wasm_exports_the_methods_and_nothing_else() -> None:
    exported = {item.name for item in module().exports}
    assert exported == {*CALLS, *VIEWS, "version", "memory", "_initialize"}


def test_the_wasm_tells_nothing_of_the_machine_that_built_it() -> None:
    code = WASM.read_bytes()
    root = str(WASM.parents[2]).encode()
    today = datetime.now(tz=UTC).strftime("%Y-").encode()
    for trace in (root, b"/home/", b"/root/", b"/tmp/", b"/usr/", b"site-packages", b".build", b"-dirty", today):
        assert trace not in code
