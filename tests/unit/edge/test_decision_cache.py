"""The decision cache of a worker: what it keeps, and when it forgets."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from whence.core.identification.decision import Rule
from whence.edge.decision_cache import LIMIT, CachedDecision, CacheKey, DecisionCache
from whence.store.connection import GenerationWriter
from whence.store.generation import GenerationReader
from whence.store.schema import GENERATION_FILE

NOW = 1_000_000.0
KEY = CacheKey("udp:192.0.2.1:5060", "sip:+442071234567@edge.example", None, None)
CACHED = CachedDecision(
    "acme",
    Rule.NUMBER,
    "X-Whence-Trunk: acme\r\n",
    "sip:alice@edge.example",
    True,
    NOW + 60,
    "report",
)


@pytest.fixture
def generation(tmp_path: Path) -> Iterator[GenerationWriter]:
    generation = GenerationWriter(tmp_path / GENERATION_FILE)
    yield generation
    generation.close()


@pytest.fixture
def cache(generation: GenerationWriter, tmp_path: Path) -> DecisionCache:
    return DecisionCache(GenerationReader(tmp_path / GENERATION_FILE))


def test_get_after_an_address_expires_returns_none(cache: DecisionCache) -> None:
    assert cache.get(KEY, NOW) is None
    cache.keep(KEY, CACHED)
    assert cache.get(KEY, NOW + 59.9) == CACHED
    assert cache.get(KEY, NOW + 60) is None


@pytest.mark.parametrize("field", CacheKey._fields)
def test_keep_of_a_long_key_keeps_nothing(cache: DecisionCache, field: str) -> None:
    """Ten thousand URIs of sixty kilobytes would be half a gigabyte in each worker."""
    for length, is_kept in ((900, True), (1_001, False)):
        key = KEY._replace(**{field: "x" * length})
        cache.get(key, NOW)
        cache.keep(key, CACHED)
        assert (cache.get(key, NOW) is not None) == is_kept


@pytest.mark.parametrize("field", CacheKey._fields)
def test_get_of_another_key_returns_none(cache: DecisionCache, field: str) -> None:
    cache.get(KEY, NOW)
    cache.keep(KEY, CACHED)
    assert cache.get(KEY._replace(**{field: "other"}), NOW) is None


def test_get_after_a_new_generation_returns_none(
    cache: DecisionCache, generation: GenerationWriter
) -> None:
    cache.get(KEY, NOW)
    cache.keep(KEY, CACHED)
    generation.move()
    assert cache.get(KEY, NOW) is None


def test_keep_after_a_new_generation_is_dropped_at_next_get(
    cache: DecisionCache, generation: GenerationWriter
) -> None:
    """The directory changes between `get` and `keep`."""
    cache.get(KEY, NOW)
    generation.move()
    cache.keep(KEY, CACHED)
    assert cache.get(KEY, NOW) is None


def test_get_after_a_new_generation_file_returns_none(
    cache: DecisionCache, generation: GenerationWriter, tmp_path: Path
) -> None:
    cache.get(KEY, NOW)
    cache.keep(KEY, CACHED)
    GenerationWriter(tmp_path / GENERATION_FILE).close()
    assert cache.get(KEY, NOW) is None


def test_keep_without_a_generation_keeps_nothing(tmp_path: Path) -> None:
    cache = DecisionCache(GenerationReader(tmp_path / GENERATION_FILE))
    for _ in range(2):
        assert cache.get(KEY, NOW) is None
        cache.keep(KEY, CACHED)
    generation = GenerationWriter(tmp_path / GENERATION_FILE)
    try:
        assert cache.get(KEY, NOW) is None
        cache.keep(KEY, CACHED)
        assert cache.get(KEY, NOW) == CACHED
    finally:
        generation.close()


def test_keep_of_many_keys_stays_within_the_limit(cache: DecisionCache) -> None:
    cache.get(KEY, NOW)
    for number in range(3 * LIMIT):
        cache.keep(KEY._replace(ruri=f"sip:{number}@edge.example"), CACHED)
        assert len(cache._decisions) <= LIMIT


def test_get_after_the_generation_file_moved_away_returns_none(
    cache: DecisionCache, generation: GenerationWriter, tmp_path: Path
) -> None:
    """The operator moves the state directory away. The old generation then never changes."""
    cache.get(KEY, NOW)
    cache.keep(KEY, CACHED)
    assert cache.get(KEY, NOW + 0.5) == CACHED
    (tmp_path / GENERATION_FILE).rename(tmp_path / "moved")
    assert cache.get(KEY, NOW + 1.5) is None
    with closing(GenerationWriter(tmp_path / GENERATION_FILE)):
        assert cache.get(KEY, NOW + 3) is None
        cache.keep(KEY, CACHED)
        assert cache.get(KEY, NOW + 3.5) == CACHED


def test_generation_is_looked_at_after_the_clock_is_set_back(
    cache: DecisionCache, generation: GenerationWriter, tmp_path: Path
) -> None:
    cache.get(KEY, NOW)
    cache.keep(KEY, CACHED)
    (tmp_path / GENERATION_FILE).rename(tmp_path / "moved")
    with closing(GenerationWriter(tmp_path / GENERATION_FILE)):
        assert cache.get(KEY, NOW - 3600) is None
