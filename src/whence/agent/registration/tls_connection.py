"""TLS connections of the agent's own, each to a server whose certificate it verifies first.

Kamailio (5.6 to 6.1) cannot verify the name in a certificate before it sends. So the edge sends
credentials only over an open connection, whose certificate it has verified at an earlier answer.
Some registrars close the connection after each answer. The agent sends them the REGISTER with
credentials itself. Nothing is sent before the certificate is verified (RFC 5922 7).

Kamailio writes to its log only why it rejects a certificate. The agent opens a connection, and
sends nothing, to report that fault.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from whence.agent.registration.messages import REPLY_LIMIT
from whence.core.registration.reason import NO_ANSWER, RegistrationReason, Why
from whence.core.sip.transport_address import TransportAddress
from whence.errors import InvalidReplyError, WhenceError
from whence.ipc.headers import TlsReject, tls_reject_message, tls_reject_reason
from whence.trust import certificates

CONNECT_S = 5.0

_UNSIGNED = frozenset({2, 18, 19, 20, 21, 24})
_NOT_YET, _EXPIRED = 9, 10
"""The X509_V_ERR_… numbers of OpenSSL."""

_CONTENT_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,5})[ \t]*\r\n", re.I)
_STATUS = re.compile(rb"SIP/2\.0 +([1-6])[0-9]{2}[ \r]", re.I)


class _ConnectionError(WhenceError):
    """The connection failed, or its certificate is not accepted."""

    def __init__(self, why: Why) -> None:
        super().__init__(why.message)
        self.why = why


@dataclass(frozen=True, slots=True)
class TlsConnections:
    """The files for connections: our `certificate` and `key`, and the accepted CAs in `ca`."""

    certificate: str
    key: str
    ca: str

    async def fault(
        self, next_hop: TransportAddress, name: str, socket: TransportAddress
    ) -> Why | None:
        """Return why a TLS connection to `name` at `next_hop` fails; None if it does not."""
        try:
            async with self._connected(next_hop, name, socket):
                return None
        except _ConnectionError as error:
            return error.why

    async def ask(
        self,
        request: bytes,
        next_hop: TransportAddress,
        name: str,
        socket: TransportAddress,
        within_s: float,
    ) -> bytes | Why:
        """Send a request over a new connection from the ip of `socket`; return its final answer.

        The server's certificate must be for `name`. Otherwise nothing is sent. Return the reason
        if there is no answer.
        """
        try:
            async with self._connected(next_hop, name, socket) as (reader, writer):
                writer.write(request)
                async with asyncio.timeout(within_s):
                    return await _final_answer(reader)
        except _ConnectionError as error:
            return error.why
        except TimeoutError:
            return NO_ANSWER
        except (OSError, EOFError, asyncio.LimitOverrunError, InvalidReplyError):
            message = "the server closed the TLS connection without an answer to the credentials"
            return Why(RegistrationReason.TLS_CLOSED, message)

    @asynccontextmanager
    async def _connected(
        self, next_hop: TransportAddress, name: str, socket: TransportAddress
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a connection to a server that proves `name`. Raises: _ConnectionError."""
        reader, writer = await self._open(next_hop, name, socket)
        try:
            fault = _name_fault(writer.get_extra_info("ssl_object"), name)
            if fault is not None:
                raise _ConnectionError(fault)
            yield reader, writer
        finally:
            writer.close()

    async def _open(
        self, next_hop: TransportAddress, name: str, socket: TransportAddress
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            context = self._context()
            async with asyncio.timeout(CONNECT_S):
                return await asyncio.open_connection(
                    next_hop.ip_text,
                    next_hop.port,
                    limit=REPLY_LIMIT,
                    ssl=context,
                    server_hostname=name,
                    local_addr=(str(socket.ip), 0),
                )
        except ssl.SSLCertVerificationError as error:
            raise _ConnectionError(_of_certificate(error)) from error
        except ssl.SSLError as error:
            detail = (error.reason or str(error)).lower().replace("_", " ")
            why = Why(RegistrationReason.TLS_FAILED, f"TLS failed: {detail}")
            raise _ConnectionError(why) from error
        except TimeoutError as error:
            why = Why(RegistrationReason.TLS_NO_CONNECTION, "no TLS connection")
            raise _ConnectionError(why) from error
        except OSError as error:
            message = f"no TLS connection: {error.strerror or error}"
            why = Why(RegistrationReason.TLS_NO_CONNECTION, message)
            raise _ConnectionError(why) from error

    def _context(self) -> ssl.SSLContext:
        """Return the rules that Kamailio has, too. `_name_fault` compares the name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False  # it accepts wildcards, which RFC 5922 7.2 excludes
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cafile=self.ca)
        context.load_cert_chain(self.certificate, self.key)
        return context


async def _final_answer(reader: asyncio.StreamReader) -> bytes:
    """Read answers until a final one.

    Raises: EOFError, LimitOverrunError, InvalidReplyError.
    """
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).lstrip(b"\r\n")
        if not head:
            continue  # the answer to a keep-alive (RFC 5626 3.5.1)
        status = _STATUS.match(head)
        if status is None:
            raise InvalidReplyError("no status line")
        length = _CONTENT_LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        if status[1] != b"1":
            return head + body


def _name_fault(tls: ssl.SSLObject, name: str) -> Why | None:
    """Return why the certificate of a connection is not for `name`; None if it is."""
    der = tls.getpeercert(binary_form=True)
    if der is None:
        message = "the server has no certificate"
        return Why(RegistrationReason.CERTIFICATE_NOT_ACCEPTED, message)
    alternatives = _alternative_names(tls)
    if ("URI", f"sip:{name}".lower()) in [(kind, text.lower()) for kind, text in alternatives]:
        return None
    pem = ssl.DER_cert_to_PEM_cert(der)
    if certificates.is_for(pem, name, has_alternatives=bool(alternatives)):
        return None
    presented = alternatives[0][1] if alternatives else ""
    reason = tls_reject_reason(TlsReject.CERTIFICATE_FOR_ANOTHER_NAME, presented)
    message = tls_reject_message(reason, name)
    return Why(RegistrationReason.CERTIFICATE_FOR_ANOTHER_NAME, message)


def _alternative_names(tls: ssl.SSLObject) -> list[tuple[str, str]]:
    """Return (kind, name) of each subjectAltName."""
    found = (tls.getpeercert() or {}).get("subjectAltName", ())
    return [(str(one[0]), str(one[1])) for one in found if len(one) == 2]


def _of_certificate(error: ssl.SSLCertVerificationError) -> Why:
    code = error.verify_code
    if code in _UNSIGNED:
        message = "its certificate is not signed by a CA of edge tls ca"
        return Why(RegistrationReason.CERTIFICATE_UNSIGNED, message)
    if code == _EXPIRED:
        return Why(RegistrationReason.CERTIFICATE_EXPIRED, "its certificate has expired")
    if code == _NOT_YET:
        return Why(RegistrationReason.CERTIFICATE_NOT_YET_VALID, "its certificate is not valid yet")
    message = f"its certificate is rejected: {error.verify_message}"
    return Why(RegistrationReason.CERTIFICATE_NOT_ACCEPTED, message)
