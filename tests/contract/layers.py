"""Two forms of the contract as a `Layer`: its Python sources under CPython, and its wasm."""

import contextlib
import hashlib
import importlib
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sharekeeper_devnet.runtime import CallContext, run
from tests.contract.steps import RefusedError
from tests.contract.world import CONTRACT, NOW, key, raw_key

WASM = Path(__file__).resolve().parents[2] / "agent" / "contract" / "mpc_contract.wasm"
QUESTIONS_OF_CALLS = ("signer_account_id", "signer_account_pk", "predecessor_account_id", "attached_deposit")


def verify(signature: bytes, message: bytes, public_key: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class NearModule(types.ModuleType):
    """The module `near` of the contract's Python, with storage in a dict."""

    def __init__(self) -> None:
        super().__init__("near")
        self.storage: dict[str, str] = {}
        self.context: CallContext | None = None
        self.returned = ""

    def __getattr__(self, name: str) -> Any:
        if name in QUESTIONS_OF_CALLS and self.context.is_view:
            raise RuntimeError("ProhibitedInView")
        answers = {
            "block_height": lambda: self.context.block_height,
            "block_timestamp": lambda: self.context.block_timestamp,
            "current_account_id": lambda: self.context.current_account_id,
            "signer_account_id": lambda: self.context.signer_account_id,
            "signer_account_pk": lambda: b"\0" + self.signer_key,
            "predecessor_account_id": lambda: self.context.predecessor_account_id,
            "attached_deposit": lambda: self.context.attached_deposit,
            "input": lambda: self.context.input,
        }
        if name not in answers:
            raise AttributeError(name)
        return answers[name]

    def export(self, function: Any) -> Any:
        return function

    def storage_read(self, name: str) -> bytes | None:
        value = self.storage.get(name)
        return None if value is None else value.encode()

    def storage_write(self, name: str, value: str) -> None:
        if self.context.is_view:
            raise RuntimeError("ProhibitedInView")
        self.storage[name] = value

    def storage_remove(self, name: str) -> None:
        del self.storage[name]

    def value_return(self, value: str) -> None:
        self.returned = value

    def panic_utf8(self, message: str) -> None:
        raise RefusedError(message)

    def sha256(self, data: bytes) -> bytes:
        return sha256(data)

    def ed25519_verify(self, signature: bytes, message: bytes, public_key: bytes) -> bool:
        return verify(signature, message, public_key)


@contextlib.contextmanager
def near_module() -> Iterator[NearModule]:
    """A fresh `near` module, and the contract's own modules able to import it."""
    near = NearModule()
    kept = sys.modules.get("near")
    sys.modules["near"] = near
    try:
        yield near
    finally:
        sys.modules.pop("contract.contract", None)
        if kept is None:
            del sys.modules["near"]
        else:
            sys.modules["near"] = kept


def context(
    *, method_is_view: bool, args: Any, height: int, now: int, caller: str = "", signer: str = ""
) -> CallContext:
    raw = args if isinstance(args, bytes) else json.dumps(args).encode()
    time_ns = now * 10**9 + height
    if method_is_view:
        return CallContext(
            current_account_id=CONTRACT, input=raw, block_height=height, block_timestamp=time_ns, is_view=True
        )
    return CallContext(
        block_timestamp=time_ns,
        current_account_id=CONTRACT,
        signer_account_id=caller,
        signer_public_key=key(signer),
        predecessor_account_id=caller,
        input=raw,
        block_height=height,
    )


class SourceLayer:
    """The Python sources, run by this Python. Use inside `near_module()`. `now` is the time of the blocks in seconds."""

    def __init__(self, near: NearModule) -> None:
        self.near = near
        self.now = NOW
        self.contract = importlib.import_module("contract.contract")

    def call(self, *, caller: str, signer: str, method: str, args: Any, height: int) -> Any:
        self.near.signer_key = raw_key(signer)
        return self.execute(
            method, context(method_is_view=False, args=args, height=height, now=self.now, caller=caller, signer=signer)
        )

    def view(self, *, method: str, args: Any, height: int) -> Any:
        return self.execute(method, context(method_is_view=True, args=args, height=height, now=self.now))

    def execute(self, method: str, call: CallContext) -> Any:
        kept = dict(self.near.storage)
        self.near.context = call
        try:
            getattr(self.contract, method)()
        except ValueError as error:  # arguments that are no JSON end the call in wasm as well
            self.near.storage = kept
            raise RefusedError(f"{type(error).__name__}: syntax error in JSON") from error
        except RefusedError:
            self.near.storage = kept
            raise
        return json.loads(self.near.returned)


class WasmLayer:
    """The committed wasm in the runtime of the dev chain. `gas` lists (method, gas burnt) of the calls made; `now` as above."""

    def __init__(self) -> None:
        self.code = WASM.read_bytes()
        self.now = NOW
        self.storage: dict[bytes, bytes] = {}
        self.gas: list[tuple[str, int]] = []

    def call(self, *, caller: str, signer: str, method: str, args: Any, height: int) -> Any:
        return self.execute(
            method, context(method_is_view=False, args=args, height=height, now=self.now, caller=caller, signer=signer)
        )

    def view(self, *, method: str, args: Any, height: int) -> Any:
        return self.execute(method, context(method_is_view=True, args=args, height=height, now=self.now))

    def execute(self, method: str, call: CallContext) -> Any:
        outcome = run(self.code, method, call, self.storage)
        self.gas.append((method, outcome.gas_burnt))
        if outcome.failure is not None:
            assert outcome.panic is not None, f"{method} ended other than by a refusal: {outcome.status}"
            raise RefusedError(outcome.panic)
        outcome.apply_to(self.storage)
        return json.loads(outcome.return_value)
