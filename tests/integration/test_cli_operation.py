"""What an operator does with the command line, on a real chain with real daemons and a real vault."""

import asyncio
import json
import stat

import pyrage
import pytest

from sharekeeper import errors
from sharekeeper.adapters.near_rpc import AccessKey
from sharekeeper.adapters.vault_reader import HEAD_FILE
from sharekeeper.cli import daemon
from sharekeeper.config import NetAddress
from sharekeeper.domain.identity import SignerKey
from sharekeeper.domain.protocol_state import Recovery
from sharekeeper.protocol.codec import encode_shares
from sharekeeper.spec import BACKUP_SERVICE_METHODS, NODE_METHODS

from .cli import call, process
from .world import CHAIN_ID, CONTRACT, world

OTHER = SignerKey(bytes([9]) * 32)


@pytest.fixture
async def net(tmp_path):
    async with world(tmp_path, policy="approve") as network:
        yield network


@pytest.fixture
def alice(net):
    return net["alice"]


def chain_options(net):
    return ["--rpc-url", net.chain.rpc_url, "--chain-id", CHAIN_ID, "--contract-id", CONTRACT]


def operator_options(alice, path, key=OTHER, **changes):
    path.write_text(changes.get("content") or alice.owner.text().reveal().decode() + "\n")
    path.chmod(changes.get("mode", 0o600))
    return ["--account-id", alice.account_id, "--public-key", key, "--key-file", path]


# --- chain --------------------------------------------------------------------------------------


async def test_the_state_of_the_contract_is_shown(net, alice, capsys):
    shown = (await call(capsys, "chain", "state", *chain_options(net), "--json")).json
    assert (shown["type"], shown["state"], shown["recovery"]) == ("chain_state", "Running", None)
    assert shown["network"]["contract_id"] == CONTRACT
    assert shown["running"]["keyset_digest"] == net.keyset.digest()
    assert [one["account_id"] for one in shown["running"]["participants"]] == ["alice.test.near", "bob.test.near"]
    assert 0 <= shown["block"]["age_seconds"] < 10
    plain = await call(capsys, "chain", "state", "--config", alice.node("old").config_path)
    assert plain.status == 0
    assert net.keyset.digest() in plain.out


async def test_the_machines_of_an_account_are_shown(net, alice, capsys):
    words = ["chain", "account", "--account-id", alice.account_id, *chain_options(net)]
    shown = (await call(capsys, *words, "--json")).json
    state = (await call(capsys, "chain", "state", *chain_options(net), "--json")).json
    in_force = {one["account_id"]: one for one in state["running"]["participants"]}[alice.account_id]
    assert (shown["type"], shown["account_id"], shown["is_participant"]) == ("chain_account", alice.account_id, True)
    assert shown["node"] | {"signer_public_key": None} == {
        "url": in_force["url"],
        "tls_public_key": in_force["tls_public_key"],
        "signer_public_key": None,
        "evidence": None,
    }
    assert (shown["node_candidate"], shown["backup_services"]) == (None, [])
    plain = (await call(capsys, *words)).out
    assert shown["node"]["signer_public_key"] in plain
    assert "announced node" in plain


async def test_another_chain_than_named_is_refused(net, capsys):
    options = [*chain_options(net)[:2], "--chain-id", "mainnet", "--contract-id", CONTRACT]
    ended = await call(capsys, "chain", "state", *options)
    assert ended.status == errors.WrongNetwork.exit_status


# --- operator -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "methods"), [("node", NODE_METHODS), ("backup-service", BACKUP_SERVICE_METHODS)])
async def test_a_key_is_granted_and_revoked_once(net, tmp_path, capsys, role, methods):
    alice = net["alice"]
    options = [*operator_options(alice, tmp_path / "owner"), *chain_options(net), "--json"]
    granted = [(await call(capsys, "operator", "grant", "--role", role, *options)).json for _ in range(2)]
    assert [one["changed"] for one in granted] == [True, False]
    assert granted[0]["methods"] == list(methods)
    found = await net.rpc.access_key(alice.account_id, OTHER, await net.rpc.head())
    assert isinstance(found, AccessKey)
    assert (found.full_access, found.receiver_id, found.methods) == (False, CONTRACT, methods)
    revoked = [(await call(capsys, "operator", "revoke", *options)).json for _ in range(2)]
    assert [one["changed"] for one in revoked] == [True, False]
    assert await net.rpc.access_key(alice.account_id, OTHER, await net.rpc.head()) is None


