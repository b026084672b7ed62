"""How long hostile participants can hold the network, and that they cannot stop a total loss from being recovered."""

import sys

import pytest

from contract import records
from tests.contract.model import TICK, Action, Node, Slice, node_key, service_key, tls_key
from tests.contract.model_slices import asking, call
from tests.contract.world import ALICE, BOB, CAROL, ERIN

R, C = 20, 100  # recovery_timeout_blocks, recovery_cooldown_blocks
EVERYBODY = (ALICE, BOB, CAROL, ERIN)
WORLD = Slice(
    name="hostile participants",
    participants=EVERYBODY,
    threshold=3,
    moves=(),
    config={"recovery_timeout_blocks": R, "recovery_cooldown_blocks": C},
)
BLOCKS = 40 * (R + C)
BLOCK = Action(TICK)


class Hostile:
    """An account that enters Recovery as soon as it may, never concludes, and always comes first."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.machines = 1

    def obstruct(self, node: Node) -> Node:
        if node.shown != records.RUNNING:
            return node
        for machine in (self.machines, self.machines + 1):  # the candidate that expired, or a new machine
            after = node.after(asking(node, self.account, node_key(self.account, machine)))
            if after is not None:
                self.machines = machine
                return after
        return node


@pytest.mark.parametrize("k", [1, 2, 3])
def test_hostile_participants_hold_the_network_no_longer_than_the_bound(k):
    hostile = [Hostile(account) for account in EVERYBODY[:k]]
    node, held = WORLD.start(), 0
    for _ in range(BLOCKS):
        for one in hostile:
            node = one.obstruct(node)
        held += node.name == records.RECOVERY
        node = node.after(BLOCK)
    share, bound = held / BLOCKS, k * R / (R + C)
    sys.stdout.write(f"k={k} R={R} C={C}: held {share:.3f} of {BLOCKS} blocks, bound {bound:.3f}\n")
    assert share <= bound
    assert share > 0.9 * bound, "the hostile participants could have played better; the bound is not tried"


def test_a_threshold_that_looks_ends_each_obstruction_at_once():
    hostile, held = Hostile(ALICE), 0
    node = WORLD.start()
    for _ in range(BLOCKS):
        node = hostile.obstruct(node)
        held += node.name == records.RECOVERY
        recovery = node.recovery
        for account in EVERYBODY[1:] if recovery is not None else ():
            cancel = call("cancel_recovery", account, node_key(account, 0), recovery_id=recovery.recovery_id)
            node = node.after(cancel) or node
        node = node.after(BLOCK)
    assert held / BLOCKS <= 1 / (C + 1) + 1 / BLOCKS


def test_a_total_loss_is_recovered_although_one_hostile_account_wins_every_race():
    hostile, node = Hostile(ALICE), WORLD.start()
    lost = list(EVERYBODY[1:])
    blocks = 0
    while lost:
        node = hostile.obstruct(node)
        for account in lost:
            node = node.after(asking(node, account, node_key(account, 1))) or node
        recovery = node.recovery
        if recovery is not None and recovery.account_id in lost:
            node = recovered(node, recovery)
            lost.remove(recovery.account_id)
        node = node.after(BLOCK)
        blocks += 1
        assert blocks <= R + len(EVERYBODY), f"{lost} did not come back while the hostile account waits"
    for account in EVERYBODY[1:]:
        assert node.account(account).node.tls == tls_key(node_key(account, 1))


def recovered(node: Node, recovery: records.Recovery) -> Node:
    """The backup service delivered and the node concluded."""
    account = recovery.account_id
    confirm = call("confirm_key_share_delivery", account, service_key(account), recovery_id=recovery.recovery_id)
    conclude = call(
        "conclude_recovery",
        account,
        node_key(account, 1),
        recovery_id=recovery.recovery_id,
        expected_keyset=node.header.keyset_digest,
    )
    return node.after(confirm).after(conclude)
