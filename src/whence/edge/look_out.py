"""The look-out: the process of Kamailio that publishes the generation to the workers.

Kamailio's own language cannot read the mapped generation. So the look-out reads it, ten times a
second and when the agent wakes it. It writes it into Kamailio's table NODE, where it expires within
two seconds. If the look-out stalls, no answer is known, and Python decides each call. If it dies,
Kamailio ends, and its supervisor restarts it. The look-out then acknowledges what it published
(store/look_out.py). It also reports the calls that no worker's Python has seen.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from pathlib import Path

from whence.edge import native_reports
from whence.edge.base import GO_ON, Handlers, Worker, survives
from whence.edge.decision_cache import LOOK_S
from whence.edge.known_answers import Published
from whence.edge.native_reports import SEPARATOR
from whence.edge.serial_numbers import SerialNumbers
from whence.errors import StoreUnavailableError
from whence.store import look_out
from whence.store.generation import GenerationReader
from whence.store.look_out import Acknowledgement
from whence.store.schema import GENERATION_FILE
from whence.store.system_clock import boottime

NODE, GENERATION = "node", "generation"
"""Table and entry: what is published."""

QUEUE = "reports"
"""Kamailio's queue of the calls that are not reported yet."""

REPORT = f"$_s($mqk({QUEUE}){SEPARATOR}$mqv({QUEUE}))"
"""The report that was fetched: serial number and kind, and behind SEPARATOR the text."""

SERIAL = f"$(mqk({QUEUE}){{s.select,0, }})"
"""Its serial number."""

TURNS, WAIT_MS = 50, 100
"""How often it looks before it returns to Kamailio, and how long it waits each time."""

AT_ONCE = 500
"""How many calls it reports before it looks again."""

RENEW_S = 0.25
STEP_S = 0.5
"""A step of the system clock. Kamailio's tables expire by that clock, so older answers are void."""

COMPACT = frozenset(
    {
        *("accept-contact", "allow-events", "call-id", "contact", "content-encoding"),
        *("content-length", "content-type", "event", "from", "identity", "identity-info"),
        *("refer-to", "referred-by", "reject-contact", "request-disposition", "session-expires"),
        *("subject", "supported", "to", "via"),
    }
)
"""Headers with a compact name, under which the route KNOWN would not find them."""

PAUSE_S = 1.0
"""The pause after an error."""


class LookOutHandlers(Handlers):
    """What Kamailio's route LOOK_OUT calls, in a process of its own."""

    def __init__(self, worker: Worker, directory: Path) -> None:
        super().__init__(worker)
        self._waking = _Waking(directory.with_name(look_out.SOCKET_FILE))
        self._publisher = Publisher(worker, directory)
        self._reporter = _Reporter(worker)

    @survives
    def ksr_look_out(self, _message: object) -> int:
        """Publish and report, for some seconds. While this fails, nothing is known."""
        try:
            for _ in range(TURNS):
                if not self._reporter.is_behind:
                    self._waking.wait()
                self._publisher.publish(time.monotonic())
                self._reporter.report()
                if not self._reporter.is_behind:  # no call is reported after the answer to an order
                    self._publisher.acknowledge()
        except Exception:
            time.sleep(PAUSE_S)  # it is called again at once, and would fill the log
            raise
        return GO_ON


class _Waking:
    """The socket by which the agent wakes the look-out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._poll = select.poll()

    def wait(self) -> None:
        """Return when the agent wakes the look-out, or after WAIT_MS."""
        if self._socket is None:
            self._socket = self._open()
        if self._poll.poll(WAIT_MS):
            with suppress(BlockingIOError):
                while True:
                    self._socket.recv(1)

    def _open(self) -> socket.socket:
        self._path.unlink(missing_ok=True)
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.bind(str(self._path))
            self._path.chmod(0o600)
        except BaseException:
            opened.close()
            raise
        self._poll.register(opened, select.POLLIN)
        return opened


class Publisher:
    """Publishes the generation, and acknowledges it."""

    def __init__(self, worker: Worker, directory: Path) -> None:
        self._worker = worker
        self._generation = GenerationReader(directory.with_name(GENERATION_FILE))
        self._path = directory.with_name(look_out.FILE)
        self._acknowledgement: Acknowledgement | None = None
        self._published: Published | None = None
        self._pending: bytes | None = None
        """The generation that is to be acknowledged."""
        self._offset = time.time() - boottime()
        self._epoch = 0
        self._look_at = self._renew_at = 0.0

    def publish(self, now: float) -> None:
        """Publish the generation if it is new, or if it expires soon. `now`: monotonic."""
        if self._acknowledgement is None:
            self._acknowledgement = Acknowledgement(self._path)
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._generation.look()
        self._look_at_clock()
        current = self._generation.now()
        before = self._published
        if (
            before is not None
            and (before.generation, before.epoch) == (current, self._epoch)
            and now < self._renew_at
        ):
            return
        htable = self._worker.ksr.htable
        found = None if current is None else self._read(current)
        if found is None:
            htable.sht_rm(NODE, GENERATION)
        else:
            htable.sht_sets(NODE, GENERATION, found.text())
        if found is None or before is None or found.generation != before.generation:
            self._pending = current
        self._published, self._renew_at = found, now + RENEW_S
        self._acknowledgement.write(look_out.PENDING if self._pending or not current else current)

    def acknowledge(self) -> None:
        """Acknowledge the generation that was published last."""
        if self._pending is not None and self._acknowledgement is not None:
            self._acknowledgement.write(self._pending)
            self._pending = None

    def close(self) -> None:
        """End the lock on the acknowledgement."""
        if self._acknowledgement is not None:
            self._acknowledgement.close()
            self._acknowledgement = None

    def _look_at_clock(self) -> None:
        offset = time.time() - boottime()
        if abs(offset - self._offset) > STEP_S:
            self._offset = offset
            self._epoch += 1

    def _read(self, current: bytes) -> Published | None:
        """Return what to publish; None where Kamailio must ask Python about each call."""
        before = self._published
        if before is not None and before.generation == current:
            return before._replace(epoch=self._epoch)
        try:
            names = self._worker.directory.number_headers()
        except StoreUnavailableError:
            return None
        if not COMPACT.isdisjoint(names):
            return None
        # Another generation means that these names may be of a later one. The next turn reads them.
        return Published(current, self._epoch, names) if self._generation.now() == current else None


class _Reporter:
    """Reports to the agent the calls that Kamailio gave to a trunk itself."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._serials = SerialNumbers()
        self.is_behind = False
        """Whether more calls may wait to be reported."""

    def report(self) -> None:
        """Report the calls in the queue, `AT_ONCE` at most."""
        ksr = self._worker.ksr
        records: list[bytes] = []
        lost = number = 0
        while number < AT_ONCE and ksr.mqueue.mq_fetch(QUEUE) > 0:
            number += 1
            self._serials.fetched(int(str(ksr.pv.get(SERIAL))))
            try:
                records.append(native_reports.record(str(ksr.pv.get(REPORT))))
            except ValueError:  # a Call-ID that is not UTF-8
                lost += 1
        self.is_behind = number == AT_ONCE
        self._worker.decision_sender.send_all(records, lost + self._serials.lost())
