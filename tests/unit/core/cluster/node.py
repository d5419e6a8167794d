"""A node of the model world: the loops that a shell runs around the rules."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.unit.core.cluster.database import Server
from whence.core.cluster import failsafe, lease
from whence.core.cluster.failsafe import Question
from whence.core.cluster.model import Held, Lease
from whence.core.cluster.rows import Change, Claim, Declare, HandOver, Reclaim

if TYPE_CHECKING:
    from tests.unit.core.cluster.world import World

TIMEOUT_S = 2.0
ANSWER_S = 0.4
STOP_S = 5.0

Steps = Generator[Any, Any, None]


class NoAnswerError(Exception):
    """The database did not answer in time."""


class Node:
    """One machine, and the process that runs on it."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        drift, random = world.setup.drift, world.random
        self.rate = 1 + random.uniform(-drift, drift)
        self.offset = random.uniform(0, 1e6)
        self.paused_until = 0.0
        self.life = 0
        self.up = False
        self.lease = Lease(name)
        self.answers: dict[int, dict[str, frozenset[int]]] = {}
        self.asked = 0

    def clock(self) -> float:
        return self.offset + self.rate * self.world.now

    def acting(self) -> dict[int, int]:
        """Return the slots on which this node may act now, with their terms."""
        if not self.up or self.world.now < self.paused_until:
            return {}
        now = self.clock()
        return {s: held.term for s, held in self.lease.held.items() if self.lease.may_act(s, now)}

    def start(self) -> None:
        if self.up:
            return
        self.life += 1
        self.up = True
        setup = self.world.setup
        self.lease = Lease(self.name, setup.durations, setup.slots)
        self._go(self._database_loop(), self.life)
        self._go(self._failsafe_loop(), self.life)

    def crash(self) -> None:
        self.up = False
        self.life += 1

    def pause(self, seconds: float) -> None:
        self.paused_until = self.world.now + seconds
        self.world.after(seconds, lambda: None)

    def stop(self) -> None:
        """Drain, and leave after `STOP_S`."""
        self.lease = replace(self.lease, draining=True)
        life = self.life
        self.world.after(STOP_S, lambda: self._leave(life))

    def _leave(self, life: int) -> None:
        server, epoch = self.world.server, self.lease.epoch
        if life != self.life or not self.up:
            return
        self.crash()
        if server and epoch is not None and self.world.reaches(self.name, "database"):
            self.world.after(self.world.delay_s(), lambda: self._left(server, epoch))

    def _left(self, server: Server, epoch: int) -> None:
        if server.alive:
            server.leave(self.name, epoch)
            server.commit(self.world.now)

    # What the shell does

    def _off(self, rule: str) -> bool:
        return rule in self.world.setup.off

    def _database_loop(self) -> Steps:
        while True:
            if server := self.world.server:
                with suppress(NoAnswerError):
                    yield from self._session(server)
            yield 0.2

    def _session(self, server: Server) -> Steps:
        yield server, lambda _: None
        self._connected(server)
        while True:
            yield from self._beat(server)
            yield self.world.random.uniform(0.0, self.lease.durations.beat_s)

    def _connected(self, server: Server) -> None:
        before = self.lease
        self.lease = lease.connected(before, self.clock(), str(server.timeline))
        if self._off("distrust"):
            self.lease = replace(self.lease, distrust_until=before.distrust_until)
        if self._off("counts_anew"):
            self.lease = replace(self.lease, seen=before.seen)

    def _beat(self, server: Server) -> Steps:
        if self.lease.epoch is None:
            epoch: int = yield server, lambda s: s.join(self.name)
            self.lease = lease.joined(self.lease, epoch)
        sent = self.clock()
        before = self.lease
        self.lease, named = lease.named(self.lease, sent)
        if self._off("names_when_sent"):
            self.lease = replace(self.lease, named=before.named)
        epoch = self.lease.epoch or 0
        draining = self.lease.draining
        rows = yield server, lambda s: s.beat(self.name, epoch, named, draining=draining)
        if rows is None:
            self.lease = lease.ended(self.lease)
            return
        if self._off("names_when_sent"):
            now_named = dict.fromkeys(named, self.clock())
            self.lease = replace(self.lease, named={**self.lease.named, **now_named})
        if self._off("counts_from_sent"):
            sent = self.clock()
        nodes, slots = rows
        if self._off("only_named_declare"):
            nodes = [replace(n, named=n.named | {self.name}) for n in nodes]
        held = self.lease.held
        self.lease, changes = lease.renewed(self.lease, sent, self.clock(), nodes, slots)
        if self._off("releases_first"):
            kept = {c.slot: held[c.slot] for c in changes if isinstance(c, HandOver)}
            self.lease = replace(self.lease, held={**self.lease.held, **kept})
        if self._off("reclaims"):
            self._hold_what_rows_say(sent, changes)
        for change in changes:
            yield from self._change(server, sent, epoch, change)

    def _hold_what_rows_say(self, sent: float, changes: tuple[Change, ...]) -> None:
        for change in changes:
            if isinstance(change, Reclaim):
                held = {s: Held(t, self.lease.ends(sent)) for s, t in change.terms.items()}
                self.lease = replace(self.lease, held={**self.lease.held, **held})

    def _change(self, server: Server, sent: float, epoch: int, change: Change) -> Steps:
        match change:
            case Declare(node):
                done: bool = yield server, lambda s: s.declare(change)
                self.world.outcome.declared += done
                self.lease = lease.declared(self.lease, node, done=done)
            case Claim(terms) | Reclaim(terms):
                former = self.name if isinstance(change, Reclaim) else None
                taken = yield server, lambda s: s.take(self.name, epoch, terms, former)
                self.lease = lease.claimed(self.lease, sent, taken)
            case HandOver():
                yield server, lambda s: s.hand_over(self.name, change)

    def _failsafe_loop(self) -> Steps:
        while True:
            yield self.lease.durations.beat_s / 2
            sent = self.clock()
            question = failsafe.question(self.lease, sent)
            if question is None:
                continue
            self.asked += 1
            asked = self.asked
            self.answers = {asked: {}}
            for peer in sorted(self._peers()):
                self._ask(peer, asked, question)
            yield ANSWER_S
            self._confirm(question, sent, self.answers.pop(asked, {}))

    def _ask(self, peer: str, number: int, question: Question) -> None:
        self._send(peer, lambda to: to.receive_question(self, number, question))

    def _peers(self) -> frozenset[str]:
        if self._off("asks_former_peers"):
            return frozenset(n.name for n in self.lease.nodes.values() if n.alive) - {self.name}
        return lease.peers(self.lease)

    def _confirm(self, question: Question, sent: float, answers: dict[str, frozenset[int]]) -> None:
        before = self.lease
        if self._off("asks_former_peers"):
            self.lease = replace(before, named=dict.fromkeys(self._peers(), sent))
        if self._off("needs_all_answers") and answers:
            self.lease = replace(before, named=dict.fromkeys(answers, sent))
        after = failsafe.confirmed(self.lease, question, sent, self.clock(), answers)
        self.lease = replace(after, named=before.named)

    def receive_question(self, other: Node, number: int, question: Question) -> None:
        before = self.lease
        if self._off("silent_after_declare"):
            self.lease = replace(self.lease, declared={})
        self.lease, slots = failsafe.answer(self.lease, question, self.clock())
        self.lease = replace(self.lease, declared=before.declared)
        if self._off("waits_after_answer"):
            self.lease = replace(self.lease, seen=before.seen)
        if slots is None:
            return
        if self._off("confirms_slots"):
            slots = frozenset(question.terms)
        answer = slots
        self._send(other.name, lambda to: to.receive_answer(self.name, number, answer))

    def receive_answer(self, sender: str, number: int, slots: frozenset[int]) -> None:
        if number in self.answers:
            self.answers[number][sender] = slots

    # How the world runs it

    def _send(self, to: str, message: Callable[[Node], None]) -> None:
        world = self.world
        if world.reaches(self.name, to):
            world.after(world.delay_s(), lambda: world.nodes[to].arrive(self.name, message))

    def arrive(self, sender: str, message: Callable[[Node], None]) -> None:
        world = self.world
        if not self.up or frozenset((sender, self.name)) in world.cuts:
            return
        if world.now < self.paused_until:
            wait_s = self.paused_until - world.now
            world.after(wait_s, lambda: self.arrive(sender, message))
            return
        message(self)

    def _go(
        self, steps: Steps, life: int, value: object = None, error: Exception | None = None
    ) -> None:
        """Run the steps up to their next wait: seconds, or a server and a statement."""
        world = self.world
        if life != self.life or not self.up:
            return
        if world.now < self.paused_until:
            wait_s = self.paused_until - world.now
            world.after(wait_s, lambda: self._go(steps, life, value, error))
            return
        wanted = steps.throw(error) if error else steps.send(value)
        if isinstance(wanted, float):
            world.after(wanted, lambda: self._go(steps, life))
        else:
            self._ask_database(steps, life, *wanted)

    def _ask_database(
        self, steps: Steps, life: int, server: Server, statement: Callable[[Server], object]
    ) -> None:
        """Send a statement. It may be executed although its answer is lost or late."""
        world = self.world
        done = False

        def reply(value: object, error: Exception | None = None) -> None:
            nonlocal done
            if not done:
                done = True
                self._go(steps, life, value, error)

        def come_back(value: object) -> None:
            if server.alive and world.reaches(self.name, "database"):
                reply(value)

        def execute() -> None:
            if not world.reaches(self.name, "database"):
                return
            if not server.alive:
                reply(None, NoAnswerError())
                return
            value = statement(server)
            server.commit(world.now)
            world.after(world.delay_s(), lambda: come_back(value))

        world.after(world.delay_s(), execute)
        world.after(TIMEOUT_S, lambda: reply(None, NoAnswerError()))
