"""Key files of one line, `ed25519:<base58 of seed || public key>`, readable by their owner alone."""

from pathlib import Path
from typing import Final

from sharekeeper.adapters.durable_file import ensure_directory, read_file, write_file
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.errors import KeysMissing
from sharekeeper_devnet.network.shares import RandomBytes

_MAX_BYTES: Final = 256
_SEED_BYTES: Final = 32


def read_key_file(path: Path) -> KeyPair:
    """The key pair in that file. Raises `KeysMissing`, which does not quote the file."""
    try:
        line = read_file(path, limit=_MAX_BYTES, private=True).decode("ascii")
        return KeyPair.parse(line.removesuffix("\n"))
    except OSError as error:
        raise KeysMissing(f"the key file {path} cannot be used: {error.strerror or error}") from None
    except ValueError as error:
        raise KeysMissing(f"the key file {path} holds no key: {error}") from None


def ensure_key_file(path: Path, random_bytes: RandomBytes) -> tuple[KeyPair, bool]:
    """The key pair in that file and whether it was made now; an existing key is never replaced.

    Raises:
        KeysMissing: the file is there and holds no key.
        StoreFailed: disk.
    """
    if path.exists():
        return read_key_file(path), False
    ensure_directory(path.parent, what="key directory")
    pair = KeyPair.generate(random_bytes(_SEED_BYTES))
    write_file(path, pair.text().reveal() + b"\n", what="key file")
    return pair, True
