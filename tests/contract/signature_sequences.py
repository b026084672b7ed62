"""The call sequence of a signature that the network makes for a user."""

from tests.contract.steps import Look, Sequence, answer, ask, init
from tests.contract.world import CAITSITH_DOMAIN, CAROL, FROST_DOMAIN, MALLORY, PAYLOAD, sign_arguments, signature

SIGNATURE_SEQUENCES = (
    Sequence(
        name="a signature request is answered by a signature that verifies",
        steps=(
            init(),
            ask(10, sign_arguments(CAITSITH_DOMAIN), refusal="domain 0 is of CaitSith"),
            ask(10, sign_arguments(7), refusal="there is no domain 7"),
            ask(10, sign_arguments(payload=b""), refusal="request.payload must be hexadecimal of 1 to 1024 bytes"),
            ask(10, sign_arguments(payload=bytes(1025)), refusal="request.payload must be hexadecimal of 1 to 1024"),
            ask(10, result={"request_id": 1}),
            Look(
                method="signature_request",
                args={"request_id": 1},
                height=10,
                value={
                    "request_id": 1,
                    "domain_id": FROST_DOMAIN,
                    "payload": PAYLOAD.hex(),
                    "signature": None,
                    "requested_in": 10,
                    "expires_on": 30,
                },
            ),
            Look(method="open_signature_requests", height=29, path=(0, "request_id"), value=1),
            Look(method="open_signature_requests", height=30, value=[]),
            answer(11, 2, refusal="signature request 2 is unknown or forgotten"),
            answer(11, caller=MALLORY, refusal="mallory.test.near is no participant"),
            answer(11, given=signature(b"other"), refusal="the signature does not verify"),
            answer(11, given="00" * 63, refusal="signature must be hexadecimal of 64 to 64 bytes"),
            answer(11, given="AA" * 64, refusal="signature must be lower-case hexadecimal"),
            answer(12),
            answer(13, caller=CAROL),
            answer(13, given=signature(b"other"), refusal="the signature does not verify"),
            Look(
                method="signature_request",
                args={"request_id": 1},
                height=13,
                path=("signature",),
                value=signature(),
            ),
            Look(method="open_signature_requests", height=13, value=[]),
            ask(14, result={"request_id": 2}),
            answer(34, 2, refusal="signature request 2 expired at block 34"),
            Look(method="signature_request", args={"request_id": 3}, height=34, value=None),
        ),
    ),
)
