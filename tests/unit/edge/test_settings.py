"""The settings that kamailio.cfg passes to the edge."""

import json
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from whence.core.dialogs.record import OwnSockets
from whence.core.protection.connections import hex_of
from whence.core.sip.sockets import Advertised, EdgeSockets
from whence.core.sip.transport_address import TransportAddress
from whence.edge.settings import EdgeSettings, Limits

SOCKETS = ["udp:192.0.2.1:5060", "udp:127.0.0.1:5062"]
WRITTEN: dict[str, Any] = {
    "directory": "/var/lib/whence/directory.db",
    "domain": "edge.example",
    "answer_ms": 32000,
    "sockets": SOCKETS,
    "listen": ["udp:192.0.2.1:5060", "tcp:192.0.2.1:5060"],
    "calls_out": True,
    "sha256": False,
    "advertised": {"udp:192.0.2.1:5060": ["sip.example.net", 5070]},
    "limits": {"connections": 8192, "connections_per_source": 64, "password_failures": 10},
}


def test_settings_of_edge_config_are_read() -> None:
    settings = EdgeSettings.parse(json.dumps(WRITTEN))
    place = Path("/var/lib/whence/directory.db")
    own = OwnSockets.of([TransportAddress.parse(socket) for socket in SOCKETS])
    streams = (hex_of(ip_address("192.0.2.1"), 5060, sys.byteorder),)
    limits = Limits(8192, 64, 10, streams)
    listen = tuple(TransportAddress.parse(socket) for socket in WRITTEN["listen"])
    sockets = EdgeSockets(listen, ((listen[0], Advertised("sip.example.net", 5070)),))
    expected = EdgeSettings(
        place, "edge.example", 32000, own, limits, sockets, calls_out=True, sha256=False
    )
    assert settings == expected


@pytest.mark.parametrize("gone", WRITTEN)
def test_settings_without_a_key_raise(gone: str) -> None:
    text = json.dumps({name: value for name, value in WRITTEN.items() if name != gone})
    with pytest.raises(KeyError, match=gone):
        EdgeSettings.parse(text)


@pytest.mark.parametrize("text", ["", "{", "nothing"])
def test_settings_of_invalid_json_raise(text: str) -> None:
    with pytest.raises(ValueError, match="Expecting"):
        EdgeSettings.parse(text)
