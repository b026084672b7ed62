"""The call sequences of an account with two backup services, one in each slot."""

from typing import Any

from tests.contract.ephemeral_sequences import LATER, LATER_ANSWER, NODE, NODE_TLS, OPENING, keys, shown
from tests.contract.steps import (
    BACKUP,
    BACKUP_TLS,
    NEW,
    NEW_TLS,
    SECOND,
    SECOND_TLS,
    Look,
    Sequence,
    conclude,
    confirm,
    init,
    publish,
    register,
    shows,
    shows_account,
    shows_info_of_alice,
    shows_keys,
    submit_recovery,
)
from tests.contract.world import ALICE, ephemeral_record, info, key


def second(height: int, *, signer: str = SECOND, tls: str = SECOND_TLS, slot: Any = 1, **expected: Any) -> Any:
    """Slot 1 is registered."""
    return register(height, signer=signer, tls=tls, slot=slot, **expected)


def pair(signer: str, tls: str, evidence: dict | None = None) -> dict[str, Any]:
    return {"tls_public_key": key(tls), "signer_account_pk": key(signer), "evidence": evidence}


FIRST_PAIR, SECOND_PAIR = pair(BACKUP, BACKUP_TLS), pair(SECOND, SECOND_TLS)
BOTH = (init(), register(10), second(10))
# Opened by slot 1 at height 20, for a backup, and by each slot for recovery 1.
OPENING_1 = ephemeral_record(exchange="second", expires_on=65, tls=SECOND_TLS)
ANSWER_1 = ephemeral_record(exchange="second", expires_on=65, answers=OPENING_1, tls=NODE_TLS)
ANSWER_0 = ephemeral_record(expires_on=60, answers=OPENING, tls=NODE_TLS)
RECOVERING_0 = ephemeral_record(exchange="by slot 0", expires_on=70, recovery_id=1)
RECOVERING_1 = ephemeral_record(exchange="by slot 1", expires_on=70, recovery_id=1, tls=SECOND_TLS)
RECOVERED_1 = ephemeral_record(exchange="by slot 1", expires_on=70, recovery_id=1, answers=RECOVERING_1, tls=NEW_TLS)


def both(services: tuple[dict | None, dict | None], nodes: tuple[dict | None, dict | None]) -> dict:
    return {"backup_services": list(services), "nodes": list(nodes)}


