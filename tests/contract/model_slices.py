"""The slices of the model: which calls are tried in each state.

Calls are tried with every key of an account, those in force, retired ones and ones the contract has not seen, and
with every number ever given (recovery, attempt, epoch), not only today's. Most are refused, which is the point.
"""

import json
from collections.abc import Iterator
from typing import Any

from contract import records
from tests.contract.model import (
    Action,
    Moves,
    Node,
    Slice,
    info_of,
    known_key,
    node_key,
    operator_key,
    service_key,
    tls_key,
)
from tests.contract.world import ALICE, BOB, CAROL, ERIN, MALLORY

STOLEN = "a thief's machine"


def call(method: str, caller: str, signer: str, **arguments: Any) -> Action:
    return Action(method, caller, signer, json.dumps(arguments))


def recovering(*accounts: str, machines: int = 1, recoveries: int = 1) -> Moves:
    """These accounts lose their machines, up to `machines` times, in at most `recoveries` recoveries of the network."""

    def moves(node: Node) -> Iterator[Action]:
        for account in accounts:
            signers = [node_key(account, number) for number in range(machines + 1)]
            if node.header.last_recovery_id < recoveries:
                yield from (asking(node, account, signer) for signer in signers)
            for recovery_id in range(1, node.header.last_recovery_id + 1):
                yield call("confirm_key_share_delivery", account, service_key(account), recovery_id=recovery_id)
                for signer in (*signers, operator_key(account)):
                    yield call("cancel_recovery", account, signer, recovery_id=recovery_id)
                    yield call(
                        "conclude_recovery",
                        account,
                        signer,
                        recovery_id=recovery_id,
                        expected_keyset=node.header.keyset_digest,
                    )
        yield from overruling(node)

    return moves


def overruling(node: Node) -> Iterator[Action]:
    """What the other participants and strangers do about a recovery."""
    for account, *_ in node.participants:
        for recovery_id in range(1, node.header.last_recovery_id + 1):
            yield call("cancel_recovery", account, operator_key(account), recovery_id=recovery_id)
        if node.account(ALICE).cooldown_until > node.height:
            yield call("waive_recovery_cooldown", account, operator_key(account), account_id=ALICE)
    for recovery_id in range(1, node.header.last_recovery_id + 1):
        yield call("expire_recovery", MALLORY, "any key", recovery_id=recovery_id)


def asking(node: Node, account: str, signer: str) -> Action:
    """The machine with that access key asks to recover the account."""
    in_force = node.account(account).node
    return call(
        "submit_participant_recovery_info",
        account,
        signer,
        participant_info=info_of(account, signer),
        expected_tls_key=tls_key(signer) if in_force is None else in_force.tls,
        expected_keyset=node.header.keyset_digest,
        valid_until_block=10**6,
    )


def stealing(account: str) -> Moves:
    """A thief who has the access keys of the account's machines names a machine of his own wherever he can."""

    def moves(node: Node) -> Iterator[Action]:
        info = {"url": "http://thief.example", "tls_public_key": tls_key(STOLEN)}
        in_force = node.account(account).node
        for signer in (node_key(account, 0), node_key(account, 1), service_key(account)):
            if records.key_record(node.store, known_key(signer)) is None:
                continue  # a key of no machine yet, which only the operator can have added
            yield call("submit_participant_info", account, signer, participant_info=info)
            yield call("register_backup_service", account, signer, backup_service_info={"public_key": tls_key(STOLEN)})
            if in_force is not None:
                yield call(
                    "submit_participant_recovery_info",
                    account,
                    signer,
                    participant_info=info,
                    expected_tls_key=in_force.tls,
                    expected_keyset=node.header.keyset_digest,
                    valid_until_block=10**6,
                )

    return moves


def generating(*, domains: int, attempts: int) -> Moves:
    """The participants add domains one by one and make their keys; one of them sometimes votes for another key."""

    def moves(node: Node) -> Iterator[Action]:
        header = node.header
        domain = {"id": header.next_domain_id, "protocol": "Frost", "reconstruction_threshold": 2, "purpose": "Sign"}
        for account, *_ in node.participants:
            if header.next_domain_id < domains:
                yield call("vote_add_domains", account, operator_key(account), domains=[domain])
            yield call("vote_cancel_keygen", account, operator_key(account), next_domain_id=header.next_domain_id)
            for signer in (node_key(account, 0), node_key(account, 1)):
                for event in attempts_named(node, attempts):
                    yield call("start_keygen_instance", account, signer, key_event_id=event)
                    for name in ("the key", "another key") if account == BOB else ("the key",):
                        yield call("vote_pk", account, signer, key_event_id=event, public_key=frost_key(name))

    return moves


