"""The monitor of the directory's disk: its state, and its two alarms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.store.disk import broken
from whence.agent.monitoring.alarms import Alarms
from whence.agent.monitoring.store_monitor import FRESH_S, HOLD_S, StoreMonitor
from whence.errors import StoreError
from whence.store.directory import FILE, Directory
from whence.store.space import Space

PLENTY = Space(50_000_000, 100_000_000)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A monitor of a real directory, on a disk whose space the test sets."""

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.space = PLENTY
        self.clock = Clock()
        self.alarms = Alarms(clock=self.clock)
        self.monitor = StoreMonitor(directory, self.alarms, self.clock, lambda _path: self.space)

    @property
    def open(self) -> list[str]:
        return [str(one.alarm.kind) for one in self.alarms.open]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with closing(Directory(tmp_path / FILE)) as directory:
        yield Scene(directory)


def test_unwritable_directory_is_an_alarm_until_it_is_written(scene: Scene) -> None:
    assert scene.monitor.check().is_writable
    with broken(scene.directory.path, "INSERT ON meta"):
        state = scene.monitor.check()
        assert not state.is_writable
        assert "cannot be written" in state.fault
        assert scene.open == ["directory_unwritable"]
    assert scene.monitor.check().is_writable
    assert scene.open == []
    (cleared,) = scene.alarms.since(0, 10)
    assert cleared.status == "resolved"


def test_failed_write_counts_until_a_later_write_succeeds(scene: Scene) -> None:
    with broken(scene.directory.path, "INSERT ON meta"), pytest.raises(StoreError):
        scene.directory.fingerprint_key()
    assert not scene.monitor.check().is_writable
    scene.directory.fingerprint_key()
    assert scene.monitor.check().is_writable


def test_failed_write_without_a_later_one_counts_for_a_minute(scene: Scene) -> None:
    with broken(scene.directory.path, "INSERT ON meta"), pytest.raises(StoreError):
        scene.directory.fingerprint_key()
    assert not scene.monitor.check().is_writable
    scene.clock.now += HOLD_S - 1
    assert not scene.monitor.check().is_writable
    scene.clock.now += 1
    assert scene.monitor.check().is_writable


def test_state_probes_once_a_second_at_most(scene: Scene) -> None:
    first = scene.monitor.state
    with broken(scene.directory.path, "INSERT ON meta"):
        assert scene.monitor.state is first
        scene.clock.now += FRESH_S
        assert not scene.monitor.state.is_writable


def test_state_after_a_failed_write_is_checked_at_once(scene: Scene) -> None:
    assert scene.monitor.state.is_writable
    with broken(scene.directory.path, "INSERT ON meta"), pytest.raises(StoreError):
        scene.directory.fingerprint_key()
    assert not scene.monitor.state.is_writable


def test_disk_that_is_nearly_full_is_an_alarm_until_it_has_space(scene: Scene) -> None:
    scene.space = Space(PLENTY.least - 1, PLENTY.size)
    assert scene.monitor.check().space.is_low
    assert scene.open == ["disk_full"]
    scene.space = Space(PLENTY.least + 1, PLENTY.size)
    scene.monitor.check()
    assert scene.open == ["disk_full"], "a little space is no all-clear: the alarm would flap"
    scene.space = PLENTY
    scene.monitor.check()
    assert scene.open == []


@pytest.mark.parametrize(("size", "least"), [(1_500_000, 30_000), (10**12, 1024 * 1024)])
def test_space_least_follows_a_small_disk(size: int, least: int) -> None:
    assert Space(0, size).least == least
    assert Space(least - 1, size).is_low and not Space(least, size).is_low
