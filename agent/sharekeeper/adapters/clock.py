"""The machine's clock."""

import asyncio
import time

from sharekeeper.ports import Clock


class SystemClock(Clock):
    """Wall time, monotonic time and sleep of this machine."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970, UTC; as right as the machine's clock is."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Returns after `seconds`."""
        await asyncio.sleep(seconds)
