"""One line per event, plain or JSON. What is not a plain fact cannot be logged: a `Secret` shows as hidden."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

Fact = str | int | float | bool | None
"""What an event may carry. Keys of secrets, shares and exceptions with payloads are none of these."""

_FACTS: Final = "facts"


def log_event(logger: logging.Logger, level: int, message: str, **facts: Fact) -> None:
    """One log line: a sentence and named facts. A value of another type is left out of the line by type name."""
    shown = {name: value if isinstance(value, Fact) else type(value).__name__ for name, value in facts.items()}
    logger.log(level, "%s", message, extra={_FACTS: shown})


def configure_logs(*, as_json: bool, stream: TextIO = sys.stderr) -> None:
    """Every log line of this process goes to `stream` in one form. Repeating it replaces the form."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLine() if as_json else _PlainLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _facts(record: logging.LogRecord) -> dict[str, Fact]:
    found = getattr(record, _FACTS, {})
    return found if isinstance(found, dict) else {}


class _PlainLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = "".join(f" {name}={_plain(value)}" for name, value in _facts(record).items())
        line = f"{_time(record)} {record.levelname} {record.getMessage()}{facts}"
        if record.exc_info:
            line += f" {self.formatException(record.exc_info)}"
        return _one_line(line)


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content: dict[str, Fact] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_facts(record),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content)


def _plain(value: Fact) -> str:
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return json.dumps(text) if not text or set(text) & set(' "=') else text


def _one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n")
