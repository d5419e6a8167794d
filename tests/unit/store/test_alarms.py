"""The table of open alarms."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

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


def test_migrate_version_6_adds_the_table_of_alarms(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    old_files.make(old, "6", {})
    for path in (old, new):
        with closing(Directory(path)) as directory:
            assert directory.open_alarms() == []
    tables = []
    for path in (old, new):
        with closing(sqlite3.connect(path)) as db:
            query = "SELECT sql FROM sqlite_schema WHERE name = 'alarm'"
            (sql,) = db.execute(query).fetchone()
            tables.append([line.partition("--")[0].split() for line in sql.splitlines()])
    assert tables[0] == tables[1]
