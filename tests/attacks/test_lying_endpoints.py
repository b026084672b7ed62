"""Who controls NEAR endpoints, but no quorum of them, gets no share and destroys none (threat: NEAR endpoint).

Real chain, real daemons, hostile endpoints on sockets in front of the chain. The backup service asks the own node, `a`
and `b`; two must agree.
"""

import asyncio
import re
import secrets
from contextlib import asynccontextmanager

import pytest

from sharekeeper.adapters import quorum
from sharekeeper.adapters.tls_channel import ChannelListener
from sharekeeper.backup_service import endpoints as comparison
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.protocol_state import Recovery
from tests.endpoints import endpoints, flaps, forks, garbage, hangs, honest, lags, lies, other_network
from tests.integration.cli import call
from tests.integration.world import CONTRACT, approve, world

THIEF = KeyPair.generate(secrets.token_bytes(32))


@asynccontextmanager
async def besieged(directory, monkeypatch, **settings):
    """A network whose alice asks three endpoints, and those endpoints by name; the others are honest themselves."""
    monkeypatch.setattr(comparison, "COMPARE_EVERY_SECONDS", 0.3)
    monkeypatch.setattr(quorum, "RPC_TIMEOUT_SECONDS", 1.0)
    async with world(directory, **settings) as net, endpoints(net.chain.rpc_url, "own", "a", "b") as found:
        alice = net["alice"]
        alice.rpc_url = found["own"].url
        config = alice.service.config_path
        more = "".join(f'[[near.endpoints]]\nname = "{name}"\nurl = "{found[name].url}"\n' for name in ("a", "b"))
        anchor = f'contract_id = "{CONTRACT}"\n'
        config.write_text(config.read_text().replace(anchor, anchor + more))
        try:
            yield net, found
        finally:
            await asyncio.gather(*(daemon.stop() for daemon in alice.daemons.values()))


def recovery_of(net, name, key, host):
    """What a liar makes of the true state: a recovery of that account, by the owner of `key` at `host`."""

    def change(state):
        if "Running" not in state:
            return state
        running, info = state["Running"], {"url": f"http://{host}:8090", "tls_public_key": str(key.tls_key)}
        participants = running["parameters"]["participants"]
        members = [
            [account, number, info if account == net[name].account_id else before]
            for account, number, before in participants["participants"]
        ]
        return {
            "Recovery": {
                "recovery_id": 1,
                "previous_running_state": running,
                "prospective_participants": participants | {"participants": members},
                "recovering": {
                    "account_id": net[name].account_id,
                    "participant_info": info,
                    "signer_account_pk": str(key.signer_key),
                },
                "started_in": 5,
                "expires_on": 10**6,
                "shares_confirmed": False,
            }
        }

    return change


async def fault_of(net, service, topic):
    """The message of the fault with that topic, once it is there."""

    async def seen():
        faults = (await service.status())["faults"]
        return next((fault for fault in faults if fault["topic"] == topic), None)

    return await net.until(seen, what=f"a fault of {topic}")


async def metric(service, name):
    _, text = await service.page("metrics")
    return re.search(rf"^{re.escape(name)} (.*)$", text, re.MULTILINE)[1]


async def test_an_own_node_that_invents_a_recovery_gets_the_thief_nothing_and_is_named(tmp_path, monkeypatch):
    async with besieged(tmp_path, monkeypatch) as (net, found):
        alice, met = net["alice"], []

        async def thief(channel):
            met.append(channel)

        async def expected():
            return alice.service.keys.tls.tls_key

        listener = ChannelListener("127.91.9.9", alice.port, THIEF, expected, thief)
        await listener.start()
        await net.with_backup("alice")
        found["own"].mode = lies(recovery_of(net, "alice", THIEF, "127.91.9.9"))
        fault = await fault_of(net, alice.service, "endpoint own")
        assert (fault["code"], fault["alarm"]) == ("chain_contradiction", True)
        assert "own lies: at block" in fault["message"]
        assert "it shows Recovery 1 of alice.test.near" in fault["message"]
        refused = await fault_of(net, alice.service, "hand-out")
        assert refused["code"] == "no_quorum"
        assert (await alice.service.status())["delivered_recovery_id"] is None
        found["own"].mode = honest
        await net.until_healthy(alice.service)
        await listener.stop()
        assert met == []


HOSTILE = {
    "lies": (lies(lambda state: {"NotInitialized": None}), "chain_contradiction"),
    "lags": (lags(30), "chain_stale"),
    "forks": (forks, "chain_contradiction"),
    "flaps": (flaps(lies(lambda state: state | {"extra": 1})), "chain_contradiction"),
    "hangs": (hangs, "chain_unavailable"),
    "garbage": (garbage, "chain_answer_invalid"),
    "another network": (other_network, "wrong_network"),
}


