"""Version 2 from end to end: real chain, contract, sockets, vault and disk."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from sharekeeper.adapters.web_client import WebClient
from sharekeeper.domain.ephemeral import EphemeralKeys, ExchangeId
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.domain.protocol_state import Initializing, Recovery, Running
from sharekeeper.protocol.key_exchange import KeyExchangeClient, KeyExchangeServer
from sharekeeper.protocol.session import WebBackupClient
from sharekeeper.secret import Secret

from .test_recovery import until_in_force
from .world import Operator, World, app, approve, world


async def keys_on_chain(net: World, name: str, slot: int = 0) -> EphemeralKeys:
    return (await net.rpc.ephemeral_keys(net[name].account_id, await net.rpc.head()))[slot]


async def web_page(operator: Operator, machine: str, path: str) -> tuple[int, str]:
    url = f"http://{operator.host(machine)}:{operator.port}{path}"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await answer.text()


async def test_a_backup_travels_over_the_web_endpoint(tmp_path):
    async with world(tmp_path, transfer="web") as net:
        await net.with_backup("alice")
        _, metrics = await net["alice"].node("old").page("metrics")
        assert 'sharekeeper_exchanges_total{purpose="backup",result="durable"} 1.0' in metrics
        assert 'result="durable"' not in metrics.replace('purpose="backup",result="durable"} 1.0', "", 1)


async def test_while_a_key_is_generated_the_keys_from_before_are_backed_up_over_the_web_endpoint(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1, transfer="web") as net:
        alice = net["alice"]
        domain = {"id": 2, "protocol": "Frost", "reconstruction_threshold": 1, "purpose": "Sign"}
        await net.caller(alice.account_id, alice.owner).call("vote_add_domains", {"domains": [domain]})
        await net.with_backup("alice")
        assert isinstance(await net.state(), Initializing)
        (manifest,) = (alice.service.directory / "vault" / "keysets").glob("*/manifest.json")
        assert net.keyset.digest() in manifest.read_text()


async def test_a_lost_node_recovers_over_the_web_endpoint(tmp_path):
    async with world(tmp_path, transfer="web") as net:
        await net.with_backup("alice")
        await net["alice"].node("old").stop()
        await net.replace("alice")
        await net.until_state(Recovery)
        await until_in_force(net, "alice", "new")
        await net.until_healthy(net["alice"].service)
        assert isinstance(await net.state(), Running)


async def test_an_approval_is_spent_before_the_first_sealed_share_leaves(tmp_path, monkeypatch):
    spent = []
    real = WebClient.request

    async def request(self, *given):
        if Purpose.RECOVERY in given:
            (path,) = (net["alice"].service.directory / "state" / app.APPROVALS_DIRECTORY).glob("*.json")
            spent.append(json.loads(path.read_text())["used_for"])
        return await real(self, *given)

    monkeypatch.setattr(WebClient, "request", request)
    async with world(tmp_path, transfer="web", policy="approve") as net:
        await net.with_backup("alice")
        await approve(net, "alice")
        await net["alice"].node("old").stop()
        await net.replace("alice")
        recovery = await net.until_state(Recovery)
        await until_in_force(net, "alice", "new")
        assert spent == [recovery.recovery_id]


async def test_without_an_approval_no_exchange_is_opened_for_a_recovery(tmp_path):
    async with world(tmp_path, transfer="web", policy="approve") as net:
        await net.with_backup("alice")
        before = (await keys_on_chain(net, "alice")).backup_service
        await net["alice"].node("old").stop()
        await net.replace("alice")
        await net.until_state(Recovery)
        await net.until_status(
            net["alice"].service, lambda status: any(f["code"] == "policy_refused" for f in status["faults"])
        )
        assert (await keys_on_chain(net, "alice")).backup_service in {before, None}


# --- restarts -------------------------------------------------------------------------------------


async def test_a_node_that_restarted_since_its_answer_costs_one_new_exchange(tmp_path, monkeypatch):
    real, asked = WebClient.request, []

    async def request(self, *given):
        asked.append(given[2])
        if len(asked) == 1:
            await net["alice"].node("old").stop()
            net["alice"].node("old").start()
            await net.until_healthy(net["alice"].node("old"))
        return await real(self, *given)

    monkeypatch.setattr(WebClient, "request", request)
    async with world(tmp_path, names=("alice",), threshold=1, transfer="web") as net:
        await net.with_backup("alice")
        assert len(asked) == len(set(asked)) == 2
        _, metrics = await net["alice"].service.page("metrics")
        assert 'sharekeeper_exchanges_total{purpose="backup",result="durable"} 1.0' in metrics


async def test_a_backup_service_that_restarted_since_it_opened_opens_anew(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1, transfer="web") as net:
        alice = net["alice"]
        await net.grant("alice", alice.service)
        await alice.store("old").discard_staged()
        hidden = alice.node("old").directory / "hidden"
        (alice.node("old").directory / "keyshares").rename(hidden)
        alice.node("old").start()
        alice.service.start()

        async def opened():
            return (await keys_on_chain(net, "alice")).backup_service

        first = await net.until(opened, what="an opening record")
        assert (await keys_on_chain(net, "alice")).node is None, "a node without its shares does not answer"
        await alice.service.stop()
        hidden.rename(alice.node("old").directory / "keyshares")
        alice.service.start()
        await net.until_healthy(alice.service)
        keys = await keys_on_chain(net, "alice")
        assert keys.backup_service.record.exchange_id != first.record.exchange_id
        assert keys.node.record.exchange_id == keys.backup_service.record.exchange_id


# --- downgrade ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("node", "service"), [("web", "p2p"), ("p2p", "web")])
async def test_downgrade_from_the_configured_version_is_refused_whichever_side_asks(tmp_path, node, service):
    async with world(tmp_path, names=("alice",), threshold=1, transfer=node) as net:
        alice = net["alice"]
        alice.transfer = service
        await net.grant("alice", alice.service)
        alice.node("old").start()
        alice.service.start()
        await net.until_status(
            alice.service,
            lambda status: any(
                fault["topic"] == "backup" and fault["code"].startswith("peer_") for fault in status["faults"]
            ),
        )
        status = await alice.service.status()
        assert status["backups"] == []
        keys = await keys_on_chain(net, "alice")
        assert keys == EphemeralKeys(backup_service=None, node=None), "no transaction is spent either"
        _, metrics = await alice.node("old").page("metrics")
        assert "durable" not in metrics


# --- stolen account keys --------------------------------------------------------------------------


async def test_a_stolen_node_account_key_that_answers_first_learns_nothing_and_is_noticed(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1, transfer="web") as net:
        alice = net["alice"]
        await net.grant("alice", alice.service)
        hidden = alice.node("old").directory / "hidden"
        (alice.node("old").directory / "keyshares").rename(hidden)
        alice.node("old").start()
        alice.service.start()

        async def opened():
            return (await keys_on_chain(net, "alice")).backup_service

        opening = await net.until(opened, what="an opening record")
        thief = KeyExchangeServer(
            exchange_of(net),
            opening=opening,
            secret=Secret(os.urandom(32)),
            tls=alice.owner,
            height=(await net.rpc.head()).height,
        )
        stolen = net.caller(alice.account_id, alice.node("old").keys.account)
        await stolen.call("submit_ephemeral_key", thief.arguments())
        await net.until_status(
            alice.service, lambda status: any(fault["code"] == "record_forged" for fault in status["faults"])
        )
        assert (await alice.service.status())["backups"] == []
        hidden.rename(alice.node("old").directory / "keyshares")
        await net.until_healthy(alice.service)


async def test_a_stolen_backup_service_account_key_opens_nothing_and_is_noticed(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1, transfer="web") as net:
        alice = net["alice"]
        await net.with_backup("alice")
        thief = KeyExchangeClient(
            exchange_of(net),
            exchange_id=ExchangeId("ee" * 16),
            secret=Secret(os.urandom(32)),
            tls=alice.owner,
            expires_on=(await net.rpc.head()).height + 60,
        )
        stolen = net.caller(alice.account_id, alice.service.keys.account)
        await stolen.call("submit_ephemeral_key", thief.arguments())
        await net.until_status(
            alice.node("old"), lambda status: any(fault["code"] == "record_forged" for fault in status["faults"])
        )
        keys = await keys_on_chain(net, "alice")
        assert keys.node is None or keys.node.record.exchange_id != thief.record.exchange_id


def exchange_of(net: World):
    alice = net["alice"]
    session = WebBackupClient(
        account_id=alice.account_id,
        network=net.network,
        keyset=net.keyset,
        node_tls_key=alice.node("old").keys.tls.tls_key,
        backup_service_tls_key=alice.service.keys.tls.tls_key,
    )
    return session.exchange


# --- pages, and what is on the wire --------------------------------------------------------------------


async def test_the_web_address_shows_health_metrics_and_public_keys_and_nothing_secret(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1, transfer="web") as net:
        alice = net["alice"]
        await net.with_backup("alice")
        node = alice.node("old")
        pages = {path: await web_page(alice, "old", path) for path in ("/health", "/metrics", "/public_data")}
        assert {code for code, _ in pages.values()} == {200}
        assert json.loads(pages["/public_data"][1]) == {
            "tls_public_key": str(node.keys.tls.tls_key),
            "account_public_key": str(node.keys.account.signer_key),
        }
        shown = "".join(text for _, text in pages.values())
        for share in net.shares("alice"):
            assert share.private_share.reveal().hex() not in shown
        for path in ("/status", "/shares_backup/", "/"):
            assert (await web_page(alice, "old", path))[0] == 404
        assert (await web_page(alice, "old", "/shares_backup"))[0] == 401


@pytest.mark.needs("unshare")
def test_a_packet_capture_of_both_transfers_holds_no_share_byte_and_no_ephemeral_secret(tmp_path):
    root = Path(__file__).parent.parent.parent
    if subprocess.run(["unshare", "-Urn", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let its users have a network of their own")
    done = subprocess.run(
        ["unshare", "-Urn", sys.executable, "-m", "tests.integration.web_capture", str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["leaks"] == []
    assert found["secrets"] == 8, "each side, for each exchange, and each share"
    assert found["seen"] == {"GET /shares_backup": 1, "POST /shares_recover": 1, "signature": 4}
    assert found["bytes"] > 20_000


async def test_nothing_is_left_open_when_a_transfer_is_cancelled(tmp_path, monkeypatch):
    reached, real = asyncio.Event(), WebClient.request

    async def request(self, *given):
        reached.set()
        await asyncio.sleep(30)
        return await real(self, *given)

    monkeypatch.setattr(WebClient, "request", request)
    async with world(tmp_path, names=("alice",), threshold=1, transfer="web") as net:
        alice = net["alice"]
        await net.grant("alice", alice.service)
        alice.node("old").start()
        alice.service.start()
        await asyncio.wait_for(reached.wait(), 20)
        await alice.service.stop()
        monkeypatch.setattr(WebClient, "request", real)
        alice.service.start()
        await net.until_healthy(alice.service)
