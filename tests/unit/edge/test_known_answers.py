"""The texts of known answers: no two keys have one text, and an entry ends with its key."""

from hypothesis import given
from hypothesis import strategies as st

from whence.core.identification.decision import Rule
from whence.edge.decision_cache import CachedDecision, CacheKey
from whence.edge.known_answers import WIDTH, KnownCall, Published, entry_text, key_text

GENERATION = bytes(range(8))
PUBLISHED = Published(GENERATION, 1).text()
KEY = CacheKey("udp:192.0.2.1:5060", "sip:+4420@edge.example", "sip:b@x", None)
TEXTS = st.text("ab:@<>-|0123 ", max_size=6)
KEYS = st.builds(CacheKey, TEXTS, TEXTS, st.none() | TEXTS, st.none() | TEXTS)


def decision(target: str = "sip:pbx@192.0.2.9", trunk: str = "acme") -> CachedDecision:
    headers = f"X-Whence-Trunk: {trunk}\r\nX-Whence-Source: {KEY.source}\r\n"
    return CachedDecision(trunk, Rule.NUMBER, headers, target, is_ours=False, until=0, report="")


@given(KEYS, KEYS)
def test_key_text_of_two_keys_differs(one: CacheKey, other: CacheKey) -> None:
    texts = [key_text(PUBLISHED, key) for key in (one, other)]
    assert one == other or texts[0] != texts[1] or texts[0] is None


@given(
    st.binary(min_size=8, max_size=8), st.integers(0, 0xFFFF), st.lists(st.text("a-z", min_size=1))
)
def test_parse_of_what_is_published_returns_it(
    generation: bytes, epoch: int, names: list[str]
) -> None:
    published = Published(generation, epoch, tuple(names))
    assert Published.parse(published.text()) == published


@given(st.text(max_size=40))
def test_parse_of_any_text_raises_nothing(text: str) -> None:
    published = Published.parse(text)
    assert published is None or published.text() == text


@given(KEYS)
def test_parse_of_an_entry_returns_the_call(key: CacheKey) -> None:
    text = key_text(PUBLISHED, key)
    entry = None if text is None else entry_text(decision(), text)
    if entry is None or text is None:
        return
    assert len(entry) == WIDTH
    assert entry.endswith(f"|{text}")
    assert KnownCall.parse(entry) == KnownCall(
        "acme", "sip:pbx@192.0.2.9", False, "number", *key[:2], key.to or "", key.p_called_party_id
    )


def test_entry_text_of_what_programs_read_differently_is_none() -> None:
    key = key_text(PUBLISHED, KEY) or ""
    assert entry_text(decision(), key) is not None
    for odd in ("|", "\0", "\r", "\n", "\t", "\x7f", "ä"):
        assert entry_text(decision(), key.replace("b@x", f"{odd}@x")) is None
        assert entry_text(decision(target=f"sip:{odd}@192.0.2.9"), key) is None


def test_entry_text_that_is_too_long_is_none() -> None:
    key = key_text(PUBLISHED, KEY) or ""
    room = WIDTH - len((entry_text(decision(), key) or "").replace("   ", ""))
    assert entry_text(decision(), key + "a" * (room - 3)) is not None
    assert entry_text(decision(), key + "a" * WIDTH) is None
