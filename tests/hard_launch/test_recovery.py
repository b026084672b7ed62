"""Backup and recovery in hard launch, the real daemons on CVMs of the TEE host stand-in."""

import aiohttp
import pytest

from sharekeeper.domain.attestation import VaultKind
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.protocol_state import Running
from sharekeeper.protocol.codec import canonical_json

from .world import attested_world


async def recovered(net, alice):
    """The replacement is the account's node, and uses the shares."""
    await net.until_healthy(alice.node("new"))
    assert isinstance(await net.state(), Running)
    assert await net.names("alice", "new")
    assert await alice.store("new").read(net.keyset) == net.shares("alice")


async def shows_its_evidence(net, daemon):
    """The machine's public page has its keys, and the evidence whose stamp the contract has."""
    url = f"http://{daemon.addresses['public_listen']}/public_data"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        shown = await answer.json()
    assert shown["tls_public_key"] == str(daemon.keys.tls.tls_key)
    assert shown["account_public_key"] == str(daemon.keys.account.signer_key)
    stamp = (await net.record("alice")).evidence_of(daemon.keys.tls.tls_key)
    assert (shown["evidence_digest"], shown["attested_at"]) == (stamp.digest, stamp.attested_at)
    assert Sha256Hex.of(canonical_json(shown["evidence"])) == stamp.digest


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

        await recovered(net, alice)


async def test_two_sites_in_memory_hold_the_shares_through_restarts_and_hand_them_out(tmp_path):
    async with attested_world(tmp_path, names=("alice",), threshold=1, vault=VaultKind.MEMORY) as one:
        net, alice = one.net, one.net["alice"]
        await one.put("alice", "old", "new", "backup", "second-backup")
        for service in (alice.service, alice.second):
            await net.grant("alice", service)
            service.start()
        alice.node("old").start()
        await net.until_healthy(alice.node("old"), alice.service, alice.second)
        for daemon in (alice.node("old"), alice.service, alice.second):
            await shows_its_evidence(net, daemon)
        status = await alice.service.status()
        assert status["sibling"]["copy"] == "confirmed"
        assert status["unsafe_no_attestation"] is False
        await alice.node("old").stop()
        await alice.service.stop()
        assert not list(alice.service.directory.rglob("*.age"))
        alice.service.start()
        await net.until_status(alice.service, lambda shown: shown["current_backup"], what="a copy from the other site")
        await alice.second.stop()
        await net.replace("alice")

        await recovered(net, alice)
