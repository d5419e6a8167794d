"""Forged headers of Whence in all spellings, and hidden ones that other parsers find."""

from testkit.sip import Message

SPELLINGS = {
    "as we do": "{name}: forged",
    "lower case": "{lower}: forged",
    "upper case": "{upper}: forged",
    "no space after the colon": "{name}:forged",
    "a space before the colon": "{name} : forged",
    "spaces before the colon": "{name}   : forged",
    "a tab before the colon": "{name}\t: forged",
    "folded": "{name}:\r\n forged",
    "folded before the colon": "{name}\r\n : forged",
    "folded with a tab, twice": "{name}:\r\n\t\r\n\tforged",
    "empty": "{name}:",
    "twice": "{name}: forged\r\n{name}: forged again",
    "thrice in three ways": "{lower}: forged\r\n{name} : forged\r\n{upper}\t:\r\n forged",
    "after another, folded one": "Subject: a\r\n b\r\n{name}: forged",
    "after a NUL": "Subject: a\0b\r\n{name}: forged",
    "after a NUL, in a mix of cases": "Subject: \0\r\n{lower}: forged\r\n{upper}: forged",
}
NAMES = (
    "X-Whence-Trunk",
    "X-Whence-Source",
    "X-Whence-Mac",
    "X-Whence-Next-Hop",
    "X-Whence-Socket",
)

HIDDEN = {
    "after a CR alone": b"Subject: a\rX-Whence-Trunk: forged",
    "after a CR alone, and blanks": b"Subject: a\r \tx-whence-trunk: forged",
    "after two CRs": b"Subject: a\r\r\nX-Whence-Trunk: forged\rX-Whence-Trunk: forged",
    "after a vertical tab": b"Subject: a\x0bX-WHENCE-TRUNK: forged",
    "after a form feed": b"Subject: a\x0cX-Whence-Trunk: forged",
    "after a next line": b"Subject: a\xc2\x85X-Whence-Trunk: forged",
    "after a line separator": b"Subject: a\xe2\x80\xa8X-Whence-Trunk: forged",
    "after a NUL": b"Subject: a\0X-Whence-Trunk: forged",
    "in a line that is continued": b"Subject: a\r\n X-Whence-Trunk: forged",
    "among bytes that are no UTF-8": b"Subject: caf\xe9\rX-Whence-Trunk: forged",
    "after a NUL among bytes that are no UTF-8": b"Subject: \0\xff\rX-Whence-Trunk: forged",
}


def forged(message: Message, name: str, spelling: str) -> bytes:
    """Add the header as the first one of the message, and again as the last."""
    line = SPELLINGS[spelling].format(name=name, lower=name.lower(), upper=name.upper())
    head, rest = str(message).split("\r\n", 1)
    fields, body = rest.split("\r\n\r\n", 1)
    return f"{head}\r\n{line}\r\n{fields}\r\n{line}\r\n\r\n{body}".encode()
