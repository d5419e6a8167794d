"""What a worker has decided already, and when it must ask anew."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from whence.core.identification.decision import Rule
from whence.edge.decision_cache import LIMIT, CachedDecision, CacheKey, DecisionCache
from whence.store.connection import GenerationWriter as Counter
from whence.store.generation import GenerationReader
from whence.store.schema import GENERATION_FILE

NOW = 1_000_000.0
ASKED = CacheKey("udp:192.0.2.1:5060", "sip:+442071234567@edge.example", None, None)
ANSWER = CachedDecision(
    "acme",
    Rule.NUMBER,
    "X-Whence-Trunk: acme\r\n",
    "sip:alice@edge.example",
    True,
    NOW + 60,
    "report",
)


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    counter = Counter(tmp_path / GENERATION_FILE)
    yield counter
    counter.close()


@pytest.fixture
def known(counter: Counter, tmp_path: Path) -> DecisionCache:
    return DecisionCache(GenerationReader(tmp_path / GENERATION_FILE))


def test_an_answer_is_known_until_an_address_that_it_rests_on_ends(known: DecisionCache) -> None:
    assert known.get(ASKED, NOW) is None
    known.keep(ASKED, ANSWER)
    assert known.get(ASKED, NOW + 59.9) == ANSWER
    assert known.get(ASKED, NOW + 60) is None


@pytest.mark.parametrize("field", CacheKey._fields)
def test_what_is_long_is_asked_anew_each_time(known: DecisionCache, field: str) -> None:
    """Ten thousand URIs of sixty kilobytes would be half a gigabyte in each worker."""
    for length, is_kept in ((900, True), (1_001, False)):
        asked = ASKED._replace(**{field: "x" * length})
        known.get(asked, NOW)
        known.keep(asked, ANSWER)
        assert (known.get(asked, NOW) is not None) == is_kept


@pytest.mark.parametrize("field", CacheKey._fields)
def test_another_request_is_another_question(known: DecisionCache, field: str) -> None:
    known.get(ASKED, NOW)
    known.keep(ASKED, ANSWER)
    assert known.get(ASKED._replace(**{field: "other"}), NOW) is None


def test_when_the_directory_moves_everything_is_asked_anew(
    known: DecisionCache, counter: Counter
) -> None:
    known.get(ASKED, NOW)
    known.keep(ASKED, ANSWER)
    counter.move()
    assert known.get(ASKED, NOW) is None


def test_an_answer_that_was_read_while_the_directory_moved_is_not_kept_for_long(
    known: DecisionCache, counter: Counter
) -> None:
    """It is asked, the directory moves, and only then the answer is kept."""
    known.get(ASKED, NOW)
    counter.move()
    known.keep(ASKED, ANSWER)
    assert known.get(ASKED, NOW) is None


def test_a_new_agent_makes_everything_be_asked_anew(
    known: DecisionCache, counter: Counter, tmp_path: Path
) -> None:
    known.get(ASKED, NOW)
    known.keep(ASKED, ANSWER)
    Counter(tmp_path / GENERATION_FILE).close()
    assert known.get(ASKED, NOW) is None


def test_without_a_generation_nothing_is_kept_and_one_that_comes_is_found(tmp_path: Path) -> None:
    known = DecisionCache(GenerationReader(tmp_path / GENERATION_FILE))
    for _ in range(2):
        assert known.get(ASKED, NOW) is None
        known.keep(ASKED, ANSWER)
    counter = Counter(tmp_path / GENERATION_FILE)
    try:
        assert known.get(ASKED, NOW) is None
        known.keep(ASKED, ANSWER)
        assert known.get(ASKED, NOW) == ANSWER
    finally:
        counter.close()


def test_what_is_kept_is_bounded(known: DecisionCache) -> None:
    known.get(ASKED, NOW)
    for number in range(3 * LIMIT):
        known.keep(ASKED._replace(ruri=f"sip:{number}@edge.example"), ANSWER)
        assert len(known._decisions) <= LIMIT


def test_a_generation_that_was_moved_away_is_believed_no_more(
    known: DecisionCache, counter: Counter, tmp_path: Path
) -> None:
    """The operator moves the whole state away: nobody moves the old generation any more."""
    known.get(ASKED, NOW)
    known.keep(ASKED, ANSWER)
    assert known.get(ASKED, NOW + 0.5) == ANSWER
    (tmp_path / GENERATION_FILE).rename(tmp_path / "moved")
    assert known.get(ASKED, NOW + 1.5) is None
    with closing(Counter(tmp_path / GENERATION_FILE)):
        assert known.get(ASKED, NOW + 3) is None
        known.keep(ASKED, ANSWER)
        assert known.get(ASKED, NOW + 3.5) == ANSWER