SLOT_SEQUENCES = (
    Sequence(
        name="each slot has a backup service of its own and replaces only that",
        steps=(
            init(),
            second(10, slot=2, refusal="slot must be between 0 and 1"),
            second(10, slot=-1, refusal="slot must be between 0 and 1"),
            second(10, slot=True, refusal="slot must be an integer"),
            second(10, slot="1", refusal="slot must be an integer"),
            second(10),
            shows_account(10, "backup_services", value=[None, SECOND_PAIR]),
            Look(
                method="backup_services",
                height=10,
                value={ALICE: [None, {"public_key": key(SECOND_TLS), "signer_account_pk": key(SECOND)}]},
            ),
            register(11, slot=0),
            shows_account(11, "backup_services", value=[FIRST_PAIR, SECOND_PAIR]),
            register(12),
            second(12),
            register(12, slot=1, refusal="the access key is that of slot 0; the other slot needs keys of its own"),
            second(12, slot=0, refusal="the access key is that of slot 1; the other slot needs keys of its own"),
            second(12, tls=BACKUP_TLS, refusal="the access key stands for another TLS key"),
            second(12, signer="third", tls=BACKUP_TLS, refusal="the TLS key has been recorded before"),
            second(12, signer="third", tls=SECOND_TLS, slot=0, refusal="the TLS key has been recorded before"),
            shows_account(12, "backup_services", value=[FIRST_PAIR, SECOND_PAIR]),
            register(13, signer="third", tls="third TLS"),
            shows_account(13, "backup_services", value=[pair("third", "third TLS"), SECOND_PAIR]),
            register(14, refusal="the access key is retired"),
            register(14, slot=1, refusal="the access key is retired"),
            second(15, signer="fourth", tls="fourth TLS"),
            shows_account(15, "backup_services", value=[pair("third", "third TLS"), pair("fourth", "fourth TLS")]),
            second(16, refusal="the access key is retired"),
            second(16, signer="fifth", refusal="the TLS key has been recorded before"),
        ),
    ),
    *(
        Sequence(
            name=f"the backup service of slot {slot} confirms a delivery whatever became of the other",
            steps=(
                *BOTH,
                submit_recovery(20, result={"recovery_id": 1}),
                register(21, signer="other", tls="other TLS", slot=1 - slot),
                confirm(22, signer=other, refusal="the access key is retired"),
                shows(22, "Recovery", "shares_confirmed", value=False),
                confirm(23, signer=own),
                conclude(24),
                shows_info_of_alice(24, info(NEW_TLS)),
                register(25, signer=own, tls=tls, slot=slot),
            ),
        )
        for slot, own, tls, other in ((0, BACKUP, BACKUP_TLS, SECOND), (1, SECOND, SECOND_TLS, BACKUP))
    ),
    Sequence(
        name="two backup services exchange at a time and neither disturbs the other",
        steps=(
            *BOTH,
            publish(20, OPENING),
            publish(20, OPENING_1, signer=SECOND),
            shows_keys(20, value=both((shown(OPENING, 20), shown(OPENING_1, 20)), (None, None))),
            publish(21, ANSWER_1, signer=NODE),
            publish(22, ANSWER_0, signer=NODE),
            shows_keys(
                22, value=both((shown(OPENING, 20), shown(OPENING_1, 20)), (shown(ANSWER_0, 22), shown(ANSWER_1, 21)))
            ),
            publish(23, LATER),
            publish(24, LATER_ANSWER, signer=NODE),
            publish(24, ANSWER_1, signer=NODE),
            publish(24, ANSWER_0, signer=NODE, refusal="record.exchange_id is that of no opening record"),
            shows_keys(
                24,
                value=both((shown(LATER, 23), shown(OPENING_1, 20)), (shown(LATER_ANSWER, 24), shown(ANSWER_1, 21))),
            ),
            shows_keys(65, value=keys(shown(LATER, 23), shown(LATER_ANSWER, 24))),
        ),
    ),
    Sequence(
        name="an exchange id is of one slot alone",
        steps=(
            *BOTH,
            publish(20, OPENING),
            publish(21, OPENING, signer=SECOND, refusal="the exchange_id is that of the other slot's record"),
            publish(
                21,
                ephemeral_record(expires_on=71, public_key="another", tls=SECOND_TLS),
                signer=SECOND,
                refusal="the exchange_id is that of the other slot's record; open an exchange with a new one",
            ),
            publish(71, OPENING_1 | {"expires_on": 121}, signer=SECOND),
            publish(72, OPENING_1 | {"expires_on": 121}, refusal="the exchange_id is that of the other slot's record"),
            publish(
                73,
                ephemeral_record(exchange="second", expires_on=121, answers=LATER, tls=NODE_TLS),
                signer=NODE,
                refusal="record.answers is not the hash of the opening record",
            ),
            publish(73, ANSWER_0, signer=NODE, refusal="record.expires_on must be after block 73"),
            publish(
                73,
                ephemeral_record(expires_on=100, answers=OPENING, tls=NODE_TLS),
                signer=NODE,
                refusal="record.exchange_id is that of no opening record",
            ),
        ),
    ),
    Sequence(
        name="in a recovery either slot's exchange is answered",
        steps=(
            *BOTH,
            submit_recovery(20, result={"recovery_id": 1}),
            publish(21, RECOVERING_0),
            publish(21, RECOVERING_1, signer=SECOND),
            publish(22, RECOVERED_1, signer=NODE, refusal="only the recovering node"),
            publish(22, RECOVERED_1, signer=NEW),
            shows_keys(
                22, value=both((shown(RECOVERING_0, 21), shown(RECOVERING_1, 21)), (None, shown(RECOVERED_1, 22)))
            ),
            register(23, signer="other", tls="other TLS", slot=1),
            publish(24, RECOVERING_1, signer=SECOND, refusal="the access key is retired"),
        ),
    ),
)
