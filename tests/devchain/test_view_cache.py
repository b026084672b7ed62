"""View calls asked again about the same block are answered from memory, and never about another block."""

from sharekeeper_devnet.chain.ledger import Ledger
from sharekeeper_devnet.chain.store import Store
from sharekeeper_devnet.chain.view_cache import ENTRY_BYTES, ViewCache
from sharekeeper_devnet.runtime import Outcome
from tests.devchain.conftest import genesis


def asked(cache: ViewCache, times: list[str], account_id: str, *, size: int = 0, block: bytes = b"b") -> Outcome:
    def compute() -> Outcome:
        times.append(account_id)
        return Outcome(failure=None, gas_burnt=0, return_value=bytes(size))

    return cache.answer((block, account_id, "state", b""), compute)


def test_a_question_is_computed_once_for_a_block_and_again_for_the_next():
    cache, times = ViewCache(), []
    assert asked(cache, times, "a.near") is asked(cache, times, "a.near")
    asked(cache, times, "a.near", block=b"c")
    assert times == ["a.near", "a.near"]


def test_the_cache_holds_the_newest_answers_that_fit():
    cache, times = ViewCache(max_bytes=3 * (ENTRY_BYTES + 1_100)), []
    for name in ("a.near", "b.near", "c.near", "a.near", "d.near", "a.near", "b.near"):
        asked(cache, times, name, size=1_000)
    assert times == ["a.near", "b.near", "c.near", "d.near", "b.near"]
    assert cache.bytes <= 3 * (ENTRY_BYTES + 1_100)


def test_an_answer_larger_than_the_cache_is_not_kept():
    cache, times = ViewCache(max_bytes=1_000), []
    for _ in range(2):
        assert len(asked(cache, times, "a.near", size=2_000).return_value) == 2_000
    assert (times, cache.bytes) == (["a.near"] * 2, 0)


def test_views_of_two_blocks_differ_though_method_and_arguments_do_not(tmp_path):
    ledger = Ledger(Store(tmp_path), genesis())
    answers = []
    for _ in range(2):
        ledger.produce_block(1)
        answers += [ledger.view(ledger.tip.head, "counter.test.near", "height", b"").return_value for _ in range(2)]
    assert [int.from_bytes(each, "little") for each in answers] == [1, 1, 2, 2]
    ledger.close()
