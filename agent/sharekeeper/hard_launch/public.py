"""A machine without web endpoints shows its public data through the same server, which then admits nobody."""

from typing import NoReturn

from sharekeeper.domain.ephemeral import ExchangeId
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import UnknownExchange


class NoExchanges:
    """No exchange is under way, ever, and no peer is expected."""

    async def expected_peers(self) -> tuple[TlsKey, ...]:
        """Nobody."""
        return ()

    def admit(self, peer: TlsKey, purpose: Purpose | None, exchange_id: ExchangeId) -> None:
        """Raises `UnknownExchange`."""
        _refuse(peer, purpose, exchange_id)

    async def attest(self, peer: TlsKey, exchange_id: ExchangeId, body: bytes) -> bytes:
        """Raises `UnknownExchange`."""
        _refuse(peer, exchange_id, len(body))

    async def serve(self, peer: TlsKey, purpose: Purpose, exchange_id: ExchangeId, body: bytes) -> bytes:
        """Raises `UnknownExchange`."""
        _refuse(peer, purpose, exchange_id, len(body))


def _refuse(*_asked: object) -> NoReturn:
    raise UnknownExchange("this machine has no web endpoints: its account's transfer is p2p, or it is a backup service")
