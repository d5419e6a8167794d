"""The requests in flight on the agent socket. One timer sends them again, and ends them."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from whence.agent.registration.messages import Received

RETRANSMIT_S = 0.5  # T1, RFC 3261 17.1.1.1; doubled each time, to T2
RETRANSMIT_LIMIT_S = 4.0


@dataclass(slots=True, eq=False)
class Exchange:
    """A request in flight."""

    call_id: str
    cseq: int
    method: str
    answer: asyncio.Future[Received | None]
    """Its final answer; None if none came in time."""
    rejected: str = ""
    """Why the client rejected an answer."""
    request: bytes = b""
    wait_s: float = RETRANSMIT_S
    """The time between the last retransmission and the next one."""
    ends_at: float = 0.0
    """When the client stops waiting. As all instants here, it is of the loop's clock."""


class Exchanges:
    """All requests in flight, by the branch of their Via."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        """`send` sends a datagram. It does not wait."""
        self._send = send
        self._of: dict[str, Exchange] = {}
        self._due: list[tuple[float, int, Exchange]] = []
        """A heap of (instant of the next retransmission, tie, exchange), also of ended ones."""
        self._ties = count()
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        """When the timer ends. uvloop's handle of a timer that is due has no `when`."""

    def get(self, branch: str) -> Exchange | None:
        """Return the request of this branch that waits for its answer, if any."""
        found = self._of.get(branch)
        return None if found is None or found.answer.done() else found

    async def ask(
        self, branch: str, exchange: Exchange, request: bytes, within_s: float
    ) -> Received | None:
        """Send until a final answer comes; None when none came in time."""
        now = asyncio.get_running_loop().time()
        exchange.request, exchange.ends_at = request, now + within_s
        self._of[branch] = exchange
        try:
            self._send(request)
            self._schedule(exchange, now)
            self._start_timer()
            return await exchange.answer
        finally:
            del self._of[branch]
            exchange.request = b""  # the heap keeps the exchange for a while

    def _schedule(self, exchange: Exchange, now: float) -> None:
        at = min(now + exchange.wait_s, exchange.ends_at)
        heapq.heappush(self._due, (at, next(self._ties), exchange))

    def _start_timer(self) -> None:
        """Start the timer for the earliest exchange that waits, if none runs that ends before."""
        due = self._due
        while due and due[0][2].answer.done():
            heapq.heappop(due)
        if due and (self._timer is None or due[0][0] < self._timer_at):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due[0][0]
            self._timer = asyncio.get_running_loop().call_at(self._timer_at, self._time_over)

    def _time_over(self) -> None:
        """Send each request again that is due, or end it."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._due and self._due[0][0] <= now:
            _, _, exchange = heapq.heappop(self._due)
            if exchange.answer.done():
                continue
            if exchange.ends_at <= now:
                exchange.answer.set_result(None)
                continue
            self._send(exchange.request)
            exchange.wait_s = min(exchange.wait_s * 2, RETRANSMIT_LIMIT_S)
            self._schedule(exchange, now)
        self._start_timer()
