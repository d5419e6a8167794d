"""Why a server cannot be reached over TLS, in words: asked once more, by a connection of our own.

Kamailio refuses a server whose certificate no CA has signed, or that has expired, and says so in
its log alone. So where a REGISTER over TLS finds no answer, this opens a connection to the same
place, and tells what is wrong with it. Nothing is sent over it, and nothing is learned from it.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from whence.core.address import Source
from whence.core.registration import NextHop

CONNECT_S = 5.0

_UNSIGNED = frozenset({2, 18, 19, 20, 21, 24})
_NOT_YET, _EXPIRED = 9, 10
_OTHER_NAME = frozenset({62, 64})
"""OpenSSL's X509_V_ERR_… numbers."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files: `certificate` and `key` are ours, `ca` holds the CAs that we believe."""

    certificate: str
    key: str
    ca: str

    async def fault(self, next_hop: NextHop, name: str, socket: Source) -> str:
        """Why `name` at `next_hop` is not believed; nothing if no reason is found."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.load_cert_chain(self.certificate, self.key)
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(
                    next_hop.ip,
                    next_hop.port,
                    ssl=context,
                    server_hostname=name,
                    local_addr=(str(socket.ip), 0),
                )
        except ssl.SSLCertVerificationError as error:
            return _in_words(error, name)
        except ssl.SSLError as error:
            return f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}"
        except TimeoutError:
            return "no TLS connection"
        except OSError as error:
            return f"no TLS connection: {error.strerror or error}"
        writer.close()
        return ""


def _in_words(error: ssl.SSLCertVerificationError, name: str) -> str:
    code = error.verify_code
    if code in _UNSIGNED:
        return "its certificate is not signed by a CA of edge tls ca"
    if code in _OTHER_NAME:
        return f"its certificate is not for {name}"
    if code in (_NOT_YET, _EXPIRED):
        return "its certificate has expired" if code == _EXPIRED else "its certificate begins later"
    return f"its certificate is not believed: {error.verify_message}"
