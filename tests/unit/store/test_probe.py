"""The probe of the directory: whether the agent can write the files that the edge reads."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from whence.errors import StoreError
from whence.store.connection import PATIENCE_S, SHORT_PATIENCE_S
from whence.store.directory import FILE, Directory


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    with closing(Directory(tmp_path / FILE)) as directory:
        yield directory


def patience_s(directory: Directory) -> float:
    return float(directory._db.execute("PRAGMA busy_timeout").fetchone()[0]) / 1000


@pytest.mark.parametrize("name", [FILE, f"{FILE}-wal"])
@pytest.mark.parametrize("is_replaced", [True, False])
def test_probe_of_a_removed_file_raises(
    directory: Directory, tmp_path: Path, name: str, is_replaced: bool
) -> None:
    directory.probe()
    directory.probe()
    (tmp_path / name).rename(tmp_path / "moved")
    if is_replaced:
        (tmp_path / name).touch()
    with pytest.raises(StoreError, match=f"moved or removed {name}; restart Whence"):
        directory.probe()


def test_probe_of_a_locked_file_shortens_the_next_waits(
    directory: Directory, tmp_path: Path
) -> None:
    """The agent receives no answer of a registrar while it waits."""
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="end what has locked it"):
            directory.probe()
        assert patience_s(directory) == SHORT_PATIENCE_S
        with pytest.raises(StoreError, match="end what has locked it"):
            directory.set_clock_offset("boot-1 0.0")
        assert patience_s(directory) == SHORT_PATIENCE_S
        other.execute("ROLLBACK")
    directory.set_clock_offset("boot-1 0.0")
    assert patience_s(directory) == PATIENCE_S


def test_probe_of_a_read_only_file_names_the_remedy(directory: Directory) -> None:
    directory._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="readonly database; mount its disk writable"):
        directory.probe()
