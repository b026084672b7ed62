"""The MPC node runs or stands still, as was decided last: ensured at once, again every so often, and after a failure."""

import logging
from typing import Final

from sharekeeper.errors import SharekeeperError
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import Clock, NodeSupervisor
from sharekeeper.protocol.recovery_protocol import NodeRun
from sharekeeper.reconcile import Backoff, ChainWatch, Faults, Worker

_LOG: Final = logging.getLogger(__name__)
TOPIC: Final = "MPC node"
_LOOK_AGAIN_SECONDS: Final = 15.0
"""The node is started or stopped again at least this often."""


class Supervision:
    """What the supervisor was asked for, and when. It is asked for one thing at a time."""

    def __init__(self, supervisor: NodeSupervisor, *, watch: ChainWatch, clock: Clock, faults: Faults) -> None:
        self._supervisor = supervisor
        self._watch = watch
        self._clock = clock
        self._faults = faults
        self._worker = Worker(self._ensure)
        self._backoff = Backoff(clock)
        self._ensured: tuple[NodeRun, float] | None = None

    async def follow(self, wanted: NodeRun) -> None:
        """The supervisor is at work on `wanted` if that is due, and on nothing else."""
        await self._worker.follow(self._due(wanted))

    async def stop(self) -> None:
        """The supervisor is at work on nothing; the node is left as it is."""
        await self._worker.stop()

    @property
    def running(self) -> bool | None:
        """What the supervisor last made sure of; None before, or while it is at work."""
        return None if self._ensured is None else self._ensured[0] is NodeRun.RUN

    def _due(self, wanted: NodeRun) -> NodeRun | None:
        self._worker.reap()
        if wanted is NodeRun.LEAVE:
            return None
        if wanted is self._worker.basis:
            return wanted
        if self._ensured is not None and self._ensured[0] is wanted:
            return wanted if self._clock.monotonic() - self._ensured[1] >= _LOOK_AGAIN_SECONDS else None
        return wanted if self._backoff.due(wanted) else None

    async def _ensure(self, wanted: NodeRun) -> None:
        self._ensured = None
        with self._faults.duty(TOPIC):
            try:
                if wanted is NodeRun.RUN:
                    changed = await self._supervisor.ensure_running()
                else:
                    changed = await self._supervisor.ensure_stopped()
            except SharekeeperError:
                self._backoff.tried(wanted, block_seconds=self._watch.pause_seconds)
                raise
            self._ensured = (wanted, self._clock.monotonic())
            if changed:
                log_event(_LOG, logging.INFO, "MPC node " + ("started" if wanted is NodeRun.RUN else "stopped"))
