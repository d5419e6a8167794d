"""What all paths of the API have in common: lists, filters, errors, HEAD, and its description."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.agent.api.agent import Agent, Story

WithAgent = Callable[[Story], None]
LISTS = ["trunks", "addresses", "conflicts", "calls", "unknown-sources", "alarms", "users"]


# Lists.


def test_list_of_several_pages_has_each_item_once(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        found: list[str] = []
        path = "/v1/trunks?limit=1"
        while path:
            answer = (await agent.ask(path)).json()
            found += [trunk["id"] for trunk in answer["items"]]
            following = answer["next"]
            path = f"/v1/trunks?limit=1&cursor={following}" if following is not None else ""
        assert found == ["acme", "bell", "idle"]

    with_agent(story)


def test_page_after_a_removed_item_begins_with_the_next(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        answer = (await agent.ask("/v1/trunks?limit=1&cursor=b")).json()
        assert ([one["id"] for one in answer["items"]], answer["next"]) == (["bell"], "bell")

    with_agent(story)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/trunks?state=registered", ["acme", "bell"]),
        ("/v1/trunks?enabled=false", ["idle"]),
        ("/v1/trunks?state=registered&suspended=true", []),
        ("/v1/addresses?trunk=bell", ["bell"]),
        ("/v1/addresses?origin=pinned", []),
    ],
)
def test_filter_of_a_list_leaves_what_fits(
    with_agent: WithAgent, path: str, found: list[str]
) -> None:
    async def story(agent: Agent) -> None:
        items = await agent.get(path)
        assert [one.get("id", one.get("trunk")) for one in items] == found

    with_agent(story)


# Queries that are refused.


@pytest.mark.parametrize("path", [*(f"/v1/{name}" for name in LISTS), "/healthz", "/v1/version"])
def test_unknown_key_of_a_query_answers_422(with_agent: WithAgent, path: str) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask(f"{path}?staet=registered")
        assert answer.status_code == 422
        (fault,) = answer.json()["errors"]
        assert fault["parameter"] == "staet"
        assert fault["detail"].startswith("unknown key; ")

    with_agent(story)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "state=registerd"])
def test_wrong_value_of_a_query_answers_422(with_agent: WithAgent, query: str) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask(f"/v1/trunks?{query}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["parameter"] == query.partition("=")[0]

    with_agent(story)


# Errors.


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/nothing", None, 404, "not_found"),
        ("/v1/trunks/nobody", None, 404, "unknown_trunk"),
        ("/v1/calls/nothing", None, 404, "unknown_call"),
        ("/v1/trunks", {}, 405, "method_not_allowed"),
        ("/v1/explain", {}, 422, "invalid_request"),
        ("/v1/trunks/idle/register", {}, 409, "disabled_trunk"),
    ],
)
def test_error_is_a_problem_with_a_code(
    with_agent: WithAgent, path: str, body: object, status: int, code: str
) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask(path, body)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert (problem["status"], problem["code"]) == (status, code)
        assert problem["title"] and problem["detail"] and problem["type"] == "about:blank"

    with_agent(story)


def test_error_of_a_bug_is_a_problem_without_its_text(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        async def fails() -> None:
            raise ValueError("hunter3")

        agent.api.add_api_route("/v1/test", fails)
        with pytest.raises(ValueError, match="hunter3"):  # the log gets it
            await agent.ask("/v1/test")
        answer = await agent.ask("/v1/test", is_raised=False)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert "hunter3" not in answer.text

    with_agent(story)


def test_wrong_method_answers_405_with_all_methods(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask("/v1/trunks/acme", {})
        assert answer.status_code == 405
        assert answer.headers["allow"] == "DELETE, GET, HEAD, PATCH, PUT"
        answer = await agent.ask("/v1/trunks/acme/settings", {})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")

    with_agent(story)


# HEAD.


@pytest.mark.parametrize("path", ["/metrics", "/v1/trunks", "/v1/trunks/nobody", "/openapi.json"])
def test_head_answers_like_get_without_a_body(with_agent: WithAgent, path: str) -> None:
    async def story(agent: Agent) -> None:
        got, head = await agent.ask(path), await agent.ask(path, method="HEAD")
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
        assert int(head.headers["content-length"]) > 0

    with_agent(story)


def test_version_is_that_of_the_package(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        assert await agent.get("/v1/version") == {"whence": "0.2.0", "api": "1"}

    with_agent(story)


# The description.


def _operations(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    }


def test_openapi_names_each_operation_once(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        described = await agent.get("/openapi.json")
        operations = _operations(described)
        ids = [one["operationId"] for one in operations.values()]
        assert len(set(ids)) == len(ids)
        assert not [id_ for id_ in ids if "v1" in id_]
        tags = {one["name"] for one in described["tags"]}
        assert all(set(one["tags"]) <= tags for one in operations.values())

    with_agent(story)


def test_openapi_has_the_form_of_all_errors(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        described = await agent.get("/openapi.json")
        for name, operation in _operations(described).items():
            for status, answer in operation["responses"].items():
                if status >= "400" and (name, status) != ("GET /healthz", "503"):
                    assert [*answer["content"]] == ["application/problem+json"], (name, status)
            assert {"400", "403", "422", "500", "503"} <= operation["responses"].keys()
        assert "unknown_trunk" in described["components"]["schemas"]["ProblemCode"]["enum"]

    with_agent(story)


def test_openapi_gives_instants_a_format(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        schemas = (await agent.get("/openapi.json"))["components"]["schemas"]
        instants = {
            f"{name}.{key}": str(field)
            for name, schema in schemas.items()
            for key, field in schema.get("properties", {}).items()
            if key.endswith("_at") or key == "at"
        }
        assert len(instants) > 10
        assert [name for name, field in instants.items() if "date-time" not in field] == []

    with_agent(story)
