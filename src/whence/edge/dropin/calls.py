"""The handler of calls: which uac account a call is for, or the reason why no account gets it.

Where anything fails, no account gets the call.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from whence.core.identification import uac_accounts
from whence.core.identification.decision import Identified, Reason
from whence.core.identification.decision import message as message_of
from whence.core.identification.uac_accounts import Declined
from whence.core.registration import uac
from whence.core.registration.model import State
from whence.core.sip.message import Message
from whence.edge.base import GO_ON, NO, Worker, hides, one_line, read, text
from whence.edge.decision_cache import CachedDecision
from whence.edge.dropin.base import DropInPart
from whence.errors import StoreError, WriteDeferredError
from whence.ipc import decisions, headers
from whence.store.system_clock import boottime
from whence.store.worker import Change, LearningWriter

TRUNK = "$avp(whence_trunk)"
REASON = "$avp(whence_reason)"
MESSAGE = "$avp(whence_message)"
"""The result of `route(WHENCE)`: the account's l_uuid, the code of the reason, and its sentence."""

WRITE_TIMEOUT_S = 0.05
"""How long a call waits while other workers write the directory."""

NO_ACCOUNT, DISABLED = -1, -3
"""Results of `uac_reg_status` (5.6.3). Others: registered, in progress, failed."""

TABLE_READ_S = 5.0
"""How long `uac` may take to read its table, after a start or when an RPC orders it."""

Handler = Callable[["CallHandlers", object], int]


def declines(handler: Handler) -> Handler:
    """Make a handler that identifies no account if it fails, and gives the reason."""

    @wraps(handler)
    def declining(own: CallHandlers, message: object) -> int:
        try:
            return handler(own, message)
        except StoreError as error:
            reason, sentence = Declined.DIRECTORY_UNAVAILABLE, str(error)
        except Exception as error:  # noqa: BLE001 - no failure may let a call in
            reason, sentence = Declined.INTERNAL_ERROR, f"{handler.__name__}: {one_line(error)}"
        own.ksr.err(f"whence: {sentence}\n")
        return own.decline(reason, sentence)

    return declining


class CallHandlers(DropInPart):
    """The handler that `route(WHENCE)` calls."""

    def __init__(self, worker: Worker, writer: LearningWriter) -> None:
        super().__init__(worker, writer)
        self._started_at = 0.0
        self._missing_since: dict[str, float] = {}
        """l_uuid that a call named → since when `uac` has no account of it."""

    def child_init(self, _rank: int) -> int:
        """Note when this process started."""
        self._started_at = boottime()
        return 0

    @declines
    def whence_identify(self, _message: object) -> int:
        """Identify an initial INVITE or MESSAGE; true only if it belongs to one account."""
        ksr, worker = self.ksr, self.worker
        message = self._message()
        if message is None or message.request_fault():
            return worker.answer(400, "Bad Request")
        key = worker.cache_key(message)
        method, call_id = text(ksr.kx.get_method), text(ksr.kx.get_callid)
        if key is None or method is None or call_id is None:
            return self.decline(Declined.UNREADABLE_REQUEST, "it cannot be read")
        self._write_deferred()
        now = worker.now()  # after the writes, which may correct the clock
        cached = worker.decision_cache.get(key, now)
        if cached is not None and self._is_active(cached.trunk):
            return self._accept(cached, method, call_id, from_cache=True)
        request = read(key)
        if request is None:
            sentence = "its Request-URI cannot be read"
            return self.decline(Declined.UNREADABLE_REQUEST_URI, sentence)
        if worker.has_new_number_headers(now):
            key = worker.cache_key(message) or key
            request = read(key) or request
        chosen = uac_accounts.choose(
            lambda without: worker.directory.decide(request, now, without),
            self._is_active,
            self._may_return,
        )
        if isinstance(chosen, uac_accounts.NoAccount):
            return self.decline(chosen.reason, chosen.message)
        decision, source = chosen.decision, request.source
        report = decisions.report_body(decision, source, *key[1:])
        if not isinstance(decision, Identified):
            bounded = decisions.bounded_method(method)
            worker.report(report, bounded, call_id, from_cache=False)
            return self.decline(decision.reason, decision.message)
        answer = CachedDecision(
            decision.trunk.id,
            decision.rule,
            f"{headers.TRUNK}: {decision.trunk.id}\r\n{headers.SOURCE}: {source}\r\n",
            decision.trunk.target,
            True,
            chosen.evidence.good_until(now),
            report,
        )
        if chosen.among_all:
            worker.decision_cache.keep(key, answer)
        return self._accept(answer, method, call_id, from_cache=False)

    def _message(self) -> Message | None:
        """Return the message that Kamailio handles, without headers that only the edge may write.

        None if it has a fault, is too long, or hides such a header: the caller refuses it.
        """
        message = self.worker.read_message()
        if message is None or message.fault or hides(message):
            return None
        if headers.PREFIX in message.head:
            self.worker.remove_ours()
        return message

    def _accept(
        self, answer: CachedDecision, method: str, call_id: str, *, from_cache: bool
    ) -> int:
        """Send the call to the account's local user, as `uac` has it now."""
        ksr = self.ksr
        if ksr.uac.uac_reg_lookup(answer.trunk, "$ru") < 0:
            if not answer.target:
                sentence = f"the uac account {answer.trunk} is not there yet"
                return self.decline(Declined.ACCOUNT_NOT_READY, sentence)
            ksr.seturi(answer.target)  # the user that the account had at its last grant
        ksr.hdr.append(answer.headers)
        ksr.pv.sets(TRUNK, answer.trunk)
        ksr.pv.sets(REASON, answer.rule)
        ksr.pv.sets(MESSAGE, message_of(answer.rule, answer.trunk))
        self.worker.report(answer.report, method, call_id, from_cache=from_cache)
        return GO_ON

    def decline(self, reason: Reason | Declined, sentence: str) -> int:
        """Set the reason why no account gets the call, and return false."""
        self.ksr.pv.sets(REASON, reason)
        self.ksr.pv.sets(MESSAGE, sentence)
        return NO

    def _write_deferred(self) -> None:
        """Write the changes that this worker could not write before."""
        try:
            self.log_events(self.writer.catch_up(WRITE_TIMEOUT_S))
        except WriteDeferredError as error:
            self.ksr.err(f"whence: {error}\n")

    def _is_active(self, l_uuid: str) -> bool:
        """Return whether `uac` has the account, and no operator has disabled it.

        `uac` gives no notice of either. So this asks it at each call that would be the account's.

        `uac` also disables an account itself if a refresh fails (reg_retry_interval 0). The grant
        is valid all the same. The last answer that the directory has shows which case it is.
        """
        status = self.ksr.uac.uac_reg_status(l_uuid)
        if status == NO_ACCOUNT:
            # After a start, and while it reads its table again, `uac` has no account for a moment.
            # So the addresses of this account stay in the directory.
            now = boottime()
            self._missing_since.setdefault(l_uuid, now)
            return now - self._started_at < TABLE_READ_S
        self._missing_since.pop(l_uuid, None)
        if status != DISABLED:
            return True
        last = self.writer.registration(l_uuid)
        if last is not None and last.state is State.WAITING:
            return True
        change = Change(l_uuid, None, "", boottime(), uac.unregistered)
        self.writer.write(change, WRITE_TIMEOUT_S)
        return False

    def _may_return(self, l_uuid: str) -> bool:
        """Return whether `uac` may be reading its table: no other account gets the call then."""
        since = self._missing_since.get(l_uuid)
        return since is not None and boottime() - since < TABLE_READ_S