async def test_a_key_with_other_permissions_is_neither_granted_over_nor_revoked(net, alice, tmp_path, capsys):
    owner = operator_options(alice, tmp_path / "owner", key=alice.owner.signer_key)
    for action in (["grant", "--role", "node"], ["revoke"]):
        ended = await call(capsys, "operator", *action, *owner, *chain_options(net))
        assert ended.status == errors.OperatorFault.exit_status
    node = operator_options(alice, tmp_path / "owner", key=alice.node("old").keys.account.signer_key)
    ended = await call(capsys, "operator", "grant", "--role", "backup-service", *node, *chain_options(net))
    assert (ended.status, "other permissions" in ended.err) == (errors.OperatorFault.exit_status, True)


async def test_the_operators_key_may_be_near_clis_file_and_must_be_private(net, alice, tmp_path, capsys):
    secret = alice.owner.text().reveal().decode()
    near_cli = json.dumps({"account_id": alice.account_id, "private_key": secret})
    options = operator_options(alice, tmp_path / "a", content=near_cli)
    assert (await call(capsys, "operator", "grant", "--role", "node", *options, *chain_options(net))).status == 0
    for changes in ({"mode": 0o644}, {"content": "{}"}, {"content": "{" + secret}, {"content": secret + "x"}):
        options = operator_options(alice, tmp_path / "b", **changes)
        ended = await call(capsys, "operator", "revoke", *options, *chain_options(net))
        assert ended.status == errors.KeysMissing.exit_status
        assert secret not in ended.err


async def test_a_key_without_full_access_grants_nothing(net, alice, tmp_path, capsys):
    weak = alice.node("old").keys.account.text().reveal().decode()
    options = operator_options(alice, tmp_path / "weak", content=weak)
    ended = await call(capsys, "operator", "grant", "--role", "node", *options, *chain_options(net))
    assert ended.status == errors.TransactionFailed.exit_status
    assert "InvalidAccessKeyError" in ended.err


def signed_by(net, name, tmp_path):
    """The options of a call that `name`'s operator signs himself, and prints as JSON."""
    path = tmp_path / f"{name}.owner"
    path.write_text(net[name].owner.text().reveal().decode())
    path.chmod(0o600)
    return ["--account-id", net[name].account_id, "--key-file", path, *chain_options(net), "--json"]


async def test_a_recovery_is_cancelled_and_its_cooldown_waived_each_once(tmp_path, capsys):
    async with world(tmp_path, config={"recovery_timeout_blocks": 5000, "recovery_cooldown_blocks": 50_000}) as net:
        alice, bob = (signed_by(net, name, tmp_path) for name in ("alice", "bob"))

        async def operator(command, *options):
            return await call(capsys, "operator", command, *options)

        await net.replace("alice")
        named = (await net.until_state(Recovery)).recovery_id
        url = await operator("update-url", "--url", "http://127.0.0.1:9", *alice)
        assert (url.status, url.json["code"]) == (errors.TransactionFailed.exit_status, "transaction_failed")
        vote = (await operator("cancel-recovery", "--recovery-id", named, *bob)).json
        assert (vote["type"], vote["changed"], vote["over"]) == ("cancel_recovery", True, False)
        assert isinstance(await net.state(), Recovery)
        unknown = await operator("cancel-recovery", "--recovery-id", named + 1, *alice)
        assert unknown.status == errors.OperatorFault.exit_status
        ended = [(await operator("cancel-recovery", "--recovery-id", named, *alice)).json for _ in range(2)]
        assert [(one["changed"], one["over"]) for one in ended] == [(True, True), (False, True)]
        record = await net.record("alice")
        assert (isinstance(await net.state(), Recovery), record.node_candidate) == (False, None)

        waiting = ["--for-account", net["alice"].account_id]
        votes = [(await operator("waive-cooldown", *waiting, *by)).json for by in (alice, bob, bob)]
        assert [one["changed"] for one in votes] == [True, True, False]
        assert [one["cooldown_until"] for one in votes] == [record.cooldown_until, 0, 0]
        assert (await net.record("alice")).cooldown_until == 0
        stranger = await operator("waive-cooldown", "--for-account", "carol.test.near", *bob)
        assert stranger.status == errors.OperatorFault.exit_status


