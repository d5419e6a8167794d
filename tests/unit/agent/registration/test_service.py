"""Test the registration service with a real directory: reloads, restarts and stops."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import pytest

from tests.unit.agent.registration.node import ACME, BELL, NOW, Dns, Node, run
from tests.unit.store.disk import broken
from whence.agent.registration import scheduler
from whence.core.registration.model import Registration, State
from whence.core.settings import TrunkSettings
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.errors import StoreError
from whence.store.directory import FILE, Directory

GRACE_S = 32


def test_trunks_register_at_once_with_their_tokens(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        received = node.registrar.take_received()
        assert {a.aor for a in received} == {"sip:acct1@192.0.2.1", "sip:acct2@192.0.2.1"}
        assert {a.account.contact.user for a in received} == set(node.directory.tokens().values())
        assert {str(a.socket) for a in received} == {"udp:127.0.0.1:5060"}
        assert {str(a.send.next_hop) for a in received} == {"udp:192.0.2.1:5060"}
        assert len({a.call_id for a in received}) == 2
        assert node.registrations.outcomes == {"registered": 2}

    run(story)


def test_learned_address_ends_with_grant_and_grace(node: Node) -> None:
    async def story() -> None:
        node.registrar.grants_s = 120
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        assert node.addresses == [("acme", "192.0.2.1", NOW + 120 + GRACE_S)]
        assert node.of["acme"].expires_at == NOW + 120

    run(story)


def test_learned_address_is_stored_before_it_is_logged(node: Node) -> None:
    reader = Directory(node.folder / FILE)
    stored_when_logged: list[list[str]] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "registered by" in record.getMessage():
                stored_when_logged.append([id_ for id_, _ in reader.addresses()])

    listener, log = Listener(), logging.getLogger("whence.agent.registration.steps")
    log.addHandler(listener)
    log.setLevel(logging.INFO)

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        assert stored_when_logged == [["acme"]]

    try:
        run(story)
    finally:
        log.removeHandler(listener)
        log.setLevel(logging.NOTSET)
        reader.close()


def test_refresh_is_sent_in_time_with_the_next_cseq(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        (first,) = node.registrar.take_received()
        node.clock.now = NOW + 0.69 * 3600
        await node.until_quiet()
        assert node.registrar.take_received() == []
        node.clock.now = NOW + 0.81 * 3600
        await node.until(lambda: node.of["acme"].expires_at == node.clock.now + 3600)
        (refresh,) = node.registrar.take_received()
        assert (refresh.call_id, refresh.send.cseq) == (first.call_id, 2)
        assert node.addresses == [("acme", "192.0.2.1", node.clock.now + 3600 + GRACE_S)]

    run(story)


# Reloads.


def test_trunk_added_registers_without_the_others(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        assert [a.aor for a in node.registrar.take_received()] == ["sip:acct2@192.0.2.1"]

    run(story)


def test_trunk_removed_loses_addresses_and_is_unregistered(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        node.apply(BELL)
        assert [id_ for id_, *_ in node.addresses] == ["bell"]
        assert node.registrar.received == [], "it ends before the registrar is asked"
        await node.until(lambda: node.registrar.received != [])
        (received,) = node.registrar.take_received()
        assert received.unregisters
        assert received.aor == "sip:acct1@192.0.2.1"
        assert received.account.credentials.password == Secret("hunter2")
        assert list(node.of) == ["bell"]
        await node.until_quiet()
        assert list(node.directory.registrations()) == ["bell"]
        assert list(node.directory.tokens()) == ["bell"]

    run(story)


def test_grant_to_removed_trunk_learns_nothing(node: Node) -> None:
    async def story() -> None:
        node.registrar.open = asyncio.Event()
        node.apply(ACME)
        await node.until(lambda: len(node.registrar.received) == 1)
        node.apply("")
        await node.until_quiet()
        node.registrar.open.set()
        await node.until(lambda: len(node.registrar.received) == 2)
        assert node.registrar.received[1].unregisters
        await node.until_quiet()
        assert node.addresses == []
        assert node.directory.registrations() == {}

    run(story)


def test_credentials_changed_register_at_once(node: Node) -> None:
    async def story() -> None:
        node.registrar.status = 401
        node.apply(ACME)
        await node.until_all(State.AUTH_FAILED)
        node.registrar.take_received()
        node.registrar.status = 200
        node.apply(ACME)
        await node.until_quiet()
        assert node.registrar.take_received() == [], "the same file is no change"
        node.apply(ACME.replace("hunter2", "right"))
        await node.until_all(State.REGISTERED)
        (received,) = node.registrar.take_received()
        assert received.account.credentials.password == Secret("right")

    run(story)


@pytest.mark.parametrize("change", ['numbers = ["+44201"]', 'target = "sip:other@192.0.2.9"'])
def test_target_or_number_changed_sends_nothing(node: Node, change: str) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        changed = ACME if change.startswith("numbers") else ACME.replace("target", "#target")
        node.apply(changed + change)
        await node.until_quiet()
        assert node.registrar.take_received() == []
        assert [id_ for id_, *_ in node.addresses] == ["acme"]

    run(story)


def test_trunk_disabled_unregisters_and_enabled_registers(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        node.apply(ACME + "enabled = false")
        assert node.addresses == []
        await node.until_all(State.UNREGISTERED)
        assert [a.unregisters for a in node.registrar.take_received()] == [True]
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        assert [a.unregisters for a in node.registrar.take_received()] == [False]
        assert [id_ for id_, *_ in node.addresses] == ["acme"]

    run(story)


def test_trunk_disabled_and_enabled_stays_registered(node: Node) -> None:
    """Two reloads in a row, the second before the result of the first."""

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.apply(ACME + "enabled = false")
        node.apply(ACME)
        await node.until_quiet()
        assert node.of["acme"].state is State.REGISTERED
        assert [id_ for id_, *_ in node.addresses] == ["acme"]

    run(story)


def test_reload_sends_nothing_for_a_trunk_on_another_socket(node: Node) -> None:
    async def story() -> None:
        two = '[edge]\nlisten = ["udp:127.0.0.1:5060", "udp:[::1]:5060"]\n'
        six = two + ACME.replace("sip:192.0.2.1", "sip:[2001:db8::1]")
        node.apply(six)
        await node.until_all(State.REGISTERED)
        (received,) = node.registrar.take_received()
        assert (str(received.socket), received.account.contact.host) == ("udp:[::1]:5060", "::1")
        node.apply(six)
        await node.until_quiet()
        assert node.registrar.take_received() == []

    run(story)


def test_contact_after_new_proxy_has_another_token(
    node: Node,
) -> None:
    """The registrar may receive the two REGISTERs of the account in any order."""

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        node.apply(ACME + 'proxy = "sip:192.0.2.7"')
        await node.until(lambda: len(node.registrar.received) == 2)
        one, two = node.registrar.take_received()
        assert one.aor == two.aor
        assert one.account.contact != two.account.contact
        await node.until_quiet()
        assert [id_ for id_, *_ in node.addresses] == ["acme"]

    run(story)


def test_account_changed_is_another_registration(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        (before,) = node.registrar.take_received()
        node.apply(ACME.replace("acct1", "acct9"))
        assert node.addresses == []
        await node.until(lambda: len(node.registrar.received) == 2)
        received = {a.aor: a for a in node.registrar.take_received()}
        assert received["sip:acct1@192.0.2.1"].unregisters
        assert received["sip:acct1@192.0.2.1"].call_id == before.call_id
        after = received["sip:acct9@192.0.2.1"]
        assert not after.unregisters
        assert (after.call_id != before.call_id, after.send.cseq) == (True, 1)

    run(story)


def test_account_changed_on_a_full_disk_changes_nothing(node: Node) -> None:
    """The trunk stays, and is refreshed."""

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        token, known = node.directory.tokens(), node.addresses
        with broken(node.directory.path, "UPDATE ON trunk"), pytest.raises(StoreError):
            node.apply(ACME.replace("acct1", "acct9"))
        assert (node.directory.tokens(), node.addresses) == (token, known)
        node.clock.now = node.of["acme"].next_at or 0.0
        await node.until(lambda: bool(node.registrar.received))
        (refresh,) = node.registrar.take_received()
        assert (refresh.aor, refresh.unregisters) == ("sip:acct1@192.0.2.1", False)

    run(story)


# Restarts.


def test_restart_with_a_valid_grant_sends_no_register(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        (before,) = node.registrar.take_received()
        known, due_at = node.addresses, node.of["acme"].next_at
        node.agent()
        node.apply(ACME)
        await node.until_quiet()
        assert node.registrar.take_received() == []
        assert (node.addresses, node.of["acme"].next_at) == (known, due_at)

        assert due_at is not None
        node.clock.now = due_at
        await node.until(lambda: node.registrar.received != [])
        (refresh,) = node.registrar.take_received()
        assert (refresh.call_id, refresh.send.cseq) == (before.call_id, 2)
        assert refresh.account.contact == before.account.contact

    run(story)


def test_restart_without_dns_refreshes_at_the_server(
    node: Node,
) -> None:
    """The DNS cache is lost; the directory has the server that granted."""

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        granted_until = node.of["acme"].expires_at
        node.resolver = Dns()
        node.agent()
        node.apply(ACME)
        node.clock.now += 3000
        await node.until(lambda: node.of["acme"].expires_at != granted_until)
        assert node.of["acme"].expires_at == node.clock.now + 3600

    run(story)


def test_registrar_without_dns_answer_delays_no_other(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trunks wait for one another; trunks of other registrars do not wait for them."""
    monkeypatch.setattr(scheduler, "BEGUN_LIMIT", 4)
    monkeypatch.setattr(scheduler, "BEGUN_AT_REGISTRAR", 2)

    @dataclass
    class OneHangs(Dns):
        async def targets(self, server: Uri) -> tuple[TransportAddress, ...]:
            if server.host == "nobody.example":
                await asyncio.Event().wait()
            return self.answers

    async def story() -> None:
        node.resolver = OneHangs((TransportAddress.parse("udp:192.0.2.1:5060"),))
        node.agent()
        hanging = [ACME.replace("acme", f"t{n}").replace("acct1", f"a{n}") for n in range(9)]
        hanging = [one.replace("192.0.2.1", "nobody.example") for one in hanging]
        node.apply("".join(hanging) + ACME)
        await node.until(lambda: node.of["acme"].state is State.REGISTERED)
        assert node.registrations.rate_limited == 7

    run(story)


