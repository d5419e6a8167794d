"""`make bench-freshness`: how soon a newly learned address admits a call.

The bench is the registrar of all trunks. It answers some REGISTERs from a new address, and calls
from there repeatedly until a call is admitted.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from ipaddress import IPv4Address
from itertools import count, islice
from math import ceil
from pathlib import Path

from bench.registrar import DOMAIN
from bench.report import Circumstances, Goal, Report, Session
from testkit.network import SIP_PORT, Network
from testkit.sip import Address, Endpoint, Message, acknowledgement, reply, request
from testkit.whence import Whence

MOST_MS = 10.0
"""The goal for the 99th percentile, in ms."""
TRUNKS = 500
EXPIRES_S = 20
"""The agent refreshes at 70 to 80 % of it: about 33 trunks a second."""
PROBED = 5
"""Each fifth REGISTER is answered from a new address."""
RATE = 1000
FIRST = IPv4Address("127.128.0.0")
WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of one new address.

    *ms*: from the send of the 200 to the first admitted call. *refused*: calls refused before it.
    """

    ms: float
    refused: int


class NotAdmittedError(Exception):
    """A call got an unexpected answer, or a new address was never admitted."""


def measure(probes: int) -> Report:
    """Measure from the send of a 200 to the first call admitted from its source.

    Raises: typer.Exit if an address was never admitted.
    """
    session = Session()
    with (
        Network() as network,
        tempfile.TemporaryDirectory(prefix="whence-bench-") as folder,
        Endpoint(network.ip("registrar"), SIP_PORT) as registrar,
        Endpoint(network.ip("phone"), SIP_PORT) as phone,
        _whence(network, Path(folder), registrar.address, phone.address) as node,
    ):
        node.start()
        prober = Prober(node.address, registrar, phone)
        try:
            for register in islice(prober.registers(), TRUNKS):
                prober.grant(register)
            session.show(f"{TRUNKS} trunks are registered")
            found = list(islice(prober.probes(), probes))
        except (NotAdmittedError, AssertionError) as error:
            session.reject([str(error)])
    return report(found, session.circumstances(trunks=TRUNKS, granted_s=EXPIRES_S))


def report(probes: Sequence[Probe], how: Circumstances) -> Report:
    """Return the results of the probes."""
    times, refused = [probe.ms for probe in probes], [probe.refused for probe in probes]
    p99 = percentile(times, 99)
    notes = (
        f"200 sent → call from there admitted: p50 {percentile(times, 50):.1f} ms, "
        f"p99 {p99:.1f} ms, at most {max(times):.1f} ms, of {len(probes)}",
        f"calls refused before the first was admitted: {percentile(refused, 50)} at p50, "
        f"{max(refused)} at most; none in {refused.count(0)}",
    )
    goal = Goal("200 sent → call from there admitted, p99", p99, MOST_MS, "ms")
    return Report("freshness", [], [goal], how, [astuple(probe) for probe in probes], notes)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that *percent* of the values do not exceed."""
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


class Prober:
    """The registrar, and the calls from new addresses."""

    def __init__(self, edge: Address, registrar: Endpoint, phone: Endpoint) -> None:
        self._edge = edge
        self._registrar = registrar
        self._phone = phone
        self._numbers = count(1)

    def registers(self) -> Iterator[Message]:
        """Yield REGISTERs endlessly, each once."""
        seen: set[tuple[str, str]] = set()
        while True:
            register = self._registrar.expect(
                lambda m: m.method == "REGISTER" and not m.is_reply, 30, "a REGISTER"
            )
            if (once := (register.call_id, register["CSeq"])) not in seen:
                seen.add(once)
                yield register

    def probes(self) -> Iterator[Probe]:
        """Answer all REGISTERs; yield the results of those answered from a new address."""
        for number, register in enumerate(self.registers()):
            if number % PROBED:
                self.grant(register)
            else:
                with Endpoint(str(FIRST + next(self._numbers)), SIP_PORT) as caller:
                    yield self._probe(register, caller)

    def grant(self, register: Message, answering: Endpoint | None = None) -> None:
        """Answer 200, from the registrar's address or from another."""
        granted = [("Contact", register["Contact"]), ("Expires", str(EXPIRES_S))]
        answer = reply(register, 200, "OK", headers=granted)
        (answering or self._registrar).send(answer, self._edge)

    def _probe(self, register: Message, caller: Endpoint) -> Probe:
        uri = f"sip:anyone@{self._edge[0]}:{self._edge[1]}"
        sent_at = time.monotonic()
        self.grant(register, caller)
        for refused in count():
            call = request("INVITE", uri, caller.address)
            caller.send(call, self._edge)
            answer = _answer(caller, call)
            took_s = time.monotonic() - sent_at
            if answer.status != 403:
                self._end(caller, call, answer)
                return Probe(took_s * 1000, refused)
            if took_s > WITHIN_S:
                break
        raise NotAdmittedError(f"no call admitted {took_s:.1f} s after the 200")

    def _end(self, caller: Endpoint, call: Message, answer: Message) -> None:
        """Assert that the call reached the phone, and end it with a 486."""
        if answer.status not in (100, 486):
            raise NotAdmittedError(f"a call was neither admitted nor refused:\n{answer}")
        arrived = self._phone.expect(
            lambda m: m.method == "INVITE" and m.call_id == call.call_id, WITHIN_S, "the call"
        )
        assert arrived.source
        self._phone.send(reply(arrived, 486, "Busy Here"), arrived.source)
        if answer.status == 100:
            with suppress(AssertionError):
                answer = _answer(caller, call, 200)
        caller.send(acknowledgement(call, answer), self._edge)


def _answer(caller: Endpoint, call: Message, least: int = 100) -> Message:
    return caller.expect(
        lambda m: m.call_id == call.call_id and m.status >= least, WITHIN_S, "an answer to the call"
    )


def _whence(network: Network, home: Path, registrar: Address, phone: Address) -> Whence:
    trunks = [
        {
            "id": f"trunk-{number}",
            "registrar": f"sip:{registrar[0]}:{registrar[1]}",
            "domain": DOMAIN,
            "user": f"account-{number}",
            "password": "unused",
            "expires": EXPIRES_S,
            "learn_from": "any",  # answers come from new addresses
            "target": f"sip:busy@{phone[0]}:{phone[1]}",
        }
        for number in range(TRUNKS)
    ]
    return Whence(
        network,
        home,
        trunks=trunks,
        edge={"flood": 0},  # the bench calls as fast as it is refused
        agent={"on_stop": "leave"},
        registration={"rate": RATE, "rate_per_registrar": RATE},
    )
