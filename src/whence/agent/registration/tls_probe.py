"""Why a server cannot be reached over TLS, in words: asked once more, by a connection of our own.

Kamailio refuses a server whose certificate no CA has signed, or that has expired, and says so in
its log alone. So where a REGISTER over TLS finds no answer, this opens a connection to the same
place, and tells what is wrong with it. Nothing is sent over it, and nothing is learned from it.
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
"""OpenSSL's X509_V_ERR_… numbers."""


@dataclass(frozen=True, slots=True)
class TlsProbe:
    """Files: `certificate` and `key` are ours, `ca` holds the CAs that we believe."""

    certificate: str
    key: str
    ca: str

    async def fault(
        self, next_hop: TransportAddress, name: str, socket: TransportAddress
    ) -> Why | None:
        """Why `name` at `next_hop` is not believed; None if no reason is found."""
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
            said = (error.reason or str(error)).lower().replace("_", " ")
            return Why(RegistrationReason.TLS_FAILED, f"TLS failed: {said}")
        except TimeoutError:
            return Why(RegistrationReason.TLS_NO_CONNECTION, "no TLS connection")
        except OSError as error:
            said = f"no TLS connection: {error.strerror or error}"
            return Why(RegistrationReason.TLS_NO_CONNECTION, said)
        writer.close()
        return None


def _of_certificate(error: ssl.SSLCertVerificationError, name: str) -> Why:
    code = error.verify_code
    if code in _UNSIGNED:
        said = "its certificate is not signed by a CA of edge tls ca"
        return Why(RegistrationReason.CERTIFICATE_UNSIGNED, said)
    if code in _OTHER_NAME:
        return Why(
            RegistrationReason.CERTIFICATE_FOR_ANOTHER_NAME, f"its certificate is not for {name}"
        )
    if code == _EXPIRED:
        return Why(RegistrationReason.CERTIFICATE_EXPIRED, "its certificate has expired")
    if code == _NOT_YET:
        return Why(RegistrationReason.CERTIFICATE_NOT_YET_VALID, "its certificate begins later")
    said = f"its certificate is not believed: {error.verify_message}"
    return Why(RegistrationReason.CERTIFICATE_NOT_BELIEVED, said)
