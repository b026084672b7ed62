"""Key generation and resharing by reference nodes over real TLS, on a real dev chain, against the real contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sharekeeper.domain.protocol_state import Running
from tests.network.making_keys import (
    add_domains,
    announce,
    files_of,
    propose,
    until_state,
)
from tests.network.rehearsal import Rehearsal, rehearsal

NAMES = ("alice", "bob", "carol")
NEW_SET = {"alice": 0, "bob": 1, "carol": 2, "dave": 3}
PACKAGE = "sharekeeper_devnet.network"


@pytest.fixture
async def nothing(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    """A contract without domains, three participants and one candidate-to-be."""
    async with rehearsal(tmp_path, domains=0, candidates=("dave",), config={"key_event_timeout_blocks": 60}) as running:
        yield running


async def test_a_network_starts_from_nothing_reshapes_and_signs_with_the_same_key(nothing: Rehearsal) -> None:
    await nothing.start(*NAMES)
    await add_domains(nothing, ("alice", "bob"))
    running = await until_state(nothing, Running, where=lambda state: state.keyset.domains)
    assert [domain.public_key.curve for domain in running.keyset.domains] == ["Secp256k1", "Ed25519", "Bls12381"]
    first = await nothing.sign(b"generated")
    for name in NAMES:
        assert files_of(nothing, name, "permanent") == [f"5-{running.keyset.digest()}.json"]
        assert files_of(nothing, name, "temporary") == []

    await nothing.start("dave")
    await announce(nothing, "dave")
    await propose(nothing, ("alice", "bob"), NEW_SET, 3, {"0": 3, "1": 3, "2": 3})
    new = await until_state(nothing, Running, where=lambda state: state.keyset.epoch_id == 6)
    assert [domain.public_key for domain in new.keyset.domains] == [
        domain.public_key for domain in running.keyset.domains
    ]
    assert len(new.participants.members) == 4
    for dead in ("alice", "carol"):
        await nothing.kill(dead)
        assert (await nothing.sign(b"reshared")).public_key == first.public_key
        await nothing.start(dead)
    for name in NEW_SET:
        assert files_of(nothing, name, "permanent") == [f"6-{new.keyset.digest()}.json"]
        assert files_of(nothing, name, "temporary") == []
