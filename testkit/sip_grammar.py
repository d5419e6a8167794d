"""Hypothesis strategies for header values, by the grammar of RFC 3261 25.1.

Each strategy draws pairs (text, meaning). The meaning is known by construction, so that no parser
is needed to get it.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import NamedTuple

from hypothesis import strategies as st

ALPHANUM = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
TOKEN_CHARACTERS = ALPHANUM + "-.!%*_+`'~"
MARK = "-_.!~*'()"
USER_UNRESERVED = "&=+$,;?/"
PARAM_UNRESERVED = "[]/:&+$"

Text = st.SearchStrategy[str]
Pair = st.SearchStrategy[tuple[str, str]]


class WrittenUri(NamedTuple):
    """A URI as text, and its parts."""

    text: str
    user: str
    host: str
    port: int | None
    params: dict[str, str]


class WrittenContact(NamedTuple):
    """A Contact as text, and its parts."""

    text: str
    uri: WrittenUri
    expires_s: int | None


def tokens(min_size: int = 1) -> Text:
    """Return tokens."""
    return st.text(TOKEN_CHARACTERS, min_size=min_size, max_size=8)


def blanks(*, folds: bool = True) -> Text:
    """Return SWS: optional blanks, which may be folded (RFC 3261 25.1)."""
    forms = ["", "", "", " ", "\t", "  "]
    return st.sampled_from([*forms, "\r\n ", " \r\n\t"] if folds else forms)


@st.composite
def separators(draw: st.DrawFn, character: str, *, folds: bool = True) -> str:
    """Return a separator with blanks around it: SEMI, EQUAL, COMMA, HCOLON."""
    return f"{draw(blanks(folds=folds))}{character}{draw(blanks(folds=folds))}"


@st.composite
def quoted_strings(draw: st.DrawFn, *, escapes: bool = True) -> tuple[str, str]:
    """Return (quoted-string, its content), with all separators in it, and with escaped quotes."""
    content = draw(st.text("ab<>,;:=@ é*" + ('"\\' if escapes else ""), max_size=10))
    if not escapes:
        return f'"{content}"', content
    escaped = "".join(
        f"\\{c}" if c in '"\\' or (draw(st.integers(0, 9)) == 0 and c.isascii()) else c
        for c in content
    )
    return f'"{escaped}"', content


def _escapes(characters: str) -> Pair:
    """Return (characters of `characters` or escapes, the same without escapes)."""
    plain = st.text(characters, min_size=1, max_size=3).map(lambda text: (text, text))
    escaped = st.sampled_from(["@", "#", " ", ":", "%", '"', "<", "a", "é"]).map(_escape)
    parts = st.lists(st.one_of(plain, escaped), min_size=1, max_size=4)
    return parts.map(lambda found: ("".join(t for t, _ in found), "".join(m for _, m in found)))


def _escape(character: str) -> tuple[str, str]:
    return "".join(f"%{byte:02x}" for byte in character.encode()), character


def users() -> Pair:
    """Return (user part, the same without escapes)."""
    return _escapes(ALPHANUM + MARK + USER_UNRESERVED)


@st.composite
def hosts(draw: st.DrawFn) -> tuple[str, str]:
    """Return (host, its form in `Uri`): names, IPv4 and IPv6 addresses."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        text = str(draw(st.ip_addresses(v=4)))
        return text, text
    if kind == 1:
        ip = draw(st.ip_addresses(v=6))
        assert isinstance(ip, IPv6Address)
        return f"[{draw(st.sampled_from([str(ip), ip.exploded, str(ip).upper()]))}]", str(ip)
    label = st.from_regex(r"[a-zA-Z]([a-z0-9_-]{0,5}[a-z0-9])?", fullmatch=True)
    name = ".".join(draw(st.lists(label, min_size=1, max_size=3)))
    if draw(st.booleans()):
        name += "."
    return name, name.lower()


@st.composite
def uris(draw: st.DrawFn, *, bare: bool = False) -> WrittenUri:
    """Return a SIP URI. `bare`: one that may stand without brackets (RFC 3261 20.10)."""
    scheme = draw(st.sampled_from(["sip", "sips", "SIP"]))
    user_text, user = "", ""
    if draw(st.integers(0, 4)):
        user_text, user = draw(_escapes(ALPHANUM + MARK + "&=+$/") if bare else users())
        password = draw(st.sampled_from(["", "", ":secret", ":"]))
        user_text += f"{password}@"
    host_text, host = draw(hosts())
    port = draw(st.one_of(st.none(), st.integers(1, 65535)))
    params = {} if bare else draw(st.dictionaries(_param_names, _uri_values, max_size=3))
    text = f"{scheme}:{user_text}{host_text}" + (f":{port}" if port else "")
    text += "".join(f";{name}={value}" if value else f";{name}" for name, value in params.items())
    if not bare and draw(st.integers(0, 9)) == 0:
        text += "?Subject=a%20b&Priority=urgent"
    return WrittenUri(text, user, host, port, params)


