"""Which From, To, CSeq and RAck a request or a late answer gets at the other side of a call.

The phone and the trunk each see the values of their own dialog, with the same tags. Only a call of
kind OUT has different URIs. The CSeq differs in requests that a phone sends to a trunk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from whence.core.outbound.cseq import outward, parse_rack, rack_outward, restored
from whence.core.outbound.identity import ANONYMOUS_URI, Identity, our_uri_of, their_uri_of
from whence.core.outbound.model import OutboundTrunk
from whence.core.outbound.route_state import Kind, RouteState
from whence.core.sip.grammar import TOKEN

_TAG = re.compile(rf"{TOKEN}{{1,256}}")


class DialogRequest(NamedTuple):
    """The values of a request, or of an answer's request, that are rewritten."""

    method: str
    cseq: int
    from_tag: str
    to_tag: str
    rack: str = ""
    """The RAck of a PRACK; empty: none."""


Lines = tuple[tuple[str, str], ...]
"""(name, value) of each header that replaces the one of that name."""


def is_tag(text: str) -> bool:
    """Return whether a text is a valid tag. Another one could add a second party to From."""
    return _TAG.fullmatch(text) is not None


def initial_lines(identity: Identity, cseq: int, tries: int, from_tag: str) -> Lines:
    """Return the headers of the INVITE of a call, for one trunk and one try.

    Raises ValueError for an invalid tag: the edge answers such a request with 400.
    """
    _check_tag(from_tag)
    return (
        ("From", f"{identity.from_};tag={from_tag}"),
        ("To", identity.to),
        ("CSeq", f"{outward(cseq, tries)} INVITE"),
        *identity.headers,
    )


def is_to_trunk(state: RouteState, *, from_caller: bool) -> bool:
    """Return whether a request leads from a phone to a trunk, which may challenge it."""
    return state.kind is (Kind.OUT if from_caller else Kind.IN)


def tries_of(state: RouteState, cseq: int, challenged: int | None) -> int:
    """Return the try of the INVITE with this CSeq of the phone, for its ACK or PRACK.

    `challenged`: the try of a later INVITE that was challenged; None: it was not.
    """
    is_first = state.kind is Kind.OUT and cseq == state.cseq
    return state.tries if is_first else challenged or 0


def request_lines(
    state: RouteState,
    request: DialogRequest,
    trunk: OutboundTrunk | None,
    *,
    from_caller: bool,
    tries: int,
    rack_tries: int = 0,
) -> Lines:
    """Return the headers that replace those of a request inside a dialog.

    `trunk`: None if the directory does not have it any more. `tries`: of this request.
    `rack_tries`: of the INVITE that its RAck names. Raises ValueError for an invalid tag.
    """
    lines = _parties(state, request, trunk, at_callee=from_caller, from_is_caller=from_caller)
    if not is_to_trunk(state, from_caller=from_caller):
        return lines
    lines += (("CSeq", f"{outward(request.cseq, tries)} {request.method}"),)
    rack = parse_rack(request.rack) if request.rack else None
    return lines if rack is None else (*lines, ("RAck", rack_outward(rack, rack_tries)))


def late_answer_lines(
    state: RouteState,
    request: DialogRequest,
    trunk: OutboundTrunk | None,
    *,
    from_caller: bool,
) -> Lines:
    """Return the headers that replace those of an answer whose transaction has ended.

    `request`: the values in the answer. `from_caller`: whether the caller sent the request. Raises
    ValueError for an invalid tag.
    """
    lines = _parties(state, request, trunk, at_callee=not from_caller, from_is_caller=from_caller)
    if is_to_trunk(state, from_caller=from_caller):
        lines += (("CSeq", f"{restored(request.cseq, state.cseq)} {request.method}"),)
    return lines


def _parties(
    state: RouteState,
    message: DialogRequest,
    trunk: OutboundTrunk | None,
    *,
    at_callee: bool,
    from_is_caller: bool,
) -> Lines:
    """Return From and To as the receiver of a message sees them.

    `at_callee`: whether the receiver is the called party. `from_is_caller`: whether From names the
    caller; else it names the called party.
    """
    if state.kind is not Kind.OUT:
        return ()
    caller, called = state.phone_from, state.phone_to
    if at_callee and trunk is not None:
        caller = our_uri_of(trunk, state.our_user)
        called = their_uri_of(trunk, state.their_user)
    elif at_callee:  # the tags name the dialog; the phone's URIs stay private
        caller = called = ANONYMOUS_URI
    from_, to = (caller, called) if from_is_caller else (called, caller)
    return (("From", _tagged(from_, message.from_tag)), ("To", _tagged(to, message.to_tag)))


def _tagged(uri: str, tag: str) -> str:
    _check_tag(tag)
    return f"<{uri}>;tag={tag}"


def _check_tag(tag: str) -> None:
    if not is_tag(tag):
        raise ValueError(f"tag {tag[:64]!a} is not a token")


def header_text(lines: Sequence[tuple[str, str]]) -> str:
    """Write headers as lines of a message."""
    return "".join(f"{name}: {value}\r\n" for name, value in lines)
