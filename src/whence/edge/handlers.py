"""The object that Kamailio's routing calls. It combines the parts of the edge."""

from __future__ import annotations

from whence.edge.agent_requests import AgentRequestHandlers
from whence.edge.answer_sources import AnswerSources
from whence.edge.base import Worker
from whence.edge.connections import ConnectionHandlers
from whence.edge.cseq_shifts import CseqShifts
from whence.edge.dialogs import DialogHandlers
from whence.edge.guard import GuardHandlers
from whence.edge.hidden_via import HiddenVia
from whence.edge.inbound import InboundHandlers
from whence.edge.ksr import Ksr
from whence.edge.look_out import LookOutHandlers
from whence.edge.messages import MessageHandlers
from whence.edge.notice_sender import NoticeSender
from whence.edge.outbound import OutboundHandlers
from whence.edge.phone_authentication import PhoneAuthentication
from whence.edge.phones import PhoneHandlers
from whence.edge.sending_sockets import SendingSockets
from whence.edge.settings import EdgeSettings
from whence.edge.tls_identity import TlsIdentityHandlers
from whence.edge.trunk_dialogs import TrunkDialogs
from whence.ipc import decisions


class EdgeHandlers:
    """All handlers that kamailio.cfg calls, in each of its worker processes.

    Kamailio looks each handler up by name, for each message. The attributes are bound methods of
    the parts, so that a message costs no further call.
    """

    def __init__(self, ksr: Ksr, settings: EdgeSettings) -> None:
        domain, limits = settings.domain, settings.limits
        worker = Worker(ksr, settings.directory)
        notices = NoticeSender(settings.directory.with_name(decisions.SOCKET_FILE))

        guard = GuardHandlers(worker, notices)
        self.ksr_refused = guard.ksr_refused
        self.ksr_scanner = guard.ksr_scanner
        self.ksr_unreadable = guard.ksr_unreadable
        self.ksr_flooding = guard.ksr_flooding
        self.ksr_folded_cseq = guard.ksr_folded_cseq
        self.ksr_unparsed = guard.ksr_unparsed
        self.ksr_no_websocket = guard.ksr_no_websocket

        connections = ConnectionHandlers(worker, limits, notices)
        self.ksr_next_to_close = connections.ksr_next_to_close

        messages = MessageHandlers(worker, guard)
        self.ksr_look = messages.ksr_look
        self.ksr_well_formed = messages.ksr_well_formed
        self.ksr_reply = messages.ksr_reply

        sending = SendingSockets(ksr, settings.sockets)
        self.ksr_challenger = TlsIdentityHandlers(worker).ksr_challenger

        via = HiddenVia(worker)
        self.ksr_restore_via = via.ksr_restore_via

        sources = AnswerSources(worker)
        self.ksr_may_answer = sources.ksr_may_answer

        trunk_dialogs = TrunkDialogs(worker, via, sources, domain)
        self.ksr_dialog_branch = trunk_dialogs.ksr_dialog_branch
        self.ksr_dialog_failed = trunk_dialogs.ksr_dialog_failed
        self.ksr_answer_to_trunk = trunk_dialogs.ksr_answer_to_trunk

        shifts = CseqShifts(worker, calls_out=settings.calls_out)
        self.ksr_challenged = shifts.ksr_challenged
        self.ksr_shifted_branch = shifts.ksr_shifted_branch

        dialogs = DialogHandlers(worker, settings.own, sending, trunk_dialogs, shifts, via)
        self.ksr_begin_dialog = dialogs.ksr_begin_dialog
        self.ksr_in_dialog = dialogs.ksr_in_dialog
        self.ksr_answer = dialogs.ksr_answer
        self.ksr_public_route = dialogs.ksr_public_route
        self.ksr_late_answer = dialogs.ksr_late_answer

        inbound = InboundHandlers(worker, guard, sending, domain, calls_out=settings.calls_out)
        self.ksr_initial = inbound.ksr_initial

        self.ksr_look_out = LookOutHandlers(worker, settings.directory).ksr_look_out

        authentication = PhoneAuthentication(
            worker, notices, domain, limits.password_failures, sha256=settings.sha256
        )
        self.ksr_register = PhoneHandlers(worker, guard, authentication).ksr_register

        outbound = OutboundHandlers(worker, guard, authentication, dialogs, via, sources, domain)
        self.ksr_call = outbound.ksr_call
        self.ksr_trunk_branch = outbound.ksr_trunk_branch
        self.ksr_trunk_failed = outbound.ksr_trunk_failed
        self.ksr_trunk_answered = outbound.ksr_trunk_answered
        self.ksr_not_sent = outbound.ksr_not_sent

        agent_requests = AgentRequestHandlers(worker, settings.answer_ms)
        self.ksr_agent_request = agent_requests.ksr_agent_request
        self.ksr_agent_reply = agent_requests.ksr_agent_reply

    def child_init(self, _rank: int) -> int:
        """Open nothing: a worker opens what it needs at its first request."""
        return 0
