"""`sharekeeper operator vote`: participants decide, each operator with his own full-access key."""

import json

import pytest

from sharekeeper import errors
from sharekeeper.domain.protocol_state import Initializing, Resharing, Running
from tests.contract.world import code_hash, measurements

from .cli import call
from .test_cli_operation import chain_options, signed_by
from .world import world


@pytest.fixture
async def net(tmp_path):
    async with world(tmp_path, config={"code_hash_grace_blocks": 10_000}) as network:
        yield network


@pytest.fixture
def vote(net, tmp_path, capsys):
    """Gives one operator's vote; what it printed."""

    async def given(name, *words):
        ended = await call(capsys, "operator", "vote", *words, *signed_by(net, name, tmp_path))
        assert ended.status == 0, ended.out
        assert ended.json["type"] == "vote"
        assert ended.json["account_id"] == net[name].account_id
        return ended.json

    return given


def outcomes(*votes):
    return [(one["changed"], one["decided"]) for one in votes]


def file_of(tmp_path, content):
    path = tmp_path / "vote.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("command", ["node-code-hash", "backup-service-code-hash", "measurements"])
async def test_code_is_allowed_by_two_votes_and_withdrawn_by_two_more(net, vote, tmp_path, capsys, command):
    value = file_of(tmp_path, measurements("TEE")) if command == "measurements" else code_hash("node")
    votes = [await vote(name, command, value) for name in ("alice", "alice", "bob", "bob")]
    assert outcomes(*votes) == [(True, False), (True, False), (True, True), (False, True)]
    view = {"measurements": "allowed_measurements"}.get(command, f"allowed_{command.replace('-', '_')}es")
    [allowed] = await net.rpc.view(view, {}, await net.rpc.head())
    assert allowed["allowed_until"] is None
    assert votes[0]["arguments"] == {name: allowed[name] for name in allowed if name != "allowed_until"} | {
        "allow": True
    }
    votes = [await vote(name, command, value, "--withdraw") for name in ("alice", "bob", "bob")]
    assert outcomes(*votes) == [(True, False), (True, True), (False, True)]
    [withdrawn] = await net.rpc.view(view, {}, await net.rpc.head())
    assert withdrawn["allowed_until"] > 10_000
    shown = (await call(capsys, "chain", "code", *chain_options(net), "--json")).json
    kind = command.removesuffix("-code-hash").replace("-", "_")
    assert shown["type"] == "chain_code"
    assert shown[kind] == [withdrawn]
    assert [shown[name] for name in ("node", "backup_service", "measurements") if name != kind] == [[], []]
    plain = (await call(capsys, "chain", "code", *chain_options(net))).out
    assert f"until block {withdrawn['allowed_until']}" in plain
    assert str(value if command != "measurements" else measurements("TEE")["rtmr2"]) in plain
    assert "allowed" in plain


async def test_new_domains_are_voted_for_and_their_key_generation_is_cancelled(net, vote, tmp_path):
    added = {"id": 2, "protocol": "Frost", "reconstruction_threshold": 2, "purpose": "Sign"}
    path = file_of(tmp_path, {"domains": [added]})
    votes = [await vote(name, "add-domains", path) for name in ("alice", "bob")]
    assert outcomes(*votes) == [(True, False), (True, True)]
    assert isinstance(await net.state(), Initializing)
    votes = [await vote(name, "cancel-keygen") for name in ("bob", "alice", "alice")]
    assert outcomes(*votes) == [(True, False), (True, True), (False, True)]
    assert votes[0]["arguments"] == {"next_domain_id": 3}
    assert isinstance(await net.state(), Running)


async def test_new_parameters_are_voted_for_and_their_resharing_is_cancelled(net, vote, tmp_path):
    running = await net.rpc.view("state", {}, await net.rpc.head())
    parameters = running["Running"]["parameters"]
    proposal = {"prospective_epoch_id": net.keyset.epoch_id + 1, "proposal": {"parameters": parameters}}
    path = file_of(tmp_path, proposal)
    votes = [await vote(name, "new-parameters", path) for name in ("alice", "bob")]
    assert outcomes(*votes) == [(True, False), (True, True)]
    assert votes[1]["state"] == "Resharing"
    assert isinstance(await net.state(), Resharing)
    votes = [await vote(name, "cancel-resharing") for name in ("alice", "bob", "bob")]
    assert outcomes(*votes) == [(True, False), (True, True), (False, True)]
    assert isinstance(await net.state(), Running)


@pytest.mark.parametrize(
    ("content", "words"), [("{", "is not JSON"), ("[]", "is not a JSON object"), (None, "cannot be read")]
)
async def test_a_file_that_holds_no_arguments_is_told_before_anything_is_sent(net, tmp_path, capsys, content, words):
    path = tmp_path / "missing.json" if content is None else file_of(tmp_path, content)
    for command in ("new-parameters", "add-domains", "measurements"):
        ended = await call(capsys, "operator", "vote", command, path, *signed_by(net, "alice", tmp_path))
        assert (ended.status, words in ended.json["message"]) == (errors.ConfigInvalid.exit_status, True)


async def test_what_the_contract_refuses_is_told_in_its_words(net, tmp_path, capsys):
    options = signed_by(net, "alice", tmp_path)
    ended = await call(capsys, "operator", "vote", "add-domains", file_of(tmp_path, {}), *options)
    assert ended.status == errors.TransactionFailed.exit_status
    assert "arguments lacks the field 'domains'" in ended.json["message"]
    (tmp_path / "alice.owner").write_text(net["alice"].node("old").keys.account.text().reveal().decode())
    ended = await call(capsys, "operator", "vote", "node-code-hash", code_hash("x"), *options)
    assert ended.status == errors.TransactionFailed.exit_status
    assert "MethodNameMismatch" in ended.json["message"]
