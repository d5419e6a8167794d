"""`make bench-freshness`: how soon a newly learned address admits a call.

The bench answers each REGISTER from a new address, and calls from there repeatedly until a call is
admitted. Meanwhile other trunks stay registered at another registrar.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.circumstances import versions
from bench.fresh import Fresh, Probe
from bench.registrations.registrar import DOMAIN, Registrar, password
from testkit.network import SIP_PORT, Network
from testkit.sip import Address, Endpoint, Message, acknowledgement, reply, request
from testkit.whence import Whence

RESULTS = Path(__file__).parent / "results"
PROBE_TRUNKS = 300
PROBE_EXPIRES_S = 20
OTHERS_EXPIRES_S = 13
REFRESHED_AT = 0.75
"""The part of a grant after which the agent refreshes, on average."""
FIRST = IPv4Address("127.128.0.0")
REGISTERED_WITHIN_S = 120
ADMITTED_WITHIN_S = 5.0
LOOKS_EVERY_S = 1.0


class NotAdmittedError(Exception):
    """A call got an unexpected answer, or a new address was never admitted."""


def main(
    probes: Annotated[int, typer.Option(min=100, help="New addresses.")] = 1000,
    rate: Annotated[int, typer.Option(min=0, help="Other registrations a second.")] = 100,
    results: Annotated[
        Path,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Where to write freshness.txt and freshness.json.",
            show_default="bench/results",
        ),
    ] = RESULTS,
) -> None:
    """Measure from the send of a 200 to the first call admitted from its source.

    Exit with 1, and write nothing, if an address was never admitted.
    """
    console = Console(soft_wrap=True, highlight=False)
    others = round(rate * OTHERS_EXPIRES_S * REFRESHED_AT)
    with (
        Network() as network,
        tempfile.TemporaryDirectory(prefix="whence-bench-") as folder,
        Registrar(network.ip("registrar"), Path(folder)) as registrar,
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
            console.print(f"{others} trunks beside {PROBE_TRUNKS} are registered")
            before, began_at = registrar.count().granted, time.monotonic()
            found = [probe for probe, _ in zip(prober.probes(), range(probes), strict=False)]
            seconds = time.monotonic() - began_at
            beside = (registrar.count().granted - before) / seconds
        except NotAdmittedError as error:
            console.print(f"invalid: {error}", style="red", markup=False)
            raise typer.Exit(1) from None
    how = {**versions(), "load_average": round(os.getloadavg()[0], 1)}
    fresh = Fresh(found, beside, how)
    fresh.show(console)
    fresh.write(results)


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
            "target": target,
        }
        for number in range(PROBE_TRUNKS)
    ]
    rate = max(10, round(others / OTHERS_EXPIRES_S / REFRESHED_AT * 1.1))
    return Whence(
        network,
        home,
        trunks=[*beside, *probed],
        agent={"on_stop": "leave"},
        registration={"rate": 1000, "rate_per_registrar": rate},
    )


if __name__ == "__main__":
    typer.run(main)
