"""The look-out's acknowledgement: which generation is valid in Kamailio."""

import socket
from pathlib import Path

import pytest

from whence.store import look_out
from whence.store.look_out import Acknowledgement, is_acknowledged

OLD, NEW = b"12345678", b"abcdefgh"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / look_out.FILE


def test_is_acknowledged_without_a_look_out_is_true(path: Path) -> None:
    assert is_acknowledged(path, NEW)


def test_is_acknowledged_of_a_look_out_that_starts_is_false(path: Path) -> None:
    own = Acknowledgement(path)
    assert not is_acknowledged(path, NEW)
    own.close()


def test_is_acknowledged_is_true_for_the_last_generation(path: Path) -> None:
    own = Acknowledgement(path)
    own.write(OLD)
    assert is_acknowledged(path, OLD)
    assert not is_acknowledged(path, NEW)
    own.write(NEW)
    assert is_acknowledged(path, NEW)
    assert not is_acknowledged(path, OLD)
    own.close()


def test_is_acknowledged_after_the_look_out_waits_for_expiry(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Acknowledgement(path)
    own.write(OLD)
    own.close()
    assert not is_acknowledged(path, NEW)
    monkeypatch.setattr(look_out, "PUBLISHED_S", -1.0)
    assert is_acknowledged(path, NEW)


def test_is_acknowledged_while_it_is_locked_does_not_expire(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stalled look-out may publish what it read before."""
    own = Acknowledgement(path)
    own.write(OLD)
    monkeypatch.setattr(look_out, "PUBLISHED_S", -1.0)
    assert not is_acknowledged(path, NEW)
    own.close()


def test_second_look_out_is_refused(path: Path) -> None:
    own = Acknowledgement(path)
    with pytest.raises(BlockingIOError):
        Acknowledgement(path)
    own.close()
    Acknowledgement(path).close()


def test_wake_sends_a_datagram_if_the_socket_exists(tmp_path: Path) -> None:
    path = tmp_path / look_out.SOCKET_FILE
    look_out.wake(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting:
        waiting.bind(str(path))
        look_out.wake(path)
        assert waiting.recv(10) == b""
    look_out.wake(path)
