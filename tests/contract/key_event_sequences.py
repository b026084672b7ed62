"""Sequences of key generation (steps.py says how they are played); those of resharing are in resharing_sequences.py."""

from typing import Any

from tests.contract.key_event_steps import (
    EMPTY_KEYSET_DIGEST,
    NEXT_DOMAIN,
    add_domains,
    cancel_keygen,
    domain,
    init_without_domains,
    public_key,
    start_keygen,
    vote_pk,
)
from tests.contract.leftover_sequences import LEFTOVER_SEQUENCES
from tests.contract.resharing_sequences import RESHARING_SEQUENCES
from tests.contract.steps import (
    BACKUP,
    NEW,
    NEW_TLS,
    OPERATOR,
    Sequence,
    ask,
    change_url,
    conclude,
    confirm,
    init,
    is_running,
    register,
    shows,
    shows_info_of_alice,
    submit,
    submit_recovery,
)
from tests.contract.world import (
    ALICE,
    BOB,
    CAROL,
    ERIN,
    PARTICIPANTS,
    domains,
    info,
    key,
    keyset,
    node_signer,
    node_tls,
    raw_key,
    recovery_arguments,
    url,
)

FOUR = NEXT_DOMAIN
FIVE = NEXT_DOMAIN + 1
VOTED = (init(), add_domains(10, domain(FOUR), caller=BOB), add_domains(10, domain(FOUR), caller=CAROL))
BOTH_VOTED = (
    init(),
    add_domains(10, domain(FOUR), domain(FIVE), caller=BOB),
    add_domains(10, domain(FOUR), domain(FIVE), caller=CAROL),
)


def with_point(name: str, point: object) -> dict[str, Any]:
    """A public key that says `point` is the compressed Edwards point."""
    return {"Ed25519": {"near_public_key_compressed": key(name), "edwards_point": point}}


