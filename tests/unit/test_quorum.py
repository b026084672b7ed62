"""What several endpoints say becomes one block and state, or nothing; and fewer liars than a quorum decide nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper.domain.backup import QuorumOverride
from sharekeeper.domain.protocol_state import BlockRef
from sharekeeper.errors import ChainAnswerInvalid, ChainUnavailable, WrongNetwork
from sharekeeper.protocol.quorum import (
    FAULT_OF,
    Standing,
    Statement,
    candidate_heights,
    decide_agreed,
    decide_survey,
    find_override,
    majority,
    read_views,
)

from .contract_views import views
from .protocol_values import ALICE, BOB, NEW, NOW_NS, RUNNING, keyset, record, recovery, tls

SECOND = 10**9
TRUTH = views(RUNNING, record())


def block(height=100, fork=0, *, age=2.0):
    return BlockRef(height=height, hash=f"{height}-{fork}", timestamp_ns=NOW_NS - int(age * SECOND))


def says(endpoint, *, final=None, at=None, shows=TRUTH, fault=None):
    """An endpoint that has `final` as its newest final block, and at block `at` shows `shows`."""
    final = final or block()
    return Statement(endpoint=endpoint, final=final, block=at or final, views=shows, fault=fault)


def silent(endpoint):
    return Statement(endpoint=endpoint, fault=ChainUnavailable("no answer"))


def survey(*told, quorum=2):
    return decide_survey(told, quorum=quorum, now_ns=NOW_NS)


def standings(found):
    return {one.endpoint: one.standing for one in found.judgements}


# --- what is agreed -----------------------------------------------------------------------------


@pytest.mark.parametrize(("endpoints", "quorum"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_quorum_is_more_than_half(endpoints, quorum):
    assert majority(endpoints) == quorum


def test_the_heights_tried_are_those_a_quorum_has_reached_newest_first():
    finals = [block(height) for height in (7, 9, 5, 9)]
    assert candidate_heights(finals, 1) == (9, 7, 5)
    assert candidate_heights(finals, 2) == (9, 7, 5)
    assert candidate_heights(finals, 3) == (7, 5)
    assert candidate_heights(finals, 5) == ()


def test_a_height_that_one_endpoint_made_up_is_not_tried_with_a_quorum_of_two():
    assert candidate_heights([block(10**12), block(100), block(99)], 2) == (100, 99)


def test_endpoints_that_show_the_same_at_the_same_block_agree():
    found = survey(says("own"), says("a"), silent("b"))
    assert found.agreed.block == block()
    assert found.agreed.witnesses == ("own", "a")
    assert standings(found) == {"own": Standing.AGREES, "a": Standing.AGREES, "b": Standing.HANGS}


@pytest.mark.parametrize(
    "second",
    [
        says("a", final=block(fork=1)),
        says("a", final=block(age=3.0)),
        says("a", shows=views(recovery(), record())),
        says("a", shows=(TRUTH[0], b"{}")),
        says("a", final=block(99), at=block(100)),
        says("a", final=block(99)),
        replace(says("a"), views=None),
        silent("a"),
        says("own"),
    ],
    ids=[
        "hash",
        "time",
        "state",
        "account",
        "not final there",
        "lower",
        "no views",
        "silent",
        "the same endpoint twice",
    ],
)
def test_one_endpoint_is_no_quorum_of_two_whatever_differs(second):
    assert decide_agreed([says("own"), second], quorum=2, now_ns=NOW_NS) is None


def test_a_block_over_a_minute_old_is_agreed_by_nobody():
    old = block(age=61)
    found = survey(says("own", final=old), says("a", final=old))
    assert found.agreed is None
    assert set(standings(found).values()) == {Standing.LAGS}


def test_two_groups_that_both_reach_a_number_below_the_majority_agree_on_nothing():
    told = [says("own"), says("a"), says("b", final=block(fork=1)), says("c", final=block(fork=1))]
    assert decide_agreed(told, quorum=2, now_ns=NOW_NS) is None


# --- who does not agree -------------------------------------------------------------------------

LIARS = [
    (silent("c"), Standing.HANGS, "no answer"),
    (says("c", final=block(fork=1)), Standing.FORKS, "its block 100 is 100-1, at 2 others 100-0"),
    (says("c", shows=views(recovery(), record())), Standing.LIES, "Recovery 7 of alice.test.near"),
    (
        says("c", shows=views(replace(RUNNING, keyset=keyset(4)), record())),
        Standing.LIES,
        "epoch 4, keyset",
    ),
    (
        says("c", shows=views(replace(RUNNING, keyset=keyset(4)), record())),
        Standing.LIES,
        ", an older keyset, where others show Running, epoch 5",
    ),
    (says("c", shows=(TRUTH[0], b"{}")), Standing.LIES, "another record of the account"),
    (says("c", shows=(b"[", b"{}")), Standing.LIES, "a state that cannot be read"),
    (Statement(endpoint="c", fault=WrongNetwork("serves chain_id 'x'")), Standing.FOREIGN, "serves chain_id"),
    (Statement(endpoint="c", fault=ChainAnswerInvalid("HTML")), Standing.GARBAGE, "HTML"),
    (replace(says("c"), views=None, fault=ChainAnswerInvalid("panic")), Standing.GARBAGE, "panic"),
    (replace(says("c"), views=None, fault=ChainUnavailable("slow")), Standing.HANGS, "slow"),
    (replace(says("c"), block=None, views=None, fault=ChainUnavailable("slow")), Standing.HANGS, "slow"),
    (
        Statement(endpoint="c", final=block(70), fault=ChainUnavailable("UNKNOWN_BLOCK")),
        Standing.LAGS,
        "its newest final block 70 is 30 behind",
    ),
    (
        says("c", final=block(99), at=block(fork=1)),
        Standing.LAGS,
        "its newest final block 99 is 1 behind",
    ),
    (Statement(endpoint="c", final=block(70, age=61)), Standing.LAGS, "70 is not of the last minute"),
]


@pytest.mark.parametrize(("told", "standing", "words"), LIARS)
def test_an_endpoint_is_judged_by_what_the_others_agree_on_and_told_apart(told, standing, words):
    found = survey(says("own"), says("a"), told)
    assert found.agreed.witnesses == ("own", "a")
    [judgement] = [one for one in found.judgements if one.endpoint == "c"]
    assert judgement.standing is standing
    assert words in judgement.said
    assert standing in FAULT_OF


def test_an_endpoint_a_few_blocks_behind_that_shows_the_same_agrees():
    late = says("c", final=block(98), at=block(100))
    assert standings(survey(says("own"), says("a"), late))["c"] is Standing.AGREES


def test_where_nothing_is_agreed_nobody_is_called_a_liar_and_everybody_is_quoted():
    found = survey(says("own"), says("a", shows=views(recovery(), record())), says("b", final=block(fork=1)), quorum=2)
    assert found.agreed is None
    assert set(standings(found).values()) == {Standing.UNDECIDED}
    told = str(found.missing())
    assert "no 2 of 3" in told
    for words in ("own: block 100", "a: block 100", "Recovery 7", "b: block 100 is 100-1", "sharekeeper chain quorum"):
        assert words in told


def test_views_that_cannot_be_read_are_a_fault_of_the_answer():
    assert read_views(TRUTH).state == RUNNING
    for broken in ((b"", b""), (TRUTH[0],), (b"{}", TRUTH[1]), (TRUTH[0], b"[]"), (TRUTH[0], b"\xff")):
        with pytest.raises(ChainAnswerInvalid):
            read_views(broken)


# --- the property -------------------------------------------------------------------------------

HEIGHTS = st.integers(95, 105)
LIE = views(recovery(), record())


@st.composite
def honest(draw, name):
    """Honest endpoints are on one chain, at different heights, and show what is true at each block; some are silent."""
    if draw(st.integers(0, 4)) == 0:
        return silent(name)
    final = draw(HEIGHTS)
    return says(name, final=honest_block(final), at=honest_block(draw(st.integers(95, final))), shows=TRUTH)


def honest_block(height):
    return block(height, age=105.0 - height)


@st.composite
def liar(draw, name):
    """Anything: the truth, another state, another fork, a height that nobody has, another time."""
    made_up = block(draw(st.one_of(HEIGHTS, st.just(10**9))), draw(st.integers(0, 1)), age=draw(st.floats(-60, 60)))
    shown = draw(st.one_of(st.just(made_up), HEIGHTS.map(honest_block)))
    final = draw(st.one_of(st.just(made_up), HEIGHTS.map(honest_block)))
    return says(name, final=final, at=shown, shows=draw(st.sampled_from([TRUTH, LIE, (b"", b"")])))


@st.composite
def statements(draw):
    """3 to 7 endpoints, a quorum of them, and fewer liars than that."""
    number = draw(st.integers(1, 7))
    quorum = draw(st.integers(majority(number), number))
    liars = draw(st.integers(0, quorum - 1))
    told = [draw(liar(f"l{n}") if n < liars else honest(f"h{n}")) for n in range(number)]
    return quorum, draw(st.permutations(told))


@given(statements())
def test_fewer_liars_than_a_quorum_cannot_make_a_block_or_state_agreed_that_no_honest_endpoint_has(drawn):
    quorum, told = drawn
    agreed = decide_agreed(told, quorum=quorum, now_ns=NOW_NS)
    if agreed is None:
        return
    assert agreed.views == TRUTH
    assert agreed.block == honest_block(agreed.block.height)
    assert any(name.startswith("h") for name in agreed.witnesses)
    assert len(agreed.witnesses) >= quorum


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - majority(n)))), st.data())
def test_a_majority_of_honest_endpoints_at_one_block_is_agreed_whatever_the_others_say(drawn, data):
    number, liars = drawn
    told = [data.draw(liar(f"l{n}")) if n < liars else says(f"h{n}") for n in range(number)]
    agreed = decide_agreed(data.draw(st.permutations(told)), quorum=majority(number), now_ns=NOW_NS)
    assert agreed is not None
    assert (agreed.block, agreed.views) == (block(), TRUTH)


# --- the operator's override ----------------------------------------------------------------------

OVERRIDE = QuorumOverride(
    account_id=ALICE,
    block_hash="1" * 32,
    recovery_id=7,
    tls_key=NEW.info.tls_public_key,
    deadline_ns=NOW_NS + 1,
    used_at_ns=None,
)


def test_an_override_for_this_recovery_is_found_among_others():
    others = replace(OVERRIDE, recovery_id=6), replace(OVERRIDE, used_at_ns=5)
    assert find_override([*others, OVERRIDE], recovery(), NOW_NS) == OVERRIDE
    assert find_override([], recovery(), NOW_NS) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"account_id": BOB}, "account bob.test.near"),
        ({"recovery_id": 8}, "recovery 8"),
        ({"tls_key": tls(99)}, "TLS key"),
        ({"deadline_ns": NOW_NS}, "deadline has passed"),
        ({"used_at_ns": 1}, "it was used"),
    ],
)
def test_an_override_that_differs_in_one_point_stands_for_nothing_and_says_which(change, words):
    [told] = find_override([replace(OVERRIDE, **change)], recovery(), NOW_NS)
    assert words in told