_param_names = st.from_regex(r"[a-z][a-z0-9-]{0,6}", fullmatch=True).filter(
    lambda name: name not in ("expires", "q", "tag", "received", "maddr", "transport")
)
_uri_values = st.text(ALPHANUM + PARAM_UNRESERVED + "-_.!~*'()", max_size=6)


@st.composite
def params(draw: st.DrawFn, *, folds: bool = True, escapes: bool = True) -> str:
    """Return one parameter of a header. Its value is a token or a quoted-string, or it has none.

    `escapes`: with escaped quotes in the value.
    """
    name = draw(st.one_of(_param_names, st.sampled_from(["+sip.instance", "pub-gruu", "+u.x!y"])))
    kind = draw(st.integers(0, 3))
    semicolon = draw(separators(";", folds=folds))
    if kind == 0:
        return f"{semicolon}{name}"
    value = draw(tokens())
    if kind == 1:
        value = draw(quoted_strings(escapes=escapes))[0]
    elif kind == 2:
        values = ['"<urn:uuid:0>"', '"sip:x;expires=5"', '"a, <sip:b@h>"', '""']
        value = draw(st.sampled_from([*values, '"\\";expires=7"'] if escapes else values))
    return f"{semicolon}{name}{draw(separators('=', folds=folds))}{value}"


@st.composite
def display_names(draw: st.DrawFn, *, folds: bool = True, escapes: bool = True) -> str:
    """Return a display name with its blanks, or none."""
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return draw(blanks(folds=folds))
    if kind == 1:
        return draw(quoted_strings(escapes=escapes))[0] + draw(blanks(folds=folds))
    return " ".join(draw(st.lists(tokens(), min_size=1, max_size=3))) + " "


@st.composite
def name_addrs(
    draw: st.DrawFn, *, folds: bool = True, escapes: bool = True
) -> tuple[str, WrittenUri]:
    """Return (name-addr or addr-spec, its URI)."""
    if draw(st.integers(0, 3)) == 0:
        uri = draw(uris(bare=True))
        return uri.text, uri
    uri = draw(uris())
    return f"{draw(display_names(folds=folds, escapes=escapes))}<{uri.text}>", uri


@st.composite
def contacts(draw: st.DrawFn, *, folds: bool = True, escapes: bool = True) -> WrittenContact:
    """Return a Contact with any parameters, of which one may be `expires`."""
    text, uri = draw(name_addrs(folds=folds, escapes=escapes))
    expires_s = draw(st.one_of(st.none(), st.integers(0, 100_000)))
    further = draw(st.lists(params(folds=folds, escapes=escapes), max_size=3))
    if expires_s is not None:
        name = draw(st.sampled_from(["expires", "Expires", "EXPIRES"]))
        value = draw(st.sampled_from([str(expires_s), f"00{expires_s}", f'"{expires_s}"']))
        expires = f"{draw(separators(';', folds=folds))}{name}{draw(separators('=', folds=folds))}"
        further.insert(draw(st.integers(0, len(further))), expires + value)
    return WrittenContact(text + "".join(further), uri, expires_s)


@st.composite
def contact_headers(
    draw: st.DrawFn, *, folds: bool = True, escapes: bool = True
) -> tuple[list[str], list[WrittenContact]]:
    """Return (header lines, the Contacts in them): several in a line, and several lines."""
    lines, found = [], []
    for listed in draw(
        st.lists(
            st.lists(contacts(folds=folds, escapes=escapes), min_size=1, max_size=3),
            min_size=1,
            max_size=3,
        )
    ):
        name = draw(st.sampled_from(["Contact", "contact", "m", "M", "CONTACT"]))
        text = listed[0].text
        for one in listed[1:]:
            text += draw(separators(",", folds=folds)) + one.text
        lines.append(f"{name}{draw(separators(':', folds=False))}{text}")
        found += listed
    return lines, found


@st.composite
def cseqs(draw: st.DrawFn, *, folds: bool = True) -> tuple[str, int, str]:
    """Return (CSeq, number, method): leading zeros, and blanks between."""
    number, method = draw(st.integers(0, 2**31 - 1)), draw(st.sampled_from(["REGISTER", "X-a.b"]))
    zeros = "0" * draw(st.integers(0, 8))
    lws = draw(st.sampled_from([" ", "\t", "   ", "\r\n "] if folds else [" ", "\t", "   "]))
    return f"{zeros}{number}{lws}{method}", number, method
