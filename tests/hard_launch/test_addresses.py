"""Whoever runs the host writes the addresses. Whatever he writes, no share moves to anybody but who is measured and named.

The thief is the strongest one there is: a machine of the same account in a TEE, attested, with allowed code, and not the
one that the contract names. Every field of both files points to it, or lies, in turn; then the rightful addresses are
there again and the recovery goes on, which shows that nothing else had stopped it.
"""

import asyncio
import contextlib
from dataclasses import fields

import pytest

from sharekeeper.domain.protocol_state import Recovery, Running
from sharekeeper.errors import ConfigInvalid
from sharekeeper.hard_launch.config import BackupServiceAddresses, NodeAddresses
from sharekeeper.protocol.session import Session
from sharekeeper_devnet.tee.pccs import Mood
from tests.endpoints import endpoints, lies
from tests.ports import free_port

from .world import attested_world


@pytest.fixture
def given(monkeypatch):
    """The keys of all peers that shares were put into a message for, in this process."""
    found = []
    real = Session.send_shares

    def send_shares(session, shares):
        found.append(session.peer_tls_key)
        return real(session, shares)

    monkeypatch.setattr(Session, "send_shares", send_shares)
    return found


@contextlib.asynccontextmanager
async def recovering(tmp_path, transfer):
    """Alice's replacement is about to recover, her backup service is stopped, and the thief listens."""
    async with attested_world(tmp_path, names=("alice",), threshold=1, transfer=transfer) as one:
        net, alice = one.net, one.net["alice"]
        await one.put("alice", "old", "new", "newer", "backup")
        await net.with_backup("alice")
        await alice.service.stop()
        await alice.node("old").stop()
        thief = alice.node("newer")
        thief.start()
        yield one, thief


async def attempt(daemon):
    """The daemon has tried, been refused, and had a moment to try again; the faults it told."""
    daemon.start()
    told, loop = {}, asyncio.get_running_loop()
    end = loop.time() + 15
    while loop.time() < end:
        with contextlib.suppress(OSError):
            faults = (await daemon.status())["faults"]
            told |= {fault["message"]: fault["topic"] for fault in faults}
        if "hand-out" in told.values():
            end = min(end, loop.time() + 1)
        await asyncio.sleep(0.05)
    await daemon.stop()
    return [message for message, topic in told.items() if topic == "hand-out"]


def liars_state(thief):
    """The same recovery, but of the thief."""

    def change(state):
        for recovery in filter(None, [state.get("Recovery")]):
            recovery["recovering"]["participant_info"]["tls_public_key"] = str(thief.keys.tls.tls_key)
        return state

    return change


async def holds_nothing(alice, thief):
    """The thief has no share, neither in use nor staged."""
    store = alice.store("newer")
    assert await store.staged() is None
    assert not list((thief.directory / "mpc").rglob("permanent/*.json"))
    return True


async def finished(net, alice, given, thief):
    """With the rightful addresses the replacement recovers, and nobody else was ever given a share."""

    async def recovered():
        return isinstance(await net.state(), Running) and await net.names("alice", "new")

    await net.until(recovered, seconds=30)
    assert set(given) == {alice.service.keys.tls.tls_key, alice.node("new").keys.tls.tls_key}
    assert await holds_nothing(alice, thief)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("transfer", ["p2p", "web"])
async def test_no_address_of_a_backup_service_moves_a_share_elsewhere(tmp_path, given, transfer):
    async with recovering(tmp_path, transfer) as (one, thief):
        net, alice = one.net, one.net["alice"]
        service, rightful = alice.service, dict(alice.service.addresses)
        await net.replace("alice")
        await net.until_state(Recovery)
        before = list(given)
        port = free_port(alice.host("new"))
        thief_at = alice.address("newer")
        async with (
            endpoints(net.chain.rpc_url, "liar") as outside,
            await asyncio.start_server(forwarder(thief_at), alice.host("new"), port),
        ):
            outside["liar"].mode = lies(liars_state(thief))
            hostile = {
                "p2p": {"node_agent_port": port},
                "web": {"node_web_port": port, "node_web_url": f"http://{thief_at}"},
            }[transfer] | {"endpoints": [{"name": "liar", "url": outside["liar"].url}]}
            for name, value in hostile.items():
                service.addresses = {**rightful, name: value}
                assert await attempt(service), f"{name}: no hand-out was tried"
                assert given == before, name
                assert isinstance(await net.state(), Recovery), name
        harmless = {
            "pccs": [(await one.rack.start_pccs(Mood.LIES))[1]],
            "sibling": thief_at,
            "listen": f"{alice.host('new')}:{free_port(alice.host('new'))}",
            "public_listen": f"{alice.host('new')}:{free_port(alice.host('new'))}",
            "health_address": rightful["health_address"],
            **({"node_web_url": f"http://{thief_at}", "node_web_port": port} if transfer == "p2p" else {}),
            **({"node_agent_port": port} if transfer == "web" else {}),
        }
        assert {*hostile, *harmless} == {field.name for field in fields(BackupServiceAddresses)}
        service.addresses = {**rightful, **harmless}
        service.start()
        await finished(net, alice, given, thief)


async def test_no_address_of_a_node_moves_a_share_elsewhere(tmp_path, given):
    async with recovering(tmp_path, "p2p") as (one, thief):
        net, alice = one.net, one.net["alice"]
        new = alice.node("new")
        wrong = {
            "url": alice.url("newer"),
            "listen": f"{alice.host('new')}:{free_port(alice.host('new'))}",
            "public_listen": f"{alice.host('new')}:{free_port(alice.host('new'))}",
            "pccs": [(await one.rack.start_pccs(Mood.LIES))[1]],
            "health_address": new.addresses["health_address"],
        }
        assert set(wrong) == {field.name for field in fields(NodeAddresses)}
        before = list(given)
        new.addresses |= wrong
        await net.replace("alice")
        state = await net.until_state(Recovery)
        assert state.recovering.info.url == wrong["url"]
        assert state.recovering.info.tls_public_key == new.keys.tls.tls_key
        assert "during the TLS handshake" in str(await attempt(alice.service))
        assert given == before
        assert await holds_nothing(alice, thief)


def forwarder(target):
    """Whoever connects talks to `target` instead."""

    async def pump(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader, writer):
        host, _, port = target.rpartition(":")
        their_reader, their_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, their_writer), pump(their_reader, writer))

    return serve


async def test_addresses_that_hold_more_start_nothing(tmp_path):
    async with attested_world(tmp_path, names=("alice",), threshold=1) as one:
        await one.put("alice", "old", "backup")
        for daemon in (one.net["alice"].node("old"), one.net["alice"].service):
            daemon.addresses["policy"] = "automatic"
            with pytest.raises(ConfigInvalid, match="nobody measures this file"):
                daemon.start()
