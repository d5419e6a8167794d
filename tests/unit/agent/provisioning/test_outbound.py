"""The keys for users' calls, from the file into the directory, as the edge reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.agent.registration.node import NOW, Node, run
from whence.agent.config.load import load
from whence.agent.config.to_core import LoadedSettings, node_settings
from whence.agent.provisioning.apply import write
from whence.agent.provisioning.reload import Reload, difference
from whence.core.outbound.model import OutboundUser, Routing
from whence.core.registration.model import State
from whence.core.sip.digest import ALGORITHMS, Credentials, ha1
from whence.core.sip.secret import Secret
from whence.core.sip.transport_address import TransportAddress
from whence.errors import ConfigError
from whence.store.directory import FILE
from whence.store.outbound import LocalUser, TrunkAccess
from whence.store.reader import DirectoryReader
from whence.store.schema import GENERATION_FILE

BASE = """
[edge]
country = "44"
domain = "edge.example"
[[trunk]]
id = "acme"
registrar = "sip:192.0.2.1"
domain = "provider.example:5070"
user = "acct1"
auth_user = "auth1"
password = "hunter2"
target = "sip:alice@edge.example"
numbers = ["+442071234567"]
[[trunk]]
id = "idle"
registrar = "sip:192.0.2.2"
user = "acct2"
password = "hunter3"
target = "sip:alice@edge.example"
enabled = false
[[user]]
name = "bob"
ha1 = {md5 = "0123456789abcdef0123456789abcdef"}
[[user]]
name = "alice"
password = "topsecret"
"""
CALLS = BASE + 'trunks = ["acme", "idle"]\n'
REST = """
[[route]]
prefix = "+44900"
trunks = []
[outbound]
emergency_numbers = ["112"]
emergency_trunks = ["acme"]
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.directory.close()


@pytest.fixture
def edge(node: Node) -> Iterator[DirectoryReader]:
    reader = DirectoryReader(node.folder / FILE)
    yield reader
    reader.close()


def accesses(edge: DirectoryReader) -> dict[str, TrunkAccess]:
    return edge.trunk_access(["acme", "idle"])


def user(edge: DirectoryReader, name: str) -> LocalUser:
    found = edge.user(name, "edge.example")
    assert found is not None
    return found


def test_apply_writes_users_rules_and_enabled_trunks(node: Node, edge: DirectoryReader) -> None:
    write(node.directory, node_settings(node.settings(CALLS + REST)), NOW)
    assert user(edge, "alice").caller == OutboundUser("alice", ("acme", "idle"))
    assert user(edge, "bob").caller == OutboundUser("bob")
    routing = edge.routing()
    assert routing == node_settings(node.settings(CALLS + REST)).routing
    assert (routing.routes[0].trunks, routing.emergency.trunks) == ((), ("acme",))
    assert routing.plan.canonical("02071234567") == "+442071234567"
    acme = accesses(edge)["acme"]
    assert accesses(edge).keys() == {"acme"}
    assert acme.trunk.server == "provider.example:5070"
    assert acme.credentials == Credentials("auth1", Secret("hunter2"))
    assert acme.tls_name == "192.0.2.1"


def test_apply_without_calls_out_stores_no_credentials(node: Node, edge: DirectoryReader) -> None:
    write(node.directory, node_settings(node.settings(CALLS)), NOW)
    write(node.directory, node_settings(node.settings(BASE)), NOW)
    assert (accesses(edge), edge.routing()) == ({}, Routing())
    assert user(edge, "alice").caller == OutboundUser("alice")


@pytest.mark.parametrize(
    "text", [REST, "[outbound]\nenabled = true\n"], ids=["emergency", "enabled"]
)
def test_apply_without_trunks_of_users_can_enable_calls_out(
    node: Node, edge: DirectoryReader, text: str
) -> None:
    write(node.directory, node_settings(node.settings(BASE + text)), NOW)
    assert accesses(edge).keys() == {"acme"}


def test_user_has_both_hashes_of_its_password(node: Node, edge: DirectoryReader) -> None:
    write(node.directory, node_settings(node.settings(BASE)), NOW)
    alice, bob = user(edge, "alice"), user(edge, "bob")
    assert "SHA-256" in ALGORITHMS
    for algorithm, found in (("MD5", alice.md5), ("SHA-256", alice.sha256)):
        assert found is not None
        expected = ha1(algorithm, "alice", "edge.example", Secret("topsecret"))
        assert found.reveal() == expected
    assert bob.sha256 is None


