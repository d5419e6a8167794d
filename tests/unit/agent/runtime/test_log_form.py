"""Lines of the log: for a terminal, the journal of systemd, and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from whence.agent.runtime import log_form
from whence.agent.runtime.log_form import line


@pytest.fixture(autouse=True)
def as_at_the_start(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    log_form.choose("text")
    yield
    log_form.choose("text")


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let standard error be the stream that the environment names."""
    found = os.fstat(log_form.STDERR)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")


def test_line_for_a_terminal_has_time_and_level() -> None:
    clock, rest = line("agent", "INFO", "it runs").split(" ", 1)
    assert (len(clock), rest) == (8, "agent: INFO it runs")
    assert line("kamailio", "ERROR", "0(7) ERROR: x", has_head=False) == "kamailio: 0(7) ERROR: x"


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(
    ("level", "priority"),
    [("INFO", 6), ("NOTICE", 5), ("WARNING", 4), ("ERROR", 3), ("CRITICAL", 2), ("ODD", 6)],
)
def test_line_for_the_journal_has_its_priority(level: str, priority: int) -> None:
    assert line("agent", level, "it runs") == f"<{priority}>agent: it runs"


@pytest.mark.usefixtures("journal")
def test_text_of_several_lines_has_the_priority_in_each() -> None:
    assert line("agent", "ERROR", "a\n<0>b") == "<3>agent: a\n<3><0>b"


@pytest.mark.parametrize("stream", ["", "1:2", "nonsense", "8:"])
def test_line_for_another_stream_has_no_priority(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", stream)
    assert "agent: INFO it runs" in line("agent", "INFO", "it runs")


def test_line_as_json_is_one_object() -> None:
    log_form.choose("json")
    shown = line("agent", "WARNING", 'a "b"\nTraceback\x1b')
    assert "\n" not in shown
    read = json.loads(shown)
    assert (read["program"], read["level"]) == ("agent", "warning")
    assert read["message"] == 'a "b"\nTraceback\x1b'
    assert read["at"].endswith("Z")


@pytest.mark.usefixtures("journal")
def test_line_as_json_for_the_journal_has_its_priority() -> None:
    log_form.choose("json")
    assert line("run", "ERROR", "x").startswith('<3>{"at": ')
