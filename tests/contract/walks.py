"""Walks through the model: whatever calls come, the sequence of them with what the Python sources make of each.

A walk played on another form of the contract must come out the same, refusals to the word.
"""

import json
from collections.abc import Sequence as Numbers

from contract.codec import ContractError
from contract.logic import view
from tests.contract.model import START, TICK, Action, ModelStore, Node, Slice
from tests.contract.steps import Call, Look, Sequence
from tests.contract.world import NOW

# Long enough that a walk of one call a block gets somewhere before its recovery or attempt is over.
PATIENT = {"recovery_timeout_blocks": 9, "recovery_cooldown_blocks": 2, "key_event_timeout_blocks": 9}
TRIED_AS_THEY_COME = 4
SELDOM_CANCELLED = 9


def walk(world: Slice, choices: Numbers[int]) -> Sequence:
    """One call for each number, each in a block of its own; every fourth is any call, the others change something."""
    node, steps = Node(ModelStore(), START), []
    opening = world.opening()
    for number in range(len(opening) + len(choices)):
        at_first = number < len(opening)
        action = opening[number] if at_first else _chosen(world, node, choices[number - len(opening)])
        node = Node(node.store, node.height + 1)
        if action.method != TICK:
            step, node = _step(node, action)
            steps += [step, _look(node)]
    return Sequence(name=world.name, steps=tuple(steps))


def _chosen(world: Slice, node: Node, choice: int) -> Action:
    tried = list(world.actions(node))
    if choice % TRIED_AS_THEY_COME:
        next_block = Node(node.store, node.height + 1)
        tried = [action for action in tried if _changes(next_block, action)] or tried
        tried = [action for action in tried if "cancel" not in action.method or choice % SELDOM_CANCELLED == 0] or tried
    return tried[choice // TRIED_AS_THEY_COME % len(tried)]


def _changes(node: Node, action: Action) -> bool:
    after = node.after(action)
    return after is not None and after.store != node.store


def _step(node: Node, action: Action) -> tuple[Call, Node]:
    refusal = result = None
    try:
        node, result = node.call(action)
    except ContractError as refused:
        refusal = str(refused)
    call = Call(
        method=action.method,
        caller=action.caller,
        signer=action.signer,
        args=json.loads(action.args),
        height=node.height,
        result=result,
        refusal=refusal,
    )
    return call, node


def _look(node: Node) -> Look:
    return Look(method="state", height=node.height, value=json.loads(view(node.store, node.height, NOW, "state", {})))