def frost_key(name: str) -> dict[str, Any]:
    return {"Ed25519": {"near_public_key_compressed": known_key(name)}}


def attempts_named(node: Node, attempts: int) -> list[dict[str, int]]:
    """The attempts at the key event under way that there have been, and the next; none outside a key event."""
    event = node.event
    if event is None:
        return []
    last = min(event.next_attempt_id, attempts - 1)
    return [
        {"epoch_id": event.epoch_id, "domain_id": event.domain_id, "attempt_id": number} for number in range(last + 1)
    ]


def joining(_: Node) -> Iterator[Action]:
    """Erin's node says that it wants in."""
    signer = node_key(ERIN, 0)
    yield call("submit_participant_info", ERIN, signer, participant_info=info_of(ERIN, signer))


def resharing(*, epochs: int, attempts: int) -> Moves:
    """Erin wants in, Carol may be removed, the threshold may rise; votes by operators, shares by machines."""

    def moves(node: Node) -> Iterator[Action]:
        header = node.header
        epoch_id = max(header.epoch_id, header.previously_cancelled_epoch_id or 0) + 1
        for account, *_ in node.participants:
            if epoch_id <= epochs:
                for proposal in proposals(node):
                    yield call(
                        "vote_new_parameters",
                        account,
                        operator_key(account),
                        prospective_epoch_id=epoch_id,
                        proposal=proposal,
                    )
            yield call("vote_cancel_resharing", account, operator_key(account))
        for event in attempts_named(node, attempts):
            for account in (ALICE, BOB, CAROL, ERIN):
                for signer in (node_key(account, 0), node_key(account, 1)):
                    yield call("start_reshare_instance", account, signer, key_event_id=event)
                    yield call("vote_reshared", account, signer, key_event_id=event)

    return moves


def proposals(node: Node) -> Iterator[dict[str, Any]]:
    """Erin in Carol's place; Alice's machine exchanged for the one she recovers to, or for one never seen."""
    kept = [entry for entry in node.participants if entry[0] != CAROL]
    next_id = node.header.next_participant_id
    if ERIN not in [entry[0] for entry in kept]:
        admitted = [*kept, [ERIN, next_id, info_of(ERIN, node_key(ERIN, 0))]]
        yield proposed(admitted, next_id + 1)
    exchanged = [
        [entry[0], entry[1], info_of(ALICE, node_key(ALICE, 1)) if entry[0] == ALICE else entry[2]]
        for entry in node.participants
    ]
    if exchanged != node.participants:
        yield proposed(exchanged, next_id)


def proposed(entries: list[list[Any]], next_id: int) -> dict[str, Any]:
    return {"parameters": {"participants": {"next_id": next_id, "participants": entries}, "threshold": 2}}


def bounded(*, machines: int = 1, recoveries: int = 2, attempts: int = 1, epochs: int = 2) -> tuple[Slice, ...]:
    """The slices within these bounds: machines an account may lose, recoveries, attempts at a key event, epochs."""
    three = (ALICE, BOB, CAROL)
    meanwhile = recovering(ALICE)
    return (
        Slice(
            name="machines lost one after the other, and a thief",
            participants=three,
            moves=(recovering(*three, machines=machines, recoveries=recoveries), stealing(ALICE)),
        ),
        Slice(
            name="keys from nothing, and a machine lost meanwhile",
            participants=three,
            with_domain=False,
            moves=(joining, generating(domains=1, attempts=attempts + 1), meanwhile),
        ),
        Slice(
            name="a participant set exchanged before there is a key",
            participants=three,
            with_domain=False,
            moves=(joining, resharing(epochs=epochs, attempts=1), meanwhile),
        ),
        Slice(
            name="a participant set exchanged, and a machine lost meanwhile",
            participants=three,
            moves=(joining, resharing(epochs=epochs, attempts=attempts), meanwhile),
        ),
    )
