"""What a thief can do with a stolen key in force, or with none: never name the TLS key that shares may go to."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract import steps
from tests.contract.key_event_steps import (
    ALL,
    ERIN_ID,
    add_domains,
    domain,
    entry,
    key_event_id,
    proposal,
    propose,
    public_key,
    start_keygen,
    start_reshare,
)
from tests.contract.steps import NEW, NEW_TLS, Layer, RefusedError, take
from tests.contract.world import (
    ALICE,
    BOB,
    CAROL,
    ERIN,
    MALLORY,
    code_hash,
    ephemeral_record,
    info,
    init_arguments,
    key,
    keyset_digest,
    measurements,
    node_signer,
    recovery_arguments,
    sign_arguments,
    signature,
)

HEIGHT = 1200
RUNNING = (
    steps.init(),
    steps.register(10),
    steps.register(10, signer=steps.SECOND, tls=steps.SECOND_TLS, slot=1),
    steps.submit(10, caller=ERIN, signer="erin node", tls="erin TLS", address="http://erin.example"),
    steps.register(10, caller=ERIN, signer="erin backup", tls="erin backup TLS"),
)
IN_RECOVERY = (*RUNNING, steps.submit_recovery(HEIGHT - 10))
EXPIRED_EARLIER = (*RUNNING, steps.submit_recovery(20))
INITIALIZING = (
    *RUNNING,
    *(add_domains(20, domain(4), caller=name) for name in (BOB, CAROL)),
    start_keygen(HEIGHT - 10),
)
ERIN_JOINS = proposal(*ALL, entry(ERIN))
RESHARING = (*RUNNING, *(propose(20, ERIN_JOINS, caller=name) for name in (BOB, CAROL)), start_reshare(HEIGHT - 10))
SITUATIONS = {
    "running": RUNNING,
    "in recovery": IN_RECOVERY,
    "with an expired candidate": EXPIRED_EARLIER,
    "initializing": INITIALIZING,
    "resharing": RESHARING,
}

# Whoever steals one of these has the machine's own TLS key as well, or none: the thief's TLS key is another.
STOLEN = {
    "the node key": (ALICE, node_signer(ALICE)),
    "the backup service key": (ALICE, steps.BACKUP),
    "the key of the backup service in slot 1": (ALICE, steps.SECOND),
    "another participant's node key": (BOB, node_signer(BOB)),
    "a prospective node's key": (ERIN, "erin node"),
    "a prospective backup service's key": (ERIN, "erin backup"),
    "the candidate's key": (ALICE, NEW),
}
# Before its call the candidate's key is unrecorded: it is the operator's to hand out, and may name new keys.
UNRECORDED_IN = ("running", "initializing", "resharing")
NOT_STOLEN = {("the candidate's key", situation) for situation in UNRECORDED_IN}
THIEF = "the thief's TLS key"


def attacks() -> Iterator[tuple[str, Any]]:
    """Every method with every way to name the thief's TLS key or to move a recovery."""
    stranger = info(THIEF, "http://thief.example")
    yield "init", init_arguments()
    for tls in (THIEF, NEW_TLS, steps.BACKUP_TLS, steps.SECOND_TLS, "erin TLS"):
        given = info(tls, "http://thief.example")
        yield "submit_participant_info", {"participant_info": given}
        for slot in (0, 1):
            yield "register_backup_service", {"backup_service_info": {"public_key": key(tls)}, "slot": slot}
        for account in (ALICE, BOB):
            yield "submit_participant_recovery_info", recovery_arguments(account, tls) | {"participant_info": given}
    yield "update_participant_url", {"url": stranger["url"]}
    yield "update_participant_url", {"url": stranger["url"], "tls_public_key": stranger["tls_public_key"]}
    for recovery_id in (1, 2):
        yield "confirm_key_share_delivery", {"recovery_id": recovery_id}
        yield "conclude_recovery", {"recovery_id": recovery_id, "expected_keyset": keyset_digest()}
        yield "expire_recovery", {"recovery_id": recovery_id}
        yield "cancel_recovery", {"recovery_id": recovery_id}
    for account in (ALICE, BOB, CAROL, ERIN):
        yield "waive_recovery_cooldown", {"account_id": account}
    for recovery_id in (None, 1, 2):
        opening = ephemeral_record(expires_on=HEIGHT + 1, recovery_id=recovery_id, tls=THIEF)
        yield "submit_ephemeral_key", {"record": opening}
        answering = ephemeral_record(expires_on=HEIGHT + 1, recovery_id=recovery_id, answers=opening, tls=THIEF)
        yield "submit_ephemeral_key", {"record": answering}
    yield from votes(stranger)
    for method in ("vote_node_code_hash", "vote_backup_service_code_hash"):
        yield method, {"code_hash": code_hash("the thief's"), "allow": True}
    yield "vote_measurements", {"measurements": measurements("the thief's"), "allow": True}
    yield "sign", sign_arguments()
    yield "respond", {"request_id": 1, "signature": signature()}


