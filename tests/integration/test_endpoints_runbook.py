"""The runbook for NEAR endpoints that disagree is done here as written."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from sharekeeper.adapters import quorum
from sharekeeper.domain.protocol_state import Recovery
from tests.endpoints import endpoints, forks, hangs

from .runbooks import EXECUTED, Operator, Units, blocks
from .world import CONTRACT, approve, world

QUORUM = EXECUTED["QUORUM"]
SLOW = {"recovery_timeout_blocks": 5000, "recovery_cooldown_blocks": 10}


@asynccontextmanager
async def disagreeing(directory, monkeypatch):
    """Alice's backup service and its operator, with endpoints `a` and `b` beside the own node, and one more, `c`."""
    monkeypatch.setattr(quorum, "RPC_TIMEOUT_SECONDS", 1.0)
    units = Units()
    async with (
        world(directory, policy="approve", config=SLOW) as net,
        endpoints(net.chain.rpc_url, "a", "b", "c") as found,
    ):
        alice = net["alice"]
        config = alice.service.config_path
        anchor = f'contract_id = "{CONTRACT}"\n'
        more = "".join(f'[[near.endpoints]]\nname = "{name}"\nurl = "{found[name].url}"\n' for name in ("a", "b"))
        config.write_text(config.read_text().replace(anchor, anchor + more))
        await net.with_backup("alice")
        known = {
            "BACKUP_CONFIG": config,
            "BAD": "b",
            "NEW_NAME": "c",
            "NEW_ENDPOINT": found["c"].url,
            "RECOVERY_ID": 1,
            "NEW_TLS_KEY": alice.node("new").keys.tls.tls_key,
        }

        async def supervise(verb, unit):
            if verb == "start":
                await units.start(unit, config)
            elif not await units.stop(unit):
                await alice.service.stop()

        try:
            yield net, found, lambda **facts: Operator(directory, known | facts, supervise=supervise)
        finally:
            await units.close()
            await asyncio.gather(*(daemon.stop() for daemon in alice.daemons.values()))


async def test_an_endpoint_that_forks_is_found_and_replaced(tmp_path, monkeypatch):
    async with disagreeing(tmp_path, monkeypatch) as (net, found, operator):
        found["b"].mode = forks
        steps = blocks(QUORUM, "Variables") + blocks(QUORUM, "Who says what") + blocks(QUORUM, "Take an endpoint out")
        await operator().follow(steps)
        text = net["alice"].service.config_path.read_text()
        assert f'name = "c"\nurl = "{found["c"].url}"' in text
        assert found["b"].url not in text
        assert found["a"].url in text


async def test_a_recovery_that_waits_for_a_quorum_is_served_on_the_operators_word(tmp_path, monkeypatch):
    async with disagreeing(tmp_path, monkeypatch) as (net, found, operator):
        alice = net["alice"]
        found["a"].mode = found["b"].mode = hangs
        await approve(net, "alice")
        await alice.node("old").stop()
        await net.replace("alice")
        await net.until_state(Recovery)
        waiting = blocks(QUORUM, "Variables") + blocks(QUORUM, "A recovery waits for a quorum")
        await operator(BLOCK_HASH=(await net.rpc.head()).hash).follow(waiting)
        assert await net.names("alice", "new")


@pytest.mark.parametrize("section", ["Who says what", "Take an endpoint out", "A recovery waits for a quorum"])
def test_every_section_has_commands(section):
    assert any(block.kind == "sh" for block in blocks(QUORUM, section))
