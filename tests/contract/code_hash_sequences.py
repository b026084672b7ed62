"""The call sequences of votes on code hashes and measurements: who votes, what a vote replaces, when it counts."""

from typing import Any

from tests.contract.steps import BACKUP, IN_RECOVERY, NEW, OPERATOR, Call, Look, Sequence, init, register, vote_code
from tests.contract.world import ALICE, BOB, CAROL, ERIN, MALLORY, code_hash, measurements, node_signer

# In this network a withdrawn hash is allowed for 40 blocks more.
FIRST, OTHER = code_hash("first"), code_hash("other")


def allowed(height: int, *entries: tuple[str, int | None]) -> Look:
    value = [{"code_hash": code_hash(name), "allowed_until": until} for name, until in entries]
    return Look(method="allowed_node_code_hashes", height=height, value=value)


def votes(height: int, *entries: tuple[str, bool, list[str]]) -> Look:
    value = [{"code_hash": code_hash(name), "allow": allow, "voters": voters} for name, allow, voters in entries]
    return Look(method="code_hash_votes", height=height, path=("node",), value=value)


def vote_other(height: int, code: str, *, caller: str, **expected: Any) -> Call:
    """A vote on the backup service's code."""
    args = {"code_hash": code_hash(code), "allow": True}
    signer = node_signer(caller)
    return Call(
        method="vote_backup_service_code_hash", caller=caller, signer=signer, args=args, height=height, **expected
    )


def vote_measured(height: int, measured: Any, allow: bool = True, *, caller: str, **expected: Any) -> Call:
    args = {"measurements": measured, "allow": allow}
    signer = node_signer(caller)
    return Call(method="vote_measurements", caller=caller, signer=signer, args=args, height=height, **expected)


ALLOWED = (init(), vote_code(10, "first", caller=ALICE), vote_code(10, "first", caller=BOB))
MEASURED = measurements("first")

