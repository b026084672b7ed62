"""Backup and recovery over version 2 from end to end: real chain, contract, sockets, vault and disk."""

from sharekeeper.domain.protocol_state import Recovery, Running

from .test_recovery import until_in_force
from .world import world


async def test_a_backup_travels_over_the_web_endpoint(tmp_path):
    async with world(tmp_path, transfer="web") as net:
        await net.with_backup("alice")
        _, metrics = await net["alice"].node("old").page("metrics")
        assert 'sharekeeper_exchanges_total{purpose="backup",result="durable"} 1.0' in metrics


async def test_a_lost_node_recovers_over_the_web_endpoint(tmp_path):
    async with world(tmp_path, transfer="web") as net:
        await net.with_backup("alice")
        await net["alice"].node("old").stop()
        await net.replace("alice")
        await net.until_state(Recovery)
        await until_in_force(net, "alice", "new")
        await net.until_healthy(net["alice"].service)
        assert isinstance(await net.state(), Running)
