"""A chain of a test that shows what the contract allows."""

from sharekeeper.domain.attestation import AllowedCode
from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.ports import ChainReader, Clock


class AllowingChain(ChainReader):
    """Shows `allowed` at a block as old as the clock says; fails with `fault` while there is one."""

    def __init__(self, allowed: AllowedCode, clock: Clock) -> None:
        self.allowed, self._clock = allowed, clock
        self.fault = None
        self.asked_at = []

    async def head(self):
        if self.fault is not None:
            raise self.fault
        return BlockRef(height=1000, hash="1000", timestamp_ns=self._clock.wall_ns())

    async def allowed_code(self, at):
        if self.fault is not None:
            raise self.fault
        self.asked_at.append(at)
        return self.allowed
