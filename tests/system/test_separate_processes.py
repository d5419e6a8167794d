"""Kamailio and `whence agent` started separately, as systemd does, without `whence run`."""

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from testkit.network import udp_bound
from testkit.process import Process, beside_python
from testkit.rig import Rig
from testkit.wait import eventually
from testkit.whence import Whence
from tests.system.scene import ACCOUNTS, alices_trunk, try_to_call, uri


@dataclass
class Parts:
    """The two processes that systemd would run."""

    kamailio: Process
    agent: Process


@contextmanager
def separately(rig: Rig, whence: Whence) -> Iterator[Parts]:
    """Start both as docs/run.md says: first the agent, which makes the directory."""
    made = whence.cli("edge-config", "-c", str(whence.file))
    assert (made.returncode, made.stderr) == (0, "")
    config = rig.directory / "kamailio.cfg"
    config.write_text(made.stdout, "utf-8")
    with ExitStack() as stack:
        agent = stack.enter_context(
            Process(
                "agent",
                [beside_python("whence"), "agent", "-c", whence.file],
                rig.directory / "agent.log",
            )
        )
        eventually(lambda: whence.health() == 503, what="the agent, without Kamailio")
        kamailio = stack.enter_context(
            Process("kamailio", start_command(config), rig.directory / "kamailio.log")
        )
        eventually(lambda: whence.health() == 200, what="agent and Kamailio")
        yield Parts(kamailio, agent)


def start_command(config: Path) -> list[str]:
    """Return the command in the first lines of the file, changed to run in the foreground."""
    found = re.search(r"^# Start Kamailio with: (kamailio .*)$", config.read_text("utf-8"), re.M)
    assert found
    words = shlex.split(found[1].replace("THIS-FILE", str(config)))
    return [*words, "-DD", "-E"]


def test_agent_and_kamailio_run_separately(rig: Rig) -> None:
    provider = rig.provider(accounts=ACCOUNTS)
    whence = rig.whence(trunks=[alices_trunk(provider)], users=["alice"], start=False)
    with separately(rig, whence) as parts:
        whence.wait_registered()
        phone = rig.phone("alice", whence)
        caller = rig.caller(whence, at=provider)
        caller.call(uri(whence), expect=200)
        assert phone.calls()[0]["X-Whence-Trunk"] == "alices-trunk"
        assert try_to_call(rig.unknown_source(), whence) == 403
        (alice,) = whence.get("/v1/users")
        assert len(alice["contacts"]) == 1

        assert parts.agent.stop() == 0
        assert provider.contacts("acct1") == []
        caller.call(uri(whence), expect=403)
        assert parts.kamailio.running
    assert "Traceback" not in parts.agent.log
    # `whence run` then continues on the same state directory.
    whence.start()
    whence.wait_registered()
    caller.call(uri(whence), expect=200)


def test_kamailio_without_a_directory_answers_503(rig: Rig) -> None:
    whence = rig.whence(users=["alice"], start=False)
    whence.state.mkdir()
    made = whence.cli("edge-config", "-c", str(whence.file))
    config = rig.directory / "kamailio.cfg"
    config.write_text(made.stdout, "utf-8")
    agent = (beside_python("whence"), "agent", "-c", whence.file)
    with Process("first", agent, rig.directory / "first.log"):
        eventually(lambda: whence.health() == 503, what="the location table")
    for name in ("directory.db", "directory.db-wal", "directory.db-shm"):
        (whence.state / name).unlink(missing_ok=True)
    log = rig.directory / "kamailio.log"
    with Process("kamailio", start_command(config), log) as kamailio:
        eventually(lambda: udp_bound(*whence.address), what="Kamailio's socket")
        assert try_to_call(rig.unknown_source(), whence) == 503
        with Process("agent", agent, rig.directory / "agent.log"):
            eventually(lambda: whence.health() == 200, what="agent and Kamailio")
            assert try_to_call(rig.unknown_source(), whence) == 403
        assert kamailio.running
