"""What must hold in every state of the model and for every call: the spec's invariants, each by its name.

A property of a step looks at the state before, the call, and the state after. Clauses: "Contract" and "MPC network
during a recovery process" of the spec, and the key rules of docs/contract.md.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from contract import records
from tests.contract.model import TICK, Action, Explored, Node, Step, known_key
from tests.contract.model_slices import asking, operator_key

UNSEEN: Final = "a machine nobody has seen yet"


# --- properties of a step -----------------------------------------------------------------------


def recovery_is_entered_only_from_running(before: Node, _: Action, after: Node) -> bool:
    return after.name != records.RECOVERY or before.shown in (records.RUNNING, records.RECOVERY)


def recovery_leads_only_to_running_or_resharing(before: Node, _: Action, after: Node) -> bool:
    return before.name != records.RECOVERY or after.shown in (records.RECOVERY, records.RUNNING, records.RESHARING)


def account_ids_are_preserved_by_recovery(before: Node, action: Action, after: Node) -> bool:
    """Only a resharing changes them; that of a network without keys is over as soon as it is voted for."""
    if records.RECOVERY not in (before.name, after.name) or action.method == "vote_new_parameters":
        return True
    return [entry[:2] for entry in before.participants] == [entry[:2] for entry in after.participants]


def the_keyset_is_unchanged_by_recovery(before: Node, _: Action, after: Node) -> bool:
    return records.RECOVERY not in (before.name, after.name) or _keyset(before) == _keyset(after)


def public_keys_of_domains_never_change(before: Node, _: Action, after: Node) -> bool:
    kept = _public_keys(after)
    return all(kept.get(domain) == public_key for domain, public_key in _public_keys(before).items())


def the_epoch_never_goes_back(before: Node, _: Action, after: Node) -> bool:
    return before.header.epoch_id <= after.header.epoch_id


def a_retired_key_never_comes_back(before: Node, _: Action, after: Node) -> bool:
    return not (before.recorded - _standing(before)) & _standing(after)


def a_key_in_force_can_redirect_nothing(before: Node, action: Action, after: Node) -> bool:
    """A TLS key that the contract did not know comes only by an access key that it did not know."""
    return (
        action.method == TICK or known_key(action.signer) not in before.recorded or _tls_keys(after) <= before.recorded
    )


def a_late_call_for_another_recovery_changes_nothing(before: Node, action: Action, _: Node) -> bool:
    if action.method not in ("confirm_key_share_delivery", "conclude_recovery", "cancel_recovery", "expire_recovery"):
        return True
    recovery = before.recovery
    return recovery is not None and f'"recovery_id": {recovery.recovery_id}' in action.args


def no_vote_reinstates_a_dead_key(before: Node, action: Action, after: Node) -> bool:
    """After a vote the participants' TLS keys are ones in force before it, or candidates before it."""
    return not action.method.startswith("vote_") or _in_force(after) <= _tls_keys(before)


def shares_are_confirmed_before_a_recovery_concludes(before: Node, action: Action, _: Node) -> bool:
    recovery = before.recovery
    return action.method != "conclude_recovery" or (recovery is not None and recovery.shares_confirmed)


def a_recovery_changes_only_the_recovering_participant(before: Node, action: Action, after: Node) -> bool:
    if action.method != "conclude_recovery":
        return True
    changed = [new[0] for old, new in zip(before.participants, after.participants, strict=True) if old != new]
    return changed == [action.caller]


def an_account_waits_after_its_recovery(before: Node, action: Action, after: Node) -> bool:
    """The bound on obstruction: from the block after every way out, unless the threshold waives the wait."""
    recovery = before.recovery
    if recovery is None or after.recovery is not None:
        return True
    end = min(after.height, recovery.expires_on) + before.header.config["recovery_cooldown_blocks"]
    waived = action.method == "waive_recovery_cooldown"
    return waived or after.account(recovery.account_id).cooldown_until == end


