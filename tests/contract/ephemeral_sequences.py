"""The call sequences of ephemeral keys: who may publish one, when, and what it replaces."""

from tests.contract.key_event_steps import (
    ERIN_NODE,
    add_domains,
    announce_erin,
    cancel_keygen,
    cancel_resharing,
    domain,
    propose,
    start_keygen,
    start_reshare,
)
from tests.contract.steps import (
    BACKUP,
    IN_RECOVERY,
    NEW,
    NEW_TLS,
    OPERATOR,
    Look,
    Sequence,
    cancel,
    conclude,
    confirm,
    init,
    publish,
    register,
    shows_keys,
    submit,
    submit_recovery,
)
from tests.contract.world import (
    ALICE,
    BOB,
    CAROL,
    ERIN,
    MALLORY,
    ephemeral_record,
    key,
    node_signer,
    node_tls,
    x25519_key,
)

NODE = node_signer(ALICE)
NODE_TLS = node_tls(ALICE)
REGISTERED = (init(), register(10))
# At height 20, for a backup.
OPENING = ephemeral_record(expires_on=70)
ANSWER = ephemeral_record(expires_on=60, answers=OPENING, tls=NODE_TLS)
LATER = ephemeral_record(exchange="later", expires_on=70)
LATER_ANSWER = ephemeral_record(exchange="later", expires_on=70, answers=LATER, tls=NODE_TLS)
LATE = ephemeral_record(exchange="late", expires_on=170)
# For recovery 1, which begins at height 20.
RECOVERING = ephemeral_record(exchange="recovery", expires_on=70, recovery_id=1)
RECOVERED = ephemeral_record(exchange="recovery", expires_on=70, recovery_id=1, answers=RECOVERING, tls=NEW_TLS)


def shown(record: dict, height: int) -> dict:
    """Alice's record as the view shows it once it was submitted at `height`."""
    return record | {"account_id": ALICE, "submitted_in": height}


NO_KEYS = {"backup_services": [None, None], "nodes": [None, None]}


def keys(service: dict | None, node: dict | None) -> dict:
    """The view of records in slot 0 alone."""
    return {"backup_services": [service, None], "nodes": [node, None]}


def refused(changes: dict, refusal: str, record: dict = OPENING) -> object:
    """At height 20, `record` with `changes` is refused."""
    return publish(20, record | changes, refusal=refusal)


