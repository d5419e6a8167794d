"""The rows for users' calls: written by the agent, read by the edge."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from whence.core.outbound.model import (
    ContactForm,
    Emergency,
    FromUser,
    Limits,
    NumberHeader,
    OutboundTrunk,
    OutboundUser,
    Route,
    Routing,
)
from whence.core.outbound.numbers import DialPlan, NumberFormat
from whence.core.registration.events import Action, ForgetAddresses, Learn
from whence.core.registration.model import AccountKey, Registration
from whence.core.sip.digest import Credentials
from whence.core.sip.phone_number import Format, Style
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import TransportAddress
from whence.core.sip.uri import Uri
from whence.errors import StoreError
from whence.store.credentials_key import FILE as KEY_FILE
from whence.store.directory import FILE, Directory
from whence.store.learning import RegistrationStep
from whence.store.outbound import NO_CREDENTIALS, OutboundRows, OutboundTrunkRow
from whence.store.reader import DirectoryReader
from whence.store.rows import DirectoryRows, TrunkRow, UserRow
from whence.store.schema import GENERATION_FILE

NOW = 1_000_000.0
HOME = TransportAddress.parse("tls:192.0.2.1:5061")
SOCKET = "tls:198.51.100.1:5061"
CONTACT = "sip:token@198.51.100.1:5061;transport=tls"
UK = DialPlan(Style(Format.NATIONAL, "44", "0", "00"), (9, 10))

ACME = OutboundTrunk(
    "acme",
    "user name%",
    "2001:db8::1",
    5070,
    ("+442071234567", "+4420712345*"),
    UK,
    NumberFormat.NATIONAL,
    FromUser.NUMBER,
    NumberHeader.ASSERTED,
    diversion=True,
    contact=ContactForm.OWN,
    limits=Limits(3, 60, 7200, ("+44", "+49")),
)
BOLT = OutboundTrunk("bolt", "acct2", "bolt.example")
PASSWORD = "hünter 2" * 200
OF_ACME = Credentials("auth", Secret(PASSWORD), realm="acme realm")
OF_BOLT = Credentials("acct2", None, (("MD5", Secret("a" * 32)), ("SHA-256", Secret("b" * 64))))
TRUNKS = (
    OutboundTrunkRow(ACME, OF_ACME, "acme.example"),
    OutboundTrunkRow(BOLT, OF_BOLT, "bolt.example"),
)
ALICE = OutboundUser(
    "alice",
    ("bolt", "acme"),
    "+442071234567",
    ("+4420712345*", "+4930"),
    anonymous=True,
    limits=Limits(1, prefixes=("+",)),
)
ROUTING = Routing(
    (
        Route(("bolt", "acme"), "+49", users=frozenset({"alice", "carol"}), try_s=1.5),
        Route((), pattern=re.compile(r"\+44900\d+", re.ASCII)),
    ),
    Emergency(frozenset({"112", "999"}), ("acme", "bolt")),
    UK,
)


def trunk(id_: str) -> TrunkRow:
    return TrunkRow(
        id=id_,
        aor_user=id_,
        target="sip:alice@edge.example",
        unmatched="accept",
        fallback=False,
        enabled=True,
        fingerprint="",
        number_headers=("to",),
        number_format="",
        match_port=False,
        learns_from_any=False,
        numbers=(),
        pinned=(),
    )


def rows(
    outbound: OutboundRows = OutboundRows(ROUTING, TRUNKS),  # noqa: B008 - frozen
    users: Sequence[UserRow] = (),
    replaced: Sequence[str] = (),
) -> DirectoryRows:
    trunks = [trunk("acme"), trunk("bolt")]
    return DirectoryRows(trunks, users, replaced=replaced, outbound=outbound)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    directory = Directory(tmp_path / FILE)
    directory.install(rows(), NOW)
    yield directory
    directory.close()


@pytest.fixture
def edge(directory: Directory) -> Iterator[DirectoryReader]:
    reader = DirectoryReader(directory.path)
    yield reader
    reader.close()


@pytest.fixture
def moved(directory: Directory) -> Callable[[], bool]:
    """A function that returns whether the generation changed since its last call."""
    file = directory.path.with_name(GENERATION_FILE)
    seen = [file.read_bytes()]

    def ask() -> bool:
        seen.append(file.read_bytes())
        return seen[-1] != seen[-2]

    return ask


def grant(
    directory: Directory,
    *,
    home: TransportAddress = HOME,
    socket: str = SOCKET,
    contact: str = CONTACT,
    suspended: bool = False,
    expires_at: float | None = NOW + 3600,
    actions: Sequence[Action] = (Learn(HOME, NOW + 3632),),
) -> None:
    registration = Registration(
        "acme",
        "call-1",
        expires_at=expires_at,
        learned_until=NOW + 3600,
        home=home,
        suspended=suspended,
    )
    step = RegistrationStep(
        AccountKey("sip:acme"), registration, actions, socket, NOW, contact=contact
    )
    directory.save_steps([step])


# Users.


def test_user_with_all_settings_is_read_as_written(
    directory: Directory, edge: DirectoryReader
) -> None:
    user = UserRow("alice", "edge.example", Secret("a" * 32), Secret("b" * 64), ALICE)
    directory.install(rows(users=[user]), NOW)
    read = edge.user("alice", "edge.example")
    assert read is not None
    assert (read.caller, read.md5, read.sha256) == (ALICE, user.md5, user.sha256)


def test_user_without_settings_may_call_users_only(
    directory: Directory, edge: DirectoryReader
) -> None:
    users = [
        UserRow("alice", "edge.example", Secret("a" * 32), None, OutboundUser("alice")),
        UserRow("bob", "edge.example", Secret("a" * 32)),
    ]
    directory.install(rows(users=users), NOW)
    for name in ("alice", "bob"):
        read = edge.user(name, "edge.example")
        assert read is not None
        assert (read.caller, read.sha256) == (OutboundUser(name), None)
    assert edge.user("carol", "edge.example") is None
    assert edge.user("alice", "other.example") is None


def test_user_that_left_the_file_leaves_no_settings(
    directory: Directory, edge: DirectoryReader
) -> None:
    alice = UserRow("alice", "edge.example", Secret("a" * 32), None, ALICE)
    directory.install(rows(users=[alice]), NOW)
    directory.install(rows(), NOW)
    directory.install(rows(users=[UserRow("alice", "edge.example", Secret("c" * 32))]), NOW)
    read = edge.user("alice", "edge.example")
    assert read is not None
    assert read.caller.trunks == ()


# Rules.


def test_routing_is_read_as_written(directory: Directory, edge: DirectoryReader) -> None:
    assert edge.routing() == ROUTING
    assert edge.routing().routes[1].fits("+449001234", "bob")
    directory.install(rows(OutboundRows()), NOW)
    assert edge.routing() == Routing()


def test_routing_of_a_new_directory_has_no_rule(tmp_path: Path) -> None:
    Directory(tmp_path / "new.db").close()
    reader = DirectoryReader(tmp_path / "new.db")
    assert reader.routing() == Routing()
    reader.close()


# Trunks.


def test_trunk_access_is_read_as_written(directory: Directory, edge: DirectoryReader) -> None:
    grant(directory)
    found = edge.trunk_access(["bolt", "acme", "gone"])
    acme, bolt = found["acme"], found["bolt"]
    assert found.keys() == {"acme", "bolt"}
    assert (acme.trunk, acme.credentials, acme.tls_name) == (ACME, OF_ACME, "acme.example")
    assert (acme.home, str(acme.socket)) == (HOME, SOCKET)
    assert acme.contact == Uri.parse(CONTACT)
    assert acme.expires_at == NOW + 3600
    assert (bolt.trunk, bolt.credentials) == (BOLT, OF_BOLT)
    assert (bolt.home, bolt.socket, bolt.contact, bolt.expires_at) == (None, None, None, None)
    assert edge.trunk_access([]) == {}


def test_trunk_access_is_registered_until_the_grant_ends(
    directory: Directory, edge: DirectoryReader
) -> None:
    grant(directory)
    acme = edge.trunk_access(["acme"])["acme"]
    assert acme.status(NOW + 3599).registered
    assert not acme.status(NOW + 3600).registered
    assert acme.status(NOW + 3600, emergency=True).registered
    bolt = edge.trunk_access(["bolt"])["bolt"]
    assert not bolt.status(NOW, emergency=True).registered, "it has no home"


def test_trunk_access_of_a_suspended_trunk_is_unregistered(
    directory: Directory, edge: DirectoryReader
) -> None:
    grant(directory, suspended=True)
    acme = edge.trunk_access(["acme"])["acme"]
    assert not acme.is_registered(NOW)
    assert acme.home == HOME


def test_trunk_access_counts_no_grant_that_taught_nothing(
    directory: Directory, edge: DirectoryReader
) -> None:
    """A forged answer grants longer, or a real one ended the registration."""
    grant(directory, expires_at=NOW + 86_400)
    assert edge.trunk_access(["acme"])["acme"].expires_at == NOW + 3600
    grant(directory, expires_at=None)
    assert edge.trunk_access(["acme"])["acme"].expires_at is None


def test_home_of_another_account_is_removed(directory: Directory, edge: DirectoryReader) -> None:
    grant(directory)
    directory.install(rows(replaced=["acme"]), NOW)
    acme = edge.trunk_access(["acme"])["acme"]
    assert (acme.home, acme.expires_at) == (None, None)


def test_home_needs_an_answer_that_taught_an_address(
    directory: Directory, edge: DirectoryReader
) -> None:
    grant(directory)
    elsewhere = TransportAddress.parse("udp:203.0.113.66:5060")
    grant(directory, home=elsewhere, actions=())
    grant(directory, home=elsewhere, actions=(ForgetAddresses(),))
    assert edge.trunk_access(["acme"])["acme"].home == HOME


def test_home_of_a_drop_in_is_not_stored(directory: Directory, edge: DirectoryReader) -> None:
    grant(directory, contact="")
    assert edge.trunk_access(["acme"])["acme"].home is None


@pytest.mark.parametrize(
    ("home", "socket", "contact"),
    [
        ("tls:192.0.2.1:5062", SOCKET, CONTACT),
        (str(HOME), "tls:198.51.100.2:5061", CONTACT),
        (str(HOME), SOCKET, "sip:token@203.0.113.9:5061;transport=tls"),
    ],
)
def test_generation_changes_with_home_socket_and_contact(
    directory: Directory,
    edge: DirectoryReader,
    moved: Callable[[], bool],
    home: str,
    socket: str,
    contact: str,
) -> None:
    grant(directory)
    moved()
    grant(directory)
    assert not moved(), "a refresh that changes nothing"
    grant(directory, home=TransportAddress.parse(home), socket=socket, contact=contact)
    assert moved()
    acme = edge.trunk_access(["acme"])["acme"]
    assert (str(acme.home), str(acme.socket)) == (home, socket)
    assert acme.contact == Uri.parse(contact)


# Credentials.


def test_database_has_no_credentials_in_clear(directory: Directory) -> None:
    directory.checkpoint()
    files = [path for path in directory.path.parent.iterdir() if path.name != KEY_FILE]
    stored = b"".join(path.read_bytes() for path in files)
    for secret in ("hünter 2".encode(), b"h\\u00fcnter", b"a" * 32, b"b" * 64):
        assert secret not in stored
    key = directory.path.with_name(KEY_FILE)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_bytes() not in stored


def test_repr_of_rows_shows_no_credentials(directory: Directory, edge: DirectoryReader) -> None:
    user = UserRow("alice", "edge.example", Secret("c" * 32), Secret("d" * 64), ALICE)
    directory.install(rows(users=[user]), NOW)
    shown = repr((edge.trunk_access(["acme", "bolt"]), edge.user("alice", "edge.example"), TRUNKS))
    shown += repr(user)
    for secret in ("hünter", "a" * 32, "b" * 64, "c" * 32, "d" * 64):
        assert secret not in shown


def test_credentials_of_another_trunk_are_not_read(
    directory: Directory, edge: DirectoryReader
) -> None:
    """A copied row sends no password of one trunk to the provider of another."""
    with directory._transaction():
        directory._db.execute(
            "UPDATE outbound_trunk SET credentials = (SELECT credentials FROM outbound_trunk"
            " WHERE trunk_id = 'acme') WHERE trunk_id = 'bolt'"
        )
    assert edge.trunk_access(["bolt"])["bolt"].credentials == NO_CREDENTIALS


def test_credentials_with_a_new_key_are_read(directory: Directory, edge: DirectoryReader) -> None:
    assert edge.trunk_access(["acme"])["acme"].credentials == OF_ACME
    directory.path.with_name(KEY_FILE).unlink()
    directory.install(rows(), NOW)
    assert edge.trunk_access(["acme"])["acme"].credentials == OF_ACME


@pytest.mark.parametrize("damage", ["unlink", "empty", "readable", "link"])
def test_credentials_without_a_safe_key_are_empty(
    directory: Directory, edge: DirectoryReader, tmp_path: Path, damage: str
) -> None:
    key = directory.path.with_name(KEY_FILE)
    content = key.read_text(encoding="ascii")
    if damage in ("unlink", "link"):
        key.unlink()
    if damage == "link":
        (tmp_path / "elsewhere").write_text(content, encoding="ascii")
        key.symlink_to(tmp_path / "elsewhere")
    if damage == "empty":
        key.write_text("", encoding="ascii")
    if damage == "readable":
        key.chmod(0o640)
    assert edge.trunk_access(["acme"])["acme"].credentials == NO_CREDENTIALS


def test_install_with_a_damaged_key_makes_another(
    directory: Directory, edge: DirectoryReader
) -> None:
    directory.path.with_name(KEY_FILE).write_text("f" * 70, encoding="ascii")
    directory.install(rows(), NOW)
    assert edge.trunk_access(["acme"])["acme"].credentials == OF_ACME


def test_install_with_a_linked_key_changes_nothing(directory: Directory, tmp_path: Path) -> None:
    key, victim = directory.path.with_name(KEY_FILE), tmp_path / "victim"
    key.unlink()
    victim.write_text("content", encoding="ascii")
    key.symlink_to(victim)
    with pytest.raises(StoreError, match=KEY_FILE):
        directory.install(rows(), NOW)
    assert victim.read_text(encoding="ascii") == "content"


def test_install_without_calls_out_needs_no_key(directory: Directory) -> None:
    key = directory.path.with_name(KEY_FILE)
    key.unlink()
    directory.install(rows(OutboundRows()), NOW)
    assert not key.exists()
