"""The HTTP API: its paths, its answers, and the secrets that no answer contains."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib import metadata
from pathlib import Path

import pytest

from tests.unit.agent.api import http_api_page
from tests.unit.agent.api.agent import NOW, Agent, Story
from tests.unit.agent.monitoring.reports import identified, record, refused, send_messages
from whence.core.identification.decision import Reason
from whence.core.registration.history import EventKind
from whence.core.registration.model import State
from whence.core.registration.reason import RegistrationReason
from whence.ipc.decisions import SOCKET_FILE, message
from whence.store import location, look_out
from whence.store.look_out import Acknowledgement
from whence.store.schema import GENERATION_FILE

# Reports of the edge that wait.


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/calls", "stolen"),
        ("/v1/calls/stolen", "token_from_wrong_source"),
        ("/v1/unknown-sources", "udp:198.51.100.7:5060"),
        ("/v1/alarms", "token_from_wrong_source"),
        ("/metrics", "whence_decision_reports_dropped_total 7.0"),
    ],
)
def test_answer_shows_reports_that_waited(
    with_agent: Callable[[Story], None], path: str, expected: str
) -> None:
    """The agent reads the edge's reports when it is asked, not after its sleep."""

    async def story(agent: Agent) -> None:
        stolen = record(refused("acme", reason=Reason.TOKEN_FROM_WRONG_SOURCE), call_id="stolen")
        unknown = record(source="udp:198.51.100.7:5060")
        send_messages(agent.node.folder / SOCKET_FILE, message([stolen, unknown], 7))
        assert expected in (await agent.ask(path)).text

    with_agent(story)


def test_answer_begins_after_reports_of_its_time_are_read(
    with_agent: Callable[[Story], None],
) -> None:
    """A trunk is removed during a request: its last calls are counted before the answer."""

    async def story(agent: Agent) -> None:
        async def removes_a_trunk() -> dict[str, str]:
            last = record(identified("acme"), call_id="last")
            send_messages(agent.node.folder / SOCKET_FILE, message([last]))
            return {}

        agent.api.add_api_route("/v1/test", removes_a_trunk, methods=["POST"])
        assert (await agent.ask("/v1/test", {})).status_code == 200
        assert [one.call_id for one in agent.calls.last(10)] == ["last"]

    with_agent(story)


# /healthz


def test_healthz_with_kamailio_and_directory_answers_200(
    with_agent: Callable[[Story], None],
) -> None:
    async def story(agent: Agent) -> None:
        asked = asyncio.create_task(agent.ask("/healthz"))
        agent.edge.answer(await agent.edge.receive(), "200 OK", source=None)
        answer = await asked
        assert answer.status_code == 200
        assert answer.json() == {"kamailio": True, "directory": True, "disk": True}

    with_agent(story)


def test_healthz_with_kamailio_that_refuses_us_answers_503(
    with_agent: Callable[[Story], None],
) -> None:
    async def story(agent: Agent) -> None:
        asked = asyncio.create_task(agent.ask("/healthz"))
        agent.edge.answer(await agent.edge.receive(), "403 Forbidden", source=None)
        answer = await asked
        assert answer.status_code == 503
        assert answer.json() == {"kamailio": False, "directory": True, "disk": True}

    with_agent(story)


