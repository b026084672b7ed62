"""`init` accepts one consistent network and names what is wrong with any other."""

from collections.abc import Callable
from typing import Any

import base58
import pytest

from contract.codec import ContractError
from contract.domains import MOST_DOMAINS
from contract.logic import execute
from contract.session import MOST_PARTICIPANTS
from tests.contract.test_logic_rules import DictStore, chain, look
from tests.contract.world import ALICE, BOB, CONTRACT, info, init_arguments, key, keyset_digest, node_signer, node_tls


def initialise(arguments: Any) -> DictStore:
    store = DictStore()
    execute(chain(store, caller=CONTRACT, height=1), "init", arguments)
    return store


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    arguments = init_arguments()
    change(arguments)
    return arguments


def entries(arguments: dict[str, Any]) -> list[Any]:
    return arguments["parameters"]["participants"]["participants"]


def registry(arguments: dict[str, Any]) -> list[Any]:
    return arguments["domains"]["domains"]


def keys(arguments: dict[str, Any]) -> list[Any]:
    return arguments["keyset"]["domains"]


FAULTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "arguments lacks the field 'config'": lambda a: a.pop("config"),
    "arguments has the unknown field 'more'": lambda a: a.update(more=1),
    "parameters must be a JSON object": lambda a: a.update(parameters=[]),
    "threshold must be between 1 and 3": lambda a: a["parameters"].update(threshold=4),
    "threshold must be an integer": lambda a: a["parameters"].update(threshold=True),
    "participants must be a JSON list": lambda a: a["parameters"]["participants"].update(participants={}),
    "each participant must be a list": lambda a: entries(a)[0].pop(),
    "the account of a participant must be a NEAR account id": lambda a: entries(a)[0].__setitem__(0, "ALICE"),
    "the participant id of alice.test.near must be an integer": lambda a: entries(a)[0].__setitem__(1, "0"),
    "the participant id of bob.test.near must be unique": lambda a: entries(a)[1].__setitem__(1, 0),
    "and below participants.next_id": lambda a: a["parameters"]["participants"].update(next_id=6),
    "the info of alice.test.near.url must be a string": lambda a: entries(a)[0][2].update(url=1),
    "the info of alice.test.near has the unknown field 'sign_pk'": lambda a: entries(a)[0][2].update(sign_pk=""),
    "alice.test.near is listed twice": lambda a: entries(a)[1].__setitem__(0, ALICE),
    "signer_keys lacks the key of alice.test.near": lambda a: a["signer_keys"].pop(ALICE),
    "signer_keys has the unknown field 'x.near'": lambda a: a["signer_keys"].update({"x.near": key("x")}),
    "the signer key of alice.test.near must be 'ed25519:'": lambda a: a["signer_keys"].update({ALICE: "x"}),
    "a key of bob.test.near is used twice": lambda a: entries(a)[1][2].update(tls_public_key=key(node_tls(ALICE))),
    "a key of alice.test.near is used twice": lambda a: a["signer_keys"].update({ALICE: key(node_tls(ALICE))}),
    "config has the unknown field 'x'": lambda a: a["config"].update(x=1),
    "config.recovery_timeout_blocks must be between 1 and": lambda a: a["config"].update(recovery_timeout_blocks=0),
    "domains lacks the field 'next_domain_id'": lambda a: a["domains"].pop("next_domain_id"),
    "the domain id 3 must be unique and below": lambda a: a["domains"].update(next_domain_id=3),
    "a domain's protocol must be one of": lambda a: registry(a)[0].update(protocol="Other"),
    "a domain's purpose must be one of": lambda a: registry(a)[0].update(purpose="Other"),
    "a domain's curve must be one of": lambda a: registry(a)[0].update(curve="Other"),
    "a domain's reconstruction_threshold must be": lambda a: registry(a)[0].update(reconstruction_threshold=4),
    "keyset.epoch_id must be between 0": lambda a: a["keyset"].update(epoch_id=-1),
    "must list the same domains in the same order": lambda a: keys(a).reverse(),
    "keyset.domains and domains.domains must": lambda a: keys(a).pop(),
    "a keyset entry's attempt must be an integer": lambda a: keys(a)[0].update(attempt=None),
    "the key of domain 0 has the unknown field 'Ed25519'": lambda a: keys(a)[0].update(key=keys(a)[1]["key"]),
    "the key of domain 3 must be 'ed25519:'": lambda a: keys(a)[1]["key"]["Ed25519"].update(
        near_public_key_compressed="x"
    ),
    "the key of domain 3 names another edwards_point": lambda a: keys(a)[1]["key"]["Ed25519"]["edwards_point"].pop(),
}


@pytest.mark.parametrize("refusal", FAULTS)
def test_a_network_with_a_fault_is_refused_by_naming_it(refusal: str) -> None:
    with pytest.raises(ContractError) as refused:
        initialise(changed(FAULTS[refusal]))
    assert refusal in str(refused.value)


def test_the_same_domain_twice_is_refused() -> None:
    arguments = init_arguments()
    registry(arguments).append(registry(arguments)[0])
    keys(arguments).append(keys(arguments)[0])
    with pytest.raises(ContractError, match="the domain id 0 must be unique"):
        initialise(arguments)


def test_more_participants_or_domains_than_a_call_can_hold_are_refused() -> None:
    participant = [BOB, 0, info("TLS")]
    with pytest.raises(ContractError, match="participants has 401 entries; at most 400 are allowed"):
        initialise(changed(lambda a: entries(a).extend([participant] * (MOST_PARTICIPANTS - 2))))
    with pytest.raises(ContractError, match=r"domains\.domains has 1001 entries; at most 1000 are allowed"):
        initialise(changed(lambda a: registry(a).extend(registry(a)[:1] * (MOST_DOMAINS - 1))))


def test_a_network_of_every_kind_of_domain_is_accepted_and_shown_as_given() -> None:
    arguments = init_arguments()
    bls = {"Bls12381": {"public_key": "bls12381g2:" + base58.b58encode(bytes(range(96))).decode()}}
    registry(arguments)[0]["curve"] = "Secp256k1"
    registry(arguments).append(
        {"id": 9, "protocol": "ConfidentialKeyDerivation", "reconstruction_threshold": 3, "purpose": "CKD"}
    )
    arguments["domains"]["next_domain_id"] = 10
    keys(arguments).append({"domain_id": 9, "key": bls, "attempt": 1})
    running = look(initialise(arguments), "state")["Running"]
    assert running["domains"] == arguments["domains"]
    assert running["keyset"] == arguments["keyset"]


def test_a_network_without_domains_is_accepted() -> None:
    arguments = init_arguments()
    arguments["domains"]["domains"] = arguments["keyset"]["domains"] = []
    assert look(initialise(arguments), "state")["Running"]["keyset"] == {"epoch_id": 5, "domains": []}


def test_the_keyset_digest_is_that_of_the_documented_text() -> None:
    store = initialise(init_arguments())
    assert keyset_digest() in store["header"]


def test_the_nodes_given_are_in_force_with_their_signer_keys() -> None:
    store = initialise(init_arguments())
    for account, _, given in entries(init_arguments()):
        shown = look(store, "participant_info", account_id=account)
        assert shown["node"] == given | {"signer_account_pk": key(node_signer(account)), "evidence": None}
        assert shown["is_participant"]
