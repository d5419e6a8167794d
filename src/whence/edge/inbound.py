"""Initial requests: the edge identifies their trunk, and sets the target for Kamailio."""

from __future__ import annotations

from whence.core.identification.decision import Identified, Reason, Unknown
from whence.core.identification.identify import dialled
from whence.core.sip.phone_number import bare
from whence.core.sip.uri import Uri, escape_user
from whence.edge.base import ANSWERED, GO_ON, PHONES, Handlers, Worker, answers, read, text
from whence.edge.decision_cache import CachedDecision, CacheKey
from whence.edge.dialogs import TRUNK, USER
from whence.edge.guard import GuardHandlers
from whence.edge.known_answers import KnownAnswers
from whence.edge.sending_sockets import SendingSockets
from whence.ipc import decisions, headers

TO_USER = 2
"""`ksr_initial` returns it for a call to a local user. kamailio.cfg looks up the phones."""

BY_USER = 3
"""`ksr_initial` returns it for the call of a phone, which `ksr_call` authenticates."""

RELAYED = frozenset({"INVITE", "MESSAGE"})
"""The methods that the edge relays for a trunk: a call, or a message."""

ALLOW = (
    "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, PRACK, UPDATE, INFO, REFER, NOTIFY, "
    "SUBSCRIBE, REGISTER\r\n"
)
"""All methods that the edge handles, most of them inside a dialog only (RFC 3261 20.5)."""


class InboundHandlers(Handlers):
    """Identifies initial requests."""

    def __init__(
        self,
        worker: Worker,
        guard: GuardHandlers,
        sending: SendingSockets,
        domain: str,
        *,
        calls_out: bool,
    ) -> None:
        """`calls_out`: whether users may call numbers."""
        super().__init__(worker)
        self._calls_out = calls_out
        self._sending = sending
        self._guard = guard
        self._domain = domain
        self._known_answers = KnownAnswers(worker)

    @answers
    def ksr_initial(self, _message: object) -> int:
        """Identify the trunk of an initial request, and make the trunk's target its Request-URI.

        Returns GO_ON or TO_USER for a request of a trunk, and BY_USER for the call of a phone;
        answers all others.
        """
        ksr, worker, now = self.ksr, self.worker, self.worker.now()
        message = worker.message
        key = worker.cache_key(message)
        method, call_id = text(ksr.kx.get_method), text(ksr.kx.get_callid)
        if key is None or method is None or call_id is None:
            worker.report_refusal(Reason.MALFORMED)
            return worker.answer(400, "Bad Request")
        if self._calls_out and method == "INVITE" and self._is_by_user(now):
            return BY_USER
        cached = worker.decision_cache.get(key, now) if method in RELAYED else None
        decision = cached or self._decide(key, method, call_id, now)
        if decision is None:
            return ANSWERED
        if decision.has_called_party and key.p_called_party_id is not None:
            ksr.hdr.remove("P-Called-Party-ID")
        ksr.hdr.append(decision.headers)
        if method == "INVITE":
            ksr.pv.sets(TRUNK, decision.trunk)
            ksr.pv.sets(USER, decision.target if decision.is_ours else "")
            if decision.is_ours or not self._sending.chooses:
                self._known_answers.keep(key, decision, now)
        ksr.seturi(decision.target)
        if not decision.is_ours:  # Kamailio knows the socket on which a phone registered
            self._sending.force_for_target(decision.target)
        from_cache = cached is not None
        worker.report(decision.report, method, call_id, from_cache=from_cache)
        return TO_USER if decision.is_ours else GO_ON

    def _is_by_user(self, now: float) -> bool:
        """Return whether an INVITE seems to be a phone's, and comes from no ip of a trunk.

        A request from a trunk's address is the trunk's, also if it names a user.
        """
        worker, source = self.worker, self.worker.source()
        if self.ksr.htable.sht_get(PHONES, f"{source.ip}:{source.port}") is None:
            message = worker.message
            if not message.all("proxy-authorization"):
                from_ = Uri.of_header(next(iter(message.all("from")), ""))
                if from_ is None or from_.host != self._domain:
                    return False
        return not worker.directory.admits_ip(source.ip, now)

    def _decide(
        self, key: CacheKey, method: str, call_id: str, now: float
    ) -> CachedDecision | None:
        """Decide on a request that the cache does not have; None where this answers it."""
        ksr, worker, request = self.ksr, self.worker, read(key)
        if request is not None and worker.has_new_number_headers(now):
            key = worker.cache_key(worker.message) or key
            request = read(key)
        if request is None:
            worker.answer(400, "Bad Request")
            worker.report_refusal(Reason.MALFORMED)
            return None
        decision, evidence = worker.directory.decide(request, now)
        if isinstance(decision, Identified) and method in RELAYED:
            trunk = decision.trunk
            number = dialled(request, trunk, evidence)
            target = fill(trunk.target, number)
            report = decisions.report_body(decision, request.source, *key[1:], target)
            is_ours = bool(ksr.is_myself(target))
            lines = f"{headers.TRUNK}: {trunk.id}\r\n{headers.SOURCE}: {request.source}\r\n"
            called = f"sip:{escape_user(number)}@{self._domain}"
            has_called_party = is_ours and bare(number) is not None
            if has_called_party:  # the phone's Contact becomes the Request-URI (RFC 7315 4.2)
                lines += f"P-Called-Party-ID: <{called}>\r\n"
            cached = CachedDecision(
                trunk.id,
                decision.rule,
                lines,
                target,
                is_ours,
                evidence.good_until(now),
                report,
                has_called_party,
            )
            worker.decision_cache.keep(key, cached)
            return cached
        if method == "OPTIONS" and not isinstance(decision, Unknown):
            ksr.hdr.append_to_reply(ALLOW)
            worker.answer(200, "OK")
        elif not isinstance(decision, Identified):
            worker.answer(403, "Forbidden")
        else:
            ksr.hdr.append_to_reply(ALLOW)
            worker.answer(405, "Method Not Allowed")
            worker.report_refusal(Reason.METHOD_NOT_ALLOWED, trunk_id=decision.trunk.id)
            return None
        report = decisions.report_body(decision, request.source, *key[1:])
        bounded = decisions.bounded_method(method)
        worker.report(report, bounded, call_id, from_cache=False)
        if isinstance(decision, Unknown):
            self._guard.count_refused()
        return None


def fill(target: str, number: str) -> str:
    """Write the called number into a target's `{number}`, escaped so that it stays a user part."""
    scheme, _, rest = target.partition(":")
    if not number and rest.startswith("{number}@"):  # `sip:@host` is not a URI
        return f"{scheme}:{rest.removeprefix('{number}@')}"
    return target.replace("{number}", escape_user(number))
