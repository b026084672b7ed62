"""The messages between two reference nodes: one encoding, total decoding."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.domain.keyset import Curve, KeysetDigest, Sha256Hex
from sharekeeper.protocol.codec import DecodeError
from sharekeeper.secret import Secret
from sharekeeper_devnet.network.curves import GROUPS
from sharekeeper_devnet.network.frost import Commitment
from sharekeeper_devnet.network.messages import (
    AgreementReply,
    AgreementRequest,
    CommitReply,
    CommitRequest,
    DealingReply,
    DealingRequest,
    Message,
    PrecomputeReply,
    PrecomputeRequest,
    PresignedRequest,
    Refusal,
    ShareReply,
    ShareRequest,
    SignReply,
    SignRequest,
    decode,
    encode,
)
from sharekeeper_devnet.network.session import Agreement
from sharekeeper_devnet.network.sharing import Dealing

POINT = GROUPS[Curve.ED25519].base_multiple(7)
COMMITMENT = Commitment(identifier=3, hiding=POINT, binding=GROUPS[Curve.ED25519].base_multiple(8))
MESSAGES: list[Message] = [
    CommitRequest(request_id=1, domain_id=2, payload=b"pay", keyset=KeysetDigest("ab" * 32)),
    CommitReply(commitment=COMMITMENT, verifying_share=POINT),
    SignRequest(commitments=(COMMITMENT,)),
    SignReply(share=bytes(range(32))),
    PrecomputeRequest(domain_id=2, keyset=KeysetDigest("ab" * 32)),
    PrecomputeReply(commitments=(COMMITMENT,), verifying_share=POINT),
    PresignedRequest(
        request_id=1, domain_id=2, payload=b"pay", keyset=KeysetDigest("ab" * 32), commitments=(COMMITMENT,)
    ),
    DealingRequest(attempt=Sha256Hex("cd" * 32)),
    DealingReply(dealing=Dealing(commitments=(b"any", b"bytes"), proof_point=b"more", proof_scalar=bytes(32))),
    AgreementRequest(attempt=Sha256Hex("cd" * 32)),
    AgreementReply(agreement=Agreement(dealers=(0, 2), digest=Sha256Hex("ef" * 32))),
    ShareRequest(attempt=Sha256Hex("cd" * 32)),
    ShareReply(share=Secret(bytes(range(32)))),
    Refusal(reason="no"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_read_as_it_was_written(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        message = decode(data)
    except DecodeError:
        return
    assert decode(encode(message)) == message


@given(message=st.sampled_from(MESSAGES), data=st.data())
def test_a_message_with_a_wrong_value_is_refused(message: Message, data: st.DataObject) -> None:
    body = json.loads(encode(message))
    name = data.draw(st.sampled_from(sorted(set(body) - {"reason", "commitments", "dealers"})))
    body[name] = data.draw(st.sampled_from([None, True, -1, [], {}, "zz", "not hexadecimal"]))
    with pytest.raises(DecodeError):
        decode(json.dumps(body).encode())


def test_points_outside_the_group_are_refused() -> None:
    for point in (bytes(32), b"\x01" + bytes(31)):
        body = json.loads(encode(MESSAGES[1]))
        for name in ("hiding", "binding", "verifying_share"):
            with pytest.raises(DecodeError, match="prime-order"):
                decode(json.dumps({**body, name: point.hex()}).encode())


def test_a_long_refusal_is_cut() -> None:
    assert decode(encode(Refusal(reason="x" * 10_000))) == Refusal(reason="x" * 300)
