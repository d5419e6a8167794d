"""The API's path for users' calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.agent.api.agent import Agent, Story

WithAgent = Callable[[Story], None]

PATH = "/v1/explain/call-out"


def test_explain_call_out_answers_for_the_users_here(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        found = (await agent.ask(PATH, {"from": "alice", "to": "bob"})).json()
        assert (found["decision"], found["user"]) == ("user", "bob")
        found = (await agent.ask(PATH, {"from": "alice", "to": "+442079460000"})).json()
        assert (found["decision"], found["reason"]) == ("refused", "no_trunks")
        assert 'write trunks = ["…"] in [[user]]' in found["message"]

    with_agent(story)


def test_explain_call_out_shows_trunks_after_a_reload(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        file = agent.node.folder / "whence.toml"
        text = file.read_text(encoding="utf-8")
        text += '[outbound]\nemergency_numbers = ["112"]\nemergency_trunks = ["acme"]\n'
        agent.node.settings(text)
        answer = (await agent.ask("/v1/reload", {})).json()
        assert (answer["routing_changed"], answer["needs_restart"]) == (True, True)
        assert (answer["changed"], answer["users_changed"]) == ([], [])
        await agent.registered()
        question = {"from": "alice", "to": "112", "headers": ["Privacy: id"]}
        found = (await agent.ask(PATH, question)).json()
        assert (found["decision"], found["emergency"]) == ("trunks", True)
        (only,) = found["tries"]
        assert only["request_uri"] == "sip:112@provider.example"
        assert only["from"] == "<sip:acct1@provider.example>"

    with_agent(story)


def test_explain_call_out_of_an_unknown_user_answers_404(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        answer = await agent.ask(PATH, {"from": "mallory", "to": "112"})
        assert answer.status_code == 404
        assert "no user mallory is configured" in answer.text

    with_agent(story)


@pytest.mark.parametrize(
    "body",
    [
        {"from": "alice"},
        {"from": "alice", "to": ""},
        {"from": "alice", "to": "2" * 257},
        {"from": "a\nb", "to": "112"},
        {"from": "alice", "to": "112", "headers": ["no header"]},
        {"from": "alice", "to": "112", "source": "udp:192.0.2.1:5060"},
    ],
)
def test_explain_call_out_refuses_a_wrong_question(
    with_agent: WithAgent, body: dict[str, object]
) -> None:
    async def story(agent: Agent) -> None:
        assert (await agent.ask(PATH, body)).status_code == 422

    with_agent(story)