def test_attempts_above_the_limit_start_when_others_end(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "BEGUN_AT_REGISTRAR", 2)

    async def story() -> None:
        node.registrar.open = asyncio.Event()
        node.apply("".join(ACME.replace("acme", f"t{n}") for n in range(5)))
        await node.until(lambda: len(node.registrar.received) == 2)
        for _ in range(3):
            node.clock.now += scheduler.FULL_S
            await node.until_loop()
            assert node.registrations.rate_limited == 3
        node.registrar.open.set()
        for _ in range(3):
            node.clock.now += scheduler.FULL_S
            await node.until_loop()
        await node.until_all(State.REGISTERED)

    run(story)


def test_unregistering_by_reload_keeps_the_rate_limit(node: Node) -> None:
    """A file with other trunks must not cause a flood of un-REGISTERs."""

    async def story() -> None:
        limits = "[registration]\nrate_per_registrar = 10\n"
        every = "".join(ACME.replace("acme", f"t{n}").replace("acct1", f"a{n}") for n in range(15))
        node.apply(every)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        began = time.monotonic()
        node.apply(limits)
        await node.until(lambda: len(node.registrar.received) == 15)
        assert all(received.unregisters for received in node.registrar.take_received())
        # Ten are sent at once, the last of the others half a second later.
        assert time.monotonic() - began >= 0.4

    run(story)