async def test_the_url_of_a_node_is_changed_once_and_its_keys_stay(net, alice, tmp_path, capsys):
    before, url = (await net.record("alice")).node, "http://127.0.0.1:9"
    options = ["operator", "update-url", "--url", url, *signed_by(net, "alice", tmp_path)]
    assert [(await call(capsys, *options)).json["changed"] for _ in range(2)] == [True, False]
    after = (await net.record("alice")).node
    assert (after.info.url, after.info.tls_public_key) == (url, before.info.tls_public_key)
    assert after.signer_key == before.signer_key
    elsewhere = ["carol.test.near" if word == alice.account_id else word for word in options]
    assert (await call(capsys, *elsewhere)).status == errors.OperatorFault.exit_status


async def test_a_machines_key_does_not_change_the_url(net, alice, tmp_path, capsys):
    options = signed_by(net, "alice", tmp_path)
    (tmp_path / "alice.owner").write_text(alice.node("old").keys.account.text().reveal().decode())
    refused = await call(capsys, "operator", "update-url", "--url", "http://127.0.0.1:9", *options)
    assert refused.status == errors.TransactionFailed.exit_status
    assert (await net.record("alice")).node.info.url == alice.url("old")


# --- backup, approval, recovery ---------------------------------------------------------------


def approve_options(alice, machine="new", **changes):
    keys = alice.node(machine).keys
    given = {
        "--account-id": alice.account_id,
        "--tls-key": keys.tls.tls_key,
        "--signer-key": keys.account.signer_key,
        "--url": alice.url(machine),
        "--valid-for": "1h",
        "--config": alice.service.config_path,
        **changes,
    }
    return [word for pair in given.items() for word in pair]


async def test_an_operator_backs_up_approves_and_recovers(net, alice, tmp_path, capsys):
    service, new = alice.service.config_path, alice.node("new").config_path
    owner = operator_options(alice, tmp_path / "owner", key=alice.service.keys.account.signer_key)
    await call(capsys, "operator", "grant", "--role", "backup-service", *owner, "--config", service)
    alice.node("old").start()
    alice.service.start()
    for until in ("registered", "backed-up", "running"):
        ended = await call(capsys, "wait", "--until", until, "--timeout", "20s", "--config", service, "--json")
        assert (until, ended.status, ended.json["until"]) == (until, 0, until)
    await net.until_healthy(alice.service)
    status = await call(capsys, "backup-service", "status", "--config", service, "--json")
    assert (status.json["type"], status.json["healthy"]) == ("backup_service_status", True)
    assert "registered: True" in (await call(capsys, "backup-service", "status", "--config", service)).out

    await alice.node("old").stop()
    approved = [await call(capsys, "backup-service", "approve", *approve_options(alice), "--json") for _ in range(2)]
    assert [one.json["changed"] for one in approved] == [True, False]
    assert approved[0].json["keyset_digest"] == net.keyset.digest()
    owner = operator_options(alice, tmp_path / "owner", key=alice.node("new").keys.account.signer_key)
    await call(capsys, "operator", "grant", "--role", "node", *owner, "--config", new)
    waiting = process("wait", "--until", "recovered", "--config", new, "--timeout", "40s", "--json")
    told = await asyncio.to_thread(waiting.stderr.readline)
    assert told == "waiting until recovered: Running, epoch 5\n"
    alice.node("new").start()
    out, _ = await asyncio.to_thread(waiting.communicate)
    assert (waiting.returncode, json.loads(out)["state"]) == (0, "Running")
    assert await net.names("alice", "new")
    await net.until_healthy(alice.node("new"))
    status = await call(capsys, "node-agent", "status", "--config", new, "--json")
    assert status.json["type"] == "node_agent_status"


async def test_a_recovery_that_runs_cannot_be_approved_any_more(net, alice, capsys):
    await net.with_backup("alice")
    await alice.node("old").stop()
    await net.replace("alice")
    await net.until_state(Recovery)
    refused = await call(capsys, "backup-service", "approve", *approve_options(alice))
    assert refused.status == errors.PolicyRefused.exit_status
    assert "cancel the recovery or let it expire" in refused.err
    assert "retired the replacement's keys, so make new keys" in refused.err
    chain = [*chain_options(net), "--json"]
    seen = await call(capsys, "wait", "--until", "recovery", "--account-id", alice.account_id, *chain)
    assert seen.json["state"] == "Recovery"
    other = await call(
        capsys, "wait", "--until", "recovery", "--account-id", "bob.test.near", "--timeout", "1s", *chain
    )
    assert other.status == errors.WaitTimedOut.exit_status
    shown = (await call(capsys, "chain", "state", *chain)).json
    assert shown["recovery"]["account_id"] == alice.account_id
    plain = await call(capsys, "chain", "state", *chain_options(net))
    assert "recovery account_id" in plain.out


