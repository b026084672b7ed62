"""The quorum reader on real sockets: honest and hostile endpoints in front of a real chain."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from sharekeeper.adapters import quorum
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.quorum import QuorumReader
from sharekeeper.errors import ChainUnavailable, PolicyRefused
from sharekeeper.protocol.quorum import Standing, read_views
from tests.endpoints import (
    dawdles,
    endpoints,
    flaps,
    forks,
    garbage,
    hangs,
    honest,
    lags,
    lies,
    other,
    other_network,
    unknown_block,
)

from .world import A_MINUTE_LATE, CHAIN_ID, CLOCK, CONTRACT, world


def next_epoch(state):
    state["Running"]["keyset"]["epoch_id"] += 1
    return state


def epoch_before(state):
    state["Running"]["keyset"]["epoch_id"] -= 1
    return state


@pytest.fixture
async def net(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1) as network:
        yield network


@asynccontextmanager
async def reader(net, *names, quorum, timeout_seconds=0.6, clock=CLOCK):
    """A reader of the own node and of endpoints in front of it."""
    async with endpoints(net.chain.rpc_url, *names) as found:
        rpcs = {
            name: NearRpc(
                url=endpoint.url,
                contract_id=CONTRACT,
                chain_id=CHAIN_ID,
                genesis_hash=net.network.genesis_hash,
                clock=CLOCK,
                timeout_seconds=timeout_seconds,
            )
            for name, endpoint in found.items()
        }
        try:
            yield QuorumReader(rpcs, quorum=quorum, account_id=net["alice"].account_id, clock=clock), found
        finally:
            for rpc in rpcs.values():
                await rpc.close()


def standings(survey):
    return {one.endpoint: one.standing for one in survey.judgements}


async def test_honest_endpoints_agree_on_the_newest_block_and_all_views_at_it(net):
    async with reader(net, "own", "a", "b", quorum=2) as (asking, _):
        before = (await net.rpc.head()).height
        survey = await asking.survey()
        assert survey.agreed.block.height >= before
        views = read_views(survey.agreed.views)
        assert views.state == await net.rpc.protocol_state(survey.agreed.block)
        assert views.account == await net.rpc.account(net["alice"].account_id, survey.agreed.block)
        assert set(standings(await asking.compare()).values()) == {Standing.AGREES}


async def test_endpoints_that_stand_still_are_asked_for_nothing_at_their_old_block(net):
    async with reader(net, "own", "a", "b", quorum=2, clock=A_MINUTE_LATE) as (asking, found):
        survey = await asking.survey()
        assert survey.agreed is None
        assert set(standings(survey).values()) == {Standing.LAGS}
        assert all(set(endpoint.calls) == {"block"} for endpoint in found.values())


async def test_a_comparison_and_a_survey_cost_each_endpoint_a_handful_of_requests(net):
    async with reader(net, "own", "a", "b", quorum=2) as (asking, found):
        for ask, most in ((asking.compare, 5), (asking.survey, 4)):
            for endpoint in found.values():
                endpoint.calls.clear()
            await ask()
            assert all(len(endpoint.calls) <= most for endpoint in found.values())


HOSTILE = [
    (hangs, Standing.HANGS),
    (garbage, Standing.GARBAGE),
    (forks, Standing.FORKS),
    (other_network, Standing.FOREIGN),
    (lies(next_epoch), Standing.LIES),
    (lies(epoch_before), Standing.LIES),
    (lies(lambda record: record | {"is_participant": False}, "participant_info"), Standing.LIES),
    (lags(100), Standing.LAGS),
]


@pytest.mark.parametrize(
    ("mode", "standing"), HOSTILE, ids=[f"{standing}-{n}" for n, (_, standing) in enumerate(HOSTILE)]
)
async def test_one_hostile_endpoint_of_three_is_named_and_changes_nothing(net, mode, standing):
    async with reader(net, "own", "a", "b", quorum=2) as (asking, found):
        found["b"].mode = mode
        if standing is Standing.LAGS:
            await net.until(lambda: at_least(net, 101))
        compared = await asking.compare()
        assert compared.agreed.witnesses == ("own", "a")
        assert standings(compared)["b"] is standing, compared.judgements
        surveyed = await asking.survey()
        assert set(surveyed.agreed.witnesses) == {"own", "a"}
        assert read_views(surveyed.agreed.views).state.keyset == net.keyset
        found["b"].mode = honest
        assert set(standings(await asking.compare()).values()) == {Standing.AGREES}


async def at_least(net, height):
    return (await net.rpc.head()).height >= height


@pytest.mark.parametrize(("mode", "standing"), HOSTILE[:-1], ids=[f"{s}-{n}" for n, (_, s) in enumerate(HOSTILE[:-1])])
async def test_two_hostile_endpoints_of_three_leave_nothing_agreed(net, mode, standing):
    async with reader(net, "own", "a", "b", quorum=2) as (asking, found):
        found["a"].mode = mode
        found["b"].mode = lies(lambda state: {"Running": state["Running"] | {"extra": 1}})
        survey = await asking.survey()
        assert survey.agreed is None
        assert "own: " in str(survey.missing())


@pytest.mark.parametrize("hostile", [forks, lies(next_epoch), garbage])
async def test_an_endpoint_that_flaps_is_never_a_witness_of_anything_but_the_truth(net, hostile):
    async with reader(net, "own", "a", quorum=2) as (asking, found):
        found["a"].mode = flaps(hostile)
        for _ in range(8):
            await asyncio.sleep(0.1)
            survey = await asking.survey()
            if survey.agreed is not None:
                assert read_views(survey.agreed.views).state.keyset == net.keyset
                assert await net.rpc.block_at(survey.agreed.block.height) == survey.agreed.block


async def test_a_hanging_endpoint_costs_a_moment_and_not_its_deadline(net, monkeypatch):
    monkeypatch.setattr(quorum, "SETTLE_SECONDS", 0.1)
    async with reader(net, "own", "a", "b", quorum=2, timeout_seconds=30) as (asking, found):
        await asking.survey()
        found["b"].mode = hangs
        begun = time.monotonic()
        assert (await asking.survey()).agreed is not None
        assert time.monotonic() - begun < 1


async def test_a_slow_honest_endpoint_is_waited_for_where_the_quick_ones_do_not_agree(net, monkeypatch):
    monkeypatch.setattr(quorum, "SETTLE_SECONDS", 0.01)

    async with reader(net, "own", "a", "b", quorum=2) as (asking, found):
        found["a"].mode, found["b"].mode = dawdles(0.1), lies(next_epoch)
        survey = await asking.survey()
        assert set(survey.agreed.witnesses) == {"own", "a"}


def counting(finals):
    """Honest; each time it is asked for its newest final block is kept."""

    def mode(_endpoint, asked, answer):
        finals.extend([asked] if asked["params"] == {"finality": "final"} else [])
        return answer

    return mode


async def test_only_answers_that_count_make_the_others_hurry(net, monkeypatch):
    """Two of three have answered, one of them with garbage: the third is waited for, and nobody is asked twice."""
    monkeypatch.setattr(quorum, "SETTLE_SECONDS", 0.01)
    finals = []
    async with reader(net, "own", "a", "b", quorum=2, timeout_seconds=5) as (asking, found):
        found["own"].mode, found["a"].mode, found["b"].mode = counting(finals), dawdles(0.3), garbage
        assert (await asking.survey()).agreed.witnesses == ("own", "a")
        assert len(finals) == 1


async def test_a_comparison_hurries_nobody(net, monkeypatch):
    monkeypatch.setattr(quorum, "SETTLE_SECONDS", 0.01)
    async with reader(net, "own", "a", "b", quorum=2, timeout_seconds=5) as (asking, found):
        found["b"].mode = dawdles(0.3)
        assert standings(await asking.compare())["b"] is Standing.AGREES


async def test_a_round_ends_for_an_endpoint_that_answers_each_question_late(net, monkeypatch):
    monkeypatch.setattr(quorum, "_ROUND_SECONDS", 1.0)
    async with reader(net, "own", "a", "b", quorum=2, timeout_seconds=5) as (asking, found):
        found["b"].mode = dawdles(0.7)
        assert standings(await asking.compare())["b"] is Standing.HANGS


async def test_a_survey_asks_an_endpoint_that_is_behind_for_nothing_more(net):
    await net.until(lambda: at_least(net, 12))
    async with reader(net, "own", "a", "b", quorum=2, timeout_seconds=5) as (asking, found):
        found["b"].mode = lags(10)
        assert (await asking.survey()).agreed.witnesses == ("own", "a")
        assert found["b"].calls == ["block"]


async def test_an_endpoint_that_calls_an_older_block_final_agrees_if_it_shows_the_same_at_the_newer(net):
    await net.until(lambda: at_least(net, 4))
    async with reader(net, "own", "a", "b", quorum=2, timeout_seconds=5) as (asking, found):
        found["b"].mode = finalizes_late
        compared = await asking.compare()
        assert compared.agreed.witnesses == ("own", "a")
        assert standings(compared)["b"] is Standing.AGREES


async def test_an_endpoint_on_a_fork_is_named_so_even_if_it_shows_no_state_there(net):
    def forks_blindly(endpoint, asked, answer):
        return unknown_block(asked) if asked["method"] == "query" else forks(endpoint, asked, answer)

    async with reader(net, "own", "a", "b", quorum=2, timeout_seconds=5) as (asking, found):
        found["b"].mode = forks_blindly
        assert standings(await asking.compare())["b"] is Standing.FORKS


async def test_endpoints_that_have_all_answered_and_do_not_agree_are_not_asked_again(net, monkeypatch):
    monkeypatch.setattr(quorum, "SETTLE_SECONDS", 10)
    finals = []
    async with reader(net, "own", "a", "b", quorum=2, timeout_seconds=5) as (asking, found):
        found["own"].mode, found["a"].mode, found["b"].mode = counting(finals), forks, lies(next_epoch)
        assert (await asking.survey()).agreed is None
        assert len(finals) == 1


async def test_endpoints_of_different_heights_agree_where_one_of_them_lies(net):
    """The newest height that a quorum has may be one of which a liar is needed: an older one is taken then."""
    await net.until(lambda: at_least(net, 8))
    async with reader(net, "own", "a", "b", quorum=2) as (asking, found):
        found["a"].mode, found["b"].mode = lags(4), lies(next_epoch)
        survey = await asking.survey()
        assert survey.agreed.witnesses == ("own", "a")


async def test_the_own_node_alone_shows_what_it_has_as_final_and_nothing_else(net):
    async with reader(net, "own", "a", quorum=2) as (asking, found):
        head = await net.rpc.head()
        assert (await asking.own_views(head.hash)).state == await net.state()
        with pytest.raises(ChainUnavailable, match="UNKNOWN_BLOCK"):
            await asking.own_views(other(head.hash))
        found["own"].mode = lags(20)
        with pytest.raises((PolicyRefused, ChainUnavailable)):
            await asking.own_views((await net.rpc.head()).hash)
        assert found["a"].calls == []


async def finalizes_late(endpoint, asked, answer):
    """Knows every block, and calls an older one its newest final one."""
    if asked["method"] == "block" and asked["params"] == {"finality": "final"}:
        return answer | {"result": await endpoint.ask("block", {"block_id": 2})}
    return answer


async def test_a_block_that_is_not_final_yet_is_none_to_vouch_for(net):
    await net.until(lambda: at_least(net, 4))
    async with reader(net, "own", quorum=1) as (asking, found):
        found["own"].mode = finalizes_late
        with pytest.raises(PolicyRefused, match="is not final at the own node, whose newest final is 2"):
            await asking.own_views((await net.rpc.head()).hash)


async def remembers_a_fork(endpoint, asked, answer):
    """Knows a block by its hash that another took the place of."""
    block_id = asked["params"].get("block_id") if asked["method"] == "block" else None
    if not isinstance(block_id, str):
        return answer
    fork = await endpoint.ask("block", {"block_id": 2})
    return {"jsonrpc": "2.0", "id": asked["id"], "result": fork | {"header": fork["header"] | {"hash": block_id}}}


async def test_a_block_that_another_took_the_place_of_is_none_to_vouch_for(net):
    await net.until(lambda: at_least(net, 4))
    async with reader(net, "own", quorum=1) as (asking, found):
        found["own"].mode = remembers_a_fork
        with pytest.raises(PolicyRefused, match="is not final at the own node"):
            await asking.own_views(other((await net.rpc.head()).hash))


@pytest.mark.parametrize(("number", "quorum"), [(2, 1), (3, 1), (4, 2), (3, 4), (1, 0)])
def test_a_quorum_of_half_or_of_more_than_all_cannot_be_made(number, quorum):
    with pytest.raises(ValueError, match="quorum"):
        QuorumReader({str(n): None for n in range(number)}, quorum=quorum, account_id="a", clock=CLOCK)
