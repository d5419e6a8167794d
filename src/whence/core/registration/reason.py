"""Why a registration is in its state: a stable code, and a message for people.

Programs compare the code. The wording of a message may change at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RegistrationReason(StrEnum):
    """Why a registration is in its state."""

    GRANTED = "granted"
    GRANTED_BY_UNEXPECTED_ADDRESS = "granted_by_unexpected_address"
    """A 2xx from an address that was not asked: no address is learned."""
    UNREGISTERED = "unregistered"
    UNREGISTERED_UNCONFIRMED = "unregistered_unconfirmed"
    """It was unregistered, and the registrar did not confirm that."""
    PAUSED_BY_OPERATOR = "paused_by_operator"
    WRONG_CREDENTIALS = "wrong_credentials"
    NO_USABLE_CHALLENGE = "no_usable_challenge"
    CHALLENGED_TOO_OFTEN = "challenged_too_often"
    REDIRECT_REFUSED = "redirect_refused"
    """A 3xx without a Contact, or a second one in the same attempt."""
    REDIRECT_BY_UNEXPECTED_ADDRESS = "redirect_by_unexpected_address"
    REDIRECT_WITHOUT_ADDRESS = "redirect_without_address"
    INTERVAL_TOO_BRIEF = "interval_too_brief"
    """A 423 whose Min-Expires is not adopted."""
    CONTACT_NOT_LISTED = "contact_not_listed"
    NO_TIME_GRANTED = "no_time_granted"
    REJECTED = "rejected"
    """A final answer that rejects the registration."""
    SERVER_FAILED = "server_failed"
    """A final answer after which another server is tried: 5xx, 6xx, 408 or 430."""
    NO_ANSWER = "no_answer"
    NO_ANSWER_FROM_KAMAILIO = "no_answer_from_kamailio"
    ANSWER_NOT_ACCEPTED = "answer_not_accepted"
    TLS_ANSWER_NOT_ACCEPTED = "tls_answer_not_accepted"
    """The sender of a TLS answer did not prove that it is the server that was asked."""
    TLS_NO_CONNECTION = "tls_no_connection"
    TLS_FAILED = "tls_failed"
    TLS_CLOSED = "tls_closed"
    """The server closed the agent's own TLS connection without an answer to the credentials."""
    CERTIFICATE_UNSIGNED = "certificate_unsigned"
    CERTIFICATE_FOR_ANOTHER_NAME = "certificate_for_another_name"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_NOT_YET_VALID = "certificate_not_yet_valid"
    CERTIFICATE_NOT_ACCEPTED = "certificate_not_accepted"
    NOT_SENT = "not_sent"
    """Kamailio could not send the REGISTER."""
    NO_SOCKET = "no_socket"
    """The edge has no socket of the server's transport and IP version."""
    DNS_SILENT = "dns_silent"
    DNS_FAILED = "dns_failed"
    """The name servers answer with an error code, as SERVFAIL."""
    NO_ADDRESS = "no_address"
    """DNS has no address of the server that the edge can reach."""
    NOT_WRITTEN = "not_written"
    """The directory could not be written, so the result of the attempt is lost."""
    NOT_REGISTERED_YET = "not_registered_yet"
    """Of a tracked trunk: Kamailio's `uac` has not registered it yet."""
    EXPIRED = "expired"
    """Of a tracked trunk: the grant ended without a refresh."""


@dataclass(frozen=True, slots=True)
class Why:
    """A reason, and its message for people."""

    reason: RegistrationReason
    message: str


NO_ANSWER = Why(RegistrationReason.NO_ANSWER, "no answer")
UNREGISTERED = Why(RegistrationReason.UNREGISTERED, "unregistered")
