"""The node's part in key events: it generates and reshares keys with its peers, stores its share and votes.

Level-triggered: each turn compares the attempt that the contract shows in progress with the one this node is at. An
attempt that the contract no longer shows is dropped with all its channels. So a restart costs at most the attempt in
progress, and one whose share is on disk already not even that: only the vote is left then.
"""

import asyncio
import logging
import secrets
from collections.abc import Collection, Coroutine
from typing import Any, Final, TypeVar

from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.adapters.transactions import NearCaller
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.keyset import DomainKey, KeyEventId, Keyset
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.domain.protocol_state import Participant
from sharekeeper.errors import HostFault, PeerFault, PeerRefused, SharekeeperError
from sharekeeper.ops.logs import log_event
from sharekeeper.ports import Clock
from sharekeeper.protocol.codec import encode_keyset
from sharekeeper_devnet.network.channels import PeerLine, RequestRefused
from sharekeeper_devnet.network.curves import domain_public_key
from sharekeeper_devnet.network.keygen import key_generation
from sharekeeper_devnet.network.messages import (
    AgreementReply,
    AgreementRequest,
    DealingReply,
    DealingRequest,
    KeyEventQuestion,
    KeyEventReply,
    Message,
    Refusal,
    ShareReply,
    ShareRequest,
)
from sharekeeper_devnet.network.resharing import resharing
from sharekeeper_devnet.network.session import NotYet, Session
from sharekeeper_devnet.network.sharing import Attempt, SharingFault
from sharekeeper_devnet.network.standing import MakingKeys, Standing

_LOG: Final = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.15
"""Pause before a peer is asked again, or a vote sent again."""

_PATIENCE_SECONDS: Final = 1.0
"""So long the leader waits for every dealer before it chooses among those that dealt."""

M = TypeVar("M", bound=Message)