async def test_an_approval_is_for_the_account_of_this_service(alice, capsys):
    options = approve_options(alice, **{"--account-id": "bob.test.near"})
    ended = await call(capsys, "backup-service", "approve", *options)
    assert ended.status == errors.OperatorFault.exit_status


async def test_nothing_is_approved_on_a_stale_view_of_the_chain(alice, capsys, monkeypatch):
    monkeypatch.setattr("sharekeeper.protocol.freshness.MAX_BLOCK_AGE_SECONDS", 0.0)
    ended = await call(capsys, "backup-service", "approve", *approve_options(alice))
    assert ended.status == errors.ChainStale.exit_status
    assert "check that the NEAR node is in sync" in ended.err
    assert not list(alice.service.directory.rglob("approvals/*"))


async def test_an_approval_names_the_keyset_it_was_told(alice, capsys):
    options = approve_options(alice, **{"--keyset": "ab" * 32})
    approved = await call(capsys, "backup-service", "approve", *options, "--json")
    assert approved.json["keyset_digest"] == "ab" * 32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--until", "backed-up"], "--config of the backup service"),
        (["--until", "registered"], "--account-id"),
        (["--until", "recovered"], "--account-id"),
        (["--until", "recovered", "--account-id", "a.near"], "--tls-key"),
    ],
)
async def test_a_wait_says_what_it_needs(net, capsys, options, words):
    ended = await call(capsys, "wait", *options, *chain_options(net))
    assert ended.status == 2
    assert words in ended.err


async def test_an_account_without_backup_service_is_not_registered(net, alice, capsys):
    options = ["--account-id", alice.account_id, "--timeout", "1s", *chain_options(net)]
    ended = await call(capsys, "wait", "--until", "registered", *options)
    assert ended.status == errors.WaitTimedOut.exit_status
    empty = ["--config", alice.service.config_path, "--timeout", "1s"]
    assert (await call(capsys, "wait", "--until", "backed-up", *empty)).status == errors.WaitTimedOut.exit_status


# --- a daemon that is not there ---------------------------------------------------------------