EPHEMERAL_SEQUENCES = (
    Sequence(
        name="both sides publish a key for a backup, the node in answer and once",
        steps=(
            *REGISTERED,
            shows_keys(10, value=NO_KEYS),
            publish(11, ANSWER, signer=NODE, refusal="no backup service has opened an exchange"),
            publish(20, OPENING),
            shows_keys(20, value=keys(shown(OPENING, 20), None)),
            publish(21, OPENING),
            shows_keys(21, "backup_services", 0, "submitted_in", value=20),
            publish(22, ANSWER, signer=NODE),
            shows_keys(22, value=keys(shown(OPENING, 20), shown(ANSWER, 22))),
            publish(23, ANSWER, signer=NODE),
            publish(
                23,
                ephemeral_record(expires_on=60, answers=OPENING, public_key="another", tls=NODE_TLS),
                signer=NODE,
                refusal="the exchange_id has another record of this role; open an exchange with a new one",
            ),
            publish(
                23,
                ephemeral_record(expires_on=70, public_key="another"),
                refusal="the exchange_id has another record of this role; open an exchange with a new one",
            ),
            shows_keys(23, value=keys(shown(OPENING, 20), shown(ANSWER, 22))),
            shows_keys(59, "nodes", 0, "exchange_id", value=ANSWER["exchange_id"]),
            shows_keys(60, "nodes", 0, value=None),
            shows_keys(69, "backup_services", 0, "hash", value=OPENING["hash"]),
            shows_keys(70, value=NO_KEYS),
            shows_keys(70, account=BOB, value=NO_KEYS),
        ),
    ),
    Sequence(
        name="a new exchange takes the place of the one before, expired or not",
        steps=(
            *REGISTERED,
            publish(20, OPENING),
            publish(20, ANSWER, signer=NODE),
            publish(21, LATER),
            shows_keys(21, value=keys(shown(LATER, 21), shown(ANSWER, 20))),
            publish(21, ANSWER, signer=NODE, refusal="record.exchange_id is that of no opening record"),
            publish(22, LATER_ANSWER, signer=NODE),
            shows_keys(22, "nodes", 0, value=shown(LATER_ANSWER, 22)),
            publish(70, LATER, refusal="record.expires_on must be after block 70 and at most 120"),
            publish(
                71,
                ephemeral_record(exchange="later", expires_on=100),
                refusal="the exchange_id has another record of this role",
            ),
            publish(
                71,
                ephemeral_record(exchange="later", expires_on=100, answers=LATER, tls=NODE_TLS),
                signer=NODE,
                refusal="no backup service has opened an exchange",
            ),
            publish(72, ephemeral_record(exchange="third", expires_on=122)),
        ),
    ),
    Sequence(
        name="in a recovery the backup service and the recovering node publish keys, and nobody else",
        steps=(
            *IN_RECOVERY,
            publish(20, OPENING, refusal="this account is recovering; a backup is possible once its recovery is over"),
            publish(20, RECOVERED, signer=NEW, refusal="no backup service has opened an exchange"),
            publish(20, RECOVERING, signer=NEW, refusal="this call is for the backup service in force"),
            publish(
                20,
                ephemeral_record(expires_on=70, recovery_id=2),
                refusal="recovery 2 is not in progress; read the view state",
            ),
            register(20, caller=BOB, signer="bob backup", tls="bob backup TLS"),
            publish(
                20,
                RECOVERING,
                caller=BOB,
                signer="bob backup",
                refusal="alice.test.near is recovering; only its own machines exchange keys for that",
            ),
            publish(21, RECOVERING),
            publish(22, RECOVERED, signer=NODE, refusal="only the recovering node"),
            publish(22, RECOVERED, refusal="only the recovering node"),
            publish(22, RECOVERED, signer=OPERATOR, refusal="only the recovering node"),
            publish(
                22,
                RECOVERED | {"answers": OPENING["hash"]},
                signer=NEW,
                refusal="record.answers is not the hash of the opening record",
            ),
            publish(22, RECOVERED, signer=NEW),
            shows_keys(22, value=keys(shown(RECOVERING, 21), shown(RECOVERED, 22))),
            confirm(30),
            conclude(31),
            publish(32, RECOVERING, refusal="recovery 1 is not in progress; read the view state"),
            publish(32, LATER),
            publish(33, LATER_ANSWER, signer=NODE, refusal="the access key is retired"),
            publish(33, LATER_ANSWER, signer=NEW),
        ),
    ),
    Sequence(
        name="a key for one recovery or purpose is none for another",
        steps=(
            *REGISTERED,
            publish(20, OPENING),
            publish(20, RECOVERING, refusal="recovery 1 is not in progress; read the view state"),
            submit_recovery(20, result={"recovery_id": 1}),
            publish(
                20,
                ephemeral_record(expires_on=70, recovery_id=1, answers=OPENING, tls=NEW_TLS),
                signer=NEW,
                refusal="record.purpose is not that of the opening record",
            ),
            publish(21, ephemeral_record(exchange="first", expires_on=71, recovery_id=1)),
            cancel(22, signer=NODE),
            # The cooldown of 1000 blocks is longer than any key's life, so recovery 2 is another account's.
            register(23, caller=BOB, signer="bob backup", tls="bob backup TLS"),
            submit_recovery(24, caller=BOB, signer="bob new", tls="bob new TLS", result={"recovery_id": 2}),
            publish(
                25,
                ephemeral_record(expires_on=70, recovery_id=2),
                refusal="bob.test.near is recovering; only its own machines",
            ),
            publish(25, ephemeral_record(expires_on=70, recovery_id=1), refusal="recovery 1 is not in progress"),
            # Another account's recovery stands in no way of a backup.
            publish(25, LATER),
            publish(26, LATER_ANSWER, signer=NODE),
            # An expired recovery counts as Running.
            publish(123, LATE, caller=BOB, signer="bob backup", refusal="this account is recovering"),
            publish(124, LATE, caller=BOB, signer="bob backup"),
            publish(
                124, ephemeral_record(exchange="late 2", expires_on=170, recovery_id=2), refusal="recovery 2 is not"
            ),
        ),
    ),
    Sequence(
        name="keys for a backup are published while keys are generated or reshared",
        steps=(
            *REGISTERED,
            add_domains(12, domain(4), caller=BOB),
            add_domains(12, domain(4), caller=CAROL),
            publish(20, OPENING),
            publish(20, RECOVERING, refusal="recovery 1 is not in progress"),
            publish(21, ANSWER, signer=NODE),
            shows_keys(21, value=keys(shown(OPENING, 20), shown(ANSWER, 21))),
            start_keygen(22),
            cancel_keygen(22, caller=BOB),
            cancel_keygen(22, caller=CAROL),
            announce_erin(23),
            propose(24, caller=BOB),
            propose(24, caller=CAROL),
            publish(25, LATER),
            publish(25, OPENING, caller=ERIN, signer=ERIN_NODE, refusal="erin.test.near is no participant"),
            publish(26, LATER_ANSWER, signer=NODE),
            shows_keys(26, value=keys(shown(LATER, 25), shown(LATER_ANSWER, 26))),
            start_reshare(27),
            cancel_resharing(27, caller=BOB),
            cancel_resharing(27, caller=CAROL),
        ),
    ),
    Sequence(
        name="only a participant's machines publish keys, each for its own role",
        steps=(
            *REGISTERED,
            publish(20, OPENING, caller=MALLORY, signer="mallory key", refusal="mallory.test.near is no participant"),
            submit(20, caller=ERIN, signer="erin node", tls="erin TLS", address="http://erin.example"),
            register(20, caller=ERIN, signer="erin backup", tls="erin backup TLS"),
            publish(21, OPENING, caller=ERIN, signer="erin backup", refusal="erin.test.near is no participant"),
            publish(21, OPENING, signer=OPERATOR, refusal="this call is for the backup service in force"),
            publish(21, OPENING, signer=NODE, refusal="this call is for the backup service in force"),
            publish(21, OPENING, caller=BOB, signer=node_signer(BOB), refusal="for the backup service in force"),
            publish(21, OPENING),
            publish(22, ANSWER, refusal="this call is for the node in force"),
            publish(22, ANSWER, signer=OPERATOR, refusal="this call is for the node in force"),
            publish(
                22, ANSWER, caller=BOB, signer=node_signer(BOB), refusal="no backup service has opened an exchange"
            ),
            register(23, signer="second backup", tls="second backup TLS"),
            publish(24, LATER, refusal="the access key is retired"),
            publish(24, LATER, signer="second backup"),
        ),
    ),
    Sequence(
        name="a record of an ephemeral key has one form",
        steps=(
            *REGISTERED,
            publish(20, 7, refusal="record must be a JSON object"),
            refused({"more": 1}, "record has the unknown field 'more'"),
            refused({"account_id": ALICE}, "record has the unknown field 'account_id'"),
            publish(20, {"role": "node"}, refusal="record lacks the field 'exchange_id'"),
            refused({"exchange_id": "00" * 15}, "record.exchange_id must be hexadecimal of 16 to 16 bytes"),
            refused({"exchange_id": "AA" * 16}, "record.exchange_id must be lower-case hexadecimal"),
            refused({"purpose": "both"}, "record.purpose must be one of backup, recovery"),
            refused({"purpose": "recovery"}, "record.recovery_id must be an integer"),
            refused({"recovery_id": 1}, "record.recovery_id must be null for a backup"),
            refused({"role": "operator"}, "record.role must be one of backup-service, node"),
            refused({"role": "node"}, "record.answers must be a string"),
            refused({"answers": "00" * 32}, "record.answers must be null for the backup service"),
            refused({"public_key": key(BACKUP)}, "record.public_key must be 'x25519:' followed by the base58 of 32"),
            refused({"public_key": x25519_key("a")[:-3]}, "record.public_key must be 'x25519:' followed by the base58"),
            refused({"expires_on": "70"}, "record.expires_on must be an integer"),
            refused({"expires_on": 20}, "record.expires_on must be after block 20 and at most 70; sign it anew"),
            refused({"expires_on": 71}, "record.expires_on must be after block 20 and at most 70; sign it anew"),
            refused({"hash": "00" * 31}, "record.hash must be hexadecimal of 32 to 32 bytes"),
            refused({"signature": None}, "record.signature must be a string"),
            refused({"signature": "00" * 63}, "record.signature must be hexadecimal of 64 to 64 bytes"),
            shows_keys(20, value=NO_KEYS),
            Look(method="ephemeral_keys", height=20, refusal="arguments lacks the field 'account_id'"),
            Look(method="ephemeral_keys", args={"account_id": "A"}, height=20, refusal="must be a NEAR account id"),
            publish(20, OPENING),
        ),
    ),
)
