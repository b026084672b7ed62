"""Every node is gone: the operators' replacements recover one after the other (docs/architecture.md, "Total loss")."""

import asyncio

import pytest

from sharekeeper.domain.protocol_state import Running

from .world import world

NAMES = ("alice", "bob", "carol")


@pytest.mark.timeout(120)
async def test_after_a_total_loss_every_operator_s_replacement_recovers_though_all_ask_at_once(tmp_path):
    async with world(tmp_path, names=NAMES) as net:
        await asyncio.gather(*(net.with_backup(name) for name in NAMES))
        await asyncio.gather(*(net[name].node("old").stop() for name in NAMES))
        await asyncio.gather(*(net.replace(name) for name in NAMES))

        async def all_recovered():
            return all([await net.names(name, "new") for name in NAMES])

        await net.until(all_recovered, seconds=60, what="all replacements in force")
        await net.until_healthy(*(net[name].node("new") for name in NAMES), *(net[name].service for name in NAMES))
        assert isinstance(await net.state(), Running)
        for name in NAMES:
            assert await net[name].store("new").read(net.keyset) == net.shares(name)
            assert net[name].node_runs("new")
