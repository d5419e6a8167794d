"""The notation of RFC 4475 section 2, which messages.py uses."""

import re

_ONE_LINE = re.compile(r"<allOneLine>\n(.*?)\n</allOneLine>", re.DOTALL)
_REPEAT = re.compile(r"<repeat count=(\d+)>(.*?)</repeat>")
_HEX = re.compile(rb"<hex>([0-9A-Fa-f]+)</hex>")


def octets(text: str) -> bytes:
    """Convert the notation to octets.

    Each line ends with CR LF. Lines in `<allOneLine>` are one, with nothing between them,
    `<repeat count=3>ab</repeat>` is `ababab`, and `<hex>00FF</hex>` is two octets.
    """
    text = _ONE_LINE.sub(lambda found: found[1].replace("\n", ""), text)
    text = _REPEAT.sub(lambda found: found[2] * int(found[1]), text)
    data = text.replace("\n", "\r\n").encode()
    return _HEX.sub(lambda found: bytes.fromhex(found[1].decode()), data)