def votes(stranger: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Votes that would let the thief's machine in, alone or with others, if one vote did."""
    mallory, erin = [MALLORY, ERIN_ID, stranger], [ERIN, ERIN_ID, stranger]
    for entries in ([*ALL, mallory], [*ALL, erin], [[ALICE, 0, stranger], *ALL[1:]], ALL, [*ALL, entry(ERIN)]):
        for epoch in (5, 6):
            yield "vote_new_parameters", {"prospective_epoch_id": epoch, "proposal": proposal(*entries)}
    yield "vote_add_domains", {"domains": [domain(4)]}
    for epoch, domain_id in ((5, 0), (5, 4), (6, 0), (6, 3)):
        named = {"key_event_id": key_event_id(epoch, domain_id)}
        yield "start_keygen_instance", named
        yield "vote_pk", named | {"public_key": public_key(THIEF)}
        yield "start_reshare_instance", named
        yield "vote_reshared", named
    for next_domain_id in (4, 5):
        yield "vote_cancel_keygen", {"next_domain_id": next_domain_id}
    yield "vote_cancel_resharing", {}


def keys_shares_may_go_to(layer: Layer) -> set[str]:
    """TLS keys of nodes and backup services in any view, and of the recovering node."""
    state = layer.view(method="state", args={}, height=HEIGHT)
    ((_, shown),) = state.items()
    running = shown.get("previous_running_state", shown)
    event = shown.get("resharing_key") or shown.get("generating_key") or running
    sets = [
        running.get("parameters", event["parameters"])["participants"],
        event["parameters"]["participants"],
        shown.get("prospective_participants", {"participants": []}),
    ]
    found = {entry[2]["tls_public_key"] for participants in sets for entry in participants["participants"]}
    services = layer.view(method="backup_services", args={}, height=HEIGHT)
    found |= {service["public_key"] for pairs in services.values() for service in pairs if service is not None}
    for account in (ALICE, BOB, CAROL, ERIN):
        shown = layer.view(method="participant_info", args={"account_id": account}, height=HEIGHT)
        pairs = (shown["node"], shown["node_candidate"], *shown["backup_services"])
        found |= {pair["tls_public_key"] for pair in pairs if pair is not None}
    return found


CASES = [(stolen, situation) for stolen in STOLEN for situation in SITUATIONS if (stolen, situation) not in NOT_STOLEN]


@pytest.mark.parametrize(("stolen", "situation"), CASES)
def test_a_stolen_key_names_no_new_tls_key(layer: Layer, stolen: str, situation: str) -> None:
    for step in SITUATIONS[situation]:
        take(layer, step)
    before = keys_shares_may_go_to(layer)
    caller, signer = STOLEN[stolen]
    for _ in range(2):  # twice, since one accepted call may open the way for another
        for method, args in attacks():
            try:
                layer.call(caller=caller, signer=signer, method=method, args=args, height=HEIGHT)
            except RefusedError:
                continue
    after = keys_shares_may_go_to(layer)
    assert after <= before
    assert key(THIEF) not in after


def test_a_stolen_node_key_cannot_take_over_the_recovery_it_did_not_start(layer: Layer) -> None:
    for step in (*IN_RECOVERY, steps.confirm(HEIGHT)):
        take(layer, step)
    for signer in (node_signer(ALICE), steps.BACKUP):
        with pytest.raises(RefusedError, match="only the recovering node"):
            take(layer, steps.conclude(HEIGHT, signer=signer))


def test_an_accounts_own_key_takes_no_other_accounts_keys(layer: Layer) -> None:
    """A stranger with accounts and access keys of his own claims keys that others use."""
    for step in IN_RECOVERY:
        take(layer, step)
    before = keys_shares_may_go_to(layer)
    for number, tls in enumerate((NEW_TLS, steps.BACKUP_TLS, "erin TLS", steps.BACKUP)):
        with pytest.raises(RefusedError, match="the TLS key has been recorded before"):
            take(
                layer,
                steps.submit(
                    HEIGHT, caller="thief.near", signer=f"thief {number}", tls=tls, address="http://t.example"
                ),
            )
    assert keys_shares_may_go_to(layer) == before


def test_a_stranger_who_names_others_access_keys_as_his_tls_keys_does_not_spoil_them(layer: Layer) -> None:
    """Access keys are public before their first use; a stranger must not keep a replacement or an operator from acting."""
    for step in (
        steps.init(),
        steps.submit(10, caller=ERIN, signer="erin node", tls=NEW, address="http://erin.example"),
        steps.submit(10, caller=MALLORY, signer="mallory node", tls=steps.OPERATOR, address="http://m.example"),
        steps.register(10, caller=ERIN, signer="erin backup", tls=steps.BACKUP),
        steps.register(11),
        steps.submit_recovery(12),
        steps.confirm(13),
        steps.cancel(14, signer=steps.OPERATOR),
    ):
        take(layer, step)
    assert "Running" in layer.view(method="state", args={}, height=14)
    with pytest.raises(RefusedError, match="the access key is retired"):
        take(layer, steps.submit_recovery(1014))
    with pytest.raises(RefusedError, match="the TLS key has been recorded before"):
        take(layer, steps.submit(1015, caller=ERIN, signer="erin 2", tls=NEW, address="http://erin.example"))


def test_below_the_threshold_participants_neither_cancel_nor_waive(layer: Layer) -> None:
    for step in IN_RECOVERY:
        take(layer, step)
    for signer in (node_signer(BOB), "bob operator", "bob operator 2"):
        take(layer, steps.cancel(HEIGHT, caller=BOB, signer=signer))
    assert "Recovery" in layer.view(method="state", args={}, height=HEIGHT)


def test_a_vote_to_waive_an_earlier_cooldown_does_not_count_for_a_later_one(layer: Layer) -> None:
    for step in (
        steps.init(),
        steps.submit_recovery(20),
        steps.cancel(30, signer=steps.OPERATOR),
        steps.waive(31, caller=BOB),
        steps.submit_recovery(1030, signer="second", tls="second TLS"),
        steps.cancel(1040, 2, signer=steps.OPERATOR),
        steps.waive(1041, caller=CAROL),
    ):
        take(layer, step)
    with pytest.raises(RefusedError, match="again from block 2040"):
        take(layer, steps.submit_recovery(1042, signer="third", tls="third TLS"))
