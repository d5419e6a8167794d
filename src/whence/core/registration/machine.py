"""The registration of one trunk, as a state machine: (state, fact, now) -> (state, actions).

The rules it keeps:
- Never two requests in flight. Call-ID stays for life, CSeq only grows.
- An address is learned from a 2xx to our own REGISTER that lists our Contact, and only from whom
  was asked (learning.py); from nothing else. A 2xx from elsewhere counts as registered, and
  changes nothing of what was learned: neither its end nor the server that granted it.
- Only whom was asked redirects us.
- A failed refresh takes nothing away: what the registrar granted stands until it ends by itself.
- What we take back ourselves ends at once, before the registrar has heard of it.
- Never silent for ever: unless it is taken back, a registration has a request in flight or a
  `next_at`. And never hasty: after each failure it waits as `retry` says.

The shell carries the actions out in their order, after it has written the new state down; whatever
comes of them is the next fact. It asks for a step at `next_at`. Randomness is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from whence.core.registration.backoff import WAITS, Failure, Waits
from whence.core.registration.events import (
    Answered,
    Due,
    Expired,
    Follow,
    ForgetAddresses,
    IgnoreReply,
    KeepAliveFailed,
    Learn,
    MachineEvent,
    Pause,
    Randomness,
    Redirected,
    RegisterNow,
    Send,
    StepResult,
    Unanswered,
    Unregister,
)
from whence.core.registration.grant import granted
from whence.core.registration.learning import ExpectedSources, Permit, permit
from whence.core.registration.model import (
    Account,
    Nonce,
    PendingRegister,
    Registration,
    Reply,
    State,
)
from whence.core.registration.reason import TAKEN_BACK, RegistrationReason, Why
from whence.core.sip.digest import (
    answerable,
    authorization,
    proves,
)
from whence.core.sip.transport_address import Transport, TransportAddress

MIN_EXPIRES_LIMIT_S = 7 * 86_400
"""The longest Min-Expires (423) that is adopted."""

CHALLENGES_LIMIT = 4
"""How many challenges one attempt answers: a first, and stale ones. A registrar cannot loop us."""


def step(
    registration: Registration,
    fact: MachineEvent,
    now: float,
    account: Account,
    dice: Randomness,
    waits: Waits = WAITS,
) -> StepResult:
    """Take one fact; return the new state and what is to be done, in this order."""
    turn = _Transition(registration, now, account, dice, waits)
    match fact:
        case Due(targets, why):
            return turn.due(targets, why)
        case Answered(reply, source, expected):
            return turn.answered(reply, source, expected)
        case Unanswered(why):
            return turn.unanswered(why)
        case Redirected(targets):
            return turn.redirected(targets)
        case Unregister(targets, held):
            return turn.take_back(targets, held)
        case Pause():
            return turn.park()
        case RegisterNow():
            return turn.want()
        case KeepAliveFailed():
            return turn.silent()
        case Expired():
            return turn.lapsed()


def resumed(registration: Registration, now: float, waits: Waits = WAITS) -> Registration:
    """Make of what was written down what is true after a restart.

    What is granted is not asked for again before its time. A request that was in flight is lost,
    and so is what the end of the program took back: both are asked for anew, at once; after a
    failure not before its wait is over, however often we are started. What came of the lost request
    nobody knows: it counts as one more such failure. What the operator holds
    stays so; where a request was under way for it, it is to be taken back anew.
    """
    r = replace(registration, wanted=not registration.held)
    if r.held or r.next_at is not None:
        return r
    if r.failure is None:
        return replace(r, state=State.NEW, next_at=now)
    failures = r.failures + r.state.under_way
    waits_until = r.since + waits.after(r.failure).wait_s(failures, 0.0)
    state = State.PARKED if r.failure is Failure.WRONG_CREDENTIALS else State.WAITING
    return replace(r, state=state, failures=failures, next_at=max(now, waits_until))


@dataclass(frozen=True, slots=True)
class _Transition:
    """One step: what it starts from, so that the rules below need no long argument lists."""

    before: Registration
    now: float
    account: Account
    dice: Randomness
    waits: Waits

    def due(self, targets: Sequence[TransportAddress], why: Why | None) -> StepResult:
        r = self.before
        if not r.wanted or r.in_flight is not None:
            return r, ()
        hops = self._hops(targets)
        if not hops:
            return self._failed(Failure.UNREACHABLE, why or _NOWHERE)
        expires_s = max(self.account.expires_s, r.min_expires_s)
        first, *others = hops
        return self._send(r, PendingRegister(first, expires_s, tuple(others)), State.REGISTERING)

    def take_back(self, targets: Sequence[TransportAddress] | None, held: bool) -> StepResult:
        r = replace(self.before, wanted=False, held=held or self.before.held)
        if r.in_flight is not None:
            # What was granted before, or is granted by its answer, is taken back when it comes.
            return replace(r, next_at=None, again=False, learned_until=None), (ForgetAddresses(),)
        if not r.granted(self.now) and not r.learned(self.now):
            return self._ended(r, TAKEN_BACK)
        if targets is None:
            state = State.UNREGISTERING
            r = replace(r, next_at=None, state=state, since=self._since(state), learned_until=None)
            return r, (ForgetAddresses(),)
        hops = self._hops(targets)
        if not hops:
            return self._ended(r, _unconfirmed("no server of the registrar is known"))
        r = replace(r, expires_at=None, learned_until=None)
        first, *others = hops
        request = PendingRegister(first, 0, tuple(others))
        r, sends = self._send(r, request, State.UNREGISTERING)
        return r, (ForgetAddresses(), *sends)

    def _hops(self, targets: Sequence[TransportAddress]) -> Sequence[TransportAddress]:
        """Whom to ask, in order. Stay with the server that granted, also where the name does not
        say it any more; where nobody answers for the name, only while its grant stands. After it
        has failed, it is one among the others.
        """
        home = self.before.home
        if home is None or not (targets or self.before.granted(self.now)):
            return targets
        if self.before.failure is not Failure.UNREACHABLE:
            return [home, *(target for target in targets if target != home)]
        return targets if home in targets else [*targets, home]

    def park(self) -> StepResult:
        r = self.before
        if r.in_flight is not None:  # it will be told again when that is answered
            return r, ()
        return replace(
            r,
            wanted=False,
            held=True,
            state=State.PARKED,
            since=self._since(State.PARKED),
            next_at=None,
            reason=RegistrationReason.PARKED_BY_OPERATOR,
            message="parked by the operator",
        ), ()

    def want(self) -> StepResult:
        r = replace(self.before, wanted=True, held=False, failures=0, failure=None)
        if r.in_flight is not None:
            return replace(r, again=True), ()
        return replace(r, next_at=self.now), ()

    def silent(self) -> StepResult:
        r = self.before
        if r.state is not State.REGISTERED or r.next_at is None:
            return r, ()
        return replace(r, next_at=min(r.next_at, self.now)), ()

    def lapsed(self) -> StepResult:
        r = self.before
        if r.expires_at is None or r.granted(self.now):
            return r, ()
        return replace(r, expires_at=None), ()

    def unanswered(self, why: Why) -> StepResult:
        request = self.before.in_flight
        if request is None or request.following:
            return self.before, ()
        return self._next_target(request, None, why)

    def answered(
        self, reply: Reply, source: TransportAddress, expected: ExpectedSources
    ) -> StepResult:
        request = self.before.in_flight
        if request is None or request.following or reply.cseq != self.before.cseq:
            return self.before, ()  # late, or not to what we asked
        if (
            request.expires_s == 0
            and not 300 <= reply.status < 400
            and reply.status not in (401, 407)
        ):
            return self._ended(self.before, TAKEN_BACK)
        said = f"{reply.status} {reply.reason}".strip()
        match reply.status:
            case status if 200 <= status < 300:
                return self._accepted(request, reply, source, expected)
            case status if status < 400:
                return self._told_elsewhere(request, reply, source, expected)
            case 401 | 407:
                return self._challenged(request, reply)
            case 423:
                return self._too_brief(request, reply)
            case status if status in (408, 430) or status >= 500:
                return self._next_target(
                    request, reply, Why(RegistrationReason.SERVER_FAILED, said)
                )
            case _:
                return self._failed(Failure.REFUSED, Why(RegistrationReason.REJECTED, said), reply)

    def _permit(
        self,
        request: PendingRegister,
        reply: Reply,
        source: TransportAddress,
        expected: ExpectedSources,
    ) -> Permit | None:
        asked = request.led_to | {request.next_hop.ip}
        return permit(source, asked, expected, self.now, proven=self._is_proven(request, reply))

    def _is_proven(self, request: PendingRegister, reply: Reply) -> bool:
        """Return whether the reply proves knowledge of the password to this very request."""
        uri = self.account.request_uri
        return any(
            proves(info, n.challenge, self.account.credentials, uri, n.uses, request.cnonce)
            for info in reply.infos
            for n in self.before.nonces
        )

    def _accepted(
        self,
        request: PendingRegister,
        reply: Reply,
        source: TransportAddress,
        expected: ExpectedSources,
    ) -> StepResult:
        granted_s = granted(reply, self.account, request.expires_s)
        if isinstance(granted_s, Why):
            return self._failed(Failure.REFUSED, granted_s, reply)
        permitted = self._permit(request, reply, source, expected)
        if permitted is None:  # nobody who was not asked keeps us from asking longer than we wanted
            granted_s = min(granted_s, request.expires_s)
        expires_at = self.now + granted_s
        registered_at = self.before.unbroken_since(self.now)
        r = replace(
            self.before,
            in_flight=None,
            state=State.REGISTERED,
            since=registered_at,
            registered_at=registered_at,
            granted_s=granted_s,
            expires_at=expires_at,
            again=False,
            next_at=self.now
            if self.before.again
            else self.now + self.waits.refresh_s(granted_s, self.dice.chance),
            failures=0,
            failure=None,
            **_last(reply),
            reason=RegistrationReason.GRANTED,
            message=granted_message(granted_s),
        )
        if not r.wanted:  # taken back while the answer was under way
            r = replace(r, expires_at=None, learned_until=None)
            return self._send(r, PendingRegister(request.next_hop, 0), State.UNREGISTERING)
        if permitted is None:
            # `registrar` and `home` stay: who answered is not the server.
            r = replace(r, next_at=self._next_at_beside_learned(r))
            return unexpected(r, source, str(request.next_hop))
        return learned(replace(r, home=request.next_hop), source, expires_at, permitted)

    def _next_at_beside_learned(self, r: Registration) -> float | None:
        """Refresh before what the server granted ends, though another one granted for longer."""
        if r.next_at is None or r.learned_until is None or not r.learned(self.now):
            return r.next_at
        left_s = self.waits.refresh_s(r.learned_until - self.now, self.dice.chance)
        return min(r.next_at, self.now + max(left_s, self.waits.unreachable.first_s))

    def _challenged(self, request: PendingRegister, reply: Reply) -> StepResult:
        answers = answerable(reply.challenges, self.account.credentials)
        if not answers:
            offered = ", ".join(f"{c.algorithm} for realm {c.realm}" for c in reply.challenges)
            said = f"no challenge that can be answered ({offered or 'none was sent'})"
            why = Why(RegistrationReason.NO_USABLE_CHALLENGE, said)
            return self._failed(Failure.WRONG_CREDENTIALS, why, reply)
        unwanted = not self.before.wanted and request.expires_s > 0
        if unwanted and not self.before.granted(self.now):
            return self._ended(self.before, TAKEN_BACK)
        if any(c.asks in request.answered and not c.stale for c in answers):
            return self._failed(Failure.WRONG_CREDENTIALS, _WRONG_CREDENTIALS, reply)
        if request.challenges >= CHALLENGES_LIMIT:
            return self._failed(Failure.REFUSED, _CHALLENGED_TOO_OFTEN, reply)
        asking = tuple(c.asks for c in answers)
        kept = tuple(n for n in self.before.nonces if n.challenge.asks not in asking)
        fresh = tuple(Nonce(challenge, 0) for challenge in answers)
        r = replace(self.before, nonces=kept + fresh, **_last(reply))
        again = replace(
            request,
            expires_s=request.expires_s if r.wanted else 0,
            challenges=request.challenges + 1,
            answered=tuple({*request.answered, *asking}),
        )
        return self._send(r, again, r.state)

    def _told_elsewhere(
        self,
        request: PendingRegister,
        reply: Reply,
        source: TransportAddress,
        expected: ExpectedSources,
    ) -> StepResult:
        """Follow a 3xx, once in an attempt (RFC 3261 8.1.3.4); the Request-URI stays ours.

        A 3xx from elsewhere is not followed: its target would be asked next, and so be learned.
        """
        said = f"{reply.status} {reply.reason}".strip()
        if self._permit(request, reply, source, expected) is None:
            ignored = IgnoreReply(source, str(request.next_hop))
            said = f"{said} by {source}, which was not asked: it is not followed"
            why = Why(RegistrationReason.REDIRECT_BY_UNEXPECTED_ADDRESS, said)
            after, actions = self._next_target(request, reply, why)
            return replace(after, unexpected=source), (ignored, *actions)
        if request.redirected or not reply.contacts:
            return self._failed(
                Failure.REFUSED, Why(RegistrationReason.REDIRECT_REFUSED, said), reply
            )
        r = replace(
            self.before,
            in_flight=replace(request, redirected=True, following=True),
            **_last(reply),
        )
        return r, (Follow(reply.contacts[0].uri),)

    def redirected(self, targets: Sequence[TransportAddress]) -> StepResult:
        request = self.before.in_flight
        if request is None or not request.following:
            return self.before, ()
        if not self.before.wanted and request.expires_s > 0:
            return self._ended(self.before, TAKEN_BACK)
        if not targets:
            return self._next_target(request, None, _REDIRECTED_NOWHERE)
        first, *others = targets
        request = replace(
            request,
            next_hop=first,
            others=tuple(others) + request.others,
            following=False,
            led_to=request.led_to | {target.ip for target in targets},
        )
        return self._send(self.before, request, self.before.state)

    def _too_brief(self, request: PendingRegister, reply: Reply) -> StepResult:
        asked, least = request.expires_s, reply.min_expires_s
        if least is None or request.lengthened or not asked < least <= MIN_EXPIRES_LIMIT_S:
            said = f"423 with Min-Expires {least} to {asked} s asked"
            why = Why(RegistrationReason.INTERVAL_TOO_BRIEF, said)
            return self._failed(Failure.REFUSED, why, reply)
        r = replace(self.before, min_expires_s=least, **_last(reply))
        return self._send(r, replace(request, expires_s=least, lengthened=True), r.state)

    def _next_target(self, request: PendingRegister, reply: Reply | None, why: Why) -> StepResult:
        if request.expires_s == 0 and not request.others:
            return self._ended(self.before, _unconfirmed("the registrar did not answer"))
        if request.others:
            first, *others = request.others
            tried = PendingRegister(
                first,
                request.expires_s,
                tuple(others),
                redirected=request.redirected,
                led_to=request.led_to,
            )
            return self._send(self.before, tried, self.before.state)
        return self._failed(Failure.UNREACHABLE, why, reply)

    def _failed(self, failure: Failure, why: Why, reply: Reply | None = None) -> StepResult:
        r = self.before
        request = r.in_flight
        if request is not None and (not r.wanted or request.expires_s == 0):
            answers = failure is not Failure.UNREACHABLE
            if request.expires_s > 0 and answers and (r.granted(self.now) or r.learned(self.now)):
                # Taken back during a refresh that failed: the older grant still stands.
                return self._send(r, PendingRegister(request.next_hop, 0), State.UNREGISTERING)
            return self._ended(r, _unconfirmed(why.message))
        failures = r.failures + 1 if r.failure is failure else 1
        wait_s = self.waits.after(failure).wait_s(failures, self.dice.chance)
        parked = failure is Failure.WRONG_CREDENTIALS  # then no Retry-After makes us hammer
        if reply is not None and reply.retry_after_s is not None and not parked:
            wait_s = max(1.0, min(reply.retry_after_s, self.waits.retry_after_limit_s))
        state = State.PARKED if parked else State.WAITING
        return replace(
            r,
            in_flight=None,
            nonces=(),
            again=False,
            state=state,
            since=self._since(state),
            next_at=self.now if r.again else self.now + wait_s,
            home=r.home if r.granted(self.now) or failure is not Failure.UNREACHABLE else None,
            failures=failures,
            failure=failure,
            **_last(reply),
            reason=why.reason,
            message=why.message,
        ), ()

    def _ended(self, r: Registration, why: Why) -> StepResult:
        r = replace(
            r,
            in_flight=None,
            nonces=(),
            again=False,
            state=State.UNREGISTERED,
            since=self._since(State.UNREGISTERED),
            granted_s=None,
            expires_at=None,
            learned_until=None,
            unexpected=None,
            next_at=self.now if r.wanted else None,
            reason=why.reason,
            message=why.message,
        )
        return r, (ForgetAddresses(),)

    def _send(self, r: Registration, request: PendingRegister, state: State) -> StepResult:
        kept = r.nonces
        if request.next_hop.transport is Transport.TLS and request.challenges == 0:
            # The connection may be a new one, and its other end is known only by its first answer:
            # until then it gets no credentials.
            kept = ()
        nonces = tuple(replace(nonce, uses=nonce.uses + 1) for nonce in kept)
        r = replace(
            r,
            cseq=r.cseq + 1,
            in_flight=replace(request, cnonce=self.dice.cnonce if nonces else ""),
            next_at=None,
            nonces=nonces,
            state=state,
            since=self._since(state),
        )
        headers = tuple(self._authorization(nonce) for nonce in nonces)
        return r, (Send(r.cseq, request.next_hop, request.expires_s, headers),)

    def _authorization(self, nonce: Nonce) -> tuple[str, str]:
        challenge = nonce.challenge
        return (
            "Proxy-Authorization" if challenge.proxy else "Authorization",
            authorization(
                challenge,
                self.account.credentials,
                "REGISTER",
                self.account.request_uri,
                nonce.uses,
                self.dice.cnonce,
            ),
        )

    def _since(self, state: State) -> float:
        return self.before.since if self.before.state is state else self.now


def learned(
    r: Registration, source: TransportAddress, expires_at: float, permitted: Permit
) -> tuple[Registration, tuple[Learn, ...]]:
    """Return the registration after a grant that teaches `source`, and what it teaches."""
    if permitted.until is not None:
        expires_at = min(expires_at, permitted.until)
    after = replace(r, registrar=source, learned_until=expires_at, unexpected=None)
    p = permitted
    return after, (Learn(source, expires_at, p.ground, p.until, p.exact),)


def unexpected(
    r: Registration, source: TransportAddress, asked: str
) -> tuple[Registration, tuple[IgnoreReply, ...]]:
    """Return the registration after a grant by `source`, which was not asked, and what is told."""
    message = f"{r.message} by {source}, but {asked} was asked: no address is learned"
    reason = RegistrationReason.GRANTED_BY_UNEXPECTED_ADDRESS
    return replace(r, unexpected=source, reason=reason, message=message), (
        IgnoreReply(source, asked),
    )


def granted_message(granted_s: int) -> str:
    """Tell people for how long a registration is granted."""
    return f"granted {granted_s} s"


_NOWHERE = Why(RegistrationReason.NO_ADDRESS, "no address of the registrar is known")
_WRONG_CREDENTIALS = Why(RegistrationReason.WRONG_CREDENTIALS, "wrong credentials")
_CHALLENGED_TOO_OFTEN = Why(RegistrationReason.CHALLENGED_TOO_OFTEN, "challenged again and again")
_REDIRECTED_NOWHERE = Why(
    RegistrationReason.REDIRECT_WITHOUT_ADDRESS, "redirected to a name that has no address"
)


def _unconfirmed(detail: str) -> Why:
    return Why(RegistrationReason.TAKEN_BACK_UNCONFIRMED, f"taken back; {detail}")


def _last(reply: Reply | None) -> dict[str, Any]:
    """What is kept of the last answer."""
    if reply is None:
        return {"last_status": None, "last_phrase": ""}
    return {"last_status": reply.status, "last_phrase": reply.reason}
