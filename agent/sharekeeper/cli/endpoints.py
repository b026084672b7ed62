"""What `chain quorum` and `backup-service override-quorum` do with the NEAR endpoints of a backup service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from sharekeeper.adapters.approvals import DirectoryOverrideStore
from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.quorum import QuorumReader, endpoints_of
from sharekeeper.app import OVERRIDES_DIRECTORY
from sharekeeper.cli.near import near_rpc
from sharekeeper.config import BackupServiceConfig
from sharekeeper.domain.backup import QuorumOverride
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.protocol_state import Recovery, running_part
from sharekeeper.errors import ChainAnswerInvalid, PolicyRefused
from sharekeeper.ops.status import utc
from sharekeeper.protocol.quorum import Judgement, Standing, Survey, read_views

_NS: Final = 10**9
_CURES: Final = {
    Standing.LAGS: "is behind: it counts again once it has caught up",
    Standing.HANGS: "does not answer: start it, or correct its url",
    Standing.FORKS: "follows another chain: if it is yours, replace its data; else take it out of the configuration",
    Standing.LIES: "shows a false state: if it is yours, take it for compromised; else take it out of the configuration",
    Standing.GARBAGE: "is no NEAR endpoint of this release, or knows no such contract: check its url",
    Standing.FOREIGN: "is of another network: correct its url",
}


async def survey(config: BackupServiceConfig) -> Survey:
    """What all endpoints show now; each has time to answer."""
    async with _reader(config) as reader:
        return await reader.compare()


@asynccontextmanager
async def _reader(config: BackupServiceConfig) -> AsyncIterator[QuorumReader]:
    """The endpoints of that configuration. On a dev chain without `genesis_hash` any genesis block is accepted."""
    clock, near = SystemClock(), config.near
    async with near_rpc(near, clock) as own, endpoints_of(near, own, near.genesis_hash, clock) as endpoints:
        yield QuorumReader(endpoints, quorum=near.quorum, account_id=config.account_id, clock=clock)


# --- chain quorum -------------------------------------------------------------------------------


def quorum_facts(found: Survey, now_ns: int) -> dict[str, Any]:
    """What is printed of a survey as JSON."""
    agreed = found.agreed
    return {
        "release_possible": agreed is not None,
        "needed": found.quorum,
        "agreed": None if agreed is None else {"height": agreed.block.height, "hash": agreed.block.hash},
        "endpoints": [_endpoint(judgement, now_ns) for judgement in found.judgements],
    }


def _endpoint(judgement: Judgement, now_ns: int) -> dict[str, Any]:
    final, network = judgement.statement.final, judgement.statement.network
    return {
        "name": judgement.endpoint,
        "chain_id": None if network is None else network.chain_id,
        "genesis_hash": None if network is None else network.genesis_hash,
        "standing": judgement.standing.value,
        "said": judgement.said,
        "final_height": None if final is None else final.height,
        "final_hash": None if final is None else final.hash,
        "age_seconds": None if final is None else round((now_ns - final.timestamp_ns) / _NS, 3),
        **_state(judgement.statement.views),
    }


def _state(views: tuple[bytes, ...] | None) -> dict[str, Any]:
    try:
        state = None if views is None else read_views(views).state
    except ChainAnswerInvalid:
        state = None
    running = None if state is None else running_part(state)
    return {
        "state": None if state is None else type(state).__name__,
        "keyset_digest": None if running is None else running.keyset.digest(),
    }


def quorum_lines(facts: dict[str, Any]) -> str:
    """The same for people: a table, the verdict, and what to do."""
    titles = ("endpoint", "chain", "genesis", "final block", "hash", "age", "state", "keyset", "verdict")
    rows = [titles, *(_row(one) for one in facts["endpoints"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    agreed, number = facts["agreed"], len(facts["endpoints"])
    if agreed is None:
        lines.append(
            f"release: not possible, no {facts['needed']} of {number} endpoints agree on one fresh final block"
        )
    else:
        who = ", ".join(one["name"] for one in facts["endpoints"] if one["standing"] == Standing.AGREES)
        lines.append(
            f"release: possible, agreed at block {agreed['height']} by {who} ({facts['needed']} of {number} needed)"
        )
        lines.append(f"block {agreed['hash']}")
    for one in facts["endpoints"]:
        if (standing := Standing(one["standing"])) in _CURES:
            lines.append(f"{one['name']} {_CURES[standing]} ({one['said']})")
        elif standing is Standing.UNDECIDED:
            lines.append(f"{one['name']}: {one['said']}")
    return "\n".join(lines)


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    age = "-" if one["age_seconds"] is None else f"{one['age_seconds']:.1f} s"
    shown = (
        one["chain_id"],
        _short(one["genesis_hash"]),
        one["final_height"],
        _short(one["final_hash"]),
        age,
        one["state"],
        _short(one["keyset_digest"]),
    )
    return (one["name"], *("-" if value is None else str(value) for value in shown), one["standing"])


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:12]


# --- backup-service override-quorum ---------------------------------------------------------------


async def add_override(
    config: BackupServiceConfig, block_hash: str, recovery_id: int, tls_key: TlsKey, seconds: int
) -> tuple[bool, QuorumOverride]:
    """The override is on record; True if it was made now. One that says the same and is still open is left as it is.

    Raises:
        PolicyRefused: the own node does not have that block as final, or shows no such recovery of this account at it.
        ChainFault: the own node.
        StoreFailed: disk.
    """
    async with _reader(config) as reader:
        state = (await reader.own_views(block_hash)).state
    recovering = state.recovering if isinstance(state, Recovery) and state.recovery_id == recovery_id else None
    if recovering is None or recovering.account_id != config.account_id:
        raise PolicyRefused(f"at block {block_hash} recovery {recovery_id} of {config.account_id} does not run")
    if recovering.info.tls_public_key != tls_key:
        raise PolicyRefused(
            f"at block {block_hash} recovery {recovery_id} is of TLS key {recovering.info.tls_public_key}, not {tls_key}"
        )
    now_ns = SystemClock().wall_ns()
    override = QuorumOverride(
        account_id=config.account_id,
        block_hash=block_hash,
        recovery_id=recovery_id,
        tls_key=tls_key,
        deadline_ns=now_ns + seconds * _NS,
        used_at_ns=None,
    )
    store = DirectoryOverrideStore(config.state_dir / OVERRIDES_DIRECTORY)
    for held in store.pending():
        if replace(held, deadline_ns=override.deadline_ns) == override and held.deadline_ns > now_ns:
            return False, held
    await store.add(override)
    return True, override


def override_facts(override: QuorumOverride) -> dict[str, Any]:
    """What is printed of an override."""
    return {
        "account_id": override.account_id,
        "recovery_id": override.recovery_id,
        "tls_public_key": str(override.tls_key),
        "block_hash": override.block_hash,
        "deadline": utc(override.deadline_ns),
    }
