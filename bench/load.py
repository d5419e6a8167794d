"""SIPp as callers and phones of all contestants."""

from __future__ import annotations

import csv
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

from bench.layout import Call
from bench.rounds import InvalidError
from testkit.network import SIP_PORT, udp_bound
from testkit.process import Process
from testkit.sip import Address
from testkit.wait import eventually

CALLER = Path(__file__).with_name("caller.xml")
PHONE = Path(__file__).with_name("phone.xml")
AT_ONCE = 1000
MOST_SENT_AGAIN = 0.02
"""Retransmissions a call in a valid reading."""
GIVES_UP_S = 60


class Callers:
    """The callers of an edge. Each load continues with the call after the last one."""

    def __init__(
        self, calls: Iterator[Call], edge: Address, port: int, directory: Path, name: str
    ) -> None:
        self._calls = calls
        self._edge = edge
        self._port = port
        self._stem = directory / name
        self._numbers = count(1)

    def load(self, calls: int, rate: float, *, warm_up: bool = False) -> None:
        """Make the next calls, *rate* a second. A warm-up may have retransmissions.

        Raises: InvalidError unless all succeed, and nearly all without a retransmission. A busy
        contestant, or a busy machine, gets requests twice. They cost, too.
        """
        stem = self._stem.with_name(f"{self._stem.name}-{next(self._numbers)}")
        values, statistics = stem.with_suffix(".csv"), stem.with_suffix(".stat")
        place = f"{self._edge[0]}:{self._edge[1]}"
        rows = [
            f"{call.ip};sip:{call.number}@{place};sip:{call.to}@{place}"
            for call in islice(self._calls, calls)
        ]
        values.write_text("\n".join(["SEQUENTIAL", *rows, ""]), "ascii")
        local = rows[0].partition(";")[0]
        argv: list[str | Path] = [
            *("sipp", "-sf", CALLER, "-nostdin", "-t", "ui", "-inf", values, "-ip_field", "0"),
            *("-i", local, "-mi", local, "-p", str(self._port)),
            *("-max_socket", str(_sockets())),
            *("-trace_stat", "-stf", statistics, "-fd", "1"),
            *("-m", str(calls), "-r", str(rate), "-l", str(AT_ONCE)),
            *("-timeout", f"{GIVES_UP_S + round(calls / rate)}s", place),
        ]
        with Process(stem.name, argv, stem.with_suffix(".log")) as process:
            process.wait(2 * GIVES_UP_S + calls / rate)
            if not statistics.exists():
                raise InvalidError(f"SIPp made no call; its log:\n{process.log[-2000:]}")
        with statistics.open(encoding="ascii", errors="replace") as lines:
            last = list(csv.DictReader(lines, delimiter=";"))[-1]
        successful, failed = int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"])
        if (successful, failed) != (calls, 0):
            raise InvalidError(f"of {calls} calls {successful} succeeded, {failed} failed")
        again = int(last["Retransmissions(C)"])
        if again > calls * MOST_SENT_AGAIN and not warm_up:
            raise InvalidError(f"{again} requests of {calls} calls were sent again: lower the rate")


@contextmanager
def phone(ip: str, directory: Path) -> Iterator[None]:
    """Run a phone at this address that answers each call; it must be registered before."""
    argv = ["sipp", "-sf", str(PHONE), "-i", ip, "-p", str(SIP_PORT), "-nostdin"]
    with Process("phone", argv, directory / "phone.log"):
        eventually(lambda: udp_bound(ip, SIP_PORT), what="the phone's socket")
        yield


def _sockets() -> int:
    """Raise the limit of open files for child processes; return a smaller number for SIPp."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 16_384 if most == resource.RLIM_INFINITY else min(most, 16_384)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    return limit - 384
