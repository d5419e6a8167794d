"""The rig: a network, a directory, and the programs that were started on them."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from testkit.certificates import Authority, Certificate
from testkit.digest import Realm
from testkit.drop_in import DropIn, Record
from testkit.nameserver import DNS_PORT, NameServer
from testkit.network import SIP_PORT, Network
from testkit.provider import Digest, Provider
from testkit.sip import Address, Endpoint
from testkit.sipp import Behaviour, Caller, Phone, Verifier
from testkit.stream import StreamEndpoint, Transport
from testkit.strict_uas import StrictUas
from testkit.whence import Table, Whence

_TAIL_LINES = 80


class Rig:
    """Starts programs by name, each at its own address, and ends them in reverse order.

    At the end it removes its directory with all files and logs. After an exception, or with *keep*,
    the directory stays.
    """

    def __init__(self) -> None:
        self.keep = False
        # A short prefix, because the path of a Unix socket has 108 bytes at most.
        self.directory = Path(tempfile.mkdtemp(prefix="whence-rig-"))
        self.network = Network()
        self._stack = ExitStack()
        self._callers = count(1)

    def ip(self, name: str) -> str:
        """Return the address of the machine *name*."""
        return self.network.ip(name)

    def provider(
        self,
        name: str = "provider",
        *,
        accounts: Mapping[str, str],
        domain: str = "provider.example",
        auth_users: Mapping[str, str] | None = None,
        challenge: bool | Digest = True,
        anybody: bool = False,
        grants_s: int | None = None,
        min_expires: int | None = None,
        also_lists: str | None = None,
        refuses: int | None = None,
        at: Address | None = None,
        tls: Certificate | None = None,
        tls_by_name: Mapping[str, Certificate] | None = None,
    ) -> Provider:
        """Start a provider at a machine of its own; see `Provider` for the options."""
        ip, port = at or (self.ip(name), SIP_PORT)
        return self._stack.enter_context(
            Provider(
                ip,
                self.directory,
                name=name,
                accounts=accounts,
                domain=domain,
                auth_users=auth_users,
                challenge=challenge,
                anybody=anybody,
                grants_s=grants_s,
                min_expires=min_expires,
                also_lists=also_lists,
                refuses=refuses,
                port=port,
                tls=tls,
                tls_by_name=tls_by_name,
            )
        )

    def verifier(self, name: str, *, user: str, password: str, qop: bool = True) -> Verifier:
        """Start a SIPp registrar that verifies one response; see `Verifier`."""
        return self._stack.enter_context(
            Verifier(
                self.ip(name), self.directory, name=name, user=user, password=password, qop=qop
            )
        )

    def authority(self, name: str = "authority") -> Authority:
        """Make a certificate authority."""
        return Authority(name, self.directory)

    def nameserver(
        self, *records: str, name: str = "nameserver", port: int = DNS_PORT
    ) -> NameServer:
        """Start a DNS server with these records; see `NameServer`."""
        return self._stack.enter_context(
            NameServer(self.ip(name), self.directory, records, name=name, port=port)
        )

    def whence(
        self,
        name: str = "edge",
        *,
        trunks: Sequence[Table] = (),
        users: Sequence[str | Table] = (),
        edge: Table | None = None,
        agent: Table | None = None,
        registration: Table | None = None,
        domain: str = "edge.example",
        start: bool = True,
    ) -> Whence:
        """Start Whence, and wait until it is healthy; see `Whence`."""
        whence = self._stack.enter_context(
            Whence(
                self.network,
                self.directory,
                name=name,
                trunks=trunks,
                users=users,
                edge=edge,
                agent=agent,
                registration=registration,
                domain=domain,
            )
        )
        if start:
            whence.start()
        return whence

    def drop_in(
        self, *, records: Sequence[Record], name: str = "native", start: bool = True, **more: Any
    ) -> DropIn:
        """Start a Kamailio with a drop-in; see `DropIn`."""
        kamailio = DropIn(self.ip(name), self.directory, records=records, name=name, **more)
        self._stack.callback(kamailio.stop)
        if start:
            kamailio.start()
        return kamailio

    def drop_in_phone(self, user: str, password: str, native: DropIn) -> Phone:
        """Start a phone, and register it at a Kamailio with a drop-in."""
        return self._stack.enter_context(
            Phone(
                user,
                self.ip(f"phone-{user}"),
                self.directory,
                password=password,
                domain=native.address[0],
                edge=native.address,
            )
        )

    def phone(
        self,
        user: str,
        whence: Whence | None = None,
        *,
        behaviour: Behaviour = "answers",
        rings_for_s: float = 0,
        expires_s: int = 3600,
        port: int = SIP_PORT,
        trace: bool = True,
    ) -> Phone:
        """Start a user's phone. With *whence*, register it there with the user's password.

        It returns when the location table has the contact, so that the contact survives a kill.
        """
        phone = self._stack.enter_context(
            Phone(
                user,
                self.ip(f"phone-{user}"),
                self.directory,
                password=whence.password(user) if whence else "",
                domain=whence.domain if whence else "",
                edge=whence.address if whence else None,
                port=port,
                behaviour=behaviour,
                rings_for_s=rings_for_s,
                expires_s=expires_s,
                trace=trace,
            )
        )
        if whence:
            whence.wait_contact_stored(user)
        return phone

    def caller(
        self, edge: Address | Whence, at: str | Provider = "caller", *, port: int = 0
    ) -> Caller:
        """Return a SIPp caller of *edge*, at the machine *at* or at a provider's."""
        ip = at.ip if isinstance(at, Provider) else self.ip(at)
        return self._stack.enter_context(
            Caller(
                ip,
                edge.address if isinstance(edge, Whence) else edge,
                self.directory,
                name=f"caller-{next(self._callers)}",
                port=port,
            )
        )

    def endpoint(self, name: str, port: int = 0) -> Endpoint:
        """Return a raw SIP endpoint at the machine *name*."""
        return self._stack.enter_context(Endpoint(self.ip(name), port))

    def strict_uas(self, name: str, edge: Address) -> StrictUas:
        """Start a strict server on the machine *name*. It challenges REGISTER and INVITE."""
        realm = Realm(methods=("REGISTER", "INVITE"))
        return self._stack.enter_context(StrictUas(self.ip(name), realms=[realm], edge=edge))

    def stream(self, ip: str, transport: Transport = "tcp", port: int = 0) -> StreamEndpoint:
        """Return a raw SIP endpoint that connects over TCP or TLS from this ip."""
        return self._stack.enter_context(StreamEndpoint(ip, transport, port))

    def unknown_source(self) -> Endpoint:
        """Return a raw SIP endpoint at an address that no trunk has."""
        return self.endpoint("unknown_source")

    def logs(self) -> dict[str, str]:
        """Return file name → last lines, of each log and trace."""
        wanted = (".log", ".messages", ".errors", ".err")
        files = sorted(file for file in self.directory.iterdir() if file.suffix in wanted)
        return {file.name: _tail(file) for file in files if file.stat().st_size}

    def close(self) -> None:
        """End all programs."""
        try:
            self._stack.close()
        finally:
            self.network.close()
            if not self.keep:
                shutil.rmtree(self.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.keep = self.keep or error is not None
        self.close()


def _tail(file: Path) -> str:
    lines = file.read_text("utf-8", "replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:])
