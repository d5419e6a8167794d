"""The Contact of a phone at a trunk that wants the registered Contact (RFC 3261 8.1.1.8).

The trunk gets its registered Contact, with the phone's Contact encrypted in a parameter. The
provider sends requests of the dialog to it, and the edge restores the Request-URI.
"""

from __future__ import annotations

import re

from whence.core.outbound.encryption import decrypt, encrypt
from whence.core.sip.uri import Uri, escape_user, host_text

PARAM = "phone"
"""The parameter with the phone's Contact."""

LIMIT = 512
"""The longest Contact of a phone, in bytes."""

_KIND = "c"
_UNFIT = re.compile(r'[\x00-\x20\x7f"<>]')


def registered_contact(key: str, call_id: str, contact: Uri, phone_uri: str) -> str | None:
    """Return the URI of the Contact for a trunk, or None for an invalid URI of the phone.

    `contact`: the registered one. `phone_uri`: the URI of the phone's Contact, with its alias.
    """
    raw = phone_uri.encode("utf-8", "replace")
    if len(raw) > LIMIT or _UNFIT.search(phone_uri) or Uri.parse(phone_uri) is None:
        return None
    value = encrypt(key, _KIND, (call_id,), raw)
    port = f":{contact.port}" if contact.port else ""
    params = "".join(
        f";{name}={one}" if one else f";{name}"
        for name, one in contact.params.items()
        if name != PARAM
    )
    user = f"{escape_user(contact.user)}@" if contact.user else ""
    server = f"{host_text(contact.host)}{port}"
    return f"{contact.scheme}:{user}{server}{params};{PARAM}={value}"


def phone_contact(key: str, call_id: str, request_uri: Uri | None) -> str | None:
    """Return the phone's Contact in the Request-URI of a trunk; None without a valid one."""
    value = request_uri.params.get(PARAM, "") if request_uri is not None else ""
    content = decrypt(key, _KIND, (call_id,), value) if value else None
    return content.decode() if content is not None else None
