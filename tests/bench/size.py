"""Many domains in one keyset, from the contract's state over RPC to the vault, and from there to a replacement.

The contract's real views are taken, given more domains, and shown by a contract that answers with what it is given;
chain, RPC, daemons, transfer, vault and shares are the real ones.
"""

import json
import secrets
import time
from pathlib import Path
from typing import Any

from sharekeeper.adapters.transactions import deploy_contract
from sharekeeper_devnet.network.dealer import Deal, deal, init_arguments
from tests.bench import Row
from tests.bench.prepared_contract import VIEWS, go_on, put, wasm
from tests.integration.world import CONTRACT, Participant, Participants, World, world

DOMAINS = (1000, 10_000)
BLOCK_MS = 1000
EPOCH = 6
PATIENCE_SECONDS = 240
LINEAR = 15
"""Ten times the domains may take this many times as long: 10 is linear, the rest is the scatter of one run."""


async def measure(directory: Path) -> list[Row]:
    backup, recovery = {}, {}
    for domains in DOMAINS:
        async with world(directory / f"size{domains}", names=("alice",), threshold=1, block_ms=BLOCK_MS) as net:
            backup[domains], recovery[domains] = await _life(net, domains)
    return [row for what, taken in (("backup", backup), ("recovery", recovery)) for row in _rows(what, taken)]


def _rows(what: str, taken: dict[int, float]) -> list[Row]:
    fewer, more = DOMAINS
    detail = f"{fewer} domains {taken[fewer]:.1f} s, {more} domains {taken[more]:.1f} s, blocks of {BLOCK_MS} ms"
    growth = taken[more] / taken[fewer]
    return [Row(what=f"{what} of {more:,} domains / {fewer:,}", value=growth, unit="x", bar=LINEAR, detail=detail)]


async def _life(net: World, domains: int) -> tuple[float, float]:
    """Seconds from a keyset that is final to its durable backup, and from Recovery to the replacement's shares."""
    await net.with_backup("alice")
    views = await _views(net, dealt := _dealt(domains))
    alice, owner = net["alice"], net.caller(CONTRACT, net.owner)
    await alice.store("old").store_permanent(dealt.keyset, dealt.shares[0])
    await owner.send_actions(CONTRACT, [deploy_contract(wasm())])
    answers = [(view, step, json.dumps(one[view]).encode()) for step, one in enumerate(views) for view in VIEWS]
    await put(owner, CONTRACT, answers)
    await go_on(owner, CONTRACT)
    backup = await _seconds_until(net, lambda: _in_vault(net, EPOCH))
    await alice.node("old").stop()
    await net.grant("alice", alice.node("new"))
    alice.node("new").start()
    await go_on(owner, CONTRACT)
    recovery = await _seconds_until(net, lambda: _holds(net, dealt))
    return backup, recovery


def _dealt(domains: int) -> Deal:
    return deal(epoch_id=EPOCH, domains=domains, threshold=1, participant_ids=(0,), random_below=secrets.randbelow)


async def _views(net: World, dealt: Deal) -> list[dict[str, Any]]:
    """What the views answer at each step: as it is, the new keyset, Recovery, delivery confirmed, Running."""
    head = await net.rpc.head()
    alice = net["alice"]
    now = await net.rpc.view("state", {}, head)
    account = await net.rpc.view("participant_info", {"account_id": alice.account_id}, head)
    me = Participant(account_id=alice.account_id, participant_id=0, info=alice.info("old"))
    founding = init_arguments(dealt, Participants(members=(me,)), {})
    running = now["Running"] | {"domains": founding["domains"], "keyset": founding["keyset"]}
    new = {"url": alice.url("new"), "tls_public_key": str(alice.info("new").tls_public_key)}
    signer = str(alice.node("new").keys.account.signer_key)
    after = {"next_id": 1, "participants": [[alice.account_id, 0, new]]}
    recovery = {
        "recovery_id": 1,
        "previous_running_state": running,
        "prospective_participants": after,
        "recovering": {"account_id": alice.account_id, "participant_info": new, "signer_account_pk": signer},
        "started_in": head.height,
        "expires_on": head.height + 10**6,
        "shares_confirmed": False,
        "cancel_votes": [],
    }
    recovered = running | {"parameters": running["parameters"] | {"participants": after}}
    pair = new | {"signer_account_pk": signer}
    recovering = account | {"node_candidate": pair}
    return [
        {"state": now, "participant_info": account},
        {"state": {"Running": running}, "participant_info": account},
        {"state": {"Recovery": recovery}, "participant_info": recovering},
        {"state": {"Recovery": recovery | {"shares_confirmed": True}}, "participant_info": recovering},
        {"state": {"Running": recovered}, "participant_info": account | {"node": pair}},
    ]


async def _seconds_until(net: World, seen: Any) -> float:
    start = time.perf_counter()
    await net.until(seen, seconds=PATIENCE_SECONDS)
    return time.perf_counter() - start


async def _in_vault(net: World, epoch: int) -> bool:
    entries = net["alice"].service.directory / "vault" / "keysets"
    return any(entry.joinpath("manifest.json").exists() for entry in entries.glob(f"{epoch}-*"))


async def _holds(net: World, dealt: Deal) -> bool:
    """The replacement's shares are in place, every one of them right."""
    return await net["alice"].store("new").read(dealt.keyset) == dealt.shares[0]