def test_healthz_with_unwritable_directory_answers_503(
    with_agent: Callable[[Story], None],
) -> None:
    async def story(agent: Agent) -> None:
        disk = sqlite3.connect(agent.node.directory.path, isolation_level=None)
        disk.execute(
            "CREATE TRIGGER full BEFORE INSERT ON meta BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        disk.close()
        asked = asyncio.create_task(agent.ask("/healthz"))
        agent.edge.answer(await agent.edge.receive(), "200 OK", source=None)
        answer = await asked
        assert answer.status_code == 503
        assert answer.json() == {"kamailio": True, "directory": False, "disk": True}

    with_agent(story)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/trunks/acme"),
        ("GET", "/v1/addresses"),
        ("GET", "/v1/users"),
        ("GET", "/metrics"),
        ("POST", "/v1/explain"),
        ("POST", "/v1/reload"),
    ],
)
def test_path_with_unreadable_directory_answers_503(
    with_agent: Callable[[Story], None], method: str, path: str
) -> None:
    async def story(agent: Agent) -> None:
        location.make(agent.location)
        with closing(sqlite3.connect(agent.node.directory.path)) as other:
            for table in ("trunk", "address", "user", "registration", "event"):
                other.execute(f"ALTER TABLE {table} RENAME TO {table}_that_was")
        body = {"source": "udp:192.0.2.1:5060", "ruri": "sip:anybody@edge.example"}
        answer = await agent.ask(path, None if method == "GET" else body)
        assert answer.status_code == 503
        assert " cannot be read: no such table" in answer.json()["detail"]

    with_agent(story)


# /v1/trunks and /v1/addresses


def test_trunks_are_listed_with_their_registration(with_agent: Callable[[Story], None]) -> None:
    async def story(agent: Agent) -> None:
        acme, bell, idle = await agent.get("/v1/trunks")
        next_at = acme.pop("next_at")
        assert NOW + 0.7 * 3600 <= next_at <= NOW + 0.8 * 3600
        assert acme == {
            "id": "acme",
            "state": "registered",
            "since": NOW,
            "registrar": "udp:192.0.2.1:5060",
            "granted_s": 3600,
            "expires_at": NOW + 3600,
            "last_status": 200,
            "last_answer": "200 Reason",
            "reason": "granted",
            "message": "granted 3600 s",
            "failures": 0,
            "suspended": False,
            "keepalive": None,
            "aor": "sip:acct1@provider.example",
            "target": "sip:alice@edge.example",
            "numbers": ["+442071234567"],
            "unmatched": "accept",
            "fallback": False,
            "enabled": True,
        }
        assert (bell["id"], bell["aor"]) == ("bell", "sip:acct2@192.0.2.1")
        assert (idle["state"], idle["enabled"]) == ("unregistered", False)
        assert [idle[name] for name in ("registrar", "expires_at", "next_at")] == [None] * 3

    with_agent(story)


def test_conflicts_are_listed_and_counted(with_agent: Callable[[Story], None]) -> None:
    async def story(agent: Agent) -> None:
        for _ in range(2):
            assert await agent.get("/v1/conflicts") == [
                {
                    "kind": "no_number",
                    "trunks": ["bell"],
                    "addresses": ["192.0.2.1:5060"],
                    "shared": [],
                    "message": "no numbers, and others at their address",
                    "remedy": "write the numbers of each, or fallback = true for one of them; else "
                    "only calls to their contact, or their user, are identified",
                }
            ]
        assert "\nwhence_conflicts 1.0\n" in (await agent.ask("/metrics")).text
        (alarm,) = [event.alarm for event in agent.alarms.since(0, 100)]
        assert (alarm.kind, alarm.trunk) == ("conflict", "bell")
        assert agent.alarms.is_open(alarm.kind, "bell")
        agent.node.clock.now += 4000
        assert await agent.get("/v1/conflicts") == []
        assert not agent.alarms.is_open(alarm.kind, "bell")

    with_agent(story)


def test_addresses_are_listed_until_they_expire(with_agent: Callable[[Story], None]) -> None:
    async def story(agent: Agent) -> None:
        acme, bell = await agent.get("/v1/addresses")
        assert acme == {
            "trunk": "acme",
            "ip": "192.0.2.1",
            "port": 5060,
            "exact": False,
            "transport": "udp",
            "origin": "learned",
            "ground": "asked",
            "note": "",
            "managed_by": None,
            "learned_at": NOW,
            "expires_at": NOW + 3632,
        }
        assert bell["trunk"] == "bell"
        agent.node.clock.now = NOW + 3632
        assert await agent.get("/v1/addresses") == []

    with_agent(story)


