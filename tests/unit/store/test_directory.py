"""The directory as the agent writes it."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from testkit.directory import install
from tests.unit.store.disk import broken
from tests.unit.store.provisioning import ACCOUNT, ACME, NOW, SOCKET, settings
from whence.core.identification.address import Address, ManagedBy, Origin
from whence.core.identification.decision import Identified, Refused
from whence.core.identification.explain import nearest
from whence.core.identification.identify import identify
from whence.core.identification.request import Evidence, Request
from whence.core.registration.backoff import Failure
from whence.core.registration.events import ForgetAddresses, Learn
from whence.core.registration.model import AccountKey, Registration, State
from whence.core.registration.reason import RegistrationReason
from whence.core.sip.transport_address import Transport, TransportAddress, canonical_network
from whence.core.sip.uri import Uri
from whence.errors import DisabledTrunkError, StoreError, UnknownTrunkError
from whence.store.addresses import GONE_S
from whence.store.directory import FILE, Directory
from whence.store.learning import FORMER_S
from whence.store.schema import AGENT_KEY, DIALOG_KEY, META, PROBE_KEY, VERSION
from whence.store.statements import LEARNED_UNTIL, USER_HA1

ANOTHER = AccountKey("sip:x at y@192.0.2.1", "sip:192.0.2.1")
REGISTRAR = TransportAddress.parse("udp:192.0.2.1:5060")

BELL = ACME.replace("acme", "bell").replace("acct1", "acct2").replace("+44 20 1", "100")
ALICE = '[[user]]\nname = "alice"\npassword = "topsecret"\n'

REGISTERED = Registration(
    trunk_id="acme",
    call_id="call-1",
    cseq=2,
    state=State.REGISTERED,
    since=NOW,
    granted_s=3600,
    expires_at=NOW + 3600,
    registered_at=NOW - 60,
    next_at=NOW + 2700,
    registrar=REGISTRAR,
    last_status=200,
    last_phrase="OK",
    reason=RegistrationReason.GRANTED,
    message="granted 3600 s",
)
LEARNED = (Learn(REGISTRAR, NOW + 3632),)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    directory = Directory(tmp_path / FILE)
    yield directory
    directory.close()


@pytest.fixture
def edge(directory: Directory) -> Iterator[sqlite3.Connection]:
    """A read-only connection, as the edge has one."""
    connection = sqlite3.connect(f"file:{directory.path}?mode=ro", uri=True, isolation_level=None)
    yield connection
    connection.close()


def trunks(edge: sqlite3.Connection) -> list[tuple[str, str, int]]:
    return edge.execute("SELECT id, aor_user, enabled FROM trunk ORDER BY id").fetchall()


def numbers(edge: sqlite3.Connection) -> set[tuple[str, str]]:
    return set(edge.execute("SELECT trunk_id, spelling FROM number WHERE NOT of_account"))


def learn(directory: Directory, trunk_id: str, ip: str = "192.0.2.1") -> None:
    registration = Registration(trunk_id, f"call-{trunk_id}", 1)
    learned = Learn(TransportAddress.parse(f"udp:{ip}:5060"), NOW + 60)
    directory.save(ACCOUNT, registration, [learned], SOCKET, NOW)


def known(directory: Directory) -> list[tuple[str, str]]:
    return [(id_, str(address.ip)) for id_, address in directory.addresses()]


# Installing a settings file.


def test_fallback_table_follows_every_change(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    def fallbacks() -> list[tuple[str, str, int]]:
        return edge.execute("SELECT trunk_id, ip, port FROM fallback ORDER BY 1, 2").fetchall()

    acme = ACME + "fallback = true\n"
    install(directory, settings(tmp_path, acme + BELL))
    learn(directory, "acme")
    learn(directory, "bell")
    assert fallbacks() == [("acme", "192.0.2.1", 5060)]
    learn(directory, "acme", "192.0.2.7")
    learn(directory, "acme")  # again: a refresh
    assert fallbacks() == [("acme", "192.0.2.1", 5060), ("acme", "192.0.2.7", 5060)]
    install(directory, settings(tmp_path, ACME + BELL + "fallback = true\n"))
    assert fallbacks() == [("bell", "192.0.2.1", 5060)]
    install(directory, settings(tmp_path, acme + BELL))
    assert fallbacks() == [("acme", "192.0.2.1", 5060), ("acme", "192.0.2.7", 5060)]
    directory.drop_expired(NOW + 61)
    assert fallbacks() == []
    learn(directory, "acme")
    install(directory, settings(tmp_path, acme + "enabled = false\n" + BELL))
    assert fallbacks() == []
    install(directory, settings(tmp_path, acme + BELL))
    learn(directory, "acme")
    install(directory, settings(tmp_path, BELL))
    assert fallbacks() == []


def test_number_prefix_table_has_the_lengths_of_prefixes(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    ranged = ACME.replace("+44 20 1", "+44 20 712*")
    install(directory, settings(tmp_path, ranged + BELL))
    assert ("acme", "+4420712*") in numbers(edge)
    lengths = {len(spelling) - 1 for _, spelling in numbers(edge) if spelling.endswith("*")}
    assert {length for (length,) in edge.execute("SELECT length FROM number_prefix")} == lengths
    install(directory, settings(tmp_path, BELL))
    assert edge.execute("SELECT count(*) FROM number_prefix").fetchone() == (0,)


def test_install_spells_numbers_for_the_trunks_country(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    text = ACME.replace("+44 20 1", "020 7123 4567")
    install(directory, settings(tmp_path, text))
    assert numbers(edge) == {("acme", "02071234567")}
    bell = text.replace("acme", "bell") + 'country = "1"\n'
    install(directory, settings(tmp_path, '[edge]\ncountry = "44"\n' + text + bell))
    assert {("acme", n) for n in ("+442071234567", "2071234567", "02071234567")} <= numbers(edge)
    assert ("bell", "+442071234567") not in numbers(edge)


def test_install_replaces_trunks_and_numbers(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME + BELL + "enabled = false\n"))
    assert trunks(edge) == [("acme", "acct1", 1), ("bell", "acct2", 0)]
    assert numbers(edge) == {
        ("acme", "+44201"),
        ("acme", "44201"),
        ("acme", "0044201"),
        ("acme", "+440201"),
        ("bell", "100"),
    }
    install(directory, settings(tmp_path, BELL))
    assert trunks(edge) == [("bell", "acct2", 1)]
    assert numbers(edge) == {("bell", "100")}


def test_install_stores_users_ha1_and_no_password(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME + ALICE))
    assert directory.users() == ["alice"]
    ((ha1,),) = edge.execute(USER_HA1, ("alice", "edge.example")).fetchall()
    assert ha1 == hashlib.md5(b"alice:edge.example:topsecret").hexdigest()
    files = b"".join(file.read_bytes() for file in directory.path.parent.glob(f"{FILE}*"))
    assert b"topsecret" not in files and b"hunter2" not in files
    install(directory, settings(tmp_path, ACME))
    assert directory.users() == []


def test_install_keeps_the_token_of_a_trunk_that_stays(
    directory: Directory, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME + BELL))
    before = directory.tokens()
    assert len(set(before.values())) == 2
    assert all(len(token) >= 24 for token in before.values())
    install(directory, settings(tmp_path, ACME.replace("pbx", "other") + BELL))
    assert directory.tokens() == before


def test_install_of_a_removed_trunk_makes_a_new_token(directory: Directory, tmp_path: Path) -> None:
    install(directory, settings(tmp_path, ACME))
    before = directory.tokens()
    install(directory, settings(tmp_path, ""))
    install(directory, settings(tmp_path, ACME))
    assert directory.tokens()["acme"] != before["acme"]


@pytest.mark.parametrize("after", [BELL, ACME + BELL], ids=["gone", "another account"])
def test_token_of_a_removed_trunk_is_reserved_for_a_week(
    directory: Directory, tmp_path: Path, after: str
) -> None:
    install(directory, settings(tmp_path, ACME + BELL))
    directory.save(ACCOUNT, REGISTERED, LEARNED, SOCKET, NOW)
    learn(directory, "bell")
    old = directory.tokens()["acme"]
    install(directory, settings(tmp_path, after), NOW, replaced=["acme"])
    install(directory, settings(tmp_path, after), NOW)  # each later file keeps it
    assert old not in directory.tokens().values()

    request = called("udp:192.0.2.1:5060", old)
    gone = "acme:gone@1970-01-12T13:46:40+00:00"
    decision = identify(request, directory.evidence(request, NOW), NOW)
    assert isinstance(decision, Refused)
    assert (decision.reason, decision.steps[-1].left) == ("token_from_wrong_source", (gone,))
    belongs = f"token {old} belongs to it, but it is gone from the file"
    assert explained(directory, request, NOW) == (gone, belongs)

    directory.drop_expired(NOW + GONE_S - 1)
    assert directory.evidence(request, NOW).token_owners == {old: gone}
    directory.drop_expired(NOW + GONE_S)
    assert directory.evidence(request, NOW).token_owners == {}


def test_install_removes_the_addresses_of_a_removed_trunk(
    directory: Directory, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME + BELL))
    learn(directory, "acme")
    learn(directory, "bell")
    install(directory, settings(tmp_path, BELL))
    assert known(directory) == [("bell", "192.0.2.1")]


def test_install_removes_learned_addresses_if_disabled(
    directory: Directory, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME + BELL))
    learn(directory, "acme")
    learn(directory, "bell")
    install(directory, settings(tmp_path, ACME + "enabled = false\n" + BELL))
    assert known(directory) == [("bell", "192.0.2.1")]


def test_install_that_fails_changes_nothing(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME))
    before = (trunks(edge), numbers(edge))
    with broken(directory.path, "INSERT ON user"), pytest.raises(StoreError):
        install(directory, settings(tmp_path, BELL + ALICE))
    assert (trunks(edge), numbers(edge)) == before


def test_install_that_fails_makes_no_port_exact(directory: Directory, tmp_path: Path) -> None:
    install(directory, settings(tmp_path, ACME))
    with broken(directory.path, "INSERT ON user"), pytest.raises(StoreError):
        install(directory, settings(tmp_path, ACME + "match_port = true\n" + ALICE))
    learn(directory, "acme")
    [(_, address)] = directory.addresses()
    assert not address.exact


# Registrations and learned addresses.


def test_registrations_survive_a_restart(directory: Directory, tmp_path: Path) -> None:
    install(directory, settings(tmp_path, ACME + BELL))
    paused = Registration(
        trunk_id="bell",
        call_id="call-2",
        cseq=9,
        state=State.PAUSED,
        since=NOW,
        next_at=NOW + 600,
        failures=3,
        failure=Failure.WRONG_CREDENTIALS,
        last_status=401,
        last_phrase="Unauthorized",
        reason=RegistrationReason.WRONG_CREDENTIALS,
        message="wrong credentials",
    )
    directory.save(ACCOUNT, REGISTERED, LEARNED, SOCKET, NOW)
    directory.save(ANOTHER, paused, (), SOCKET, NOW)
    directory.close()
    again = Directory(directory.path)
    try:
        stored = again.registrations()
        assert (stored["acme"].account, stored["acme"].registration) == (ACCOUNT, REGISTERED)
        assert (stored["bell"].account, stored["bell"].registration) == (ANOTHER, paused)
        assert known(again) == [("acme", "192.0.2.1")]
    finally:
        again.close()


def test_save_stores_source_socket_and_time_of_an_address(
    directory: Directory, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME))
    directory.save(ACCOUNT, REGISTERED, LEARNED, SOCKET, NOW)
    ((trunk_id, address),) = directory.addresses()
    assert (trunk_id, str(address.ip), address.port) == ("acme", "192.0.2.1", 5060)
    assert (address.transport, address.origin) == ("udp", "learned")
    assert (address.socket, address.learned_at) == (str(SOCKET), NOW)
    assert address.expires_at == NOW + 3632


def test_save_of_a_refresh_keeps_learned_at(directory: Directory, tmp_path: Path) -> None:
    install(directory, settings(tmp_path, ACME))
    directory.save(ACCOUNT, REGISTERED, LEARNED, SOCKET, NOW)
    directory.save(ACCOUNT, REGISTERED, (Learn(REGISTRAR, NOW + 9000),), SOCKET, NOW + 2700)
    ((_, address),) = directory.addresses()
    assert (address.learned_at, address.expires_at) == (NOW, NOW + 9000)


def test_save_of_another_server_keeps_the_first_address(
    directory: Directory, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME))
    directory.save(ACCOUNT, REGISTERED, LEARNED, SOCKET, NOW)
    other = Learn(TransportAddress.parse("udp:192.0.2.2:5060"), NOW + 9000)
    directory.save(ACCOUNT, REGISTERED, (other,), SOCKET, NOW + 2700)
    assert [(str(a.ip), a.expires_at) for _, a in directory.addresses()] == [
        ("192.0.2.1", NOW + 3632),
        ("192.0.2.2", NOW + 9000),
    ]


def test_save_of_forget_addresses_removes_them(directory: Directory, tmp_path: Path) -> None:
    install(directory, settings(tmp_path, ACME + BELL))
    learn(directory, "acme")
    learn(directory, "bell")
    directory.save(ACCOUNT, Registration("acme", "call-1", 3), (ForgetAddresses(),), SOCKET, NOW)
    assert known(directory) == [("bell", "192.0.2.1")]


def test_save_without_its_address_writes_no_registration(
    directory: Directory, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME))
    with broken(directory.path, "INSERT ON address"), pytest.raises(StoreError):
        directory.save(ACCOUNT, REGISTERED, LEARNED, SOCKET, NOW)
    assert directory.registrations() == {}
    assert known(directory) == []
    directory.save(ACCOUNT, REGISTERED, LEARNED, SOCKET, NOW)
    assert known(directory) == [("acme", "192.0.2.1")]


def test_save_without_its_registration_writes_no_address(
    directory: Directory, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME))
    with broken(directory.path, "INSERT ON registration"), pytest.raises(StoreError) as error:
        directory.save(ACCOUNT, REGISTERED, LEARNED, SOCKET, NOW)
    assert str(error.value) == f"the directory {directory.path} cannot be written: disk"
    assert known(directory) == []


def test_drop_expired_keeps_valid_addresses(directory: Directory, tmp_path: Path) -> None:
    install(directory, settings(tmp_path, ACME + BELL))
    for trunk_id, expires_at in (("acme", NOW), ("bell", NOW + 1)):
        step = Registration(trunk_id, f"call-{trunk_id}", 1)
        directory.save(ACCOUNT, step, (Learn(REGISTRAR, expires_at),), SOCKET, NOW - 60)
    directory.drop_expired(NOW)
    assert known(directory) == [("bell", "192.0.2.1")]


def test_match_port_applies_to_learned_addresses_at_once(
    directory: Directory, tmp_path: Path
) -> None:
    def exact() -> list[bool]:
        return [address.exact for _, address in directory.addresses()]

    install(directory, settings(tmp_path, ACME + "match_port = true\n" + BELL))
    learn(directory, "acme")
    learn(directory, "bell")
    assert exact() == [True, False]
    install(directory, settings(tmp_path, ACME + BELL + "match_port = true\n"))
    assert exact() == [False, True]
    learn(directory, "acme")
    learn(directory, "bell")
    assert exact() == [False, True]


# Pinned addresses.

PINS = (
    ACME
    + """networks = [
    "198.51.100.0/24", "192.0.2.7",
    {network = "2001:db8::/48", port = 5060, transport = "tls", note = "n", expires_at = "UNTIL"},
]
""".replace("UNTIL", "1970-01-12T13:50:00Z")
)
UNTIL = NOW + 3800


def pinned(directory: Directory) -> list[tuple[str, int | None, str, str]]:
    return [
        (str(a.ip), a.port, a.transport, a.note)
        for _, a in directory.addresses()
        if a.origin is Origin.PINNED
    ]


def listed(edge: sqlite3.Connection) -> set[str]:
    """Return the networks that the edge can find."""
    lengths = set(edge.execute("SELECT version, length FROM prefix"))
    rows = edge.execute("SELECT bits, ip FROM network").fetchall()
    assert lengths == {(int(bits[0]), len(bits)) for bits, _ in rows}
    return {ip for _, ip in rows}


def a_pin(ip: str, port: int | None = None, expires_at: float | None = NOW + 60) -> Address:
    place = canonical_network(ip)
    return Address(place, port, Transport.UDP, Origin.PINNED, "", NOW, expires_at)


def test_install_replaces_the_pins_of_the_file(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, PINS), NOW)
    assert pinned(directory) == [
        ("192.0.2.7", None, "udp", ""),
        ("198.51.100.0/24", None, "udp", ""),
        ("2001:db8::/48", 5060, "tls", "n"),
    ]
    assert all(
        a.managed_by is ManagedBy.FILE and a.exact == (a.port == 5060)
        for _, a in directory.addresses()
    )
    assert listed(edge) == {"198.51.100.0/24", "2001:db8::/48"}
    install(directory, settings(tmp_path, ACME + 'networks = ["192.0.2.7"]\n'), NOW + 5)
    ((_, kept),) = directory.addresses()
    assert (str(kept.ip), kept.learned_at) == ("192.0.2.7", NOW), (
        "a pin that stays keeps learned_at"
    )
    assert listed(edge) == set()


def test_install_skips_expired_pins(directory: Directory, tmp_path: Path) -> None:
    install(directory, settings(tmp_path, PINS), UNTIL)
    assert [ip for ip, *_ in pinned(directory)] == ["192.0.2.7", "198.51.100.0/24"]


def test_pins_of_a_disabled_trunk_are_removed_and_refused(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, PINS), NOW)
    directory.pin("acme", a_pin("203.0.113.0/24"))
    install(directory, settings(tmp_path, PINS + "enabled = false\n"), NOW)
    assert pinned(directory) == []
    assert listed(edge) == set()
    with pytest.raises(DisabledTrunkError, match="trunk acme is disabled"):
        directory.pin("acme", a_pin("203.0.113.0/24"))
    with pytest.raises(UnknownTrunkError, match="no trunk nobody is configured"):
        directory.pin("nobody", a_pin("203.0.113.0/24"))


def test_pin_survives_install_and_unregistration(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, PINS), NOW)
    directory.pin("acme", a_pin("203.0.113.0/24"), "for an hour")
    directory.pin("acme", a_pin("198.51.100.0/24"))
    install(directory, settings(tmp_path, ACME), NOW)
    directory.save(ACCOUNT, Registration("acme", "call-1", 3), (ForgetAddresses(),), SOCKET, NOW)
    assert pinned(directory) == [
        ("198.51.100.0/24", None, "udp", ""),
        ("203.0.113.0/24", None, "udp", "for an hour"),
    ]
    assert listed(edge) == {"198.51.100.0/24", "203.0.113.0/24"}


def test_pin_again_replaces_expiry_and_note(directory: Directory, tmp_path: Path) -> None:
    install(directory, settings(tmp_path, ACME), NOW)
    directory.pin("acme", a_pin("203.0.113.7"), "once")
    directory.pin("acme", a_pin("203.0.113.7", expires_at=NOW + 99), "again")
    ((_, address),) = directory.addresses()
    assert (address.expires_at, address.note, address.managed_by) == (
        NOW + 99,
        "again",
        ManagedBy.ALLOW,
    )
    assert not address.exact
    directory.pin("acme", a_pin("203.0.113.7", 5060))
    assert [a.exact for _, a in directory.addresses()] == [False, True]


def test_unpin_ends_run_time_pins_only(directory: Directory, tmp_path: Path) -> None:
    install(directory, settings(tmp_path, PINS), NOW)
    directory.pin("acme", a_pin("203.0.113.7", 5060))
    before = pinned(directory)
    assert not directory.unpin("acme", canonical_network("203.0.113.8"), NOW)
    assert not directory.unpin("acme", canonical_network("198.51.100.0/24"), NOW)
    assert pinned(directory) == before
    assert directory.unpin("acme", canonical_network("203.0.113.7"), NOW)
    assert not directory.unpin("acme", canonical_network("203.0.113.7"), NOW)
    assert len(pinned(directory)) == len(before) - 1


# Former addresses, which explain refusals.


def called(source: str, user: str = "anybody") -> Request:
    return Request(TransportAddress.parse(source), Uri("sip", user, "edge.example"))


def explained(directory: Directory, request: Request, now: float) -> tuple[str | None, ...]:
    """Return the nearest trunk and what was missing; () without one."""
    evidence = directory.evidence(request, now)
    decision = identify(request, evidence, now)
    assert not isinstance(decision, Identified)
    near = nearest(request, decision, directory.neighbours(request, evidence), now)
    return (near.trunk_id, *(one.message for one in near.missing)) if near else ()


def test_former_address_explains_for_a_day_and_never_admits(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME), NOW)
    learn(directory, "acme")
    request = called("udp:192.0.2.1:5060")
    expired = ("acme", "its address 192.0.2.1 expired 40 s ago")
    assert explained(directory, request, NOW + 100) == expired, "before it is removed"
    directory.drop_expired(NOW + 60)
    assert known(directory) == []
    assert explained(directory, request, NOW + 100) == expired
    (count,) = edge.execute("SELECT count(*) FROM address").fetchone()
    assert count == 0, "the edge does not read it"
    directory.drop_expired(NOW + 60 + FORMER_S - 1)
    assert explained(directory, request, NOW + 100) == expired
    directory.drop_expired(NOW + 60 + FORMER_S)
    assert explained(directory, request, NOW + 100) == ()


def test_former_address_explains_revoked_and_pinned_ones(
    directory: Directory, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME), NOW)
    learn(directory, "acme")
    directory.save(
        ACCOUNT, Registration("acme", "call-1", 3), (ForgetAddresses(),), SOCKET, NOW + 10
    )
    assert explained(directory, called("udp:192.0.2.1:5060"), NOW + 15) == (
        "acme",
        "its address 192.0.2.1 was revoked 5 s ago",
    )
    directory.pin("acme", a_pin("198.51.100.0/24", expires_at=NOW + 60))
    directory.drop_expired(NOW + 60)
    install(directory, settings(tmp_path, ACME), NOW + 61)
    assert explained(directory, called("udp:198.51.100.9:5060"), NOW + 70) == (
        "acme",
        "its address 198.51.100.0/24 expired 10 s ago",
    )
    assert explained(directory, called("udp:203.0.113.9:5060"), NOW + 70) == ()


def test_former_addresses_are_unique_and_bounded(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME), NOW)

    def kept() -> list[str]:
        return [ip for (ip,) in edge.execute("SELECT ip FROM former_address ORDER BY ended_at")]

    for again in range(3):
        learn(directory, "acme")
        directory.drop_expired(NOW + 60 + again)
    assert kept() == ["192.0.2.1"]
    for i in range(2, 8):
        learn(directory, "acme", f"192.0.2.{i}")
    directory.drop_expired(NOW + 60, limit=3)
    assert len(kept()) == 3


def test_neighbours_include_named_trunks_elsewhere(directory: Directory, tmp_path: Path) -> None:
    install(directory, settings(tmp_path, ACME + BELL), NOW)
    learn(directory, "acme")
    learn(directory, "bell", "192.0.2.2")
    source = "udp:203.0.113.9:5060"
    assert explained(directory, called(source, "+44201"), NOW) == (
        "acme",
        "number +44201 belongs to it, whose calls come from 192.0.2.1, not from 203.0.113.9",
    )
    assert explained(directory, called(source, "acct2"), NOW)[0] == "bell"
    token = directory.tokens()["bell"]
    assert explained(directory, called("udp:192.0.2.1:5060", token), NOW)[0] == "bell"


# The keys between agent and edge.


def test_neighbours_skip_a_trunk_removed_meanwhile(directory: Directory, tmp_path: Path) -> None:
    """Kamailio's workers write the directory of a drop-in meanwhile."""
    install(directory, settings(tmp_path, ACME + BELL))
    request = called("udp:192.0.2.77:5060", "+44201")
    evidence = directory.evidence(request, NOW)
    assert [one.trunk_id for one in directory.neighbours(request, evidence)] == ["acme"]
    install(directory, settings(tmp_path, BELL))
    assert directory.neighbours(request, evidence) == []


