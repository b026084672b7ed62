"""What a quorum of NEAR endpoints agrees on, and what each other endpoint says instead (design decision 6; ADR 12).

An adapter asks, these functions decide. Rules:

1. A quorum is more than half of all configured endpoints, so that no two blocks or states can both have one, and
   fewer liars than a quorum need an honest endpoint that says the same.
2. A block counts for an endpoint whose own newest final block is at least as high.
3. Agreed is the newest block, not older than `MAX_BLOCK_AGE_SECONDS`, for which a quorum gives the same height, hash
   and timestamp and the same bytes of every view at it: the same endpoints for all of it.
4. Endpoints are judged by what is agreed. Where nothing is agreed, nobody is called a liar.

In hard launch the own node decides, since it runs inside the TEE and follows the chain from a measured anchor; endpoints
outside are named by nobody who is trusted, so their silence counts for nothing. What they can do is veto:

5. One that shows another block or other views than the own node, at a height that both have as final, stops it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from sharekeeper.domain.backup import QuorumOverride
from sharekeeper.domain.identity import NetworkId
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.protocol_state import AccountRecord, BlockRef, ProtocolState, Recovery, running_part
from sharekeeper.errors import (
    ChainAnswerInvalid,
    ChainContradiction,
    ChainFault,
    ChainStale,
    ChainUnavailable,
    NoQuorum,
    WrongNetwork,
)
from sharekeeper.protocol.codec import parse_json
from sharekeeper.protocol.contract_json import decode_account, read_state
from sharekeeper.protocol.freshness import check_fresh
from sharekeeper.protocol.monitoring import goes_backwards

OWN: Final = "own"
"""Name of the own node among the endpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What one endpoint said in one survey, as far as it got; `fault` is where it stopped.

    `network`: which it serves, if it was asked. `final`: its newest final block. `block`: its block at the height
    compared. `views`: the bytes of view `state` and of the account's `participant_info` at that block.
    """

    endpoint: str
    network: NetworkId | None = None
    final: BlockRef | None = None
    block: BlockRef | None = None
    views: tuple[bytes, ...] | None = None
    fault: ChainFault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """A block and the views at it, and which endpoints say so."""

    block: BlockRef
    views: tuple[bytes, ...]
    witnesses: tuple[str, ...]


class Standing(StrEnum):
    """How an endpoint stands to what is agreed."""

    AGREES = "agrees"
    UNDECIDED = "undecided"
    LAGS = "lags"
    HANGS = "hangs"
    FORKS = "forks"
    LIES = "lies"
    GARBAGE = "answers garbage"
    FOREIGN = "serves another network"


FAULT_OF: Final[dict[Standing, type[ChainFault]]] = {
    Standing.LAGS: ChainStale,
    Standing.HANGS: ChainUnavailable,
    Standing.FORKS: ChainContradiction,
    Standing.LIES: ChainContradiction,
    Standing.GARBAGE: ChainAnswerInvalid,
    Standing.FOREIGN: WrongNetwork,
}
"""The error that stands for an endpoint that does not agree."""


VETOES: Final = frozenset({Standing.FORKS, Standing.LIES})
"""What an endpoint outside must show to stop the own node in hard launch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One endpoint's standing; `said` is what it said, in words."""

    statement: Statement
    standing: Standing
    said: str

    @property
    def endpoint(self) -> str:
        """Its name."""
        return self.statement.endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The outcome of asking all endpoints once. `vetoed`: by rule 5."""

    quorum: int
    agreed: Agreed | None
    judgements: tuple[Judgement, ...]
    vetoed: bool = False

    def missing(self) -> NoQuorum:
        """Why there is no quorum, endpoint by endpoint."""
        heard = "; ".join(f"{one.endpoint}: {one.said}" for one in self.judgements)
        if self.vetoed:
            return NoQuorum(
                f"a NEAR endpoint outside contradicts the node inside the TEE ({heard}): find out which of them follows "
                "another chain; take an endpoint that lies out of the addresses"
            )
        return NoQuorum(
            f"no {self.quorum} of {len(self.judgements)} NEAR endpoints agree on one fresh final block and the state at "
            f"it ({heard}): compare them with `sharekeeper chain quorum`"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadViews:
    """The views at one block, decoded."""

    state: ProtocolState
    account: AccountRecord


def majority(endpoints: int) -> int:
    """The smallest number that is more than half of `endpoints`."""
    return endpoints // 2 + 1


def candidate_heights(finals: Iterable[BlockRef], quorum: int) -> tuple[int, ...]:
    """The heights at which something can be agreed, newest first: the final ones that `quorum` endpoints have reached."""
    heights = sorted((block.height for block in finals), reverse=True)
    return tuple(dict.fromkeys(heights[max(quorum, 1) - 1 :]))


def decide_agreed(statements: Sequence[Statement], *, quorum: int, now_ns: int) -> Agreed | None:
    """The one block and views that a quorum states, by rules 2 and 3; None if there is none, or more than one."""
    found: dict[tuple[BlockRef, tuple[bytes, ...]], list[str]] = {}
    for one in statements:
        if one.final is not None and one.block is not None and one.views and one.block.height <= one.final.height:
            found.setdefault((one.block, one.views), []).append(one.endpoint)
    agreed = [
        Agreed(block=block, views=views, witnesses=tuple(names))
        for (block, views), names in found.items()
        if len(set(names)) >= quorum and is_fresh(block, now_ns)
    ]
    return agreed[0] if len(agreed) == 1 else None


def decide_survey(statements: Sequence[Statement], *, quorum: int, now_ns: int) -> Survey:
    """What is agreed, and each endpoint judged by it."""
    agreed = decide_agreed(statements, quorum=quorum, now_ns=now_ns)
    judgements = tuple(_judgement(one, agreed, now_ns) for one in statements)
    return Survey(quorum=quorum, agreed=agreed, judgements=judgements)


def decide_veto(own: Statement, others: Sequence[tuple[Statement, Statement]], *, now_ns: int) -> Survey:
    """What the own node shows, unless an endpoint outside vetoes it (rule 5).

    `own`: at its newest final block. `others`: what each endpoint outside says at a height, and the own node there.
    """
    judgements = [_judgement(one, _agreed(there), now_ns) for one, there in others]
    vetoed = any(one.standing in VETOES for one in judgements)
    agreed = None if vetoed or own.final is None or not is_fresh(own.final, now_ns) else _agreed(own)
    if agreed is not None:
        witnesses = (own.endpoint, *(one.endpoint for one in judgements if one.standing is Standing.AGREES))
        agreed = replace(agreed, witnesses=witnesses)
    judged = (_judgement(own, agreed, now_ns), *judgements)
    return Survey(quorum=1, agreed=agreed, judgements=judged, vetoed=vetoed)


def _agreed(one: Statement) -> Agreed | None:
    """What one endpoint alone says."""
    if one.block is None or one.views is None:
        return None
    return Agreed(block=one.block, views=one.views, witnesses=(one.endpoint,))


def _judgement(one: Statement, agreed: Agreed | None, now_ns: int) -> Judgement:
    standing, said = _judge(one, agreed, now_ns)
    return Judgement(statement=one, standing=standing, said=said)


def is_fresh(block: BlockRef, now_ns: int) -> bool:
    """True if something may be decided on that final block now."""
    try:
        check_fresh(block, now_ns)
    except ChainStale:
        return False
    return True


def _judge(one: Statement, agreed: Agreed | None, now_ns: int) -> tuple[Standing, str]:
    if isinstance(one.fault, WrongNetwork):
        return Standing.FOREIGN, str(one.fault)
    if one.fault is not None and not isinstance(one.fault, ChainUnavailable):
        return Standing.GARBAGE, str(one.fault)
    if one.final is None:
        return Standing.HANGS, str(one.fault)
    if not is_fresh(one.final, now_ns):
        return Standing.LAGS, f"its newest final block {one.final.height} is not of the last minute"
    if agreed is None:
        return _undecided(one, one.final)
    return _compare(one, one.final, agreed)


def _undecided(one: Statement, final: BlockRef) -> tuple[Standing, str]:
    if one.fault is not None:
        return Standing.HANGS, str(one.fault)
    if one.block is None or one.views is None:
        return Standing.UNDECIDED, f"its newest final block is {final.height}"
    return Standing.UNDECIDED, f"block {one.block.height} is {one.block.hash[:12]} with {describe(one.views)}"


def _compare(one: Statement, final: BlockRef, agreed: Agreed) -> tuple[Standing, str]:
    height, count = agreed.block.height, len(agreed.witnesses)
    if final.height < height and one.block != agreed.block:
        return Standing.LAGS, f"its newest final block {final.height} is {height - final.height} behind"
    if one.block is None:
        return Standing.HANGS, str(one.fault)
    if one.block != agreed.block:
        return (
            Standing.FORKS,
            f"its block {height} is {one.block.hash[:12]}, at {count} others {agreed.block.hash[:12]}",
        )
    if one.views is None:
        return Standing.HANGS, str(one.fault)
    if one.views != agreed.views:
        return Standing.LIES, f"at block {height} it shows {_difference(one.views, agreed.views)}"
    return Standing.AGREES, f"agrees at block {height}"


def _difference(views: tuple[bytes, ...], agreed: tuple[bytes, ...]) -> str:
    if views[0] == agreed[0]:
        return "another record of the account than the others"
    shown, wanted = _keyset(views), _keyset(agreed)
    older = ", an older keyset," if shown and wanted and goes_backwards(shown, wanted) else ""
    return f"{describe(views)}{older} where others show {describe(agreed)}"


def _keyset(views: tuple[bytes, ...]) -> Keyset | None:
    try:
        running = running_part(read_views(views).state)
    except ChainAnswerInvalid:
        return None
    return None if running is None else running.keyset


def describe(views: tuple[bytes, ...]) -> str:
    """The state among `views` in a few words."""
    try:
        state = read_views(views).state
    except ChainAnswerInvalid:
        return "a state that cannot be read"
    running = running_part(state)
    of_whom = f" {state.recovery_id} of {state.recovering.account_id}" if isinstance(state, Recovery) else ""
    keyset = "" if running is None else f", epoch {running.keyset.epoch_id}, keyset {running.keyset.digest()[:12]}"
    return f"{type(state).__name__}{of_whom}{keyset}"


def read_views(views: tuple[bytes, ...]) -> ReadViews:
    """State and account record. Raises `ChainAnswerInvalid`."""
    try:
        state, account = views
        return ReadViews(state=read_state(state), account=decode_account(parse_json(account)))
    except ValueError as error:
        raise ChainAnswerInvalid(f"the views of the contract cannot be read: {error}") from None


# --- the operator's override ------------------------------------------------------------------------


def find_override(
    overrides: Sequence[QuorumOverride], recovery: Recovery, now_ns: int
) -> QuorumOverride | tuple[str, ...]:
    """An override that may stand for the quorum in this recovery, or why each one on record may not."""
    refused: list[str] = []
    for override in overrides:
        objections = "; ".join(_objections(override, recovery, now_ns))
        if not objections:
            return override
        refused.append(objections)
    return tuple(refused)


def _objections(override: QuorumOverride, recovery: Recovery, now_ns: int) -> Iterator[str]:
    wanted = recovery.recovering
    if override.account_id != wanted.account_id:
        yield f"it is for account {override.account_id}"
    if override.recovery_id != recovery.recovery_id:
        yield f"it is for recovery {override.recovery_id}"
    if override.tls_key != wanted.info.tls_public_key:
        yield f"it is for TLS key {override.tls_key}"
    if now_ns >= override.deadline_ns:
        yield "its deadline has passed"
    if override.used_at_ns is not None:
        yield "it was used"
