"""The Via of a phone, which no trunk sees: its branch at the trunk is the Via itself, encrypted.

The trunk sends it back in each answer (RFC 3261 8.2.6.2), and the edge restores it. So the answer
finds its way also where Kamailio has no transaction for it any more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from whence.core.outbound.encryption import decrypt, encrypt
from whence.core.sip.transport_address import TransportAddress, canonical_ip

_KIND = "v"
_START = "SIP/2.0/UDP hidden.invalid;branch=z9hG4bK"
_SEEN = ("received", "rport")
_LIMIT = 300
_WORDS = 2  # protocol, and host with port


def seen_via(value: str, source: TransportAddress, *, force_rport: bool) -> str | None:
    """Return a phone's Via as its answers must have it (RFC 3261 18.2.1, RFC 3581 4).

    `force_rport`: whether the answers go to the source port without an `rport`. None for a value
    that is not one Via.
    """
    sent_by, *params = [part.strip() for part in value.split(";")]
    words = sent_by.split()
    if "," in value or '"' in value or len(value) > _LIMIT or len(words) != _WORDS:
        return None
    names = [param.partition("=")[0].strip().lower() for param in params]
    asks = force_rport or "rport" in names
    seen = []
    if asks or not _is_at(words[-1], source):
        seen.append(f"received={source.ip_text}")
    if asks:
        seen.append(f"rport={source.port}")
    kept = [p for name, p in zip(names, params, strict=True) if name not in _SEEN]
    return ";".join([sent_by, *seen, *kept])


def hidden_via(key: str, call_id: str, via: str) -> str:
    """Return what a trunk gets instead of a phone's Via. `via`: of `seen_via`."""
    return _START + encrypt(key, _KIND, (call_id,), via.encode())


def restored_via(key: str, call_id: str, vias: Sequence[str]) -> tuple[str, str] | None:
    """Return the Via of an answer that hides a phone's, and the phone's own; None without one.

    `vias`: the values of its Via headers, as written.
    """
    for value in vias:
        _, found, after = value.partition(_START)
        if found:
            content = decrypt(key, _KIND, (call_id,), re.split("[;, \t]", after, maxsplit=1)[0])
            return (found + after, content.decode()) if content is not None else None
    return None


def _is_at(place: str, source: TransportAddress) -> bool:
    """Return whether the `host:port` of a Via has the ip of the source."""
    host = place.partition("]")[0] if place.startswith("[") else place.partition(":")[0]
    try:
        return canonical_ip(host) == source.ip
    except ValueError:
        return False
