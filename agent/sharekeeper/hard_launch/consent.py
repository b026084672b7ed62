"""In hard launch evidence is the consent: there is nothing that an operator could approve or override."""

from collections.abc import Sequence
from typing import NoReturn

from sharekeeper.domain.backup import Approval, QuorumOverride
from sharekeeper.errors import PolicyRefused
from sharekeeper.ports import ApprovalStore, OverrideStore


class NoApprovals(ApprovalStore):
    """There is none, and none is taken."""

    def pending(self) -> Sequence[Approval]:
        """None."""
        return ()

    async def add(self, approval: Approval) -> None:
        """Raises `PolicyRefused`."""
        _refuse("approval", approval.account_id)

    async def spend(self, approval: Approval, recovery_id: int) -> None:
        """Raises `PolicyRefused`."""
        _refuse("approval", f"{approval.account_id} in recovery {recovery_id}")


class NoOverrides(OverrideStore):
    """There is none, and none is taken."""

    def pending(self) -> Sequence[QuorumOverride]:
        """None."""
        return ()

    async def add(self, override: QuorumOverride) -> None:
        """Raises `PolicyRefused`."""
        _refuse("override", override.account_id)

    async def spend(self, override: QuorumOverride, now_ns: int) -> None:
        """Raises `PolicyRefused`."""
        _refuse("override", f"{override.account_id} at {now_ns}")


def _refuse(what: str, whose: str) -> NoReturn:
    raise PolicyRefused(f"the {what} for {whose} is refused: in hard launch only evidence lets shares leave")
