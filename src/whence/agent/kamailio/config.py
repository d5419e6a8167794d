"""Writes kamailio.cfg and tls.cfg."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from whence.agent.config.models import Config, EdgeConfig
from whence.agent.kamailio.start import LOCATION_FILE, START_OPTIONS, TLS_FILE
from whence.core.dialogs import cookie, native, record
from whence.core.identification.decision import Reason
from whence.core.monitoring.call_progress import EventKind
from whence.core.registration.grant import GRANT_LIMIT_S
from whence.core.sip.sockets import AUTO
from whence.core.sip.transport_address import WEBSOCKETS, Transport, TransportAddress
from whence.core.sip.uri import host_text
from whence.core.sip.via import KEEPALIVE_FLAG, NAT_FLAG, RPORT_FLAG, TO_PHONE_FLAG
from whence.errors import OperatorError, UntrustedError
from whence.ipc import call_events
from whence.store import look_out
from whence.store.directory import FILE
from whence.trust import paths

TEMPLATE = "kamailio.cfg.j2"
"""It includes the templates in `cfg` beside it."""

SCRIPT = "whence_kemi.py"

SCANNERS = (
    "(^|[^a-z0-9])(friendly-scanner|sipvicious|sipcli|sip-scan(ner)?|sundayddr|pplsip)([^a-z0-9]|$)"
)
"""Regular expression of the User-Agents of SIP scanners. Upper and lower case are equal. The names
are whole words: `SIPClient` is a phone."""

TIMER_C_MS = 185_000
"""How long an INVITE may have no final reply after its last 1xx: more than three minutes (RFC 3261
16.6, step 11)."""

ASKED_S = 3700
"""How long Kamailio keeps the trunk to which an INVITE was sent: longer than `max_inv_lifetime`."""

NOT_CONFIRMED_S = 900
"""How long a user's call still counts after a BYE that its trunk did not accept."""

NO_SOCKET_FLAG = 6
"""Kamailio's flag of a request that it would send from the agent's socket."""

SIMPLE_FLAG = 7
"""Kamailio's flag of a request whose form Kamailio itself has checked."""

NATIVE_FLAG = 8
"""Kamailio's flag of an INVITE whose dialog Kamailio itself began."""

BY_USER = 3
"""What the edge's `ksr_initial` returns for the call of a phone."""

REWRITTEN = 2
"""What its `ksr_in_dialog` returns for a request inside a call with a trunk."""

SHIFTED = 3
"""What it returns for a request that needs another CSeq at the trunk."""

BUSY_CALL_S = 4 * 3600
"""How long a call without any request counts for the limits of calls at once."""

CONNECTION_S = GRANT_LIMIT_S + 60
"""How long a connection may be idle. A registrar that granted over it sends calls over it."""

KNOWN_ANSWERS_LIMIT = 8192
"""How many known answers Kamailio has at most, of 640 bytes each. A power of two."""

UNREPORTED_LIMIT = 20_000
"""How many calls of known answers may wait for their report, of less than a kilobyte each."""

LONGEST_OF_KNOWN = 7_500
"""Bytes. Kamailio puts at most 8000 bytes into a variable; the edge decides longer messages."""


