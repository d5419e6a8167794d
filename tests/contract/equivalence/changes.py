"""Changes of the directory, which both nodes get between two stories."""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

from testkit.network import SIP_PORT
from tests.contract.equivalence.calls import NUMBERS
from tests.contract.equivalence.nodes import Node

SHORT_S = 6.0
"""A short grant. Kamailio knows no answer in its last two seconds."""

MARGIN_S = 2.5
"""No story begins so shortly before a grant ends: the two nodes would decide at different times."""

AT = {"one": "shared", "two": "shared", "solo": "solo", "extra": "extra", "short": "short"}
"""Trunk → where its calls come from."""


class Changes:
    """Draws changes, and makes each at both nodes."""

    def __init__(self, dice: Random, nodes: Sequence[Node]) -> None:
        self._dice = dice
        self._nodes = nodes
        self._ends_at: float | None = None
        self._allowed = False

    def begin(self) -> None:
        """Make the trunks."""
        for id_ in AT:
            self._put(id_)

    def change(self) -> str:
        """Make one change, and return its name.

        While a grant is about to end, make none: it would void the answers that must end with it.
        """
        dice = self._dice
        if self._ends_at is not None:
            return "none"
        id_ = dice.choice(list(AT))
        kind = dice.choice(["put", "put", "remove", "grant", "short", "expired", "allow", "allow"])
        if kind == "put":
            self._put(id_)
        elif kind == "remove":
            for node in self._nodes:
                if _has(node, id_):
                    node.remove(id_)
        elif kind == "grant":
            self._learn(id_, 3600.0)
        elif kind == "expired":
            self._learn(id_, -1.0)
        elif kind == "short":
            self._ends_at = time.time() + SHORT_S
            self._learn(id_, SHORT_S)
        else:
            self._allow()
        return f"{kind} {id_}"

    def wait(self) -> None:
        """Return when no grant ends within the next story."""
        if self._ends_at is not None and self._ends_at - time.time() < MARGIN_S:
            time.sleep(max(0.0, self._ends_at - time.time()) + MARGIN_S)
            self._ends_at = None

    def _put(self, id_: str) -> None:
        dice, pbx = self._dice, self._nodes[0].pbx.address[0]
        target = dice.choice(
            [
                f"sip:{id_}@{pbx}:{SIP_PORT}",
                f"sip:{{number}}@{pbx}:{SIP_PORT}",
                "sip:alice@edge.example",
                "sip:alice@edge.example",
                "sip:absent@edge.example",
            ]
        )
        more: dict[str, object] = {"numbers": [self._number_of(id_)]}
        if id_ == "extra" and dice.random() < 0.7:
            more["number_headers"] = dice.choice(
                [["X-Dialled"], ["Diversion"], ["X-Dialled", "Diversion"]]
            )
        for node in self._nodes:
            node.put(id_, AT[id_], target, **more)

    def _number_of(self, id_: str) -> str:
        own = NUMBERS[list(AT).index(id_)]
        return own[:-1] + "*" if self._dice.random() < 0.1 else own

    def _learn(self, id_: str, granted_s: float) -> None:
        for node in self._nodes:
            if _has(node, id_):
                node.learn(id_, AT[id_], granted_s)

    def _allow(self) -> None:
        for node in self._nodes:
            if not _has(node, "solo"):
                continue
            if self._allowed:
                node.revoke("solo", "guest")
            else:
                node.allow("solo", "guest")
        self._allowed = not self._allowed


def _has(node: Node, id_: str) -> bool:
    return any(trunk.id == id_ for trunk in node.books.settings.trunk)
