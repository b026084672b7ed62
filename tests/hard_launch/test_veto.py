"""The own node inside the TEE decides; endpoints outside, on real sockets in front of a real chain, may only veto."""

from contextlib import asynccontextmanager

import pytest

from sharekeeper.adapters import veto
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.veto import VetoReader
from sharekeeper.errors import PolicyRefused
from sharekeeper.protocol.quorum import Standing, read_views
from tests.endpoints import dawdles, endpoints, forks, garbage, hangs, honest, lags, lies, other_network
from tests.integration.world import A_MINUTE_LATE, CHAIN_ID, CLOCK, CONTRACT, world


@pytest.fixture
async def net(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1) as network:
        yield network


@asynccontextmanager
async def reader(net, *names, clock=CLOCK):
    async with endpoints(net.chain.rpc_url, *names) as found:
        rpcs = {
            name: NearRpc(
                url=endpoint.url,
                contract_id=CONTRACT,
                chain_id=CHAIN_ID,
                genesis_hash=net.network.genesis_hash,
                clock=CLOCK,
                timeout_seconds=0.6,
            )
            for name, endpoint in found.items()
        }
        try:
            yield VetoReader(rpcs, account_id=net["alice"].account_id, clock=clock), found
        finally:
            for rpc in rpcs.values():
                await rpc.close()


def standings(survey):
    return {one.endpoint: one.standing for one in survey.judgements}


def next_epoch(state):
    state["Running"]["keyset"]["epoch_id"] += 1
    return state


async def test_the_own_node_alone_decides_at_its_newest_final_block(net):
    async with reader(net, "own") as (asking, _):
        before = (await net.rpc.head()).height
        survey = await asking.survey()
        assert survey.agreed.block.height >= before
        assert survey.agreed.witnesses == ("own",)
        assert read_views(survey.agreed.views).state.keyset == net.keyset
        assert (asking.endpoints, asking.quorum) == (("own",), 1)


async def test_an_own_node_that_stands_still_decides_nothing(net):
    async with reader(net, "own", "a", clock=A_MINUTE_LATE) as (asking, _):
        survey = await asking.survey()
        assert survey.agreed is None
        assert not survey.vetoed
        assert set(standings(survey).values()) == {Standing.LAGS}


async def test_endpoints_outside_that_show_the_same_are_witnesses(net):
    async with reader(net, "own", "a", "b") as (asking, _):
        for ask in (asking.survey, asking.compare):
            survey = await ask()
            assert survey.agreed.witnesses == ("own", "a", "b")
            assert set(standings(survey).values()) == {Standing.AGREES}


@pytest.mark.parametrize(
    ("mode", "standing"),
    [
        (forks, Standing.FORKS),
        (lies(next_epoch), Standing.LIES),
        (lies(lambda record: record | {"is_participant": False}, "participant_info"), Standing.LIES),
    ],
)
async def test_one_endpoint_that_contradicts_the_own_node_vetoes_whatever_the_others_say(net, mode, standing):
    async with reader(net, "own", "a", "b") as (asking, found):
        found["b"].mode = mode
        survey = await asking.survey()
        assert survey.agreed is None
        assert survey.vetoed
        assert standings(survey)["b"] is standing
        assert "a NEAR endpoint outside contradicts the node inside the TEE" in str(survey.missing())
        found["b"].mode = honest
        assert (await asking.survey()).agreed is not None


@pytest.mark.parametrize(
    ("mode", "standing"),
    [(hangs, Standing.HANGS), (dawdles(0.2), Standing.HANGS), (garbage, Standing.GARBAGE)],
    ids=["hangs", "takes too long in all", "garbage"],
)
async def test_an_endpoint_that_says_nothing_vetoes_nothing(net, monkeypatch, mode, standing):
    monkeypatch.setattr(veto, "VETO_SECONDS", 0.3)
    async with reader(net, "own", "a") as (asking, found):
        found["a"].mode = mode
        survey = await asking.survey()
        assert survey.agreed.witnesses == ("own",)
        assert standings(survey)["a"] is standing


async def test_an_endpoint_of_another_network_is_named_in_a_comparison(net):
    async with reader(net, "own", "a") as (asking, found):
        found["a"].mode = other_network
        assert standings(await asking.compare())["a"] is Standing.FOREIGN


async def grown(net):
    """The chain is long enough for an endpoint that lags ten blocks."""

    async def long_enough():
        return (await net.rpc.head()).height > 20

    await net.until(long_enough)


async def test_an_endpoint_that_is_behind_is_compared_where_it_is(net):
    async with reader(net, "own", "a") as (asking, found):
        await grown(net)
        found["a"].mode = lags(10)
        survey = await asking.survey()
        assert survey.agreed.witnesses == ("own", "a")
        assert survey.judgements[1].statement.block.height < survey.agreed.block.height
        behind = found["a"].mode

        async def lies_there(endpoint, asked, answer):
            return lies(next_epoch)(endpoint, asked, await behind(endpoint, asked, answer))

        found["a"].mode = lies_there
        survey = await asking.survey()
        assert survey.vetoed
        assert standings(survey)["a"] is Standing.LIES


async def test_an_own_node_that_is_behind_is_contradicted_where_it_is(net):
    async with reader(net, "own", "a") as (asking, found):
        await grown(net)
        found["own"].mode = lags(10)
        survey = await asking.survey()
        assert survey.agreed.witnesses == ("own", "a")
        found["a"].mode = lies(next_epoch)
        survey = await asking.survey()
        assert survey.vetoed
        assert standings(survey)["a"] is Standing.LIES


async def test_a_survey_asks_for_a_block_and_two_views_and_only_a_comparison_for_the_network_too(net):
    async with reader(net, "own", "a") as (asking, found):
        await asking.survey()
        assert set(found["a"].calls) == {"block", "query"}
        found["a"].calls.clear()
        await asking.compare()
        assert set(found["a"].calls) == {"status", "block", "query"}


@pytest.mark.parametrize("mode", [hangs, garbage], ids=["hangs", "garbage"])
async def test_no_number_of_endpoints_outside_stands_for_the_own_node(net, mode):
    async with reader(net, "own", "a", "b", "c") as (asking, found):
        found["own"].mode = mode
        survey = await asking.survey()
        assert survey.agreed is None
        assert not survey.vetoed
        assert [one.endpoint for one in survey.judgements] == ["own"]


async def test_outside_endpoints_that_agree_against_the_own_node_can_only_stop_it(net):
    async with reader(net, "own", "a", "b", "c") as (asking, found):
        for name in "abc":
            found[name].mode = lies(next_epoch)
        survey = await asking.survey()
        assert survey.agreed is None
        assert survey.vetoed


async def test_a_block_is_named_by_the_own_node_alone(net):
    async with reader(net, "own", "a") as (asking, found):
        found["a"].mode = lies(next_epoch)
        head = await net.rpc.head()
        assert (await asking.own_views(head.hash)).state.keyset == net.keyset
        newest = await net.rpc.endpoint.request("block", {"finality": "optimistic"}, timeout_seconds=5)
        with pytest.raises(PolicyRefused, match="is not final at the own node"):
            await asking.own_views(newest["header"]["hash"])
