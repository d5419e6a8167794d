"""The object that an existing Kamailio calls: the parts of the drop-in, put together.

The include file (kamailio/drop_in.cfg.j2) has the native routes, and they call these handlers.
"""

from __future__ import annotations

from whence.edge.base import Worker
from whence.edge.dropin.calls import CallHandlers
from whence.edge.dropin.registrations import RegistrationHandlers
from whence.edge.dropin.settings import DropInSettings
from whence.edge.ksr import Ksr
from whence.store.worker import LearningWriter


class DropInHandlers:
    """All handlers that the include file calls, in each worker and in the process of `uac`.

    Kamailio looks each up by its name. They are the bound methods of the parts.
    """

    def __init__(self, ksr: Ksr, settings: DropInSettings) -> None:
        worker = Worker(ksr, settings.directory)
        writer = LearningWriter(settings.directory)

        registrations = RegistrationHandlers(worker, writer, settings.grace_s)
        self.whence_local_request = registrations.whence_local_request
        self.whence_answered = registrations.whence_answered
        self.whence_unanswered = registrations.whence_unanswered

        calls = CallHandlers(worker, writer)
        self.whence_identify = calls.whence_identify
        self.child_init = calls.child_init
