"""Models of `[media]` in the settings file: which calls rtpengine relays."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from whence.agent.config.toml import Table
from whence.core.sip.transport_address import Transport, TransportAddress


def _rtpengine(text: str) -> str:
    """Check the control socket of rtpengine. Raises ValueError."""
    if not text:
        return text
    try:
        address = TransportAddress.parse(text)
    except ValueError:
        address = None
    if address is None or address.transport is not Transport.UDP or address.ip.is_unspecified:
        raise ValueError(
            f'"{text}" is not the control socket of rtpengine (its listen-ng); write '
            '"udp:127.0.0.1:2223"'
        )
    return str(address)


class MediaConfig(Table):
    """`[media]`: the media of calls."""

    rtpengine: Annotated[str, AfterValidator(_rtpengine)] = Field(
        default="", examples=["udp:127.0.0.1:2223"]
    )
    """Control socket of rtpengine, its `listen-ng`. It relays media. Debian has it in the package
    `rtpengine-daemon`. Empty: media goes between phones and provider.
    """
    mode: Literal["auto", "always", "never"] = "auto"
    """Which calls rtpengine relays. `auto`: those between a browser, or a phone with SRTP, and a
    party without; and between two phones behind NAT. `always`: all. `never`: none.
    """

    @property
    def is_relayed(self) -> bool:
        """Whether rtpengine relays some calls."""
        return bool(self.rtpengine) and self.mode != "never"
