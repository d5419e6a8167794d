"""Types of Kamailio's module KSR, for type checkers. They are the protocols of the edge."""

from whence.edge.ksr import (
    Auth,
    Corex,
    Hdr,
    Htable,
    Kx,
    Mqueue,
    Nathelper,
    Pike,
    Pv,
    Registrar,
    Rr,
    Sl,
    Tcpops,
    Textops,
    Textopsx,
    Tm,
    Uac,
)

pv: Pv
kx: Kx
hdr: Hdr
textops: Textops
textopsx: Textopsx
htable: Htable
mqueue: Mqueue
tm: Tm
sl: Sl
rr: Rr
auth: Auth
registrar: Registrar
nathelper: Nathelper
tcpops: Tcpops
pike: Pike
corex: Corex
uac: Uac

def err(line: str, /) -> None: ...
def info(line: str, /) -> None: ...
def seturi(uri: str, /) -> bool: ...
def setdsturi(uri: str, /) -> bool: ...
def set_forward_no_connect() -> bool: ...
def add_local_rport() -> bool: ...
def isflagset(_: int, /) -> bool: ...
def setflag(_: int, /) -> bool: ...
def setbflag(_: int, /) -> bool: ...
def isbflagset(_: int, /) -> bool: ...
def is_myself(uri: str, /) -> bool: ...
def is_myself_turi() -> bool: ...