def test_stop_sends_no_register_for_a_due_trunk(node: Node) -> None:
    """It would be granted, and stay so."""

    async def story() -> None:
        answered = asyncio.Event()
        node.resolver = dns = Dns((TransportAddress.parse("udp:192.0.2.1:5060"),), answered)
        node.agent()
        node.apply(ACME)
        await node.until(lambda: dns.asked)
        stopping = asyncio.create_task(node.registrations.stop())
        await asyncio.sleep(0)
        answered.set()
        await stopping
        assert node.registrar.take_received() == []

    run(story)


def test_restart_sends_a_lost_request_with_the_next_cseq(
    node: Node,
) -> None:
    async def story() -> None:
        node.registrar.open = asyncio.Event()
        node.apply(ACME)
        await node.until(lambda: len(node.registrar.received) == 1)
        (lost,) = node.registrar.take_received()
        node.registrar.open = None
        node.agent()
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        (again,) = node.registrar.take_received()
        assert (again.call_id, again.send.cseq) == (lost.call_id, lost.send.cseq + 1)

    run(story)


def test_restart_keeps_the_wait_for_wrong_credentials(node: Node) -> None:
    async def story() -> None:
        node.registrar.status = 401
        waits = []
        for _ in range(3):
            node.agent()
            node.apply(ACME)
            await node.until_quiet()
            next_at = node.of["acme"].next_at
            assert next_at is not None
            waits.append(next_at - node.clock.now)
            assert len(node.registrar.take_received()) == 1
            node.agent()
            node.apply(ACME)
            await node.until_quiet()
            assert node.registrar.take_received() == []
            node.clock.now = next_at
        assert waits == [600, 1200, 2400]

    run(story)


