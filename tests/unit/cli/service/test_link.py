"""The first agent hands settings and the lock to `whence run`, and reports that it is up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from whence.agent.runtime.lock import alone
from whence.cli.service import start
from whence.cli.service.link import AgentLink, Prepared, RunLink
from whence.cli.service.start import read_arguments
from whence.errors import OperatorError

PREPARED = Prepared("/x/decisions.sock", "/x/kamailio.cfg", 1000, 8192, "json")


@pytest.fixture
def run() -> Iterator[AgentLink]:
    with closing(AgentLink()) as run:
        yield run


@pytest.fixture
def agent(run: AgentLink) -> Iterator[RunLink]:
    """The end of an agent, which has inherited a copy of the descriptor."""
    with closing(RunLink(os.dup(run.agent_fd))) as agent:
        yield agent


def test_lock_lasts_as_long_as_its_descriptor_at_the_run(
    run: AgentLink, agent: RunLink, tmp_path: Path
) -> None:
    lock = tmp_path / "run.lock"
    with alone(lock, "a whence run", 4711) as held:
        agent.prepared(PREPARED, held)
    assert run.receive_prepared() == PREPARED
    with pytest.raises(OperatorError, match="as process 4711"), alone(lock, "a whence run"):
        pass
    assert not os.get_inheritable(run.lock_fd)
    os.close(run.lock_fd)
    with alone(lock, "a whence run"):
        pass


def test_agent_that_ends_early_closes_the_link(run: AgentLink) -> None:
    assert run.receive_prepared() is None
    run.receive()
    assert not run.is_up
    assert not run.is_open


def test_up_is_received(run: AgentLink, agent: RunLink) -> None:
    agent.up()
    assert not run.receive()
    assert run.is_up
    assert run.is_open


def test_reload_is_received_as_often_as_it_happens(run: AgentLink, agent: RunLink) -> None:
    agent.up()
    agent.reloaded()
    agent.reloaded()
    assert [run.receive() for _ in range(3)] == [False, True, True]
    assert run.is_up


def test_up_after_the_end_of_the_run_is_no_fault(run: AgentLink, agent: RunLink) -> None:
    run.close()
    agent.up()


@pytest.mark.parametrize(
    ("arguments", "function", "values"),
    [
        (["run", "-c", "x.toml"], start.run, ("x.toml", "")),
        (["run", "--config", "x.toml"], start.run, ("x.toml", "")),
        (["run", "--config=x.toml"], start.run, ("x.toml", "")),
        (["run", "--user", "me", "-c", "x.toml"], start.run, ("x.toml", "me")),
        (["agent", "-c", "x.toml"], start.agent, ("x.toml",)),
        (["agent", "--config=-x", "--link=7"], start.first_agent, ("-x", 7)),
        (["agent", "--track-only", "-c", "x.toml"], start.agent, ("x.toml",)),
        (["agent", "-c", "x.toml", "--track-only"], start.agent, ("x.toml",)),
    ],
)
def test_usual_arguments_start_the_service(
    arguments: list[str],
    function: object,
    values: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(start.USER_VARIABLE, raising=False)
    command = read_arguments(arguments)
    assert command is not None
    assert (command.func, command.args) == (function, values)
    assert command.keywords == ({"track_only": True} if "--track-only" in arguments else {})


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run"],
        ["run", "--help"],
        ["run", "--user", "me"],
        ["run", "--user", "-c", "x"],
        ["run", "-c"],
        ["run", "-c", ""],
        ["run", "--config="],
        ["run", "-c", "--help"],
        ["run", "-c", "x", "y"],
        ["run", "-c", "x", "--track-only"],
        ["run", "-c", "x", "--link=7"],
        ["agent", "-c", "x", "--link="],
        ["agent", "-c", "x", "--link=-1"],
        ["agent", "-c", "x", "7"],
        ["check", "-c", "x"],
    ],
)
def test_other_arguments_are_left_to_the_command_line(arguments: list[str]) -> None:
    assert read_arguments(arguments) is None
