"""The table of open alarms."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.store import old_files
from whence.store.alarms import StoredAlarm
from whence.store.directory import FILE, Directory

ACME = StoredAlarm(1, "auth_failed", "acme", 100.0, "401", published=True)
DISK = StoredAlarm(2, "disk_full", None, 101.0, "no space", published=False)


def test_open_alarms_are_kept_over_a_restart(tmp_path: Path) -> None:
    with closing(Directory(tmp_path / FILE)) as directory:
        directory.write_alarms([DISK, ACME], [])
    with closing(Directory(tmp_path / FILE)) as directory:
        assert directory.open_alarms() == [ACME, DISK]
        directory.write_alarms([], [("disk_full", None), ("conflict", "acme")])
        assert directory.open_alarms() == [ACME]


def test_waiting_posts_are_kept_over_a_restart(tmp_path: Path) -> None:
    with closing(Directory(tmp_path / FILE)) as directory:
        directory.write_posts([(2, "b"), (1, "a"), (3, "c")], [])
    with closing(Directory(tmp_path / FILE)) as directory:
        assert directory.waiting_posts() == [(1, "a"), (2, "b"), (3, "c")]
        directory.write_posts([], [1, 9])
        assert directory.waiting_posts() == [(2, "b"), (3, "c")]


@pytest.mark.parametrize("version", ["6", "7"])
def test_migrate_adds_the_tables_of_alarms(tmp_path: Path, version: str) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    old_files.make(old, version, {})
    for path in (old, new):
        with closing(Directory(path)) as directory:
            assert directory.open_alarms() == []
    tables = []
    for path in (old, new):
        with closing(sqlite3.connect(path)) as db:
            names = "name IN ('alarm', 'webhook_post') ORDER BY name"
            query = f"SELECT sql FROM sqlite_schema WHERE {names}"
            sql = "\n".join(sql for (sql,) in db.execute(query))
            lines = [line.partition("--")[0].split() for line in sql.splitlines()]
            tables.append([word for line in lines for word in line])
    assert tables[0] == tables[1]
