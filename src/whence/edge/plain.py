"""A quick look at a message: all parsers see the same lines, and Kamailio may check the rest.

It is stricter than `Message`, and takes a tenth of its steps: each is one call into C. It decides
nothing about other messages.
"""

from __future__ import annotations

from io import IncrementalNewlineDecoder

from whence.ipc import headers

END = "\r\n\r\n"

LENGTH_LIMIT = 8000
"""Bytes. Kamailio cannot put longer texts into a variable."""

# "-w" or "-W" is in each spelling of PREFIX, and in few messages.

_decoder = IncrementalNewlineDecoder(None, translate=False)


def is_plain_request(raw: str) -> bool:
    """Return whether a request has CR LF as its only line ends, no NUL, and no folded line.

    The start of the names of our headers may be nowhere in it, also not in its body. It fits into
    a variable of Kamailio. That its header part ends is Kamailio's to check, which reads it.
    """
    _decoder.reset()
    _decoder.decode(raw, True)  # notes which line ends it has read, in one pass
    return (
        _decoder.newlines == "\r\n"
        and "\0" not in raw
        and "\t" not in raw
        and "\r\n " not in raw
        and (("-w" not in raw and "-W" not in raw) or headers.PREFIX not in raw.lower())
        and len(raw) < (LENGTH_LIMIT if raw.isascii() else LENGTH_LIMIT // 4)
        and raw[0] != "\r"
    )


def is_plain_reply(raw: str) -> bool:
    """Return the same of a reply. It may have folded lines, but none after its start line.

    Its header part has an end.
    """
    _decoder.reset()
    _decoder.decode(raw, True)
    return (
        _decoder.newlines == "\r\n"
        and "\0" not in raw
        and (("-w" not in raw and "-W" not in raw) or headers.PREFIX not in raw.lower())
        and raw[raw.find("\n") + 1] not in " \t\r"
        and (raw.endswith(END) or END in raw)
        and raw[0] != "\r"
    )