async def test_a_daemon_that_does_not_run_has_no_status(alice, capsys):
    for command, config in (("backup-service", alice.service), ("node-agent", alice.node("old"))):
        ended = await call(capsys, command, "status", "--config", config.config_path, "--json")
        assert (ended.status, ended.json["code"]) == (errors.DaemonNotRunning.exit_status, "daemon_not_running")


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.0 200 OK\r\n\r\n[]", b"HTTP/1.0 200 OK\r\n\r\n<html>", b"SSH-2.0\r\n", b""]
)
async def test_something_else_on_the_health_address_is_no_daemon(answer):
    async def serve(reader, writer):
        await reader.readline()
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = NetAddress(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        with pytest.raises(errors.DaemonNotRunning):
            await asyncio.to_thread(daemon.status_of, "node agent", address)


async def test_a_daemon_runs_from_the_command_line_until_it_is_told_to_stop(net, alice):
    for command, machine in (("backup-service", alice.service), ("node-agent", alice.node("old"))):
        running = process(command, "run", "--config", machine.config_path, "--json")

        async def answers(machine=machine):
            return "type" in await machine.status()

        await net.until(answers, what=f"{command} answers")
        running.terminate()
        _, err = await asyncio.to_thread(running.communicate)
        assert (running.returncode, "Traceback" in err) == (0, False)
        assert json.loads(err.splitlines()[0])


# --- vault --------------------------------------------------------------------------------------


@pytest.fixture
async def backed_up(net, alice):
    """Alice's service has stored a backup and is stopped."""
    await net.with_backup("alice")
    await alice.service.stop()
    return ["--config", alice.service.config_path]


async def test_the_vault_is_listed_shown_and_verified(net, alice, backed_up, capsys):
    listed = (await call(capsys, "vault", "list", *backed_up, "--json")).json["backups"]
    assert [one["keyset_digest"] for one in listed] == [net.keyset.digest()]
    assert listed[0]["source_tls_key"] == str(alice.node("old").keys.tls.tls_key)
    shown = (await call(capsys, "vault", "show", *backed_up, "--json")).json
    assert shown["keyset"]["epoch_id"] == net.keyset.epoch_id
    assert listed[0]["backup_id"] in (await call(capsys, "vault", "show", listed[0]["backup_id"], *backed_up)).out
    assert (await call(capsys, "vault", "show", "0" * 64, *backed_up)).status == errors.NoBackup.exit_status
    for options in ([], ["--shallow"]):
        report = await call(capsys, "vault", "verify", *options, *backed_up, "--json")
        assert (report.status, report.json["ok"], report.json["deep"]) == (0, True, not options)
    assert "1 of 1 entries are whole" in (await call(capsys, "vault", "verify", *backed_up)).out


async def test_a_vault_of_the_soft_launch_survives_all_but_the_loss_of_its_disk(backed_up, capsys):
    found = (await call(capsys, "vault", "status", *backed_up, "--json")).json
    assert (found["vault"], found["sibling"]) == ("soft_launch", "none")
    assert [each["mishap"] for each in found["mishaps"] if not each["survives"]] == ["host_lost"]


async def test_anything_wrong_with_the_vault_is_an_exit_status(alice, backed_up, capsys):
    [sealed] = (alice.service.directory / "vault" / "keysets").glob("*/shares.age")
    data = bytearray(sealed.read_bytes())
    data[-1] ^= 1
    sealed.write_bytes(data)
    report = await call(capsys, "vault", "verify", *backed_up, "--json")
    assert (report.status, report.json["ok"]) == (errors.VaultCorrupt.exit_status, False)
    assert report.json["entries"][0]["problem"] == "damaged"
    assert "0 of 1 entries are whole" in (await call(capsys, "vault", "verify", *backed_up)).out


async def test_a_lost_head_record_can_be_accepted_as_lost(alice, backed_up, capsys):
    [head] = (alice.service.directory / "state").rglob(HEAD_FILE)
    head.unlink()
    lost = await call(capsys, "vault", "verify", *backed_up)
    assert lost.status == errors.VaultCorrupt.exit_status
    assert "--adopt" in lost.err
    assert (await call(capsys, "vault", "verify", "--adopt", *backed_up)).status == 0
    assert (await call(capsys, "vault", "verify", *backed_up)).status == 0


async def test_an_export_is_a_new_private_file_with_the_shares(net, backed_up, tmp_path, capsys):
    target = tmp_path / "shares.json"
    refused = await call(capsys, "vault", "export", "--to", target, *backed_up)
    assert (refused.status, target.exists()) == (2, False)
    exported = await call(capsys, "vault", "export", "--to", target, "--i-understand", *backed_up, "--json")
    assert exported.json["domains"] == len(net.shares("alice"))
    content = json.loads(target.read_text())
    assert content == {"epoch_id": net.keyset.epoch_id, "keyshares": encode_shares(net.shares("alice"))}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    again = await call(capsys, "vault", "export", "--to", target, "--i-understand", *backed_up)
    assert again.status == errors.StoreFailed.exit_status
    device = await call(capsys, "vault", "export", "--to", "/dev/stdout", "--i-understand", *backed_up)
    assert device.status == errors.StoreFailed.exit_status
    for share in net.shares("alice"):
        for ended in (exported, again, device):
            assert share.private_share.reveal().hex() not in ended.out + ended.err


async def test_the_vault_is_sealed_anew_when_the_operators_recipient_changes(net, alice, backed_up, capsys):
    assert (await call(capsys, "vault", "rekey", *backed_up, "--json")).json["changed"] is False
    other = str(pyrage.x25519.Identity.generate().to_public())
    config = alice.service.config_path
    config.write_text(config.read_text().replace(str(alice.offline.to_public()), other))
    changed = (await call(capsys, "vault", "rekey", *backed_up, "--json")).json
    assert (changed["changed"], other in changed["recipients"]) == (True, True)
    assert (await call(capsys, "vault", "verify", *backed_up)).status == 0
    alice.service.start()
    await net.until_healthy(alice.service)
    busy = await call(capsys, "vault", "rekey", *backed_up)
    assert busy.status == errors.AlreadyRunning.exit_status
