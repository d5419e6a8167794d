"""Test the group commit: the steps of one pass of the event loop are stored in one transaction."""

from __future__ import annotations

import asyncio
import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from testkit.wait import PATIENCE_S
from tests.unit.agent.registration import killed_agent
from tests.unit.agent.registration.node import ACME, BELL, NOW, Dns, Node, run
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.registration.model import State
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.errors import StoreError
from whence.store.directory import FILE

GRACE_S = 32
BOTH = ACME + BELL
REGISTRAR = TransportAddress.parse("udp:192.0.2.1:5060")


class Transactions:
    """Counts the transactions that could change a decision."""

    def __init__(self) -> None:
        self.count = 0

    def directory_changed(self) -> None:
        self.count += 1


class DnsWithOrder(Dns):
    """DNS that has an order in the pass in which the attempt begins."""

    order: Callable[[], None] | None = None

    async def targets(self, server: Uri) -> tuple[TransportAddress, ...]:
        if self.order is not None:
            # The loop runs this before the steps of this pass are stored.
            asyncio.get_running_loop().call_soon(self.order)
            self.order = None
        return await super().targets(server)


def history_of(node: Node, trunk_id: str) -> list[EventKind]:
    return [event.what for _, event in node.directory.events(trunk_id)]


def trigger(folder: Path, script: str) -> None:
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as other:
        other.execute(script)


def test_grants_of_one_pass_are_one_transaction(node: Node) -> None:
    transactions = Transactions()
    node.directory_observers.append(transactions)
    node.agent()
    trunks = [ACME.replace("acme", f"t{n}").replace("acct1", f"acct{n}") for n in range(20)]

    async def story() -> None:
        node.apply("".join(trunks))
        transactions.count = 0
        await node.until_all(State.REGISTERED)
        assert len(node.addresses) == 20
        assert transactions.count == 1

    run(story)


def test_step_is_reported_after_all_steps_of_its_pass_are_stored(node: Node) -> None:
    """No alarm, and no log line, is about a step that a later failure removes."""
    stored_at_event: list[set[State]] = []

    class Observer:
        def happened(self, trunk_id: str, events: Sequence[HistoryEvent]) -> None:
            stored = node.directory.registrations().values()
            stored_at_event.append({one.registration.state for one in stored})

    node.history_observers.append(Observer())
    node.agent()

    async def story() -> None:
        node.apply(BOTH)
        await node.until_all(State.REGISTERED)
        assert [states for states in stored_at_event if states != {State.REGISTERING}] == [
            {State.REGISTERED},
            {State.REGISTERED},
        ]

    run(story)


def test_steps_of_one_trunk_in_one_pass_keep_their_order(node: Node) -> None:
    async def story() -> None:
        node.apply(BOTH)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        node.registrations.bring_forward("acme")
        node.registrations.bring_forward("acme")  # its refresh is due already: no second event
        node.apply(BOTH.replace("hunter2", "hunter3"))
        await node.until(lambda: len(node.registrar.received) == 2)
        await node.until_quiet()
        assert history_of(node, "acme") == [
            EventKind.REGISTERED,
            EventKind.KEEPALIVE_FAILED,
            EventKind.REGISTER_REQUESTED,
        ]
        assert history_of(node, "bell") == [EventKind.REGISTERED, EventKind.REGISTER_REQUESTED]

    run(story)


# Orders of the operator while steps wait.


@pytest.mark.parametrize(
    ("order", "expires_s", "state"),
    [
        ("pause", [3600], State.PAUSED),
        ("unregister", [3600, 0], State.UNREGISTERED),
        ("want", [3600, 3600], State.REGISTERED),
    ],
)
def test_order_while_a_step_waits_takes_effect_after_it(
    node: Node, order: str, expires_s: list[int], state: State
) -> None:
    node.resolver = dns = DnsWithOrder((REGISTRAR,))
    node.agent()

    async def story() -> None:
        def give_order() -> None:
            getattr(node.registrations.orders, order)("acme")
            # The step that waited was taken first: its REGISTER is in flight.
            assert node.of["acme"].in_flight is not None

        dns.order = give_order
        node.apply(ACME)
        await node.until(lambda: len(node.registrar.received) == len(expires_s))
        await node.until_all(state)
        await node.until_quiet()
        assert [one.send.expires_s for one in node.registrar.received] == expires_s
        # The registrations of a paused trunk stay valid, those of an unregistered one end.
        assert len(node.addresses) == (order != "unregister")

    run(story)


def test_order_while_a_step_waits_raises_if_it_is_not_stored(node: Node) -> None:
    async def story() -> None:
        node.apply(BOTH)
        await node.until_all(State.REGISTERED)
        trigger(
            node.folder,
            "CREATE TRIGGER broken BEFORE INSERT ON registration WHEN NEW.suspended"
            " BEGIN SELECT RAISE(ABORT, 'disk'); END",
        )
        node.registrations.bring_forward("acme")
        with pytest.raises(StoreError, match="disk"):
            node.registrations.orders.unregister("acme")
        assert history_of(node, "acme") == [EventKind.REGISTERED, EventKind.KEEPALIVE_FAILED]
        assert node.of["acme"].state is State.REGISTERED
        assert not node.of["acme"].suspended
        assert len(node.addresses) == 2

    run(story)


# Failures.