class KeyEvents:
    """Takes part in one attempt at a time; `act` once per final block, `stop` at the end."""

    def __init__(self, *, identity: KeyPair, store: DirectoryKeyShareStore, caller: NearCaller, clock: Clock) -> None:
        self._identity = identity
        self._store = store
        self._caller = caller
        self._clock = clock
        self._attempt: Attempt | None = None
        self._session: Session | None = None
        self._part: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._started: KeyEventId | None = None

    async def act(self, standing: Standing) -> None:
        """This node is at the attempt in progress, or at none; as the leader it starts the next one."""
        attempt = standing.attempt if isinstance(standing, MakingKeys) else None
        if attempt != self._attempt:
            await self._end()
        if not isinstance(standing, MakingKeys):
            return
        if attempt is None:
            self._lead(standing)
        elif self._attempt is None:
            await self._begin(standing, attempt)

    async def stop(self) -> None:
        """No task is left."""
        await self._end()
        await _cancelled(self._starting)

    def answer(self, peer: TlsKey, question: KeyEventQuestion) -> KeyEventReply | Refusal:
        """What this node tells a recipient of the attempt it is at. Raises `RequestRefused`."""
        session = self._session
        if session is None or question.attempt != session.attempt.digest():
            return Refusal(reason="this node is not at that attempt")
        asker = next((party for party in session.attempt.recipients if party.tls_key == peer), None)
        if asker is None:
            raise RequestRefused("the attempt has no recipient with your TLS key")
        try:
            return _reply(session, asker.participant_id, question)
        except NotYet as wait:
            return Refusal(reason=f"not yet: {wait}")

    # --- as the leader --------------------------------------------------------------------------------

    def _lead(self, standing: MakingKeys) -> None:
        event = standing.event
        named = KeyEventId(epoch_id=event.epoch_id, domain_id=event.domain.domain_id, attempt_id=event.next_attempt_id)
        leads = standing.own == min(member.participant_id for member in event.participants.members)
        if leads and named != self._started and (self._starting is None or self._starting.done()):
            self._starting = _task(self._start(standing, named))

    async def _start(self, standing: MakingKeys, named: KeyEventId) -> None:
        method = "start_keygen_instance" if standing.public_key is None else "start_reshare_instance"
        try:
            await self._caller.call(method, {"key_event_id": _json(named)})
        except SharekeeperError as error:
            log_event(_LOG, logging.WARNING, "attempt not started", code=error.code, reason=str(error))
        else:
            self._started = named
            log_event(_LOG, logging.INFO, "attempt started", **_json(named))

    # --- one attempt ------------------------------------------------------------------------------------

    async def _begin(self, standing: MakingKeys, attempt: Attempt) -> None:
        self._attempt = attempt
        try:
            held = await self._store.held(attempt.key_event)
        except SharekeeperError as error:
            log_event(_LOG, logging.WARNING, "attempt lost", code=error.code, reason=str(error))
            return
        if held is None:
            self._session = _session(standing, attempt)
        if held is not None or (self._session is not None and self._session.is_recipient):
            self._part = _task(self._take_part(standing, attempt, held))

    async def _end(self) -> None:
        await _cancelled(self._part)
        self._attempt = self._session = self._part = None

    async def _take_part(self, standing: MakingKeys, attempt: Attempt, held: KeyShare | None) -> None:
        """This node holds its share of the attempt's key, durably, and has voted."""
        names = {member.participant_id: member for member in standing.peers}
        try:
            if held is None and self._session is not None:
                held = await _Recipient(self._session, standing.peers, self._identity, self._clock).key_share()
                await asyncio.shield(self._store.hold(held, height=standing.block.height))
                log_event(_LOG, logging.INFO, "share held", **_json(attempt.key_event))
        except SharingFault as fault:
            peer = names[fault.culprit].account_id if fault.culprit in names else "this node"
            log_event(_LOG, logging.WARNING, "attempt lost", peer=peer, reason=str(fault), **_json(attempt.key_event))
        except SharekeeperError as error:
            log_event(_LOG, logging.WARNING, "attempt lost", code=error.code, reason=str(error))
        if held is not None and not standing.has_voted():
            await self._vote(standing, held)

    async def _vote(self, standing: MakingKeys, share: KeyShare) -> None:
        arguments: dict[str, Any] = {"key_event_id": _json(share.key_id)}
        method = "vote_reshared"
        if standing.public_key is None:
            method = "vote_pk"
            arguments["public_key"] = _public_key_json(share)
        while True:
            try:
                await self._caller.call(method, arguments)
            except SharekeeperError as error:
                log_event(_LOG, logging.WARNING, "vote not counted", code=error.code, reason=str(error))
                await self._clock.sleep(_RETRY_SECONDS)
            else:
                log_event(_LOG, logging.INFO, "voted", method=method, **_json(share.key_id))
                return


