"""Whatever calls come, in whatever order: the contract behind a chain's RPC does what its Python sources do."""

import asyncio
import tempfile
from pathlib import Path

import aiohttp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharekeeper_devnet.chain import DevChain
from tests.contract.steps import Sequence
from tests.contract.test_walks import WORLDS
from tests.contract.walks import walk
from tests.devchain.conftest import Client
from tests.devchain.test_contract_over_rpc import genesis_of, play, plays


async def play_over_rpc(sequence: Sequence, directory: Path) -> set[int]:
    checked: set[int] = set()
    async with aiohttp.ClientSession() as session:
        for number, steps in enumerate(plays(sequence)):
            async with DevChain(directory / str(number), genesis_of(sequence.steps), block_time_ms=None) as chain:
                checked |= await play(Client(chain, session), sequence.name, steps)
    return checked


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(world=st.sampled_from(WORLDS), choices=st.lists(st.integers(0, 10_000), min_size=20, max_size=40))
def test_any_walk_comes_out_over_rpc_as_from_the_sources(world, choices):
    sequence = walk(world, choices)
    with tempfile.TemporaryDirectory() as directory:
        assert asyncio.run(play_over_rpc(sequence, Path(directory))) == set(range(1, len(sequence.steps) + 1))
