"""The edge, with SQLite and its decision cache, decides as a slow oracle does.

A run generates trunks, calls and changes: time passes, addresses are added and removed, trunks
change. After each change the edge decides a call, and the oracle computes the expected decision.
A failure names the seed of its run; WHENCE_SEED=seed repeats that run.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from tests.unit.core.identification.world import (
    NOW,
    TOKENS,
    Call,
    World,
    may_come,
    oracle,
    some_address,
    some_call,
    some_trunk,
)
from tests.unit.store.tables import fill
from whence.core.identification.decision import Identified, Refused
from whence.edge.base import read
from whence.edge.decision_cache import CachedDecision, CacheKey, DecisionCache
from whence.store.connection import GenerationWriter as AgentsGeneration
from whence.store.generation import GenerationReader
from whence.store.lookup import decide
from whence.store.migrate import read_schema
from whence.store.schema import GENERATION_FILE

CASES = 200_000
EACH = 50
"""How many calls one run has."""

SEED = os.environ.get("WHENCE_SEED")
PARTS = 1 if SEED else 10
"""How many tests share the runs, so that each is short on a busy machine."""

Outcome = tuple[str, str | None]


@pytest.fixture
def generation(tmp_path: Path) -> Iterator[AgentsGeneration]:
    made = AgentsGeneration(tmp_path / GENERATION_FILE)
    yield made
    made.close()


class Edge:
    """Decides calls as a worker does in `edge/inbound.py`."""

    def __init__(self, db: sqlite3.Connection, generation: Path) -> None:
        self._db = db
        self._cache = DecisionCache(GenerationReader(generation))
        self.cached = False
        """Whether the last decision was cached."""

    def decide(self, key: CacheKey, now: float) -> Outcome:
        known = self._cache.get(key, now)
        self.cached = known is not None
        if known is not None:
            return "identified", known.trunk
        request = read(key)
        assert request is not None
        decision, evidence = decide(request, now, self._fetch)
        if isinstance(decision, Identified):
            until = evidence.good_until(now)
            trunk_id = decision.trunk.id
            self._cache.keep(key, CachedDecision(trunk_id, decision.rule, "", "", True, until, ""))
            return "identified", trunk_id
        return ("refused", decision.reason) if isinstance(decision, Refused) else ("unknown", None)

    def _fetch(self, query: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._db.execute(query, parameters).fetchall()


def cache_key(call: Call) -> CacheKey:
    """Return the parts of a call as Kamailio passes them."""
    at = "@" if call["user"] else ""
    line = f";line={call['line']}" if call["line"] else ""
    to, called = call["to"], call["p_called_party_id"]
    ip = f"[{call['ip']}]" if ":" in call["ip"] else call["ip"]
    return CacheKey(
        f"{call['transport']}:{ip}:{call['port']}",
        f"sip:{quote(call['user'])}{at}edge.example{line}",
        None if to is None else f"sip:{quote(to)}@edge.example",
        None if called is None else f'"x" <sip:{quote(called)}@edge.example;user=phone>',
        "\n".join(
            f'{header}: "x, y" <sip:{quote(call[field])}@edge.example>;reason=unconditional'
            for header, field in (("diversion", "diversion"), ("x-called", "x_called"))
            if call[field] is not None
        ),
    )


def change(world: World, dice: Random) -> None:
    """Change one of the trunks at random."""
    i = dice.randrange(len(world))
    trunk = world[i]
    kind = dice.choice(["replace", "add", "remove", "extend"])
    if kind == "replace" or not trunk["addresses"]:
        world[i] = some_trunk(dice, i)
    elif kind == "add":
        new = some_address(dice)
        place = (new["ip"], new["port"], new["transport"])
        if all((a["ip"], a["port"], a["transport"]) != place for a in trunk["addresses"]):
            trunk["addresses"].append(new)
    elif kind == "remove":
        trunk["addresses"].pop(dice.randrange(len(trunk["addresses"])))
    else:
        dice.choice(trunk["addresses"])["expires_at"] = NOW + 900


def run(
    seed: int, db: sqlite3.Connection, generation: AgentsGeneration, path: Path
) -> Counter[str]:
    """Run one seed, and count the decisions by kind."""
    dice = Random(seed)
    world = [some_trunk(dice, i) for i in range(dice.randint(1, len(TOKENS)))]
    calls = [some_call(dice) for _ in range(12)]
    now, outcomes = NOW, Counter[str]()
    edge = Edge(db, path)
    fill(db, world)
    generation.move()
    for _ in range(EACH):
        chance = dice.random()
        if chance < 0.08:
            generation.move()
            change(world, dice)
            fill(db, world)
            generation.move()
        elif chance < 0.2:
            now += dice.choice([0.25, 0.5, 1.0])
        call = dice.choice(calls)
        if chance > 0.9:
            call = calls[dice.randrange(len(calls))] = some_call(dice)
        decided = edge.decide(cache_key(call), now)
        assert decided == oracle(world, call, now), (now - NOW, call, world)
        if decided[0] == "identified":
            (trunk,) = (t for t in world if t["id"] == decided[1])
            assert trunk["enabled"]
            assert may_come(trunk, call, now)
        outcomes[decided[0] if decided[0] != "refused" else str(decided[1])] += 1
        outcomes["known"] += edge.cached
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_edge_in_200000_cases_decides_as_the_oracle(
    generation: AgentsGeneration, tmp_path: Path, part: int
) -> None:
    cases = CASES // PARTS
    first = int(SEED or Random().randrange(2**40))
    runs = 1 if SEED else cases // EACH
    outcomes = Counter[str]()
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.executescript(read_schema())
    for seed in range(first, first + runs):
        try:
            outcomes += run(seed, db, generation, tmp_path / GENERATION_FILE)
        except BaseException as error:
            error.add_note(f"the seed of this run: WHENCE_SEED={seed}")
            raise
    db.close()
    if runs > 1:  # each kind of decision occurred often
        for kind in ("identified", "unknown", "ambiguous", "number_of_another_trunk", "known"):
            assert outcomes[kind] > cases // 100, (part, outcomes)
        for kind in ("token_from_wrong_source", "unmatched"):
            assert outcomes[kind] > cases // 200, (part, outcomes)
