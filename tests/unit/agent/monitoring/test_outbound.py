"""What `whence explain --from --to` answers, from a settings file and its registrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testkit.directory import install
from whence.agent.config.load import load
from whence.agent.monitoring.outbound import CallOutExplanation, CallOutQuestion, CallsOut
from whence.core.registration.events import Learn
from whence.core.registration.model import AccountKey, Registration
from whence.core.sip.transport_address import TransportAddress
from whence.errors import UnknownUserError
from whence.store.directory import FILE, Directory
from whence.store.learning import RegistrationStep

NOW = 1_000_000.0
FILE_TEXT = """
[edge]
country = "44"
domain = "edge.example"
listen = ["udp:192.0.2.200:5060"]
advertise = "203.0.113.5"
[[trunk]]
id = "acme"
registrar = "sip:192.0.2.1"
domain = "provider.example"
user = "acct1"
password = "hunter2"
target = "sip:alice@edge.example"
numbers = ["+442071234567"]
outbound = {from_user = "number", number_header = "P-Asserted-Identity"}
[[trunk]]
id = "bolt"
registrar = "sip:192.0.2.2"
user = "acct2"
password = "hunter2"
target = "sip:alice@edge.example"
outbound = {limits = {prefixes = ["+44", "+49"]}}
[[trunk]]
id = "idle"
registrar = "sip:192.0.2.3"
user = "acct3"
password = "hunter2"
target = "sip:alice@edge.example"
enabled = false
[[user]]
name = "alice"
password = "topsecret"
trunks = ["acme", "bolt", "idle"]
caller_number = "+442071234567"
[[user]]
name = "bob"
password = "topsecret"
[[user]]
name = "carol"
password = "topsecret"
trunks = ["acme"]
limits = {prefixes = ["+44"]}
[[route]]
prefix = "+44900"
trunks = []
[[route]]
prefix = "+49"
trunks = ["bolt", "acme"]
[outbound]
emergency_numbers = ["112"]
emergency_trunks = ["bolt"]
"""

Explain = Callable[..., CallOutExplanation]


def grant(directory: Directory, trunk_id: str, ends_at: float) -> None:
    home = TransportAddress.parse("udp:192.0.2.1:5060")
    registration = Registration(
        trunk_id, f"call-{trunk_id}", expires_at=ends_at, learned_until=ends_at, home=home
    )
    step = RegistrationStep(
        AccountKey(f"sip:{trunk_id}"),
        registration,
        [Learn(home, ends_at)],
        "udp:192.0.2.200:5060",
        NOW - 60,
        contact=f"sip:{trunk_id}@203.0.113.5",
    )
    directory.save_steps([step])


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    directory = Directory(tmp_path / FILE)
    yield directory
    directory.close()


@pytest.fixture
def explain(directory: Directory, tmp_path: Path) -> Explain:
    file = tmp_path / "whence.toml"
    file.write_text(FILE_TEXT, encoding="utf-8")
    config = load(file)
    install(directory, config, NOW)
    for trunk_id in ("acme", "bolt"):
        grant(directory, trunk_id, NOW + 60)
    calls_out = CallsOut(directory, "edge.example", config.edge.own_hosts)

    def ask(
        to: str, user: str = "alice", now: float = NOW, **headers: list[str]
    ) -> CallOutExplanation:
        named = {name.replace("_", "-"): values for name, values in headers.items()}
        return calls_out.explain(CallOutQuestion(user, to, named), now)

    return ask


def test_explain_lists_trunks_in_order_and_what_each_gets(explain: Explain) -> None:
    found = explain("020 7946 0000")
    assert (found.decision, found.number, found.route) == ("trunks", "+442079460000", None)
    assert [(one.trunk, one.standing) for one in found.considered] == [
        ("acme", "ready"),
        ("bolt", "ready"),
        ("idle", "unknown"),
    ]
    acme, bolt = found.tries
    assert acme.request_uri == "sip:+442079460000@provider.example"
    assert acme.from_ == "<sip:+442071234567@provider.example>"
    assert acme.headers == ["P-Asserted-Identity: <sip:+442071234567@provider.example>"]
    assert (bolt.trunk, bolt.from_, bolt.headers) == ("bolt", "<sip:acct2@192.0.2.2>", [])
    assert found.message == "the edge tries acme, then bolt"
    assert (found.status, found.reason) == (None, None)


def test_explain_with_a_route_names_it(explain: Explain) -> None:
    found = explain("tel:+49-30-1234567")
    assert (found.route, [one.trunk for one in found.tries]) == (2, ["bolt", "acme"])
    assert found.steps[0] == "+49301234567: route number 2 holds (prefix +49)"


def test_explain_uses_headers_of_the_phone(explain: Explain) -> None:
    acme, _ = explain("02079460000", privacy=["id"]).tries
    assert acme.from_ == '"Anonymous" <sip:anonymous@anonymous.invalid>'
    assert "Privacy: id" in acme.headers


@pytest.mark.parametrize(
    ("user", "to", "status", "reason"),
    [
        ("bob", "02079460000", 403, "no_trunks"),
        ("alice", "0900 123456", 403, "barred"),
        ("carol", "+49301234567", 403, "number_not_allowed"),
        ("alice", "nobody", 404, "neither_user_nor_number"),
        ("alice", "sip:+442079460000@other.example", 404, "neither_user_nor_number"),
        ("alice", "sip:", 404, "neither_user_nor_number"),
    ],
)
def test_explain_of_a_refused_call_has_the_reason(
    explain: Explain, user: str, to: str, status: int, reason: str
) -> None:
    found = explain(to, user)
    assert (found.decision, found.status, found.reason) == ("refused", status, reason)
    assert found.tries == []
    assert found.message in found.steps[-1]
    assert f"the edge answers {status} " in found.steps[-1]


def test_explain_passes_over_trunks_that_are_not_ready(explain: Explain) -> None:
    found = explain("+33123456789")
    assert [one.standing for one in found.considered] == ["ready", "number_not_allowed", "unknown"]
    assert [one.trunk for one in found.tries] == ["acme"]
    late = explain("02079460000", now=NOW + 60)
    assert (late.decision, late.status, late.reason) == ("refused", 480, "no_trunk_ready")
    assert {one.standing for one in late.considered} == {"not_registered", "unknown"}


def test_explain_of_an_emergency_call_needs_no_registration(explain: Explain) -> None:
    found = explain("112", "bob", NOW + 60)
    assert (found.decision, found.emergency) == ("trunks", True)
    assert [one.request_uri for one in found.tries] == ["sip:112@192.0.2.2"]


@pytest.mark.parametrize(
    "to", ["bob", "bob@edge.example", "sip:bob@192.0.2.200", "sip:bob@203.0.113.5:5060"]
)
def test_explain_of_a_call_to_a_user_names_it(explain: Explain, to: str) -> None:
    found = explain(to)
    assert (found.decision, found.user, found.number, found.tries) == ("user", "bob", None, [])


def test_explain_of_an_unknown_user_raises(explain: Explain) -> None:
    with pytest.raises(UnknownUserError, match="no user mallory is configured"):
        explain("112", "mallory")


def test_explain_escapes_what_is_asked(explain: Explain) -> None:
    assert "\x1b" not in explain("sip:\x1b[31m@x").message


def test_explain_reads_no_credentials(explain: Explain, directory: Directory) -> None:
    assert "hunter2" not in explain("02079460000").model_dump_json()
    access = directory.trunk_access(["acme"])["acme"]
    assert access.credentials.password is None
