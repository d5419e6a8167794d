"""A worker of Kamailio does not open a directory that another user can change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.store.changes import granted
from whence.errors import StoreUnavailableError, WriteDeferredError
from whence.store.directory import FILE, Directory
from whence.store.reader import DirectoryReader
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


def state_of_other_user(path: Path) -> str:
    os.chown(path.parent, NOBODY, NOBODY)
    return f"{path.parent} is not of user 0 alone (owner {NOBODY}, mode 0700)"


def file_of_other_user(path: Path) -> str:
    os.chown(path, NOBODY, NOBODY)
    return f"{path} is not of user 0 alone (owner {NOBODY}, mode 0600)"


BY_ANY_USER: list[Callable[[Path], str]] = [state_writable, file_writable, file_linked, wal_linked]
BY_ROOT: list[Callable[[Path], str]] = [state_of_other_user, file_of_other_user]
CHANGES = BY_ANY_USER + (BY_ROOT if os.geteuid() == 0 else [])


@pytest.mark.parametrize("change", CHANGES)
def test_reader_of_untrusted_directory_raises(path: Path, change: Callable[[Path], str]) -> None:
    message = change(path)
    with pytest.raises(StoreUnavailableError) as error:
        DirectoryReader(path).user_ha1("alice", "edge.example")
    assert message in str(error.value)
    assert not path.with_name("victim").exists()


@pytest.mark.parametrize("change", CHANGES)
def test_writer_of_untrusted_directory_raises(path: Path, change: Callable[[Path], str]) -> None:
    message = change(path)
    with pytest.raises(WriteDeferredError) as error:
        LearningWriter(path).write(granted(), 0.1)
    assert message in str(error.value)
    assert not path.with_name("victim").exists()


def test_reader_of_own_directory_reads(path: Path) -> None:
    path.parent.chmod(0o755)
    assert DirectoryReader(path).user_ha1("alice", "edge.example") is None
