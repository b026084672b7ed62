"""Reading TOML tables so that every mistake is collected, and told in one message (docs/architecture.md, bad input)."""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from sharekeeper.errors import ConfigInvalid

T = TypeVar("T")
REQUIRED: Final = object()
"""The default of a name that must be written."""


class Table:
    """One TOML table under reading: each name is taken once, what is left over is unknown."""

    def __init__(self, content: Mapping[str, Any], prefix: str, mistakes: list[str]) -> None:
        self._content = content
        self._prefix = prefix
        self._known: list[str] = []
        self._tables: list[Table] = []
        self.mistakes = mistakes

    def mistake(self, name: str, sentence: str) -> None:
        self.mistakes.append(f"{self._prefix}{name}: {sentence}")

    def take(self, name: str, parse: Callable[[Any], T], *, default: Any = REQUIRED) -> Any:  # noqa: ANN401
        """The parsed value, the default, or None after noting a mistake (then no configuration is returned)."""
        self._known.append(name)
        if name not in self._content:
            if default is REQUIRED:
                self.mistake(name, "is missing")
                return None
            return default
        try:
            return parse(self._content[name])
        except (ValueError, TypeError) as error:
            self.mistake(name, str(error))
            return None

    def table(self, name: str) -> "Table":
        self._known.append(name)
        content = self._content.get(name, {})
        if not isinstance(content, dict):
            self.mistake(name, f"must be a table: write [{self._prefix}{name}]")
            content = {}
        elif name not in self._content:
            self.mistake(name, f"is missing: write [{self._prefix}{name}]")
        inner = Table(content, f"{self._prefix}{name}.", self.mistakes)
        self._tables.append(inner)
        return inner

    def tables(self, name: str) -> "list[Table]":
        """The tables of an array `[[name]]`, none if it is absent."""
        self._known.append(name)
        content = self._content.get(name, [])
        if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
            self.mistake(name, f"must be tables: write [[{self._prefix}{name}]]")
            content = []
        found = [
            Table(entry, f"{self._prefix}{name}[{number}].", self.mistakes) for number, entry in enumerate(content, 1)
        ]
        self._tables += found
        return found

    def note_unknown(self, rule: str) -> None:
        """What was not taken is a mistake. `rule`: what such names break, told with each of them; may be empty."""
        for name in self._content:
            if name not in self._known:
                hints = [f"did you mean {near!r}?" for near in difflib.get_close_matches(name, self._known, n=1)]
                self.mistake(name, f"is unknown; {' '.join([*hints, *filter(None, [rule])]) or 'remove it'}")
        for inner in self._tables:
            inner.note_unknown(rule)


class ConfigRoot(Table):
    """A whole configuration file: its tables, and every mistake found so far; `finish` raises them all."""

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        super().__init__(content, "", [])
        self._path = path
        self.directory = path.absolute().parent

    def path(self, value: object) -> Path:
        """A path, relative to the configuration file."""
        return self.directory / plain_text(value)

    def finish(self, *, rule: str = "") -> None:
        """Raises `ConfigInvalid` if there is a mistake. `rule`: what unknown names break in this file."""
        self.note_unknown(rule)
        if self.mistakes:
            lines = "\n".join(f"  {mistake}" for mistake in self.mistakes)
            raise ConfigInvalid(f"{self._path} has {len(self.mistakes)} mistake(s):\n{lines}")


def open_config(path: Path) -> ConfigRoot:
    """The file at `path`, parsed. Raises `ConfigInvalid` if it cannot be read or is not TOML."""
    try:
        return ConfigRoot(path, tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}") from None


def plain_text(value: object) -> str:
    """A text that is not empty. Raises `ValueError`."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text in quotes")
    return value
