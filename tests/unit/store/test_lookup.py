"""`gather` reads little, and the decision is the same as with all trunks."""

import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings

from tests.examples import examples
from tests.unit.core.identification.world import NOW, Call, World, calls, oracle, worlds
from tests.unit.store.tables import fill
from whence.core.identification.decision import Identified, Refused
from whence.core.identification.identify import identify
from whence.core.identification.request import Evidence, Request
from whence.core.sip.transport_address import (
    Transport,
    TransportAddress,
    canonical_ip,
)
from whence.core.sip.uri import Uri
from whence.store.lookup import decide, gather
from whence.store.migrate import read_schema


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.executescript(read_schema())
    yield made
    made.close()


def asked(call: Call) -> Request:
    """Return the request of a call."""

    def uri(user: str | None, line: str = "") -> Uri | None:
        if user is None:
            return None
        return Uri("sip", user, "edge.example", None, {"line": line} if line else {})

    ruri = uri(call["user"], call["line"])
    assert ruri is not None
    source = TransportAddress(Transport(call["transport"]), canonical_ip(call["ip"]), call["port"])
    others = {"diversion": uri(call.get("diversion")), "x-called": uri(call.get("x_called"))}
    return Request(
        source,
        ruri,
        uri(call["to"]),
        uri(call["p_called_party_id"]),
        {name: (one,) for name, one in others.items() if one is not None},
    )


