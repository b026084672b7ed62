"""What a contract may not do with promises, and the sentence that names it."""

import pytest

from sharekeeper_devnet.chain import NEAR
from sharekeeper_devnet.runtime import CallContext, run
from tests.devchain.conftest import TERA
from tests.devchain.ledger_world import World, failure, script_genesis
from tests.devchain.promise_wat import SCRIPT_WASM, SIGNATURES, At, Script, amount


@pytest.fixture
def world(tmp_path):
    opened = World(tmp_path)
    yield opened
    opened.ledger.close()


def joint(script: Script):
    """The promise of two promises."""
    for _ in range(2):
        script.promise_batch_create("two.near")
    return script.promise_and(At(bytes(8) + (1).to_bytes(8, "little")), 2)


def too_many_promises(script: Script) -> None:
    for _ in range(1025):
        script.promise_and(At(b""), 0)


def too_many_inputs(script: Script) -> None:
    script.promise_batch_create("two.near")
    script.promise_and(At(bytes(8 * 129)), 129)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (lambda s: s.promise_return(5), "5 does not correspond to existing promises"),
        (lambda s: s.promise_batch_action_transfer(0, amount(1)), "0 does not correspond to existing promises"),
        (lambda s: s.promise_batch_then(9, "two.near"), "9 does not correspond to existing promises"),
        (lambda s: s.promise_return(joint(s)), "Returning joint promise is currently prohibited."),
        (
            lambda s: s.promise_batch_action_create_account(joint(s)),
            "Actions can only be appended to non-joint promise.",
        ),
        (lambda s: s.promise_result(0, 0), "Accessed invalid promise result index: 0"),
        (
            lambda s: s.promise_create("two.near", "run", b"", amount(10**30), TERA),
            "Exceeded the account balance.",
        ),
        (lambda s: s.promise_create("two.near", "", b"", amount(0), TERA), "Tried to call an empty method name."),
        (lambda s: s.promise_batch_create("NOT an id"), "VM Logic returned an invalid account id"),
        (lambda s: s.promise_create("two.near", "run", b"", amount(0), 400 * TERA), "Exceeded the prepaid gas."),
        (
            lambda s: s.promise_batch_action_delete_key(s.promise_batch_create("one.near"), b"\7" * 33),
            "VM Logic provided an invalid public key",
        ),
        (too_many_promises, "The number of promises 1025 exceeds the limit 1024"),
        (too_many_inputs, "The number of input data dependencies 129 exceeds the limit 128"),
        (
            lambda s: s.promise_yield_resume(bytes(32), bytes(1025)),
            "Yield resume payload is 1025 bytes which exceeds the 1024 byte limit",
        ),
        (lambda s: s.promise_yield_resume(bytes(31), b""), "Data Id has to be 32 bytes."),
    ],
)
def test_a_limit_is_a_failure_that_names_it(body, sentence):
    script = Script()
    body(script)
    context = CallContext(current_account_id="one.near", input=bytes(script), account_balance=NEAR)
    outcome = run(SCRIPT_WASM, "run", context, {})
    assert outcome.status == sentence
    assert (outcome.receipts, outcome.gas_reserved, outcome.spent) == ((), 0, 0)


def test_a_receipt_that_breaks_a_limit_of_receipts_fails_the_call(world):
    script = Script()
    batch = script.promise_batch_create("two.near")
    script.promise_batch_action_function_call(batch, "m" * 257, b"", amount(0), TERA)
    detail = {"FunctionCallMethodNameLengthExceeded": {"length": 257, "limit": 256}}
    assert failure(world.run(script)) == {"NewReceiptValidationError": {"ActionsValidation": detail}}


@pytest.mark.parametrize("name", [name for name in SIGNATURES if name.startswith("promise") and "stake" not in name])
def test_a_view_makes_no_promises(name):
    script = Script()
    params = SIGNATURES[name].partition(">")[0]
    getattr(script, name)(*([0] * len(params)))
    outcome = run(SCRIPT_WASM, "run", CallContext(current_account_id="one.near", input=bytes(script), is_view=True), {})
    expected = {"promise_create": "promise_batch_create", "promise_then": "promise_batch_then"}.get(name, name)
    assert outcome.status == f"{expected} is not allowed in view calls"


def test_chains_with_different_yield_time_outs_are_different_chains():
    assert script_genesis().digest != script_genesis(yield_timeout_blocks=9).digest