def test_stop_shortens_no_wait(node: Node) -> None:
    async def story() -> None:
        node.registrar.status = 401
        node.apply(ACME)
        await node.until_quiet()
        before = node.of["acme"]
        node.registrar.take_received()
        await node.registrations.stop()
        node.agent()
        node.apply(ACME)
        await node.until_quiet()
        assert node.registrar.take_received() == []
        assert node.of["acme"] == before

    run(story)


@pytest.mark.parametrize(
    ("was", "is_now"),
    [
        ('password = "hunter2"', 'password = "hunter3"'),
        ('password = "hunter2"', 'password = "hunter2"\nauth_user = "boss"'),
        ('password = "hunter2"', 'password = "hunter2"\nrealm = "provider.example"'),
        ('password = "hunter2"', f'ha1 = {{md5 = "{"0" * 32}"}}'),
    ],
)
def test_restart_with_new_credentials_registers_at_once(node: Node, was: str, is_now: str) -> None:
    async def story() -> None:
        node.registrar.status = 401
        node.apply(ACME + BELL)
        await node.until_quiet()
        node.registrar.take_received()
        await node.registrations.stop()
        node.agent()
        node.registrar.status = 200
        node.apply(ACME.replace(was, is_now) + BELL)
        await node.until_quiet()
        assert [one.aor for one in node.registrar.take_received()] == ["sip:acct1@192.0.2.1"]
        assert node.of["acme"].state is State.REGISTERED

    run(story)


def test_restart_sends_a_lost_unregister(
    node: Node,
) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.clock.now += 3000
        node.registrar.open = asyncio.Event()
        await node.until(lambda: node.of["acme"].in_flight is not None)
        node.registrations.orders.unregister("acme")
        node.registrar.open = None
        node.registrar.take_received()
        node.agent()
        node.apply(ACME)
        await node.until_all(State.UNREGISTERED)
        assert [one.unregisters for one in node.registrar.take_received()] == [True]
        assert node.of["acme"].suspended

    run(story)


