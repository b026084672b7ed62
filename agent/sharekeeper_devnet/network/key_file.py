"""Operators' full-access keys of a rehearsal: one file of one line each, readable by its owner alone."""

from pathlib import Path

from sharekeeper.adapters.durable_file import ensure_directory, write_file
from sharekeeper.crypto.keypair import SEED_BYTES, KeyPair
from sharekeeper.keys import read_key
from sharekeeper_devnet.network.shares import RandomBytes


def ensure_key_file(path: Path, random_bytes: RandomBytes) -> tuple[KeyPair, bool]:
    """The key pair in that file and whether it was made now; an existing key is never replaced.

    Raises:
        KeysMissing: the file is there and holds no key.
        StoreFailed: disk.
    """
    if path.exists():
        return read_key(path), False
    ensure_directory(path.parent, what="key directory")
    pair = KeyPair.generate(random_bytes(SEED_BYTES))
    write_file(path, pair.text().reveal() + b"\n", what="key file")
    return pair, True
