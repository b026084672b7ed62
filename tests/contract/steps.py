"""Steps of the call sequences: what a step is, how it is played, and short names for each call.

A `Sequence` is data: steps in order, each with what must come of it. A `Layer` is one form of the contract: its
Python sources, its wasm, or the wasm behind a chain's RPC. Heights only grow; a layer with a chain of its own brings
it to the height of the step first.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.contract.world import (
    ALICE,
    BOB,
    CONTRACT,
    MALLORY,
    code_hash,
    info,
    init_arguments,
    key,
    keyset_digest,
    node_signer,
    recovery_arguments,
    sign_arguments,
    signature,
)


class RefusedError(Exception):
    """The contract refused; the text is its sentence."""


class Layer(Protocol):
    """One form of the contract. Keys are names (world.py); both methods raise RefusedError."""

    def call(self, *, caller: str, signer: str, method: str, args: Any, height: int) -> Any: ...

    def view(self, *, method: str, args: Any, height: int) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that returns `result`, or is refused with a sentence that contains `refusal`."""

    method: str
    caller: str
    signer: str
    args: Any
    height: int
    result: Any = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A view whose answer has `value` at `path`, or which is refused."""

    method: str
    args: Any = field(default_factory=dict)
    height: int
    path: tuple[str | int, ...] = ()
    value: Any = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    name: str
    steps: tuple[Call | Look, ...]


def run(layer: Layer, sequence: Sequence) -> None:
    """Plays the steps; fails at the first that does not come out as written."""
    for number, step in enumerate(sequence.steps, 1):
        where = f"{sequence.name}, step {number}, {step.method}"
        outcome, refusal = play(layer, step)
        if step.refusal is None:
            assert refusal is None, f"{where}: refused: {refusal}"
            assert outcome == (step.result if isinstance(step, Call) else step.value), f"{where}: {outcome}"
        else:
            assert refusal is not None, f"{where}: accepted"
            assert step.refusal in refusal, f"{where}: refused otherwise: {refusal}"


def play(layer: Layer, step: Call | Look) -> tuple[Any, str | None]:
    """What the step returned, or the sentence it was refused with."""
    try:
        return take(layer, step), None
    except RefusedError as refused:
        return None, str(refused)


def take(layer: Layer, step: Call | Look) -> Any:
    if isinstance(step, Call):
        return layer.call(
            caller=step.caller, signer=step.signer, method=step.method, args=step.args, height=step.height
        )
    answer = layer.view(method=step.method, args=step.args, height=step.height)
    for part in step.path:
        answer = answer[part]
    return answer


NEW = "alice replacement access key"
NEW_TLS = "alice replacement TLS key"
BACKUP = "alice backup access key"
BACKUP_TLS = "alice backup TLS key"
SECOND = "alice second backup access key"
SECOND_TLS = "alice second backup TLS key"
OPERATOR = "alice operator key"


def init(height: int = 1, **expected: Any) -> Call:
    return Call(
        method="init", caller=CONTRACT, signer="the contract's key", args=init_arguments(), height=height, **expected
    )


def register(
    height: int,
    *,
    caller: str = ALICE,
    signer: str = BACKUP,
    tls: str = BACKUP_TLS,
    slot: Any = None,
    evidence: Any = None,
    **expected: Any,
) -> Call:
    args = {"backup_service_info": {"public_key": key(tls)}} | those(slot=slot, evidence=evidence)
    return Call(method="register_backup_service", caller=caller, signer=signer, args=args, height=height, **expected)


def those(**optional: Any) -> dict[str, Any]:
    """Those arguments that there are."""
    return {name: value for name, value in optional.items() if value is not None}


def submit(
    height: int, *, caller: str, signer: str, tls: str, address: str, evidence: Any = None, **expected: Any
) -> Call:
    args = {"participant_info": info(tls, address)} | those(evidence=evidence)
    return Call(method="submit_participant_info", caller=caller, signer=signer, args=args, height=height, **expected)


def submit_recovery(
    height: int,
    *,
    caller: str = ALICE,
    signer: str = NEW,
    tls: str = NEW_TLS,
    args: Any = None,
    evidence: Any = None,
    **expected: Any,
) -> Call:
    return Call(
        method="submit_participant_recovery_info",
        caller=caller,
        signer=signer,
        args=(args or recovery_arguments(caller, tls)) | those(evidence=evidence),
        height=height,
        **expected,
    )


def confirm(height: int, recovery_id: int = 1, *, caller: str = ALICE, signer: str = BACKUP, **expected: Any) -> Call:
    args = {"recovery_id": recovery_id}
    return Call(method="confirm_key_share_delivery", caller=caller, signer=signer, args=args, height=height, **expected)


def conclude(height: int, recovery_id: int = 1, *, signer: str = NEW, digest: str = "", **expected: Any) -> Call:
    args = {"recovery_id": recovery_id, "expected_keyset": digest or keyset_digest()}
    return Call(method="conclude_recovery", caller=ALICE, signer=signer, args=args, height=height, **expected)


def cancel(height: int, recovery_id: int = 1, *, caller: str = ALICE, signer: str, **expected: Any) -> Call:
    args = {"recovery_id": recovery_id}
    return Call(method="cancel_recovery", caller=caller, signer=signer, args=args, height=height, **expected)


def expire(height: int, recovery_id: int = 1, *, caller: str = MALLORY, signer: str = "any", **expected: Any) -> Call:
    args = {"recovery_id": recovery_id}
    return Call(method="expire_recovery", caller=caller, signer=signer, args=args, height=height, **expected)


def waive(height: int, *, caller: str, signer: str = "", account: str = ALICE, **expected: Any) -> Call:
    signer = signer or node_signer(caller)
    args = {"account_id": account}
    return Call(method="waive_recovery_cooldown", caller=caller, signer=signer, args=args, height=height, **expected)


def change_url(height: int, address: Any, *, caller: str = ALICE, signer: str = "", **expected: Any) -> Call:
    signer = signer or node_signer(caller)
    args = {"url": address}
    return Call(method="update_participant_url", caller=caller, signer=signer, args=args, height=height, **expected)


def ask(height: int, args: Any = None, *, caller: str = MALLORY, **expected: Any) -> Call:
    args = args or sign_arguments()
    return Call(method="sign", caller=caller, signer=f"{caller} key", args=args, height=height, **expected)


def answer(height: int, request_id: int = 1, *, caller: str = BOB, given: str = "", **expected: Any) -> Call:
    args = {"request_id": request_id, "signature": given or signature()}
    return Call(method="respond", caller=caller, signer=f"{caller} responder", args=args, height=height, **expected)


def publish(height: int, record: Any, *, caller: str = ALICE, signer: str = BACKUP, **expected: Any) -> Call:
    args = {"record": record}
    return Call(method="submit_ephemeral_key", caller=caller, signer=signer, args=args, height=height, **expected)


def vote_code(height: int, code: Any, allow: Any = True, *, caller: str, signer: str = "", **expected: Any) -> Call:
    """A vote on the node's code hash of the name `code`, or on that text if it is none's."""
    signer = signer or node_signer(caller)
    args = {"code_hash": code_hash(code) if isinstance(code, str) else code, "allow": allow}
    return Call(method="vote_node_code_hash", caller=caller, signer=signer, args=args, height=height, **expected)


def shows_keys(height: int, *path: str | int, value: Any, account: str = ALICE) -> Look:
    return Look(method="ephemeral_keys", args={"account_id": account}, height=height, path=path, value=value)


def shows(height: int, *path: str | int, value: Any) -> Look:
    return Look(method="state", height=height, path=path, value=value)


def shows_account(height: int, *path: str | int, value: Any, account: str = ALICE) -> Look:
    return Look(method="participant_info", args={"account_id": account}, height=height, path=path, value=value)


def shows_info_of_alice(height: int, value: dict[str, str]) -> Look:
    return shows(height, "Running", "parameters", "participants", "participants", 0, value=[ALICE, 0, value])


def is_running(height: int) -> Look:
    return shows(height, "Running", "keyset", "epoch_id", value=5)


def pair(signer: str, tls: str, address: str, evidence: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"url": address, "tls_public_key": key(tls), "signer_account_pk": key(signer), "evidence": evidence}


IN_RECOVERY = (init(), register(10), submit_recovery(20, result={"recovery_id": 1}))
