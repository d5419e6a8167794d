"""Keeping trunks registered: settings, restarts and stops, with a real directory on disk."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

import pytest

from tests.unit.agent.registration.node import ACME, BELL, NOW, Dns, Node, tell
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


def test_each_trunk_is_registered_at_once_with_its_token_from_our_socket(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        asked = node.registrar.taken()
        assert {a.aor for a in asked} == {"sip:acct1@192.0.2.1", "sip:acct2@192.0.2.1"}
        assert {a.account.contact.user for a in asked} == set(node.directory.tokens().values())
        assert {str(a.socket) for a in asked} == {"udp:127.0.0.1:5060"}
        assert {str(a.send.next_hop) for a in asked} == {"udp:192.0.2.1:5060"}
        assert len({a.call_id for a in asked}) == 2
        assert node.registrations.outcomes == {"registered": 2}

    tell(story)


def test_what_is_learned_stands_until_the_grant_ends_and_the_grace_is_over(node: Node) -> None:
    async def story() -> None:
        node.registrar.grants_s = 120
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        assert node.addresses == [("acme", "192.0.2.1", NOW + 120 + GRACE_S)]
        assert node.of["acme"].expires_at == NOW + 120

    tell(story)


def test_the_learned_address_is_written_before_anybody_hears_of_it(node: Node) -> None:
    reader = Directory(node.folder / FILE)
    known_when_told: list[list[str]] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "registered by" in record.getMessage():
                known_when_told.append([id_ for id_, _ in reader.addresses()])

    listener, log = Listener(), logging.getLogger("whence.agent.registration.service")
    log.addHandler(listener)
    log.setLevel(logging.INFO)

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        assert known_when_told == [["acme"]]

    try:
        tell(story)
    finally:
        log.removeHandler(listener)
        log.setLevel(logging.NOTSET)
        reader.close()


def test_a_refresh_comes_in_its_time_with_the_same_call_id_and_the_next_cseq(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        (first,) = node.registrar.taken()
        node.clock.now = NOW + 0.69 * 3600
        await node.until_quiet()
        assert node.registrar.taken() == []
        node.clock.now = NOW + 0.81 * 3600
        await node.until(lambda: node.of["acme"].expires_at == node.clock.now + 3600)
        (refresh,) = node.registrar.taken()
        assert (refresh.call_id, refresh.send.cseq) == (first.call_id, 2)
        assert node.addresses == [("acme", "192.0.2.1", node.clock.now + 3600 + GRACE_S)]

    tell(story)


# A new file.


def test_a_trunk_that_comes_is_registered_and_the_others_are_left_alone(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.taken()
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        assert [a.aor for a in node.registrar.taken()] == ["sip:acct2@192.0.2.1"]

    tell(story)


def test_a_trunk_that_goes_loses_its_addresses_at_once_and_is_unregistered(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        node.registrar.taken()
        node.apply(BELL)
        assert [id_ for id_, *_ in node.addresses] == ["bell"]
        assert node.registrar.asked == [], "it ends before the registrar has heard of it"
        await node.until(lambda: node.registrar.asked != [])
        (asked,) = node.registrar.taken()
        assert asked.unregisters
        assert asked.aor == "sip:acct1@192.0.2.1"
        assert asked.account.credentials.password == Secret("hunter2")
        assert list(node.of) == ["bell"]
        await node.until_quiet()
        assert list(node.directory.registrations()) == ["bell"]
        assert list(node.directory.tokens()) == ["bell"]

    tell(story)


def test_a_grant_to_a_trunk_that_has_gone_meanwhile_teaches_nothing(node: Node) -> None:
    async def story() -> None:
        node.registrar.open = asyncio.Event()
        node.apply(ACME)
        await node.until(lambda: len(node.registrar.asked) == 1)
        node.apply("")
        await node.until_quiet()
        node.registrar.open.set()
        await node.until(lambda: len(node.registrar.asked) == 2)
        assert node.registrar.asked[1].unregisters
        await node.until_quiet()
        assert node.addresses == []
        assert node.directory.registrations() == {}

    tell(story)


def test_new_credentials_register_at_once_also_after_wrong_ones(node: Node) -> None:
    async def story() -> None:
        node.registrar.status = 401
        node.apply(ACME)
        await node.until_all(State.AUTH_FAILED)
        node.registrar.taken()
        node.registrar.status = 200
        node.apply(ACME)
        await node.until_quiet()
        assert node.registrar.taken() == [], "the same file again is no change"
        node.apply(ACME.replace("hunter2", "right"))
        await node.until_all(State.REGISTERED)
        (asked,) = node.registrar.taken()
        assert asked.account.credentials.password == Secret("right")

    tell(story)


@pytest.mark.parametrize("change", ['numbers = ["+44201"]', 'target = "sip:other@192.0.2.9"'])
def test_a_new_target_or_number_sends_nothing_to_the_registrar(node: Node, change: str) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.taken()
        changed = ACME if change.startswith("numbers") else ACME.replace("target", "#target")
        node.apply(changed + change)
        await node.until_quiet()
        assert node.registrar.taken() == []
        assert [id_ for id_, *_ in node.addresses] == ["acme"]

    tell(story)


def test_a_disabled_trunk_is_unregistered_and_one_enabled_again_registers(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.taken()
        node.apply(ACME + "enabled = false")
        assert node.addresses == []
        await node.until_all(State.UNREGISTERED)
        assert [a.unregisters for a in node.registrar.taken()] == [True]
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        assert [a.unregisters for a in node.registrar.taken()] == [False]
        assert [id_ for id_, *_ in node.addresses] == ["acme"]

    tell(story)


def test_a_trunk_disabled_and_enabled_at_once_stays_registered(node: Node) -> None:
    """Two new files in a row, the second before anything came of the first."""

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.apply(ACME + "enabled = false")
        node.apply(ACME)
        await node.until_quiet()
        assert node.of["acme"].state is State.REGISTERED
        assert [id_ for id_, *_ in node.addresses] == ["acme"]

    tell(story)


def test_a_new_file_sends_nothing_for_a_trunk_on_another_socket(node: Node) -> None:
    async def story() -> None:
        two = '[edge]\nlisten = ["udp:127.0.0.1:5060", "udp:[::1]:5060"]\n'
        six = two + ACME.replace("sip:192.0.2.1", "sip:[2001:db8::1]")
        node.apply(six)
        await node.until_all(State.REGISTERED)
        (asked,) = node.registrar.taken()
        assert (str(asked.socket), asked.account.contact.host) == ("udp:[::1]:5060", "::1")
        node.apply(six)
        await node.until_quiet()
        assert node.registrar.taken() == []

    tell(story)


def test_what_is_unregistered_and_what_is_registered_anew_do_not_share_a_contact(
    node: Node,
) -> None:
    """The same account by another proxy: its registrar may see the two in any order."""

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.taken()
        node.apply(ACME + 'proxy = "sip:192.0.2.7"')
        await node.until(lambda: len(node.registrar.asked) == 2)
        one, two = node.registrar.taken()
        assert one.aor == two.aor
        assert one.account.contact != two.account.contact
        await node.until_quiet()
        assert [id_ for id_, *_ in node.addresses] == ["acme"]

    tell(story)


def test_another_account_is_another_registration(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        (before,) = node.registrar.taken()
        node.apply(ACME.replace("acct1", "acct9"))
        assert node.addresses == []
        await node.until(lambda: len(node.registrar.asked) == 2)
        asked = {a.aor: a for a in node.registrar.taken()}
        assert asked["sip:acct1@192.0.2.1"].unregisters
        assert asked["sip:acct1@192.0.2.1"].call_id == before.call_id
        after = asked["sip:acct9@192.0.2.1"]
        assert not after.unregisters
        assert (after.call_id != before.call_id, after.send.cseq) == (True, 1)

    tell(story)


def test_another_account_that_cannot_be_written_down_changes_nothing(node: Node) -> None:
    """The disk is full as the file is read: the trunk stays, and goes on being refreshed."""

    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.registrar.taken()
        token, known = node.directory.tokens(), node.addresses
        with broken(node.directory.path, "UPDATE ON trunk"), pytest.raises(StoreError):
            node.apply(ACME.replace("acct1", "acct9"))
        assert (node.directory.tokens(), node.addresses) == (token, known)
        node.clock.now = node.of["acme"].next_at or 0.0
        await node.until(lambda: bool(node.registrar.asked))
        (refresh,) = node.registrar.taken()
        assert (refresh.aor, refresh.unregisters) == ("sip:acct1@192.0.2.1", False)

    tell(story)


# Restarts.


def test_after_a_restart_what_is_still_granted_is_not_asked_for_again(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        (before,) = node.registrar.taken()
        known, due_at = node.addresses, node.of["acme"].next_at
        node.agent()
        node.apply(ACME)
        await node.until_quiet()
        assert node.registrar.taken() == []
        assert (node.addresses, node.of["acme"].next_at) == (known, due_at)

        assert due_at is not None
        node.clock.now = due_at
        await node.until(lambda: node.registrar.asked != [])
        (refresh,) = node.registrar.taken()
        assert (refresh.call_id, refresh.send.cseq) == (before.call_id, 2)
        assert refresh.account.contact == before.account.contact

    tell(story)


def test_after_a_restart_in_which_dns_is_silent_the_server_that_granted_is_asked(
    node: Node,
) -> None:
    """What DNS said before is gone with the agent that had asked; who granted is written down."""

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

    tell(story)


def test_a_registrar_that_nobody_finds_holds_up_no_other(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many trunks there are at it: they wait for one another, and nobody for them."""
    monkeypatch.setattr(scheduler, "BEGUN_LIMIT", 4)
    monkeypatch.setattr(scheduler, "BEGUN_AT_REGISTRAR", 2)

    @dataclass
    class OneHangs(Dns):
        async def targets(self, server: Uri) -> tuple[TransportAddress, ...]:
            if server.host == "nobody.example":
                await asyncio.Event().wait()
            return self.says

    async def story() -> None:
        node.resolver = OneHangs((TransportAddress.parse("udp:192.0.2.1:5060"),))
        node.agent()
        hanging = [ACME.replace("acme", f"t{n}").replace("acct1", f"a{n}") for n in range(9)]
        hanging = [one.replace("192.0.2.1", "nobody.example") for one in hanging]
        node.apply("".join(hanging) + ACME)
        await node.until(lambda: node.of["acme"].state is State.REGISTERED)
        assert node.registrations.rate_limited == 7

    tell(story)