class _Recipient:
    """The steps of `session.py` with peers, who are asked until they answer; cancelling it ends its channels."""

    def __init__(self, session: Session, peers: Collection[Participant], identity: KeyPair, clock: Clock) -> None:
        self._session = session
        self._attempt = session.attempt.digest()
        self._names = {peer.participant_id: peer.account_id for peer in peers}
        self._lines = {peer.participant_id: PeerLine(identity, peer) for peer in peers}
        self._clock = clock

    async def key_share(self) -> KeyShare:
        """This node's share of the key. Raises `SharingFault`."""
        try:
            return await self._key_share()
        finally:
            for line in self._lines.values():
                line.close()

    async def _key_share(self) -> KeyShare:
        session = self._session
        others = session.dealers - {session.own}
        collecting = [_task(self._take_dealing(dealer)) for dealer in others]
        try:
            await self._agree(collecting)
            recipients = session.recipients - {session.own}
            dealers = set(session.agreement().dealers) - {session.own}
            await _all(*(self._confirm(each) for each in recipients), *(self._take_share(each) for each in dealers))
        finally:
            for task in collecting:
                await _cancelled(task)
        return session.key_share()

    async def _agree(self, collecting: list["asyncio.Task[None]"]) -> None:
        session = self._session
        if session.own != session.leader:
            question = AgreementRequest(attempt=self._attempt)
            reply = await self._ask(session.leader, question, AgreementReply)
            while not session.adopt(reply.agreement):
                await _next_of(collecting)
            return
        if collecting:
            await asyncio.wait(collecting, timeout=_PATIENCE_SECONDS)
        while not session.choose():
            await _next_of(collecting)
        for dealer in session.misfits():
            log_event(_LOG, logging.WARNING, "peer shares another key", peer=self._names[dealer])

    async def _take_dealing(self, dealer: int) -> None:
        reply = await self._ask(dealer, DealingRequest(attempt=self._attempt), DealingReply)
        try:
            self._session.take_dealing(dealer, reply.dealing)
        except SharingFault as fault:
            log_event(_LOG, logging.WARNING, "bad dealing", peer=self._names[dealer], reason=str(fault))

    async def _confirm(self, recipient: int) -> None:
        reply = await self._ask(recipient, AgreementRequest(attempt=self._attempt), AgreementReply)
        self._session.confirm(recipient, reply.agreement)

    async def _take_share(self, dealer: int) -> None:
        reply = await self._ask(dealer, ShareRequest(attempt=self._attempt), ShareReply)
        self._session.take_share(dealer, reply.share)

    async def _ask(self, participant: int, question: Message, kind: type[M]) -> M:
        """The peer's answer; it is asked again until there is one. A peer that is lost is named in the log."""
        told = ""
        while True:
            try:
                return await self._lines[participant].ask(question, kind)
            except PeerRefused:
                pass  # it has not come so far yet, or no longer means this attempt
            except (PeerFault, HostFault, ValueError) as error:
                if str(error) != told:
                    told = str(error)
                    log_event(_LOG, logging.WARNING, "peer lost", peer=self._names[participant], reason=told)
            await self._clock.sleep(_RETRY_SECONDS)


def _session(standing: MakingKeys, attempt: Attempt) -> Session:
    if standing.public_key is None or standing.old_threshold is None:
        return key_generation(attempt, standing.own, secrets.randbelow)
    return resharing(
        attempt,
        own=standing.own,
        old_share=None if standing.old_share is None else standing.old_share.private_share,
        old_threshold=standing.old_threshold,
        public_key=standing.public_key.share_form(),
        random_below=secrets.randbelow,
    )


def _reply(session: Session, asker: int, question: KeyEventQuestion) -> KeyEventReply:
    match question:
        case DealingRequest():
            return DealingReply(dealing=session.dealing())
        case AgreementRequest():
            return AgreementReply(agreement=session.agreement())
        case ShareRequest():
            return ShareReply(share=session.share_for(asker))


def _json(event: KeyEventId) -> dict[str, int]:
    return {"epoch_id": event.epoch_id, "domain_id": event.domain_id, "attempt_id": event.attempt_id}


def _public_key_json(share: KeyShare) -> object:
    """The key as an entry of near/mpc's keyset has it."""
    event = share.key_id
    key = domain_public_key(share.curve, share.public_key)
    domain = DomainKey(domain_id=event.domain_id, attempt=event.attempt_id, public_key=key)
    entry: object = encode_keyset(Keyset(epoch_id=event.epoch_id, domains=(domain,)))["domains"][0]["key"]
    return entry


# --- tasks --------------------------------------------------------------------------------------------


def _task(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    task = asyncio.create_task(work)
    task.add_done_callback(_told)
    return task


def _told(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("unexpected error", exc_info=error)


async def _cancelled(task: "asyncio.Task[None] | None") -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait([task])


async def _all(*works: Coroutine[Any, Any, None]) -> None:
    """All are done; the first fault ends the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        for done in asyncio.as_completed(tasks):
            await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _next_of(tasks: list["asyncio.Task[None]"]) -> None:
    """One more of the tasks is done; never returns when all are."""
    waiting = [task for task in tasks if not task.done()]
    if not waiting:
        await asyncio.Event().wait()
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