# /v1/users


def phone(
    path: Path, user: str, contact: str, expires: str, user_agent: bytes = b"Phone 1"
) -> None:
    """Store a contact as Kamailio does: with the bytes that the phone sent."""
    table = sqlite3.connect(path)
    table.execute(
        "INSERT INTO location (ruid, username, domain, contact, received, expires, callid,"
        " user_agent) VALUES (?, ?, 'edge.example', CAST(? AS TEXT), 'sip:192.0.2.50:1024', ?, 'c',"
        " CAST(? AS TEXT))",
        (contact, user, contact.encode("latin-1"), expires, user_agent),
    )
    table.commit()
    table.close()


def test_users_are_listed_with_their_registered_phones(
    with_agent: Callable[[Story], None],
) -> None:
    async def story(agent: Agent) -> None:
        location.make(agent.location)
        phone(agent.location, "alice", "sip:alice@192.0.2.50", "1970-01-12 14:00:00")
        phone(agent.location, "alice", "sip:alice@192.0.2.51", "1970-01-12 13:46:40")
        assert await agent.get("/v1/users") == [
            {
                "name": "alice",
                "domain": "edge.example",
                "contacts": [
                    {
                        "contact": "sip:alice@192.0.2.50",
                        "received": "sip:192.0.2.50:1024",
                        "expires_at": NOW + 800,
                        "user_agent": "Phone 1",
                    }
                ],
                "wrong_passwords": 0,
            },
            {"name": "bob", "domain": "edge.example", "contacts": [], "wrong_passwords": 0},
        ]

    with_agent(story)


def test_users_escape_what_a_phone_sent(
    with_agent: Callable[[Story], None],
) -> None:
    async def story(agent: Agent) -> None:
        location.make(agent.location)
        later = "1970-01-12 14:00:00"
        phone(agent.location, "alice", "sip:al\xefce@192.0.2.50", later, b"T\xe9l\xe9phone")
        phone(agent.location, "bob", "sip:bob\x1b[31m@192.0.2.51", later, "Télé\u202e\x07".encode())
        alice, bob = (user["contacts"][0] for user in await agent.get("/v1/users"))
        assert alice["contact"] == r"sip:al\xefce@192.0.2.50"
        assert alice["user_agent"] == r"T\xe9l\xe9phone"
        assert bob["contact"] == r"sip:bob\x1b[31m@192.0.2.51"
        assert bob["user_agent"] == r"Télé\u202e\x07"

    with_agent(story)


def test_users_with_unreadable_locations_answer_503(
    with_agent: Callable[[Story], None],
) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask("/v1/users")
        assert answer.status_code == 503
        assert answer.json()["detail"].startswith(f"the location table {agent.location} cannot be")

    with_agent(story)


# /v1/explain


def test_explain_of_an_identified_request_lists_its_steps(
    with_agent: Callable[[Story], None],
) -> None:
    async def story(agent: Agent) -> None:
        explained = await agent.explain("udp:192.0.2.1:40000", "sip:+442071234567@edge.example")
        assert (explained["decision"], explained["trunk"]) == ("identified", "acme")
        assert explained["reason"] == "number"
        assert explained["message"] == "number of trunk acme"
        assert [(step["rule"], step["left"]) for step in explained["steps"]] == [
            ("address", ["acme", "bell"]),
            ("token", []),
            ("number", ["acme"]),
        ]
        named = explained["steps"][-1]
        assert (named["compared"], named["place"]) == ("number", "request-uri")
        assert named["values"] == ["+442071234567"]
        assert named["message"] == "+442071234567 in Request-URI"
        at, _, number = [step["fitting"] for step in explained["steps"]]
        assert at[0].startswith("learned 192.0.2.1 over udp, port 5060, ")
        assert number == ["its +442071234567"]

    with_agent(story)


