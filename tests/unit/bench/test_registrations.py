"""What the bench of registrations makes of its readings, which are made up here."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.registrations.contest import Phase, Reading
from bench.registrations.report import OURS, NoResult, Report, Result
from bench.registrations.storm import Storm, burst, by_second, most_in_a_second

PHASE = Phase(
    registrations=1000,
    seconds=2.0,
    registers=2010,
    challenged=1000,
    agent_us=500,
    kamailio_us=300,
    registrar_us=80,
)
BASE = Reading(
    trunks=10,
    start_s=1,
    start_us=100,
    cold=PHASE,
    steady=PHASE,
    agent_bytes=60_000_000,
    agent_peak_bytes=61_000_000,
    kamailio_bytes=50_000_000,
    failures=0,
)
READING = replace(BASE, trunks=1010, agent_bytes=63_000_000, agent_peak_bytes=66_000_000)
STORM = Storm(trunks=100, rate=50, failed=300, attempts=[20, 50, 30], most=50, burst=10)


def test_a_phase_says_what_was_sent_again() -> None:
    assert PHASE.sent_again == 10
    assert PHASE.a_second == 500


def test_memory_a_trunk_is_what_lies_above_the_base() -> None:
    result = Result(OURS, "Whence", BASE, READING)
    assert (result.agent_bytes, result.agent_peak_bytes, result.kamailio_bytes) == (3000, 5000, 0)


def test_only_whence_has_goals() -> None:
    assert all(held for held, _ in Result(OURS, "Whence", BASE, READING).goals.values())
    failed = replace(READING, failures=1, agent_bytes=70_000_000)
    assert [held for held, _ in Result(OURS, "Whence", BASE, failed).goals.values()] == [
        True,
        False,
        False,
    ]
    assert not Result("uac", "uac module", BASE, failed).goals


def test_a_storm_is_counted_by_the_second_from_the_first_look_on() -> None:
    assert by_second([(7.0, 5), (7.5, 15), (8.1, 25), (10.2, 26)]) == [15, 10, 0, 1]


def test_a_second_may_begin_anywhere_and_its_share_counts() -> None:
    samples = [(0.0, 0), (0.6, 0), (0.8, 40), (1.2, 80), (1.6, 80), (2.6, 90)]
    assert by_second(samples) == [40, 40, 10]
    assert most_in_a_second(samples) == 80
    assert most_in_a_second([(0.0, 0), (2.0, 100)]) == 50


def test_an_even_pace_has_no_burst_whatever_the_boundaries() -> None:
    assert burst([(0.0, 0), (0.95, 95), (1.05, 105), (3.0, 300)], rate=100) == 0


def test_what_comes_at_once_is_a_burst_and_so_is_too_fast_a_pace() -> None:
    assert burst([(0.0, 0), (0.1, 60), (1.1, 60), (1.2, 170)], rate=100) == pytest.approx(100)
    assert burst([(0.0, 0), (1.0, 120), (5.0, 600)], rate=100) == pytest.approx(100)


def test_a_storm_is_held_where_pace_and_waits_are() -> None:
    assert STORM.held
    assert replace(STORM, burst=79).held
    assert not replace(STORM, burst=81).held, "a second's worth at once, and who is heard late"
    assert not replace(STORM, most=100).held, "all of them in one second: no wait has spread them"


def test_text_and_file_say_the_same(tmp_path: Path) -> None:
    result = Result(OURS, "Whence", BASE, READING)
    missing = NoResult("uac", "uac module", 1010, "it stands still")
    Report([result], [missing], [STORM], {"kamailio": "5.6.3"}).write(tmp_path)
    text = (tmp_path / "registrations.txt").read_text("utf-8")
    assert "goal: 4096 bytes of the agent a trunk: held (3000, at its peak 5000)" in text
    assert "attempts a second 20 50 30; most in any second 50" in text
    assert "above the limit of 50 a second at most 10 at once, allowed 80: held" in text
    assert "uac module, 1010 trunks: no result: it stands still" in text
    written = json.loads((tmp_path / "registrations.json").read_text("utf-8"))
    assert written["results"][0]["agent_bytes_a_trunk"] == 3000
    assert written["results"][0]["reading"]["cold"]["agent_us"] == 500
    assert written["storms"][0]["attempts"] == [20, 50, 30]
    assert written["storms"][0]["held"] is True
    assert written["no_results"] == [
        {"key": "uac", "title": "uac module", "trunks": 1010, "why": "it stands still"}
    ]
