"""What every call and view costs in networks of 4, 20, 100 and 400 participants (docs/contract.md, "Gas").

Most calls are made by the contract's Python sources, which is fast; those that are measured run in the wasm, on the
storage the others left.
"""

import functools
import json
from typing import Any

import pytest

from contract.domains import MOST_DOMAINS
from contract.keygen import MOST_DOMAINS_OF_A_VOTE
from contract.logic import CALLS, VIEWS, execute
from sharekeeper_devnet.runtime import TERA
from tests.contract import key_event_steps as steps
from tests.contract import steps as recovery_steps
from tests.contract.layers import WasmLayer
from tests.contract.steps import Call, Look, take
from tests.contract.test_logic_rules import DictStore, chain, look
from tests.contract.world import (
    ALICE,
    CONTRACT,
    code_hash,
    ephemeral_record,
    evidence,
    info,
    init_arguments,
    key,
    measurements,
    node_signer,
    node_tls,
    url,
)

# participants: most TGas of any call or view
BARS = {4: 11, 20: 20, 100: 100, 400: 300}


class Network:
    """A contract with `size` participants, one of them Alice; `tera` has the dearest call of each method, in TGas."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.threshold = size * 3 // 5 or 1
        self.names = [ALICE] + [f"node-{number}.test.near" for number in range(1, size)]
        self.store = DictStore()
        self.tera: dict[str, float] = {}

    def play(self, *calls: Call) -> None:
        for call in calls:
            made = chain(self.store, caller=call.caller, signer=call.signer, height=call.height)
            execute(made, call.method, call.args)

    def measure(self, *calls: Call | Look) -> None:
        for call in calls:
            layer = WasmLayer()
            layer.storage = {name.encode(): value.encode() for name, value in self.store.items()}
            take(layer, call)
            self.tera[call.method] = max(self.tera.get(call.method, 0), layer.gas[0][1] / TERA)
            self.store = DictStore({name.decode(): value.decode() for name, value in layer.storage.items()})

    def parameters(self) -> dict[str, Any]:
        entries = [[name, number, info(node_tls(name), url(name))] for number, name in enumerate(self.names)]
        return {"participants": {"next_id": self.size, "participants": entries}, "threshold": self.threshold}

    def init(self) -> Call:
        args = init_arguments() | {
            "parameters": self.parameters(),
            "signer_keys": {name: key(node_signer(name)) for name in self.names},
        }
        args["config"] = args["config"] | {"max_prospective_accounts": 1000, "key_event_timeout_blocks": 1000}
        return Call(method="init", caller=CONTRACT, signer="the contract's key", args=args, height=1)

    def vote(self, make: Any, *, first: int = 0) -> None:
        """Votes of a threshold of participants from the `first` on; only the last one is measured."""
        voters = self.names[first : first + self.threshold]
        self.play(*(make(name) for name in voters[:-1]))
        self.measure(make(voters[-1]))


def recover(network: Network) -> None:
    """Machines make themselves known, a recovery is cancelled, waived and concluded, another expires."""
    opening = ephemeral_record(expires_on=70, recovery_id=2)
    answering = ephemeral_record(expires_on=70, recovery_id=2, answers=opening, tls="second TLS")
    network.measure(
        recovery_steps.register(10, evidence=evidence("of the service", 2)),
        recovery_steps.submit(
            10,
            caller=ALICE,
            signer=node_signer(ALICE),
            tls=node_tls(ALICE),
            address=url(ALICE),
            evidence=evidence("of the node", 1),
        ),
        recovery_steps.register(10, evidence=evidence("of the service, again", 1)),
        recovery_steps.change_url(10, "https://moved.example"),
        recovery_steps.submit_recovery(20, evidence=evidence("of the new node")),
    )
    network.vote(lambda name: recovery_steps.cancel(21, caller=name, signer=node_signer(name)), first=1)
    network.vote(lambda name: recovery_steps.waive(22, caller=name), first=1)
    network.measure(
        recovery_steps.submit_recovery(23, signer="second", tls="second TLS", evidence=evidence("of the new node")),
        recovery_steps.publish(24, opening),
        recovery_steps.publish(24, answering, signer="second"),
        Look(method="ephemeral_keys", args={"account_id": ALICE}, height=24),
        recovery_steps.confirm(25, 2),
        Look(method="state", height=25),
        recovery_steps.conclude(26, 2, signer="second"),
        recovery_steps.ask(27),
        recovery_steps.answer(27, caller=network.names[1]),
        recovery_steps.submit_recovery(30, caller=network.names[1], signer="third", tls="third TLS"),
        recovery_steps.expire(200, 3),
    )


def generate(network: Network) -> None:
    """A domain is added, and another one given up."""
    network.vote(lambda name: steps.add_domains(300, steps.domain(4), caller=name), first=1)
    network.measure(steps.start_keygen(301, signer="second"), steps.start_keygen(2000, 1, signer="second"))
    votes = [steps.vote_pk(2001, 1, caller=name) for name in network.names[1:]]
    network.play(*votes[:-1])
    network.measure(votes[-1])
    network.measure(Look(method="state", height=2001), steps.vote_pk(2001, 1, caller=ALICE, signer="second"))
    network.vote(lambda name: steps.add_domains(2002, steps.domain(5), caller=name), first=1)
    network.vote(lambda name: steps.cancel_keygen(2003, 6, caller=name), first=1)


def vote_on_code(network: Network) -> None:
    """All vote for measurements of their own, the dearest there can be; code hashes are allowed."""
    votes = [
        steps.call(2500, "vote_measurements", {"measurements": measurements(name), "allow": True}, name, "")
        for name in network.names[1:]
    ]
    network.play(*votes[:-1])
    network.measure(votes[-1])
    given = {"code_hash": code_hash("the code"), "allow": True}
    for method in ("vote_node_code_hash", "vote_backup_service_code_hash"):
        network.vote(functools.partial(steps.call, 2500, method, given, signer=""), first=1)
    network.measure(
        Look(method="allowed_node_code_hashes", height=2500),
        Look(method="allowed_backup_service_code_hashes", height=2500),
        Look(method="allowed_measurements", height=2500),
        Look(method="code_hash_votes", height=2500),
    )


def vote_for(proposal: dict[str, Any], epoch: int, name: str) -> Call:
    return steps.propose(3001, proposal, epoch, caller=name)


def reshare(network: Network) -> None:
    """All but a threshold of the participants give way to others; first this is cancelled."""
    new = [f"new-{number}.test.near" for number in range(network.size - network.threshold)]
    entries = look(network.store, "state", height=3000)["Running"]["parameters"]["participants"]["participants"]
    kept = entries[: network.threshold]
    for number, name in enumerate(new):
        given = info(f"{name} TLS", url(name))
        args = {"participant_info": given, "evidence": evidence(name)}
        announced = steps.call(3000, "submit_participant_info", args, name, f"{name} key")
        network.play(announced) if number else network.measure(announced)
        kept.append([name, network.size + number, given])
    participants = {"next_id": network.size + len(new), "participants": kept}
    proposal = {"parameters": {"participants": participants, "threshold": network.threshold}}
    for epoch in (6, 7):
        network.vote(functools.partial(vote_for, proposal, epoch), first=1)
        if epoch == 6:
            network.measure(Look(method="state", height=3001))
            network.vote(lambda name: steps.cancel_resharing(3002, caller=name), first=1)
    members = [
        (entry[0], "second" if entry[0] == ALICE else node_signer(entry[0])) for entry in kept[: network.threshold]
    ]
    members += [(name, f"{name} key") for name in new]
    for domain_id in (0, 3, 4):
        network.measure(steps.start_reshare(3003, of=domain_id, epoch=7, caller=ALICE, signer="second"))
        votes = [steps.vote_reshared(3004, of=domain_id, epoch=7, caller=name, signer=key_) for name, key_ in members]
        network.play(*votes[:-1])
        network.measure(votes[-1])
    assert look(network.store, "state", height=3004)["Running"]["parameters"] == proposal["parameters"]


def gas_by_method(size: int) -> dict[str, float]:
    network = Network(size)
    network.measure(network.init())
    recover(network)
    generate(network)
    vote_on_code(network)
    reshare(network)
    network.measure(
        Look(method="version", height=3005),
        Look(method="config", height=3005),
        Look(method="participant_info", args={"account_id": ALICE}, height=3005),
        Look(method="backup_services", height=3005),
        Look(method="proposed_parameters", args={"digest": "00" * 32}, height=3005),
        Look(method="signature_request", args={"request_id": 1}, height=3005),
        Look(method="open_signature_requests", height=3005),
    )
    return network.tera


@functools.cache
def gas_of(size: int) -> dict[str, float]:
    return gas_by_method(size)


@pytest.mark.parametrize("size", BARS)
def test_no_call_or_view_costs_more_than_a_network_of_its_size_may(size: int) -> None:
    over = {method: tera for method, tera in gas_of(size).items() if tera >= BARS[size]}
    assert over == {}


def test_every_call_and_view_is_measured() -> None:
    assert set(gas_of(4)) == {*CALLS, *VIEWS, "version"}


def test_what_concerns_one_machine_costs_little_however_many_participants() -> None:
    for method in ("confirm_key_share_delivery", "submit_ephemeral_key", "sign", "respond", "participant_info"):
        assert gas_of(400)[method] < 2 * gas_of(4)[method]


def test_a_thousand_domains_are_shown_added_to_and_reshared() -> None:
    network = Network(4)
    start = network.init()
    keys = [{"domain_id": n, "key": steps.public_key(f"key {n}"), "attempt": 0} for n in range(MOST_DOMAINS - 1)]
    start.args["domains"] = {"domains": [steps.domain(n) for n in range(MOST_DOMAINS - 1)], "next_domain_id": 999}
    start.args["keyset"] = {"epoch_id": 5, "domains": keys}
    network.play(start)
    last = MOST_DOMAINS - 1
    network.vote(lambda name: steps.add_domains(10, steps.domain(last), caller=name))
    network.play(
        steps.start_keygen(11, of=last), *(steps.vote_pk(11, of=last, caller=name) for name in network.names[1:])
    )
    network.measure(steps.vote_pk(11, of=last, caller=ALICE))
    network.vote(functools.partial(vote_for, {"parameters": network.parameters()}, 6))
    # All domains but the last are reshared.
    for name in ("keyset", "canonical"):
        network.store[f"resharing/{name}"] = network.store[name].rpartition("\n")[0]
    network.store["key_event"] = json.dumps([6, last, 0, None])
    network.play(steps.start_reshare(3002, of=last))
    network.play(*(steps.vote_reshared(3002, of=last, caller=name) for name in network.names[1:]))
    network.measure(Look(method="state", height=3002), steps.vote_reshared(3002, of=last, caller=ALICE))
    network.measure(
        Look(method="state", height=3002), recovery_steps.ask(3003, {"request": {"domain_id": last, "payload": "00"}})
    )
    assert max(network.tera.values()) < BARS[400]


def test_participants_who_all_but_decide_make_neither_state_nor_a_recovery_too_dear() -> None:
    """Each votes for domains and parameters of its own; votes below the threshold are all that hostile ones have."""
    network = Network(400)
    network.play(network.init())
    hostile = network.names[1 : network.threshold]
    entries = network.parameters()["participants"]["participants"]
    network.threshold += 1
    for number, name in enumerate(hostile):
        own = [steps.domain(4 + place, reconstruction_threshold=number + 1) for place in range(MOST_DOMAINS_OF_A_VOTE)]
        removing = {
            "participants": {"next_id": 400, "participants": entries[: network.threshold]},
            "threshold": number + 1,
        }
        network.play(steps.add_domains(10, *own, caller=name))
        network.play(vote_for({"parameters": removing}, 6, name))
    network.measure(
        recovery_steps.submit_recovery(3002, args=None),
        Look(method="state", height=3002),
        steps.propose(3002, {"parameters": network.parameters()}, caller=ALICE),
        steps.add_domains(3200, steps.domain(4), caller=ALICE),
        recovery_steps.change_url(3201, "http://moved.example"),
    )
    assert max(network.tera.values()) < BARS[400]