def render(
    settings: Config, file: Path, *, known_answers: bool = True, simple_dialogs: bool = True
) -> str:
    """Return the text of kamailio.cfg. `file`: the path from which `settings` were read.

    `known_answers`: whether Kamailio itself gives a call to its trunk if one like it was decided
    before. `simple_dialogs`: whether Kamailio itself begins and checks dialogs of the simple form.
    The results are the same without; tests and the search for a fault use that.
    """
    # The agent under systemd writes no configuration, and needs no jinja2.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    folder = files("whence") / "kamailio"
    environment = Environment(  # noqa: S701 - the output is not HTML
        loader=FileSystemLoader(str(folder)),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    edge = settings.edge
    calls_out = settings.calls_out
    dialog_places = _dialog_places(edge)
    udp = [socket for socket in edge.listen if socket.transport is Transport.UDP]
    has_one_socket = len(udp) == len(dialog_places) == 1
    only_place = _only_place(dialog_places, udp)
    return environment.get_template(TEMPLATE).render(
        file="".join(c if c.isprintable() else "?" for c in file.name),  # for a comment of one line
        start_options=" ".join(START_OPTIONS),
        edge=json.dumps(
            {
                "directory": str(settings.state.absolute() / FILE),
                "domain": edge.domain,
                "answer_ms": round(settings.registration.response_timeout * 1000),
                "sockets": _sockets(edge),
                "listen": [str(socket) for socket in edge.listen],
                "advertised": {
                    str(socket): [one.host, one.port] for socket, one in edge.sockets.advertised
                },
                "calls_out": calls_out,
                "sha256": settings.phones.sha256,
                "limits": {
                    "connections": edge.connections,
                    "connections_per_source": edge.connections_per_source,
                    "password_failures": edge.password_failures,
                },
            }
        ),
        listen=[
            {"kamailio": _kamailio_socket(socket), "advertise": _advertised(edge, socket)}
            for socket in edge.listen
        ],
        agent_socket=edge.agent_socket,
        calls_out=calls_out,
        by_user=BY_USER,
        rewritten=REWRITTEN,
        shifted=SHIFTED,
        busy_call_s=BUSY_CALL_S,
        asked_s=ASKED_S,
        not_confirmed_s=NOT_CONFIRMED_S,
        known_answers=known_answers,
        known_report=call_events.KNOWN,
        event=EventKind,
        published_s=look_out.PUBLISHED_S,
        places=KNOWN_ANSWERS_LIMIT,
        queue_limit=UNREPORTED_LIMIT,
        longest_message=LONGEST_OF_KNOWN,
        dialog_s=cookie.RECORD_S,
        hep=edge.hep.partition(":")[2],
        timer_c_ms=TIMER_C_MS,
        connection_s=CONNECTION_S,
        rport_flag=RPORT_FLAG,
        no_socket_flag=NO_SOCKET_FLAG,
        simple_flag=SIMPLE_FLAG,
        native_flag=NATIVE_FLAG,
        near=native.NEAR,
        far=native.FAR,
        path_mark=native.PATH_MARK,
        to_caller=native.TO_CALLER,
        to_callee=native.TO_CALLEE,
        sent_by_caller=record.Side.CALLER,
        native_mac_length=native.MAC_LENGTH,
        text_limit=native.TEXT_LIMIT,
        contact_limit=native.CONTACT_LIMIT,
        routes_limit=native.ROUTES_LIMIT,
        routes_length=native.ROUTES_LENGTH,
        own_places=_list([socket.partition(":")[2] for socket in _sockets(edge)]),
        own_ips=_list([TransportAddress.parse(one).ip_text for one in _sockets(edge)]),
        simple_dialogs=simple_dialogs and bool(dialog_places),
        dialog_place=f"<sip:{only_place};lr;{cookie.PARAM}=" if has_one_socket else "",
        dialog_places={} if has_one_socket else dialog_places,
        only_place=only_place,
        no_socket=Reason.NO_SOCKET_FOR_TARGET,
        ended=record.ENDED,
        scanners=SCANNERS,
        cookie=cookie.PARAM,
        flood=edge.flood,
        connections=edge.connections,
        aliases=_aliases(edge),
        mhomed=any(
            edge.sockets.has_choice(Transport.UDP, socket.ip.version) for socket in edge.listen
        ),
        workers=edge.workers,
        tcp=edge.has_streams,
        tls=settings.state.absolute() / TLS_FILE if edge.has_tls else "",
        phones=settings.phones,
        media=settings.media if settings.media.is_relayed else None,
        no_media=Reason.MEDIA_UNAVAILABLE,
        websockets=[socket for socket in edge.listen if socket.transport in WEBSOCKETS],
        domain=edge.domain,
        nat_flag=NAT_FLAG,
        to_phone_flag=TO_PHONE_FLAG,
        keepalive_flag=KEEPALIVE_FLAG,
        location=settings.state.absolute() / LOCATION_FILE,
        script=str(folder / SCRIPT),
    )


def write_tls_config(settings: Config) -> None:
    """Write tls.cfg, for Kamailio's module tls, into the state directory if TLS is used.

    Servers must show a certificate that one of our CAs signed; the edge then checks its name.
    Clients (phones, and providers that call) need no certificate. Raises OperatorError.
    """
    tls = settings.edge.tls
    if not settings.edge.has_tls:
        return
    ours = f"method = TLSv1.2+\ncertificate = {tls.certificate}\nprivate_key = {tls.key}\n"
    write(
        settings.state / TLS_FILE,
        f"[server:default]\n{ours}verify_certificate = no\nrequire_certificate = no\n\n"
        f"[client:default]\n{ours}verify_certificate = yes\nrequire_certificate = yes\n"
        f"verify_depth = 9\nca_list = {tls.ca}\n",
    )


def write(file: Path, text: str) -> None:
    """Write a file of the state directory. Raises OperatorError."""
    if _contains(file, text):
        return  # so that a node starts on a full disk, too
    try:
        paths.write_whole(file, text)
    except OSError as error:
        raise OperatorError(
            f"{file} cannot be written: {error.strerror}; repair this, or write another "
            "agent state_dir"
        ) from None


def _contains(file: Path, text: str) -> bool:
    """Return whether a file of this user alone has this text already."""
    try:
        opened = paths.open_file(file, os.O_RDONLY)
        with os.fdopen(opened, encoding="utf-8") as found:
            is_private = stat.S_IMODE(os.fstat(found.fileno()).st_mode) == 0o600
            return is_private and found.read() == text
    except (OSError, UntrustedError, ValueError):
        return False


def _sockets(edge: EdgeConfig) -> list[str]:
    """Return our sockets and their advertised addresses. The edge sends no request to them."""
    advertised = [(socket.transport, *edge.sockets.place_of(socket)) for socket in edge.listen]
    texts = [f"{transport}:{host_text(host)}:{port}" for transport, host, port in advertised]
    return list(dict.fromkeys([*map(str, edge.listen), str(edge.agent_socket), *texts]))


def _dialog_places(edge: EdgeConfig) -> dict[str, str]:
    """Return each socket over UDP, with the place of it that a Record-Route shows.

    Those are missing that the configuration does not determine.
    """
    places = {}
    for socket in edge.listen:
        is_constant = socket.ip.version == 4 and not edge.sockets.follows_nat(socket)
        if socket.transport is Transport.UDP and is_constant:
            host, port = edge.sockets.place_of(socket)
            shown = "" if port == Transport.UDP.default_port else f":{port}"
            places[str(socket)] = f"{host_text(host)}{shown}"
    return places


def _only_place(places: dict[str, str], udp: Sequence[TransportAddress]) -> str:
    """Return the place of the one socket for IPv4 over UDP. Empty: there are several."""
    fitting = [str(socket) for socket in udp if socket.ip.version == 4]
    return places.get(fitting[0], "") if len(fitting) == 1 else ""


def _list(words: Sequence[str]) -> str:
    """Write words with a blank around each, so that Kamailio finds a whole one."""
    return f" {' '.join(dict.fromkeys(words))} "


def _kamailio_socket(socket: TransportAddress) -> str:
    """Return a socket as Kamailio names it: a WebSocket begins as a connection over TCP or TLS."""
    streams = {Transport.WS: "tcp", Transport.WSS: "tls"}
    transport = streams.get(socket.transport, socket.transport)
    return f"{transport}:{host_text(socket.ip_text)}:{socket.port}"


def _advertised(edge: EdgeConfig, socket: TransportAddress) -> str:
    """Return the advertised `ip:port` of a socket. Empty: it is the socket's own address."""
    host, port = edge.sockets.place_of(socket)
    own = (host, port) == (str(socket.ip), socket.port)
    return "" if own else f"{host_text(host)}:{port}"


def _aliases(edge: EdgeConfig) -> list[str]:
    """Return the hosts that are local in a URI, besides the sockets."""
    ports = sorted({socket.port for socket in edge.listen})
    advertised = dict.fromkeys(_advertised(edge, socket) for socket in edge.listen)
    names = dict.fromkeys(
        f"{one.host}:{one.port or socket.port}"
        for socket, one in edge.sockets.advertised
        if one.ip_version is None and one.host != AUTO
    )
    domains = (edge.domain, *(f"{edge.domain}:{port}" for port in ports))
    return list(dict.fromkeys([*domains, *filter(None, advertised), *names]))