def test_restart_with_another_account_starts_a_new_call_id(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        (before,) = node.registrar.take_received()
        node.agent()
        node.registrar.silent = True
        node.apply(ACME.replace("acct1", "acct9"))
        assert node.addresses == []
        await node.until(lambda: node.registrar.received != [])
        (received,) = node.registrar.take_received()
        assert received.call_id != before.call_id

    run(story)


def test_trunk_removed_without_an_agent_leaves_no_address(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.agent()
        node.apply("")
        assert node.addresses == []
        assert node.directory.registrations() == {}

    run(story)


def test_observers_get_each_stored_step_and_removal(
    node: Node,
) -> None:
    calls: list[tuple[str, State | None]] = []

    class Watcher:
        def changed(self, trunk: TrunkSettings, registration: Registration) -> None:
            written = node.directory.registrations().get(trunk.id)
            assert registration.state is State.NEW or written is not None
            assert written is None or written.registration.state is registration.state
            calls.append((trunk.id, registration.state))

        def gone(self, trunk_id: str) -> None:
            calls.append((trunk_id, None))

    async def story() -> None:
        node.observers.append(Watcher())
        node.agent()
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        assert calls == [("acme", s) for s in (State.NEW, State.REGISTERING, State.REGISTERED)]
        calls.clear()
        node.apply(BELL)
        await node.until_all(State.REGISTERED)
        assert calls[0] == ("acme", None)
        assert {trunk_id for trunk_id, _ in calls[1:]} == {"bell"}

    run(story)


def test_register_now_while_waiting_for_a_slot_registers(node: Node) -> None:
    async def story() -> None:
        node.apply("[registration]\nrate_per_registrar = 0.5\n" + ACME + BELL)
        await node.until(lambda: node.registrations.rate_limited == 1)
        late = next(id_ for id_, r in node.of.items() if r.state is State.NEW)
        node.clock.now += 1
        node.registrations.orders.want(late)
        node.clock.now += 10
        await node.until_all(State.REGISTERED)

    run(story)


# The stop.


def test_stop_unregisters_all_trunks(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        await node.registrations.stop()
        assert [a.unregisters for a in node.registrar.take_received()] == [True, True]
        assert node.addresses == []
        node.agent()
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)

    run(story)


def test_stop_with_on_stop_leave_sends_nothing(node: Node) -> None:
    async def story() -> None:
        leave = '[agent]\non_stop = "leave"\n' + ACME
        node.apply(leave)
        await node.until_all(State.REGISTERED)
        node.registrar.take_received()
        known = node.addresses
        await node.registrations.stop()
        assert node.registrar.take_received() == []
        node.agent()
        node.apply(leave)
        await node.until_quiet()
        assert node.registrar.take_received() == []
        assert node.addresses == known

    run(story)


# The log.


def test_log_has_one_line_for_each_change_without_secrets(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "whence")

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.clock.now += 3000
        await node.until(lambda: node.of["acme"].expires_at == node.clock.now + 3600)
        node.registrar.status = 403
        node.clock.now += 3000
        await node.until_all(State.WAITING)

    run(story)
    assert [record.getMessage() for record in caplog.records] == [
        "trunk acme: registered by udp:192.0.2.1:5060: granted 3600 s",
        "trunk acme: waiting: 403 Reason",
    ]
    assert "hunter2" not in caplog.text


def test_refresh_during_which_the_clock_is_set_back_is_not_lost(node: Node) -> None:
    """It is sent when it is due again."""

    async def story() -> None:
        node.resolver = dns = Dns((TransportAddress.parse("udp:192.0.2.1:5060"),))
        node.agent()
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        due_at = node.of["acme"].next_at
        assert due_at is not None
        node.registrar.take_received()
        dns.wait, dns.asked = asyncio.Event(), False
        node.clock.now = due_at
        await node.until(lambda: dns.asked)
        node.clock.now -= 1
        dns.wait.set()
        await node.until_loop()
        assert node.registrar.take_received() == []
        node.clock.now += 1
        await node.until(lambda: len(node.registrar.received) == 1)

    run(story)
