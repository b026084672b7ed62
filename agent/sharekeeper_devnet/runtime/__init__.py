"""NEAR contracts as real wasm, without a chain.

A contract call is a function of values: code, method, context and storage go in, an `Outcome` comes out.
Nothing else is read or written, so contract tests need no node::

    from pathlib import Path
    from sharekeeper_devnet.runtime import CallContext, run

    code = Path("mpc_contract.wasm").read_bytes()
    storage: dict[bytes, bytes] = {}
    context = CallContext(
        current_account_id="mpc.test.near",
        signer_account_id="alice.test.near",
        signer_public_key="ed25519:AefQKyip38jWdWyX1zwgbx3rRjNJB1U9Cj5oxzFih3nX",
        predecessor_account_id="alice.test.near",
        input=b'{"account_id": "alice.test.near"}',
        block_height=120,
    )
    outcome = run(code, "init", context, storage)
    if outcome.failure is None:
        outcome.apply_to(storage)   # the caller decides when writes become storage
    print(outcome.return_value, outcome.logs, outcome.gas_burnt, outcome.panic)

A view is the same call with `is_view=True` in its context. Promises come out as values too: `outcome.receipts` is
what the contract asked for, and whoever calls decides what becomes of it. A contract that calls a host function
not served here traps with the name of that function.
"""

from sharekeeper_devnet.runtime.faults import CallFailure, FailureKind
from sharekeeper_devnet.runtime.gas import MAX_GAS, TERA
from sharekeeper_devnet.runtime.promises import DataReceiver, NewReceipt, Resumption
from sharekeeper_devnet.runtime.public_key import InvalidPublicKeyError, PublicKey
from sharekeeper_devnet.runtime.values import CallContext, Outcome, Storage
from sharekeeper_devnet.runtime.vm import CodeRefusedError, check_code, run, use_disk_cache

__all__ = [
    "MAX_GAS",
    "TERA",
    "CallContext",
    "CallFailure",
    "CodeRefusedError",
    "DataReceiver",
    "FailureKind",
    "InvalidPublicKeyError",
    "NewReceipt",
    "Outcome",
    "PublicKey",
    "Resumption",
    "Storage",
    "check_code",
    "run",
    "use_disk_cache",
]
