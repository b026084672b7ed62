"""The one place where the errors of a command become a message and an exit status."""

import json
import sys
from collections.abc import Sequence
from typing import Final

import click

from sharekeeper.errors import SharekeeperError

USAGE_STATUS: Final = 2
INTERRUPTED_STATUS: Final = 130


def run(command: click.Command, program: str, arguments: Sequence[str]) -> int:
    """Runs `command` as `program`; returns its exit status. Expected errors are told in one message, without a traceback."""
    as_json = "--json" in arguments
    try:
        result = command.main(args=list(arguments), prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_left()
    except SharekeeperError as error:
        _tell(error.code, str(error), as_json=as_json)
        return error.exit_status
    except click.Abort:
        _tell("interrupted", "interrupted", as_json=as_json)
        return INTERRUPTED_STATUS
    except click.ClickException as error:
        _tell("usage", _usage(error), as_json=as_json)
        return USAGE_STATUS
    return result if isinstance(result, int) else 0


def _tell(code: str, message: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"schema": 1, "type": "error", "code": code, "message": message}))
    else:
        click.echo(f"error: {message}", err=True)


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    where = f" (see `{context.command_path} --help`)" if context is not None else ""
    return " ".join(error.format_message().split()).rstrip(".") + where


def _reader_left() -> int:
    """The reader of standard output went away: nothing more is written, not even at exit."""
    sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: PTH123, SIM115  # open until exit
    return 1
