"""The call sequences of evidence on registration: who may name it, what it replaces, what becomes of it."""

from typing import Any

from tests.contract import key_event_steps
from tests.contract.slot_sequences import pair as service
from tests.contract.steps import (
    BACKUP,
    BACKUP_TLS,
    NEW,
    NEW_TLS,
    OPERATOR,
    SECOND,
    SECOND_TLS,
    Call,
    Sequence,
    cancel,
    change_url,
    conclude,
    confirm,
    init,
    pair,
    register,
    shows_account,
    submit,
    submit_recovery,
)
from tests.contract.world import ALICE, BOB, CONFIG, ERIN, MALLORY, evidence, node_signer, node_tls, shown_evidence, url

# Evidence is valid for 5000 seconds here; a block's time does not change in a sequence.
NEW_URL = "http://new.example:8090"
VALIDITY = CONFIG["evidence_validity_seconds"]


def node_says(height: int, stamp: Any, *, signer: str = "", **expected: Any) -> Call:
    """Alice's node in force, or who signs in its place, says that it is there."""
    signer = signer or node_signer(ALICE)
    return submit(
        height, caller=ALICE, signer=signer, tls=node_tls(ALICE), address=url(ALICE), evidence=stamp, **expected
    )


def node(stamp: Any) -> dict[str, Any]:
    return pair(node_signer(ALICE), node_tls(ALICE), url(ALICE), stamp)


