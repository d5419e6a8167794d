"""What the parts of the drop-in share: the worker, and the writer of the directory."""

from __future__ import annotations

from collections.abc import Sequence

from whence.core.registration.history import EventKind, HistoryEvent
from whence.edge.base import Handlers, Worker
from whence.store.worker import LearningWriter


class DropInPart(Handlers):
    """A part of the drop-in's handlers. All parts of a worker share one `writer`."""

    def __init__(self, worker: Worker, writer: LearningWriter) -> None:
        super().__init__(worker)
        self.writer = writer

    def log_events(self, events: Sequence[tuple[str, HistoryEvent]]) -> None:
        """Log each reply that taught nothing, and each step of the system clock.

        Without an agent, only the log shows them.

        `events`: (trunk id, event), as the writer returns them.
        """
        for id_, event in events:
            if event.what is EventKind.CLOCK_STEPPED:
                self.ksr.err(f"whence: {event.what}: {event.message}\n")
            elif event.what is EventKind.UNEXPECTED_REPLY:
                self.ksr.err(f"whence: trunk {id_}: {event.what}: {event.message}\n")
