"""Least-privilege access keys (spec: Todo #946): what the chain lets each machine's key do, and what it refuses.

The methods are those of the contract's own table, so that a new one is refused here until somebody decides.
"""

import pytest

from contract.logic import CALLS, VIEWS
from sharekeeper.adapters.transactions import NearCaller, delete_key, function_call
from sharekeeper.errors import TransactionFailed
from sharekeeper.spec import BACKUP_SERVICE_METHODS, NODE_METHODS

from .test_recovery import until_in_force
from .world import CONTRACT, world

LISTS = {"node": NODE_METHODS, "backup-service": BACKUP_SERVICE_METHODS}
ONLY_OPERATORS = {
    "init",
    "update_participant_url",
    "waive_recovery_cooldown",
    "vote_add_domains",
    "vote_cancel_keygen",
    "vote_new_parameters",
    "vote_cancel_resharing",
    "vote_node_code_hash",
    "vote_backup_service_code_hash",
    "vote_measurements",
    "sign",
}
"""Calls that no machine's key may make: votes on what governs the network, and what only users or operators do."""


@pytest.fixture
async def net(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1) as network:
        await network.grant("alice", network["alice"].service)
        yield network


def machine_of(net, role):
    return net["alice"].node("old") if role == "node" else net["alice"].service


def caller_of(net, role):
    return net.caller(net["alice"].account_id, machine_of(net, role).keys.account)


def test_every_call_of_the_contract_is_some_machines_or_the_operators_alone():
    assert set(NODE_METHODS) | set(BACKUP_SERVICE_METHODS) | ONLY_OPERATORS == set(CALLS)
    assert ONLY_OPERATORS.isdisjoint(NODE_METHODS)
    assert ONLY_OPERATORS.isdisjoint(BACKUP_SERVICE_METHODS)


@pytest.mark.parametrize("role", LISTS)
async def test_the_chain_shows_the_key_restricted_to_the_contract_and_exactly_its_list(net, role):
    key = machine_of(net, role).keys.account.signer_key
    found = await net.rpc.access_key(net["alice"].account_id, key, await net.rpc.head())
    assert (found.full_access, found.receiver_id, set(found.methods)) == (False, CONTRACT, set(LISTS[role]))


@pytest.mark.parametrize("role", LISTS)
async def test_the_chain_refuses_every_method_outside_the_list_whatever_the_contract_would_say(net, role):
    caller = caller_of(net, role)
    for method in (*CALLS, *VIEWS, "version"):
        if method not in LISTS[role]:
            with pytest.raises(TransactionFailed, match="MethodNameMismatch"):
                await caller.call(method, {})


@pytest.mark.parametrize("role", LISTS)
async def test_the_chain_passes_every_method_of_the_list_on_to_the_contract(net, role):
    """The contract refuses these for their arguments or the state: its own sentence comes back, not the chain's."""
    caller = caller_of(net, role)
    for method in LISTS[role]:
        with pytest.raises(TransactionFailed) as refusal:
            await caller.call(method, {"nonsense": 1})
        assert f"{method} is possible only in" in str(refusal.value) or "arguments has the unknown field" in str(
            refusal.value
        ), refusal.value


@pytest.mark.parametrize("role", LISTS)
async def test_the_key_neither_pays_nor_touches_other_accounts_nor_changes_keys(net, role):
    caller, alice, method = caller_of(net, role), net["alice"].account_id, LISTS[role][0]
    other_key = net["alice"].owner.signer_key
    for receiver, action, why in (
        (CONTRACT, function_call(method, {}, deposit=1), "DepositWithFunctionCall"),
        (alice, function_call(method, {}), "ReceiverMismatch"),
        (alice, delete_key(other_key), "RequiresFullAccess"),
    ):
        with pytest.raises(TransactionFailed, match=why):
            await caller.send_actions(receiver, [action])
    assert await net.rpc.access_key(alice, other_key, await net.rpc.head()) is not None


@pytest.mark.parametrize("transfer", ["p2p", "web"])
async def test_the_daemons_do_all_their_work_with_the_methods_of_their_lists(tmp_path, transfer, monkeypatch):
    """A backup, then a recovery, by daemons whose keys were granted their lists and no more."""
    real, made = NearCaller.call, {}

    async def call(self, method, args):
        made.setdefault(self.signer_key, set()).add(method)
        return await real(self, method, args)

    monkeypatch.setattr(NearCaller, "call", call)
    async with world(tmp_path, transfer=transfer) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await alice.node("old").stop()
        await net.replace("alice")
        await until_in_force(net, "alice", "new")
        node, service = (made[daemon.keys.account.signer_key] for daemon in (alice.node("new"), alice.service))
        web = {"submit_ephemeral_key"} if transfer == "web" else set()
        assert node == {"submit_participant_recovery_info", "conclude_recovery"} | web
        assert service == {"register_backup_service", "confirm_key_share_delivery"} | web
        assert node <= set(NODE_METHODS)
        assert service <= set(BACKUP_SERVICE_METHODS)


async def test_a_machine_without_its_key_waits_for_the_grant_and_says_so(net):
    alice = net["alice"]
    service = alice.service
    action = delete_key(service.keys.account.signer_key)
    await net.caller(alice.account_id, alice.owner).send_actions(alice.account_id, [action])
    alice.node("old").start()
    service.start()
    waiting = await net.until_status(service, lambda status: status["faults"], what="the registration's fault")
    [fault] = waiting["faults"]
    assert (fault["topic"], fault["code"]) == ("registration", "unknown_account")
    assert "its operator must grant it first" in fault["message"]
    await net.grant("alice", service)
    await net.until_healthy(service)
