"""`make bench-freshness`: how soon a newly learned address admits a call.

The bench answers each REGISTER from a new address, and calls from there repeatedly until a call is
admitted. Meanwhile other trunks stay registered at another registrar.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from ipaddress import IPv4Address
from itertools import count
from math import ceil
from pathlib import Path

from bench.registrar import DOMAIN, Registrar, password
from bench.report import Circumstances, Goal, Report, Session
from testkit.network import SIP_PORT, Network
from testkit.sip import Address, Endpoint, Message, acknowledgement, reply, request
from testkit.whence import Whence

MOST_MS = 10.0
"""The goal for the 99th percentile, in ms."""
PROBE_TRUNKS = 300
PROBE_EXPIRES_S = 20
OTHERS_EXPIRES_S = 13
REFRESHED_AT = 0.75
"""The part of a grant after which the agent refreshes, on average."""
FIRST = IPv4Address("127.128.0.0")
REGISTERED_WITHIN_S = 120
ADMITTED_WITHIN_S = 5.0
LOOKS_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of one new address.

    *ms*: from the send of the 200 to the first admitted call. *refused*: calls refused before it.
    """

    ms: float
    refused: int


class NotAdmittedError(Exception):
    """A call got an unexpected answer, or a new address was never admitted."""


def measure(probes: int, rate: int) -> Report:
    """Measure from the send of a 200 to the first call admitted from its source.

    *rate*: other registrations a second. Raises: typer.Exit if an address was never admitted.
    """
    session = Session()
    others = round(rate * OTHERS_EXPIRES_S * REFRESHED_AT)
    with (
        Network() as network,
        tempfile.TemporaryDirectory(prefix="whence-bench-") as folder,
        Registrar(network.ip("registrar"), Path(folder), OTHERS_EXPIRES_S) as registrar,
        Endpoint(network.ip("probing registrar"), SIP_PORT) as probing,
        Endpoint(network.ip("phone"), SIP_PORT) as phone,
        _whence(network, Path(folder), registrar, others, probing, phone) as node,
    ):
        node.start()
        prober = Prober(node.address, probing, phone)
        try:
            for _ in prober.probes():
                if prober.at_rest(registrar, others):
                    break
            session.show(f"{others} trunks beside {PROBE_TRUNKS} are registered")
            before, began_at = registrar.count().granted, time.monotonic()
            found = [probe for probe, _ in zip(prober.probes(), range(probes), strict=False)]
            beside = (registrar.count().granted - before) / (time.monotonic() - began_at)
        except (NotAdmittedError, AssertionError) as error:
            session.reject([str(error)])
    return report(found, session.circumstances(other_registrations_a_second=round(beside, 1)))


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
    """Return the least value that *percent* of the values do not exceed.

    Raises: ValueError if there are no values.
    """
    if not values:
        raise ValueError("no value has no percentile")
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]


class Prober:
    """The registrar that answers from new addresses, and its calls."""

    def __init__(self, edge: Address, probing: Endpoint, phone: Endpoint) -> None:
        self._edge = edge
        self._played = probing
        self._phone = phone
        self._numbers = count(1)
        self._answered: set[tuple[str, str]] = set()
        self._looks_at = 0.0
        self._gives_up_at = time.monotonic() + REGISTERED_WITHIN_S

    def at_rest(self, registrar: Registrar, others: int) -> bool:
        """Return whether all other trunks are registered; query the registrar once a second."""
        now = time.monotonic()
        if now < self._looks_at:
            return False
        self._looks_at = now + LOOKS_EVERY_S
        if now > self._gives_up_at:
            raise NotAdmittedError(f"the trunks were not registered in {REGISTERED_WITHIN_S} s")
        return registrar.count().registered >= others

    def probes(self) -> Iterator[Probe]:
        """Answer each REGISTER from a new address, and call from there; yield probes endlessly."""
        while True:
            register = self._played.expect(
                lambda m: m.method == "REGISTER" and not m.is_reply, 30, "a REGISTER"
            )
            once = register.call_id, register["CSeq"]
            if once not in self._answered:  # not a retransmission
                self._answered.add(once)
                yield self._probe(register)

    def _probe(self, register: Message) -> Probe:
        contact = register["Contact"]
        granted = [("Contact", contact), ("Expires", str(PROBE_EXPIRES_S))]
        with Endpoint(str(FIRST + next(self._numbers)), SIP_PORT) as caller:
            accepted = bytes(reply(register, 200, "OK", headers=granted))
            uri = f"sip:anyone@{self._edge[0]}:{self._edge[1]}"
            sent_at = time.monotonic()
            caller.send(accepted, self._edge)
            refused = 0
            while True:
                call = request("INVITE", uri, caller.address)
                answer = self._first_answer(caller, call)
                took_s = time.monotonic() - sent_at
                if answer.status != 403:
                    break
                if took_s > ADMITTED_WITHIN_S:
                    raise NotAdmittedError(f"no call admitted {took_s:.1f} s after the 200")
                refused += 1
            self._end(caller, call, answer)
        return Probe(took_s * 1000, refused)

    def _first_answer(self, caller: Endpoint, call: Message) -> Message:
        caller.send(call, self._edge)
        return caller.expect(lambda m: m.call_id == call.call_id, 5, "an answer to the call")

    def _end(self, caller: Endpoint, call: Message, answer: Message) -> None:
        """Assert that the call reached the phone, and end it with a 486."""
        if answer.status not in (100, 486):
            raise NotAdmittedError(f"a call was neither admitted nor refused:\n{answer}")
        arrived = self._phone.expect(
            lambda m: m.method == "INVITE" and m.call_id == call.call_id, 5, "the call at the phone"
        )
        assert arrived.source
        self._phone.send(reply(arrived, 486, "Busy Here"), arrived.source)
        if answer.status == 100:
            with suppress(AssertionError):
                answer = caller.expect(
                    lambda m: m.call_id == call.call_id and m.status >= 200, 5, "the 486"
                )
        caller.send(acknowledgement(call, answer), self._edge)


def _whence(
    network: Network,
    home: Path,
    registrar: Registrar,
    others: int,
    probing: Endpoint,
    phone: Endpoint,
) -> Whence:
    target = f"sip:busy@{phone.address[0]}:{phone.address[1]}"
    beside = [
        {
            "id": f"other-{number}",
            "registrar": registrar.uri,
            "domain": DOMAIN,
            "user": f"other-{number}",
            "password": password(f"other-{number}"),
            "expires": OTHERS_EXPIRES_S,
            "target": target,
        }
        for number in range(others)
    ]
    probed = [
        {
            "id": f"probe-{number}",
            "registrar": f"sip:{probing.address[0]}:{probing.address[1]}",
            "domain": "probing.example",
            "user": f"probe-{number}",
            "password": "unused",
            "expires": PROBE_EXPIRES_S,
            "learn_from": "any",  # each answer comes from a new address
            "target": target,
        }
        for number in range(PROBE_TRUNKS)
    ]
    rate = max(10, round(others / OTHERS_EXPIRES_S / REFRESHED_AT * 1.1))
    return Whence(
        network,
        home,
        trunks=[*beside, *probed],
        edge={"flood": 0},  # the bench calls as fast as it is refused
        agent={"on_stop": "leave"},
        registration={"rate": 1000, "rate_per_registrar": rate},
    )
