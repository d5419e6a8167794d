"""The settings file of records: `whence check` accepts it, also with hostile values."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.importers.samples import READERS, findings_of
from whence.agent.config.load import checked_config
from whence.importers.records import Findings, Place, Record, UniqueNames
from whence.importers.to_toml import Imported, Wishes, settings_of

GOOD: dict[str, Any] = {
    "id": "acme",
    "registrar": "sip:provider.example",
    "user": "acct1",
    "password": "secret",
    "target": "sip:{number}@192.0.2.9",
}


def settings(*trunks: dict[str, Any], users: list[dict[str, Any]] | None = None) -> Imported:
    findings = Findings(
        [Record(Place("f", line), keys) for line, keys in enumerate(trunks, start=1)],
        [Record(Place("f", 100), keys) for keys in users or []],
    )
    return settings_of(findings, Wishes())


def tables(text: str) -> dict[str, Any]:
    return tomllib.loads(text)


@pytest.mark.parametrize("name", READERS)
def test_settings_of_each_sample_pass_the_check(name: str) -> None:
    result = settings_of(findings_of(name), Wishes())
    assert result.trunks >= 1
    assert checked_config(tables(result.text), Path("whence.toml"))[1] == []
    assert len(tables(result.text)["trunk"]) == result.trunks


ANY = st.text(max_size=80)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"id": ANY, "user": ANY, "password": ANY, "registrar": ANY | st.just("sip:a.example")},
            optional={"target": ANY, "realm": ANY, "numbers": st.lists(ANY, max_size=2)},
        ),
        max_size=5,
    ),
    ANY,
)
def test_settings_of_hostile_values_pass_the_check(
    records: list[dict[str, Any]], file: str
) -> None:
    trunks = [Record(Place(file, 1), {**GOOD, **keys}) for keys in records]
    result = settings_of(Findings(trunks), Wishes())
    assert result.text.replace("\n", "").isprintable()
    read = tables(result.text).get("trunk", [])
    assert checked_config({"trunk": read}, Path("whence.toml"))[1] == []
    assert len(read) + result.comments == len(records)


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1))
def test_password_in_the_settings_is_unchanged(password: str) -> None:
    if not password.isprintable():
        return
    (trunk,) = tables(settings({**GOOD, "password": password}).text)["trunk"]
    assert trunk["password"] == password


@given(st.lists(ANY, max_size=20))
def test_names_are_unique_and_valid(wishes: list[str]) -> None:
    names = UniqueNames(["trunk"])
    made = [names.make(wish) for wish in wishes]
    assert len({*made, "trunk"}) == len(made) + 1
    result = settings_of(
        Findings([Record(Place("f"), {**GOOD, "id": wish}) for wish in wishes]), Wishes()
    )
    assert result.trunks == len(wishes)


def test_names_of_many_equal_wishes_are_found_quickly() -> None:
    names = UniqueNames()
    assert len({names.make("x" * 200) for _ in range(50_000)}) == 50_000


def test_record_with_a_fault_is_a_comment_with_its_reason() -> None:
    result = settings(GOOD, {**GOOD, "id": "bad", "registrar": "ftp://x"})
    assert (result.trunks, result.comments) == (1, 1)
    assert '\n# registrar = "ftp://x"\n' in result.text
    notes = [str(note) for note in result.notes]
    assert any(
        one.startswith('f:2: is written as a comment: trunk "bad": registrar: "ftp://x" is not')
        for one in notes
    )


def test_edge_listens_on_what_the_trunks_need() -> None:
    named = {**GOOD, "id": "b", "socket": "udp:192.0.2.1:5060"}
    tcp = {**GOOD, "id": "c", "registrar": "sip:provider.example;transport=tcp"}
    assert "edge" not in tables(settings(GOOD).text)
    assert tables(settings(GOOD, named, tcp).text)["edge"] == {
        "listen": ["udp:192.0.2.1:5060", "tcp:127.0.0.1:5060"]
    }


def test_trunk_over_tls_needs_a_certificate_first() -> None:
    result = settings({**GOOD, "registrar": "sip:provider.example;transport=tls"})
    assert (result.trunks, result.comments) == (0, 1)
    assert "on which the edge does not listen" in str(result.notes[-1])


def test_target_at_home_needs_its_user() -> None:
    home = {**GOOD, "target": "sip:alice@edge.example"}
    assert settings(home).comments == 1
    assert settings(home, users=[{"name": "alice", "password": "x"}]).comments == 0


def test_same_account_twice_is_noted() -> None:
    result = settings(GOOD, {**GOOD, "id": "again"})
    assert any("has the account of trunk" in str(note) for note in result.notes)


def test_settings_to_append_have_other_names_and_no_edge() -> None:
    existing = {
        "edge": {"listen": ["udp:192.0.2.1:5060"]},
        "trunk": [GOOD],
        "user": [{"name": "alice", "password": "x"}],
    }
    findings = Findings(
        [Record(Place("f", 1), {**GOOD, "target": "sip:alice@edge.example"})],
        [Record(Place("f", 2), {"name": "alice", "password": "y"})],
    )
    result = settings_of(findings, Wishes(existing=existing))
    (trunk,) = tables(result.text)["trunk"]
    assert trunk["id"] == "acme-2"
    assert set(tables(result.text)) == {"trunk"}
    assert 'f:2: user "alice" exists already; it is left out' in map(str, result.notes)


def test_default_target_is_noted_once() -> None:
    without = {key: value for key, value in GOOD.items() if key != "target"}
    result = settings(without, without)
    (note,) = [str(note) for note in result.notes if "target" in str(note)]
    assert note == (
        "f:1: has no target, and gets sip:{number}@127.0.0.1:5080: choose with --target URI; so do "
        "1 more"
    )


def test_target_of_the_operator_is_that_of_all() -> None:
    wish = "sip:{number}@192.0.2.77"
    result = settings_of(Findings([Record(Place("f"), GOOD)]), Wishes(target=wish))
    assert tables(result.text)["trunk"][0]["target"] == wish
