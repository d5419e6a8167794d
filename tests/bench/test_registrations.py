"""What the bench of registrations makes of its readings, which are made up here."""

import json
from dataclasses import replace
from pathlib import Path

from bench.registrations.contest import Phase, Reading
from bench.registrations.report import OURS, Report, Result
from bench.registrations.storm import Storm, by_second

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
STORM = Storm(trunks=100, rate=50, failed=300, attempts=[20, 50, 30])


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


def test_a_storm_is_within_the_limit_as_exactly_as_it_was_looked_at() -> None:
    assert STORM.held
    assert replace(STORM, attempts=[55]).held
    assert not replace(STORM, attempts=[56]).held


def test_text_and_file_say_the_same(tmp_path: Path) -> None:
    result = Result(OURS, "Whence", BASE, READING)
    Report([result], [STORM], {"kamailio": "5.6.3"}).write(tmp_path)
    text = (tmp_path / "registrations.txt").read_text("utf-8")
    assert "goal: 4096 bytes of the agent a trunk: held (3000, at its peak 5000)" in text
    assert "attempts a second 20 50 30; most 50, limit 50: held" in text
    written = json.loads((tmp_path / "registrations.json").read_text("utf-8"))
    assert written["results"][0]["agent_bytes_a_trunk"] == 3000
    assert written["results"][0]["reading"]["cold"]["agent_us"] == 500
    assert written["storms"][0]["attempts"] == [20, 50, 30]
