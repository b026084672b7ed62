"""The committed wasm: what it is, what it offers, and what its calls cost."""

import hashlib
from datetime import UTC, datetime

import wasmtime

from contract.logic import CALLS, VIEWS
from sharekeeper_devnet.runtime import TERA, check_code
from tests.contract import steps
from tests.contract.layers import WASM, WasmLayer
from tests.contract.steps import take
from tests.contract.world import (
    ALICE,
    CONTRACT,
    code_hash,
    ephemeral_record,
    info,
    init_arguments,
    key,
    measurements,
    node_signer,
    node_tls,
    url,
)

MOST_TERA_OF_A_CALL = 6


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


def network(size: int) -> dict:
    """Arguments of init for `size` participants."""
    names = [f"node-{number}.test.near" for number in range(size - 1)] + [ALICE]
    entries = [[name, number, info(node_tls(name), url(name))] for number, name in enumerate(names)]
    parameters = {"participants": {"next_id": size, "participants": entries}, "threshold": size - 1}
    signer_keys = {name: key(node_signer(name)) for name in names}
    return init_arguments() | {"parameters": parameters, "signer_keys": signer_keys}


def gas_by_method(size: int) -> dict[str, float]:
    """TGas of one call of each method, in a network of `size` participants and two domains."""
    layer = WasmLayer()
    layer.call(caller=CONTRACT, signer="contract", method="init", args=network(size), height=1)
    voter = "node-0.test.near"
    opening = ephemeral_record(expires_on=70, recovery_id=1)
    answering = ephemeral_record(expires_on=70, recovery_id=1, answers=opening, tls=steps.NEW_TLS)
    calls = (
        steps.register(10),
        steps.submit(10, caller=ALICE, signer=node_signer(ALICE), tls=node_tls(ALICE), address=url(ALICE)),
        steps.change_url(10, "https://moved.example"),
        steps.submit_recovery(20),
        steps.publish(20, opening),
        steps.publish(20, answering, signer=steps.NEW),
        steps.Look(method="ephemeral_keys", args={"account_id": ALICE}, height=20),
        steps.cancel(21, caller=voter, signer=node_signer(voter)),
        steps.confirm(22),
        steps.Look(method="state", height=22),
        steps.conclude(23),
        steps.waive(24, caller=voter),
        *(
            steps.Call(method=method, caller=voter, signer=node_signer(voter), args=args | {"allow": True}, height=24)
            for method, args in (
                ("vote_node_code_hash", {"code_hash": code_hash("a node")}),
                ("vote_backup_service_code_hash", {"code_hash": code_hash("a service")}),
                ("vote_measurements", {"measurements": measurements("a TEE")}),
            )
        ),
        *(
            steps.Look(method=method, height=24)
            for method in (
                "allowed_node_code_hashes",
                "allowed_backup_service_code_hashes",
                "allowed_measurements",
                "code_hash_votes",
            )
        ),
        steps.ask(25),
        steps.answer(25, caller=voter),
        steps.submit_recovery(1100, caller=voter, signer="new", tls="new TLS"),
        steps.expire(1300, 2),
        steps.Look(method="participant_info", args={"account_id": ALICE}, height=1300),
        steps.Look(method="backup_services", height=1300),
        steps.Look(method="signature_request", args={"request_id": 1}, height=1300),
        steps.Look(method="open_signature_requests", height=1300),
    )
    for step in calls:
        take(layer, step)
    return {method: gas / TERA for method, gas in layer.gas}


def test_a_call_costs_little_and_hardly_more_with_many_participants() -> None:
    small, large = gas_by_method(4), gas_by_method(20)
    for method in CALLS:
        if method != "init":
            assert large[method] < MOST_TERA_OF_A_CALL
            assert large[method] < small[method] * 1.2


def test_a_network_of_a_hundred_participants_fits_in_one_call() -> None:
    layer = WasmLayer()
    layer.call(caller=CONTRACT, signer="contract", method="init", args=network(100), height=1)
    state = layer.view(method="state", args={}, height=1)
    assert len(state["Running"]["parameters"]["participants"]["participants"]) == 100
    assert layer.gas[0][1] < 200 * TERA