KEY_EVENT_SEQUENCES = (
    Sequence(
        name="a threshold adds a domain, whose key all participants then vote",
        steps=(
            init(),
            add_domains(10, domain(FOUR), caller=BOB),
            shows(10, "Running", "add_domains_votes", value={"proposal_by_account": {"3": [domain(FOUR)]}}),
            add_domains(11, domain(FOUR), caller=BOB),
            shows(11, "Running", "domains", "next_domain_id", value=FOUR),
            add_domains(12, domain(FOUR), caller=CAROL, signer="carol operator"),
            shows(12, "Initializing", "generating_key", "instance", value=None),
            shows(12, "Initializing", "generated_keys", value=keyset()["domains"]),
            ask(12, refusal="sign is possible only in Running and the contract is Initializing"),
            start_keygen(13),
            shows(
                13,
                "Initializing",
                "generating_key",
                "instance",
                value={"attempt_id": 0, "started_in": 13, "expires_on": 43, "completed": [], "public_key": None},
            ),
            vote_pk(14, caller=BOB),
            shows(14, "Initializing", "generating_key", "instance", "completed", value=[3]),
            shows(14, "Initializing", "generating_key", "instance", "public_key", value=public_key("new key")),
            vote_pk(15, caller=BOB),
            vote_pk(15, caller=CAROL),
            vote_pk(16, caller=ALICE),
            shows(
                16,
                "Running",
                "domains",
                value={"domains": [*domains()["domains"], domain(FOUR)], "next_domain_id": FIVE},
            ),
            shows(16, "Running", "add_domains_votes", value={"proposal_by_account": {}}),
            shows(
                16,
                "Running",
                "keyset",
                value={
                    "epoch_id": 5,
                    "domains": [
                        *keyset()["domains"],
                        {"domain_id": FOUR, "key": public_key("new key"), "attempt": 0},
                    ],
                },
            ),
            vote_pk(17, caller=ALICE, refusal="vote_pk is possible only in Initializing and the contract is Running"),
        ),
    ),
    Sequence(
        name="an edwards_point has one form, since whatever stands there is in every state from then on",
        steps=(
            *VOTED,
            start_keygen(13),
            *(
                vote_pk(14, caller=BOB, given=given, refusal="names another edwards_point than its public key")
                for given in (
                    with_point("new key", [float(byte) for byte in raw_key("new key")]),
                    with_point("key 0", [byte or False for byte in raw_key("key 0")]),
                    with_point("new key", [*raw_key("new key"), 0]),
                    with_point("new key", {}),
                )
            ),
            shows(14, "Initializing", "generating_key", "instance", "public_key", value=None),
        ),
    ),
    Sequence(
        name="domains are generated one after the other, each with attempts of its own",
        steps=(
            *BOTH_VOTED,
            start_keygen(11, of=FIVE, refusal="key_event_id.domain_id is not 4"),
            start_keygen(11, 1, refusal="key_event_id.attempt_id is not 0"),
            start_keygen(11),
            start_keygen(41, 1),
            *(vote_pk(42, 1, caller=name) for name in PARTICIPANTS),
            shows(42, "Initializing", "generated_keys", 2, "attempt", value=1),
            shows(42, "Initializing", "generating_key", "domain", value=domain(FIVE)),
            shows(42, "Initializing", "generating_key", "next_attempt_id", value=0),
            vote_pk(42, 1, caller=ALICE, refusal="no instance is in progress"),
            start_keygen(43, of=FIVE),
            vote_pk(43, 0, caller=ALICE, refusal="key_event_id.domain_id is not 5"),
            *(vote_pk(44, of=FIVE, caller=name, name="fifth key") for name in PARTICIPANTS),
            shows(44, "Running", "keyset", "domains", 3, "key", value=public_key("fifth key")),
        ),
    ),
    Sequence(
        name="only the leader starts an instance, and none while another is in progress",
        steps=(
            *VOTED,
            start_keygen(11, caller=BOB, refusal="only the leader"),
            start_keygen(11, signer=OPERATOR, refusal="the access key is that of an unrecorded access key"),
            start_keygen(11, caller=ERIN, signer="erin key", refusal="erin.test.near is no participant"),
            start_keygen(11),
            start_keygen(40, 1, refusal="an instance is in progress until block 41"),
            vote_pk(40, caller=ALICE),
            vote_pk(41, caller=BOB, refusal="no instance is in progress"),
            start_keygen(41, 0, refusal="key_event_id.attempt_id is not 1"),
            start_keygen(41, 1),
            shows(41, "Initializing", "generating_key", "instance", "completed", value=[]),
            vote_pk(42, 0, caller=BOB, refusal="key_event_id.attempt_id is not 1"),
        ),
    ),
    Sequence(
        name="votes for different keys end the instance",
        steps=(
            *VOTED,
            start_keygen(11),
            vote_pk(12, caller=ALICE),
            vote_pk(12, caller=BOB),
            vote_pk(12, caller=CAROL, name="another key"),
            shows(12, "Initializing", "generating_key", "instance", value=None),
            vote_pk(13, caller=CAROL, refusal="no instance is in progress"),
            start_keygen(13, 1),
            vote_pk(14, 1, caller=CAROL, name="another key"),
            vote_pk(14, 1, caller=CAROL, name="another key"),
            shows(14, "Initializing", "generating_key", "instance", "completed", value=[6]),
        ),
    ),
    Sequence(
        name="only nodes in force vote for a key, of the kind the domain has",
        steps=(
            init(),
            register(9),
            submit(9, caller=ERIN, signer="erin node", tls="erin TLS", address="http://erin.example"),
            *VOTED[1:],
            start_keygen(11),
            vote_pk(12, caller=ALICE, signer=BACKUP, refusal="that of the backup service in force"),
            vote_pk(12, caller=ALICE, signer=OPERATOR, refusal="that of an unrecorded access key"),
            vote_pk(12, caller=ERIN, signer="erin node", refusal="erin.test.near is no participant"),
            vote_pk(12, caller=BOB, signer=node_signer(ALICE), refusal="recorded for another account"),
            vote_pk(12, caller=BOB, given={"Secp256k1": {}}, refusal="the key of domain 4 has the unknown field"),
            vote_pk(12, caller=BOB, epoch=4, refusal="key_event_id.epoch_id is not 5"),
        ),
    ),
    Sequence(
        name="a threshold cancels the key generation and the ids are spent",
        steps=(
            *BOTH_VOTED,
            start_keygen(11),
            *(vote_pk(12, caller=name) for name in PARTICIPANTS),
            cancel_keygen(13, caller=BOB, next_id=FIVE, refusal="next_domain_id is not 6"),
            cancel_keygen(13, caller=ERIN, signer="erin key", refusal="erin.test.near is no participant"),
            cancel_keygen(13, 6, caller=BOB),
            cancel_keygen(14, 6, caller=BOB, signer="bob operator"),
            shows(14, "Initializing", "cancel_votes", value=[3]),
            cancel_keygen(15, 6, caller=ALICE, signer=OPERATOR),
            shows(15, "Running", "keyset", "domains", 2, "domain_id", value=FOUR),
            shows(
                15, "Running", "domains", value={"domains": [*domains()["domains"], domain(FOUR)], "next_domain_id": 6}
            ),
            add_domains(16, domain(FIVE), caller=BOB, refusal="the domain id 5 must be 6"),
            # Votes before do not count.
            add_domains(16, domain(6), caller=BOB),
            add_domains(17, domain(6), caller=CAROL),
            cancel_keygen(18, 6, caller=BOB, refusal="next_domain_id is not 7"),
            cancel_keygen(18, 7, caller=CAROL),
            shows(18, "Initializing", "cancel_votes", value=[6]),
        ),
    ),
    Sequence(
        name="a participant has one open vote for domains, the latest",
        steps=(
            init(),
            add_domains(10, domain(FOUR), caller=BOB),
            add_domains(11, domain(FOUR, reconstruction_threshold=3), caller=BOB),
            add_domains(12, domain(FOUR), caller=CAROL),
            shows(
                12,
                "Running",
                "add_domains_votes",
                "proposal_by_account",
                value={"3": [domain(FOUR, reconstruction_threshold=3)], "6": [domain(FOUR)]},
            ),
            add_domains(13, caller=ALICE, refusal="domains must add at least one domain"),
            add_domains(13, *[domain(FOUR + n) for n in range(9)], caller=ALICE, refusal="at most 8 are allowed"),
            add_domains(13, domain(FIVE), caller=ALICE, refusal="the domain id 5 must be 4"),
            add_domains(13, domain(FOUR), domain(FOUR), caller=ALICE, refusal="the domain id 4 must be 5"),
            add_domains(13, domain(FOUR, reconstruction_threshold=4), caller=ALICE, refusal="must be between 1 and 3"),
            add_domains(13, domain(FOUR), caller=ERIN, signer="erin key", refusal="is no participant"),
            add_domains(13, domain(FOUR, reconstruction_threshold=3), caller=ALICE),
            shows(13, "Initializing", "generating_key", "domain", "reconstruction_threshold", value=3),
        ),
    ),
    Sequence(
        name="a network starts from nothing",
        steps=(
            init_without_domains(),
            shows(1, "Running", "keyset", value={"epoch_id": 5, "domains": []}),
            add_domains(10, domain(FOUR), caller=BOB),
            add_domains(10, domain(FOUR), caller=CAROL),
            shows(10, "Initializing", "generated_keys", value=[]),
            start_keygen(11),
            *(vote_pk(12, caller=name) for name in PARTICIPANTS),
            shows(
                12,
                "Running",
                "keyset",
                "domains",
                value=[{"domain_id": FOUR, "key": public_key("new key"), "attempt": 0}],
            ),
        ),
    ),
    Sequence(
        name="a node recovers without a delivery when the network holds no key",
        steps=(
            init_without_domains(),
            submit_recovery(
                10,
                args=recovery_arguments(ALICE, NEW_TLS) | {"expected_keyset": EMPTY_KEYSET_DIGEST},
                result={"recovery_id": 1},
            ),
            shows(10, "Recovery", "shares_confirmed", value=True),
            conclude(11, digest=EMPTY_KEYSET_DIGEST),
            shows_info_of_alice(11, info(NEW_TLS)),
        ),
    ),
    Sequence(
        name="after a total loss during the key generation operators cancel it, and nodes recover",
        steps=(
            init(),
            register(9),
            *VOTED[1:],
            start_keygen(11),
            submit_recovery(12, refusal="is possible only in Running and the contract is Initializing"),
            change_url(12, "http://x.example", refusal="is possible only in Running and the contract is Initializing"),
            submit(12, caller=BOB, signer=node_signer(BOB), tls=node_tls(BOB), address=url(BOB)),
            register(13, caller=BOB, signer="bob backup", tls="bob backup TLS"),
            cancel_keygen(14, caller=BOB, signer="bob operator"),
            cancel_keygen(15, caller=CAROL, signer="carol operator"),
            is_running(15),
            shows(15, "Running", "keyset", value=keyset()),
            submit_recovery(16, signer=NEW, result={"recovery_id": 1}),
            confirm(17),
            conclude(18),
            shows_info_of_alice(18, info(NEW_TLS)),
        ),
    ),
    *RESHARING_SEQUENCES,
    *LEFTOVER_SEQUENCES,
)