CODE_HASH_SEQUENCES = (
    Sequence(
        name="a code hash is allowed by a threshold of votes and withdrawn with a grace time",
        steps=(
            init(),
            allowed(2),
            votes(2),
            vote_code(10, "first", caller=ALICE),
            vote_code(10, "first", caller=ALICE, signer=OPERATOR),
            allowed(10),
            votes(10, ("first", True, [ALICE])),
            vote_code(11, "first", caller=BOB, signer="bob operator"),
            allowed(11, ("first", None)),
            votes(11),
            # A late vote for what is so already leaves nothing behind that could count later.
            vote_code(12, "first", caller=CAROL),
            votes(12),
            vote_code(20, "first", False, caller=ALICE),
            allowed(20, ("first", None)),
            votes(20, ("first", False, [ALICE])),
            vote_code(21, "first", False, caller=CAROL),
            allowed(21, ("first", 61)),
            votes(21),
            vote_code(22, "first", False, caller=BOB),
            votes(22),
            allowed(60, ("first", 61)),
            allowed(61),
            vote_code(
                61, "first", False, caller=BOB, refusal="that is not allowed now, so there is nothing to withdraw"
            ),
            vote_code(62, "first", caller=BOB),
            vote_code(63, "first", caller=CAROL),
            allowed(63, ("first", None)),
        ),
    ),
    Sequence(
        name="a withdrawn code hash allowed again in its grace time lasts",
        steps=(
            *ALLOWED,
            vote_code(20, "first", False, caller=ALICE),
            vote_code(20, "first", False, caller=BOB),
            allowed(20, ("first", 60)),
            vote_code(30, "first", caller=ALICE),
            allowed(30, ("first", 60)),
            vote_code(31, "first", caller=CAROL),
            allowed(31, ("first", None)),
            allowed(1000, ("first", None)),
            vote_code(1001, "first", False, caller=ALICE),
            vote_code(1002, "first", False, caller=BOB),
            allowed(1003, ("first", 1042)),
        ),
    ),
    Sequence(
        name="an account has one open vote of each kind and a newer takes its place",
        steps=(
            init(),
            vote_code(10, "first", caller=ALICE),
            vote_code(11, "other", caller=ALICE),
            votes(11, ("other", True, [ALICE])),
            vote_code(12, "first", caller=BOB),
            votes(12, ("other", True, [ALICE]), ("first", True, [BOB])),
            vote_other(13, "first", caller=ALICE),
            vote_measured(13, MEASURED, caller=ALICE),
            Look(
                method="code_hash_votes",
                height=13,
                value={
                    "node": [
                        {"code_hash": OTHER, "allow": True, "voters": [ALICE]},
                        {"code_hash": FIRST, "allow": True, "voters": [BOB]},
                    ],
                    "backup_service": [{"code_hash": FIRST, "allow": True, "voters": [ALICE]}],
                    "measurements": [{"measurements": MEASURED, "allow": True, "voters": [ALICE]}],
                },
            ),
            allowed(13),
            vote_code(14, "other", caller=BOB),
            allowed(14, ("other", None)),
            votes(14),
            # A vote for what is so already takes the open one back.
            vote_code(15, "first", caller=CAROL),
            vote_code(16, "other", caller=CAROL),
            votes(16),
        ),
    ),
    Sequence(
        name="each kind has a list of its own",
        steps=(
            *ALLOWED,
            Look(method="allowed_backup_service_code_hashes", height=10, value=[]),
            Look(method="allowed_measurements", height=10, value=[]),
            vote_other(11, "other", caller=BOB),
            vote_other(11, "other", caller=CAROL),
            Look(
                method="allowed_backup_service_code_hashes",
                height=11,
                value=[{"code_hash": OTHER, "allowed_until": None}],
            ),
            vote_measured(12, MEASURED, caller=BOB),
            vote_measured(12, dict(reversed(MEASURED.items())), caller=CAROL),
            Look(
                method="allowed_measurements",
                height=12,
                value=[{"measurements": MEASURED, "allowed_until": None}],
            ),
            vote_measured(13, MEASURED, False, caller=BOB),
            vote_measured(13, MEASURED, False, caller=CAROL),
            Look(
                method="allowed_measurements",
                height=52,
                value=[{"measurements": MEASURED, "allowed_until": 53}],
            ),
            Look(method="allowed_measurements", height=53, value=[]),
            allowed(53, ("first", None)),
        ),
    ),
    Sequence(
        name="only governing participants vote on code, in Recovery too",
        steps=(
            *IN_RECOVERY,
            vote_code(20, "first", caller=MALLORY, refusal="mallory.test.near is no participant"),
            vote_code(20, "first", caller=ERIN, refusal="erin.test.near is no participant"),
            vote_code(20, "first", caller=ALICE, signer=BACKUP, refusal="that of the backup service in force"),
            register(20, signer="slot 1", tls="slot 1 TLS", slot=1),
            vote_code(21, "first", caller=ALICE, signer="slot 1", refusal="that of the backup service in force"),
            vote_code(21, "first", caller=ALICE, signer=NEW, refusal="the access key is that of a candidate node"),
            vote_code(21, "first", caller=ALICE),
            vote_code(22, "first", caller=BOB),
            allowed(22, ("first", None)),
        ),
    ),
    Sequence(
        name="a vote on code has one form",
        steps=(
            init(),
            vote_code(10, 7, caller=ALICE, refusal="code_hash must be a string"),
            *(
                Call(
                    method="vote_node_code_hash",
                    caller=ALICE,
                    signer=node_signer(ALICE),
                    args=args,
                    height=10,
                    refusal=refusal,
                )
                for args, refusal in (
                    ({"code_hash": "00" * 31, "allow": True}, "code_hash must be hexadecimal of 32 to 32 bytes"),
                    ({"code_hash": "AA" * 32, "allow": True}, "code_hash must be lower-case hexadecimal"),
                    ({"code_hash": "00" * 32, "allow": 1}, "allow must be true or false"),
                    ({"code_hash": "00" * 32, "allow": None}, "allow must be true or false"),
                    ({"code_hash": "00" * 32}, "arguments lacks the field 'allow'"),
                    ({"code_hash": "00" * 32, "allow": True, "x": 1}, "arguments has the unknown field 'x'"),
                )
            ),
            vote_measured(10, {"mrtd": "00" * 48}, caller=ALICE, refusal="measurements lacks the field 'rtmr0'"),
            vote_measured(10, MEASURED | {"rtmr3": "00" * 48}, caller=ALICE, refusal="the unknown field 'rtmr3'"),
            *(
                vote_measured(
                    10,
                    MEASURED | {name: "00" * 32},
                    caller=ALICE,
                    refusal=f"measurements.{name} must be hexadecimal of",
                )
                for name in MEASURED
            ),
            Look(
                method="allowed_measurements", args={"x": 1}, height=10, refusal="arguments has the unknown field 'x'"
            ),
            Look(method="code_hash_votes", args={"x": 1}, height=10, refusal="arguments has the unknown field 'x'"),
        ),
    ),
)
