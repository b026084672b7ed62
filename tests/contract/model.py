"""An exhaustive model of the contract: every state that bounded calls can reach, and every call made in each.

The model runs the contract's own rules (`logic.execute`) on a dictionary; nothing of them is written down again here.
What bounds it is a `Slice`: who acts, with which keys, which calls. A height is kept only as its distance, for the
rules speak of distances alone; so a state that differs from another only in when it is, is the same state.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from contract import key_event, records
from contract.codec import ContractError
from contract.logic import current_state, execute
from contract.records import Account, Header
from contract.resharing import load_parameters
from contract.session import Chain
from tests.contract.world import CONTRACT, NOW, key, keyset, raw_key, url

TICK = "a block passes"
BOUNDS = {"recovery_timeout_blocks": 2, "recovery_cooldown_blocks": 1, "key_event_timeout_blocks": 1}
START = 10
DEADLINES = ("cooldown_until", "expires_on")
VOTERS = ("waived_by", "cancel_votes", "completed", "cancellation_requests")


class ModelStore(dict[str, str]):
    """Storage as the contract sees it."""

    def set(self, name: str, value: str) -> None:
        self[name] = value

    def remove(self, name: str) -> None:
        del self[name]


@dataclass(frozen=True, slots=True)
class Action:
    """A call by `caller`, signed with the key of that name; or TICK."""

    method: str
    caller: str = ""
    signer: str = ""
    args: str = "{}"


class Node:
    """One state: what is stored, and at which height it was met first."""

    def __init__(self, store: ModelStore, height: int) -> None:
        self.store = store
        self.height = height
        self.header = Header(store)
        self.name: str = current_state(self.header, store, height)

    @cached_property
    def identity(self) -> bytes:
        """Equal for states that the rules cannot tell apart."""
        parts = [self.header.state]
        for name in sorted(self.store):
            parts += [name, self._without_heights(name)]
        return hashlib.sha256("\n".join(parts).encode()).digest()

    def _without_heights(self, name: str) -> str:
        """What is stored under that name, heights as distances; the order in which votes came tells nothing."""
        kind, _, rest = name.partition("/")
        value: Any = self.store[name]
        match kind:
            case "account":
                value = self.account(rest)
            case "recovery":
                value = self.recovery
            case key_event.STORAGE_KEY:
                value = self.event
            case "votes":
                value = [[entry[0], sorted(entry[1]), *entry[2:]] for entry in json.loads(value)]
            case "cancel_keygen":
                value = sorted(json.loads(value))
            case "resharing" if not rest:
                value = load_parameters(self.store)
        return json.dumps(self._plain("", value))

    def _plain(self, name: str, value: Any) -> Any:
        if name in DEADLINES:
            return max(0, value - self.height)
        if name in VOTERS:
            return sorted(value)
        if isinstance(value, list):
            return [self._plain("", one) for one in value]
        facts = getattr(value, "__dict__", value)
        if not isinstance(facts, dict):
            return value
        return {field: self._plain(field, fact) for field, fact in facts.items() if field != "started_in"}

    def account(self, account_id: str) -> Account:
        return Account(self.store, account_id)

    @property
    def recovery(self) -> records.Recovery | None:
        return records.load_recovery(self.store)

    @property
    def event(self) -> key_event.KeyEvent | None:
        return key_event.load_key_event(self.store) if key_event.STORAGE_KEY in self.store else None

    @cached_property
    def recorded(self) -> set[str]:
        """The keys that the contract has recorded, of either kind."""
        return {name for name in KEYS if records.key_record(self.store, name) is not None}

    @property
    def participants(self) -> list[list[Any]]:
        return records.participants(self.store)

    @property
    def shown(self) -> str:
        """The state as the contract shows it: an expired Recovery is Running."""
        return records.RUNNING if self.name == records.EXPIRED else self.name

    def after(self, action: Action) -> "Node | None":
        """The state that follows; None when the call is refused."""
        if action.method == TICK:
            return Node(self.store, self.height + 1)
        try:
            return self.call(action)[0]
        except ContractError:
            return None

    def call(self, action: Action) -> "tuple[Node, Any]":
        """The state after the call, and what the call returns. Raises `ContractError`."""
        store = ModelStore(self.store)
        result = execute(_chain(store, self.height, action), action.method, json.loads(action.args))
        return Node(store, self.height), result


def _chain(store: ModelStore, height: int, action: Action) -> Chain:
    return Chain(
        store=store,
        height=height,
        now=NOW,
        contract_id=CONTRACT,
        signer_id=action.caller,
        predecessor_id=action.caller,
        signer_key=b"\0" + known_raw_key(action.signer),
        deposit=0,
        sha256=lambda data: hashlib.sha256(data).digest(),
        ed25519_verify=lambda *_: True,
    )


@cache
def known_raw_key(name: str) -> bytes:
    return raw_key(name)


KEYS: set[str] = set()  # every key the model has made


@cache
def known_key(name: str) -> str:
    made = key(name)
    KEYS.add(made)
    return made


# --- who there is -------------------------------------------------------------------------------


def node_key(account: str, number: int) -> str:
    """Name of the access key of the account's node machine of that number; 0 is in force at the start."""
    return f"{account} node {number}"