OF_BELL = "CREATE TRIGGER broken BEFORE {} WHEN NEW.trunk_id = 'bell' BEGIN SELECT {}; END"
FULL = "RAISE(FAIL, 'database or disk is full')"
BROKEN = "RAISE(ROLLBACK, 'disk I/O error')"


@pytest.mark.parametrize("failure", [FULL, BROKEN], ids=["full", "broken"])
@pytest.mark.parametrize("write", ["INSERT ON registration", "INSERT ON address"])
def test_step_that_cannot_be_stored_stops_no_other_trunk(
    node: Node, write: str, failure: str
) -> None:
    """The failure is in the middle of a transaction, which has steps of other trunks."""
    trigger(node.folder, OF_BELL.format(write, failure))
    cook = BELL.replace("bell", "cook").replace("acct2", "acct3")

    async def story() -> None:
        node.apply(ACME + BELL + cook)
        await node.until(lambda: node.of["bell"].state is State.WAITING)
        await node.until_quiet()
        of = node.of
        assert (of["acme"].state, of["cook"].state) == (State.REGISTERED, State.REGISTERED)
        assert of["bell"].reason is RegistrationReason.NOT_WRITTEN
        assert of["bell"].next_at == NOW + 30
        assert [trunk_id for trunk_id, *_ in node.addresses] == ["acme", "cook"]
        assert history_of(node, "bell") == []

        sent = [one.aor for one in node.registrar.take_received()]
        of_bell = "sip:acct2@192.0.2.1"
        assert sent.count(of_bell) == (write == "INSERT ON address"), "it is stored, then sent"
        trigger(node.folder, "DROP TRIGGER broken")
        node.clock.now += 30
        await node.until_all(State.REGISTERED)
        assert [one.aor for one in node.registrar.received] == [of_bell]
        assert len(node.addresses) == 3

    run(story)


def test_fault_in_one_step_stops_no_other_trunk(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty:
        def happened(self, trunk_id: str, events: Sequence[HistoryEvent]) -> None:
            if trunk_id == "acme":
                raise RuntimeError("a bug")

    node.history_observers.append(Faulty())
    node.agent()

    async def story() -> None:
        node.apply(BOTH)
        await node.until(lambda: node.of["bell"].state is State.REGISTERED)
        # Also a step for whose result no task waits.
        node.registrations.bring_forward("acme")
        node.registrations.bring_forward("bell")
        await node.until(lambda: EventKind.KEEPALIVE_FAILED in history_of(node, "bell"))
        await node.until_loop()

    with caplog.at_level(logging.ERROR):
        run(story)
    failed = [r.getMessage() for r in caplog.records if r.exc_info and "a bug" in str(r.exc_info)]
    assert failed == ["a registration's task failed", "trunk acme: a step failed"]


def test_ends_of_grants_are_stored_together(node: Node) -> None:
    async def story() -> None:
        node.apply(BOTH)
        await node.until_all(State.REGISTERED)
        trigger(node.folder, OF_BELL.format("INSERT ON registration", FULL))
        node.registrar.silent = True
        node.clock.now += 3600
        await node.until(lambda: node.registrations.expirations == 2)
        await node.until_loop()
        assert EventKind.EXPIRED in history_of(node, "acme")
        assert EventKind.EXPIRED not in history_of(node, "bell")

    run(story)


# An agent that ends with SIGKILL.


def killed(folder: Path, place: str) -> None:
    """Run an agent with the trunks acme and bell until it kills itself at `place`."""
    argv = [sys.executable, "-m", killed_agent.__name__, str(folder), place]
    done = subprocess.run(argv, capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_kill_between_commit_and_send_repeats_no_cseq(tmp_path: Path) -> None:
    killed(tmp_path, "send")
    node = Node(tmp_path)
    stored = {id_: one.registration for id_, one in node.directory.registrations().items()}
    assert {id_: (r.state, r.cseq) for id_, r in stored.items()} == {
        "acme": (State.REGISTERING, 1),
        "bell": (State.REGISTERING, 1),
    }

    async def story() -> None:
        node.apply(BOTH)
        await node.until_all(State.REGISTERED)
        assert [one.send.cseq for one in node.registrar.received] == [2, 2]
        call_ids = {one.call_id for one in node.registrar.received}
        assert call_ids == {r.call_id for r in stored.values()}

    run(story)
    node.directory.close()


def test_kill_after_the_commit_of_a_grant_loses_no_address(tmp_path: Path) -> None:
    killed(tmp_path, "grant")
    node = Node(tmp_path)

    async def story() -> None:
        node.apply(BOTH)
        assert node.addresses == [
            ("acme", "192.0.2.1", NOW + 3600 + GRACE_S),
            ("bell", "192.0.2.1", NOW + 3600 + GRACE_S),
        ]
        await node.until_loop()
        assert {r.state for r in node.of.values()} == {State.REGISTERED}
        assert node.registrar.received == [], "the grants are valid: nothing is sent"
        assert history_of(node, "bell") == [EventKind.REGISTERED]

    run(story)
    node.directory.close()


def test_kill_before_the_commit_of_grants_stores_none(tmp_path: Path) -> None:
    killed(tmp_path, "commit")
    node = Node(tmp_path)

    async def story() -> None:
        node.apply(BOTH)
        assert node.addresses == []
        assert history_of(node, "acme") == history_of(node, "bell") == []
        await node.until_all(State.REGISTERED)
        assert [one.send.cseq for one in node.registrar.received] == [2, 2]

    run(story)
    node.directory.close()
