"""An agent that registers nothing: how trunks stand, what ends, and what is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from whence.agent.dropin.monitor import RegistrationMonitor
from whence.agent.monitoring.alarms import Alarms
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
    told: list[tuple[str, HistoryEvent]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.changes = 0
        self.alarms = Alarms(clock=lambda: self.now)
        self.there = SharedDirectory(self.folder / FILE)
        self.here = SharedDirectory(self.folder / FILE)
        self.tracked = self.agent()

    def agent(self) -> RegistrationMonitor:
        return RegistrationMonitor(
            self.here,
            {},
            clock=lambda: self.now,
            observers=[self],
            history_observers=[self, self.alarms],
        )

    def happened(self, trunk_id: str, events: Sequence[HistoryEvent]) -> None:
        self.told += [(trunk_id, event) for event in events]

    def directory_changed(self) -> None:
        self.changes += 1

    def registers(
        self,
        trunk_id: str,
        granted_s: float = 60,
        source: TransportAddress = PROVIDER,
        events: Sequence[HistoryEvent] = (),
    ) -> None:
        """What a worker writes after a 2xx."""
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

    def asked(
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


# How they stand


def test_a_trunk_stands_as_the_worker_wrote_it(node: Node) -> None:
    node.registers("acme")
    [(trunk, registration)] = node.tracked
    assert (trunk.id, trunk.aor, trunk.enabled) == ("acme", "sip:acct1@provider.example", True)
    assert (registration.state, registration.registrar) == (State.REGISTERED, PROVIDER)
    assert registration.message == "200 OK\\x1b[2J"
    assert "acme" in node.tracked
    assert node.tracked["acme"] == (trunk, registration)


def test_a_trunk_that_only_the_file_names_is_new(node: Node) -> None:
    node.here.install_numbers({"bell": frozenset({"+442071234567"})})
    [(trunk, registration)] = node.tracked
    assert (trunk.id, registration.state, registration.expires_at) == ("bell", State.NEW, None)


def test_what_nobody_has_heard_of_is_no_trunk(node: Node) -> None:
    assert "acme" not in node.tracked
    with pytest.raises(UnknownTrunkError, match="no trunk acme is configured"):
        node.tracked["acme"]
    with pytest.raises(UnknownTrunkError, match="no trunk acme is configured"):
        node.tracked.must_be_enabled("acme")


def test_a_trunk_that_uac_disabled_says_how_to_enable_it(node: Node) -> None:
    node.registers("acme")
    node.tracked.must_be_enabled("acme")
    with node.there._transaction():
        node.there._db.execute("UPDATE trunk SET enabled = 0")
    with pytest.raises(DisabledTrunkError, match=r"uac\.reg_enable l_uuid s:acme"):
        node.tracked.must_be_enabled("acme")


def test_a_grant_that_has_ended_is_no_registration_even_before_that_is_written(node: Node) -> None:
    node.registers("acme")
    node.now += 60
    [(_, registration)] = node.tracked
    assert registration.state is State.WAITING


# What ends, and what is told


def test_a_lapse_is_written_once_and_told_once(node: Node) -> None:
    node.registers("acme")
    node.tracked.look()
    assert node.told == []
    node.now += 60
    node.tracked.look()
    node.tracked.look()
    [(trunk_id, event)] = node.told
    assert (trunk_id, event.what, node.tracked.expirations) == ("acme", "expired", 1)
    [(_, registration)] = node.tracked
    assert (registration.state, registration.expires_at) == (State.WAITING, None)
    stored = node.there.registrations()["acme"].registration
    assert stored.state is State.REGISTERED, "what the worker goes by is the worker's"


def test_a_refresh_that_came_in_time_lapses_nothing(node: Node) -> None:
    node.registers("acme")
    node.now += 50
    node.registers("acme")
    node.now += 50
    node.tracked.look()
    assert node.told == []


def test_a_refresh_that_is_written_while_it_is_looked_wins(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.registers("acme")
    node.now += 60
    begin = node.here._transaction

    def refreshed_first() -> object:
        node.registers("acme")
        return begin()

    monkeypatch.setattr(node.here, "_transaction", refreshed_first)
    node.tracked.look()
    assert node.told == []
    assert node.there.registrations()["acme"].registration.state is State.REGISTERED


def test_what_the_worker_noted_is_told_and_becomes_an_alarm(node: Node) -> None:
    node.registers("acme")
    said = "registered by udp:192.0.2.2:5060, before by udp:192.0.2.1:5060"
    moved = HistoryEvent(EventKind.REGISTRAR_CHANGED, said, 200)
    node.registers("acme", source=TransportAddress.parse("udp:192.0.2.2:5060"), events=[moved])
    node.tracked.look()
    assert [event.alarm.kind for event in node.alarms.since(0, 10)] == [AlarmKind.REGISTRAR_CHANGED]


def test_what_was_told_before_a_restart_is_not_told_again(node: Node) -> None:
    node.registers("acme", events=[HistoryEvent(EventKind.REGISTRAR_CHANGED, "…")])
    node.tracked.look()
    assert len(node.told) == 1
    node.agent().look()
    assert len(node.told) == 1


def test_it_is_said_that_the_workers_wrote_something(node: Node) -> None:
    node.tracked.look()
    assert node.changes == 0
    node.registers("acme")
    node.tracked.look()
    node.tracked.look()
    assert node.changes == 1


def test_kamailio_lives_while_one_grant_stands_or_nothing_was_granted_yet(node: Node) -> None:
    assert node.tracked.lives()
    node.registers("acme", granted_s=60)
    node.registers("bell", granted_s=90)
    node.now += 60
    assert node.tracked.lives()
    node.now += 30
    assert not node.tracked.lives()
    node.tracked.look()
    assert not node.tracked.lives()


# Numbers


def test_numbers_tell_trunks_at_one_address_apart(node: Node) -> None:
    node.here.install_numbers(
        {"acme": frozenset({"+442071234567"}), "bell": frozenset({"+44161*"})}
    )
    assert not isinstance(node.asked("sip:+442071234567@192.0.2.9"), Identified)
    node.registers("acme")
    node.registers("bell")
    for ruri, trunk_id in (("sip:+442071234567@x", "acme"), ("sip:+441614960000@x", "bell")):
        decision = node.asked(ruri)
        assert isinstance(decision, Identified)
        assert decision.trunk.id == trunk_id
    assert isinstance(node.asked("sip:+15551234@x"), Refused)


def test_new_numbers_are_in_the_place_of_the_old_ones(node: Node) -> None:
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


def test_new_numbers_move_the_generation(node: Node) -> None:
    file = node.folder / GENERATION_FILE
    before = file.read_bytes()
    node.here.install_numbers({})
    assert file.read_bytes() != before


def test_numbers_that_cannot_be_written_leave_the_old_ones(node: Node) -> None:
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


def test_number_headers_of_the_file_count_until_they_are_taken_out(node: Node) -> None:
    def looked() -> dict[str, str]:
        return dict(node.there._db.execute("SELECT id, number_headers FROM trunk").fetchall())

    def further() -> str:
        query = "SELECT value FROM meta WHERE key = 'number_headers'"
        return str(node.there._db.execute(query).fetchone()[0])

    node.here.install_numbers({}, {"acme": ("x-called", "to"), "bell": ("diversion",)})
    assert looked() == {"acme": "x-called to", "bell": "diversion"}
    assert further() == "diversion x-called"
    node.here.install_numbers({"acme": frozenset({"+4420"})}, {"bell": ("diversion",)})
    assert looked() == {"acme": "p-called-party-id to", "bell": "diversion"}
    node.here.install_numbers({})
    assert (looked(), further()) == ({}, "")
