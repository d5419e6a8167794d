"""Whether the peer of a TLS connection has a certificate for the name that it needs."""

from __future__ import annotations

from whence.core.sip.transport_address import Transport, TransportAddress
from whence.edge.base import GO_ON, Handlers, survives
from whence.edge.ksr import Ksr
from whence.ipc.headers import TlsReject, tls_reject_reason
from whence.trust import certificates

TRUNK_ID = "$avp(whence_trunk)"
"""The trunk to which a request is sent."""

PEER = "$avp(whence_peer)"
"""Set where a challenge over TLS comes from a peer with the right certificate: our socket's peer,
as `TransportAddress` writes it."""

SERVER_NAME = "$xavp(tls=>server_name)"
"""The name that Kamailio's tls sends (SNI) when it opens a connection."""


class TlsIdentityHandlers(Handlers):
    """Checks who challenges a request over TLS."""

    @survives
    def ksr_challenger(self, _message: object) -> int:
        """Note whether a challenge over TLS comes from the server of its trunk."""
        ksr, trunk_id = self.ksr, str(self.ksr.pv.get(TRUNK_ID) or "")
        access = self.worker.directory.trunk_access([trunk_id]).get(trunk_id)
        source = self.worker.source()
        if access is not None and not peer_fault(ksr, source, access.tls_name):
            ksr.pv.sets(PEER, str(source))
        return GO_ON


def peer_fault(ksr: Ksr, source: TransportAddress, name: str) -> str:
    """Return the TLS reject reason of an answer that is not from `name`; empty if it is."""
    if source.transport is not Transport.TLS:
        return tls_reject_reason(TlsReject.ANSWERED_OVER_ANOTHER_TRANSPORT, source.transport)
    get = ksr.pv.get
    uri = get("$tls_peer_san_uri")
    if str(uri).lower() == f"sip:{name}":
        return ""
    alternatives = [get("$tls_peer_san_hostname"), uri, get("$tls_peer_san_ip")]
    named = [str(one) for one in alternatives if one is not None]
    pem = str(get("$tls_peer_raw_cert"))
    if certificates.is_for(pem, name, has_alternatives=bool(named)):
        return ""
    presented = named[0] if named else str(get("$tls_peer_subject_cn") or "")
    return tls_reject_reason(TlsReject.CERTIFICATE_FOR_ANOTHER_NAME, presented)
