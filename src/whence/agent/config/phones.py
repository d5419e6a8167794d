"""Models of `[phones]` in the settings file: how the phones of local users reach the edge."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from whence.agent.config.toml import SECONDS, Table
from whence.agent.config.validators import Wait

EXPIRES_LIMIT_S = 7200
"""How long the edge remembers a source from which a phone registered (kamailio/cfg/protection)."""

_ORIGIN = re.compile(r"https?://(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
"""What a browser writes (RFC 6454 6.2): in small letters, without a path."""


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text) or text.endswith((":80", ":443")):
        raise ValueError(
            f'"{text}" is not an origin as browsers write it; write "https://phone.example.com"'
        )
    return text


Origin = Annotated[str, AfterValidator(_origin)]


class PhonesConfig(Table):
    """`[phones]`: phones of local users."""

    keepalive: Annotated[int, SECONDS] = Field(default=30, ge=0, le=3600)
    """Time between two OPTIONS of the edge to a phone behind NAT over UDP, so that its NAT keeps
    the way open. 0: none.
    """
    keepalive_timeout: Annotated[int, SECONDS] = Field(default=120, ge=0, le=86_400)
    """Time after which the edge removes a phone that answers none of these OPTIONS. 0: never. The
    edge removes a phone over TCP, TLS or WebSocket when its connection ends.
    """
    max_contacts: int = Field(default=10, ge=1, le=100)
    """Limit of phones that one user may register at a time. A further phone gets a 503."""
    expires: Annotated[Wait, SECONDS] = Field(default=[60, 3600])
    """Shortest and longest lifetime of a phone's registration. A phone that asks for another time
    gets the nearest.
    """
    sha256: bool = True
    """Offer SHA-256 to phones, before MD5 (RFC 8760). The edge does so if each user has a
    `password` or `ha1.sha256`, and not over WebSocket. `false`: for phones that read the first
    challenge only.
    """
    websocket_path: str = Field(default="/", pattern=r"^/[A-Za-z0-9._~/-]{0,100}$")
    """Path of the URL at which the edge accepts WebSockets."""
    websocket_origins: list[Origin] = Field(
        default=[], examples=[["https://phone.example.com", "http://localhost:8000"]]
    )
    """Web pages that may open a WebSocket, by their origin: scheme, host, and the port if it is
    not the default. Empty: none. A client that is no browser sends no Origin, and is accepted.
    """

    @model_validator(mode="after")
    def _consistent(self) -> PhonesConfig:
        if not 10 <= self.expires[0] <= self.expires[1] <= EXPIRES_LIMIT_S:
            raise ValueError(
                f"expires: lies outside of 10 to {EXPIRES_LIMIT_S} s; write [60, 3600]"
            )
        if 0 < self.keepalive_timeout <= self.keepalive:
            raise ValueError(
                f"keepalive_timeout: {self.keepalive_timeout} s is not longer than keepalive, so "
                f"each phone behind NAT would be removed; write {4 * self.keepalive}"
            )
        return self