def seen(db: sqlite3.Connection, request: Request, **more: int) -> Evidence:
    def fetch(query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        return db.execute(query, parameters).fetchall()

    return gather(request, NOW, fetch, **more)


def decided(request: Request, evidence: Evidence) -> tuple[str, str | None]:
    decision = identify(request, evidence, NOW)
    if isinstance(decision, Identified):
        return "identified", decision.trunk.id
    return ("refused", decision.reason) if isinstance(decision, Refused) else ("unknown", None)


@settings(max_examples=examples(1500), deadline=None)
@given(worlds, calls)
def test_gather_reads_enough_for_the_oracles_decision(
    db: sqlite3.Connection, world: World, call: Call
) -> None:
    fill(db, world)
    request = asked(call)
    evidence = seen(db, request)
    assert decided(request, evidence) == oracle(world, call, NOW)
    short, _ = decide(request, NOW, lambda query, parameters: list(db.execute(query, parameters)))
    whole = identify(request, evidence, NOW)
    assert type(short) is type(whole)
    if isinstance(short, Identified) and isinstance(whole, Identified):
        assert (short.trunk.id, short.rule) == (whole.trunk.id, whole.rule)
        assert short.reason == whole.reason


def crowd(size: int, **addresses: int) -> World:
    """Return trunks at one address, each with its own number. `addresses`: trunk id → its port."""
    return [
        {
            "id": f"t{i}",
            "token": f"token{i}",
            "aor_user": f"acct{i}",
            "numbers": [f"+4420{i:07}"],
            "enabled": True,
            "addresses": [
                {
                    "ip": "192.0.2.1",
                    "port": addresses.get(f"t{i}", 5060),
                    "transport": "udp",
                    "expires_at": NOW + 1,
                    "exact": False,
                }
            ],
        }
        for i in range(size)
    ]


def a_call(user: str, port: int = 5060) -> Call:
    return {
        "ip": "192.0.2.1",
        "port": port,
        "transport": "udp",
        "user": user,
        "line": "",
        "p_called_party_id": None,
        "to": None,
    }


@pytest.mark.parametrize("user", ["+44200000417", "acct417", "token417"])
def test_gather_of_a_crowd_finds_the_named_trunk_and_reads_few(
    db: sqlite3.Connection, user: str
) -> None:
    fill(db, crowd(1000))
    request = asked(a_call(user))
    evidence = seen(db, request)
    assert decided(request, evidence) == ("identified", "t417")
    assert len(evidence.trunks) <= 3


def test_gather_of_a_crowd_finds_the_called_prefix(
    db: sqlite3.Connection,
) -> None:
    world = crowd(1000)
    for trunk in world:
        trunk["numbers"] = [trunk["numbers"][0] + "*"]
    fill(db, world)
    for called in ("+4420000041799", "44 20 0000417", "0044200000417-1"):
        request = asked(a_call(called))
        evidence = seen(db, request)
        assert decided(request, evidence) == ("identified", "t417")
        assert len(evidence.trunks) <= 3


def test_gather_of_a_crowd_finds_the_trunk_of_the_port(
    db: sqlite3.Connection,
) -> None:
    fill(db, crowd(1000, t999=5080))
    request = asked(a_call("nobody", port=5080))
    assert decided(request, seen(db, request)) == ("identified", "t999")


@pytest.mark.parametrize("port", [5060, 5080])
def test_gather_of_a_crowd_finds_the_fallback(db: sqlite3.Connection, port: int) -> None:
    world = crowd(1000)
    world[999]["fallback"] = True
    fill(db, world)
    request = asked(a_call("nobody", port))
    evidence = seen(db, request)
    assert decided(request, evidence) == ("identified", "t999")
    assert len(evidence.trunks) <= 3


def test_gather_of_a_crowd_finds_a_second_fallback(db: sqlite3.Connection) -> None:
    world = crowd(1000)
    world[0]["fallback"] = world[999]["fallback"] = True
    fill(db, world)
    request = asked(a_call("nobody"))
    assert decided(request, seen(db, request)) == ("refused", "ambiguous")


def test_gather_of_a_crowd_finds_the_fallback_of_the_port(db: sqlite3.Connection) -> None:
    world = crowd(1000, t500=5080, t501=5080, t502=5080)
    for i in (3, 4, 5, 502):
        world[i]["fallback"] = True
    fill(db, world)
    request = asked(a_call("nobody", port=5080))
    assert decided(request, seen(db, request)) == ("identified", "t502")


def work(db: sqlite3.Connection, request: Request) -> int:
    """Return how many tens of steps SQLite takes for the query."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    seen(db, request)  # SQLite prepares the statement
    db.set_progress_handler(count, 10)
    seen(db, request)
    db.set_progress_handler(None, 0)
    return steps


@pytest.mark.slow
@pytest.mark.parametrize("fallbacks", [0, 1, 2000])
@pytest.mark.parametrize("prefixes", [0, 1])
def test_gather_of_5000_trunks_needs_the_work_of_three(
    db: sqlite3.Connection, fallbacks: int, prefixes: int
) -> None:
    worked: list[dict[str, int]] = []
    for size in (3, 5000):
        world = crowd(size)
        for trunk in world[:fallbacks]:
            trunk["fallback"] = True
        if prefixes:
            for trunk in world:
                trunk["numbers"] = [trunk["numbers"][0][:-1] + "*"]
        fill(db, world)
        users = ("+44200000001", "acct1", "token1", "nobody")
        worked.append({user: work(db, asked(a_call(user))) for user in users})
    few, many = worked
    for user in few:
        # ten of the 5000 share the called prefix
        assert many[user] <= few[user] * 1.25 + 30, (user, worked)


def test_gather_counts_two_addresses_of_a_trunk_once(db: sqlite3.Connection) -> None:
    [trunk] = crowd(1)
    trunk["addresses"].append({**trunk["addresses"][0], "port": 5080})
    fill(db, [trunk])
    request = asked(a_call("nobody", port=9))
    assert decided(request, seen(db, request)) == ("identified", "t0")


def test_gather_for_an_explanation_reads_more_of_a_crowd(db: sqlite3.Connection) -> None:
    fill(db, crowd(50))
    request = asked(a_call("nobody"))
    decision = identify(request, seen(db, request, others=20), NOW)
    assert isinstance(decision, Refused)
    assert len(decision.candidates) == 20


@pytest.mark.parametrize("what", [{"transport": "tls"}, {"exact": True, "port": 9}])
@pytest.mark.parametrize("ip", ["192.0.2.1", "192.0.2.0/24"])
def test_gather_finds_the_candidate_among_those_that_are_none(
    db: sqlite3.Connection, what: dict[str, Any], ip: str
) -> None:
    world = crowd(300)
    for trunk in world:
        trunk["addresses"][0].update(ip=ip, **what)
    world[299]["addresses"][0].update(transport="udp", exact=False)
    fill(db, world)
    request = asked(a_call("nobody", port=5080))
    assert decided(request, seen(db, request)) == ("identified", "t299")
    assert len(seen(db, request).trunks) == 1


def test_gather_counts_two_networks_of_a_trunk_once(db: sqlite3.Connection) -> None:
    [trunk] = crowd(1)
    [address] = trunk["addresses"]
    for network in ("192.0.2.0/24", "192.0.2.0/28"):
        trunk["addresses"].append({**address, "ip": network, "port": None})
    fill(db, [trunk])
    request = asked(a_call("nobody", port=9))
    assert decided(request, seen(db, request)) == ("identified", "t0")


def test_gather_in_one_network_finds_the_named_trunk(
    db: sqlite3.Connection,
) -> None:
    world = crowd(1000)
    for trunk in world:
        trunk["addresses"][0]["ip"] = "192.0.2.0/28"
    fill(db, world)
    for user in ("+44200000417", "acct417", "token417"):
        request = asked(a_call(user))
        evidence = seen(db, request)
        assert decided(request, evidence) == ("identified", "t417")
        assert len(evidence.trunks) <= 3


def test_gather_uses_indexes_and_copies_few_rows(
    db: sqlite3.Connection,
) -> None:
    plan: list[str] = []

    def explain(query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        explained = db.execute(f"EXPLAIN QUERY PLAN {query}", parameters)
        plan.extend(str(row[3]) for row in explained)
        return []

    gather(asked(a_call("+442071234567")), NOW, explain)
    searches = [line for line in plan if line.startswith("SEARCH")]
    assert len(searches) > 20 and all(re.search("USING .*(INDEX|KEY)", line) for line in searches)
    # SQLite scans only small sets: the named trunks (w), and the lengths of prefixes (p). It also
    # scans the ip with the networks that hold it (h, k), which it copies once.
    scans = {line for line in plan if line.startswith("SCAN") and "(subquery-" not in line}
    places = {"SCAN CONSTANT ROW", "SCAN h", "SCAN h LEFT-JOIN", "SCAN k"}
    assert scans == {"SCAN p", "SCAN w", *places}
    assert {line for line in plan if line.startswith("MATERIALIZE")} == {"MATERIALIZE h"}
    assert not any(word in line for line in plan for word in ("TEMP", "LIST", "AUTOMATIC"))
