"""Measure what a call costs the agent: CPU time of the process that reads the edge's reports.

Run with: .venv/bin/python -m bench.reports [--rate 50] [--seconds 10] [--workers 2]

It has the agent's real parts: receiver, calls, unknown sources, alarms. The workers are processes
with the edge's real sender, and send at even intervals. A run without calls is subtracted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import uvloop

from whence.agent.config.models import MonitoringConfig
from whence.agent.monitoring.decision_receiver import DecisionReceiver
from whence.agent.parts import Observers
from whence.core.identification.decision import Compared, Identified, Rule, Step
from whence.core.identification.request import REQUEST_URI
from whence.core.identification.trunk import Trunk
from whence.core.sip.transport_address import TransportAddress
from whence.edge.decision_sender import DecisionSender
from whence.ipc import decisions
from whence.ipc.decisions import SOCKET_FILE

NUMBER = "+442071234567"


def report() -> str:
    """Return the report of an identified call."""
    step = Step(Rule.NUMBER, Compared.NUMBER, ("acme",), (NUMBER,), REQUEST_URI)
    trunk = Trunk("acme", "token", "acct1", "sip:alice@edge.example", ())
    uri = f"sip:{NUMBER}@edge.example"
    source = TransportAddress.parse("udp:192.0.2.1:5060")
    return decisions.report_body(Identified(trunk, Rule.NUMBER, (step,)), source, uri, uri, None)


def send(path: Path, interval_s: float, calls: int, delay_s: float) -> None:
    """Send `calls` reports at even intervals, as a worker does."""
    sender, body = DecisionSender(path), report()
    begun = time.monotonic() + delay_s
    for number in range(calls):
        time.sleep(max(0.0, begun + number * interval_s - time.monotonic()))
        call_id = f"{os.getpid()}-{number}@192.0.2.1"
        sender.send(body, "INVITE", call_id, time.time(), from_cache=True)
    sender.close()


def cpu_s() -> float:
    """Return the CPU time of this process, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(receiver: DecisionReceiver, options: argparse.Namespace, rate: float) -> float:
    """Return the CPU time of one run, in seconds."""
    receiver.start()
    calls = int(rate * options.seconds / options.workers)
    interval_s = options.workers / rate if rate else 0.0
    command = [sys.executable, "-m", "bench.reports", "--send-to", options.path]
    command += ["--interval", str(interval_s), "--calls", str(calls), "--delay"]
    before = cpu_s()
    workers = [
        await asyncio.create_subprocess_exec(
            *command, str(number * interval_s / options.workers), cwd=Path(__file__).parents[1]
        )
        for number in range(options.workers if rate else 0)
    ]
    if rate:
        before = cpu_s()  # without their start
    await asyncio.gather(asyncio.sleep(options.seconds), *(one.wait() for one in workers))
    receiver.stop()
    return cpu_s() - before


def main() -> None:
    """Print the agent's CPU time a call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=50.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    for own in ("--send-to", "--interval", "--calls", "--delay"):  # of a worker
        parser.add_argument(own, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send_to:
        send(
            Path(options.send_to),
            float(options.interval),
            int(options.calls),
            float(options.delay),
        )
        return
    for _ in range(options.rounds):
        spent, counts = [], []
        for rate in (options.rate, 0.0):
            with tempfile.TemporaryDirectory(prefix="whence-bench-") as folder:
                options.path = str(Path(folder) / SOCKET_FILE)
                observers = Observers(MonitoringConfig(), Path(folder))
                with closing(observers.receiver()) as receiver:
                    spent.append(uvloop.run(measure(receiver, options, rate)))
                    counts.append(sum(observers.calls.decisions.values()) + receiver.dropped)
        calls = counts[0]
        print(
            f"{(spent[0] - spent[1]) / calls * 1e6:.0f} µs a call "
            f"({calls} calls at {options.rate:g}/s, {options.workers} workers; "
            f"idle {spent[1] / (options.seconds + 1) * 1e3:.2f} ms a second)"
        )


if __name__ == "__main__":
    main()