@pytest.mark.parametrize("header", ["to", "p_called_party_id"])
def test_explain_finds_the_number_in_other_headers(
    with_agent: Callable[[Story], None], header: str
) -> None:
    async def story(agent: Agent) -> None:
        explained = await agent.explain(
            "udp:192.0.2.1:40000",
            "sip:main@edge.example",
            **{header: '"A" <sip:00442071234567@edge.example>'},
        )
        assert (explained["decision"], explained["trunk"]) == ("identified", "acme")

    with_agent(story)


def test_explain_of_an_ambiguous_request_names_candidates(
    with_agent: Callable[[Story], None],
) -> None:
    async def story(agent: Agent) -> None:
        explained = await agent.explain("udp:192.0.2.1:40000", "sip:nobody@edge.example")
        assert explained["decision"] == "refused"
        assert explained["trunk"] is None
        assert explained["reason"] == "ambiguous"
        assert explained["candidates"] == ["acme", "bell"]

    with_agent(story)


def test_explain_of_an_unknown_source_is_unknown(with_agent: Callable[[Story], None]) -> None:
    async def story(agent: Agent) -> None:
        explained = await agent.explain(
            "udp:192.0.2.66:5060", "sip:+442071234567@edge.example", to=None
        )
        assert explained["decision"] == "unknown"
        assert (explained["trunk"], explained["candidates"]) == (None, [])
        assert explained["reason"] == "unknown_address"

    with_agent(story)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"source": "192.0.2.1"},
            '"192.0.2.1" is not a source; write transport:ip:port, "udp:203.0.113.7:5060"',
        ),
        (
            {"ruri": "alice"},
            '"alice" is not a SIP URI; write "sip:+442071234567@edge.example"',
        ),
        ({"to": "sip:a@b@c"}, '"sip:a@b@c" is not a SIP URI; write "sip:+442071234567@edge'),
    ],
)
def test_explain_of_a_wrong_body_names_the_right_form(
    with_agent: Callable[[Story], None], changed: dict[str, str], message: str
) -> None:
    async def story(agent: Agent) -> None:
        body = {"source": "udp:192.0.2.1:5060", "ruri": "sip:a@b", **changed}
        answer = await agent.ask("/v1/explain", body)
        assert answer.status_code == 422
        (fault,) = answer.json()["errors"]
        assert fault["pointer"] == f"#/{next(iter(changed))}"
        assert fault["detail"].startswith(message)

    with_agent(story)


@pytest.mark.parametrize("body", [{}, [], {"source": 5, "ruri": None}, "x"])
def test_explain_of_a_malformed_body_answers_422(
    with_agent: Callable[[Story], None], body: object
) -> None:
    async def story(agent: Agent) -> None:
        assert (await agent.ask("/v1/explain", body)).status_code == 422

    with_agent(story)


# Which requests the API accepts.


@pytest.mark.parametrize("path", ["/v1/trunks", "/healthz", "/metrics", "/docs", "/openapi.json"])
def test_api_with_a_foreign_host_answers_400(
    with_agent: Callable[[Story], None], path: str
) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask(path, host="evil.example:8088")
        assert (answer.status_code, answer.json()["code"]) == (400, "foreign_host")

    with_agent(story)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8088", "localhost:8088"])
def test_api_with_a_loopback_host_answers(with_agent: Callable[[Story], None], host: str) -> None:
    async def story(agent: Agent) -> None:
        assert (await agent.ask("/v1/trunks", host=host)).status_code == 200

    with_agent(story)


# /metrics and /openapi.json.


