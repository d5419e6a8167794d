"""The four outcomes of a step: a request, the next server, a failure, or the end.

All rules of the machine use them (machine.py, answers.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

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
from whence.core.sip.transport_address import Transport, TransportAddress


class Step(NamedTuple):
    """The inputs of one step, together, so that the rules need no long argument lists."""

    before: Registration
    now: float
    account: Account
    dice: Randomness
    waits: Waits

    def send(self, r: Registration, request: PendingRegister, state: State) -> StepResult:
        """Put `request` in flight; return the REGISTER that sends it."""
        kept, counts = r.nonces, r.nonce_counts
        # Over TLS the connection may be new. Its certificate is checked only with its first answer.
        # Before that the other end gets no credentials.
        is_bare = request.bare or request.next_hop.transport is Transport.TLS
        if is_bare and request.challenges == 0:
            kept = ()
        nonces: tuple[Nonce, ...] = ()
        for nonce in kept:
            uses, counts = counts.used(nonce.challenge)
            nonces += (nonce._replace(uses=uses),)
        r = r._replace(
            cseq=r.cseq + 1,
            in_flight=request._replace(cnonce=self.dice.cnonce if nonces else ""),
            next_at=None,
            nonces=nonces,
            nonce_counts=counts,
            state=state,
            since=self.since(state),
        )
        headers = tuple(self._authorization(nonce) for nonce in nonces)
        return r, (Send(r.cseq, request.next_hop, request.expires_s, headers),)

    def ask_next_server(
        self, request: PendingRegister, reply: Reply | None, why: Why
    ) -> StepResult:
        """Send the request to the next server of this attempt; fail without a next one."""
        for is_redirect, servers in ((True, request.redirects), (False, request.others)):
            for at, server in enumerate(servers):
                if server not in request.tried:
                    left = servers[at + 1 :]
                    return self._try(request, server, left, is_redirect=is_redirect)
        if request.expires_s == 0:
            return self.end(self.before, unconfirmed("the registrar did not answer"))
        return self.fail(Failure.UNREACHABLE, why, reply)

    def try_next_redirect(
        self, request: PendingRegister, failure: Failure, reply: Reply, why: Why
    ) -> StepResult:
        """Send the request to the next target of a 3xx, if one rejected it; else fail.

        RFC 3261 8.1.3.4: each failure of such a target leads to the next one.
        """
        if request.redirected and any(t not in request.tried for t in request.redirects):
            return self.ask_next_server(request, reply, why)
        return self.fail(failure, why, reply)

    def _try(
        self,
        request: PendingRegister,
        server: TransportAddress,
        left: tuple[TransportAddress, ...],
        *,
        is_redirect: bool,
    ) -> StepResult:
        tried = PendingRegister(
            server,
            request.expires_s,
            request.others if is_redirect else left,
            left if is_redirect else (),
            request.tried | {server},
            retried=request.retried,
            bare=True,  # a nonce belongs to the server that sent it
            redirected=is_redirect,
            followed=request.followed,
            led_to=request.led_to,
        )
        return self.send(self.before, tried, self.before.state)

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
        may_send_at = self.waits.may_send_credentials_at(r.auth_rejections)
        return r._replace(
            in_flight=None,
            nonces=(),
            again=False,
            state=state,
            since=self.since(state),
            next_at=self.now if r.again else max(self.now + wait_s, may_send_at),
            home=r.home if r.granted(self.now) or failure is not Failure.UNREACHABLE else None,
            failures=failures,
            failure=failure,
            **last_answer(reply),
            reason=why.reason,
            message=why.message,
        ), ()

    def end(self, r: Registration, why: Why) -> StepResult:
        """Return the registration without a grant, an address or a request in flight."""
        r = r._replace(
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
