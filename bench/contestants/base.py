"""What all contestants share: a stage, a phone, callers, and the reading of their CPU time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import ClassVar, Self

from bench.layout import Layout, Pattern, calls
from bench.load import Callers, phone
from bench.processes import ProcessesChangedError, cpu
from bench.registrar import Registrar
from bench.rounds import InvalidError
from testkit.network import SIP_PORT, Network, udp_bound
from testkit.process import Process
from testkit.sip import Address, Endpoint
from testkit.wait import eventually

USER = "alice"
READY_WITHIN_S = 300
QUIET_S = 2.0
"""Without a REGISTER for so long, no answer is under way."""
CALLERS_PORT = 20_000


@dataclass(frozen=True, slots=True)
class Stage:
    """The place of some contestants.

    *registrar*: where they register; None if they register nothing. *workers*: UDP workers of each.
    """

    network: Network
    directory: Path
    layout: Layout
    registrar: Registrar | None = None
    workers: int = 2
    ports: Iterator[int] = field(default_factory=lambda: count(CALLERS_PORT))

    def at(self) -> Registrar:
        """Return the registrar."""
        assert self.registrar, "this stage has no registrar"
        return self.registrar


class Contestant(ABC):
    """A program. `launched()` starts it only; `serving()` also gives it a phone for its calls."""

    key: ClassVar[str]
    title: str
    process: Process
    registers: ClassVar[bool] = False
    """Whether it registers the trunks of the layout at the registrar."""

    def __init__(self, stage: Stage, name: str = "") -> None:
        self.stage = stage
        self.name = name or self.key
        self.edge: Address = (stage.network.ip(self.name), SIP_PORT)
        self.phone_ip = stage.network.ip(f"phone of {self.name}")
        self.home = stage.directory / self.name
        self.home.mkdir()
        self._port = next(stage.ports)
        self._callers: dict[Pattern, Callers] = {}

    @abstractmethod
    def launch(self, stack: ExitStack) -> Process:
        """Start it, and return at once."""

    def settle(self) -> None:
        """Wait until its start is over."""

        def listens() -> bool:
            self.check()
            return udp_bound(*self.edge)

        eventually(listens, READY_WITHIN_S, f"{self.title} listens")

    @abstractmethod
    def admit(self) -> None:
        """Let it admit calls from the addresses of the layout, and learn its phone."""

    @contextmanager
    def launched(self) -> Iterator[Self]:
        """Run it, from its launch on."""
        with ExitStack() as stack:
            self.process = self.launch(stack)
            yield self

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """Run it with its trunks registered, and with a phone that answers all calls."""
        before = self.stage.at().count().registered if self.registers else 0
        with self.launched():
            self.settle()
            if self.registers:
                self._await_registered(before + self.stage.layout.trunks)
            self.admit()
            with phone(self.phone_ip, self.home):
                yield self

    def carry(
        self, number: int, rate: float, pattern: Pattern = "all", *, warm_up: bool = False
    ) -> None:
        """Let it carry calls, *rate* a second. Raises: InvalidError as `Callers.load` does."""
        if pattern not in self._callers:
            order = calls(self.stage.layout, pattern)
            name = f"calls-{pattern}"
            self._callers[pattern] = Callers(order, self.edge, self._port, self.home, name)
        try:
            self._callers[pattern].load(number, rate, warm_up=warm_up)
        except InvalidError as error:
            log = self.process.log[-600:]
            raise InvalidError(f"{self.title}: {error}; its log ends:\n{log}") from error

    def read(self, number: int, rate: float, pattern: Pattern = "all") -> dict[str, float]:
        """Let it carry calls; return role → CPU time in µs a call. Raises: InvalidError."""
        try:
            before = cpu(self.process)
            self.carry(number, rate, pattern)
            spent = cpu(self.process).since(before)
        except ProcessesChangedError as error:
            raise InvalidError(f"{self.title}: {error}") from error
        return {role: ns / 1e3 / number for role, ns in spent.items()}

    def register_phone(self, password: str = "", domain: str = "") -> None:
        """Register its phone at the edge, as the user alice."""
        with Endpoint(self.phone_ip, SIP_PORT) as ours:
            answer = ours.register(self.edge, USER, password, domain or self.edge[0])
        assert answer.status == 200, f"{self.title} did not register a phone:\n{answer}"

    def check(self) -> None:
        """Raise InvalidError if it has ended."""
        if not self.process.running:
            raise InvalidError(f"{self.title} ended; its log:\n{self.process.log[-3000:]}")

    def _await_registered(self, number: int) -> None:
        def registered() -> bool:
            self.check()
            return self.stage.at().count().registered >= number

        def quiet() -> bool:
            before = self.stage.at().count().seen
            time.sleep(QUIET_S)
            return registered() and self.stage.at().count().seen == before

        try:
            eventually(quiet, READY_WITHIN_S, f"all trunks of {self.title} registered")
        except AssertionError as error:
            error.add_note(f"{self.stage.at().count()}; its log ends:\n{self.process.log[-3000:]}")
            raise
