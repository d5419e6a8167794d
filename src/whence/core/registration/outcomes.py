"""The four outcomes of a step: a request, the next server, a failure, or the end.

All rules of the machine use them (machine.py, answers.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from whence.core.registration.backoff import Failure, Waits
from whence.core.registration.events import ForgetAddresses, Randomness, Send, StepResult
from whence.core.registration.model import (
    Account,
    Nonce,
    PendingRegister,
    Registration,
    Reply,
    State,
)
from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.digest import authorization
from whence.core.sip.transport_address import Transport


@dataclass(frozen=True, slots=True)
class Step:
    """The inputs of one step, together, so that the rules need no long argument lists."""

    before: Registration
    now: float
    account: Account
    dice: Randomness
    waits: Waits

    def send(self, r: Registration, request: PendingRegister, state: State) -> StepResult:
        """Put `request` in flight; return the REGISTER that sends it."""
        kept = r.nonces
        if request.next_hop.transport is Transport.TLS and request.challenges == 0:
            # The connection may be new. Its certificate is checked only with its first answer.
            # Before that the other end gets no credentials.
            kept = ()
        nonces = tuple(replace(nonce, uses=nonce.uses + 1) for nonce in kept)
        r = replace(
            r,
            cseq=r.cseq + 1,
            in_flight=replace(request, cnonce=self.dice.cnonce if nonces else ""),
            next_at=None,
            nonces=nonces,
            state=state,
            since=self.since(state),
        )
        headers = tuple(self._authorization(nonce) for nonce in nonces)
        return r, (Send(r.cseq, request.next_hop, request.expires_s, headers),)

    def ask_next_server(
        self, request: PendingRegister, reply: Reply | None, why: Why
    ) -> StepResult:
        """Send the request to the next server of this attempt; fail without a next one."""
        if request.expires_s == 0 and not request.others:
            return self.end(self.before, unconfirmed("the registrar did not answer"))
        if request.others:
            first, *others = request.others
            tried = PendingRegister(
                first,
                request.expires_s,
                tuple(others),
                redirected=request.redirected,
                led_to=request.led_to,
            )
            return self.send(self.before, tried, self.before.state)
        return self.fail(Failure.UNREACHABLE, why, reply)

    def fail(self, failure: Failure, why: Why, reply: Reply | None = None) -> StepResult:
        """End the attempt with a failure: wait, or end an unwanted registration."""
        r = self.before
        request = r.in_flight
        if request is not None and (not r.wanted or request.expires_s == 0):
            answers = failure is not Failure.UNREACHABLE
            if request.expires_s > 0 and answers and (r.granted(self.now) or r.learned(self.now)):
                # Unregistered during a refresh that failed: the older grant is still valid.
                return self.send(r, PendingRegister(request.next_hop, 0), State.UNREGISTERING)
            return self.end(r, unconfirmed(why.message))
        failures = r.failures + 1 if r.failure is failure else 1
        wait_s = self.waits.after(failure).wait_s(failures, self.dice.chance)
        # Retry-After must not shorten the wait after rejected credentials.
        auth_failed = failure is Failure.WRONG_CREDENTIALS
        if reply is not None and reply.retry_after_s is not None and not auth_failed:
            wait_s = max(1.0, min(reply.retry_after_s, self.waits.retry_after_limit_s))
        state = State.AUTH_FAILED if auth_failed else State.WAITING
        return replace(
            r,
            in_flight=None,
            nonces=(),
            again=False,
            state=state,
            since=self.since(state),
            next_at=self.now if r.again else self.now + wait_s,
            home=r.home if r.granted(self.now) or failure is not Failure.UNREACHABLE else None,
            failures=failures,
            failure=failure,
            **last_answer(reply),
            reason=why.reason,
            message=why.message,
        ), ()

    def end(self, r: Registration, why: Why) -> StepResult:
        """Return the registration without a grant, an address or a request in flight."""
        r = replace(
            r,
            in_flight=None,
            nonces=(),
            again=False,
            state=State.UNREGISTERED,
            since=self.since(State.UNREGISTERED),
            granted_s=None,
            expires_at=None,
            learned_until=None,
            unexpected=None,
            next_at=self.now if r.wanted else None,
            reason=why.reason,
            message=why.message,
        )
        return r, (ForgetAddresses(),)

    def since(self, state: State) -> float:
        """Return since when the registration is in `state`, if this step enters or keeps it."""
        return self.before.since if self.before.state is state else self.now

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


def unconfirmed(detail: str) -> Why:
    """Return the reason for an end that the registrar did not confirm."""
    return Why(RegistrationReason.UNREGISTERED_UNCONFIRMED, f"unregistered; {detail}")


def last_answer(reply: Reply | None) -> dict[str, Any]:
    """Return the fields of the last answer: its status and its reason phrase."""
    if reply is None:
        return {"last_status": None, "last_phrase": ""}
    return {"last_status": reply.status, "last_phrase": reply.reason}