def test_new_agent_key_replaces_it_and_keeps_the_dialog_key(
    directory: Directory, edge: sqlite3.Connection
) -> None:
    def meta(key: str) -> str:
        return str(edge.execute(META, (key,)).fetchone()[0])

    first = directory.new_agent_key()
    dialog_key = meta(DIALOG_KEY)
    assert meta(AGENT_KEY) == first
    assert len(bytes.fromhex(first)) == len(bytes.fromhex(dialog_key)) == 32
    second = directory.new_agent_key()
    assert second != first
    assert (meta(AGENT_KEY), meta(DIALOG_KEY)) == (second, dialog_key)


# The file of the directory.


def test_files_are_readable_by_their_owner_only(directory: Directory, tmp_path: Path) -> None:
    install(directory, settings(tmp_path, ACME + ALICE))
    for file in directory.path.parent.glob(f"{FILE}*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_probe_of_an_unwritable_directory_raises(directory: Directory) -> None:
    directory.probe()
    with broken(directory.path, "INSERT ON meta"), pytest.raises(StoreError, match="disk"):
        directory.probe()
    directory.probe()


def test_probe_commits_one_row(directory: Directory, edge: sqlite3.Connection) -> None:
    for _ in range(3):
        directory.probe()
    assert edge.execute("SELECT * FROM meta").fetchall() == [(PROBE_KEY, "")]


def test_open_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError) as error:
        Directory(path)
    assert str(error.value) == (
        f"the directory {path} has version 99, and this Whence supports version {VERSION} at most; "
        "start the newer Whence that wrote it, or move the file away to begin anew: "
        "every trunk then registers again"
    )


