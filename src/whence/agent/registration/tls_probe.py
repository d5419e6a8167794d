"""A TLS probe: it finds out why Kamailio has no TLS connection to a server.

Kamailio rejects an expired certificate, or one without a known CA, and writes that only into its
log. If a REGISTER over TLS gets no answer, the probe opens its own connection to the same address.
It reports what is wrong. It sends no SIP, and learns no address.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from whence.core.registration.reason import RegistrationReason, Why
from whence.core.sip.transport_address import TransportAddress

CONNECT_S = 5.0

_UNSIGNED = frozenset({2, 18, 19, 20, 21, 24})
_NOT_YET, _EXPIRED = 9, 10
_OTHER_NAME = frozenset({62, 64})
"""The X509_V_ERR_… numbers of OpenSSL."""


@dataclass(frozen=True, slots=True)
class TlsProbe:
    """The files for a probe: our `certificate` and `key`, and the accepted CAs in `ca`."""

    certificate: str
    key: str
    ca: str

    async def fault(
        self, next_hop: TransportAddress, name: str, socket: TransportAddress
    ) -> Why | None:
        """Return why a TLS connection to `name` at `next_hop` fails; None if it does not."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.load_cert_chain(self.certificate, self.key)
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(
                    next_hop.ip_text,
                    next_hop.port,
                    ssl=context,
                    server_hostname=name,
                    local_addr=(str(socket.ip), 0),
                )
        except ssl.SSLCertVerificationError as error:
            return _of_certificate(error, name)
        except ssl.SSLError as error:
            detail = (error.reason or str(error)).lower().replace("_", " ")
            return Why(RegistrationReason.TLS_FAILED, f"TLS failed: {detail}")
        except TimeoutError:
            return Why(RegistrationReason.TLS_NO_CONNECTION, "no TLS connection")
        except OSError as error:
            message = f"no TLS connection: {error.strerror or error}"
            return Why(RegistrationReason.TLS_NO_CONNECTION, message)
        writer.close()
        return None


def _of_certificate(error: ssl.SSLCertVerificationError, name: str) -> Why:
    code = error.verify_code
    if code in _UNSIGNED:
        message = "its certificate is not signed by a CA of edge tls ca"
        return Why(RegistrationReason.CERTIFICATE_UNSIGNED, message)
    if code in _OTHER_NAME:
        return Why(
            RegistrationReason.CERTIFICATE_FOR_ANOTHER_NAME, f"its certificate is not for {name}"
        )
    if code == _EXPIRED:
        return Why(RegistrationReason.CERTIFICATE_EXPIRED, "its certificate has expired")
    if code == _NOT_YET:
        return Why(RegistrationReason.CERTIFICATE_NOT_YET_VALID, "its certificate is not valid yet")
    message = f"its certificate is rejected: {error.verify_message}"
    return Why(RegistrationReason.CERTIFICATE_NOT_ACCEPTED, message)
