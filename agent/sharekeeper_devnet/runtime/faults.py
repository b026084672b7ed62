"""Why a contract call failed, in the words nearcore uses towards clients."""

from dataclasses import dataclass
from enum import StrEnum


class FailureKind(StrEnum):
    """The variant of nearcore's `FunctionCallError` that clients see."""

    COMPILATION = "CompilationError"
    LINK = "LinkError"
    METHOD_RESOLVE = "MethodResolveError"
    EXECUTION = "ExecutionError"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFailure:
    """A failed call.

    Attributes:
        kind: the variant of `FunctionCallError`.
        detail: what stands inside that variant: a sentence for EXECUTION and LINK, a variant name for
            METHOD_RESOLVE (`MethodNotFound`) and COMPILATION (a `PrepareError`, or `CodeDoesNotExist`).
        debug: the form in which a view call reports it after `wasm execution failed with error: `.
        panic: the contract's own message, when it panicked with one.
    """

    kind: FailureKind
    detail: str
    debug: str
    panic: str | None = None


class HostFaultError(Exception):
    """A host function refused; the call ends here and changes nothing."""

    def __init__(self, name: str, sentence: str, *, fields: str = "", panic: str | None = None) -> None:
        super().__init__(sentence)
        debug = f"HostError({name}{f' {{ {fields} }}' if fields else ''})"
        self.failure = CallFailure(kind=FailureKind.EXECUTION, detail=sentence, debug=debug, panic=panic)


def quoted(text: str) -> str:
    """`text` as Rust's debug formatting would print it, near enough for a client that searches in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped.replace(chr(9), chr(92) + "t")}"'


def guest_panic(message: str) -> HostFaultError:
    """The contract panicked with `message`."""
    return HostFaultError(
        "GuestPanic", f"Smart contract panicked: {message}", fields=f"panic_msg: {quoted(message)}", panic=message
    )


def prohibited_in_view(method_name: str) -> HostFaultError:
    """A view called `method_name`, which only a transaction may call."""
    return HostFaultError(
        "ProhibitedInView",
        f"{method_name} is not allowed in view calls",
        fields=f"method_name: {quoted(method_name)}",
    )


def gas_exceeded(*, by_prepaid: bool) -> HostFaultError:
    """The call used up its gas: what was attached (`by_prepaid`), or what any call may burn."""
    if by_prepaid:
        return HostFaultError("GasExceeded", "Exceeded the prepaid gas.")
    return HostFaultError("GasLimitExceeded", "Exceeded the maximum amount of gas allowed to burn per contract.")


def memory_access_violation() -> HostFaultError:
    """The contract named memory it does not have."""
    return HostFaultError("MemoryAccessViolation", "Accessed memory outside the bounds.")


def invalid_register(register_id: int) -> HostFaultError:
    """The contract read a register nothing was written to."""
    return HostFaultError(
        "InvalidRegisterId", f"Accessed invalid register {register_id}", fields=f"register_id: {register_id}"
    )


def over_limit(name: str, what: str, length: int, limit: int) -> HostFaultError:
    """`what` is `length` long and may be `limit`."""
    return HostFaultError(
        name, f"The length of {what} {length} exceeds the limit {limit}", fields=f"length: {length}, limit: {limit}"
    )


def over_count(name: str, what: str, count: int, limit: int) -> HostFaultError:
    """There are `count` of `what` and may be `limit`."""
    return HostFaultError(
        name, f"The number of {what} {count} exceeds the limit {limit}", fields=f"number: {count}, limit: {limit}"
    )


def invalid_index(name: str, sentence: str, field: str, index: int) -> HostFaultError:
    """The contract named something by an `index` it does not have."""
    return HostFaultError(name, sentence, fields=f"{field}: {index}")


def balance_exceeded() -> HostFaultError:
    """The contract gave away more than its account holds."""
    return HostFaultError("BalanceExceeded", "Exceeded the account balance.")


def bad_text(encoding: str) -> HostFaultError:
    """A string of the contract is not valid `encoding` (`UTF8` or `UTF16`)."""
    return HostFaultError(f"Bad{encoding}", f"String encoding is bad {encoding} sequence.")


def method_failure(name: str) -> CallFailure:
    """The method cannot be called: `MethodEmptyName`, `MethodNotFound` or `MethodInvalidSignature`."""
    return CallFailure(kind=FailureKind.METHOD_RESOLVE, detail=name, debug=f"MethodResolveError({name})")


def compilation_failure(prepare_error: str) -> CallFailure:
    """The code cannot run here: a variant of nearcore's `PrepareError`."""
    return CallFailure(
        kind=FailureKind.COMPILATION,
        detail=prepare_error,
        debug=f"CompilationError(PrepareError({prepare_error}))",
    )


def trap_failure(name: str, sentence: str) -> CallFailure:
    """The wasm itself trapped."""
    return CallFailure(kind=FailureKind.EXECUTION, detail=f"WebAssembly trap: {sentence}", debug=f"WasmTrap({name})")


def unknown_import_failure(name: str) -> HostFaultError:
    """The contract called a host function that is not served here."""
    return HostFaultError("UnknownHostFunction", f"The host function {name} is not served by this runtime.")


def invalid_argument(name: str, sentence: str) -> HostFaultError:
    """A host function was given an argument it cannot use."""
    return HostFaultError(name, f"{name}: {sentence}", fields=f"msg: {quoted(sentence)}")