def test_who_finds_no_room_again_and_again_comes_in_when_there_is_some(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "BEGUN_AT_REGISTRAR", 2)

    async def story() -> None:
        node.registrar.open = asyncio.Event()
        node.apply("".join(ACME.replace("acme", f"t{n}") for n in range(5)))
        await node.until(lambda: len(node.registrar.asked) == 2)
        for _ in range(3):
            node.clock.now += scheduler.FULL_S
            await node.until_loop()
            assert node.registrations.rate_limited == 3
        node.registrar.open.set()
        for _ in range(3):
            node.clock.now += scheduler.FULL_S
            await node.until_loop()
        await node.until_all(State.REGISTERED)

    tell(story)


def test_what_a_new_file_unregisters_keeps_the_pace_of_its_registrar(node: Node) -> None:
    """Else a file of other trunks would be a flood of un-REGISTERs."""

    async def story() -> None:
        limits = "[registration]\nrate_per_registrar = 10\n"
        every = "".join(ACME.replace("acme", f"t{n}").replace("acct1", f"a{n}") for n in range(15))
        node.apply(every)
        await node.until_all(State.REGISTERED)
        node.registrar.taken()
        began = time.monotonic()
        node.apply(limits)
        await node.until(lambda: len(node.registrar.asked) == 15)
        assert all(asked.unregisters for asked in node.registrar.taken())
        # Ten may go at once, the last of the others half a second later.
        assert time.monotonic() - began >= 0.4

    tell(story)


