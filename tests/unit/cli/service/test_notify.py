"""Reports of `whence run` to systemd."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from whence.cli.service.notify import VARIABLE, ServiceManager


@pytest.fixture(params=["path", "abstract"])
def systemd(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """Return the end of systemd."""
    is_path = request.param == "path"
    name = str(tmp_path / "notify") if is_path else f"@{uuid4().hex}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(name.replace("@", "\0"))
        bound.settimeout(60)
        monkeypatch.setenv(VARIABLE, name)
        yield bound


@pytest.mark.parametrize(
    ("report", "text"),
    [(ServiceManager.ready, "READY=1"), (ServiceManager.stopping, "STOPPING=1")],
)
def test_report_reaches_systemd(
    systemd: socket.socket, report: Callable[[ServiceManager], None], text: str
) -> None:
    report(ServiceManager())
    assert systemd.recv(100).decode() == text


def test_reload_report_has_the_monotonic_time(systemd: socket.socket) -> None:
    before = time.monotonic_ns() // 1000
    ServiceManager().reloading()
    first, second = systemd.recv(100).decode().splitlines()
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


@pytest.mark.usefixtures("systemd")
def test_child_processes_inherit_no_notify_socket() -> None:
    ServiceManager()
    assert VARIABLE not in os.environ


def test_run_without_systemd_reports_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    ServiceManager().ready()
    assert capsys.readouterr().err == ""


def test_systemd_that_does_not_answer_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent"))
    ServiceManager().ready()
    assert "WARNING systemd did not get READY: No such file" in capsys.readouterr().err
