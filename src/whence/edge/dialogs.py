"""Dialogs that the edge let in: which of their requests and replies pass, and where they lead.

`ksr_begin_dialog` stores a new dialog, `ksr_answer` reads its answer, and `ksr_in_dialog` checks
its further requests. Kamailio's table DIALOGS has a record of each dialog that began since its
start. The rules are in core/dialogs. Kamailio itself does these three parts for dialogs of the
simple form (core/dialogs/native.py).
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

from whence.core.dialogs import cookie as cookie_
from whence.core.dialogs import native, targets
from whence.core.dialogs.cookie import (
    HARMLESS,
    OLD_S,
    PARAM,
    RECORD_S,
    arrival_of,
    covers_via,
    find_cookie,
    id_of,
    new_id,
    write_cookie,
)
from whence.core.dialogs.record import ENDED, DialogRecord, OwnSockets, Party, RequestPath, Side
from whence.core.monitoring.call_progress import CallEvent, EventKind
from whence.core.sip.message import Message
from whence.core.sip.transport_address import IP, Transport, TransportAddress, canonical_ip
from whence.core.sip.uri import Uri, host_text
from whence.core.sip.via import RPORT_FLAG, reply_destination, reply_port, sent_by_port
from whence.edge.base import GO_ON, NO, Handlers, Worker, answers, judges, survives, text
from whence.edge.cseq_shifts import CseqShifts
from whence.edge.dialog_table import DIALOGS, DialogTable, dialog_of, table_key
from whence.edge.hidden_via import HiddenVia
from whence.edge.messages import read_reply
from whence.edge.phone_paths import PhonePaths
from whence.edge.phones import LOCATION
from whence.edge.sending_sockets import SendingSockets
from whence.edge.trunk_dialogs import STATE, TrunkCall, TrunkDialogs
from whence.ipc import call_events

DIALOG_ID = "$avp(whence_dialog)"
"""Set for a request of a dialog, and read for its replies: its key in DIALOGS."""

SENT = "$avp(whence_sent)"
"""Set with DIALOG_ID: the side that sent the request, and the cookie in our Record-Route.

Not set where Kamailio began the dialog: then it is the caller, and Kamailio's cookie.
"""

TRUNK, USER = "$var(trunk)", "$var(called)"
"""Set for an INVITE that may begin a dialog: its trunk, and the URI of the local user or nothing.
"""

OWN_ROUTE = "$avp(whence_own_route)"
"""Of an INVITE on a socket whose public address changes: how our Record-Route begins in Kamailio,
and how it must begin for the caller, with a blank between.
"""

OLD = "$avp(whence_old)"
"""Set where the dialog is older than this Kamailio."""

EXPIRY = f"$shtex({DIALOGS}=>{DIALOG_ID})"
"""The seconds until the record of the current dialog expires.

