"""Instants and durations as people read them."""

import re
import time

import pytest

from whence.cli import output
from whence.core.text import format_duration


@pytest.mark.parametrize(
    ("seconds", "said"),
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
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert format_duration(seconds) == said


def test_an_instant_is_said_as_local_time_and_how_far_it_is() -> None:
    soon, past = time.time() + 7230, time.time() - 7230
    clock = time.strftime("%H:%M:%S", time.localtime(soon))
    assert output.instant(soon).endswith(f"{clock} (in 2 h 0 min)")
    assert output.instant(past).endswith(" (2 h 0 min ago)")


def test_an_instant_of_another_day_has_its_date() -> None:
    far, now = time.time() + 40 * 86_400, time.time()
    assert output.instant(far).startswith(time.strftime("%Y-%m-%d ", time.localtime(far)))
    assert re.match(r"\d\d:\d\d:\d\d \(", output.instant(now))


def test_no_instant_is_said_in_the_words_of_its_place() -> None:
    assert output.instant(None) == "-"
    assert output.instant(None, never="no end") == "no end"


def test_no_rows_are_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("a", "b"), [], "nothing is there")
    assert capsys.readouterr().out == "nothing is there\n"


def test_into_a_pipe_a_row_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("trunk", "why"), [("acme", "x" * 400)], "")
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "acme" in line]
    assert "x" * 400 in row


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("30m", 1800), ("30 min", 1800), ("1h", 3600), ("2d", 172_800)],
)
def test_a_duration_is_read_as_an_operator_writes_it(text: str, expected: int) -> None:
    assert output.seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1", "h", "0h", "-1h", "1.5h", "1 week", "1h2m", "٣h", "1h\n2"]
)
def test_what_is_no_duration_is_told_what_one_is(text: str) -> None:
    with pytest.raises(ValueError, match='is no duration; write "30m", "1h" or "2d"'):
        output.seconds(text)
