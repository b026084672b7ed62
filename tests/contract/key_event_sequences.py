"""Sequences of key generation and resharing (steps.py says how they are played)."""

from tests.contract.key_event_steps import (
    ERIN_NODE,
    ERIN_TLS,
    ERIN_URL,
    WITH_ERIN,
    add_domains,
    announce_erin,
    digest,
    domain,
    propose,
    public_key,
    reshare,
    shows_proposal,
    start_keygen,
    vote_pk,
)
from tests.contract.steps import Sequence, init, pair, shows, shows_account
from tests.contract.world import ALICE, BOB, CAROL, ERIN, PARTICIPANTS, domains, keyset

KEY_EVENT_SEQUENCES = (
    Sequence(
        name="a threshold adds a domain, whose key all participants then vote",
        steps=(
            init(),
            add_domains(10, domain(4), caller=BOB),
            shows(10, "Running", "add_domains_votes", value={"proposal_by_account": {"3": [domain(4)]}}),
            add_domains(11, domain(4), caller=BOB),
            shows(11, "Running", "domains", "next_domain_id", value=4),
            add_domains(12, domain(4), caller=CAROL, signer="carol operator"),
            shows(12, "Initializing", "generating_key", "instance", value=None),
            shows(12, "Initializing", "generated_keys", value=keyset()["domains"]),
            start_keygen(13),
            *(vote_pk(14, caller=name) for name in PARTICIPANTS),
            shows(
                14,
                "Running",
                "domains",
                value=domains() | {"domains": [*domains()["domains"], domain(4)], "next_domain_id": 5},
            ),
            shows(14, "Running", "keyset", "epoch_id", value=5),
            shows(
                14,
                "Running",
                "keyset",
                "domains",
                2,
                value={"domain_id": 4, "key": public_key("new key"), "attempt": 0},
            ),
        ),
    ),
    Sequence(
        name="a threshold proposes a further participant, and the keys pass to the new set domain by domain",
        steps=(
            init(),
            announce_erin(),
            propose(11, caller=ALICE),
            shows(11, "Running", "parameters_votes", value={"proposal_by_account": {ALICE: digest(WITH_ERIN)}}),
            shows_proposal(
                11,
                digest(WITH_ERIN),
                {"prospective_epoch_id": 6, "proposal": WITH_ERIN | {"per_domain_thresholds": {}}},
            ),
            propose(12, caller=BOB),
            shows(12, "Resharing", "resharing_key", "parameters", value=WITH_ERIN["parameters"]),
            *reshare(13, members=(*PARTICIPANTS, ERIN)),
            shows(13, "Running", "parameters", value=WITH_ERIN["parameters"]),
            shows(13, "Running", "keyset", "epoch_id", value=6),
            shows_account(13, "node", account=ERIN, value=pair(ERIN_NODE, ERIN_TLS, ERIN_URL)),
        ),
    ),
)
