"""Call sequences, written once and run against every form of the contract.

A `Sequence` is data: steps in order, each with what must come of it. A `Layer` is one form of the contract: its
Python sources, its wasm, or the wasm behind a chain's RPC. Heights only grow; a layer with a chain of its own brings
it to the height of the step first.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.contract.world import (
    ALICE,
    BOB,
    CAITSITH_DOMAIN,
    CAROL,
    CONTRACT,
    ERIN,
    FROST_DOMAIN,
    MALLORY,
    PAYLOAD,
    info,
    init_arguments,
    key,
    keyset_digest,
    node_signer,
    node_tls,
    recovery_arguments,
    sign_arguments,
    signature,
    url,
)


class RefusedError(Exception):
    """The contract refused; the text is its sentence."""


class Layer(Protocol):
    """One form of the contract. Keys are names (world.py); both methods raise RefusedError."""

    def call(self, *, caller: str, signer: str, method: str, args: Any, height: int) -> Any: ...

    def view(self, *, method: str, args: Any, height: int) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that returns `result`, or is refused with a sentence that contains `refusal`."""

    method: str
    caller: str
    signer: str
    args: Any
    height: int
    result: Any = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A view whose answer has `value` at `path`, or which is refused."""

    method: str
    args: Any = field(default_factory=dict)
    height: int
    path: tuple[str | int, ...] = ()
    value: Any = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    name: str
    steps: tuple[Call | Look, ...]


def run(layer: Layer, sequence: Sequence) -> None:
    """Plays the steps; fails at the first that does not come out as written."""
    for number, step in enumerate(sequence.steps, 1):
        where = f"{sequence.name}, step {number}, {step.method}"
        outcome, refusal = play(layer, step)
        if step.refusal is None:
            assert refusal is None, f"{where}: refused: {refusal}"
            assert outcome == (step.result if isinstance(step, Call) else step.value), f"{where}: {outcome}"
        else:
            assert refusal is not None, f"{where}: accepted"
            assert step.refusal in refusal, f"{where}: refused otherwise: {refusal}"


def play(layer: Layer, step: Call | Look) -> tuple[Any, str | None]:
    """What the step returned, or the sentence it was refused with."""
    try:
        return take(layer, step), None
    except RefusedError as refused:
        return None, str(refused)


def take(layer: Layer, step: Call | Look) -> Any:
    if isinstance(step, Call):
        return layer.call(
            caller=step.caller, signer=step.signer, method=step.method, args=step.args, height=step.height
        )
    answer = layer.view(method=step.method, args=step.args, height=step.height)
    for part in step.path:
        answer = answer[part]
    return answer


NEW = "alice replacement access key"
NEW_TLS = "alice replacement TLS key"
BACKUP = "alice backup access key"
BACKUP_TLS = "alice backup TLS key"
OPERATOR = "alice operator key"


def init(height: int = 1, **expected: Any) -> Call:
    return Call(
        method="init", caller=CONTRACT, signer="the contract's key", args=init_arguments(), height=height, **expected
    )


def register(height: int, *, caller: str = ALICE, signer: str = BACKUP, tls: str = BACKUP_TLS, **expected: Any) -> Call:
    args = {"backup_service_info": {"public_key": key(tls)}}
    return Call(method="register_backup_service", caller=caller, signer=signer, args=args, height=height, **expected)


def submit(height: int, *, caller: str, signer: str, tls: str, address: str, **expected: Any) -> Call:
    args = {"participant_info": info(tls, address)}
    return Call(method="submit_participant_info", caller=caller, signer=signer, args=args, height=height, **expected)


def submit_recovery(
    height: int, *, caller: str = ALICE, signer: str = NEW, tls: str = NEW_TLS, args: Any = None, **expected: Any
) -> Call:
    return Call(
        method="submit_participant_recovery_info",
        caller=caller,
        signer=signer,
        args=args or recovery_arguments(caller, tls),
        height=height,
        **expected,
    )


def confirm(height: int, recovery_id: int = 1, *, caller: str = ALICE, signer: str = BACKUP, **expected: Any) -> Call:
    args = {"recovery_id": recovery_id}
    return Call(method="confirm_key_share_delivery", caller=caller, signer=signer, args=args, height=height, **expected)


def conclude(height: int, recovery_id: int = 1, *, signer: str = NEW, digest: str = "", **expected: Any) -> Call:
    args = {"recovery_id": recovery_id, "expected_keyset": digest or keyset_digest()}
    return Call(method="conclude_recovery", caller=ALICE, signer=signer, args=args, height=height, **expected)


def cancel(height: int, recovery_id: int = 1, *, caller: str = ALICE, signer: str, **expected: Any) -> Call:
    args = {"recovery_id": recovery_id}
    return Call(method="cancel_recovery", caller=caller, signer=signer, args=args, height=height, **expected)


def expire(height: int, recovery_id: int = 1, *, caller: str = MALLORY, signer: str = "any", **expected: Any) -> Call:
    args = {"recovery_id": recovery_id}
    return Call(method="expire_recovery", caller=caller, signer=signer, args=args, height=height, **expected)


def waive(height: int, *, caller: str, signer: str = "", account: str = ALICE, **expected: Any) -> Call:
    signer = signer or node_signer(caller)
    args = {"account_id": account}
    return Call(method="waive_recovery_cooldown", caller=caller, signer=signer, args=args, height=height, **expected)


def change_url(height: int, address: Any, *, caller: str = ALICE, signer: str = "", **expected: Any) -> Call:
    signer = signer or node_signer(caller)
    args = {"url": address}
    return Call(method="update_participant_url", caller=caller, signer=signer, args=args, height=height, **expected)


def ask(height: int, args: Any = None, *, caller: str = MALLORY, **expected: Any) -> Call:
    args = args or sign_arguments()
    return Call(method="sign", caller=caller, signer=f"{caller} key", args=args, height=height, **expected)


def answer(height: int, request_id: int = 1, *, caller: str = BOB, given: str = "", **expected: Any) -> Call:
    args = {"request_id": request_id, "signature": given or signature()}
    return Call(method="respond", caller=caller, signer=f"{caller} responder", args=args, height=height, **expected)


def shows(height: int, *path: str | int, value: Any) -> Look:
    return Look(method="state", height=height, path=path, value=value)


def shows_account(height: int, *path: str | int, value: Any, account: str = ALICE) -> Look:
    return Look(method="participant_info", args={"account_id": account}, height=height, path=path, value=value)


def is_running(height: int) -> Look:
    return shows(height, "Running", "keyset", "epoch_id", value=5)


def pair(signer: str, tls: str, address: str) -> dict[str, str]:
    return {"url": address, "tls_public_key": key(tls), "signer_account_pk": key(signer)}


PARTICIPANT_INFO_OF_ALICE = ("Running", "parameters", "participants", "participants", 0)
IN_RECOVERY = (init(), register(10), submit_recovery(20, result={"recovery_id": 1}))

SEQUENCES = (
    Sequence(
        name="a recovery runs to its conclusion and only the participant's info changes",
        steps=(
            Look(method="state", height=1, value="NotInitialized"),
            init(),
            init(2, refusal="init is possible only in NotInitialized and the contract is Running"),
            shows(2, *PARTICIPANT_INFO_OF_ALICE, value=[ALICE, 0, info(node_tls(ALICE), url(ALICE))]),
            register(10),
            submit_recovery(20, result={"recovery_id": 1}),
            shows(20, "Recovery", "recovery_id", value=1),
            shows(20, "Recovery", "started_in", value=20),
            shows(20, "Recovery", "expires_on", value=120),
            shows(20, "Recovery", "shares_confirmed", value=False),
            shows(20, "Recovery", "cancel_votes", value=[]),
            shows(20, "Recovery", "recovering", "account_id", value=ALICE),
            shows(20, "Recovery", "recovering", "participant_info", value=info(NEW_TLS)),
            shows(20, "Recovery", "recovering", "signer_account_pk", value=key(NEW)),
            shows(20, "Recovery", "prospective_participants", "participants", 0, value=[ALICE, 0, info(NEW_TLS)]),
            shows(
                20,
                "Recovery",
                "prospective_participants",
                "participants",
                1,
                value=[BOB, 3, info(node_tls(BOB), url(BOB))],
            ),
            shows(
                20,
                "Recovery",
                "previous_running_state",
                "parameters",
                "participants",
                "participants",
                0,
                value=[ALICE, 0, info(node_tls(ALICE), url(ALICE))],
            ),
            conclude(30, refusal="the backup service has not confirmed delivery"),
            confirm(31, signer=NEW, refusal="this call is for the backup service in force"),
            confirm(31, caller=BOB, signer="bob any", refusal="only its own backup service confirms"),
            confirm(31),
            confirm(32),
            shows(32, "Recovery", "shares_confirmed", value=True),
            conclude(33, digest="0" * 64, refusal="expected_keyset is not the digest"),
            conclude(33, signer=BACKUP, refusal="only the recovering node"),
            conclude(33, signer=node_signer(ALICE), refusal="only the recovering node"),
            conclude(34),
            shows(34, *PARTICIPANT_INFO_OF_ALICE, value=[ALICE, 0, info(NEW_TLS)]),
            shows_account(34, "node", value=pair(NEW, NEW_TLS, "http://new.example:8090")),
            shows_account(34, "node_candidate", value=None),
            shows_account(34, "cooldown_until", value=1034),
            conclude(35, refusal="conclude_recovery is possible only in Recovery and the contract is Running"),
            # The machine that was replaced is refused for ever, in every call.
            ask(36, caller=BOB, result={"request_id": 1}),
            change_url(36, "http://old.example", refusal="the access key is retired"),
            Call(
                method="sign",
                caller=ALICE,
                signer=node_signer(ALICE),
                args=sign_arguments(),
                height=36,
                refusal="the access key is retired",
            ),
            submit_recovery(
                2000,
                signer="alice third access key",
                tls=node_tls(ALICE),
                args=recovery_arguments(ALICE, node_tls(ALICE), in_force=NEW_TLS),
                refusal="the TLS key has been recorded before",
            ),
        ),
    ),
    Sequence(
        name="entering Recovery needs a participant with new keys that sees the network as it is",
        steps=(
            init(),
            submit_recovery(20, caller=ERIN, refusal="erin.test.near is no participant"),
            submit_recovery(
                20,
                args=recovery_arguments(ALICE, NEW_TLS, in_force=node_tls(BOB)),
                refusal="expected_tls_key is not the participant's TLS key",
            ),
            submit_recovery(
                20,
                args=recovery_arguments(ALICE, NEW_TLS) | {"expected_keyset": "0" * 64},
                refusal="expected_keyset is not the digest",
            ),
            submit_recovery(
                21, args=recovery_arguments(ALICE, NEW_TLS, valid_until=20), refusal="valid_until_block has passed"
            ),
            submit_recovery(20 + 2, signer=node_signer(ALICE), refusal="the access key is that of the node in force"),
            submit_recovery(22, tls=node_tls(ALICE), refusal="the TLS key has been recorded before"),
            submit_recovery(22, tls=node_tls(BOB), refusal="the TLS key has been recorded before"),
            submit_recovery(22, tls=node_signer(BOB), refusal="the TLS key has been recorded before"),
            submit_recovery(22, signer=node_signer(BOB), refusal="the access key is recorded for another account"),
            submit_recovery(22, signer=node_tls(ALICE), refusal="the access key is recorded as a TLS key"),
            submit_recovery(22, tls=NEW, refusal="the TLS key is the access key"),
            is_running(22),
            submit_recovery(22, args=recovery_arguments(ALICE, NEW_TLS, valid_until=22), result={"recovery_id": 1}),
            submit_recovery(
                23,
                caller=BOB,
                signer="bob new",
                tls="bob new TLS",
                refusal="submit_participant_recovery_info is possible only in Running and the contract is Recovery",
            ),
        ),
    ),
    Sequence(
        name="in Recovery the network neither signs nor changes urls",
        steps=(
            *IN_RECOVERY,
            ask(21, refusal="sign is possible only in Running and the contract is Recovery"),
            answer(21, refusal="respond is possible only in Running and the contract is Recovery"),
            change_url(
                21, "http://a.example", caller=BOB, refusal="possible only in Running and the contract is Recovery"
            ),
        ),
    ),
    *(
        Sequence(
            name=f"the recovering account cancels at once with the key of {who}",
            steps=(
                *IN_RECOVERY,
                cancel(30, signer=signer),
                is_running(30),
                shows_account(30, "node_candidate", value=None),
                shows_account(30, "cooldown_until", value=1030),
                # The candidate is retired: neither of its keys comes back.
                submit_recovery(1030, refusal="the access key is retired"),
                submit_recovery(1030, signer="another", refusal="the TLS key has been recorded before"),
                submit_recovery(1029, signer="another", tls="another TLS", refusal="again from block 1030"),
                submit_recovery(1030, signer="another", tls="another TLS", result={"recovery_id": 2}),
            ),
        )
        for who, signer in (
            ("its node in force", node_signer(ALICE)),
            ("the candidate", NEW),
            ("the operator", OPERATOR),
        )
    ),
    Sequence(
        name="other participants cancel by a threshold of votes, one each",
        steps=(
            *IN_RECOVERY,
            cancel(30, caller=MALLORY, signer="mallory key", refusal="mallory.test.near is no participant"),
            cancel(30, signer=BACKUP, refusal="the access key is that of the backup service in force"),
            register(30, caller=BOB, signer="bob backup", tls="bob backup TLS"),
            cancel(30, caller=BOB, signer="bob backup", refusal="the access key is that of the backup service in"),
            cancel(30, caller=BOB, signer=node_signer(BOB)),
            shows(30, "Recovery", "cancel_votes", value=[BOB]),
            cancel(31, caller=BOB, signer="bob operator"),
            shows(31, "Recovery", "cancel_votes", value=[BOB]),
            cancel(32, caller=CAROL, signer="carol operator"),
            is_running(32),
            shows_account(32, "cooldown_until", value=1032),
            shows_account(32, "node_candidate", value=None),
        ),
    ),
    Sequence(
        name="a Recovery that expires is Running for every call and view without a block written",
        steps=(
            *IN_RECOVERY,
            confirm(30),
            shows(119, "Recovery", "expires_on", value=120),
            expire(119, refusal="expire_recovery is possible only in Expired and the contract is Recovery"),
            is_running(120),
            shows_account(120, "cooldown_until", value=1120),
            conclude(120, refusal="conclude_recovery is possible only in Recovery and the contract is Running"),
            cancel(120, signer=NEW, refusal="cancel_recovery is possible only in Recovery and the contract is Run"),
            confirm(120, refusal="confirm_key_share_delivery is possible only in Recovery"),
            expire(121, 2, refusal="recovery 2 is not in progress"),
            ask(150, result={"request_id": 1}),
            shows_account(150, "cooldown_until", value=1120),
            shows_account(150, "node_candidate", value=pair(NEW, NEW_TLS, "http://new.example:8090")),
            expire(151, refusal="expire_recovery is possible only in Expired and the contract is Running"),
            # The same machine may ask again after the cooldown, which counts from the expiry.
            submit_recovery(1119, refusal="again from block 1120"),
            submit_recovery(1120, result={"recovery_id": 2}),
            confirm(1121, 2),
            conclude(1122, 2),
            shows(1122, *PARTICIPANT_INFO_OF_ALICE, value=[ALICE, 0, info(NEW_TLS)]),
        ),
    ),
    Sequence(
        name="anyone writes down that a Recovery expired, once",
        steps=(
            *IN_RECOVERY,
            expire(120),
            is_running(120),
            shows_account(130, "cooldown_until", value=1120),
            expire(121, refusal="expire_recovery is possible only in Expired and the contract is Running"),
        ),
    ),
    Sequence(
        name="an expired candidate gives way to a newer one and is refused from then on",
        steps=(
            *IN_RECOVERY,
            submit_recovery(1120, signer="second", tls="second TLS", result={"recovery_id": 2}),
            cancel(1121, 2, signer=NEW, refusal="the access key is retired"),
            shows(1121, "Recovery", "recovering", "signer_account_pk", value=key("second")),
        ),
    ),
    Sequence(
        name="a candidate keeps its TLS key but may come back under a new url",
        steps=(
            *IN_RECOVERY,
            submit_recovery(1120, tls="second TLS", refusal="the access key stands for another TLS key"),
            submit_recovery(
                1120,
                args=recovery_arguments(ALICE, NEW_TLS) | {"participant_info": info(NEW_TLS, "https://moved.example")},
                result={"recovery_id": 2},
            ),
            shows(1120, "Recovery", "recovering", "participant_info", "url", value="https://moved.example"),
        ),
    ),
    Sequence(
        name="a threshold of participants waives a cooldown",
        steps=(
            *IN_RECOVERY,
            waive(21, caller=BOB, refusal="alice.test.near has no cooldown to waive"),
            cancel(30, signer=OPERATOR),
            waive(31, caller=ERIN, signer="erin key", refusal="erin.test.near is no participant"),
            waive(31, caller=ALICE, signer=BACKUP, refusal="the access key is that of the backup service in force"),
            waive(31, caller=BOB),
            waive(32, caller=BOB, signer="bob operator"),
            shows_account(32, "cooldown_until", value=1030),
            submit_recovery(32, signer="second", tls="second TLS", refusal="again from block 1030"),
            waive(33, caller=CAROL, signer="carol operator"),
            shows_account(33, "cooldown_until", value=0),
            submit_recovery(34, signer="second", tls="second TLS", result={"recovery_id": 2}),
            cancel(35, 2, signer=OPERATOR),
            # Votes for the cooldown before do not count for this one.
            waive(36, caller=CAROL),
            submit_recovery(37, signer="third", tls="third TLS", refusal="again from block 1035"),
            waive(1035, caller=BOB, refusal="alice.test.near has no cooldown to waive"),
            waive(1036, caller=BOB, account="nobody.test.near", refusal="nobody.test.near has no cooldown to waive"),
        ),
    ),
    Sequence(
        name="the cooldown of an expired Recovery can be waived while another recovers",
        steps=(
            *IN_RECOVERY,
            submit_recovery(130, caller=BOB, signer="bob new", tls="bob new TLS", result={"recovery_id": 2}),
            waive(131, caller=BOB),
            waive(131, caller=CAROL),
            shows_account(131, "cooldown_until", value=0),
            shows(131, "Recovery", "recovery_id", value=2),
        ),
    ),
    Sequence(
        name="a backup service is replaced only by new keys and the one before is retired",
        steps=(
            init(),
            register(10, caller=ERIN, signer="erin backup", tls="erin backup TLS", refusal="the account is unknown"),
            register(10, signer=node_signer(ALICE), refusal="the access key is that of the node in force"),
            register(10, tls=node_tls(ALICE), refusal="the TLS key has been recorded before"),
            register(10),
            register(11),
            register(12, tls="other TLS", refusal="the access key stands for another TLS key"),
            register(12, signer="second backup", refusal="the TLS key has been recorded before"),
            register(12, signer="second backup", tls="second backup TLS"),
            register(13, refusal="the access key is retired"),
            Look(
                method="backup_services",
                height=13,
                value={ALICE: {"public_key": key("second backup TLS"), "signer_account_pk": key("second backup")}},
            ),
            shows_account(
                13,
                "backup_service",
                value={"tls_public_key": key("second backup TLS"), "signer_account_pk": key("second backup")},
            ),
            submit_recovery(14, signer="second backup", refusal="the access key is that of the backup service in"),
            submit_recovery(14, tls="second backup TLS", refusal="the TLS key has been recorded before"),
            submit_recovery(14, tls=BACKUP_TLS, refusal="the TLS key has been recorded before"),
        ),
    ),
    Sequence(
        name="a node of a new account becomes prospective, a newer one takes its place",
        steps=(
            init(),
            submit(10, caller=ERIN, signer="erin node", tls="erin TLS", address="http://erin.example"),
            is_running(10),
            shows_account(
                10, "node_candidate", account=ERIN, value=pair("erin node", "erin TLS", "http://erin.example")
            ),
            shows_account(10, "is_participant", account=ERIN, value=False),
            register(11, caller=ERIN, signer="erin backup", tls="erin backup TLS"),
            submit(12, caller=ERIN, signer="erin node", tls="erin TLS", address="http://moved.example"),
            shows_account(12, "node_candidate", "url", account=ERIN, value="http://moved.example"),
            submit(
                12,
                caller=ERIN,
                signer="erin node",
                tls="other TLS",
                address="http://erin.example",
                refusal="the access key stands for another TLS key",
            ),
            submit(13, caller=ERIN, signer="erin second", tls="erin second TLS", address="http://erin.example"),
            submit(
                14,
                caller=ERIN,
                signer="erin node",
                tls="erin TLS",
                address="http://erin.example",
                refusal="the access key is retired",
            ),
            Look(
                method="backup_services",
                height=14,
                value={ERIN: {"public_key": key("erin backup TLS"), "signer_account_pk": key("erin backup")}},
            ),
            submit(15, caller=MALLORY, signer="mallory node", tls="mallory TLS", address="http://m.example"),
            submit(
                16,
                caller="third.test.near",
                signer="third node",
                tls="third TLS",
                address="http://third.example",
                refusal="as many prospective accounts as the contract allows",
            ),
            submit_recovery(17, caller=ERIN, signer="erin third", refusal="erin.test.near is no participant"),
        ),
    ),
    Sequence(
        name="a participant's node confirms its info and changes nothing by it",
        steps=(
            init(),
            submit(10, caller=ALICE, signer=node_signer(ALICE), tls=node_tls(ALICE), address=url(ALICE)),
            submit(
                11,
                caller=ALICE,
                signer=node_signer(ALICE),
                tls=NEW_TLS,
                address=url(ALICE),
                refusal="the TLS key is not in force",
            ),
            submit(
                11,
                caller=ALICE,
                signer=node_signer(ALICE),
                tls=node_tls(ALICE),
                address="http://elsewhere.example",
                refusal="the url is not in force",
            ),
            submit(
                11,
                caller=ALICE,
                signer=NEW,
                tls=NEW_TLS,
                address=url(ALICE),
                refusal="the access key is that of an unrecorded access key",
            ),
            shows(11, *PARTICIPANT_INFO_OF_ALICE, value=[ALICE, 0, info(node_tls(ALICE), url(ALICE))]),
        ),
    ),
    Sequence(
        name="a participant's node moves to a new url with its TLS key",
        steps=(
            init(),
            change_url(10, "https://moved.example:9000/mpc"),
            shows(
                10,
                *PARTICIPANT_INFO_OF_ALICE,
                value=[ALICE, 0, info(node_tls(ALICE), "https://moved.example:9000/mpc")],
            ),
            change_url(11, "https://moved.example:9000/mpc"),
            change_url(12, "http://x.example", signer=OPERATOR, refusal="this call is for the node in force"),
            change_url(12, "http://x.example", caller=ERIN, refusal="erin.test.near is no participant"),
            change_url(12, "ftp://x.example", refusal="url must be an http:// or https:// address"),
            change_url(12, "http://", refusal="url must be an http:// or https:// address"),
            change_url(12, 'http://x.example/"', refusal="url must be an http:// or https:// address"),
            change_url(12, "http://x.example/\n", refusal="url must be an http:// or https:// address"),
            change_url(12, "http://" + "x" * 250, refusal="url is longer than 256 bytes"),
            change_url(12, 7, refusal="url must be a string"),
        ),
    ),
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
    Sequence(
        name="a transaction of an earlier recovery does nothing to a later one",
        steps=(
            *IN_RECOVERY,
            confirm(30),
            cancel(31, signer=OPERATOR),
            submit_recovery(1031, signer="second", tls="second TLS", result={"recovery_id": 2}),
            confirm(1032, 1, refusal="recovery 1 is not in progress"),
            cancel(1032, 1, signer=OPERATOR, refusal="recovery 1 is not in progress"),
            cancel(1032, 1, caller=BOB, signer=node_signer(BOB), refusal="recovery 1 is not in progress"),
            conclude(1032, 1, refusal="the access key is retired"),
            conclude(1032, 1, signer="second", refusal="recovery 1 is not in progress"),
            expire(1131, 1, refusal="recovery 1 is not in progress"),
            shows(1100, "Recovery", "shares_confirmed", value=False),
        ),
    ),
)
