"""What goes wrong around the daemons, and what they make of it."""

import asyncio
import errno
import socket
from dataclasses import replace

from sharekeeper.adapters import durable_file, keyshare_store, tls_channel, vault
from sharekeeper.adapters.tls_channel import ChannelTimeouts
from sharekeeper.domain.protocol_state import Recovery
from sharekeeper.errors import AddressInUse

from .test_backup_service import next_epoch
from .world import Gate, Lie, world


async def test_an_endpoint_that_goes_away_is_a_fault_until_it_is_back(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        port = net.chain._port
        await net.chain._server.stop()
        for daemon in (alice.service, alice.node("old")):
            await net_until_codes(daemon, {"chain_unavailable"})
            assert (await daemon.page("health"))[0] == 503
        assert alice.node_runs("old"), "what runs keeps running"
        net.chain._server = type(net.chain._server)(net.chain._server._methods)
        await net.chain._server.start("127.0.0.1", port)
        await net.until_healthy(alice.service, alice.node("old"))


async def net_until_codes(daemon, codes):
    for _ in range(400):
        if await daemon.codes() >= codes:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{await daemon.codes()}, not {codes}")


async def test_a_chain_that_stands_still_pauses_everything_and_releases_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("sharekeeper.protocol.freshness.MAX_BLOCK_AGE_SECONDS", 1.5)
    async with world(tmp_path) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        gate = Gate(monkeypatch, before_frame=1)
        await alice.service.stop()
        alice.service.start()
        await net.replace("alice")
        await asyncio.wait_for(gate.reached.wait(), 20)
        net.chain._driver._producer.cancel()
        await net_until_codes(alice.service, {"chain_stale"})
        gate.opened.set()
        await net_until_codes(alice.node("new"), {"chain_stale"})
        await asyncio.sleep(0.3)
        assert await alice.store("new").staged() is None
        assert (await alice.service.status())["delivered_recovery_id"] is None


async def test_a_node_that_stalls_costs_one_connection_and_the_next_try_succeeds(tmp_path, monkeypatch):
    timeouts = ChannelTimeouts(handshake_seconds=1, stall_seconds=0.3)
    gate = Gate(monkeypatch, before_frame=99, timeouts=timeouts)
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        await net.grant("alice", alice.service)
        accepted = asyncio.Event()

        async def stall(channel):
            accepted.set()
            await asyncio.sleep(60)

        keys, service_key = alice.node("old").keys.tls, alice.service.keys.tls.tls_key

        async def expected():
            return service_key

        mute = tls_channel.ChannelListener(alice.host("old"), alice.port, keys, expected, stall)
        await mute.start()
        alice.service.start()
        await asyncio.wait_for(accepted.wait(), 20)
        await net_until_codes(alice.service, {"peer_stalled"})
        await mute.stop()
        alice.node("old").start()
        await net.until_healthy(alice.service)
        assert not gate.reached.is_set()


async def test_a_node_that_speaks_no_tls_costs_one_connection(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        await net.grant("alice", alice.service)
        served = []

        async def chatter(reader, writer):
            served.append(1)
            writer.write(b"220 welcome\r\n" * 100)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(chatter, alice.host("old"), alice.port)
        async with server:
            alice.service.start()
            await net.until_status(alice.service, lambda status: status["faults"] and served)
            assert await alice.service.codes() <= {"peer_not_authenticated", "peer_closed"}
        alice.node("old").start()
        await net.until_healthy(alice.service)


class FullDisk(durable_file.Disk):
    """Refuses new files while `full`."""

    def __init__(self, word: str) -> None:
        self.word, self.full = word, True

    def write(self, descriptor, data):
        path = durable_file.os.readlink(f"/proc/self/fd/{descriptor}")
        if self.full and self.word in path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(descriptor, data)


async def test_a_full_disk_keeps_no_half_backup_and_the_next_try_succeeds(tmp_path, monkeypatch):
    disk = FullDisk("/vault/keysets/")
    real = vault.AgeVault
    monkeypatch.setattr(vault, "AgeVault", lambda *args, **named: real(*args, disk=disk, **named))
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        await net.grant("alice", alice.service)
        alice.node("old").start()
        alice.service.start()
        await net_until_codes(alice.service, {"store_failed"})
        assert not [p for p in (alice.service.directory / "vault" / "keysets").iterdir() if not p.name.startswith(".")]
        _, metrics = await alice.node("old").page("metrics")
        assert 'result="durable"' not in metrics
        disk.full = False
        await net.until_healthy(alice.service)


async def test_a_full_disk_at_the_replacement_delays_the_recovery_until_there_is_room(tmp_path, monkeypatch):
    disk = FullDisk("/staged/")
    real = keyshare_store.DirectoryKeyShareStore
    monkeypatch.setattr(keyshare_store, "DirectoryKeyShareStore", lambda path: real(path, disk=disk))
    async with world(tmp_path) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await alice.node("old").stop()
        await net.replace("alice")
        recovery = await net.until_state(Recovery)
        await net_until_codes(alice.node("new"), {"store_failed"})
        await net_until_codes(alice.service, {"peer_refused"})
        assert not (await net.state()).shares_confirmed
        disk.full = False
        await net.until_healthy(alice.node("new"))
        assert await net.names("alice", "new")
        assert recovery.recovery_id == 1


async def test_two_sides_with_different_views_of_the_keyset_exchange_nothing(tmp_path, monkeypatch):
    """An endpoint that lies to one side alone cannot make the other hand over anything."""
    lie = Lie(monkeypatch)
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        await net.grant("alice", alice.service)
        keyset, _ = next_epoch(net, "alice")

        def shown(_at, state):
            asked_by_the_service = asyncio.current_task() is alice.service._task
            return replace(state, keyset=keyset) if asked_by_the_service else state

        lie.state = shown
        alice.node("old").start()
        alice.service.start()
        await net_until_codes(alice.service, {"peer_refused"})
        assert not (await alice.service.status())["backups"]


async def test_a_taken_address_stops_the_agent_with_a_clear_error(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        with socket.create_server((alice.host("old"), alice.port)):
            alice.node("old").start()
            for _ in range(200):
                if alice.node("old").failure is not None:
                    break
                await asyncio.sleep(0.02)
        assert isinstance(alice.node("old").failure, AddressInUse)
        alice.node("old")._task = None
