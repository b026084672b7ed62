"""How old a final block may be when something is decided on it (design decision 6)."""

from typing import Final

from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.errors import ChainStale
from sharekeeper.spec import MAX_BLOCK_AGE_SECONDS

_NS: Final = 1_000_000_000


def check_fresh(block: BlockRef, now_ns: int) -> None:
    """Returns when a final block is recent enough to act on (design decision 6). Raises `ChainStale`."""
    age_seconds = (now_ns - block.timestamp_ns) / _NS
    if abs(age_seconds) > MAX_BLOCK_AGE_SECONDS:
        raise ChainStale(
            f"the newest final block {block.height} is {age_seconds:.0f} s old: check that the NEAR node is in sync "
            "and that this machine's clock is right"
        )
