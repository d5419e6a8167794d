"""Kamailio with the fast path gives the same results as without it.

The fast path is that of known answers, and of dialogs of the simple form.

Two Kamailios get the same messages, and the same changes of their directories. All that arrives at
any machine is compared, and each report to the agent. WHENCE_CASES says how many requests are
sent; WHENCE_SEED repeats the era of a failure.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from random import Random

import pytest

from testkit.wait import eventually
from tests.contract.equivalence.calls import Recent
from tests.contract.equivalence.changes import Changes
from tests.contract.equivalence.nodes import Node
from tests.contract.equivalence.story import Seen, Story, plain_text
from tests.contract.known_calls import look_out_pid
from tests.contract.public_world import PublicNetwork
from whence.core.dialogs.arrival import Arrival
from whence.ipc.decisions import DecisionReport

CASES = int(os.environ.get("WHENCE_CASES", "2000"))
OF_AN_ERA = 10_000
"""After so many requests, both Kamailios are new."""

STORIES_WITHOUT_CHANGE = 6


class Era:
    """Two Kamailios, and what they did."""

    def __init__(self, nodes: Sequence[Node], seed: int) -> None:
        self._nodes = nodes
        self._dice = Random(seed)
        self._changes = Changes(self._dice, nodes)
        self._reports: list[Counter[DecisionReport]] = [Counter(), Counter()]
        self._recent: Recent = ()
        self._look_out = look_out_pid(nodes[0].world)
        self.counts: Counter[str] = Counter()

    def run(self, cases: int) -> None:
        """Run stories until so many requests were sent."""
        self._changes.begin()
        done = 0
        while self.counts["sent"] < cases:
            self._changes.wait()
            self._story(self._dice.randrange(2**40))
            done += 1
            if done % STORIES_WITHOUT_CHANGE == 0:
                self.counts[self._changes.change().partition(" ")[0]] += 1
        self._compare_reports()

    def _story(self, seed: int) -> None:
        stories = [Story(node, seed, self._recent) for node in self._nodes]
        fast, slow = (story.run() for story in stories)
        assert len(fast) == len(slow)
        for number, (one, other) in enumerate(zip(fast, slow, strict=True)):
            assert one == other, (
                f"story {seed}, phase {number}:\n{_difference(one, other, stories)}"
            )
            self.counts["arrived"] += sum(map(len, one.values()))
        self._recent = stories[0].recent
        self.counts["sent"] += len(stories[0].sent)
        self.counts["far"] += stories[0].far
        self._take_reports()

    def _take_reports(self) -> None:
        for number, node in enumerate(self._nodes):
            for report in node.reports():
                if number == 0 and node.agent.sender == self._look_out:
                    self.counts["known"] += 1
                elif number == 1:
                    self.counts[str(report.kind)] += 1
                self._reports[number][_plain(report)] += 1

    def _compare_reports(self) -> None:
        def are_all_there() -> bool:
            self._take_reports()
            fast, slow = (one.total() for one in self._reports)
            return fast >= slow

        eventually(are_all_there, what="all reports")
        fast, slow = self._reports
        assert [node.agent.dropped for node in self._nodes] == [0, 0]
        only_fast, only_slow = list((fast - slow).elements()), list((slow - fast).elements())
        assert (only_fast, only_slow) == ([], []), f"{only_fast}\nnot\n{only_slow}"
        self.counts["reports"] += fast.total()


def _plain(report: DecisionReport) -> DecisionReport:
    """Return a report without its time, its way, and the cookies in its texts."""
    return replace(
        report,
        arrival=Arrival(0),
        sender=report.sender._replace(uri=plain_text(report.sender.uri)),
        target=plain_text(report.target),
        from_cache=False,
        ruri=plain_text(report.ruri),
        to=plain_text(report.to or ""),
        p_called_party_id=plain_text(report.p_called_party_id or ""),
        headers=plain_text(report.headers),
        call_id=plain_text(report.call_id),
    )


_CALL_ID = re.compile(rb"(?im)^(?:call-id|i)\s*:\s*([^\r\n]+)")


def _difference(fast: Seen, slow: Seen, stories: Sequence[Story]) -> str:
    lines: list[str] = []
    calls: set[bytes] = set()
    for name in sorted({*fast, *slow}):
        one, other = fast.get(name, frozenset()), slow.get(name, frozenset())
        lines += [f"{name}, with the fast path only: {data!r}" for data in sorted(one - other)]
        lines += [f"{name}, without it only: {data!r}" for data in sorted(other - one)]
        calls.update(found for data in one ^ other for found in _CALL_ID.findall(data))
    for which, story in zip(("with", "without"), stories, strict=True):
        lines += [
            f"sent, {which}: {shot.sender} {shot.data!r}"
            for shot in story.sent
            if any(call in shot.data for call in calls)
        ]
    return "\n".join(lines)


def run_era(folder: Path, seed: int, cases: int) -> Counter[str]:
    """Start two Kamailios, and run stories of this seed."""
    with ExitStack() as stack:
        block = stack.enter_context(PublicNetwork(IPv4Network("198.18.1.0/24")))
        sockets = 1 + seed % 2
        nodes = [
            stack.enter_context(Node(folder / name, block, fast=name == "fast", sockets=sockets))
            for name in ("fast", "slow")
        ]
        era = Era(nodes, seed)
        era.run(cases)
        return era.counts


@pytest.mark.slow
def test_fast_path_gives_the_results_of_the_slow_one(tmp_path: Path) -> None:
    first = int(os.environ.get("WHENCE_SEED", Random().randrange(2**40)))
    counts: Counter[str] = Counter()
    for number in range(-(-CASES // OF_AN_ERA)):
        seed = first + number
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            counts += run_era(folder, seed, min(CASES, OF_AN_ERA))
        except BaseException as error:
            error.add_note(f"repeat it with WHENCE_SEED={seed}; so far {counts}")
            raise
        print(f"{seed}: {dict(counts)}", flush=True)
    assert counts["known"] > counts["sent"] // 20, counts
    assert counts["arrived"] > counts["sent"] // 2, counts
    assert counts["far"] > counts["sent"] // 200, counts
