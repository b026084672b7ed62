"""Backups: of the keyset in force, in time, opened again, and older ones gone (spec: "Monitoring", "Backup")."""

import shutil
import time
from dataclasses import replace

import pyrage

from sharekeeper.adapters.vault import AgeVault
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.protocol.codec import decode_shares, field, parse_json

from .world import Lie, world


def next_epoch(net, name, *, epochs=1):
    """The keyset and shares a resharing would end with; the key stays the same."""
    epoch = net.keyset.epoch_id + epochs
    shares = tuple(
        replace(share, key_id=replace(share.key_id, epoch_id=epoch)) if isinstance(share, KeyShare) else share
        for share in net.shares(name)
    )
    return Keyset(epoch_id=epoch, domains=net.keyset.domains), shares


async def until_epoch(net, service, epoch, *, backups):
    def check(status):
        current = status["current_backup"]
        return current is not None and current["epoch_id"] == epoch and len(status["backups"]) == backups

    return await net.until_status(service, check, what=f"the backup of epoch {epoch}, {backups} held")


async def test_a_new_keyset_is_durable_within_two_block_times_of_its_finality(tmp_path, monkeypatch):
    block_ms = 600
    lie = Lie(monkeypatch)
    async with world(tmp_path, names=("alice",), threshold=1, block_ms=block_ms) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        keyset, shares = next_epoch(net, "alice")
        await alice.store("old").store_permanent(keyset, shares)
        height = (await net.rpc.head()).height + 3
        lie.keyset_from(height, keyset)

        async def final():
            return (await net.rpc.head()).height >= height

        await net.until(final)
        final_ns = time.time_ns()
        await until_epoch(net, alice.service, keyset.epoch_id, backups=2)
        assert time.time_ns() - final_ns <= 2 * block_ms * 10**6
        (path,) = (alice.service.directory / "vault" / "keysets").glob(f"{keyset.epoch_id}-*/shares.age")
        opened = pyrage.decrypt(path.read_bytes(), [alice.offline])
        assert decode_shares(field(parse_json(opened), "shares")) == shares


async def test_older_backups_are_destroyed_once_the_new_one_was_held_past_the_grace_time(tmp_path, monkeypatch):
    lie = Lie(monkeypatch)
    async with world(tmp_path, names=("alice",), threshold=1, grace_seconds=1.5) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        keyset, shares = next_epoch(net, "alice")
        await alice.store("old").store_permanent(keyset, shares)
        lie.keyset_from(0, keyset)
        await until_epoch(net, alice.service, keyset.epoch_id, backups=2)
        await until_epoch(net, alice.service, keyset.epoch_id, backups=1)
        entries = [path.name for path in (alice.service.directory / "vault" / "keysets").iterdir()]
        assert [name.split("-")[0] for name in entries] == [str(keyset.epoch_id)]


async def test_a_keyset_the_node_does_not_hold_yet_is_fetched_as_soon_as_it_does(tmp_path, monkeypatch):
    lie = Lie(monkeypatch)
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        keyset, shares = next_epoch(net, "alice")
        lie.keyset_from(0, keyset)
        await net.until_status(alice.service, lambda status: status["faults"], what="a refused backup")
        assert await alice.service.codes() == {"peer_refused"}
        assert (await alice.service.page("health"))[0] == 503
        assert alice.node_runs("old"), "a node about to write its share is not stopped"
        await alice.store("old").store_permanent(keyset, shares)
        await until_epoch(net, alice.service, keyset.epoch_id, backups=2)
        await net.until_healthy(alice.service, alice.node("old"))


async def test_an_epoch_that_goes_backwards_is_an_alarm_and_touches_nothing(tmp_path, monkeypatch):
    lie = Lie(monkeypatch)
    async with world(tmp_path, names=("alice",), threshold=1, grace_seconds=0) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        older, shares = next_epoch(net, "alice", epochs=-1)
        await alice.store("old").store_permanent(older, shares)
        before = sorted(path.name for path in (alice.service.directory / "vault" / "keysets").iterdir())
        lie.keyset_from(0, older)
        await net.until_status(alice.service, lambda status: status["faults"])
        assert await alice.service.codes() == {"chain_contradiction"}
        assert (await alice.service.page("health"))[0] == 503
        assert "sharekeeper_alarms 1.0" in (await alice.service.page("metrics"))[1]
        assert sorted(path.name for path in (alice.service.directory / "vault" / "keysets").iterdir()) == before
        lie.state = lambda _, state: state
        await net.until_healthy(alice.service)


async def test_a_backup_that_vanished_is_noticed_at_the_next_start_and_fetched_again(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await alice.service.stop()
        await alice.node("old").stop()
        for entry in (alice.service.directory / "vault" / "keysets").iterdir():
            shutil.rmtree(entry)
        alice.service.start()
        status = await net.until_status(alice.service, lambda status: "vault_corrupt" in str(status["faults"]))
        assert "missing" in str(status["faults"])
        alice.node("old").start()
        await until_epoch(net, alice.service, net.keyset.epoch_id, backups=1)
        await net.until_healthy(alice.service)


async def test_a_damaged_backup_is_found_put_aside_fetched_again_and_verified_at_once(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await alice.service.stop()
        await alice.node("old").stop()
        (path,) = (alice.service.directory / "vault" / "keysets").glob("*/shares.age")
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
        alice.service.start()
        await net.until_status(alice.service, lambda status: "vault_corrupt" in str(status["faults"]))
        assert (await alice.service.page("health"))[0] == 503
        alice.node("old").start()
        await until_epoch(net, alice.service, net.keyset.epoch_id, backups=1)
        await net.until_healthy(alice.service)
        assert list((alice.service.directory / "vault" / "quarantine").iterdir())


async def test_a_disk_that_damages_every_copy_is_an_alarm_and_not_a_fetch_without_end(tmp_path, monkeypatch):
    verify, verified = AgeVault.verify, []

    def damaged_before(vault, *, deep):
        for path in vault.directory.glob("keysets/*/shares.age"):
            path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
        verified.append(deep)
        return verify(vault, deep=deep)

    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await alice.service.stop()
        monkeypatch.setattr(AgeVault, "verify", damaged_before)
        alice.service.start()

        async def again():
            return len(verified) == 2

        await net.until(again, what="a second verification")
        await until_epoch(net, alice.service, net.keyset.epoch_id, backups=1)
        height = (await net.rpc.head()).height

        async def later():
            return (await net.rpc.head()).height >= height + 10

        await net.until(later)
        assert len(verified) == len(list((alice.service.directory / "vault" / "quarantine").iterdir())) == 2
        assert await alice.service.codes() == {"vault_corrupt"}


async def test_status_health_and_metrics_tell_the_same_story_and_no_secret(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        pages = ""
        for daemon in (alice.service, alice.node("old")):
            for page in ("health", "metrics", "status"):
                code, text = await daemon.page(page)
                assert code == 200
                pages += text
        for share in net.shares("alice"):
            assert share.private_share.reveal().hex() not in pages
        assert "sharekeeper_backup_current 1.0" in pages
        assert f"sharekeeper_epoch_held {float(net.keyset.epoch_id)}" in pages
        assert 'sharekeeper_exchanges_total{purpose="backup",result="durable"} 1.0' in pages
        assert "sharekeeper_node_running 1.0" in pages
