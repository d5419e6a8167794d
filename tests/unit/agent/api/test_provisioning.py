"""Trunks, users and routes that the API creates, changes and removes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.agent.api.agent import FILE, Agent, Story
from whence.agent.config.to_core import LoadedSettings
from whence.agent.monitoring.left_out import LeftOutAlarm
from whence.agent.provisioning.provisioned import Provisioned, load_with_api
from whence.agent.provisioning.secret_keys import SecretBox
from whence.core.monitoring.alarms import AlarmKind
from whence.core.registration.model import State
from whence.store.provisioned import FILE as STORE

WithAgent = Callable[[Story], None]
PASSWORD = "a new secret"
TRUNK = {
    "registrar": "sip:192.0.2.1",
    "user": "acct9",
    "password": PASSWORD,
    "target": "sip:alice@edge.example",
    "numbers": ["+442079460000"],
}


async def put(agent: Agent, path: str, body: object, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await agent.ask(path, body, method="PUT", headers=sent)
    assert PASSWORD not in answer.text
    return answer


async def patch(agent: Agent, path: str, body: object, match: str = "*") -> httpx.Response:
    return await agent.ask(path, body, method="PATCH", headers={"if-match": match})


async def delete(agent: Agent, path: str, match: str = "*") -> httpx.Response:
    return await agent.ask(path, method="DELETE", headers={"if-match": match})


def files_of(folder: Path) -> bytes:
    return b"".join(one.read_bytes() for one in folder.iterdir() if one.is_file())


# To create.


def test_put_creates_a_trunk_that_registers(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        answer = await put(agent, "/v1/trunks/new", TRUNK)
        assert answer.status_code == 201, answer.text
        public = {key: value for key, value in TRUNK.items() if key != "password"}
        assert answer.json() == {
            "id": "new",
            "managed_by": "api",
            "settings": public,
            "secrets": ["password"],
        }
        await agent.registered()
        assert (await agent.get("/v1/trunks/new"))["state"] == "registered"
        call = await agent.explain("udp:192.0.2.1:5060", "sip:+442079460000@edge.example")
        assert call["trunk"] == "new"
        again = await agent.ask("/v1/trunks/new/settings")
        assert (again.json(), again.headers["etag"]) == (answer.json(), answer.headers["etag"])

    with_agent(story)


def test_put_of_the_same_again_changes_nothing(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        first = await put(agent, "/v1/trunks/new", TRUNK)
        second = await put(agent, "/v1/trunks/new", TRUNK)
        assert (second.status_code, second.headers["etag"]) == (200, first.headers["etag"])
        assert len(await agent.get("/v1/audit")) == 1

    with_agent(story)


def test_secret_of_the_api_is_in_no_file_and_no_audit(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await put(agent, "/v1/trunks/new", TRUNK)
        await put(agent, "/v1/users/carol", {"password": PASSWORD})
        assert PASSWORD.encode() not in files_of(agent.node.folder)
        (user, _) = await agent.get("/v1/audit")
        assert user["after"] == {"settings": {}, "secrets": ["password"]}
        for file in ("provisioned.key", STORE):
            assert (agent.node.folder / file).stat().st_mode & 0o077 == 0

    with_agent(story)


def test_put_of_a_trunk_of_the_file_answers_409(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        for order in (put(agent, "/v1/trunks/acme", TRUNK), patch(agent, "/v1/trunks/acme", {})):
            answer = await order
            assert (answer.status_code, answer.json()["code"]) == (409, "managed_by_file")
        answer = await delete(agent, "/v1/users/alice")
        assert (answer.status_code, answer.json()["code"]) == (409, "managed_by_file")

    with_agent(story)


@pytest.mark.parametrize(
    ("changed", "pointer", "part"),
    [
        ({"numbers": ["+442079460000", "abc"]}, "#/numbers/1", "is not a number"),
        ({"registrr": "x"}, "#/registrr", 'did you mean "registrar"'),
        ({"password": None}, None, ""),
        ({"password_file": "/etc/shadow"}, "#/password_file", "names a file of this machine"),
        ({"id": "other"}, "#/id", "is not the id of the path"),
        ({"target": "sip:nobody@edge.example"}, None, 'has no user "nobody"'),
        ({"registrar": "sip:192.0.2.1;transport=tls"}, None, "does not listen"),
        ({"networks": [{"network": "1.2.3.4", "port": "x"}]}, "#/networks/0/port", ""),
    ],
)
def test_put_with_a_fault_names_its_place(
    with_agent: WithAgent, changed: dict[str, Any], pointer: str | None, part: str
) -> None:
    async def story(agent: Agent) -> None:
        answer = await put(agent, "/v1/trunks/new", {**TRUNK, **changed})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_settings")
        fault = answer.json()["errors"][0]
        assert part in fault["detail"]
        if pointer:
            assert fault["pointer"] == pointer
        assert (await agent.ask("/v1/trunks/new")).status_code == 404

    with_agent(story)


@pytest.mark.parametrize("id_", ["a b", "%2e%2e", "x" * 65, "-"])
def test_put_with_a_wrong_id_answers_422(with_agent: WithAgent, id_: str) -> None:
    async def story(agent: Agent) -> None:
        assert (await put(agent, f"/v1/trunks/{id_}", TRUNK)).status_code in (404, 422)

    with_agent(story)


def test_check_of_a_change_changes_nothing(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        answer = await put(agent, "/v1/trunks/new?check=true", TRUNK)
        assert answer.status_code == 200
        answer = await put(agent, "/v1/trunks/new?check=true", {**TRUNK, "numbers": ["x"]})
        assert answer.status_code == 422
        assert (await agent.ask("/v1/trunks/new")).status_code == 404
        assert await agent.get("/v1/audit") == []
        assert not (agent.node.folder / STORE).exists()

    with_agent(story)


# To change and to remove.


def test_change_needs_the_present_revision(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        first = (await put(agent, "/v1/trunks/new", TRUNK)).headers["etag"]
        other = {**TRUNK, "numbers": []}
        assert (await put(agent, "/v1/trunks/new", other)).json()["code"] == "match_required"
        second = await put(agent, "/v1/trunks/new", other, if_match=first)
        assert second.status_code == 200
        for order in (
            put(agent, "/v1/trunks/new", TRUNK, if_match=first),
            put(agent, "/v1/trunks/new", TRUNK, if_none_match="*"),
            put(agent, "/v1/trunks/newer", TRUNK, if_match=first),
            patch(agent, "/v1/trunks/new", {"numbers": ["+442079460000"]}, first),
            delete(agent, "/v1/trunks/new", first),
        ):
            answer = await order
            assert (answer.status_code, answer.json()["code"]) == (412, "match_failed")
        assert (await delete(agent, "/v1/trunks/new", second.headers["etag"])).status_code == 204

    with_agent(story)


def test_patch_keeps_secrets_and_removes_by_null(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await put(agent, "/v1/trunks/new", TRUNK)
        await agent.registered()
        answer = await patch(agent, "/v1/trunks/new", {"numbers": None, "fallback": True})
        assert answer.status_code == 200, answer.text
        assert answer.json()["secrets"] == ["password"]
        assert "numbers" not in answer.json()["settings"]
        trunk = await agent.get("/v1/trunks/new")
        assert (trunk["state"], trunk["fallback"], trunk["numbers"]) == ("registered", True, [])
        credentials = agent.node.registrations["new"][0].credentials
        assert credentials.password is not None
        assert credentials.password.reveal() == PASSWORD

    with_agent(story)


def test_delete_unregisters_the_trunk(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await put(agent, "/v1/trunks/new", TRUNK)
        await agent.registered()
        agent.node.registrar.take_received()
        assert (await delete(agent, "/v1/trunks/new")).status_code == 204
        await agent.node.until_quiet()
        assert [one.unregisters for one in agent.node.registrar.take_received()] == [True]
        assert (await delete(agent, "/v1/trunks/new")).json()["code"] == "not_provisioned"
        assert {one["trunk"] for one in await agent.get("/v1/addresses")} == {"acme", "bell"}

    with_agent(story)


def test_user_that_is_a_target_cannot_be_removed(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await put(agent, "/v1/users/carol", {"password": PASSWORD})
        await put(agent, "/v1/trunks/new", {**TRUNK, "target": "sip:carol@edge.example"})
        answer = await delete(agent, "/v1/users/carol")
        assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
        await delete(agent, "/v1/trunks/new")
        assert (await delete(agent, "/v1/users/carol")).status_code == 204

    with_agent(story)


def test_routes_are_in_the_order_of_their_positions(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        for id_, position in (("late", 20), ("early", 10)):
            route = {"prefix": "+49", "trunks": ["acme"], "position": position}
            assert (await put(agent, f"/v1/routes/{id_}", route)).status_code == 201
        assert [one["id"] for one in await agent.get("/v1/routes")] == ["early", "late"]
        answer = await put(agent, "/v1/routes/odd", {"trunks": ["nobody"]})
        assert answer.status_code == 422

    with_agent(story)


# Faults of the disk, the file and the key.


def test_change_that_cannot_be_stored_changes_nothing(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await put(agent, "/v1/trunks/new", TRUNK)
        await agent.registered()
        with closing(sqlite3.connect(agent.node.directory.path)) as disk:
            disk.execute(
                "CREATE TRIGGER full BEFORE INSERT ON trunk BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
            answer = await put(agent, "/v1/trunks/newer", {**TRUNK, "user": "acct8"})
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
            disk.execute("DROP TRIGGER full")
        assert (await agent.ask("/v1/trunks/newer/settings")).status_code == 404
        assert [trunk.id for trunk, _ in agent.node.registrations if "new" in trunk.id] == ["new"]
        assert (await put(agent, "/v1/trunks/newer", {**TRUNK, "user": "acct8"})).status_code == 201

    with_agent(story)


def test_change_with_a_file_that_was_not_reloaded_is_refused(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        agent.node.settings(FILE + "\n# edited\n")
        answer = await put(agent, "/v1/trunks/new", TRUNK)
        assert (answer.status_code, answer.json()["code"]) == (409, "file_changed")
        assert (await agent.ask("/v1/reload", {})).status_code == 200
        assert (await put(agent, "/v1/trunks/new", TRUNK)).status_code == 201

    with_agent(story)


def test_reload_keeps_what_the_api_provisioned(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await put(agent, "/v1/trunks/new", TRUNK)
        agent.node.settings(FILE.replace("topsecret", "other"))
        change = (await agent.ask("/v1/reload", {})).json()
        assert (change["removed"], change["users_changed"]) == ([], ["alice"])
        assert (await agent.ask("/v1/trunks/new")).status_code == 200

    with_agent(story)


def test_trunk_in_the_file_and_the_api_is_the_files(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await put(agent, "/v1/trunks/new", TRUNK)
        table = '\n[[trunk]]\nid = "new"\nregistrar = "sip:192.0.2.1"\nuser = "of-file"\n'
        agent.node.settings(FILE + table + 'password = "hunter2"\ntarget = "sip:a@192.0.2.9"\n')
        assert (await agent.ask("/v1/reload", {})).status_code == 200
        assert (await agent.get("/v1/trunks/new"))["aor"] == "sip:of-file@192.0.2.1"
        answer = await agent.ask("/v1/trunks/new/settings")
        assert (answer.status_code, answer.json()["code"]) == (409, "managed_by_file")
        assert (await patch(agent, "/v1/trunks/new", {})).status_code == 409
        assert (await delete(agent, "/v1/trunks/new")).status_code == 204
        assert (await agent.get("/v1/trunks/new"))["aor"] == "sip:of-file@192.0.2.1"

    with_agent(story)


def test_reload_that_contradicts_the_api_is_refused(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await put(agent, "/v1/trunks/new", {**TRUNK, "target": "sip:bob@edge.example"})
        agent.node.settings(FILE[: FILE.index('[[user]]\nname = "bob"')])
        answer = await agent.ask("/v1/reload", {})
        assert answer.status_code == 422
        assert 'has no user "bob"' in answer.json()["detail"]
        assert agent.node.of["new"].state in State

    with_agent(story)


def test_start_adds_what_the_api_provisioned(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        for number in range(5):
            await put(agent, f"/v1/trunks/n{number}", {**TRUNK, "user": f"u{number}"})
        await put(agent, "/v1/trunks/bobs", {**TRUNK, "target": "sip:bob@edge.example"})
        head = f'[agent]\nstate_dir = "{agent.node.folder}"\n'
        file = agent.node.folder / "whence.toml"
        file.write_text(head + FILE)
        ids = {trunk.id for trunk in load_with_api(file).trunk}
        assert ids == {"acme", "bell", "idle", "bobs", *(f"n{number}" for number in range(5))}
        file.write_text(head + FILE[: FILE.index('[[user]]\nname = "bob"')])
        ids = {trunk.id for trunk in load_with_api(file).trunk}
        assert ids == {"acme", "bell", "idle", *(f"n{number}" for number in range(5))}

    with_agent(story)


def test_start_names_the_entries_that_it_left_out(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await put(agent, "/v1/trunks/new", TRUNK)
        await put(agent, "/v1/trunks/bobs", {**TRUNK, "target": "sip:bob@edge.example"})
        await put(agent, "/v1/routes/good", {"prefix": "+49", "trunks": ["new"]})
        await put(agent, "/v1/routes/bad", {"prefix": "+44", "trunks": ["bobs"]})
        await put(agent, "/v1/users/carol", {"password": PASSWORD})
        head = f'[agent]\nstate_dir = "{agent.node.folder}"\n'
        file = agent.node.folder / "whence.toml"

        def left_out() -> list[str]:
            loaded = LoadedSettings.of(load_with_api(file))
            return agent.provisioned.left_out(loaded.node, loaded.config.route)

        file.write_text(head + FILE)
        assert left_out() == []
        file.write_text(head + FILE[: FILE.index('[[user]]\nname = "bob"')])
        assert left_out() == ["route bad", "trunk bobs"]
        (agent.node.folder / "provisioned.key").write_bytes(b"x" * 32)
        agent.provisioned.box = SecretBox(agent.node.folder)
        assert len(left_out()) == 5

    with_agent(story)


def test_alarm_is_open_while_an_entry_is_left_out(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        alarm = LeftOutAlarm(agent.alarms)
        alarm.report([f"trunk t{number}" for number in range(12)])
        (raised,) = agent.alarms.open
        assert raised.alarm.kind is AlarmKind.API_ENTRY_LEFT_OUT
        assert "trunk t9 and 2 more:" in raised.alarm.message
        assert alarm.is_open
        alarm.report([])
        assert not alarm.is_open

    with_agent(story)


def test_trunk_that_a_route_names_cannot_be_removed(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await put(agent, "/v1/trunks/new", TRUNK)
        answer = await put(agent, "/v1/routes/other", {"prefix": "+49", "trunks": ["new"]})
        assert answer.status_code == 201, answer.text
        answer = await delete(agent, "/v1/trunks/new")
        assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
        assert (await agent.get("/v1/trunks/new"))["id"] == "new"

    with_agent(story)


def test_entry_with_another_key_is_left_out(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        await put(agent, "/v1/trunks/new", TRUNK)
        (agent.node.folder / "provisioned.key").write_bytes(bytes(32))
        file = agent.node.folder / "whence.toml"
        with closing(Provisioned(file, agent.node.folder)) as other:
            assert other.entries() == []

    with_agent(story)


def test_secrets_of_another_row_are_not_decrypted(with_agent: WithAgent) -> None:
    """A copied row must not send a password to another provider."""

    async def story(agent: Agent) -> None:
        await put(agent, "/v1/trunks/new", TRUNK)
        await put(agent, "/v1/trunks/thief", {**TRUNK, "user": "x", "password": "other"})
        with closing(sqlite3.connect(agent.node.folder / STORE)) as other:
            other.execute(
                "UPDATE entry SET secrets = (SELECT secrets FROM entry WHERE id = 'new')"
                " WHERE id = 'thief'"
            )
            other.commit()
        with closing(Provisioned(agent.provisioned.file, agent.node.folder)) as read:
            assert [one.id for one in read.entries()] == ["new"]

    with_agent(story)


def test_changes_at_once_are_made_one_after_the_other(with_agent: WithAgent) -> None:
    async def story(agent: Agent) -> None:
        orders = [put(agent, f"/v1/trunks/t{i}", {**TRUNK, "user": f"u{i}"}) for i in range(6)]
        answers = await asyncio.gather(*orders, agent.ask("/v1/reload", {}))
        assert [answer.status_code for answer in answers] == [201] * 6 + [200]
        assert sum(trunk.id.startswith("t") for trunk, _ in agent.node.registrations) == 6

    with_agent(story)
