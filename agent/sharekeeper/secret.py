"""Bytes that must not be seen.

Python cannot wipe memory: copies may live in the interpreter until it reuses them, and in a core
dump or swap if the host allows those. `Secret` only keeps the bytes out of text: logs, tracebacks,
`repr`, JSON and pickles.
"""

import hmac
from typing import Final, NoReturn, Self

_HIDDEN: Final = "Secret(hidden)"


class Secret:
    """Bytes whose every textual form is hidden; `reveal()` is the only way out."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """The secret written as hex. Raises `ValueError` without quoting the text."""
        try:
            return cls(bytes.fromhex(text))
        except ValueError:
            raise ValueError("not hexadecimal") from None

    def reveal(self) -> bytes:
        """The bytes. Call it where they are used, and keep the result in no other object."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        """Equal bytes, compared in constant time."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret in a set or dict would outlive it

    def __repr__(self) -> str:
        return _HIDDEN

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return _HIDDEN

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")