@pytest.mark.parametrize("how", HOSTILE)
async def test_one_hostile_endpoint_is_named_and_a_recovery_goes_on_without_it(tmp_path, monkeypatch, how):
    mode, code = HOSTILE[how]
    async with besieged(tmp_path, monkeypatch) as (net, found):
        alice = net["alice"]
        await net.with_backup("alice")
        if how == "lags":
            await net.until(lambda: past(net, 40))
        found["b"].mode = mode

        async def told():
            return (await fault_of(net, alice.service, "endpoint b"))["code"] == code

        await net.until(told, what=f"endpoint b: {code}")
        assert int(
            float(await metric(alice.service, f'sharekeeper_near_endpoint_faults_total{{endpoint="b",code="{code}"}}'))
        )
        await alice.node("old").stop()
        await net.replace("alice")
        await net.until_healthy(alice.node("new"))
        assert await net.names("alice", "new")
        found["b"].mode = honest
        await net.until_healthy(alice.service)
        assert await metric(alice.service, 'sharekeeper_near_endpoint_agrees{endpoint="b"}') == "1.0"


async def past(net, height):
    return (await net.rpc.head()).height >= height


@pytest.mark.parametrize("transfer", ["p2p", "web"])
@pytest.mark.parametrize("how", ["lies", "hangs"])
async def test_two_hostile_endpoints_hold_a_recovery_up_and_release_nothing_until_one_agrees(
    tmp_path, monkeypatch, how, transfer
):
    async with besieged(tmp_path, monkeypatch, transfer=transfer) as (net, found):
        alice = net["alice"]
        found["a"].mode = HOSTILE[how][0]
        found["b"].mode = hangs if how == "hangs" else lies(lambda state: state | {"extra": 1})
        await net.grant("alice", alice.service)
        alice.node("old").start()
        alice.service.start()
        await net.until_status(alice.service, lambda status: status["current_backup"], what="storing goes on")
        await alice.node("old").stop()
        await net.replace("alice")
        await net.until_state(Recovery)
        assert (await fault_of(net, alice.service, "hand-out"))["code"] == "no_quorum"
        assert await alice.store("new").staged() is None
        assert not (await net.state()).shares_confirmed
        found["a"].mode = honest
        await net.until_healthy(alice.node("new"))


async def test_the_operator_stands_in_for_silent_endpoints_once(tmp_path, monkeypatch, capsys):
    async with besieged(tmp_path, monkeypatch, policy="approve") as (net, found):
        alice = net["alice"]
        await net.with_backup("alice")
        await approve(net, "alice")
        found["a"].mode = found["b"].mode = hangs
        before = await net.rpc.head()
        await alice.node("old").stop()
        await net.replace("alice")
        named = await net.until_state(Recovery)
        await fault_of(net, alice.service, "hand-out")
        head, config = await net.rpc.head(), ["--config", alice.service.config_path, "--json"]
        given = {
            "--block-hash": head.hash,
            "--recovery-id": named.recovery_id,
            "--tls-key": named.recovering.info.tls_public_key,
            "--valid-for": "5m",
        }

        async def vouch(**changes):
            words = [
                word
                for pair in (given | {f"--{k.replace('_', '-')}": v for k, v in changes.items()}).items()
                for word in pair
            ]
            return await call(capsys, "backup-service", "override-quorum", *words, *config)

        for changes in (
            {"recovery_id": 99},
            {"tls_key": THIEF.tls_key},
            {"block_hash": before.hash},
        ):
            assert (await vouch(**changes)).json["code"] == "policy_refused"
        assert (await vouch(block_hash="1" * 31)).status == 2
        made = (await vouch()).json
        assert (made["changed"], made["type"], made["block_hash"]) == (True, "quorum_override", head.hash)
        await net.until_healthy(alice.node("new"))
        assert await net.names("alice", "new")
        assert await metric(alice.service, "sharekeeper_quorum_overrides_total") == "1.0"
        [path] = (alice.service.directory / "state" / "overrides").glob("*.json")
        assert '"used_at_ns":null' not in path.read_text()


async def test_the_comparison_is_shown_as_a_table_with_a_verdict(tmp_path, monkeypatch, capsys):
    async with besieged(tmp_path, monkeypatch) as (net, found):
        config = ["--config", net["alice"].service.config_path]
        plain = await call(capsys, "chain", "quorum", *config)
        assert plain.status == 0
        assert [line.split()[-1] for line in plain.out.splitlines()[1:4]] == ["agrees"] * 3
        assert re.search(
            r"^release: possible, agreed at block \d+ by own, a, b \(2 of 3 needed\)$", plain.out, re.MULTILINE
        )
        assert net.keyset.digest()[:12] in plain.out
        found["a"].mode, found["b"].mode = forks, hangs
        shown = await call(capsys, "chain", "quorum", *config, "--json")
        assert (shown.status, shown.json["release_possible"], shown.json["agreed"]) == (39, False, None)
        assert [one["standing"] for one in shown.json["endpoints"]] == ["undecided", "undecided", "hangs"]
        found["a"].mode = honest
        again = await call(capsys, "chain", "quorum", *config)
        assert again.status == 0
        assert "b does not answer: start it, or correct its url" in again.out
