"""Short names for the calls of key generation and resharing, in the world of world.py."""

import hashlib
import json
from typing import Any

from tests.contract.steps import Call, Look
from tests.contract.world import (
    ALICE,
    BOB,
    CAITSITH_DOMAIN,
    CAROL,
    CONTRACT,
    ERIN,
    FROST_DOMAIN,
    PARTICIPANTS,
    info,
    init_arguments,
    key,
    node_signer,
    node_tls,
    raw_key,
    url,
)

NEXT_DOMAIN = 4
ERIN_NODE = "erin node"
ERIN_TLS = "erin TLS"
ERIN_URL = "http://erin.example"
ERIN_ID = 7


EMPTY_KEYSET_DIGEST = hashlib.sha256(b"sharekeeper-keyset-v1\n5\n").hexdigest()


def init_without_domains(height: int = 1) -> Call:
    args = init_arguments()
    args["domains"]["domains"] = args["keyset"]["domains"] = []
    return call(height, "init", args, CONTRACT, "the contract's key")


def domain(domain_id: int, **changed: Any) -> dict[str, Any]:
    return {"id": domain_id, "protocol": "Frost", "reconstruction_threshold": 2, "purpose": "Sign"} | changed


def public_key(name: str) -> dict[str, Any]:
    """The public key of a Frost domain, as in a keyset entry."""
    return {"Ed25519": {"near_public_key_compressed": key(name), "edwards_point": list(raw_key(name))}}


def key_event_id(epoch: int, domain_id: int, attempt: int = 0) -> dict[str, int]:
    return {"epoch_id": epoch, "domain_id": domain_id, "attempt_id": attempt}


def call(height: int, method: str, args: Any, caller: str, signer: str, **expected: Any) -> Call:
    signer = signer or node_signer(caller)
    return Call(method=method, caller=caller, signer=signer, args=args, height=height, **expected)


def add_domains(height: int, *entries: dict[str, Any], caller: str, signer: str = "", **expected: Any) -> Call:
    return call(height, "vote_add_domains", {"domains": list(entries)}, caller, signer, **expected)


def start_keygen(
    height: int, attempt: int = 0, *, of: int = NEXT_DOMAIN, caller: str = ALICE, signer: str = "", **expected: Any
) -> Call:
    args = {"key_event_id": key_event_id(5, of, attempt)}
    return call(height, "start_keygen_instance", args, caller, signer, **expected)


def vote_pk(
    height: int,
    attempt: int = 0,
    *,
    of: int = NEXT_DOMAIN,
    caller: str,
    signer: str = "",
    epoch: int = 5,
    name: str = "new key",
    given: Any = None,
    **expected: Any,
) -> Call:
    args = {"key_event_id": key_event_id(epoch, of, attempt), "public_key": given or public_key(name)}
    return call(height, "vote_pk", args, caller, signer, **expected)


def cancel_keygen(
    height: int, next_id: int = NEXT_DOMAIN + 1, *, caller: str, signer: str = "", **expected: Any
) -> Call:
    return call(height, "vote_cancel_keygen", {"next_domain_id": next_id}, caller, signer, **expected)


def entry(account: str) -> list[Any]:
    """near/mpc's triple of a participant as it is at the start, or of Erin's candidate as the next participant."""
    if account == ERIN:
        return [ERIN, ERIN_ID, info(ERIN_TLS, ERIN_URL)]
    return [account, 3 * PARTICIPANTS.index(account), info(node_tls(account), url(account))]


def proposal(*entries: list[Any], threshold: int = 2, next_id: int | None = None, **thresholds: int) -> dict[str, Any]:
    """The participant set of `entries`; `thresholds` as d3=2 for domain 3."""
    new = sum(item[1] >= ERIN_ID for item in entries)
    participants = {"next_id": ERIN_ID + new if next_id is None else next_id, "participants": list(entries)}
    given: dict[str, Any] = {"parameters": {"participants": participants, "threshold": threshold}}
    if thresholds:
        given["per_domain_thresholds"] = {name[1:]: value for name, value in thresholds.items()}
    return given


ALL = (entry(ALICE), entry(BOB), entry(CAROL))
WITH_ERIN = proposal(*ALL, entry(ERIN), threshold=3)


def digest(given: dict[str, Any], epoch: int = 6) -> str:
    """The digest of a proposal, computed here by a second implementation."""
    full = {"parameters": given["parameters"], "per_domain_thresholds": given.get("per_domain_thresholds", {})}
    text = json.dumps({"prospective_epoch_id": epoch, "proposal": full}, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def propose(
    height: int, given: dict[str, Any] = WITH_ERIN, epoch: int = 6, *, caller: str, signer: str = "", **expected: Any
) -> Call:
    args = {"prospective_epoch_id": epoch, "proposal": given}
    return call(height, "vote_new_parameters", args, caller, signer, **expected)


def signer_in_new_set(account: str) -> str:
    return ERIN_NODE if account == ERIN else node_signer(account)


def start_reshare(
    height: int,
    attempt: int = 0,
    *,
    of: int = CAITSITH_DOMAIN,
    epoch: int = 6,
    caller: str = ALICE,
    signer: str = "",
    **expected: Any,
) -> Call:
    args = {"key_event_id": key_event_id(epoch, of, attempt)}
    return call(height, "start_reshare_instance", args, caller, signer or signer_in_new_set(caller), **expected)


def vote_reshared(
    height: int,
    attempt: int = 0,
    *,
    of: int = CAITSITH_DOMAIN,
    epoch: int = 6,
    caller: str,
    signer: str = "",
    **expected: Any,
) -> Call:
    args = {"key_event_id": key_event_id(epoch, of, attempt)}
    return call(height, "vote_reshared", args, caller, signer or signer_in_new_set(caller), **expected)


def cancel_resharing(height: int, *, caller: str, signer: str = "", **expected: Any) -> Call:
    return call(height, "vote_cancel_resharing", {}, caller, signer, **expected)


def announce_erin(height: int = 10) -> Call:
    args = {"participant_info": info(ERIN_TLS, ERIN_URL)}
    return call(height, "submit_participant_info", args, ERIN, ERIN_NODE)


def reshare(height: int, *domains: int, members: tuple[str, ...], epoch: int = 6, attempt: int = 0) -> tuple[Call, ...]:
    """Every domain reshared, at its first attempt or another."""
    steps = []
    for domain_id in domains or (CAITSITH_DOMAIN, FROST_DOMAIN):
        steps.append(start_reshare(height, attempt, of=domain_id, epoch=epoch, caller=members[0]))
        steps += [vote_reshared(height, attempt, of=domain_id, epoch=epoch, caller=member) for member in members]
    return tuple(steps)


def shows_proposal(height: int, digest_of: str, value: Any) -> Look:
    return Look(method="proposed_parameters", args={"digest": digest_of}, height=height, value=value)
