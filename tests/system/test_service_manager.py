"""`whence run` reports start, reload and stop to systemd, each when it is true."""

import signal
import socket
from collections.abc import Iterator

import pytest

from testkit.rig import Rig
from testkit.wait import PATIENCE_S, eventually
from testkit.whence import Whence

Node = tuple[Whence, socket.socket]


@pytest.fixture
def node(rig: Rig) -> Iterator[Node]:
    """Return a node that is up, and the end of systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(rig.directory / "notify"))
        systemd.settimeout(PATIENCE_S)
        whence = rig.whence(start=False)
        whence.env["NOTIFY_SOCKET"] = str(rig.directory / "notify")
        whence.launch()
        assert report(systemd) == "READY=1"
        assert whence.health() == 200
        yield whence, systemd


def report(systemd: socket.socket) -> str:
    return systemd.recv(200).decode().splitlines()[0]


def test_reload_is_reported_when_it_is_complete(node: Node) -> None:
    whence, systemd = node
    for users, log in ((["alice"], "reloaded: 0 trunks and 1 users"), ([{}], "not reloaded: ")):
        whence.edit(users=users)
        whence.reload()
        assert report(systemd) == "RELOADING=1"
        assert report(systemd) == "READY=1"
        assert log in whence.log
    assert whence.stop() == 0
    assert report(systemd) == "STOPPING=1"


def test_reload_of_a_restarted_agent_is_reported(node: Node) -> None:
    whence, systemd = node
    before = whence.kill_agent()
    eventually(lambda: whence.health() == 200 and whence.agent_pid() != before, what="the agent")
    whence.reload()
    assert [report(systemd) for _ in range(2)] == ["RELOADING=1", "READY=1"]
    assert whence.process
    whence.process.signal(signal.SIGTERM)
    assert report(systemd) == "STOPPING=1"
