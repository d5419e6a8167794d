"""Sends decision reports to the agent, without waiting.

A worker sends each decision as a message of its own. A process that collects the decisions of
others sends many in one message (`send_all`). Reports that cannot be sent are counted; the next
message has the count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from whence.core.dialogs.arrival import Arrival
from whence.ipc import decisions
from whence.ipc.decisions import NO_SENDER, Sender
from whence.ipc.report_connection import ReportConnection


class DecisionSender:
    """Sends the reports of one process."""

    def __init__(self, path: Path) -> None:
        """`path`: the agent's socket, which may be absent."""
        self._connection = ReportConnection(path)

    def send(
        self,
        report: str,
        method: str,
        call_id: str,
        arrival: Arrival,
        sender: Sender = NO_SENDER,
        *,
        from_cache: bool,
    ) -> None:
        """Send one decision report; `report` is what `decisions.report_body` wrote of it."""
        self.send_record(
            decisions.record(report, method, call_id, arrival, sender, from_cache=from_cache)
        )

    def send_record(self, record: bytes) -> None:
        """Send one record."""
        connection = self._connection
        connection.send(decisions.message((record,), connection.dropped))

    def send_all(self, records: Iterable[bytes], dropped: int = 0) -> None:
        """Send many decisions in few messages.

        `records`: of `decisions.record`, in the order of their decisions. `dropped`: how many more
        decisions there were, of which no record is left. Without a record, their count waits.
        """
        connection = self._connection
        connection.dropped += dropped
        for some in _messages(records):
            connection.send(decisions.message(some, connection.dropped), len(some))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _messages(records: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield the records of one message after the other."""
    some: list[bytes] = []
    size = 0
    for record in records:
        if some and size + len(record) > decisions.MESSAGE_LIMIT:
            yield some
            some, size = [], 0
        some.append(record)
        size += len(record)
    if some:
        yield some
