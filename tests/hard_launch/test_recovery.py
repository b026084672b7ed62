"""Backup and recovery in hard launch, the real daemons on CVMs of the TEE host stand-in."""

import pytest

from sharekeeper.domain.attestation import VaultKind
from sharekeeper.domain.protocol_state import Running

from .world import attested_world


@pytest.mark.parametrize("transfer", ["p2p", "web"])
async def test_attested_machines_back_up_and_recover(tmp_path, transfer):
    async with attested_world(
        tmp_path, names=("alice",), threshold=1, transfer=transfer, vault=VaultKind.SEALED
    ) as one:
        net, alice = one.net, one.net["alice"]
        await one.put("alice", "old", "new", "backup")
        await net.with_backup("alice")
        await alice.node("old").stop()
        await net.replace("alice")

        async def recovered():
            return isinstance(await net.state(), Running) and await net.names("alice", "new")

        await net.until(recovered, seconds=40)
        assert await alice.store("new").read(net.keyset) == net.shares("alice")
