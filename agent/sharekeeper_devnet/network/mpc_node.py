"""The reference MPC node: it signs while a final Running names its TLS key, takes part in key events, or is idle.

One loop reads the contract at each new final block, answers the open signature requests whose turn is this node's
and takes part in the attempt in progress; a listener serves what other nodes ask for. `GET /health` says whether it
signs, and if not, why.
"""

import asyncio
import logging
import secrets
from typing import Final, NoReturn

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.adapters.tls_channel import ChannelListener
from sharekeeper.adapters.transactions import NearCaller
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.errors import SharekeeperError
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import Clock
from sharekeeper_devnet.network.channels import PEER_TIMEOUTS
from sharekeeper_devnet.network.config import MpcNodeConfig
from sharekeeper_devnet.network.coordinator import Coordinator, NotSigned
from sharekeeper_devnet.network.health import HealthServer
from sharekeeper_devnet.network.key_events import KeyEvents
from sharekeeper_devnet.network.presigning import KeptNonces, Presigning
from sharekeeper_devnet.network.requests import SignatureRequest, leader
from sharekeeper_devnet.network.service import Service
from sharekeeper_devnet.network.signer import Signer
from sharekeeper_devnet.network.standing import Idle, MakingKeys, Signing, Standing, StandingReader, pins

_LOG: Final = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.4
"""How often the node asks for a newer final block."""

MAX_LEADERS: Final = 32
"""Channels served at the same time: as many as requests may be open."""


class MpcNode:
    """One node; everything it needs is passed in. `rpc` stays the caller's to close."""

    def __init__(
        self,
        *,
        config: MpcNodeConfig,
        tls_key: KeyPair,
        account_key: KeyPair,
        rpc: NearRpc,
        clock: Clock,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._clock = clock
        self._poll_seconds = poll_seconds
        store = DirectoryKeyShareStore(config.keyshares_dir)
        self._reader = StandingReader(
            rpc=rpc,
            store=store,
            account_id=config.account_id,
            tls_key=tls_key.tls_key,
        )
        self._caller = NearCaller(
            rpc=rpc,
            account_id=config.account_id,
            key=account_key,
            contract_id=config.near.contract_id,
            clock=clock,
        )
        self._presigning = Presigning(identity=tls_key, clock=clock)
        self._kept_nonces = KeptNonces()
        self._coordinator = Coordinator(identity=tls_key, random_bytes=secrets.token_bytes, presigning=self._presigning)
        self._key_events = KeyEvents(identity=tls_key, store=store, caller=self._caller, clock=clock)
        signer = Signer(reader=self._reader, random_bytes=secrets.token_bytes, kept=self._kept_nonces)
        service = Service(signer=signer, key_events=self._key_events)
        self._listener = ChannelListener(
            config.listen.host,
            config.listen.port,
            tls_key,
            self._expected_peers,
            service.serve,
            timeouts=PEER_TIMEOUTS,
            max_sessions=MAX_LEADERS,
        )
        self._health = HealthServer(config.health_address, lambda: self._reader.latest)
        self._answering: dict[int, asyncio.Task[None]] = {}
        self._answered: set[int] = set()
        self._pins: frozenset[TlsKey] = frozenset()
        self._last: Standing = self._reader.latest

    @property
    def health_port(self) -> int:
        """The port of `GET /health`."""
        return self._health.port

    async def start(self) -> None:
        """The node answers on both ports; it signs once `run` has read the chain. Raises `AddressInUse`."""
        await self._listener.start()
        await self._health.start()

    async def run(self) -> NoReturn:
        """Takes part in the network until cancelled. Faults of chain, peers and disk make it idle, no more."""
        seen: BlockRef | None = None
        while True:
            standing = await self._reader.read()
            self._note(standing)
            if standing.block != seen or isinstance(standing, Idle):
                seen = standing.block
                await self._act(standing)
            await self._clock.sleep(self._poll_seconds)

    async def stop(self) -> None:
        """No port is open, no task is left."""
        await self._cancel_answers()
        await self._key_events.stop()
        await self._presigning.stop()
        await self._listener.stop()
        await self._health.stop()

    async def _act(self, standing: Standing) -> None:
        if pins(standing) != self._pins:
            self._pins = pins(standing)
            await self._cancel_answers()  # ends the channels this node opened; they start again with the new keys
        await self._enforce_pins()
        await self._key_events.act(standing)
        if not isinstance(standing, Signing):
            return
        self._kept_nonces.purge(standing)
        await self._presigning.act(standing)
        self._answered &= {request.request_id for request in standing.requests}
        for request in standing.requests:
            if self._is_mine(standing, request):
                task = asyncio.create_task(self._answer(standing, request))
                self._answering[request.request_id] = task
                task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._answering = {number: other for number, other in self._answering.items() if other is not task}
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("unexpected error", exc_info=error)

    def _is_mine(self, standing: Signing, request: SignatureRequest) -> bool:
        """True when this node leads the open request at this block and is not at it already."""
        return (
            request.request_id not in self._answering
            and request.request_id not in self._answered
            and standing.open_request(request.request_id) is not None
            and leader(request, standing.running.participants, standing.block.height) == standing.me
        )

    async def _answer(self, standing: Signing, request: SignatureRequest) -> None:
        number = request.request_id
        try:
            signature = await self._coordinator.signature(standing, request)
            await self._caller.call("respond", {"request_id": number, "signature": signature.hex()})
        except NotSigned as error:
            log_event(_LOG, logging.WARNING, "not signed", request=number, reason=str(error))
        except SharekeeperError as error:
            log_event(_LOG, logging.WARNING, "not answered", request=number, code=error.code, reason=str(error))
        else:
            self._answered.add(number)
            log_event(_LOG, logging.INFO, "answered", request=number, height=standing.block.height)

    async def _expected_peers(self) -> tuple[TlsKey, ...]:
        return tuple(pins(await self._reader.read()))

    async def _enforce_pins(self) -> None:
        try:
            await self._listener.enforce_pins()
        except SharekeeperError as error:
            log_event(_LOG, logging.WARNING, "pins unknown", code=error.code, reason=str(error))

    async def _cancel_answers(self) -> None:
        tasks = list(self._answering.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _note(self, standing: Standing) -> None:
        """One line when the node starts to sign, or is idle for another reason than before."""
        before, self._last = self._last, standing
        match standing:
            case Signing() if not isinstance(before, Signing):
                log_event(
                    _LOG, logging.INFO, "signing", epoch=standing.running.keyset.epoch_id, height=standing.block.height
                )
            case Idle() if not isinstance(before, Idle) or before.reason != standing.reason:
                log_event(_LOG, logging.INFO, "idle", reason=standing.reason)
            case MakingKeys() if not isinstance(before, MakingKeys) or before.reason != standing.reason:
                log_event(_LOG, logging.INFO, "making keys", reason=standing.reason)
            case _:
                pass
