"""What the backup service does with several NEAR endpoints (design decision 6; ADR 12).

`EndpointWatch` compares them about once a minute, so that a broken one is known before the worst day. `ReleaseGate`
asks them when shares are to leave or backups to be destroyed; everything else rests on the own node alone.
"""

import logging
from collections.abc import Callable
from typing import Final

from sharekeeper.domain.backup import QuorumOverride
from sharekeeper.domain.protocol_state import Recovery
from sharekeeper.errors import NoQuorum
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import ChainTruth, Clock, OverrideStore
from sharekeeper.protocol.copies import GiveCopy
from sharekeeper.protocol.monitoring import DestroyOlder, HandOut
from sharekeeper.protocol.quorum import (
    FAULT_OF,
    Agreed,
    Judgement,
    ReadViews,
    Standing,
    Survey,
    describe,
    find_override,
    read_views,
)
from sharekeeper.reconcile import Faults

_LOG: Final = logging.getLogger(__name__)
COMPARE_EVERY_SECONDS: Final = 60.0
"""How often all endpoints are asked while nothing is to be released."""
_PROVEN: Final = frozenset({Standing.FORKS, Standing.LIES, Standing.GARBAGE, Standing.FOREIGN})
"""Standings that need no more time to be sure of."""

Decide = Callable[[ReadViews], object]
"""The step that the backup service would decide on from those views."""


class EndpointWatch:
    """Which endpoints agree, as of the last comparison; a fault for each that does not, until it does again."""

    def __init__(self, truth: ChainTruth, faults: Faults, clock: Clock) -> None:
        self.truth: Final = truth
        self._faults = faults
        self._clock = clock
        self.last: Survey | None = None
        """The last comparison."""
        self.compared_at_ns: int | None = None
        """When that was (wall time)."""
        self.faults_total: dict[tuple[str, str], int] = {}
        """How often an endpoint did not agree, by name and code of the fault."""

    @property
    def alone(self) -> bool:
        """The own node is the only endpoint: what it says is believed."""
        return len(self.truth.endpoints) == 1

    async def run(self) -> None:
        """Compares for ever; with one endpoint there is nothing to compare, and nothing is asked."""
        while not self.alone:
            await self.compare()
            await self._clock.sleep(COMPARE_EVERY_SECONDS)

    async def compare(self) -> None:
        """All endpoints have been asked, and the faults say what is true of them now."""
        survey = await self.truth.compare()
        self.last, self.compared_at_ns = survey, self._clock.wall_ns()
        for judgement in survey.judgements:
            if judgement.standing in FAULT_OF:
                self._note(judgement)
            elif judgement.standing is Standing.AGREES:
                self._faults.clear(_topic(judgement))
        if survey.agreed is None:
            self._faults.note("quorum", survey.missing())
        else:
            self._faults.clear("quorum")

    def learn(self, survey: Survey) -> None:
        """What a survey for a release proves against endpoints is a fault at once; it ends with a comparison."""
        for judgement in survey.judgements:
            if judgement.standing in _PROVEN and not self.alone:
                self._note(judgement)

    def _note(self, judgement: Judgement) -> None:
        fault = FAULT_OF[judgement.standing](f"{judgement.endpoint} {judgement.standing}: {judgement.said}")
        key = (judgement.endpoint, fault.code)
        self.faults_total[key] = self.faults_total.get(key, 0) + 1
        self._faults.note(_topic(judgement), fault)


def _topic(judgement: Judgement) -> str:
    return f"endpoint {judgement.endpoint}"


class ReleaseGate:
    """Lets a step pass if a quorum of endpoints, at one block, calls for the same."""

    def __init__(self, watch: EndpointWatch, overrides: OverrideStore, clock: Clock, decide: Decide) -> None:
        self._truth = watch.truth
        self._watch = watch
        self._overrides = overrides
        self._clock = clock
        self._decide = decide
        self.overridden_total = 0
        """Hand-outs that left on the operator's word instead of a quorum's."""

    async def pass_destruction(self, step: DestroyOlder) -> None:
        """Returns if a quorum calls for `step`. Raises `NoQuorum`, `ChainAnswerInvalid`."""
        survey = await self._survey()
        if survey.agreed is None:
            raise survey.missing()
        _confirm(survey.agreed, step, self._decide)

    async def pass_copy(self, step: GiveCopy, decide: Decide) -> None:
        """Returns if a quorum calls for `step`, by what `decide` says of views. Raises `NoQuorum`, `ChainAnswerInvalid`."""
        survey = await self._survey()
        if survey.agreed is None:
            raise survey.missing()
        _confirm(survey.agreed, step, decide)

    async def pass_hand_out(self, step: HandOut) -> QuorumOverride | None:
        """Returns if a quorum calls for `step`, or else the override that stands for it, to be spent.

        An override stands for a quorum that is missing, never against one that says something else.

        Raises:
            NoQuorum: neither.
            PolicyRefused: the overrides cannot be read, or the own node does not have the override's block as final.
            ChainFault: the own node, asked about the override's block.
        """
        survey = await self._survey()
        if survey.agreed is not None:
            _confirm(survey.agreed, step, self._decide)
            return None
        override = find_override(self._overrides.pending(), step.recovery, self._clock.wall_ns())
        if not isinstance(override, QuorumOverride):
            raise _without_override(survey, override)
        if self._decide(await self._truth.own_views(override.block_hash)) != step:
            raise NoQuorum(
                f"the override names block {override.block_hash}, at which the own node does not show recovery "
                f"{step.recovery.recovery_id} as it is now: make another that names a newer block"
            )
        return override

    async def spend(self, override: QuorumOverride, recovery: Recovery) -> None:
        """The override is used, and everybody is told. Raises `PolicyRefused`, `StoreFailed`."""
        await self._overrides.spend(override, self._clock.wall_ns())
        self.overridden_total += 1
        log_event(
            _LOG,
            logging.ERROR,
            "key shares are released on the operator's override, without a quorum of NEAR endpoints",
            recovery_id=recovery.recovery_id,
            tls_public_key=str(override.tls_key),
            block_hash=override.block_hash,
        )

    async def _survey(self) -> Survey:
        survey = await self._truth.survey()
        self._watch.learn(survey)
        return survey


def _confirm(agreed: Agreed, step: HandOut | DestroyOlder | GiveCopy, decide: Decide) -> None:
    if decide(read_views(agreed.views)) != step:
        raise NoQuorum(
            f"at block {agreed.block.height} {' and '.join(agreed.witnesses)} show {describe(agreed.views)}, which "
            "does not call for what the own node shows: one of them is behind or lies; compare them with "
            "`sharekeeper chain quorum`"
        )


def _without_override(survey: Survey, refused: tuple[str, ...]) -> NoQuorum:
    missing = survey.missing()
    return NoQuorum(f"{missing}; no override on record fits ({' | '.join(refused)})") if refused else missing