EVIDENCE_SEQUENCES = (
    Sequence(
        name="a backup service names its evidence and newer evidence takes its place",
        steps=(
            init(),
            register(10, evidence=evidence("first", 100)),
            shows_account(
                10, "backup_services", value=[service(BACKUP, BACKUP_TLS, shown_evidence("first", 100)), None]
            ),
            register(11),
            register(11, evidence=evidence("first", 100)),
            shows_account(11, "backup_services", 0, "evidence", value=shown_evidence("first", 100)),
            register(12, evidence=evidence("second", 50)),
            shows_account(12, "backup_services", 0, "evidence", value=shown_evidence("second", 50)),
            register(13, evidence=evidence("first", 100), refusal="the evidence is not newer than what is recorded"),
            register(13, evidence=evidence("other", 50), refusal="the evidence is not newer than what is recorded"),
            register(13, evidence=evidence("third", 51), refusal="attest again"),
            register(14, signer=SECOND, tls=SECOND_TLS, slot=1),
            shows_account(14, "backup_services", 1, "evidence", value=None),
            register(15, signer=SECOND, tls=SECOND_TLS, slot=1, evidence=evidence("oldest", VALIDITY - 1)),
            shows_account(15, "backup_services", 1, "evidence", value=shown_evidence("oldest", VALIDITY - 1)),
            shows_account(15, "backup_services", 0, "evidence", value=shown_evidence("second", 50)),
            # Another machine in the slot starts with nothing.
            register(16, signer="third", tls="third TLS"),
            shows_account(16, "backup_services", 0, value=service("third", "third TLS")),
        ),
    ),
    Sequence(
        name="a participant's node names its evidence and keeps it with a new url",
        steps=(
            init(),
            shows_account(10, "node", value=node(None)),
            node_says(10, evidence("first", 100)),
            shows_account(10, "node", value=node(shown_evidence("first", 100))),
            node_says(11, None),
            shows_account(11, "node", value=node(shown_evidence("first", 100))),
            node_says(12, evidence("second")),
            change_url(13, "http://moved.example"),
            shows_account(13, "node", "evidence", value=shown_evidence("second")),
            node_says(14, evidence("third"), refusal="the url is not in force"),
        ),
    ),
    Sequence(
        name="the recovering node names its evidence as it asks and takes it into force",
        steps=(
            init(),
            node_says(5, evidence("of the old node")),
            register(10),
            submit_recovery(20, evidence=evidence("first", 100), result={"recovery_id": 1}),
            shows_account(20, "node_candidate", value=pair(NEW, NEW_TLS, NEW_URL, shown_evidence("first", 100))),
            shows_account(20, "node", "evidence", value=shown_evidence("of the old node")),
            # In Recovery the candidate's evidence stays what it was; the old node's does not matter any more.
            submit(
                21,
                caller=ALICE,
                signer=NEW,
                tls=NEW_TLS,
                address=NEW_URL,
                evidence=evidence("second"),
                refusal="the access key is that of a candidate node",
            ),
            submit_recovery(21, evidence=evidence("second"), refusal="is possible only in Running"),
            confirm(22),
            conclude(23),
            shows_account(23, "node", value=pair(NEW, NEW_TLS, NEW_URL, shown_evidence("first", 100))),
            submit(24, caller=ALICE, signer=NEW, tls=NEW_TLS, address=NEW_URL, evidence=evidence("second")),
            shows_account(24, "node", "evidence", value=shown_evidence("second")),
            node_says(25, evidence("third"), refusal="the access key is retired"),
        ),
    ),
    Sequence(
        name="a node whose recovery expired asks again with newer evidence or keeps what it had",
        steps=(
            init(),
            submit_recovery(20, evidence=evidence("first", 100), result={"recovery_id": 1}),
            submit_recovery(1120, evidence=evidence("older", 101), refusal="the evidence is not newer"),
            submit_recovery(1120, result={"recovery_id": 2}),
            shows_account(1120, "node_candidate", "evidence", value=shown_evidence("first", 100)),
            submit_recovery(2220, evidence=evidence("second", 99), result={"recovery_id": 3}),
            shows_account(2220, "node_candidate", "evidence", value=shown_evidence("second", 99)),
            cancel(2221, 3, signer=OPERATOR),
            shows_account(2221, "node_candidate", value=None),
        ),
    ),
    Sequence(
        name="a newcomer names its evidence and keeps it when it becomes a participant",
        steps=(
            key_event_steps.init_without_domains(),
            *(
                submit(
                    height,
                    caller=ERIN,
                    signer=key_event_steps.ERIN_NODE,
                    tls=key_event_steps.ERIN_TLS,
                    address=key_event_steps.ERIN_URL,
                    evidence=stamp,
                )
                for height, stamp in ((10, None), (11, evidence("first", 9)), (12, None), (13, evidence("second", 8)))
            ),
            shows_account(13, "node_candidate", "evidence", account=ERIN, value=shown_evidence("second", 8)),
            key_event_steps.propose(14, caller=ALICE),
            key_event_steps.propose(14, caller=BOB),
            shows_account(14, "node", "evidence", account=ERIN, value=shown_evidence("second", 8)),
        ),
    ),
    Sequence(
        name="evidence from the future is refused",
        steps=(
            init(),
            register(10, evidence=evidence("ahead", -301), refusal="evidence.attested_at is in the future"),
            shows_account(10, "backup_services", value=[None, None]),
            register(10, evidence=evidence("ahead", -300)),
            shows_account(10, "backup_services", 0, "evidence", value=shown_evidence("ahead", -300)),
            node_says(11, evidence("ahead", -301), refusal="set the machine's clock and attest again"),
            submit_recovery(11, evidence=evidence("ahead", -301), refusal="is in the future"),
            shows_account(11, "node_candidate", value=None),
        ),
    ),
    Sequence(
        name="evidence that has expired is refused",
        steps=(
            init(),
            register(10, evidence=evidence("old", VALIDITY), refusal="older than evidence_validity_seconds"),
            node_says(10, evidence("old", VALIDITY), refusal="older than evidence_validity_seconds; attest again"),
            submit_recovery(10, evidence=evidence("old", VALIDITY), refusal="older than evidence_validity_seconds"),
        ),
    ),
    Sequence(
        name="nobody names evidence for a machine that is not his",
        steps=(
            init(),
            register(10, evidence=evidence("first", 100)),
            node_says(10, evidence("first", 100)),
            # Another account, with keys of its own or with its node's.
            register(11, caller=BOB, signer=node_signer(BOB), evidence=evidence("forged"), refusal="the node in force"),
            register(11, caller=BOB, signer="bob key", evidence=evidence("forged"), refusal="has been recorded before"),
            register(11, caller=BOB, evidence=evidence("forged"), refusal="is recorded for another account"),
            register(11, caller=MALLORY, signer="any", evidence=evidence("forged"), refusal="the account is unknown"),
            # The same account: its operator, its node, its other machine.
            register(12, signer=OPERATOR, evidence=evidence("forged"), refusal="has been recorded before"),
            register(12, signer=node_signer(ALICE), evidence=evidence("forged"), refusal="that of the node in force"),
            node_says(12, evidence("forged"), signer=OPERATOR, refusal="that of an unrecorded access key"),
            node_says(12, evidence("forged"), signer=BACKUP, refusal="that of the backup service in force"),
            register(13, signer=SECOND, tls=SECOND_TLS, slot=1),
            register(13, signer=SECOND, evidence=evidence("forged"), refusal="stands for another TLS key"),
            shows_account(14, "node", "evidence", value=shown_evidence("first", 100)),
            shows_account(14, "backup_services", 0, "evidence", value=shown_evidence("first", 100)),
            shows_account(14, "backup_services", 1, "evidence", value=None),
        ),
    ),
    Sequence(
        name="a retired key renews no evidence",
        steps=(
            init(),
            register(10, evidence=evidence("first", 100)),
            register(11, signer="third", tls="third TLS", evidence=evidence("third", 90)),
            register(12, evidence=evidence("second"), refusal="the access key is retired"),
            register(12, slot=1, evidence=evidence("second"), refusal="the access key is retired"),
            submit_recovery(20, evidence=evidence("of the new node"), result={"recovery_id": 1}),
            cancel(21, signer=OPERATOR),
            submit(
                22,
                caller=ALICE,
                signer=NEW,
                tls=NEW_TLS,
                address=NEW_URL,
                evidence=evidence("again"),
                refusal="the access key is retired",
            ),
            shows_account(22, "backup_services", 0, value=service("third", "third TLS", shown_evidence("third", 90))),
        ),
    ),
    Sequence(
        name="evidence has one form",
        steps=(
            init(),
            *(
                register(10, evidence=stamp, refusal=refusal)
                for stamp, refusal in (
                    ("a quote", "evidence must be a JSON object"),
                    ({"digest": "00" * 32}, "evidence lacks the field 'attested_at'"),
                    (evidence("first") | {"quote": ""}, "evidence has the unknown field 'quote'"),
                    (evidence("first") | {"digest": "00" * 31}, "evidence.digest must be hexadecimal of 32 to 32"),
                    (evidence("first") | {"digest": "AA" * 32}, "evidence.digest must be lower-case hexadecimal"),
                    (evidence("first") | {"attested_at": "1"}, "evidence.attested_at must be an integer"),
                    (evidence("first") | {"attested_at": -1}, "evidence.attested_at must be between 0 and"),
                )
            ),
        ),
    ),
)