The name holds DIALOG_ID and not the id itself: Kamailio keeps the name of every pseudo-variable
that a handler ever read.
"""

RECEIVED = "$xavp(registrar=>match_received)"
"""The source that a phone's REGISTER must have, in the form of Kamailio's nathelper."""

RECEIVED_FLAG = 2  # registrar.registered_flags: compare that

REFRESHES = frozenset({"INVITE", "UPDATE"})
"""Requests that may change a Contact (RFC 3261 12.2, RFC 3311 5.1)."""

OUR_ROUTES_LIMIT = 64
"""Our own Record-Routes that a worker remembers: one for each socket and transport."""


class DialogHandlers(Handlers):
    """Checks the requests and replies of dialogs."""

    def __init__(
        self,
        worker: Worker,
        own: OwnSockets,
        sending: SendingSockets,
        trunk_dialogs: TrunkDialogs,
        shifts: CseqShifts,
        via: HiddenVia,
    ) -> None:
        super().__init__(worker)
        self._own = own
        self._sending = sending
        self._calls = trunk_dialogs
        self._shifts = shifts
        self._via_of_phone = via
        self._table = DialogTable(worker)
        self._phones = PhonePaths(worker)
        self._our_routes: set[str] = set()

    @answers
    def ksr_begin_dialog(self, _message: object) -> int:
        """Store the dialog that an INVITE may begin, and add the Record-Route with its cookie.

        Kamailio itself begins those of the simple form.
        """
        pv = self.ksr.pv
        self.record_route(self.begin(str(pv.get(TRUNK)), str(pv.get(USER) or "")))
        return GO_ON

    def begin(self, trunk_id: str = "", user: str = "", caller_user: str = "") -> str:
        """Store the dialog that the current INVITE may begin; return the cookie to the caller."""
        ksr, message, source = self.ksr, self.worker.message, self.worker.source()
        call_id = text(ksr.kx.get_callid) or ""
        id_ = new_id(self.worker.arrival(), secrets.token_hex(8))
        way = self._way_back(message, source)
        cookie = self._cookie(id_, call_id, self._via(message, source), Side.CALLER, way, "")
        record = DialogRecord(
            self._table.kept(call_id),
            self._table.kept(text(lambda: str(ksr.pv.get("$ft"))) or ""),
            trunk_id,
            user,
            Party().with_more(str(source.ip), way, cookie),
            caller_user=caller_user,
        )
        self._table.save(id_, record)
        self._note_dialog(id_, Side.CALLER, cookie)
        self._note_public_route(source)
        return cookie

    def set_trunk(self, cookie: str, trunk_id: str) -> None:
        """Store that a call goes to another trunk. `cookie`: that of `begin`."""
        id_ = id_of(cookie)
        record = self._table.load(id_)
        if isinstance(record, DialogRecord):
            self._table.save(id_, replace(record, trunk_id=trunk_id))

    def record_route(self, cookie: str, state: str = "") -> None:
        """Add the Record-Route with a cookie, and with the route state of a call if it has one."""
        params = f";{STATE}={state}" if state else ""
        self.ksr.rr.record_route_params(f"{params};{PARAM}={cookie}")

    def key(self) -> str:
        """Return the key of the edge's cookies and route states. Raises StoreUnavailableError."""
        return self._table.key()

    @answers
    def ksr_in_dialog(self, _message: object) -> int:
        """Return whether the request belongs to a dialog that we let in, and set where it leads.

        Returns REWRITTEN for a request that each try rewrites. A sender can make up a To tag. So
        the first Route must be ours, with the cookie of this call. The other Routes and the
        Request-URI must lead to one party of the call. The request must come from the other party.
        """
        ksr = self.ksr
        message = self.worker.message
        call_id, target = text(ksr.kx.get_callid), text(ksr.kx.get_ruri)
        routes, goal = targets.uris(message.all("route")), Uri.parse(target or "")
        phone_uri = self._calls.phone_uri(goal, call_id or "")
        if phone_uri is not None:  # it is our registered Contact
            goal = Uri.parse(phone_uri)
        call = self._calls.find([*routes, goal], call_id or "")
        cookie = self._take_ours(routes)
        if cookie is None and routes:
            cookie, goal = self._take_strict(routes, goal)
        there = targets.places(routes, goal)
        if cookie is None or there is None or call_id is None:
            return NO
        method = text(ksr.kx.get_method) or ""
        if method == "REGISTER":  # a target may trust the edge's ip
            return NO
        source, id_ = self.worker.source(), id_of(cookie)
        record = self._table.load(id_)
        if record == ENDED or (
            isinstance(record, DialogRecord) and not self._table.is_of(record, call_id)
        ):
            return NO
        found = self._direction(record, cookie, call_id, there, message, call)
        if found is None:
            return NO
        passes = self._calls.refuses(record, call, found[0], method)
        if passes != GO_ON:
            return passes
        if found[0] is Side.CALLEE and self._shifts.refuses(record, method):
            return self.worker.answer(403, "Forbidden")
        self._restore_own_route(message)
        if phone_uri:
            ksr.seturi(phone_uri)
        if ksr.rr.loose_route() < 0:
            return NO
        sender, way = found
        hop = self._phones.hop(way, _user_of(record, sender.other), goal)
        ksr.setdsturi(hop)
        self._sending.force_in_dialog(hop, self.worker)
        self._pass(message, id_, record, call_id, cookie, sender, way, source, call)
        if call is not None:
            return self._calls.begin(call, id_, hop)
        if sender is Side.CALLEE and isinstance(record, DialogRecord):
            return self._shifts.begin(record, id_, hop)
        return GO_ON

    @survives
    def ksr_answer(self, _message: object) -> int:
        """Store how the sender of an answer is reached, and write the cookie for requests to it.

        The answer begins or refreshes a dialog. The cookie is in our Record-Route.
        """
        ksr = self.ksr
        id_ = dialog_of(str(ksr.pv.get(DIALOG_ID)))
        sent = str(ksr.pv.get(SENT) or f"{Side.CALLER} {id_}")
        record, call_id = self._table.load(id_), text(ksr.kx.get_callid)
        if not isinstance(record, DialogRecord) or call_id is None:
            return GO_ON
        if self._table.is_of(record, call_id):
            sender, _, cookie = sent.partition(" ")
            self._learn(self.worker.message, id_, call_id, record, Side(sender), cookie)
        return GO_ON

    @survives
    def ksr_public_route(self, _message: object) -> int:
        """Write our Record-Route in a reply so that the caller can reach it from outside.

        Kamailio writes the socket's own address; the address outside is not known at its start.
        """
        own, _, public = str(self.ksr.pv.get(OWN_ROUTE)).partition(" ")
        self.ksr.textops.replace_hdrs_str(own, public, "a")
        return GO_ON

    @judges
    def ksr_late_answer(self, _message: object) -> int:
        """Return whether a reply of no transaction is a 2xx of a dialog that we let in.

        The callee sent it again, or Kamailio has restarted. Its Via must lead to the source of the
        INVITE.
        """
        ksr = self.ksr
        message, call_id = read_reply(self.worker), text(ksr.kx.get_callid)
        if message is None or call_id is None or not 200 <= ksr.kx.get_status() < 300:
            return NO
        message = self._via_of_phone.restored(message, call_id)
        via = reply_destination(message.all("via"))
        routes = targets.uris(message.all("record-route"))
        cookie, call = find_cookie(routes), self._calls.find(routes, call_id)
        if via is None or cookie is None:
            return NO
        if not self._covers_via(cookie, call_id, via):
            return NO
        id_, source = id_of(cookie), self.worker.source()
        record = self._table.load(id_)
        is_recent = time.time() - OLD_S <= cookie_.began_at(cookie)
        if record == ENDED or (record is None and not (is_recent and self._table.is_old(cookie))):
            return NO
        if isinstance(record, DialogRecord):
            tag = self._table.kept(text(lambda: str(ksr.pv.get("$ft"))) or "")
            sender = Side.CALLER if tag == record.tag else Side.CALLEE
            ips = record.party(sender.other).ips
            if ips and str(source.ip) not in ips:
                return NO
            if self._calls.refuses(record, call, sender, "INVITE") != GO_ON:
                return NO
        else:  # the dialog began before this Kamailio, which has no record of it
            sender = Side.CALLER
            ip = via.partition(":")[2].rpartition(":")[0].strip("[]")
            record = DialogRecord("", "", "", "", Party((ip,)))
            if call is not None and call.to_trunk and not self._calls.comes_from_trunk(call):
                return NO
        self._learn(message, id_, call_id, record, sender, cookie)
        # The transaction of a call that rang when Kamailio ended is gone: only this reports it.
        answered = CallEvent(
            EventKind.ANSWERED, arrival_of(cookie), time.time(), ksr.kx.get_status(), source
        )
        self.worker.decision_sender.send_record(call_events.record(answered))
        return GO_ON if call is None or self._calls.pass_late(message, call) else NO

    def _direction(
        self,
        record: DialogRecord | str | None,
        cookie: str,
        call_id: str,
        there: tuple[str, ...],
        message: Message,
        call: TrunkCall | None,
    ) -> tuple[Side, RequestPath] | None:
        """Return the side that sends a request, and its path; None if neither party sends it."""
        source = self.worker.source()
        if isinstance(record, DialogRecord):
            found = targets.direction(record, cookie, there)
            if found is not None and self._comes_from(record, found[0], source):
                return found
        if not self._table.is_old(cookie) or not self._opens(cookie, there, source):
            return None
        if call is not None and not call.to_trunk and not self._calls.comes_from_trunk(call):
            return None
        if native.is_native(cookie):
            if source.transport is not Transport.UDP:
                return None
            ports = source.port, sent_by_port(message.all("via"), source.transport)
            senders = [f"{host_text(source.ip_text)}:{port}" for port in dict.fromkeys(ports)]
            key = self._table.native_key()
            return native.direction_of_old(key, cookie, call_id, there, senders)
        key = self._table.key()
        return targets.direction_of_old(key, cookie, call_id, there, source.ip_text)

    def _covers_via(self, cookie: str, call_id: str, via: str) -> bool:
        """Return whether a late answer with this cookie may be sent to `via`."""
        if not native.is_native(cookie):
            return covers_via(self._table.key(), cookie, call_id, via)
        transport, _, caller = via.partition(":")
        _, _, callee = str(self.worker.source()).partition(":")
        key = self._table.native_key()
        return transport == "udp" and native.covers(key, cookie, call_id, caller, callee)

    def _comes_from(self, record: DialogRecord, sender: Side, source: TransportAddress) -> bool:
        if str(source.ip) in record.party(sender).ips:
            return True
        if user := record.user_of(sender):
            return self._is_phone_of(user, source)
        is_trunk = sender is (Side.CALLEE if record.caller_user else Side.CALLER)
        return (is_trunk and bool(record.trunk_id)) and self.worker.directory.admits(
            record.trunk_id, source, self.worker.now()
        )

    def _is_phone_of(self, user: str, source: TransportAddress) -> bool:
        """Return whether a phone of the user has registered from there; phones may move."""
        transport = "" if source.transport == "udp" else f";transport={source.transport}"
        uri = f"sip:{host_text(str(source.ip))}:{source.port}{transport}"
        self.ksr.pv.sets(RECEIVED, uri)
        return self.ksr.registrar.registered_flags(LOCATION, user, RECEIVED_FLAG) > 0

    def _pass(
        self,
        message: Message,
        id_: str,
        record: DialogRecord | str | None,
        call_id: str,
        cookie: str,
        sender: Side,
        way: RequestPath,
        source: TransportAddress,
        call: TrunkCall | None,
    ) -> None:
        """Store what a request changes in its dialog, and the values that its replies need."""
        ksr = self.ksr
        method = ksr.kx.get_method()
        if method == "ACK":
            return
        ksr.pv.sets(DIALOG_ID, table_key(id_))
        if self._table.is_old(cookie):
            ksr.pv.sets(OLD, "yes")
        if method not in REFRESHES:
            if isinstance(record, DialogRecord):
                ksr.pv.seti(EXPIRY, RECORD_S)
            return
        if not isinstance(record, DialogRecord):
            tag = str(ksr.pv.get("$ft" if sender is Side.CALLER else "$tt"))
            hidden = self._table.kept(call_id), self._table.kept(tag)
            record = DialogRecord(*hidden, "", "", Party())
            if call is not None:
                record = self._calls.of_call(record, call)
        receiver = record.party(sender.other).with_more("", way, cookie)
        record = record.with_party(sender.other, receiver)
        party = record.party(sender)
        contact = next(iter(targets.uris(message.all("contact"))), None)
        before = next(iter(party.ways), RequestPath(("",), ""))
        at_source = self._phones.is_at_source(
            message, _user_of(record, sender), source, is_reply=False
        )
        after = targets.refreshed(before, contact, source, self._own, at_source=at_source)
        ours = ""
        if method == "INVITE":
            from_ip = _first_ip(record.caller) if sender is Side.CALLEE else ""
            via = self._via(message, source)
            ours = self._cookie(id_, call_id, via, sender, after or before, from_ip)
            self._note_dialog(id_, sender, ours)
            self.record_route(ours, call.value if call is not None else "")
        else:
            ksr.pv.sets(SENT, f"{sender} ")
        self._table.save(
            id_, record.with_party(sender, party.with_more(str(source.ip), after, ours))
        )

    def _learn(
        self,
        message: Message,
        id_: str,
        call_id: str,
        record: DialogRecord,
        requester: Side,
        cookie: str,
    ) -> None:
        """Store how the answering party is reached, and write the cookie for the other party.

        `cookie`: that in our Record-Route of the request, and so of the answer.
        """
        replier, source = requester.other, self.worker.source()
        party = record.party(replier)
        contact = next(iter(targets.uris(message.all("contact"))), None)
        began = next(iter(record.party(requester).cookies), cookie) == cookie
        at_source = self._phones.is_at_source(
            message, _user_of(record, replier), source, is_reply=True
        )
        if party.ways and not began:
            way = targets.refreshed(party.ways[0], contact, source, self._own, at_source=at_source)
        else:
            recorded = targets.uris(message.all("record-route"))
            at = next((i for i, uri in enumerate(recorded) if find_cookie([uri])), len(recorded))
            way = targets.way(recorded[:at][::-1], contact, source, self._own, at_source=at_source)
        ours = ""
        if way is not None and cookie:
            from_ip = _first_ip(record.caller) if replier is Side.CALLEE else ""
            via = reply_destination(message.all("via")) or ""
            ours = self._cookie(id_, call_id, via, replier, way, from_ip)
            self.ksr.textops.replace_hdrs_str(cookie, ours, "a")
        after = record.with_party(replier, party.with_more(str(source.ip), way, ours))
        if record.call and after != record:
            self._table.save(id_, after)

    def _way_back(self, message: Message, source: TransportAddress) -> RequestPath | None:
        routes = targets.uris(message.all("record-route"))
        contact = next(iter(targets.uris(message.all("contact"))), None)
        at_source = self._phones.is_at_source(message, "", source, is_reply=False)
        return targets.way(routes, contact, source, self._own, at_source=at_source)

    def _note_public_route(self, source: TransportAddress) -> None:
        """Note how the caller reaches us, if the address of the socket changes at run time.

        The caller wrote this address into the Request-URI. A wrong one harms only its own call.
        """
        if not self._sending.has_nat:
            return
        received_on = self.worker.received_on()
        if not self._sending.follows_nat(received_on):
            return
        uri = Uri.parse(text(lambda: self.ksr.pv.get("$ou")) or "")
        try:
            ip = canonical_ip(uri.host) if uri is not None else None
        except ValueError:
            ip = None
        if uri is None or ip is None or ip in (received_on.ip, source.ip):
            return
        own = _route_of(received_on.ip, received_on.port, received_on.transport)
        public = _route_of(ip, uri.port or received_on.transport.default_port)
        self.ksr.pv.sets(OWN_ROUTE, f"{own} {public}")

    def _restore_own_route(self, message: Message) -> None:
        """Give our own Route the address of its socket again, which Kamailio knows as its own."""
        if not self._sending.has_nat:
            return
        received_on = self.worker.received_on()
        (ours, *_) = targets.uris(message.all("route"))
        ip = self._public_ip(ours)
        if ours is None or ip is None:
            return
        port = ours.port or received_on.transport.default_port
        if (ip, port) != (received_on.ip, received_on.port):
            own = _route_of(received_on.ip, received_on.port)
            self.ksr.textops.replace_hdrs_str(_route_of(ip, port), own, "a")
            self.ksr.textopsx.msg_apply_changes()

    def _take_ours(self, routes: list[Uri | None]) -> str | None:
        """Remove our own Routes from the start of a route set; return their cookie, or None.

        The public address of a socket may change. Its first Route may have any ip: the cookie,
        which is verified later, makes it ours. `_restore_own_route` gives it our own address.
        """
        cookie = find_cookie(routes[:1])
        if cookie is None:
            return None
        public = self._public_ip(routes[0])
        if public is None and not self._is_ours(routes[0]):
            return None
        del routes[0]
        if find_cookie(routes[:1]) == cookie and (
            self._is_ours(routes[0])
            or (public is not None and self._public_ip(routes[0]) == public)
        ):
            del routes[0]  # the call arrived at one of our sockets, and left by another
        return cookie

    def _public_ip(self, uri: Uri | None) -> IP | None:
        """Return the ip in a Route if it was received on a socket whose address changes."""
        if uri is None or not self._sending.has_nat:
            return None
        if not self._sending.follows_nat(self.worker.received_on()):
            return None
        try:
            return canonical_ip(uri.host)
        except ValueError:
            return None

    def _take_strict(
        self, routes: list[Uri | None], ruri: Uri | None
    ) -> tuple[str | None, Uri | None]:
        """Return the cookie and the target of a request from a strict router (RFC 3261 16.4).

        Such a router puts our Record-Route into the Request-URI. It puts the target into the last
        Route, which is removed from `routes`.
        """
        ours = [ruri]
        cookie = self._take_ours(ours)
        if cookie is None:
            return None, ruri
        if find_cookie(routes[:1]) == cookie and self._is_ours(routes[0]):
            del routes[0]  # the call came in by one socket, and went out by another
        return cookie, routes.pop() if routes else None

    def _is_ours(self, uri: Uri | None) -> bool:
        where = targets.place(uri) if uri is not None else None
        if where is None or uri is None:
            return False
        if where not in self._our_routes:
            if not self.ksr.is_myself(f"sip:{where.partition(':')[2]}"):
                return False
            if len(self._our_routes) < OUR_ROUTES_LIMIT:
                self._our_routes.add(where)
        return True

    def _note_dialog(self, id_: str, sender: Side, cookie: str) -> None:
        self.ksr.pv.sets(DIALOG_ID, table_key(id_))
        self.ksr.pv.sets(SENT, f"{sender} {cookie}")

    def _cookie(
        self, id_: str, call_id: str, via: str, to: Side, way: RequestPath | None, from_ip: str
    ) -> str:
        key, there = self._table.key(), way.places if way else ()
        source = targets.source_of(way) if way else None
        return write_cookie(key, id_, call_id, via, to, there, from_ip, source)

    def _via(self, message: Message, source: TransportAddress) -> str:
        """Return the destination of answers to the current request."""
        connection = "" if source.transport == "udp" else f"#{self.ksr.kx.get_conid()}"
        port = reply_port(message.all("via"), source)
        if port != source.port and self.ksr.isflagset(RPORT_FLAG):
            port = source.port
        return f"{source.transport}:{host_text(source.ip_text)}:{port}{connection}"

    def _opens(self, cookie: str, there: tuple[str, ...], source: TransportAddress) -> bool:
        """Return whether the cookie of an old dialog alone opens it for the current request.

        The dialog may have ended since. So after OLD_S the edge resolves no name for it. A source
        that is no trunk's or phone's may then send only what begins nothing at the other party.
        """
        now = time.time()
        if now - OLD_S <= cookie_.began_at(cookie):
            return True
        if not targets.is_address(there[0]):
            return False
        return self.ksr.kx.get_method() in HARMLESS or self.worker.belongs(source.ip)


def _route_of(ip: IP, port: int, transport: Transport | None = None) -> str:
    """Return the start of our Record-Route; with `transport`, as Kamailio writes it.

    Kamailio leaves out the default port.
    """
    shows_port = transport is None or port != transport.default_port
    return f"<sip:{host_text(str(ip))}{f':{port}' if shows_port else ''};"


def _user_of(record: DialogRecord | str | None, side: Side) -> str:
    """Return the URI of the local user whose phone is this party; empty: none, or unknown."""
    return record.user_of(side) if isinstance(record, DialogRecord) else ""


def _first_ip(party: Party) -> str:
    return next(iter(party.ips), "")
