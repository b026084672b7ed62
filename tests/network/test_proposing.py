"""`devnet propose-...`: files with which all operators vote for the same."""

import asyncio
import json
from pathlib import Path

import pytest

from sharekeeper.cli.outcome import run
from sharekeeper.domain.protocol_state import Initializing, Resharing, Running
from sharekeeper_devnet.cli import root
from tests.network.making_keys import announce, info_json, until_state, vote
from tests.network.rehearsal import CONTRACT, rehearsal


@pytest.fixture
def devnet(capsys: pytest.CaptureFixture[str]):
    """Runs `devnet ... --json` beside the chain; returns its exit status and what it printed."""

    async def call(*arguments: object) -> tuple[int, dict[str, object]]:
        status = await asyncio.to_thread(run, root, "devnet", [*map(str, arguments), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return call


async def test_proposed_domains_begin_a_key_generation(devnet, tmp_path: Path) -> None:
    async with rehearsal(tmp_path, domains=0) as network:
        out = tmp_path / "domains.json"
        asked = ("propose-domains", "--rpc", network.chain.rpc_url, "--contract", CONTRACT, "--out", out)
        kinds = ("--protocol", "Frost", "--protocol", "CaitSith", "--threshold", 2)
        status, made = await devnet(*asked, *kinds)
        assert (status, made["type"], made["changed"]) == (0, "domains_proposal", True)
        assert (await devnet(*asked, *kinds))[1]["changed"] is False
        await vote(network, ("alice", "bob"), "vote_add_domains", json.loads(out.read_text()))
        state = await until_state(network, Initializing)
        assert (state.generating.domain.domain_id, state.generating.domain.protocol) == (0, "Frost")
        status, refused = await devnet(*asked, *kinds)
        assert (status, refused["code"]) == (10, "operator_fault")
        assert "is in Initializing; wait until it is in Running" in refused["message"]


async def test_proposed_parameters_begin_a_resharing_and_skip_a_cancelled_epoch(devnet, tmp_path: Path) -> None:
    async with rehearsal(tmp_path, candidates=("dave",)) as network:
        out = tmp_path / "parameters.json"
        asked = ("propose-parameters", "--rpc", network.chain.rpc_url, "--contract", CONTRACT, "--out", out)
        members = [f"--member={name}.test.near" for name in ("dave", "alice", "carol")]
        status, refused = await devnet(*asked, *members, "--threshold", 2)
        assert (status, refused["code"]) == (10, "operator_fault")
        assert "dave.test.near has announced no node" in refused["message"]
        await announce(network, "dave")
        for epoch in (6, 7):
            status, made = await devnet(*asked, *members, "--threshold", 3, "--domain-threshold", "1=3")
            assert (status, made["type"]) == (0, "parameters_proposal")
            arguments = json.loads(out.read_text())
            assert arguments["prospective_epoch_id"] == epoch
            participants = arguments["proposal"]["parameters"]["participants"]
            assert [entry[:2] for entry in participants["participants"]] == [
                ["alice.test.near", 0],
                ["carol.test.near", 2],
                ["dave.test.near", 3],
            ]
            assert participants["participants"][2][2] == info_json(network.operators["dave"])
            await vote(network, ("alice", "bob"), "vote_new_parameters", arguments)
            state = await until_state(network, Resharing)
            assert state.resharing.epoch_id == epoch
            await vote(network, ("alice", "bob"), "vote_cancel_resharing", {})
            await until_state(network, Running)


@pytest.mark.parametrize("setting", ["1", "1=", "=2", "a=b"])
async def test_a_domain_threshold_has_one_form(devnet, tmp_path: Path, setting: str) -> None:
    status, refused = await devnet(
        "propose-parameters", "--rpc", "http://127.0.0.1:9", "--contract", CONTRACT, "--member", "alice.test.near",
        "--threshold", 2, "--domain-threshold", setting, "--out", tmp_path / "out.json",
    )  # fmt: skip
    assert (status, refused["code"]) == (11, "config_invalid")
    assert "ID=N" in refused["message"]