def test_home_is_the_server_socket_and_contact_of_the_grant(
    node: Node, edge: DirectoryReader
) -> None:
    async def story() -> None:
        node.apply(CALLS.replace("enabled = false", ""))
        await node.until_all(State.REGISTERED)
        acme = accesses(edge)["acme"]
        (sent,) = [one for one in node.registrar.received if "acct1" in one.aor]
        assert acme.home == sent.send.next_hop
        assert acme.socket == sent.socket
        assert acme.contact == sent.account.contact
        assert acme.is_registered(node.clock.now)

    run(story)


def test_home_stays_when_another_server_grants(node: Node, edge: DirectoryReader) -> None:
    """A forged answer cannot send users' calls anywhere."""

    async def story() -> None:
        node.registrar.accepts_at = TransportAddress.parse("udp:192.0.2.66:5060")
        node.apply(CALLS)
        await node.until(lambda: node.of["acme"].state is State.REGISTERED)
        acme = accesses(edge)["acme"]
        assert (acme.home, acme.is_registered(node.clock.now)) == (None, False)

    run(story)


# A reload.


@pytest.fixture
def moved(node: Node) -> Callable[[], bool]:
    """A function that returns whether the generation changed since its last call."""
    file = node.folder / GENERATION_FILE
    seen = [file.read_bytes()]

    def ask() -> bool:
        seen.append(file.read_bytes())
        return seen[-1] != seen[-2]

    return ask


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ('trunks = ["acme", "idle"]', 'trunks = ["idle"]', "users_changed"),
        ('trunks = ["acme"', 'caller_number = "+442071234567"\ntrunks = ["acme"', "users_changed"),
        ("user = ", "outbound = {contact = 'own'}\nuser = ", "changed"),
        ("+44900", "+44909", "routing_changed"),
        ('["112"]', '["999"]', "routing_changed"),
        ('"hunter2"', '"hunter4"', "changed"),
    ],
)
def test_reload_counts_keys_of_calls_out(
    node: Node, moved: Callable[[], bool], before: str, after: str, changed: str
) -> None:
    old = node_settings(node.settings(CALLS + REST))
    write(node.directory, old, NOW)
    moved()
    new = node_settings(node.settings((CALLS + REST).replace(before, after, 1)))
    found = difference(old, new)
    write(node.directory, new, NOW)
    assert moved()
    counted = {"changed": found.changed, "users_changed": found.users_changed}
    counted |= {"routing_changed": found.routing_changed}  # type: ignore[dict-item]
    assert {key for key, value in counted.items() if value} == {changed}


def test_reload_with_the_first_trunks_of_a_user_needs_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "whence.toml"
    file.write_text(BASE, encoding="utf-8")
    file.chmod(0o600)
    reload = Reload(file, LoadedSettings.of(load(file)), lambda _: None)
    file.write_text(CALLS, encoding="utf-8")
    for users in (("alice",), ()):
        change = reload()
        assert (change.changed, change.users_changed) == ((), users)
        assert change.needs_restart
        assert "outbound (users may call numbers)" in caplog.text
        caplog.clear()
    file.write_text(BASE, encoding="utf-8")
    assert not reload().needs_restart


def test_reload_with_numbers_of_a_new_country_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    before = BASE.replace('country = "44"', "")
    file.write_text(before, encoding="utf-8")
    file.chmod(0o600)
    reload = Reload(file, LoadedSettings.of(load(file)), lambda _: pytest.fail("applied"))
    file.write_text(BASE + 'caller_number = "020 7123 4567"\n', encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        reload()
    (fault,) = refused.value.faults
    assert fault.startswith('whence.toml: user "alice": caller_number: "020 7123 4567" has no')
    assert fault.endswith("country of [edge] takes effect at the next start: restart Whence")


def test_reload_of_a_node_with_calls_out_needs_no_restart(tmp_path: Path) -> None:
    file = tmp_path / "whence.toml"
    file.write_text(BASE + "[outbound]\nenabled = true\n", encoding="utf-8")
    file.chmod(0o600)
    loaded = LoadedSettings.of(load(file))
    assert loaded.config.calls_out
    reload = Reload(file, loaded, lambda _: None)
    file.write_text(CALLS, encoding="utf-8")
    assert not reload().needs_restart


def test_settings_without_users_still_enable_calls_out(tmp_path: Path) -> None:
    """The agent keeps the tables without trunks and users, and renders kamailio.cfg from them."""
    file = tmp_path / "whence.toml"
    for text, calls_out in ((BASE, False), (CALLS, True)):
        file.write_text(text, encoding="utf-8")
        assert LoadedSettings.of(load(file)).config.calls_out is calls_out
