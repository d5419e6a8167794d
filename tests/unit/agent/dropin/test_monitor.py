"""The monitor of uac's registrations: what it shows, which expiries it stores, what it reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from whence.agent.dropin.monitor import RegistrationMonitor
from whence.agent.monitoring.alarms import Alarms
from whence.core.clock import ClockOffset
from whence.core.identification.decision import Identified, Refused
from whence.core.identification.identify import identify
from whence.core.identification.request import Request
from whence.core.monitoring.alarms import AlarmKind
from whence.core.registration.events import Learn
from whence.core.registration.history import EventKind, HistoryEvent
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.errors import DisabledTrunkError, StoreError, UnknownTrunkError
from whence.store.directory import FILE
from whence.store.schema import GENERATION_FILE
from whence.store.uac import SharedDirectory

NOW = 1_000_000.0
OURS, PROVIDER = (
    TransportAddress.parse("udp:192.0.2.9:5060"),
    TransportAddress.parse("udp:192.0.2.1:5060"),
)
ACCOUNT = AccountKey("sip:acct1@provider.example", "sip:provider.example")


@dataclass
class Node:
    """A directory that a worker (`there`) and the agent (`here`) have open."""

    folder: Path
    now: float = NOW
    reported: list[tuple[str, HistoryEvent]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.changes = 0
        self.alarms = Alarms(clock=lambda: self.now)
        self.there = SharedDirectory(self.folder / FILE)
        self.here = SharedDirectory(self.folder / FILE)
        self.monitor = self.agent()

    def agent(self) -> RegistrationMonitor:
        return RegistrationMonitor(
            self.here,
            {},
            clock=lambda: self.now,
            observers=[self],
            history_observers=[self, self.alarms],
        )

    def happened(self, trunk_id: str, events: Sequence[HistoryEvent]) -> None:
        self.reported += [(trunk_id, event) for event in events]

    def directory_changed(self) -> None:
        self.changes += 1

    def registers(
        self,
        trunk_id: str,
        granted_s: float = 60,
        source: TransportAddress = PROVIDER,
        events: Sequence[HistoryEvent] = (),
    ) -> None:
        """Store a 2xx, as a worker does."""
        with self.there._transaction():
            self.there._db.execute(
                "INSERT INTO trunk (id, token, aor_user, target, unmatched, fallback, enabled,"
                " credentials_fingerprint) VALUES (?, ?, 'acct1', '', 'accept', 0, 1, '')"
                " ON CONFLICT (id) DO UPDATE SET aor_user = excluded.aor_user",
                (trunk_id, trunk_id),
            )
        until = self.now + granted_s
        registration = Registration(
            trunk_id,
            "call-1",
            state=State.REGISTERED,
            since=self.now,
            granted_s=int(granted_s),
            expires_at=until,
            next_at=None,
            registrar=source,
            last_status=200,
            last_phrase="OK\x1b[2J",
            reason=RegistrationReason.GRANTED,
            message="200 OK\x1b[2J",
        )
        learn = Learn(source, until + 32)
        self.there.save(ACCOUNT, registration, [learn], OURS, self.now, events)

    def identify(
        self, ruri: str, source: TransportAddress = PROVIDER
    ) -> Identified | Refused | object:
        uri = Uri.parse(ruri)
        assert uri is not None
        request = Request(source, uri, None, None)
        return identify(request, self.here.evidence(request, self.now), self.now)

    def close(self) -> None:
        self.here.close()
        self.there.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()


# The registrations


def test_monitor_shows_a_trunk_as_stored(node: Node) -> None:
    node.registers("acme")
    [(trunk, registration)] = node.monitor
    assert (trunk.id, trunk.aor, trunk.enabled) == ("acme", "sip:acct1@provider.example", True)
    assert (registration.state, registration.registrar) == (State.REGISTERED, PROVIDER)
    assert registration.message == "200 OK\\x1b[2J"
    assert "acme" in node.monitor
    assert node.monitor["acme"] == (trunk, registration)


def test_monitor_trunk_of_the_file_alone_is_new(node: Node) -> None:
    node.here.install_numbers({"bell": frozenset({"+442071234567"})})
    [(trunk, registration)] = node.monitor
    assert (trunk.id, registration.state, registration.expires_at) == ("bell", State.NEW, None)


def test_monitor_raises_for_an_unknown_trunk(node: Node) -> None:
    assert "acme" not in node.monitor
    with pytest.raises(UnknownTrunkError, match="no trunk acme is configured"):
        node.monitor["acme"]
    with pytest.raises(UnknownTrunkError, match="no trunk acme is configured"):
        node.monitor.must_be_enabled("acme")


def test_must_be_enabled_names_the_command_of_uac(node: Node) -> None:
    node.registers("acme")
    node.monitor.must_be_enabled("acme")
    with node.there._transaction():
        node.there._db.execute("UPDATE trunk SET enabled = 0")
    with pytest.raises(DisabledTrunkError, match=r"uac\.reg_enable l_uuid s:acme"):
        node.monitor.must_be_enabled("acme")


def test_monitor_expired_grant_is_waiting_at_once(node: Node) -> None:
    node.registers("acme")
    node.now += 60
    [(_, registration)] = node.monitor
    assert registration.state is State.WAITING


# Expiries and events


def test_poll_stores_and_reports_an_expiry_once(node: Node) -> None:
    node.registers("acme")
    node.monitor.poll()
    assert node.reported == []
    node.now += 60
    node.monitor.poll()
    node.monitor.poll()
    [(trunk_id, event)] = node.reported
    assert (trunk_id, event.what, node.monitor.expirations) == ("acme", "expired", 1)
    [(_, registration)] = node.monitor
    assert (registration.state, registration.expires_at) == (State.WAITING, None)
    stored = node.there.registrations()["acme"].registration
    assert stored.state is State.REGISTERED, "the state that workers use is theirs"


def test_poll_after_the_clock_is_set_forward_ends_no_grant(node: Node) -> None:
    def follow() -> None:
        node.here.follow_clock(ClockOffset("boot-1", 3600.0), node.now)

    node.there.set_clock_offset(str(ClockOffset("boot-1", 0.0)))
    node.registers("acme")
    monitor = RegistrationMonitor(
        node.here,
        {},
        clock=lambda: node.now,
        check_clock=follow,
        history_observers=[node],
    )
    node.now += 3600
    monitor.poll()
    assert [event.what for _, event in node.reported] == ["clock_stepped"]
    [(_, registration)] = monitor
    assert registration.expires_at == node.now + 60


def test_poll_after_a_refresh_in_time_reports_nothing(node: Node) -> None:
    node.registers("acme")
    node.now += 50
    node.registers("acme")
    node.now += 50
    node.monitor.poll()
    assert node.reported == []


def test_poll_keeps_a_refresh_stored_meanwhile(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.registers("acme")
    node.now += 60
    begin = node.here._transaction

    def refreshed_first() -> object:
        node.registers("acme")
        return begin()

    monkeypatch.setattr(node.here, "_transaction", refreshed_first)
    node.monitor.poll()
    assert node.reported == []
    assert node.there.registrations()["acme"].registration.state is State.REGISTERED


def test_poll_makes_an_alarm_of_a_stored_event(node: Node) -> None:
    node.registers("acme")
    message = "registered by udp:192.0.2.2:5060, before by udp:192.0.2.1:5060"
    moved = HistoryEvent(EventKind.REGISTRAR_CHANGED, message, 200)
    node.registers("acme", source=TransportAddress.parse("udp:192.0.2.2:5060"), events=[moved])
    node.monitor.poll()
    assert [event.alarm.kind for event in node.alarms.since(0, 10)] == [AlarmKind.REGISTRAR_CHANGED]


def test_poll_after_restart_repeats_no_event(node: Node) -> None:
    node.registers("acme", events=[HistoryEvent(EventKind.REGISTRAR_CHANGED, "…")])
    node.monitor.poll()
    assert len(node.reported) == 1
    node.agent().poll()
    assert len(node.reported) == 1


def test_poll_calls_observers_after_a_write(node: Node) -> None:
    node.monitor.poll()
    assert node.changes == 0
    node.registers("acme")
    node.monitor.poll()
    node.monitor.poll()
    assert node.changes == 1


def test_lives_while_one_grant_is_valid_or_none_exists(node: Node) -> None:
    assert node.monitor.lives()
    node.registers("acme", granted_s=60)
    node.registers("bell", granted_s=90)
    node.now += 60
    assert node.monitor.lives()
    node.now += 30
    assert not node.monitor.lives()
    node.monitor.poll()
    assert not node.monitor.lives()


# Numbers


def test_numbers_distinguish_trunks_at_one_address(node: Node) -> None:
    node.here.install_numbers(
        {"acme": frozenset({"+442071234567"}), "bell": frozenset({"+44161*"})}
    )
    assert not isinstance(node.identify("sip:+442071234567@192.0.2.9"), Identified)
    node.registers("acme")
    node.registers("bell")
    for ruri, trunk_id in (("sip:+442071234567@x", "acme"), ("sip:+441614960000@x", "bell")):
        decision = node.identify(ruri)
        assert isinstance(decision, Identified)
        assert decision.trunk.id == trunk_id
    assert isinstance(node.identify("sip:+15551234@x"), Refused)


def test_install_numbers_replaces_the_old_ones(node: Node) -> None:
    node.here.install_numbers({"acme": frozenset({"+44207*"}), "gone": frozenset({"+441*"})})
    node.registers("acme")
    node.here.install_numbers({"acme": frozenset({"+442071234567"}), "none": frozenset()})
    db = node.there._db
    assert db.execute("SELECT * FROM number WHERE NOT of_account").fetchall() == [
        ("+442071234567", "acme", 0, "")
    ]
    assert db.execute("SELECT * FROM number_prefix").fetchall() == []
    assert [row.id for row in node.here.trunks()] == ["acme"]
    assert node.here.trunks()[0].aor_user == "acct1"


def test_install_numbers_changes_the_generation(node: Node) -> None:
    file = node.folder / GENERATION_FILE
    before = file.read_bytes()
    node.here.install_numbers({})
    assert file.read_bytes() != before


def test_install_numbers_that_fails_keeps_the_old_ones(node: Node) -> None:
    node.here.install_numbers({"acme": frozenset({"+442071234567"})})
    with node.there._db as db:
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON number WHEN NEW.spelling = '+1' BEGIN"
            " SELECT RAISE(ABORT, 'disk full'); END"
        )
    with pytest.raises(StoreError):
        node.here.install_numbers({"acme": frozenset({"+1"})})
    rows = node.there._db.execute("SELECT * FROM number WHERE NOT of_account").fetchall()
    assert rows == [("+442071234567", "acme", 0, "")]


def test_number_headers_are_used_until_removed(node: Node) -> None:
    def headers_of_trunks() -> dict[str, str]:
        return dict(node.there._db.execute("SELECT id, number_headers FROM trunk").fetchall())

    def additional() -> str:
        query = "SELECT value FROM meta WHERE key = 'number_headers'"
        return str(node.there._db.execute(query).fetchone()[0])

    node.here.install_numbers({}, {"acme": ("x-called", "to"), "bell": ("diversion",)})
    assert headers_of_trunks() == {"acme": "x-called to", "bell": "diversion"}
    assert additional() == "diversion x-called"
    node.here.install_numbers({"acme": frozenset({"+4420"})}, {"bell": ("diversion",)})
    assert headers_of_trunks() == {"acme": "p-called-party-id to", "bell": "diversion"}
    node.here.install_numbers({})
    assert (headers_of_trunks(), additional()) == ({}, "")