def test_open_of_a_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.mkdir()
    with pytest.raises(StoreError, match=r"^the directory .* cannot be opened: .*; make its"):
        Directory(path)


def torn(content: bytes) -> bytes:
    """Return a database with a valid header and no valid page."""
    return content[:100] + b"\xff" * (len(content) - 100)


@pytest.mark.parametrize("broken", [lambda _: b"this is no database at all" * 100, torn])
def test_open_of_a_broken_file_advises_to_move_it_away(
    tmp_path: Path, broken: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / FILE
    Directory(path).close()
    path.write_bytes(broken(path.read_bytes()))
    with pytest.raises(StoreError) as error:
        directory = Directory(path)
        try:
            directory.tokens()
        finally:
            directory.close()
    assert str(error.value).endswith(
        "; move the file away to begin anew: every trunk then registers again"
    )


def test_install_on_a_full_disk_says_so_and_changes_nothing(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    """On a full disk, SQLite itself ends the transaction."""
    install(directory, settings(tmp_path, ACME))
    before = (trunks(edge), numbers(edge))
    (pages,) = directory._db.execute("PRAGMA page_count").fetchone()
    directory._db.execute(f"PRAGMA max_page_count = {pages}")
    many = "".join(BELL.replace("bell", f"bell{i}") for i in range(500))
    with pytest.raises(StoreError) as error:
        install(directory, settings(tmp_path, many))
    assert str(error.value) == (
        f"the directory {directory.path} cannot be written: database or disk is full; make room "
        "on its disk"
    )
    assert (trunks(edge), numbers(edge)) == before


REQUEST = Request(
    TransportAddress.parse("udp:192.0.2.1:5060"), Uri("sip", "anybody", "edge.example")
)
READS: dict[str, Callable[[Directory], object]] = {
    "tokens": Directory.tokens,
    "registrations": Directory.registrations,
    "events": lambda directory: directory.events("acme"),
    "addresses": Directory.addresses,
    "users": Directory.users,
    "evidence": lambda directory: directory.evidence(REQUEST, NOW),
    "neighbours": lambda directory: directory.neighbours(REQUEST, Evidence((), {}, {})),
    "learn": lambda directory: learn(directory, "acme"),
    "resolve": lambda directory: directory.resolve([("acme", a_pin("192.0.2.1"))], NOW),
    "drop_resolved": lambda directory: directory.drop_resolved("acme"),
}


@pytest.mark.parametrize("read", READS)
def test_read_that_fails_raises_store_error(
    directory: Directory, tmp_path: Path, read: str
) -> None:
    install(directory, settings(tmp_path, ACME + ALICE))
    with closing(sqlite3.connect(directory.path)) as other:
        for table in ("trunk", "address", "user", "registration", "event"):
            other.execute(f"ALTER TABLE {table} RENAME TO {table}_that_was")
    with pytest.raises(StoreError, match=r"^the directory .* cannot be read: no such table"):
        READS[read](directory)
    directory.probe()  # no transaction is left open


def test_reader_and_writer_do_not_wait_for_each_other(
    directory: Directory, edge: sqlite3.Connection, tmp_path: Path
) -> None:
    install(directory, settings(tmp_path, ACME))
    edge.execute("PRAGMA busy_timeout = 0")
    edge.execute("BEGIN")
    assert trunks(edge) == [("acme", "acct1", 1)]
    install(directory, settings(tmp_path, BELL))
    assert trunks(edge) == [("acme", "acct1", 1)], "a transaction reads one state"
    edge.execute("COMMIT")
    assert trunks(edge) == [("bell", "acct2", 1)]


def test_learned_until_uses_the_index_by_trunk(
    directory: Directory,
) -> None:
    """Each registration runs this query, and thousands of trunks may be at one address."""
    with closing(sqlite3.connect(directory.path)) as db:
        plan = [
            row[3]
            for row in db.execute(f"EXPLAIN QUERY PLAN {LEARNED_UNTIL}", ["x", "x", 1, "udp"])
        ]
    assert len(plan) == 1
    assert "USING INDEX" in plan[0]
    assert "trunk_id=?" in plan[0]
