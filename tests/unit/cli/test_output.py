"""Instants, durations and tables as people read them."""

import json
import re
import time

import pytest

from whence.cli import output
from whence.cli.tables import Table
from whence.core.text import format_duration


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (59.6, "1 min 0 s"),
        (60, "1 min 0 s"),
        (725, "12 min 5 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (12_059, "3 h 20 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 0 h"),
        (187_200, "2 d 4 h"),
    ],
)
def test_format_duration_has_the_two_largest_units(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


def test_instant_is_local_time_and_distance() -> None:
    soon, past = time.time() + 7230, time.time() - 7230
    clock = time.strftime("%H:%M:%S", time.localtime(soon))
    assert output.instant(soon).endswith(f"{clock} (in 2 h 0 min)")
    assert output.instant(past).endswith(" (2 h 0 min ago)")


def test_instant_of_another_day_has_its_date() -> None:
    far, now = time.time() + 40 * 86_400, time.time()
    assert output.instant(far).startswith(time.strftime("%Y-%m-%d ", time.localtime(far)))
    assert re.match(r"\d\d:\d\d:\d\d \(", output.instant(now))


def test_instant_none_has_the_words_of_its_place() -> None:
    assert output.instant(None) == "-"
    assert output.instant(None, never="no end") == "no end"


def test_when_of_a_narrow_terminal_is_the_distance_only() -> None:
    assert output.when(time.time() + 725.5).narrow in ("in 12m05s", "in 12m06s")
    assert output.when(time.time() - 90_000).narrow == "1d01h ago"
    assert output.when(None, "no end") == ("no end", "no end")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (59.6, "1m00s"), (79, "1m19s"), (3600, "1h00m"), (187_200, "2d04h")],
)
def test_brief_duration_has_the_two_largest_units(seconds: float, expected: str) -> None:
    assert output.brief_duration(seconds) == expected


def test_as_json_escapes_letters_that_change_a_terminal() -> None:
    answer = {"ruri": "sip:å\x9b31m\u202e\x1b[2J\x7f@x", "lines": [1]}
    text = output.as_json(answer)
    assert text.replace("\n", "").isprintable() and "å" in text
    assert json.loads(text) == answer


def test_answer_escapes_its_sentences() -> None:
    answer = output.Answer("\x1b[2J", lambda to: [f"To: {to}", Table(("a",), [("b\x9b",)])])
    assert answer.text(80).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("30m", 1800), ("30 min", 1800), ("1h", 3600), ("2d", 172_800)],
)
def test_seconds_reads_each_unit(text: str, expected: int) -> None:
    assert output.seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1", "h", "0h", "-1h", "1.5h", "1 week", "1h2m", "٣h", "1h\n2"]
)
def test_seconds_refuses_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match='is no duration; write "30m", "1h" or "2d"'):
        output.seconds(text)


@pytest.mark.parametrize(("number", "expected"), [(0, "0 trunks"), (1, "1 trunk"), (2, "2 trunks")])
def test_counted_has_the_plural_unless_one(number: int, expected: str) -> None:
    assert output.counted(number, "trunk") == expected
