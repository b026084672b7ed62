"""Vault store against write, fsync, rename, fsync of the same ciphertext."""

import asyncio
import os
import statistics
import time
from pathlib import Path

from tests.bench import Row
from tests.unit.vault_values import SOURCE, keyset, shares_of, vault_at

ROUNDS = 15


async def measure(directory: Path) -> list[Row]:
    return [row for domains in (1, 100) for row in await asyncio.to_thread(_one, directory / f"d{domains}", domains)]


def _one(directory: Path, domains: int) -> list[Row]:
    directory.mkdir()
    vault = vault_at(directory / "vault")
    vault.acquire()
    try:
        stores, raws = [], []
        for epoch in range(1, ROUNDS + 1):
            keys = keyset(epoch, domains=domains)
            shares = shares_of(keys)
            start = time.perf_counter()
            stored = vault.store_now(keys, shares, SOURCE)
            stores.append(time.perf_counter() - start)
            raws.append(_raw(directory, epoch, stored.ciphertext_bytes))
    finally:
        vault.close()
    store, raw = statistics.median(stores), statistics.median(raws)
    detail = f"store {store * 1e3:.1f} ms, bare write {raw * 1e3:.1f} ms, {stored.ciphertext_bytes} bytes"
    return [
        Row(what=f"vault store / bare durable write, {domains} domains", value=store / raw, unit="x", detail=detail)
    ]


def _raw(directory: Path, number: int, size: int) -> float:
    """Seconds for one file of `size` bytes: write, fsync, rename, fsync of the directory."""
    data, temporary, final = os.urandom(size), directory / f"{number}.tmp", directory / f"{number}.raw"
    start = time.perf_counter()
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(final)
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return time.perf_counter() - start
