"""What a trunk answered, read in Kamailio's failure route."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from whence.core.outbound.answers import FinalAnswer
from whence.core.sip.challenges import parse_challenges
from whence.core.sip.digest import Challenge
from whence.core.sip.transport_address import Transport, TransportAddress
from whence.core.sip.uri import host_text
from whence.edge.base import Worker, text
from whence.edge.ksr import Ksr
from whence.edge.tls_identity import PEER
from whence.store.outbound import TrunkAccess

CHALLENGES = frozenset({401, 407})

HEADERS_LIMIT = 8
"""How many headers with challenges are read, of each name."""

_VARIABLES = [
    (f"$T_rpl($(hdr({name})[{index}]))", proxy)
    for name, proxy in (("Proxy-Authenticate", True), ("WWW-Authenticate", False))
    for index in range(HEADERS_LIMIT)
]
_SOURCE = ("$T_rpl($pr)", "$T_rpl($si)", "$T_rpl($sp)")


def read_answer(worker: Worker, access: TrunkAccess | None) -> FinalAnswer:
    """Return the final answer to the current request, or Kamailio's own in place of it.

    `access`: the trunk to which the request was sent; None: no challenge is answered.
    """
    ksr = worker.ksr
    status = int(ksr.pv.get("$T_reply_code") or 0)
    if ksr.tm.t_branch_timeout() > 0:
        had_provisional = ksr.tm.t_branch_replied() > 0
        return FinalAnswer(status, timed_out=True, had_provisional=had_provisional)
    if status not in CHALLENGES or access is None or not _is_from(worker, access):
        return FinalAnswer(status)
    return FinalAnswer(status, tuple(_challenges(ksr)), from_trunk=True)


def is_of(worker: Worker, access: TrunkAccess, source: TransportAddress) -> bool:
    """Return whether a source is the server of a trunk, or another address that it admits."""
    return source == access.home or worker.directory.admits(access.trunk.id, source, worker.now())


def _is_from(worker: Worker, access: TrunkAccess) -> bool:
    transport, ip, port = (text(partial(worker.ksr.pv.get, name)) for name in _SOURCE)
    try:
        host = host_text((ip or "").strip("[]"))
        source = TransportAddress.parse(f"{(transport or '').lower()}:{host}:{port}")
    except ValueError:
        return False
    if source.transport is Transport.TLS and worker.ksr.pv.get(PEER) != str(source):
        return False  # its certificate is for another name
    return is_of(worker, access, source)


def _challenges(ksr: Ksr) -> Iterator[Challenge]:
    for variable, proxy in _VARIABLES:
        value = text(partial(ksr.pv.get, variable))
        if value:
            yield from parse_challenges(value, proxy=proxy)
