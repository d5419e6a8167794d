"""Who may do what with the API, and what the audit log has of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from tests.unit.agent.api.agent import NOW, Agent, Story
from whence.agent.access.audit import FILE as AUDIT_FILE
from whence.agent.access.audit import AuditLog
from whence.agent.access.verifier import hashed
from whence.agent.api.security import role_of
from whence.core.access import FREE_FAILURES, Role

WithAgent = Callable[[Story], None]
ALLOW = {"source": "udp:192.0.2.77:5060", "trunk": "acme", "for_s": 60}


def created(agent: Agent, role: Role) -> dict[str, str]:
    """Create a token, and return the header with it."""
    token, _ = agent.tokens.create(f"{role}er", role, hashed, NOW)
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "path", ["/v1/trunks", "/metrics", "/openapi.json", "/docs", "/v1/audit", "/nothing"]
)
def test_api_that_needs_a_token_answers_401_without(with_agent: WithAgent, path: str) -> None:
    async def story(agent: Agent) -> None:
        agent.access.required = True
        answer = await agent.ask(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_required")
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        token = created(agent, Role.VIEW)
        assert (await agent.ask(path, headers=token)).status_code == (
            404 if path == "/nothing" else 200
        )

    with_agent(story)


@pytest.mark.parametrize(
    "given",
    [
        "Bearer x",
        "Bearer ",
        "Basic x",
        "bearer whence_0123456789abcdef_" + "A" * 43,
        "Bearer  ",
        "x",
    ],
)
def test_wrong_token_answers_401(with_agent: WithAgent, given: str) -> None:
    async def story(agent: Agent) -> None:
        agent.access.required = True
        answer = await agent.ask("/v1/trunks", headers={"authorization": given})
        assert answer.status_code == 401

    with_agent(story)


def test_wrong_token_is_refused_where_none_is_needed(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask("/v1/trunks", headers={"authorization": "Bearer x"})
        assert (answer.status_code, answer.json()["code"]) == (401, "wrong_token")

    with_agent(story)


def test_many_wrong_tokens_lock_their_source(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        for _ in range(FREE_FAILURES):
            await agent.ask("/v1/trunks", headers={"authorization": "Bearer x"})
        answer = await agent.ask("/v1/trunks", headers={"authorization": "Bearer x"})
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_wrong_tokens")
        assert 0 < int(answer.headers["retry-after"]) <= 61

    with_agent(story)


@pytest.mark.parametrize(
    ("role", "path", "body", "status"),
    [
        (Role.VIEW, "/v1/explain", {"source": "udp:192.0.2.1:5060", "ruri": "sip:a@b"}, 200),
        (Role.VIEW, "/v1/trunks/acme/pause", {}, 403),
        (Role.VIEW, "/v1/unknown-sources/allow", ALLOW, 403),
        (Role.VIEW, "/v1/reload", {}, 403),
        (Role.OPERATE, "/v1/trunks/acme/pause", {}, 200),
        (Role.OPERATE, "/v1/unknown-sources/allow", ALLOW, 200),
    ],
)
def test_role_of_a_token_bounds_what_it_may_do(
    with_agent: WithAgent, role: Role, path: str, body: object, status: int
) -> None:
    async def story(agent: Agent) -> None:
        agent.access.required = True
        answer = await agent.ask(path, body, headers=created(agent, role))
        assert answer.status_code == status, answer.text
        if status == 403:
            assert answer.json()["code"] == "role_too_low"
            assert not (agent.node.of["acme"]).suspended

    with_agent(story)


def test_role_of_an_operation_without_an_entry_is_admin() -> None:
    assert role_of("put_something", "PUT") is Role.ADMIN
    assert role_of("get_something", "GET") is Role.VIEW


# The audit log.


def test_change_is_recorded_with_its_caller(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        token = created(agent, Role.OPERATE)
        await agent.ask("/v1/unknown-sources/allow", ALLOW, headers=token)
        await agent.ask("/v1/trunks/acme/pause", {})
        pause, allow = await agent.get("/v1/audit")
        assert (pause["caller"], pause["action"], pause["target"]) == (
            "local",
            "order_trunk",
            "acme pause",
        )
        assert (allow["caller"], allow["role"]) == ("operateer", "operate")
        assert (allow["action"], allow["target"], allow["at"]) == ("allow_source", "acme", NOW)
        assert allow["after"]["for_s"] == 60
        lines = (agent.node.folder / AUDIT_FILE).read_text().splitlines()
        assert [json.loads(line)["action"] for line in lines] == ["allow_source", "order_trunk"]

    with_agent(story)


def test_change_that_fails_and_explain_are_not_recorded(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await agent.ask("/v1/trunks/nobody/pause", {})
        await agent.ask("/v1/explain", {"source": "udp:192.0.2.1:5060", "ruri": "sip:a@b"})
        assert await agent.get("/v1/audit") == []

    with_agent(story)


def test_audit_log_is_kept_over_a_restart(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await agent.ask("/v1/trunks/acme/pause", {})
        other = AuditLog(agent.node.folder)  # as whence token writes it
        other.record(caller="user root", role="admin", source="", action="create_token", target="x")
        assert [one["action"] for one in await agent.get("/v1/audit")] == [
            "create_token",
            "order_trunk",
        ]

    with_agent(story)


def test_body_that_is_too_long_answers_413(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask("/v1/explain", "x" * 1_100_000)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_long")

    with_agent(story)


# Every path and role.

BODIES: dict[str, object] = {
    "explain": {"source": "udp:192.0.2.1:5060", "ruri": "sip:a@b"},
    "explain_call_out": {"from": "alice", "to": "bob"},
}
READS = {"explain", "explain_call_out"}
ORDERS = {"order_trunk", "allow_source", "revoke_source", "reload"}
CHANGES = {f"{verb}_{what}" for verb in ("put", "patch", "delete") for what in ("trunk", "user")}
CHANGES |= {"put_route", "patch_route", "delete_route"}


def needed_role(operation: str, method: str) -> Role:
    if method == "GET" or operation in READS:
        return Role.VIEW
    return Role.OPERATE if operation in ORDERS else Role.ADMIN


@pytest.mark.parametrize("role", [None, *Role])
def test_path_admits_its_roles_only(with_agent: WithAgent, role: Role | None) -> None:
    async def story(agent: Agent) -> None:
        agent.access.required = True
        headers = {} if role is None else created(agent, role)
        changing = set()
        for route in agent.api.routes:
            path, name = route.path, route.name  # type: ignore[attr-defined]
            if path == "/v1/stream":
                continue  # its answer has no end
            for method in sorted(route.methods - {"HEAD"}):  # type: ignore[attr-defined]
                needed = needed_role(name, method)
                changing |= set() if needed is Role.VIEW else {name}
                filled = re.sub(r"\{(\w+)[^}]*\}", r"\1", path.replace("{order:order}", "pause"))
                body = BODIES.get(name) if method == "POST" else None
                answer = await agent.ask(filled, body, method=method, headers=headers)
                code = answer.json().get("code") if answer.status_code in (401, 403) else ""
                if role is None and path != "/healthz":
                    assert (answer.status_code, code) == (401, "token_required"), (method, path)
                elif role is not None and not role.permits(needed):
                    assert (answer.status_code, code) == (403, "role_too_low"), (method, path)
                else:
                    assert answer.status_code not in (401, 403), (method, path)
        assert changing == ORDERS | CHANGES
        if role is Role.VIEW:
            assert (await agent.ask("/v1/audit", headers=headers)).json()["items"] == []

    with_agent(story)


# The address of the caller.


@pytest.mark.parametrize(
    ("named", "source"),
    [
        (["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
        (["198.51.100.1", "192.0.2.7"], "192.0.2.7"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7 locked_s=0"], "127.0.0.1"),
        (["198.51.100.1", "unknown"], "127.0.0.1"),
        ([], "127.0.0.1"),
    ],
)
def test_source_behind_a_proxy_is_its_last_word(
    with_agent: WithAgent, named: list[str], source: str
) -> None:
    async def story(agent: Agent) -> None:
        agent.access.behind_proxy = True
        headers = [(b"x-forwarded-for", one.encode()) for one in named]
        scope = {"type": "http", "headers": headers, "client": ("127.0.0.1", 1)}
        assert agent.access.source(scope) == source
        agent.access.behind_proxy = False
        assert agent.access.source(scope) == "127.0.0.1"

    with_agent(story)


# Web pages of other sites.


@pytest.mark.parametrize(
    ("site", "mode", "dest", "status"),
    [
        ("cross-site", "cors", "empty", 403),
        ("same-site", "no-cors", "script", 403),
        ("cross-site", "navigate", "iframe", 403),
        ("cross-site", "navigate", "document", 200),
        ("same-origin", "cors", "empty", 200),
        ("none", "navigate", "document", 200),
    ],
)
def test_page_of_another_site_reads_nothing(
    with_agent: WithAgent, site: str, mode: str, dest: str, status: int
) -> None:
    async def story(agent: Agent) -> None:
        headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
        assert (await agent.ask("/v1/trunks", headers=headers)).status_code == status

    with_agent(story)


@pytest.mark.parametrize(
    ("path", "host"), [("/docs", "127.0.0.1"), ("/nothing", "127.0.0.1"), ("/docs", "evil.example")]
)
def test_answer_forbids_frames_of_other_sites(with_agent: WithAgent, path: str, host: str) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask(path, host=host)
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"

    with_agent(story)