def test_metrics_count_registrations_addresses_and_attempts(
    with_agent: Callable[[Story], None],
) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        samples = dict(re.findall(r"^(\w+(?:\{.*?\})?) (\S+)$", answer.text, re.MULTILINE))
        build = f'whence_build_info{{version="{metadata.version("whence")}"}}'
        assert samples[build] == "1.0"
        assert samples['whence_registrations{state="registered"}'] == "2.0"
        assert samples['whence_registrations{state="paused"}'] == "0.0"
        assert samples["whence_registrations_active"] == "2.0"
        assert samples['whence_addresses{origin="learned"}'] == "2.0"
        assert samples['whence_addresses{origin="pinned"}'] == "0.0"
        assert samples['whence_registration_attempts_total{outcome="registered"}'] == "2.0"
        assert samples['whence_registration_attempts_total{outcome="auth_failed"}'] == "0.0"
        assert samples["whence_replies_rejected_total"] == "0.0"

        agent.node.clock.now = NOW + 4000
        later = (await agent.ask("/metrics")).text
        assert "\nwhence_registrations_active 0.0\n" in later
        assert '\nwhence_addresses{origin="learned"} 0.0\n' in later

    with_agent(story)


def test_openapi_names_every_path_and_code(with_agent: Callable[[Story], None]) -> None:
    async def story(agent: Agent) -> None:
        described = await agent.get("/openapi.json")
        assert set(described["paths"]) >= {
            "/healthz",
            "/v1/trunks",
            "/v1/addresses",
            "/v1/users",
            "/v1/explain",
        }
        assert (await agent.ask("/docs")).status_code == 200
        schemas = described["components"]["schemas"]
        assert set(schemas["RegistrationReason"]["enum"]) == set(RegistrationReason)
        assert set(schemas["State"]["enum"]) == set(State)
        assert set(schemas["EventKind"]["enum"]) == set(EventKind)

    with_agent(story)


def test_http_api_page_has_each_path_with_examples_that_fit(
    with_agent: Callable[[Story], None],
) -> None:
    async def story(agent: Agent) -> None:
        described = await agent.get("/openapi.json")
        schemas = described["components"]["schemas"]
        shown = http_api_page.examples()
        operations = {
            (method, path): operation
            for path, operations in described["paths"].items()
            for method, operation in operations.items()
        }
        assert operations.keys() == shown.keys() - {("get", "/metrics")}
        found: list[str] = []
        for (method, path), operation in operations.items():
            blocks = shown[method, path]
            if "application/json" not in operation["responses"].get("200", {}).get("content", {}):
                continue  # a stream, or no body
            answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
            found += http_api_page.faults(blocks[-1], answer, schemas, f"{path} answer")
            if "requestBody" in operation:
                body = operation["requestBody"]["content"]["application/json"]["schema"]
                found += http_api_page.faults(blocks[0], body, schemas, f"{path} body")
        assert found == []

    with_agent(story)


# Orders are answered when they are in effect.


def test_order_is_answered_after_the_look_out_acknowledges(
    with_agent: Callable[[Story], None],
) -> None:
    async def story(agent: Agent) -> None:
        own = Acknowledgement(agent.node.folder / look_out.FILE)
        order = {"source": "192.0.2.77", "trunk": "acme", "for_s": 60}
        asked = asyncio.create_task(agent.ask("/v1/unknown-sources/allow", order))
        listed = agent.node.directory.addresses
        await agent.node.until(lambda: any(str(a.ip) == "192.0.2.77" for _, a in listed()))
        await agent.get("/v1/addresses")
        assert not asked.done()
        own.write((agent.node.folder / GENERATION_FILE).read_bytes())
        assert (await asked).status_code == 200
        own.close()

    with_agent(story)


def test_order_without_an_acknowledgement_answers_503(with_agent: Callable[[Story], None]) -> None:
    async def story(agent: Agent) -> None:
        (agent.node.folder / look_out.FILE).mkdir()
        answer = await agent.ask("/v1/trunks/acme/unregister", {})
        assert answer.status_code == 503
        assert "the change is stored" in answer.json()["detail"]

    with_agent(story)
