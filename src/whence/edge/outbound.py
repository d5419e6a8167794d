"""Users' calls: whose phone calls, which trunk gets the call, and what follows its answer.

A call goes to the server that accepted the trunk's registration, from the socket of that
registration. Kamailio runs `ksr_trunk_branch` for each INVITE that it sends to a trunk. It runs
`ksr_trunk_failed` for each final answer other than 2xx. The rules are in core/outbound.
"""

from __future__ import annotations

import secrets
import time

from whence.core.dialogs.cookie import arrival_of
from whence.core.outbound.answers import (
    NOT_SENT,
    Answer,
    AnswerChallenge,
    TryNext,
    final_answer,
    initial_answer,
)
from whence.core.outbound.call import OutboundCall
from whence.core.outbound.caller import caller_of, may_write_from
from whence.core.outbound.contact import registered_contact
from whence.core.outbound.health import HEALTHY, Health
from whence.core.outbound.identity import hidden_headers, identity
from whence.core.outbound.limits import user_limit
from whence.core.outbound.model import ContactForm, OutboundUser, Routing
from whence.core.outbound.numbers import Called, called_party
from whence.core.outbound.rewriting import header_text, initial_lines, is_tag
from whence.core.outbound.route_state import TEXT_LIMIT, Kind, RouteState, write_state
from whence.core.outbound.selection import REFUSALS, Plan, RefusalReason, candidates, plan_call
from whence.core.sip.grammar import split_name_addr
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.core.sip.uri import Uri, escape_user
from whence.edge.answer_sources import AnswerSources
from whence.edge.base import ANSWERED, GO_ON, NO, Handlers, Worker, answers, judges, survives, text
from whence.edge.call_counts import CallCounts
from whence.edge.dialogs import DIALOG_ID, DialogHandlers
from whence.edge.guard import GuardHandlers
from whence.edge.hidden_via import HiddenVia
from whence.edge.inbound import TO_USER
from whence.edge.phone_authentication import PhoneAuthentication
from whence.edge.tls_identity import SERVER_NAME, TRUNK_ID
from whence.edge.trunk_answers import read_answer
from whence.ipc import call_events
from whence.store.outbound import TrunkAccess
from whence.trust import certificates

CALL = "$avp(whence_call)"
"""A user's call to a number: an OutboundCall as text."""

STATUS = "$var(status)"
"""The status of the answer that the phone gets."""

TRIED = "$avp(whence_tried)"
"""Set for a call that a trunk did not carry."""

NOT_OWN_FROM = "not_own_from"
"""The reason of a refusal: the From of a call to a user is not the caller's own."""
NO_NUMBER = "no_number"
"""The reason of a refusal: the Request-URI names neither a user nor a number."""
NO_TRUNK = RefusalReason.NO_TRUNK_READY

HEALTH = "trunk_health"
"""Table: id of a trunk that failed lately → its Health as text."""

REWRITTEN = ("From", "To", "CSeq")
"""Headers that each trunk gets in another form."""

_NEEDED = ("from", "to", "contact")
"""Headers whose URIs the edge keeps for the call."""

_CLAIMS = frozenset(
    {"proxy-authorization", "p-asserted-identity", "p-preferred-identity", "remote-party-id"}
)
"""Headers of a phone that another user does not get: only the edge asserts who calls."""


