"""Instants and durations as people read them."""

import time

import pytest

from whence.cli import show


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
    assert show.span(seconds) == said


def test_an_instant_is_said_as_local_time_and_how_far_it_is() -> None:
    soon, past = time.time() + 7230, time.time() - 7230
    assert show.instant(soon) == f"{time.strftime('%H:%M:%S', time.localtime(soon))} (in 2 h 0 min)"
    assert show.instant(past).endswith(" (2 h 0 min ago)")


def test_no_instant_is_said_in_the_words_of_its_place() -> None:
    assert show.instant(None) == "-"
    assert show.instant(None, never="removed") == "removed"


def test_no_rows_are_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(("a", "b"), [], "nothing is there")
    assert capsys.readouterr().out == "nothing is there\n"


def test_into_a_pipe_a_row_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(("trunk", "why"), [("acme", "x" * 400)], "")
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "acme" in line]
    assert "x" * 400 in row
