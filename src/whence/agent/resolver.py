"""The neighbour DNS: where a registrar is now.

Names are looked up by the system's resolver, beside the event loop; a slow answer delays only the
trunk that asked. A literal address is itself.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address

from whence.core.registration import NextHop
from whence.core.uri import Uri

RESOLVE_S = 10.0
SIP_PORT = 5060


class Resolver:
    """Says where a server is now."""

    async def targets(self, server: Uri) -> tuple[NextHop, ...]:
        """Its next hops, best first; none where the name has none, or no answer comes."""
        transport = server.params.get("transport", "udp")
        port = server.port or SIP_PORT
        try:
            return (NextHop(transport, str(ip_address(server.host)), port),)
        except ValueError:
            pass  # a name
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await loop.getaddrinfo(server.host, port, type=socket.SOCK_DGRAM)
        except (OSError, TimeoutError, UnicodeError):
            return ()
        return tuple(dict.fromkeys(NextHop(transport, str(info[4][0]), port) for info in found))