class OutboundHandlers(Handlers):
    """Sends users' calls to trunks, or to other users."""

    def __init__(
        self,
        worker: Worker,
        guard: GuardHandlers,
        authentication: PhoneAuthentication,
        dialogs: DialogHandlers,
        via: HiddenVia,
        sources: AnswerSources,
        domain: str,
    ) -> None:
        super().__init__(worker)
        self._guard = guard
        self._authentication = authentication
        self._dialogs = dialogs
        self._via = via
        self._sources = sources
        self._domain = domain
        self._counts = CallCounts(worker.ksr)
        self._routing = Routing()
        self._routing_of: bytes | None = None
        """The generation of the directory that has this routing."""

    @answers
    def ksr_call(self, _message: object) -> int:
        """Authenticate the caller of an INVITE, and set where the call goes.

        Returns GO_ON for a call to a trunk, and TO_USER for one to a local user.
        """
        ksr, worker = self.ksr, self.worker
        source = worker.source()
        if self._authentication.is_blocked(source):
            return ANSWERED
        name = text(ksr.kx.gete_au) or ""
        if not self._authentication.accepts(name, source):
            self._guard.count_refused()
            return ANSWERED
        local = worker.directory.user(name, self._domain)
        if local is None:
            return worker.answer(403, "Forbidden")
        user, routing = local.caller, self._rules()
        ruri = text(ksr.kx.get_ruri) or ""
        uri = Uri.parse(ruri)
        is_ours = uri is not None and uri.scheme != "tel" and bool(ksr.is_myself(ruri))
        called = called_party(uri, is_ours, self._is_user, routing.emergency.numbers, routing.plan)
        if called is None:
            return self._refuse(user, Called(), "", 404, "Not Found")
        fields = worker.message.fields()
        written = {name: _uri(next(iter(fields.get(name, ())), "")) for name in _NEEDED}
        from_tag = str(ksr.pv.get("$ft") or "")
        is_valid = is_tag(from_tag) and all(
            one and len(one.encode()) <= TEXT_LIMIT for one in written.values()
        )
        if not is_valid:
            return worker.answer(400, "Bad Request")
        if called.user:
            return self._call_user(user, called, fields, routing)
        return self._call_number(user, called, fields, routing, written, from_tag)

    def _call_user(
        self,
        user: OutboundUser,
        called: Called,
        fields: dict[str, list[str]],
        routing: Routing,
    ) -> int:
        """Set the target of a call to a local user. Only Kamailio knows its phones."""
        ksr = self.ksr
        limit = user_limit(user.limits, self._counts.of_user(user.name, user.limits), called)
        if limit is not None:
            return self._refuse(user, called, limit, *REFUSALS[RefusalReason(limit)])
        from_ = Uri.of_header(fields["from"][0])
        is_ours = from_ is not None and from_.host == self._domain
        if not may_write_from(from_, is_ours, user, routing.plan):
            return self._refuse(user, called, NOT_OWN_FROM, 403, "Forbidden")
        for header in _CLAIMS.intersection(fields):
            ksr.hdr.remove(header)
        own = f"sip:{escape_user(user.name)}@{self._domain}"
        ksr.hdr.append(f"P-Asserted-Identity: <{own}>\r\n")
        target = f"sip:{escape_user(called.user)}@{self._domain}"
        ksr.seturi(target)
        self._dialogs.record_route(self._dialogs.begin(user=target, caller_user=own))
        self._counts.begin(user.name)
        self._report(user, called)
        return TO_USER

    def _call_number(
        self,
        user: OutboundUser,
        called: Called,
        fields: dict[str, list[str]],
        routing: Routing,
        written: dict[str, str],
        from_tag: str,
    ) -> int:
        """Plan a call to a number, and aim it at its first trunk."""
        ksr = self.ksr
        plan = self._plan(user, called, routing)
        if plan.refusal is not None:
            return self._refuse(user, called, *plan.refusal)
        caller = caller_of(user, fields, routing.plan, emergency=called.emergency)
        own = f"sip:{escape_user(user.name)}@{self._domain}"
        call = OutboundCall(
            caller._replace(user=OutboundUser(user.name)),
            called,
            int(ksr.pv.get("$cs") or 0),
            from_tag,
            written["from"],
            written["to"],
            written["contact"],
            tuple(hidden_headers(fields, emergency=called.emergency)),
            self._dialogs.begin(caller_user=own),
            tuple(trunk.id for trunk in plan.trunks),
            try_s=plan.try_s,
        )
        self._counts.begin(user.name)
        if self._aim(call) is None:
            return self._refuse(user, called, NO_TRUNK, *REFUSALS[NO_TRUNK])
        self._via.note()
        self._report(user, called, call.trunks)
        return GO_ON

    def _plan(self, user: OutboundUser, called: Called, routing: Routing) -> Plan:
        now = self.worker.now()
        ids = candidates(called, user, routing)
        status = {
            id_: access.status(
                now,
                self._health(id_),
                self._counts.of_trunk(id_, access.trunk.limits),
                emergency=called.emergency,
            )
            for id_, access in self.worker.directory.trunk_access(ids).items()
        }
        counts = self._counts.of_user(user.name, user.limits)
        return plan_call(called, user, routing, status, now, counts)

    @judges
    def ksr_trunk_branch(self, _message: object) -> int:
        """Give a trunk its own headers of a call, just before Kamailio sends it."""
        ksr, call = self.ksr, self._call()
        access = self._access(call.trunk_id)
        shown = identity(access.trunk, call.caller, call.called) if access is not None else None
        if access is None or shown is None:
            return NO
        key, call_id = self._dialogs.key(), text(ksr.kx.get_callid) or ""
        cnonce = secrets.token_hex(8)
        lines = [
            *initial_lines(shown, call.cseq, call.rounds.tries, call.from_tag),
            *call.rounds.authorizations(access.credentials, "INVITE", shown.request_uri, cnonce),
        ]
        self._via.hide()
        for header in (*REWRITTEN, *call.hidden):
            ksr.hdr.remove(header)
        if access.trunk.contact is ContactForm.REGISTERED:
            if access.contact is None:
                return NO
            contact = registered_contact(key, call_id, access.contact, call.contact)
            if contact is None:
                return NO
            ksr.hdr.remove("Contact")
            lines.append(("Contact", f"<{contact}>"))
        ksr.hdr.append(header_text(lines))
        state = RouteState(
            Kind.OUT,
            call.caller.user.name,
            call.trunk_id,
            call.cseq,
            call.rounds.tries,
            shown.our_user,
            shown.their_user,
            call.phone_from,
            call.phone_to,
        )
        value = write_state(key, call_id, call.from_tag, state, self._domain)
        self._dialogs.record_route(call.cookie, value)
        self._sources.note_initial(access, call.cookie)
        return GO_ON

    @answers
    def ksr_trunk_failed(self, _message: object) -> int:
        """Return whether the call is tried again; else answer the phone, or let the answer pass."""
        self.worker.forget_message()
        call = self._call()
        access = self._access(call.trunk_id)
        if access is None:
            return self._answer(500, "Server Internal Error")
        answer = read_answer(self.worker, access)
        canceled = self.ksr.tm.t_is_canceled() > 0
        outcome = initial_answer(answer, call.rounds, access.credentials, canceled=canceled)
        if isinstance(outcome, AnswerChallenge):
            return self._again(call.with_rounds(outcome.rounds), access)
        if isinstance(outcome, TryNext):
            return self._next(call, outcome)
        self._tried(call, "", answer.status)
        if isinstance(outcome, Answer):
            return self._answer(outcome.status, outcome.phrase)
        self.ksr.pv.seti(STATUS, answer.status)
        return NO

    @survives
    def ksr_trunk_answered(self, _message: object) -> int:
        """Report that a trunk carries a call which another one did not."""
        self._tried(self._call(), "", self.ksr.kx.get_status())
        return GO_ON

    @answers
    def ksr_not_sent(self, _message: object) -> int:
        """Return whether another trunk is tried, where Kamailio could not send to a trunk."""
        return self._next(self._call(), NOT_SENT)

    def _next(self, call: OutboundCall, outcome: TryNext) -> int:
        """Aim a call at its next trunk; without one, answer the phone."""
        if outcome.reason.is_of_trunk:
            failed = self._health(call.trunk_id).failed(self.worker.now())
            self.ksr.htable.sht_sets(HEALTH, call.trunk_id, failed.to_text())
        self._tried(call, outcome.reason, outcome.status)
        call = call.with_failure(outcome)
        if self._aim(call) is not None:
            self.ksr.pv.sets(TRIED, "yes")
            return GO_ON
        answer = final_answer(call.tried)
        return self._answer(answer.status, answer.phrase)

    def _answer(self, status: int, phrase: str) -> int:
        """Answer the phone, for good."""
        self.ksr.pv.seti(STATUS, status)
        self.worker.answer(status, phrase)
        return NO

    def _refuse(
        self, user: OutboundUser, called: Called, reason: str, status: int, phrase: str
    ) -> int:
        """Refuse a call of a user, and report it."""
        self._report(user, called, refusal=reason or NO_NUMBER, status=status)
        return self.worker.answer(status, phrase)

    def _report(
        self,
        user: OutboundUser,
        called: Called,
        planned: tuple[str, ...] = (),
        *,
        refusal: str = "",
        status: int = 0,
    ) -> None:
        """Report what becomes of a user's call."""
        ksr, worker = self.ksr, self.worker
        message = worker.message
        decision = call_events.CallOut(
            worker.arrival(),
            user.name,
            worker.source(),
            _uri(next(iter(message.as_written("from")), "")),
            called.number or f"{called.user}@{self._domain}",
            message.request_line[1],
            text(lambda: str(ksr.pv.get("$ft"))) or "",
            text(ksr.kx.get_callid) or "",
            planned,
            refusal,
            status,
            called.emergency,
        )
        worker.decision_sender.send_record(call_events.call_out(decision))

    def _tried(self, call: OutboundCall, reason: str, status: int) -> None:
        """Report how a trunk answered a call."""
        record = call_events.tried(
            arrival_of(call.cookie), call.trunk_id, reason, status, time.time()
        )
        self.worker.decision_sender.send_record(record)

    def _again(self, call: OutboundCall, access: TrunkAccess) -> int:
        """Send a call to its trunk again."""
        shown = identity(access.trunk, call.caller, call.called)
        if shown is None or access.home is None:
            return self._next(call, NOT_SENT)
        self._send_to(access, access.home, shown.request_uri, call)
        return GO_ON

    def _aim(self, call: OutboundCall) -> OutboundCall | None:
        """Aim a call at the next trunk that can get it, and return it; None: there is none."""
        while (following := call.with_next_trunk()) is not None:
            call = following
            access = self._access(call.trunk_id)
            if access is None or access.home is None:
                continue
            shown = identity(access.trunk, call.caller, call.called)
            if shown is not None:
                self._dialogs.set_trunk(call.cookie, call.trunk_id)
                dialog = str(self.ksr.pv.get(DIALOG_ID))
                self._counts.at_trunk(dialog, call.caller.user.name, call.trunk_id)
                self._send_to(access, access.home, shown.request_uri, call)
                return call
        return None

    def _send_to(
        self, access: TrunkAccess, home: TransportAddress, request_uri: str, call: OutboundCall
    ) -> None:
        """Set where Kamailio sends a call, and store the call."""
        ksr = self.ksr
        ksr.seturi(request_uri)
        _, _, place = str(home).partition(":")
        transport = "" if home.transport == "udp" else f";transport={home.transport}"
        ksr.setdsturi(f"sip:{place}{transport}")
        if home.transport is Transport.TLS and not certificates.is_literal(access.tls_name):
            ksr.pv.sets(SERVER_NAME, access.tls_name)
        if access.socket is not None:
            ksr.pv.sets("$fs", str(access.socket))
        ksr.tm.t_set_fr(0, round(call.try_s * 1000))
        ksr.pv.sets(TRUNK_ID, call.trunk_id)
        ksr.pv.sets(CALL, call.to_text())

    def _call(self) -> OutboundCall:
        return OutboundCall.from_text(str(self.ksr.pv.get(CALL)))

    def _access(self, trunk_id: str) -> TrunkAccess | None:
        return self.worker.directory.trunk_access([trunk_id]).get(trunk_id)

    def _health(self, trunk_id: str) -> Health:
        stored = self.ksr.htable.sht_get(HEALTH, trunk_id)
        return HEALTHY if stored is None else Health.from_text(str(stored))

    def _is_user(self, name: str) -> bool:
        return self.worker.directory.user(name, self._domain) is not None

    def _rules(self) -> Routing:
        """Return the rules for users' calls, of the current generation of the directory."""
        cache = self.worker.decision_cache
        cache.is_current(self.worker.now())
        if cache.seen is None or cache.seen != self._routing_of:
            seen = cache.seen
            self._routing = self.worker.directory.routing()
            self._routing_of = seen
        return self._routing


def _uri(value: str) -> str:
    """Return the URI of a header, as written; empty for no valid header."""
    found = split_name_addr(value)
    return found[0] if found is not None else ""
