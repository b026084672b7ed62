"""Who holds a stolen account key of one machine can move no share (threats: stolen node key, stolen backup-service key).

The thief has the private account key and his own TLS keys; he does not have the machine's TLS key.
"""

import re
import secrets

import pytest

from sharekeeper.adapters.tls_channel import connect
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.protocol_state import Recovery, Running
from sharekeeper.errors import PeerClosed, PeerNotAuthenticated, TransactionFailed
from sharekeeper.spec import MAX_CONTROL_FRAME_BYTES
from tests.integration.world import Gate, world

THIEF = KeyPair.generate(secrets.token_bytes(32))
THIEFS_INFO = {"url": "http://127.91.9.9:8090", "tls_public_key": str(THIEF.tls_key)}


async def moved_no_share(net, name):
    """The vault was not handed out, and only the first machine was ever served."""
    _, metrics = await net[name].service.page("metrics")
    results = set(re.findall(r'purpose="recovery",result="(\w+)"', metrics))
    assert results <= {"policy_refused"}
    _, metrics = await net[name].node("old").page("metrics")
    assert 'sharekeeper_exchanges_total{purpose="backup",result="durable"} 1.0' in metrics


async def test_a_stolen_node_key_cannot_put_the_thief_s_machine_in_the_node_s_place(tmp_path):
    async with world(tmp_path) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        stolen = net.caller(alice.account_id, alice.node("old").keys.account)
        ask = {
            "participant_info": THIEFS_INFO,
            "expected_tls_key": str(alice.node("old").keys.tls.tls_key),
            "expected_keyset": net.keyset.digest(),
            "valid_until_block": 10_000,
        }
        for method, args in (
            ("submit_participant_recovery_info", ask),
            ("submit_participant_info", {"participant_info": THIEFS_INFO}),
            ("update_participant_url", {"url": THIEFS_INFO["url"]}),
            ("register_backup_service", {"backup_service_info": {"public_key": str(THIEF.tls_key)}}),
        ):
            with pytest.raises(TransactionFailed):
                await stolen.call(method, args)
        assert isinstance(await net.state(), Running)
        assert await net.names("alice", "old")
        await moved_no_share(net, "alice")


async def test_a_stolen_node_key_cannot_conclude_or_redirect_a_recovery_under_way(tmp_path, monkeypatch):
    async with world(tmp_path) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        gate = Gate(monkeypatch, before_frame=2)
        await alice.service.stop()
        alice.service.start()
        await alice.node("old").stop()
        await net.replace("alice")
        recovery = await net.until_state(Recovery)
        stolen = net.caller(alice.account_id, alice.node("old").keys.account)
        for method in ("conclude_recovery", "confirm_key_share_delivery"):
            args = {"recovery_id": recovery.recovery_id, "expected_keyset": net.keyset.digest()}
            if method == "confirm_key_share_delivery":
                del args["expected_keyset"]
            with pytest.raises(TransactionFailed):
                await stolen.call(method, args)
        gate.opened.set()
        await net.until_healthy(alice.node("new"))
        assert await net.names("alice", "new")


async def test_a_stolen_backup_service_key_cannot_put_the_thief_in_the_service_s_place(tmp_path):
    async with world(tmp_path) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        stolen = net.caller(alice.account_id, alice.service.keys.account)
        with pytest.raises(TransactionFailed):
            await stolen.call("register_backup_service", {"backup_service_info": {"public_key": str(THIEF.tls_key)}})
        record = await net.record("alice")
        assert record.backup_services[0].tls_public_key == alice.service.keys.tls.tls_key
        await turned_away(alice, THIEF)
        await moved_no_share(net, "alice")


async def knock(host, port, identity, peer):
    channel = await connect(host, port, identity, peer)
    await channel.receive_frame(MAX_CONTROL_FRAME_BYTES)


async def turned_away(operator, identity, machine="old"):
    """That machine's agent lets nobody in with that TLS key."""
    with pytest.raises((PeerNotAuthenticated, PeerClosed)):
        await knock(operator.host(machine), operator.port, identity, operator.node(machine).keys.tls.tls_key)


async def test_a_confirmation_by_a_stolen_backup_service_key_makes_no_node_conclude_without_shares(tmp_path):
    """He can say that shares were delivered; the node has none, so it does not conclude, and the operator cancels."""
    async with world(tmp_path, policy="approve") as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await net.replace("alice")
        recovery = await net.until_state(Recovery)
        stolen = net.caller(alice.account_id, alice.service.keys.account)
        await stolen.call("confirm_key_share_delivery", {"recovery_id": recovery.recovery_id})
        await net.until_state(Recovery, shares_confirmed=True)
        await net.until_status(alice.node("new"), lambda status: status["recovery"]["name"] == "AwaitShares")
        with pytest.raises(TransactionFailed):
            await stolen.call(
                "conclude_recovery", {"recovery_id": recovery.recovery_id, "expected_keyset": net.keyset.digest()}
            )
        owner = net.caller(alice.account_id, alice.owner)
        await owner.call("cancel_recovery", {"recovery_id": recovery.recovery_id})
        await net.until_status(alice.node("old"), lambda status: status["node"]["running"])
        assert await alice.store("new").staged() is None
        await moved_no_share(net, "alice")


async def test_keys_of_another_operator_s_backup_service_open_no_door(tmp_path):
    async with world(tmp_path) as net:
        await net.with_backup("alice")
        await net.grant("bob", net["bob"].service)
        net["bob"].node("old").start()
        net["bob"].service.start()
        await net.until_healthy(net["bob"].service)
        await turned_away(net["alice"], net["bob"].service.keys.tls)
        await moved_no_share(net, "alice")


async def test_the_replaced_machine_s_own_keys_are_worth_nothing_afterwards(tmp_path):
    """A thief of the old machine, with all its keys, gets no backup and no recovery once it is replaced."""
    async with world(tmp_path) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await alice.node("old").stop()
        await net.replace("alice")
        await net.until_healthy(alice.node("new"))
        stolen = net.caller(alice.account_id, alice.node("old").keys.account)
        ask = {
            "participant_info": {"url": alice.url("old"), "tls_public_key": str(alice.node("old").keys.tls.tls_key)},
            "expected_tls_key": str(alice.node("new").keys.tls.tls_key),
            "expected_keyset": net.keyset.digest(),
            "valid_until_block": 10_000,
        }
        with pytest.raises(TransactionFailed):
            await stolen.call("submit_participant_recovery_info", ask)
        await turned_away(alice, alice.node("old").keys.tls, "new")
        assert await net.names("alice", "new")
