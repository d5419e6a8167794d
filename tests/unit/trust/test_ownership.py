"""A worker opens no directory that another user may change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.store.changes import granted
from whence.errors import StoreUnavailableError, WriteDeferredError
from whence.store.directory import FILE, Directory
from whence.store.reader import DirectoryReader as Reading
from whence.store.worker import LearningWriter

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    Directory(state / FILE).close()
    return state / FILE


def state_writable(path: Path) -> str:
    path.parent.chmod(0o777)
    return f"{path.parent} is not of user"


def file_writable(path: Path) -> str:
    path.chmod(0o660)
    return f"{path} is not of user"


def file_linked(path: Path) -> str:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    return f"{path} is not of user"


def wal_linked(path: Path) -> str:
    wal = path.with_name(f"{path.name}-wal")
    wal.symlink_to(path.with_name("victim"))
    return f"{wal} is not of user"


def state_anothers(path: Path) -> str:
    os.chown(path.parent, NOBODY, NOBODY)
    return f"{path.parent} is not of user 0 alone (owner {NOBODY}, mode 0700)"


def file_anothers(path: Path) -> str:
    os.chown(path, NOBODY, NOBODY)
    return f"{path} is not of user 0 alone (owner {NOBODY}, mode 0600)"


ANYBODY: list[Callable[[Path], str]] = [state_writable, file_writable, file_linked, wal_linked]
BY_ROOT: list[Callable[[Path], str]] = [state_anothers, file_anothers]
CHANGES = ANYBODY + (BY_ROOT if os.geteuid() == 0 else [])


@pytest.mark.parametrize("change", CHANGES)
def test_reader_of_anothers_directory_reads_nothing(
    path: Path, change: Callable[[Path], str]
) -> None:
    said = change(path)
    with pytest.raises(StoreUnavailableError) as error:
        Reading(path).user_ha1("alice", "edge.example")
    assert said in str(error.value)
    assert not path.with_name("victim").exists()


@pytest.mark.parametrize("change", CHANGES)
def test_writer_of_anothers_directory_writes_nothing(
    path: Path, change: Callable[[Path], str]
) -> None:
    said = change(path)
    with pytest.raises(WriteDeferredError) as error:
        LearningWriter(path).write(granted(), 0.1)
    assert said in str(error.value)
    assert not path.with_name("victim").exists()


def test_reader_of_own_directory_reads_on(path: Path) -> None:
    path.parent.chmod(0o755)
    assert Reading(path).user_ha1("alice", "edge.example") is None
