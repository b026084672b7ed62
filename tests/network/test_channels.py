"""Questions to one peer over one channel that outlives faults."""

import asyncio
import secrets

import pytest

from sharekeeper.adapters.tls_channel import AuthenticatedChannel, ChannelListener
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.domain.protocol_state import Participant, ParticipantInfo
from sharekeeper.errors import PeerFault, PeerRefused, ProtocolViolation
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.channels import PeerLine, receive_any, send
from sharekeeper_devnet.network.messages import AgreementReply, Refusal, ShareReply, ShareRequest, SignReply

QUESTION = ShareRequest(attempt=Sha256Hex("00" * 32))
ANSWER = ShareReply(share=Secret(bytes(range(32))))


@pytest.fixture
async def peer():
    """A peer that answers from a list of what to say next; None ends the channel. Its channels are counted."""
    own, other = (KeyPair.generate(secrets.token_bytes(32)) for _ in range(2))
    answers, channels = [], []

    async def pins():
        return other.tls_key

    async def serve(channel: AuthenticatedChannel) -> None:
        channels.append(channel)
        while True:
            await receive_any(channel)
            answer = answers.pop(0)
            if answer is None:
                await channel.close()
                return
            await send(channel, answer)

    listener = ChannelListener("127.0.0.1", 0, own, pins, serve)
    await listener.start()
    info = ParticipantInfo(url=f"http://127.0.0.1:{listener.port}", tls_public_key=own.tls_key)
    line = PeerLine(other, Participant(account_id=AccountId("p.near"), participant_id=0, info=info))
    yield line, answers, channels
    line.close()
    await listener.stop()


async def test_questions_share_a_channel_refusals_included(peer) -> None:
    line, answers, channels = peer
    answers += [ANSWER, Refusal(reason="not yet"), ANSWER]
    assert await line.ask(QUESTION, ShareReply) == ANSWER
    with pytest.raises(PeerRefused, match="not yet"):
        await line.ask(QUESTION, ShareReply)
    assert await line.ask(QUESTION, ShareReply) == ANSWER
    assert len(channels) == 1


async def test_a_channel_that_ended_is_opened_anew_without_a_fault(peer) -> None:
    line, answers, channels = peer
    answers += [ANSWER, None, ANSWER]
    assert await line.ask(QUESTION, ShareReply) == ANSWER
    assert await line.ask(QUESTION, ShareReply) == ANSWER
    assert len(channels) == 2


async def test_a_fresh_channel_that_ends_or_answers_wrongly_is_a_fault(peer) -> None:
    line, answers, channels = peer
    answers += [None, SignReply(share=bytes(32)), ANSWER]
    with pytest.raises(PeerFault):
        await line.ask(QUESTION, ShareReply)
    line.close()
    with pytest.raises(ProtocolViolation, match="expected AgreementReply, the peer sent SignReply"):
        await line.ask(QUESTION, AgreementReply)
    assert await line.ask(QUESTION, ShareReply) == ANSWER
    assert len(channels) == 2


async def test_a_cancelled_question_does_not_spoil_the_next(peer) -> None:
    line, answers, _channels = peer
    answers += [ANSWER]
    assert await line.ask(QUESTION, ShareReply) == ANSWER
    waiting = asyncio.create_task(line.ask(QUESTION, ShareReply))
    waiting.cancel()
    await asyncio.wait([waiting])
    answers += [ANSWER, ANSWER]
    assert await line.ask(QUESTION, ShareReply) == ANSWER
