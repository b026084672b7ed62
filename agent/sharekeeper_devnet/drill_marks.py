"""The marks of a drill: what its playbook recorded while it ran, one JSON object per line.

The callback plugin of the playbooks writes them; the report is made of them and of nothing else.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")

PLAY: Final = "play"
"""Name of the mark that opens a phase."""


class MarksInvalid(Exception):
    """The marks are not what the drill's playbook writes; the message says which and how."""


class StepMissing(MarksInvalid):
    """The drill did not come to a step; `step` is its name."""

    def __init__(self, step: str) -> None:
        super().__init__(f"the drill did not come to the step {step!r}")
        self.step = step


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One marked task on one host, or the beginning of a phase.

    Attributes:
        name: which step of the drill (`loss`, `sign_after`, ...), `play` for a phase, `failure` for a failed task.
        task: the task's or phase's name, a sentence.
        host: the host it ran on; empty for a phase.
        start: seconds since 1970, UTC.
        end: the same; equal to `start` for a phase.
        ok: whether the task did what the playbook expects.
        exit_status: of what it ran.
        command: the words it ran.
        facts: the JSON object it printed.
        message: why it failed, empty if it did not.
    """

    name: str
    task: str
    start: float
    end: float
    host: str = ""
    ok: bool = True
    exit_status: int = 0
    command: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start

    def word_after(self, option: str) -> str:
        """The word that follows `option` in the command. Raises `MarksInvalid` if there is none."""
        if option not in self.command[:-1]:
            raise MarksInvalid(f"the command of {self.name!r} has no {option}")
        return self.command[self.command.index(option) + 1]

    def fact(self, name: str, kind: Callable[[Any], T]) -> T:
        """The fact `name`, as `kind` makes it. Raises `MarksInvalid` when it is absent or unfit."""
        try:
            return kind(self.facts[name])
        except KeyError:
            raise MarksInvalid(f"the mark {self.name!r} of {self.host} lacks the fact {name!r}") from None
        except (TypeError, ValueError):
            raise MarksInvalid(f"the fact {name!r} of the mark {self.name!r} of {self.host} is unfit") from None


def read_marks(path: Path) -> tuple[Mark, ...]:
    """All marks of a file, in the order they were written; a last line cut short by a kill is left out.

    Raises:
        MarksInvalid: a whole line is no mark.
        OSError: the file cannot be read.
    """
    return tuple(_decode(path.read_text(encoding="utf-8")))


def _decode(text: str) -> Iterator[Mark]:
    whole, _, _ = text.rpartition("\n")
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            yield _mark(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise MarksInvalid(f"line {number} is no mark: {error}") from None


def _mark(value: Mapping[str, Any]) -> Mark:
    command = value.get("command") or ()
    return Mark(
        name=str(value["name"]),
        task=str(value["task"]),
        start=float(value["start"]),
        end=float(value.get("end", value["start"])),
        host=str(value.get("host", "")),
        ok=bool(value.get("ok", True)),
        exit_status=int(value.get("exit_status", 0)),
        command=tuple(map(str, [command] if isinstance(command, str) else command)),
        facts=dict(value.get("facts", {})),
        message=str(value.get("message", "")),
    )
