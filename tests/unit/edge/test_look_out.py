"""What the look-out publishes, and when it acknowledges that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from testkit.directory import install
from whence.agent.config.models import Config
from whence.edge.base import Worker
from whence.edge.known_answers import Published
from whence.edge.ksr import Ksr
from whence.edge.look_out import Publisher
from whence.store.directory import FILE, Directory
from whence.store.system_clock import boottime

LATER = 100.0
"""Seconds of the monotonic clock, more than any renewal apart."""


class Table:
    """Kamailio's table with the published generation."""

    def __init__(self) -> None:
        self.value: str | None = None

    def sht_sets(self, _table: str, _key: str, value: str) -> int:
        self.value = value
        return 1

    def sht_rm(self, _table: str, _key: str) -> int:
        self.value = None
        return 1

    @property
    def published(self) -> Published | None:
        return None if self.value is None else Published.parse(self.value)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    directory = Directory(tmp_path / FILE)
    install(directory, settings())
    yield directory
    directory.close()


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def publisher(directory: Directory, table: Table) -> Iterator[Publisher]:
    ksr = cast("Ksr", SimpleNamespace(htable=table))
    worker = Worker(ksr, directory.path)
    publisher = Publisher(worker, directory.path)
    yield publisher
    publisher.close()
    worker.directory.close()


def settings(**more: object) -> Config:
    trunk = {"id": "acme", "registrar": "sip:192.0.2.1", "user": "acct1", "password": "secret"}
    trunk |= {"target": "sip:pbx@192.0.2.8"}
    return Config.model_validate({"trunk": [{**trunk, **more}]})


def test_publish_waits_for_the_acknowledgement(
    directory: Directory, publisher: Publisher, table: Table
) -> None:
    publisher.publish(0)
    assert table.published is not None
    assert not directory.is_settled()
    publisher.acknowledge()
    assert directory.is_settled()


def test_renewal_without_a_change_stays_acknowledged(
    directory: Directory, publisher: Publisher, table: Table
) -> None:
    publisher.publish(0)
    publisher.acknowledge()
    table.value = None
    publisher.publish(LATER)
    assert table.published is not None
    assert directory.is_settled()


def test_renewal_before_an_acknowledgement_does_not_acknowledge(
    directory: Directory, publisher: Publisher
) -> None:
    publisher.publish(0)
    publisher.publish(LATER)
    assert not directory.is_settled()


def test_change_is_published_at_once(
    directory: Directory, publisher: Publisher, table: Table
) -> None:
    publisher.publish(0)
    publisher.acknowledge()
    before = table.value
    install(directory, settings(number_headers=["X-Dialled"]))
    assert not directory.is_settled()
    publisher.publish(0)
    assert table.value != before
    assert table.published is not None
    assert table.published.headers == ("x-dialled",)


def test_step_of_the_clock_voids_earlier_answers(
    publisher: Publisher, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kamailio's tables expire by the system clock."""
    publisher.publish(0)
    before = table.published
    monkeypatch.setattr("whence.edge.look_out.boottime", lambda: boottime() + 3600)
    publisher.publish(0)
    after = table.published
    assert before is not None
    assert after is not None
    assert before.generation == after.generation
    assert before.epoch != after.epoch


@pytest.mark.parametrize("name", ["Subject", "Identity"])
def test_number_header_with_a_compact_name_ends_known_answers(
    directory: Directory, publisher: Publisher, table: Table, name: str
) -> None:
    publisher.publish(0)
    install(directory, settings(number_headers=[name]))
    publisher.publish(LATER)
    publisher.acknowledge()
    assert table.value is None
    assert directory.is_settled()


def test_missing_directory_ends_known_answers(
    directory: Directory, publisher: Publisher, table: Table
) -> None:
    publisher.publish(0)
    directory.set_clock_offset("")
    directory.path.rename(directory.path.with_name("away"))
    publisher.publish(LATER)
    assert table.value is None


def test_publish_beside_another_look_out_raises(
    directory: Directory, publisher: Publisher, table: Table
) -> None:
    publisher.publish(0)
    worker = Worker(cast("Ksr", SimpleNamespace(htable=Table())), directory.path)
    with pytest.raises(BlockingIOError):
        Publisher(worker, directory.path).publish(0)
    assert table.value is not None
