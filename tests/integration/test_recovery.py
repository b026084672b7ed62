"""The spec's flows from end to end: real chain, contract, sockets, vault and disk."""

from sharekeeper.domain.protocol_state import Recovery, Running

from .world import world


async def test_a_recovery_from_a_lost_node_to_running_again(tmp_path):
    async with world(tmp_path) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await alice.node("old").stop()
        await net.replace("alice")
        await net.until_state(Recovery)

        async def recovered():
            return await net.names("alice", "new")

        await net.until(recovered, what="the new node in force")
        await net.until_healthy(alice.node("new"), alice.service)
        assert await alice.store("new").read(net.keyset) == net.shares("alice")
        assert await alice.store("new").staged() is None
        assert alice.node_runs("new")
        assert isinstance(await net.state(), Running)