STEP_PROPERTIES: tuple[Callable[[Node, Action, Node], bool], ...] = (
    recovery_is_entered_only_from_running,
    recovery_leads_only_to_running_or_resharing,
    account_ids_are_preserved_by_recovery,
    the_keyset_is_unchanged_by_recovery,
    public_keys_of_domains_never_change,
    the_epoch_never_goes_back,
    a_retired_key_never_comes_back,
    a_key_in_force_can_redirect_nothing,
    a_late_call_for_another_recovery_changes_nothing,
    no_vote_reinstates_a_dead_key,
    shares_are_confirmed_before_a_recovery_concludes,
    a_recovery_changes_only_the_recovering_participant,
    an_account_waits_after_its_recovery,
)


# --- properties of the whole --------------------------------------------------------------------


def one_vote_suffices_to_enter_recovery(found: Explored) -> Iterator[str]:
    """In every Running state each participant that need not wait enters Recovery by one call of a new machine."""
    for state in found.states:
        if state.shown != records.RUNNING:
            continue
        for account, *_ in state.participants:
            after = state.after(asking(state, account, f"{account} {UNSEEN}"))
            waits = _waits_until(state, account) > state.height
            if waits != (after is None):
                yield f"{account} in {state.store}"
            if after is not None and after.name != records.RECOVERY:
                yield f"{account} in {state.store}"


def no_state_holds_the_network_for_ever(found: Explored) -> Iterator[str]:
    """From every state the operators alone get back to Running, by time and their own keys: every machine may be dead."""
    operators = {operator_key(account) for state in found.states[:1] for account, *_ in state.participants}

    def by_operators(_: Node, step: Step) -> bool:
        return step.action.method == TICK or step.action.signer in operators

    back = found.leading_back(by_operators, lambda state: state.shown == records.RUNNING)
    yield from (f"no exit from {state.store}" for number, state in enumerate(found.states) if number not in back)


def users_are_served_in_running_only(found: Explored) -> Iterator[str]:
    request = Action("sign", "user.test.near", "user", '{"request": {"domain_id": 0, "payload": "00"}}')
    for state in found.states:
        possible = state.shown == records.RUNNING and bool(_keyset(state))
        if (state.after(request) is not None) != possible:
            yield f"{state.name}: {state.store}"


WHOLE_PROPERTIES: tuple[Callable[[Explored], Iterator[str]], ...] = (
    one_vote_suffices_to_enter_recovery,
    no_state_holds_the_network_for_ever,
    users_are_served_in_running_only,
)


def violations(found: Explored) -> dict[str, list[str]]:
    """What is wrong, by the name of the property; every property is there, most with nothing."""
    wrong: dict[str, list[str]] = {holds.__name__: [] for holds in STEP_PROPERTIES}
    for step in found.steps:
        before, after = found.states[step.before], found.states[step.after]
        for holds in STEP_PROPERTIES:
            if not holds(before, step.action, after):
                wrong[holds.__name__].append(f"{step.action} in {before.store}")
    return wrong | {check.__name__: list(check(found)) for check in WHOLE_PROPERTIES}


# --- what a state holds -------------------------------------------------------------------------


def _keyset(state: Node) -> str:
    return state.store.get("keyset", "")


def _public_keys(state: Node) -> dict[int, Any]:
    lines = [json.loads(line) for line in _keyset(state).split("\n") if line]
    return {line["domain_id"]: line["key"] for line in lines}


def _accounts(state: Node) -> list[records.Account]:
    return [state.account(name.removeprefix("account/")) for name in state.store if name.startswith("account/")]


def _pairs(state: Node) -> Iterator[records.Pair]:
    for account in _accounts(state):
        yield from (pair for pair in (account.node, account.candidate, *account.backup_services) if pair is not None)


def _standing(state: Node) -> set[str]:
    """The keys, of either kind, that are in force or a candidate's."""
    return {name for pair in _pairs(state) for name in (pair.signer, pair.tls)}


def _tls_keys(state: Node) -> set[str]:
    return {pair.tls for pair in _pairs(state)}


def _in_force(state: Node) -> set[str]:
    return {entry[2]["tls_public_key"] for entry in state.participants}


def _waits_until(state: Node, account: str) -> int:
    recovery = state.recovery
    if state.name == records.EXPIRED and recovery is not None and recovery.account_id == account:
        return recovery.expires_on + state.header.config["recovery_cooldown_blocks"]
    return state.account(account).cooldown_until
