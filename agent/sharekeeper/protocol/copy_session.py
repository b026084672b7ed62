"""The exchanges between the two backup services of one account: a copy, and a check (hard launch alone).

Rules, beside those of `session`:

1. The taker opens. The holder stands on the node's side, with everything that follows for hellos and report data;
   the purpose keeps a copy apart from a backup. Both must run a backup service's code.
2. Copy: the holder gives, the taker takes, as in a backup.
3. Check: both hold the shares, and none travel. The holder sends a receipt at once. It names the key-shares message
   that the shares would be sent as, so it fits only where both hold the very same.
4. Neither exists in soft launch.
"""

from typing import Any

from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyshare import KeyShare, Purpose, check_shares
from sharekeeper.protocol.messages import KeyShares, encode_message, payload_digest
from sharekeeper.protocol.session import Nonces, Session
from sharekeeper.protocol.session_tables import ASKER, GIVER, PROVER, TAKER


class SiblingSession(Session):
    """One side of an exchange between backup services; see the subclasses."""

    def __init__(self, *, nonces: Nonces, **facts: Any) -> None:  # noqa: ANN401  # what every session takes
        """As `Session`; always attested."""
        super().__init__(nonces=nonces, **facts)

    def code_of(self, side: Role) -> Role:  # noqa: ARG002  # whichever
        """A backup service's, on both sides."""
        return Role.BACKUP_SERVICE


class CopyTaker(SiblingSession):
    """The backup service that lacks the shares: it opens and takes."""

    purpose = Purpose.COPY
    role = Role.BACKUP_SERVICE
    transfer = TAKER


class CopyHolder(SiblingSession):
    """The backup service that has them: it answers and gives."""

    purpose = Purpose.COPY
    role = Role.NODE
    transfer = GIVER


class _Check(SiblingSession):
    def hold(self, shares: tuple[KeyShare, ...]) -> None:
        """These are the shares that this side holds. Raises `SharesMismatch` if they are not the keyset's."""
        check_shares(self.keyset, shares)
        self._payload_digest = payload_digest(encode_message(KeyShares(shares=shares)))


class CheckAsker(_Check):
    """The backup service that wants to know: it opens."""

    purpose = Purpose.CHECK
    role = Role.BACKUP_SERVICE
    transfer = ASKER


class CheckHolder(_Check):
    """The backup service that is asked: it answers with its receipt."""

    purpose = Purpose.CHECK
    role = Role.NODE
    transfer = PROVER
