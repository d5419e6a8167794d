"""The registrar of all contestants: a real Kamailio that challenges, tuned for speed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.network import SIP_PORT
from testkit.process import Process
from testkit.provider import ask_kamailio, await_kamailio

CONFIG = Path(__file__).with_name("registrar.cfg")
DOMAIN = "provider.example"
MEMORY = ("-x", "tlsf", "-X", "tlsf", "-m", "1024", "-M", "128")


@dataclass(frozen=True, slots=True)
class Count:
    """The counters of the registrar since its start.

    *seen*: REGISTERs, with retransmissions. *registered*: accounts that are registered now; expired
    ones are removed within five seconds.
    """

    seen: int
    challenged: int
    granted: int
    registered: int


class Registrar:
    """A registrar that has each account. The password is `secret-` and the user's name."""

    def __init__(self, ip: str, directory: Path, expires_s: int = 3600) -> None:
        self.address = (ip, SIP_PORT)
        self.expires_s = expires_s
        """The interval that contestants ask for."""
        self._rpc = directory / "registrar.rpc"
        argv = [
            *("kamailio", "-DD", "-E", "-f", str(CONFIG), "-Y", str(directory), *MEMORY),
            *("-A", f"LISTEN=udp:{ip}:{SIP_PORT}", "-A", f'RPC="{self._rpc}"'),
            *("-A", f'REALM="{DOMAIN}"'),
        ]
        self.process = Process("registrar", argv, directory / "registrar.log", stop_within_s=1)
        try:
            await_kamailio(self.process, self._rpc)
        except BaseException:
            self.process.kill()
            raise

    @property
    def uri(self) -> str:
        return f"sip:{self.address[0]}:{self.address[1]}"

    def count(self) -> Count:
        """Return its counters."""
        names = ("rcv_requests_register", "challenged", "granted", "registered_users")
        answer = ask_kamailio(self._rpc, "stats.get_statistics", *names)
        values = dict(line.rpartition(":")[2].split(" = ") for line in answer["result"])
        return Count(*(int(values[name]) for name in names))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.stop()


def password(user: str) -> str:
    """Return the password of an account."""
    return f"secret-{user}"