def test_what_is_due_while_the_agent_stops_is_not_asked_for(node: Node) -> None:
    """It would be granted, and left so."""

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
        assert node.registrar.taken() == []

    tell(story)


def test_after_a_restart_a_request_that_was_in_flight_is_sent_anew_with_the_next_cseq(
    node: Node,
) -> None:
    async def story() -> None:
        node.registrar.open = asyncio.Event()
        node.apply(ACME)
        await node.until(lambda: len(node.registrar.asked) == 1)
        (lost,) = node.registrar.taken()
        node.registrar.open = None
        node.agent()
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        (again,) = node.registrar.taken()
        assert (again.call_id, again.send.cseq) == (lost.call_id, lost.send.cseq + 1)

    tell(story)


def test_a_restart_does_not_try_wrong_credentials_sooner_nor_forget_how_often(node: Node) -> None:
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
            assert len(node.registrar.taken()) == 1
            node.agent()
            node.apply(ACME)
            await node.until_quiet()
            assert node.registrar.taken() == []
            node.clock.now = next_at
        assert waits == [600, 1200, 2400]

    tell(story)


def test_a_clean_stop_does_not_shorten_a_wait_either(node: Node) -> None:
    async def story() -> None:
        node.registrar.status = 401
        node.apply(ACME)
        await node.until_quiet()
        before = node.of["acme"]
        node.registrar.taken()
        await node.registrations.stop()
        node.agent()
        node.apply(ACME)
        await node.until_quiet()
        assert node.registrar.taken() == []
        assert node.of["acme"] == before

    tell(story)


