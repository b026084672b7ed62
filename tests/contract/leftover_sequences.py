"""Sequences in which something of a state that is over would count later, were it not dropped there."""

import hashlib

from tests.contract.key_event_steps import (
    ALL,
    ERIN_NODE,
    ERIN_URL,
    add_domains,
    announce_erin,
    cancel_resharing,
    digest,
    domain,
    entry,
    init_without_domains,
    proposal,
    propose,
    reshare,
    shows_proposal,
    start_reshare,
    vote_reshared,
)
from tests.contract.steps import (
    NEW,
    NEW_TLS,
    Call,
    Look,
    Sequence,
    init,
    shows,
    shows_account,
    submit,
    submit_recovery,
)
from tests.contract.world import (
    ALICE,
    BOB,
    CAITSITH_DOMAIN,
    CAROL,
    ERIN,
    FROST_DOMAIN,
    MALLORY,
    PARTICIPANTS,
    keyset,
    measurements,
    node_signer,
    recovery_arguments,
)

EVERYONE = (*PARTICIPANTS, ERIN)
THRESHOLD_3 = (
    init(),
    *(propose(11, proposal(*ALL, threshold=3), caller=name) for name in (BOB, CAROL)),
    *reshare(12, members=PARTICIPANTS),
)
FIRST, SECOND = proposal(*ALL, threshold=1), proposal(*ALL, threshold=2)


def digest_of_keyset(epoch: int, *attempts: int) -> str:
    """The digest of docs/contract.md, computed here by a second implementation."""
    lines = ["sharekeeper-keyset-v1", str(epoch)]
    for key, attempt in zip(keyset()["domains"], attempts, strict=True):
        (public_key,) = key["key"].values()
        text = public_key.get("near_public_key") or public_key["near_public_key_compressed"]
        lines.append(f"{key['domain_id']}:{attempt}:{text}")
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def recover_by_digest(height: int, expected_keyset: str) -> Call:
    args = recovery_arguments(ALICE, NEW_TLS) | {"expected_keyset": expected_keyset}
    return Call(
        method="submit_participant_recovery_info",
        caller=ALICE,
        signer=NEW,
        args=args,
        height=height,
        result={"recovery_id": 1},
    )


LEFTOVER_SEQUENCES = (
    Sequence(
        name="a resharing cancelled halfway leaves nothing to the keyset of the next, whose digest has its attempts",
        steps=(
            init(),
            announce_erin(),
            *(propose(11, caller=name) for name in (BOB, CAROL)),
            *reshare(13, CAITSITH_DOMAIN, members=EVERYONE),
            *(cancel_resharing(14, caller=name) for name in (BOB, CAROL)),
            *(propose(15, epoch=7, caller=name) for name in (BOB, CAROL)),
            start_reshare(16, epoch=7),
            *reshare(46, CAITSITH_DOMAIN, members=EVERYONE, epoch=7, attempt=1),
            *reshare(47, FROST_DOMAIN, members=EVERYONE, epoch=7),
            recover_by_digest(48, digest_of_keyset(7, 1, 0)),
        ),
    ),
    Sequence(
        name="the cooldown holds in the very call that finds the recovery expired",
        steps=(
            init(),
            submit_recovery(20, result={"recovery_id": 1}),
            submit_recovery(120, refusal="the account may recover again from block 1120"),
        ),
    ),
    Sequence(
        name="a participant that is removed loses its candidate with its node",
        steps=(
            init(),
            submit_recovery(20, result={"recovery_id": 1}),
            *(propose(121, proposal(entry(BOB), entry(CAROL)), caller=name) for name in (BOB, CAROL)),
            *reshare(122, members=(BOB, CAROL)),
            shows_account(122, "node_candidate", account=ALICE, value=None),
            submit(
                123,
                caller=ALICE,
                signer=NEW,
                tls=NEW_TLS,
                address="http://a.example",
                refusal="the access key is retired",
            ),
        ),
    ),
    Sequence(
        name="the candidate of an old participant has no part in a resharing",
        steps=(
            init(),
            announce_erin(),
            submit_recovery(20, result={"recovery_id": 1}),
            *(propose(121, caller=name) for name in (BOB, CAROL)),
            start_reshare(122, signer=NEW, refusal="the access key is that of a candidate node"),
            start_reshare(122),
            vote_reshared(123, caller=ALICE, signer=NEW, refusal="the access key is that of a candidate node"),
        ),
    ),
    Sequence(
        name="an account that becomes a participant frees its prospective place",
        steps=(
            init(),
            announce_erin(),
            submit(10, caller=MALLORY, signer="mallory", tls="mallory TLS", address="http://m.example"),
            submit(
                11,
                caller="frank.test.near",
                signer="frank",
                tls="frank TLS",
                address="http://f.example",
                refusal="as many prospective accounts as the contract allows",
            ),
            *(propose(11, caller=name) for name in (BOB, CAROL)),
            *reshare(12, members=EVERYONE),
            submit(13, caller="frank.test.near", signer="frank", tls="frank TLS", address="http://f.example"),
            submit(
                14,
                caller=ERIN,
                signer=ERIN_NODE,
                tls="another TLS",
                address=ERIN_URL,
                refusal="the TLS key is not in force",
            ),
        ),
    ),
    Sequence(
        name="another participant set of a network without keys starts with no open votes",
        steps=(
            init_without_domains(),
            announce_erin(),
            add_domains(11, domain(4), caller=CAROL),
            Call(
                method="vote_measurements",
                caller=BOB,
                signer=node_signer(BOB),
                args={"measurements": measurements("a TEE"), "allow": True},
                height=11,
            ),
            *(propose(12, caller=name) for name in (BOB, CAROL)),
            shows(12, "Running", "keyset", "epoch_id", value=6),
            shows(12, "Running", "add_domains_votes", value={"proposal_by_account": {}}),
            Look(method="code_hash_votes", height=12, value={"node": [], "backup_service": [], "measurements": []}),
        ),
    ),
    Sequence(
        name="as many participants as the threshold in force stay, whatever the domains need",
        steps=(
            *THRESHOLD_3,
            propose(
                13,
                proposal(entry(ALICE), entry(BOB)),
                epoch=7,
                caller=BOB,
                refusal="only 2 of the participants stay; at least 3 must",
            ),
        ),
    ),
    Sequence(
        name="a proposal is never shown under the digest of another",
        steps=(
            *THRESHOLD_3,
            *(propose(13, FIRST, epoch=7, caller=name) for name in (BOB, CAROL)),
            propose(14, SECOND, epoch=7, caller=BOB),
            shows_proposal(14, digest(FIRST, 7), None),
            propose(15, FIRST, epoch=7, caller=CAROL),
            shows_proposal(
                15, digest(FIRST, 7), {"prospective_epoch_id": 7, "proposal": FIRST | {"per_domain_thresholds": {}}}
            ),
        ),
    ),
)