def operator_key(account: str) -> str:
    return f"{account} operator"


def service_key(account: str) -> str:
    return f"{account} service"


def tls_key(signer: str) -> str:
    return known_key(f"{signer} TLS")


def info_of(account: str, signer: str) -> dict[str, str]:
    return {"url": url(account), "tls_public_key": tls_key(signer)}


Moves = Callable[[Node], Iterator[Action]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A bounded world: who is there at the start, and which calls are tried in a state."""

    name: str
    participants: tuple[str, ...]
    moves: tuple[Moves, ...]
    threshold: int = 2
    with_domain: bool = True
    config: dict[str, int] = field(default_factory=dict)

    def start(self) -> Node:
        """The network after `init`, every participant with a backup service."""
        node = Node(ModelStore(), START)
        for action in self.opening():
            node = node.call(action)[0]
        return node

    def opening(self) -> list[Action]:
        """The calls that found the network."""
        first = Action("init", CONTRACT, "the contract's key", json.dumps(self._init_arguments()))
        services = [(account, service_key(account)) for account in self.participants]
        return [first] + [
            Action(
                "register_backup_service",
                account,
                signer,
                json.dumps({"backup_service_info": {"public_key": tls_key(signer)}}),
            )
            for account, signer in services
        ]

    def _init_arguments(self) -> dict[str, Any]:
        entries = [
            [account, number, info_of(account, node_key(account, 0))]
            for number, account in enumerate(self.participants)
        ]
        frost = keyset()["domains"][1] | {"domain_id": 0}
        domain = {"id": 0, "protocol": "Frost", "reconstruction_threshold": 2, "purpose": "Sign"}
        return {
            "parameters": {
                "participants": {"next_id": len(entries), "participants": entries},
                "threshold": self.threshold,
            },
            "domains": {"domains": [domain] if self.with_domain else [], "next_domain_id": int(self.with_domain)},
            "keyset": {"epoch_id": 1, "domains": [frost] if self.with_domain else []},
            "signer_keys": {account: known_key(node_key(account, 0)) for account in self.participants},
            "config": BOUNDS | self.config,
        }

    def actions(self, node: Node) -> Iterator[Action]:
        yield Action(TICK)
        for moves in self.moves:
            yield from moves(node)


# --- exploring ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """What one action did: `before` and `after` are numbers of states."""

    before: int
    action: Action
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored:
    """Every state that was reached, and every call that was accepted; the first state is the start."""

    states: list[Node]
    steps: list[Step]
    refused: int

    def leading_back(self, allowed: Callable[[Node, Step], bool], goal: Callable[[Node], bool]) -> set[int]:
        """The states from which a goal can be reached by allowed steps."""
        into: dict[int, list[int]] = {}
        for step in self.steps:
            if allowed(self.states[step.before], step):
                into.setdefault(step.after, []).append(step.before)
        reached = {number for number, state in enumerate(self.states) if goal(state)}
        frontier = deque(reached)
        while frontier:
            for before in into.get(frontier.popleft(), ()):
                if before not in reached:
                    reached.add(before)
                    frontier.append(before)
        return reached


def explore(world: Slice, *, most: int) -> Explored:
    """Everything the slice can reach. Fails when that is more than `most` states: then the slice is not bounded."""
    first = world.start()
    numbers = {first.identity: 0}
    states, steps, refused = [first], [], 0
    frontier = deque([0])
    while frontier:
        number = frontier.popleft()
        for action in world.actions(states[number]):
            after = states[number].after(action)
            if after is None:
                refused += 1
                continue
            known = numbers.setdefault(after.identity, len(states))
            if known == len(states):
                assert known < most, f"the slice {world.name} has more than {most} states"
                states.append(after)
                frontier.append(known)
            steps.append(Step(number, action, known))
    return Explored(states=states, steps=steps, refused=refused)
