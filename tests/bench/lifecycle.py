"""From a final keyset to a durable backup, and from Recovery to Running, on a chain with 600 ms blocks."""

import asyncio
import time
from pathlib import Path

from sharekeeper.adapters.transactions import transfer
from sharekeeper.domain.protocol_state import Recovery, Running
from tests.bench import Row
from tests.integration.world import World, world

BLOCK_MS = 600
POLL_SECONDS = 0.01


async def measure(directory: Path) -> list[Row]:
    rows = []
    for domains in (1, 100):
        async with world(directory / f"w{domains}", domains=domains, block_ms=BLOCK_MS) as network:
            rows.append(await _backup(network, domains))
            rows.append(await _recovery(network, domains))
    return rows


async def _backup(network: World, domains: int) -> Row:
    """The keyset can be fetched from the moment the service's registration is final: from there to the vault."""
    alice = network["alice"]
    await network.grant("alice", alice.service)
    alice.node("old").start()
    await network.until_healthy(alice.node("old"))
    alice.service.start()

    async def registered():
        return (await network.record("alice")).backup_services[0]

    await _poll(registered)
    start = time.perf_counter()
    entries = alice.service.directory / "vault" / "keysets"

    async def durable():
        return any(entry.joinpath("manifest.json").exists() for entry in entries.glob("[0-9]*"))

    await _poll(durable)
    blocks = (time.perf_counter() - start) * 1e3 / BLOCK_MS
    return Row(
        what=f"keyset final -> backup durable, {domains} domains",
        value=blocks,
        unit="block times",
        bar=2,
        detail=f"blocks of {BLOCK_MS} ms",
    )


async def _recovery(network: World, domains: int) -> Row:
    """Blocks from the first final Recovery to the first final Running, less those its two transactions need.

    The two are `confirm_key_share_delivery` and `conclude_recovery`, one after the other; what one transaction
    needs, from signing to final, is measured on this chain in this run.
    """
    need = await _transaction_blocks(network)
    alice = network["alice"]
    await alice.node("old").stop()
    await network.replace("alice")
    entered = await _first_height(network, Recovery)
    left = await _first_height(network, Running)
    taken = left - entered
    return Row(
        what=f"Recovery final -> Running final, less its transactions, {domains} domains",
        value=taken - 2 * need,
        unit="blocks",
        bar=3,
        detail=f"{taken} blocks, of which two transactions of {need:.1f}",
    )


async def _transaction_blocks(network: World) -> float:
    """Blocks from a decision at a final block until the effect of a call is in a final block."""
    bob = network["bob"]
    caller = network.caller(bob.account_id, bob.owner)
    start = (await network.rpc.head()).height
    await caller.send_actions(network["alice"].account_id, [transfer(1)])
    return (await network.rpc.head()).height - start


async def _first_height(network: World, kind: type) -> int:
    while True:
        head = await network.rpc.head()
        if isinstance(await network.rpc.protocol_state(head), kind):
            return head.height
        await asyncio.sleep(POLL_SECONDS)


async def _poll(seen) -> None:
    while not await seen():
        await asyncio.sleep(POLL_SECONDS)
