"""A node's home directory, with neard's files: config.json, genesis.json, node_key.json, validator_key.json."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sharekeeper.crypto.keypair import SEED_BYTES, KeyPair
from sharekeeper_devnet.chain.devchain import DEFAULT_BLOCK_TIME_MS, DEFAULT_POLLING_TIMEOUT_S
from sharekeeper_devnet.chain.genesis import Genesis, InvalidGenesisError, decode_genesis, encode_genesis
from sharekeeper_devnet.chain.primitives import is_account_id
from sharekeeper_devnet.chain.rpc.views import NodeIdentity
from sharekeeper_devnet.runtime.public_key import InvalidPublicKeyError, PublicKey

CONFIG, GENESIS, NODE_KEY, VALIDATOR_KEY = "config.json", "genesis.json", "node_key.json", "validator_key.json"
DATA = "data"
MAX_PORT = 65_535
MIN_BLOCK_TIME_MS = 10
NANOS_PER_MS = 1_000_000


class InvalidHomeError(Exception):
    """A file in the home directory is missing or wrong; the message names it and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """What config.json says.

    Attributes:
        host, port: the only address the RPC listens on (`rpc.addr`).
        block_time_ms: milliseconds between blocks (`consensus.min_block_production_delay`).
        polling_timeout_s: how long a request waits for a transaction (`rpc.polling_config.polling_timeout`).
    """

    host: str
    port: int
    block_time_ms: int = DEFAULT_BLOCK_TIME_MS
    polling_timeout_s: float = DEFAULT_POLLING_TIMEOUT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Everything a node needs to run."""

    config: NodeConfig
    genesis: Genesis
    identity: NodeIdentity


def is_initialised(directory: Path) -> bool:
    """Whether the directory is a node's home; config.json is written last, so it alone tells."""
    return (directory / CONFIG).exists()


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`.

    Raises:
        ValueError: the text does not have that form.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > MAX_PORT:
        raise ValueError(f"{text!r} is not host:port")
    return host, int(port)


def ensure_key(path: Path, account_id: str) -> PublicKey:
    """The public key in the key file at `path`, which is made with a fresh key when it is not there.

    Raises:
        InvalidHomeError: there is a file, but no key file.
    """
    if not path.exists():
        pair = KeyPair.generate(os.urandom(SEED_BYTES))
        file = {
            "account_id": account_id,
            "public_key": str(pair.signer_key),
            "secret_key": pair.text().reveal().decode(),
        }
        _write(path, json.dumps(file, indent=2) + "\n", mode=0o600)
    return _read_key(path)[1]


def write_home(directory: Path, config: NodeConfig, genesis: Genesis) -> None:
    """genesis.json and then config.json are in the directory; keys are made by `ensure_key` before."""
    _write(directory / GENESIS, encode_genesis(genesis), mode=0o644)
    _write(directory / CONFIG, json.dumps(_config_file(config), indent=2) + "\n", mode=0o644)


def read_home(directory: Path) -> Home:
    """What the home directory says.

    Raises:
        InvalidHomeError: a file is missing or wrong; all mistakes of config.json are in one message.
    """
    if not is_initialised(directory):
        raise InvalidHomeError(f"{directory} is no node's home; run `devnet-neard --home {directory} init` first")
    validator_id, validator_key = _read_key(directory / VALIDATOR_KEY)
    _, node_key = _read_key(directory / NODE_KEY)
    return Home(
        config=_parse_config(_read_json(directory / CONFIG)),
        genesis=read_genesis(directory / GENESIS),
        identity=NodeIdentity(
            validator_account_id=validator_id, validator_public_key=validator_key, node_public_key=node_key
        ),
    )


def read_genesis(path: Path) -> Genesis:
    """The genesis in the file at `path`.

    Raises:
        InvalidHomeError: there is none.
    """
    try:
        return decode_genesis(_read_text(path))
    except InvalidGenesisError as error:
        raise InvalidHomeError(f"{path}: {error}") from None


def _config_file(config: NodeConfig) -> dict[str, object]:
    seconds, milliseconds = divmod(config.block_time_ms, 1000)
    return {
        "rpc": {
            "addr": f"{config.host}:{config.port}",
            "polling_config": {"polling_timeout": {"secs": int(config.polling_timeout_s), "nanos": 0}},
        },
        "consensus": {"min_block_production_delay": {"secs": seconds, "nanos": milliseconds * NANOS_PER_MS}},
    }


def _parse_config(file: object) -> NodeConfig:
    mistakes: list[str] = []
    host, port = "", 0
    try:
        host, port = parse_address(str(_at(file, "rpc", "addr")))
    except ValueError as error:
        mistakes.append(f"rpc.addr: {error}")
    block_time_ms = _milliseconds(_at(file, "consensus", "min_block_production_delay"), DEFAULT_BLOCK_TIME_MS)
    if block_time_ms is None or block_time_ms < MIN_BLOCK_TIME_MS:
        mistakes.append(f"consensus.min_block_production_delay: secs and nanos, at least {MIN_BLOCK_TIME_MS} ms")
    polling = _milliseconds(
        _at(file, "rpc", "polling_config", "polling_timeout"), int(DEFAULT_POLLING_TIMEOUT_S * 1000)
    )
    if polling is None:
        mistakes.append("rpc.polling_config.polling_timeout: secs and nanos")
    if mistakes or block_time_ms is None or polling is None:
        raise InvalidHomeError(f"{CONFIG} is wrong: " + "; ".join(mistakes))
    return NodeConfig(host=host, port=port, block_time_ms=block_time_ms, polling_timeout_s=polling / 1000)


def _at(file: object, *names: str) -> object:
    """The value under `names`, None when it is not there."""
    for name in names:
        file = file.get(name) if isinstance(file, dict) else None
    return file


def _milliseconds(duration: object, default: int) -> int | None:
    """A neard duration, `{"secs", "nanos"}`, in milliseconds; None when it is something else."""
    if duration is None:
        return default
    seconds, nanos = _at(duration, "secs"), _at(duration, "nanos")
    if not isinstance(seconds, int) or not isinstance(nanos, int) or seconds < 0 or nanos < 0:
        return None
    return seconds * 1000 + nanos // NANOS_PER_MS


def _read_key(path: Path) -> tuple[str, PublicKey]:
    """Account id and public key of a key file."""
    file = _read_json(path)
    account_id, public_key = _at(file, "account_id"), _at(file, "public_key")
    if not isinstance(account_id, str) or not isinstance(public_key, str):
        raise InvalidHomeError(f"{path} is no key file: account_id and public_key must be strings")
    if account_id and not is_account_id(account_id):
        raise InvalidHomeError(f"{path}: account_id is no account id")
    try:
        return account_id, PublicKey.from_text(public_key)
    except InvalidPublicKeyError as error:
        raise InvalidHomeError(f"{path}: {error}") from None


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidHomeError(f"{path} cannot be read: {error}") from None


def _read_json(path: Path) -> object:
    try:
        parsed: object = json.loads(_read_text(path))
    except ValueError:
        raise InvalidHomeError(f"{path} is not JSON") from None
    return parsed


def _write(path: Path, text: str, *, mode: int) -> None:
    """`path` holds `text`, whole or not at all; readable by the owner alone until it has its `mode`."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
