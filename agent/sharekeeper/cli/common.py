"""What every command shares: parameter types, the `--json` option, and one way to print."""

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

import base58
import click

from sharekeeper.domain.identity import AccountId, SignerKey, TlsKey
from sharekeeper.domain.keyset import BackupId, KeysetDigest, Sha256Hex
from sharekeeper.spec import MAX_URL_BYTES

SCHEMA: Final = 1
"""Version of everything `--json` prints; a field's meaning changes only with it."""

_T = TypeVar("_T")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HASH_BYTES: Final = 32
_MAX_HASH_CHARS: Final = 44
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])")


class Parsed(click.ParamType[Any], Generic[_T]):
    """A parameter read by a parser that raises `ValueError` with a sentence."""

    def __init__(self, name: str, parse: Callable[[str], _T]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> _T:  # noqa: ANN401
        """The parsed value; a bad one is a usage error."""
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise ValueError(f"not a duration: {text!r}; write a whole number and s, m, h or d, like 6h")
    return int(found[1]) * _UNITS[found[2]]


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(text.encode()) > MAX_URL_BYTES:
        raise ValueError(
            f"not a participant url: {text[:80]!r}; write http(s)://host:port, {MAX_URL_BYTES} bytes at most"
        )
    return text


def _block_hash(text: str) -> str:
    try:
        raw = base58.b58decode(text) if len(text) <= _MAX_HASH_CHARS else b""
    except ValueError:
        raw = b""
    if len(raw) != _HASH_BYTES:
        raise ValueError(f"not a block hash: {text[:80]!r}; copy it from `sharekeeper chain quorum`")
    return text


ACCOUNT_ID: Final = Parsed("ACCOUNT_ID", AccountId)
TLS_KEY: Final = Parsed("ed25519:KEY", TlsKey.parse)
SIGNER_KEY: Final = Parsed("ed25519:KEY", SignerKey.parse)
DIGEST: Final = Parsed("SHA256", KeysetDigest)
SHA256: Final = Parsed("SHA256", Sha256Hex)
BACKUP_ID: Final = Parsed("BACKUP_ID", BackupId)
BLOCK_HASH: Final = Parsed("HASH", _block_hash)
URL: Final = Parsed("URL", _url)
DURATION: Final = Parsed("DURATION", _seconds)
FILE: Final = click.Path(path_type=Path, dir_okay=False)
DIRECTORY: Final = click.Path(path_type=Path, file_okay=False)

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Adds `--json`, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def config_option(command: Command) -> Command:
    """Adds `--config FILE`, passed as `config_path`."""
    return click.option(
        "--config", "config_path", type=FILE, required=True, metavar="FILE", help="The daemon's TOML file."
    )(command)


def show(kind: str, facts: Mapping[str, Any], lines: str, *, as_json: bool) -> None:
    """Prints the facts as one JSON object of type `kind`, or `lines` for people."""
    click.echo(json.dumps({"schema": SCHEMA, "type": kind, **facts}) if as_json else lines)


def progress(line: str) -> None:
    """One line for people on standard error, at once."""
    click.echo(line, err=True)
    sys.stderr.flush()


def table(rows: Mapping[str, object]) -> str:
    """`name  value` lines, aligned; None is shown as a dash."""
    width = max(map(len, rows), default=0)
    return "\n".join(f"{name:<{width}}  {'-' if value is None else value}" for name, value in rows.items())
