"""The metrics of trunks, and of the directory's disk."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.unit.agent.api.agent import NOW, Agent, Story
from tests.unit.store.disk import broken
from whence.agent.monitoring.metrics import TRUNK_SERIES_LIMIT, trunk_series
from whence.core.registration.model import Registration, State
from whence.store.space import Space

WithAgent = Callable[[Story], None]


async def samples(agent: Agent) -> dict[str, float]:
    text = (await agent.ask("/metrics")).text
    found = re.findall(r"^(\w+(?:\{.*?\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_metrics_have_state_and_expiry_of_each_trunk(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        found = await samples(agent)
        states = {
            str(state): found[f'whence_trunk_state{{state="{state}",trunk="acme"}}']
            if f'whence_trunk_state{{state="{state}",trunk="acme"}}' in found
            else found[f'whence_trunk_state{{trunk="acme",state="{state}"}}']
            for state in State
        }
        assert states == {str(state): float(state is State.REGISTERED) for state in State}
        assert found['whence_trunk_registered{trunk="acme"}'] == 1
        assert found['whence_trunk_registered{trunk="idle"}'] == 0
        assert found['whence_trunk_expires_timestamp_seconds{trunk="acme"}'] == NOW + 3600
        assert 'whence_trunk_expires_timestamp_seconds{trunk="idle"}' not in found
        agent.node.clock.now = NOW + 3601
        found = await samples(agent)
        assert found['whence_trunk_registered{trunk="acme"}'] == 0
        assert 'whence_trunk_expires_timestamp_seconds{trunk="acme"}' not in found

    with_agent(story)


def test_metrics_of_wanted_trunks_leave_out_a_paused_one(with_agent: WithAgent) -> None:
    """The alert `registered < wanted` fires neither for a paused nor for a disabled trunk."""

    async def story(agent: Agent) -> None:
        found = await samples(agent)
        assert (found["whence_trunks_wanted"], found["whence_trunks_registered"]) == (2, 2)
        agent.node.registrations.orders.pause("acme")
        found = await samples(agent)
        assert (found["whence_trunks_wanted"], found["whence_trunks_registered"]) == (1, 1)
        agent.node.clock.now = NOW + 3601
        found = await samples(agent)
        assert (found["whence_trunks_wanted"], found["whence_trunks_registered"]) == (1, 0)

    with_agent(story)


def test_metrics_count_open_alarms_by_kind(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        agent.node.registrar.status = 403
        agent.node.registrations.orders.want("acme")
        await agent.node.until(lambda: agent.node.of["acme"].state is State.WAITING)
        found = await samples(agent)
        assert found['whence_alarms_open{kind="registration_rejected"}'] == 1
        assert found['whence_alarms_open{kind="auth_failed"}'] == 0

    with_agent(story)


def test_metrics_have_the_directory_and_its_disk(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        agent.space = Space(123_456_789, 10**9)
        found = await samples(agent)
        assert found["whence_directory_writable"] == 1
        assert found["whence_disk_free_bytes"] == 123_456_789
        agent.node.clock.now += 10
        with broken(agent.node.directory.path, "INSERT ON meta"):
            assert (await samples(agent))["whence_directory_writable"] == 0

    with_agent(story)


@dataclass(frozen=True)
class Trunk:
    id: str
    enabled: bool = True
    aor: str = ""
    target: str = ""
    numbers: tuple[str, ...] = ()
    unmatched: str = "accept"
    fallback: bool = False


def test_trunk_series_of_many_trunks_name_the_failing_ones() -> None:
    good = Registration("x", "c", state=State.REGISTERED, expires_at=NOW + 60)
    bad = good._replace(state=State.WAITING, expires_at=None)
    trunks = [(Trunk(f"good-{n}"), good) for n in range(TRUNK_SERIES_LIMIT)]
    trunks += [(Trunk(f"bad-{n}"), bad) for n in range(3)]
    trunks += [(Trunk("paused"), bad._replace(suspended=True)), (Trunk("off", False), bad)]
    metrics = {metric.name: metric for metric in trunk_series(trunks, NOW)}  # type: ignore[arg-type]
    named = {sample.labels["trunk"] for sample in metrics["whence_trunk_registered"].samples}
    assert named == {"bad-0", "bad-1", "bad-2"}
    (left_out,) = metrics["whence_trunks_without_series"].samples
    assert left_out.value == TRUNK_SERIES_LIMIT + 2
    many = [(Trunk(f"bad-{n}"), bad) for n in range(3 * TRUNK_SERIES_LIMIT)]
    metrics = {metric.name: metric for metric in trunk_series(many, NOW)}  # type: ignore[arg-type]
    assert len(metrics["whence_trunk_registered"].samples) == TRUNK_SERIES_LIMIT