@pytest.mark.parametrize(
    ("was", "is_now"),
    [
        ('password = "hunter2"', 'password = "hunter3"'),
        ('password = "hunter2"', 'password = "hunter2"\nauth_user = "boss"'),
        ('password = "hunter2"', 'password = "hunter2"\nrealm = "provider.example"'),
        ('password = "hunter2"', f'ha1 = {{md5 = "{"0" * 32}"}}'),
    ],
)
def test_new_credentials_that_came_with_a_restart_are_tried_at_once(
    node: Node, was: str, is_now: str
) -> None:
    async def story() -> None:
        node.registrar.status = 401
        node.apply(ACME + BELL)
        await node.until_quiet()
        node.registrar.taken()
        await node.registrations.stop()
        node.agent()
        node.registrar.status = 200
        node.apply(ACME.replace(was, is_now) + BELL)
        await node.until_quiet()
        assert [one.aor for one in node.registrar.taken()] == ["sip:acct1@192.0.2.1"]
        assert node.of["acme"].state is State.REGISTERED

    tell(story)


def test_what_the_operator_unregisters_is_unregistered_though_the_agent_dies_meanwhile(
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
        node.registrar.taken()
        node.agent()
        node.apply(ACME)
        await node.until_all(State.UNREGISTERED)
        assert [one.unregisters for one in node.registrar.taken()] == [True]
        assert node.of["acme"].suspended

    tell(story)


def test_another_account_in_the_file_after_a_restart_begins_anew(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        (before,) = node.registrar.taken()
        node.agent()
        node.registrar.silent = True
        node.apply(ACME.replace("acct1", "acct9"))
        assert node.addresses == []
        await node.until(lambda: node.registrar.asked != [])
        (asked,) = node.registrar.taken()
        assert asked.call_id != before.call_id

    tell(story)


def test_a_trunk_that_went_while_no_agent_ran_leaves_no_address(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        node.agent()
        node.apply("")
        assert node.addresses == []
        assert node.directory.registrations() == {}

    tell(story)


def test_who_watches_hears_of_each_step_that_is_written_down_and_of_who_is_gone(
    node: Node,
) -> None:
    heard: list[tuple[str, State | None]] = []

    class Watcher:
        def changed(self, trunk: TrunkSettings, registration: Registration) -> None:
            written = node.directory.registrations().get(trunk.id)
            assert registration.state is State.NEW or written is not None
            assert written is None or written.registration.state is registration.state
            heard.append((trunk.id, registration.state))

        def gone(self, trunk_id: str) -> None:
            heard.append((trunk_id, None))

    async def story() -> None:
        node.observers.append(Watcher())
        node.agent()
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        assert heard == [("acme", s) for s in (State.NEW, State.REGISTERING, State.REGISTERED)]
        heard.clear()
        node.apply(BELL)
        await node.until_all(State.REGISTERED)
        assert heard[0] == ("acme", None)
        assert {trunk_id for trunk_id, _ in heard[1:]} == {"bell"}

    tell(story)


def test_a_change_at_the_very_moment_of_a_slot_is_no_trouble(node: Node) -> None:
    async def story() -> None:
        node.apply("[registration]\nrate_per_registrar = 0.5\n" + ACME + BELL)
        await node.until(lambda: node.registrations.rate_limited == 1)
        late = next(id_ for id_, r in node.of.items() if r.state is State.NEW)
        node.clock.now += 1
        node.registrations.orders.want(late)
        node.clock.now += 10
        await node.until_all(State.REGISTERED)

    tell(story)


# The end.


def test_at_the_end_everything_is_unregistered(node: Node) -> None:
    async def story() -> None:
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)
        node.registrar.taken()
        await node.registrations.stop()
        assert [a.unregisters for a in node.registrar.taken()] == [True, True]
        assert node.addresses == []
        node.agent()
        node.apply(ACME + BELL)
        await node.until_all(State.REGISTERED)

    tell(story)


def test_at_the_end_everything_is_left_where_the_file_says_so(node: Node) -> None:
    async def story() -> None:
        leave = '[agent]\non_stop = "leave"\n' + ACME
        node.apply(leave)
        await node.until_all(State.REGISTERED)
        node.registrar.taken()
        known = node.addresses
        await node.registrations.stop()
        assert node.registrar.taken() == []
        node.agent()
        node.apply(leave)
        await node.until_quiet()
        assert node.registrar.taken() == []
        assert node.addresses == known

    tell(story)


# The log.


def test_each_change_is_one_line_with_trunk_and_reason_and_never_a_secret(
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

    tell(story)
    assert [record.getMessage() for record in caplog.records] == [
        "trunk acme: registered by udp:192.0.2.1:5060: granted 3600 s",
        "trunk acme: waiting: 403 Reason",
    ]
    assert "hunter2" not in caplog.text


def test_refresh_during_which_the_clock_is_set_back_is_not_lost(node: Node) -> None:
    """It comes when the clock says again that it is due."""

    async def story() -> None:
        node.resolver = dns = Dns((TransportAddress.parse("udp:192.0.2.1:5060"),))
        node.agent()
        node.apply(ACME)
        await node.until_all(State.REGISTERED)
        due_at = node.of["acme"].next_at
        assert due_at is not None
        node.registrar.taken()
        dns.wait, dns.asked = asyncio.Event(), False
        node.clock.now = due_at
        await node.until(lambda: dns.asked)
        node.clock.now -= 1
        dns.wait.set()
        await node.until_loop()
        assert node.registrar.taken() == []
        node.clock.now += 1
        await node.until(lambda: len(node.registrar.asked) == 1)

    tell(story)
