"""The results and the report of `make bench-registrations`, with made-up readings."""

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


def test_phase_counts_what_was_sent_again() -> None:
    assert PHASE.sent_again == 10
    assert PHASE.a_second == 500


def test_memory_a_trunk_is_the_difference_to_the_base() -> None:
    result = Result(OURS, "Whence", BASE, READING)
    assert (result.agent_bytes, result.agent_peak_bytes, result.kamailio_bytes) == (3000, 5000, 0)


def test_goals_exist_for_whence_only() -> None:
    assert all(met for met, _ in Result(OURS, "Whence", BASE, READING).goals.values())
    failed = replace(READING, failures=1, agent_bytes=70_000_000)
    assert [met for met, _ in Result(OURS, "Whence", BASE, failed).goals.values()] == [
        True,
        False,
        False,
    ]
    assert not Result("uac", "uac module", BASE, failed).goals


def test_by_second_counts_from_the_first_sample() -> None:
    assert by_second([(7.0, 5), (7.5, 15), (8.1, 25), (10.2, 26)]) == [15, 10, 0, 1]


def test_most_in_a_second_may_begin_at_any_sample() -> None:
    samples = [(0.0, 0), (0.6, 0), (0.8, 40), (1.2, 80), (1.6, 80), (2.6, 90)]
    assert by_second(samples) == [40, 40, 10]
    assert most_in_a_second(samples) == 80
    assert most_in_a_second([(0.0, 0), (2.0, 100)]) == 50


def test_burst_of_an_even_rate_is_zero() -> None:
    assert burst([(0.0, 0), (0.95, 95), (1.05, 105), (3.0, 300)], rate=100) == 0


def test_burst_counts_attempts_at_once_and_a_high_rate() -> None:
    assert burst([(0.0, 0), (0.1, 60), (1.1, 60), (1.2, 170)], rate=100) == pytest.approx(100)
    assert burst([(0.0, 0), (1.0, 120), (5.0, 600)], rate=100) == pytest.approx(100)


def test_storm_is_held_if_rate_and_waits_are() -> None:
    assert STORM.met
    assert replace(STORM, burst=79).met
    assert not replace(STORM, burst=81).met, "more than one second's attempts and the late ones"
    assert not replace(STORM, most=100).met, "all in one second: the waits did not spread them"


def test_text_and_json_have_the_same_values(tmp_path: Path) -> None:
    result = Result(OURS, "Whence", BASE, READING)
    missing = NoResult("uac", "uac module", 1010, "no progress")
    Report([result], [missing], [STORM], {"kamailio": "5.6.3"}).write(tmp_path)
    text = (tmp_path / "registrations.txt").read_text("utf-8")
    assert "goal: 4096 bytes of the agent a trunk: met (3000, at its peak 5000)" in text
    assert "attempts a second 20 50 30; most in any second 50" in text
    assert "above the limit of 50 a second at most 10 at once, allowed 80: met" in text
    assert "uac module, 1010 trunks: no result: no progress" in text
    written = json.loads((tmp_path / "registrations.json").read_text("utf-8"))
    assert written["results"][0]["agent_bytes_a_trunk"] == 3000
    assert written["results"][0]["reading"]["cold"]["agent_us"] == 500
    assert written["storms"][0]["attempts"] == [20, 50, 30]
    assert written["storms"][0]["met"] is True
    assert written["no_results"] == [
        {"key": "uac", "title": "uac module", "trunks": 1010, "why": "no progress"}
    ]
