"""Phones, callers and registrars that are SIPp processes."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from testkit.network import SIP_PORT, udp_bound
from testkit.process import Process
from testkit.sip import Address, Endpoint, Headers, Message
from testkit.wait import PATIENCE_S, eventually

Behaviour = Literal["answers", "hangs_up", "rings", "busy"] | int
"""What a phone does with a call.

It answers and waits for the BYE; answers and sends the BYE; rings until a CANCEL; answers 486
(`busy`); or answers with this status.
"""

_SCENARIOS = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "scenarios"),
    undefined=StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
)

_REFUSALS = (
    *(300, 301, 302, 305, 380),
    *(400, 401, 402, 403, 404, 405, 406, 407, 408, 410, 413, 414, 415, 416, 420, 421, 423, 429),
    *(433, 436, 437, 438, 480, 481, 482, 483, 484, 485, 486, 487, 488, 491, 493, 494),
    *(500, 501, 502, 503, 504, 505, 513, 580, 600, 603, 604, 606, 607, 608),
)
_GIVES_UP_S = 120.0
_TALK_MS = 20  # a BYE just behind its ACK may overtake it in another worker


@dataclass(frozen=True)
class Outcome:
    """The result of one call. *status*: the final status of the INVITE, or None.

    *complete*: the whole scenario succeeded, with the BYE.
    """

    status: int | None
    complete: bool
    sent: list[Message]
    received: list[Message]


@dataclass(frozen=True)
class Load:
    """The result of many calls. A successful call was answered and ended by a BYE."""

    successful: int
    failed: int


class Call:
    """A call that has begun."""

    def __init__(self, process: Process, trace: Path) -> None:
        self.process = process
        self._trace = trace

    @property
    def sent(self) -> list[Message]:
        return [message for direction, message in read_trace(self._trace) if direction == "sent"]

    @property
    def received(self) -> list[Message]:
        return [
            message for direction, message in read_trace(self._trace) if direction == "received"
        ]

    @property
    def status(self) -> int | None:
        """The final status of the INVITE, or None before it arrives."""
        return next((status for status in self._statuses() if status >= 200), None)

    def wait_for(self, status: int, within_s: float = PATIENCE_S) -> None:
        """Wait for this status of the INVITE."""
        eventually(lambda: status in self._statuses(), within_s, f"{status} for the INVITE")

    def outcome(self, within_s: float = _GIVES_UP_S) -> Outcome:
        """Wait for the end of the call, and return its result."""
        ended_well = self.process.wait(within_s) == 0
        return Outcome(self.status, ended_well, self.sent, self.received)

    def vanish(self) -> None:
        """Kill the caller, so that it sends nothing more."""
        self.process.kill()

    def _statuses(self) -> list[int]:
        return [m.status for m in self.received if m.is_reply and m.method == "INVITE"]


class Caller:
    """A caller at one address. Each call has a port of its own, unless *port* is given."""

    def __init__(
        self, ip: str, edge: Address, directory: Path, *, name: str = "caller", port: int = 0
    ) -> None:
        self.name = name
        self.ip = ip
        self.edge = edge
        self.processes: list[Process] = []
        self._port = port
        self._directory = directory
        self._numbers = count(1)

    def call(
        self,
        request_uri: str,
        *,
        expect: int | None = None,
        to: str | None = None,
        from_uri: str = "sip:caller@caller.example",
        headers: Headers = (),
        call_id: str | None = None,
        cancel_after_s: float | None = None,
        talk_s: float = 0,
        hung_up_by: Literal["caller", "phone"] = "caller",
        max_forwards: int = 70,
        within_s: float = _GIVES_UP_S,
    ) -> Outcome:
        """Make a call, and wait for its end. With *expect*, another status is an AssertionError."""
        call = self.dial(
            request_uri,
            to=to,
            from_uri=from_uri,
            headers=headers,
            call_id=call_id,
            cancel_after_s=cancel_after_s,
            talk_s=talk_s,
            hung_up_by=hung_up_by,
            max_forwards=max_forwards,
        )
        outcome = call.outcome(within_s)
        if expect is not None:
            conversation = "\n".join(map(str, [*outcome.sent[:1], *outcome.received]))
            assert outcome.status == expect, (
                f"{request_uri}: {outcome.status}, not {expect}:\n{conversation}"
            )
            assert outcome.complete, f"{request_uri}: did not end well:\n{call.process.log}"
        return outcome

    def dial(
        self,
        request_uri: str,
        *,
        to: str | None = None,
        from_uri: str = "sip:caller@caller.example",
        headers: Headers = (),
        call_id: str | None = None,
        cancel_after_s: float | None = None,
        talk_s: float = 0,
        hung_up_by: Literal["caller", "phone"] = "caller",
        max_forwards: int = 70,
    ) -> Call:
        """Begin a call, and return it at once."""
        number = next(self._numbers)
        stem = self._directory / f"{self.name}-{number}"
        scenario = _scenario(
            "caller.xml.j2",
            stem,
            request_uri=request_uri,
            to_uri=to or request_uri,
            from_uri=from_uri,
            headers=list(headers),
            refusals=_REFUSALS,
            cancel_after_ms=None if cancel_after_s is None else int(cancel_after_s * 1000),
            talk_ms=max(_TALK_MS, int(talk_s * 1000)),
            hung_up_by=hung_up_by,
            max_forwards=max_forwards,
        )
        options = ["-cid_str", call_id] if call_id else []
        # SIPp ignores messages that overtook others: a 180 may arrive after its 200.
        options += ["-default_behaviors", "all,-abortunexp"]
        argv = [*self._argv(number, scenario), *_tracing(stem), "-m", "1", *options]
        return Call(self._start(argv, stem), _trace_file(stem))

    def load(
        self,
        request_uris: Sequence[str],
        calls: int,
        rate: float,
        *,
        at_once: int = 1000,
        within_s: float = _GIVES_UP_S,
    ) -> Load:
        """Make many calls, *rate* a second, to the URIs in turn, without a trace."""
        assert not any(";" in uri for uri in request_uris), "SIPp splits its values at semicolons"
        number = next(self._numbers)
        stem = self._directory / f"{self.name}-{number}"
        values = stem.with_suffix(".csv")
        values.write_text("\n".join(["SEQUENTIAL", *request_uris, ""]), "ascii")
        scenario = _scenario(
            "caller.xml.j2",
            stem,
            request_uri="[field0]",
            to_uri="[field0]",
            from_uri="sip:caller@caller.example",
            headers=[],
            refusals=(),
            cancel_after_ms=None,
            talk_ms=0,
            hung_up_by="caller",
            max_forwards=70,
        )
        statistics = stem.with_suffix(".stat")
        argv = [
            *self._argv(number, scenario),
            *("-inf", values, "-trace_stat", "-stf", statistics, "-fd", "1"),
            *("-m", str(calls), "-r", str(rate), "-l", str(at_once)),
        ]
        self._start(argv, stem).wait(within_s)
        return _load(statistics)

    def close(self) -> None:
        """Kill the calls that have not ended."""
        for process in self.processes:
            process.kill()

    def _argv(self, number: int, scenario: Path) -> list[str | Path]:
        port = self._port or SIP_PORT + 1000 + number
        edge = f"{self.edge[0]}:{self.edge[1]}"
        return [*_sipp(scenario, self.ip, port), "-timeout", f"{_GIVES_UP_S:g}s", edge]

    def _start(self, argv: Sequence[str | Path], stem: Path) -> Process:
        process = Process(stem.name, argv, stem.with_suffix(".log"))
        self.processes.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Phone:
    """A phone: it registers its address at the edge, and then takes calls there.

    A raw endpoint registers, from the address and port that SIPp binds afterwards. Without an
    *edge* the phone does not register.
    """

    def __init__(
        self,
        user: str,
        ip: str,
        directory: Path,
        *,
        password: str = "",
        domain: str = "",
        edge: Address | None = None,
        port: int = SIP_PORT,
        behaviour: Behaviour = "answers",
        rings_for_s: float = 0,
        expires_s: int = 3600,
        trace: bool = True,
    ) -> None:
        """Register, and start SIPp. Without *trace*, for benchmarks, `calls()` is empty."""
        self.name = f"phone-{user}"
        self.user = user
        self.address = (ip, port)
        self._directory = directory
        self._password = password
        self._domain = domain
        self._edge = edge
        self._rings_for_s = rings_for_s
        self._trace = trace
        if edge:
            self._register(expires_s)
        self.process = self._start(behaviour)

    @property
    def uri(self) -> str:
        """The URI of the phone itself, without a proxy."""
        return f"sip:{self.user}@{self.address[0]}:{self.address[1]}"

    def calls(self) -> list[Message]:
        """Return the INVITEs that it received, without retransmissions."""
        invites = [m for m in self.received() if m.start_line.startswith("INVITE ")]
        return list({(m.call_id, m["CSeq"], m["Via"]): m for m in invites}.values())

    def received(self) -> list[Message]:
        """Return all messages that it received, in order."""
        trace = read_trace(_trace_file(self._directory / self.name))
        return [message for direction, message in trace if direction == "received"]

    def behave(self, behaviour: Behaviour) -> None:
        """Change the behaviour. Current calls are dropped; `calls()` keeps all calls."""
        self.process.kill()
        self.process = self._start(behaviour)

    def register(self, expires_s: int = 3600) -> None:
        """Register again, or unregister with 0. Current calls are dropped."""
        self.process.kill()
        self._register(expires_s)
        self.process = self._start(self._behaviour)

    def close(self) -> None:
        """Kill SIPp. The registration stays."""
        self.process.kill()

    def _register(self, expires_s: int) -> None:
        assert self._edge, f"{self.name} has no edge to register at"
        with Endpoint(*self.address) as endpoint:
            answer = endpoint.register(
                self._edge, self.user, self._password, self._domain, expires_s=expires_s
            )
        assert answer.status == 200, f"{self.name} was not registered:\n{answer}"

    def _start(self, behaviour: Behaviour) -> Process:
        self._behaviour: Behaviour = behaviour
        stem = self._directory / self.name
        status = 486 if behaviour == "busy" else behaviour if isinstance(behaviour, int) else 0
        scenario = _scenario(
            "phone.xml.j2",
            stem,
            behaviour="refuses" if status else behaviour,
            status=status,
            rings_for_ms=int(self._rings_for_s * 1000),
        )
        tracing = _tracing(stem) if self._trace else []
        argv = [*_sipp(scenario, *self.address), "-aa", *tracing]
        process = Process(self.name, argv, stem.with_suffix(".log"))

        def ready() -> bool:
            if not process.running:
                raise ChildProcessError(f"{self.name} ended; its log:\n{process.log}")
            return udp_bound(*self.address)

        eventually(ready, what=f"{self.name} listens")
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Verifier:
    """A SIPp registrar that challenges (MD5), verifies the response, and answers 200 or 403.

    It takes one registration. SIPp's own `verifyauth` verifies the response.
    """

    def __init__(
        self, ip: str, directory: Path, *, name: str, user: str, password: str, qop: bool
    ) -> None:
        self.name = name
        self.address = (ip, SIP_PORT)
        stem = directory / name
        scenario = _scenario("verifier.xml.j2", stem, user=user, password=password, qop=qop)
        argv = [*_sipp(scenario, *self.address), *_tracing(stem), "-m", "1"]
        self.process = Process(name, argv, stem.with_suffix(".log"))
        eventually(lambda: udp_bound(*self.address), what=f"{name} listens")

    def close(self) -> None:
        self.process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_trace(trace: Path) -> list[tuple[str, Message]]:
    """Return ("sent" or "received", message) for each whole message in a SIPp trace."""
    with suppress(FileNotFoundError):
        return list(_messages(trace.read_bytes()))
    return []


def _messages(trace: bytes) -> Iterator[tuple[str, Message]]:
    heading = re.compile(rb"^UDP message (sent|received) [(\[](\d+)\]? bytes\)? ?:\n\n", re.M)
    at = 0
    while found := heading.search(trace, at):
        at = found.end() + int(found[2])
        if at > len(trace):  # SIPp is still writing this one
            return
        yield found[1].decode(), Message.parse(trace[found.end() : at])


def _load(statistics: Path) -> Load:
    with statistics.open(encoding="ascii", errors="replace") as lines:
        rows = list(csv.DictReader(lines, delimiter=";"))
    return Load(int(rows[-1]["SuccessfulCall(C)"]), int(rows[-1]["FailedCall(C)"]))


def _scenario(template: str, stem: Path, **values: object) -> Path:
    path = stem.with_suffix(".xml")
    path.write_text(_SCENARIOS.get_template(template).render(**values).lstrip(), "utf-8")
    return path


def _sipp(scenario: Path, ip: str, port: int) -> list[str | Path]:
    here = ["-i", ip, "-mi", ip, "-ci", ip, "-p", str(port)]
    return ["sipp", "-sf", scenario, *here, "-nostdin"]


def _tracing(stem: Path) -> list[str | Path]:
    return [
        *("-trace_msg", "-message_file", _trace_file(stem), "-message_overwrite", "false"),
        *("-trace_err", "-error_file", stem.with_suffix(".errors")),
    ]


def _trace_file(stem: Path) -> Path:
    return stem.with_suffix(".messages")
