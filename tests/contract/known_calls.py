"""Reports by their sender: Kamailio's look-out reports the calls that no worker's Python saw."""

from contextlib import suppress
from pathlib import Path

from testkit.sip import Endpoint, Message, acknowledgement, reply
from testkit.wait import eventually
from tests.contract.reports import Agent
from tests.contract.scene import Scene
from tests.contract.world import World
from whence.ipc.decisions import DecisionReport
from whence.store import look_out


class Reports:
    """The agent's end of the socket, which knows the sender of each report."""

    def __init__(self, scene: Scene) -> None:
        self._agent = Agent(scene)
        self._world = scene.world
        self.known: dict[str, DecisionReport] = {}
        """Call-ID → report, of the calls that Kamailio answered itself."""
        self.asked: dict[str, DecisionReport] = {}
        """The same, of the calls that a worker's Python decided."""

    @property
    def dropped(self) -> int:
        """The reports that the edge counted as dropped."""
        return self._agent.dropped

    def read(self) -> "Reports":
        """Read what has arrived."""
        while not self._agent.is_idle():
            report = self._agent.report()
            is_known = self._agent.sender == look_out_pid(self._world)
            (self.known if is_known else self.asked)[report.call_id] = report
        return self

    def was_known(self, call_id: str) -> bool:
        """Return whether Kamailio answered this call itself, once that is reported."""

        def is_reported() -> bool:
            self.read()
            return call_id in self.known or call_id in self.asked

        eventually(is_reported, what=f"the report of {call_id!r}")
        return call_id in self.known

    def close(self) -> None:
        self._agent.close()


def look_out_pid(world: World) -> int:
    """Return the process that has bound the look-out's socket."""
    path = world.books.directory.path.with_name(look_out.SOCKET_FILE)
    rows = Path(f"/proc/{world.process.pid}/net/unix").read_text().splitlines()
    inode = next(row.split()[6] for row in rows if row.endswith(str(path)))
    for pid in world.process.descendants():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    return pid
    raise AssertionError("no process has the look-out's socket")


def arrives(scene: Scene, caller: Endpoint, pbx: Endpoint, call: Message | bytes) -> Message | None:
    """Send a call. The PBX refuses it, and it is returned as it arrived there, if it did."""
    caller.send(call, scene.edge)
    came = [message for message in scene.came(pbx) if message.method == "INVITE"]
    for one in came:
        pbx.send(reply(one, 486), scene.edge)
    scene.came(pbx)
    for answer in scene.came(caller):
        if isinstance(call, Message) and answer.call_id == call.call_id and answer.status >= 300:
            caller.send(acknowledgement(call, answer), scene.edge)
    assert len({message["Call-ID"] for message in came}) <= 1
    return came[0] if came else None


def uri(pbx: Endpoint, user: str = "sales") -> str:
    """Return the URI of a user at a PBX."""
    return f"sip:{user}@{pbx.address[0]}:{pbx.address[1]}"
