"""A DNS server, a real dnsmasq, with the records that it is given."""

import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.process import Process
from testkit.wait import eventually

DNS_PORT = 5300  # nobody else's: 5353 may be some multicast DNS's
DOMAIN = "example"
"""All that the server knows is below it: what it has no record of there does not exist."""


def address(name: str, *ips: str, ttl_s: int = 300) -> str:
    """A and AAAA records."""
    return "\n".join(f"host-record={name},{ip},{ttl_s}" for ip in ips)


def srv(
    service: str, target: str, port: int = 5060, *, priority: int = 10, weight: int = 10
) -> str:
    """`_sip._udp.provider.example` → a server; the target "." says that there is none."""
    if target == ".":
        return f"srv-host={service}"
    return f"srv-host={service},{target},{port},{priority},{weight}"


def naptr(
    name: str, service: str, replacement: str, *, order: int = 10, preference: int = 10
) -> str:
    """`SIP+D2U` and its like → the name of SRV records."""
    return f"naptr-record={name},{order},{preference},s,{service},,{replacement}"


def cname(name: str, target: str) -> str:
    return f"cname={name},{target}"


def forwarded(domain: str, to: tuple[str, int]) -> str:
    """Let another server answer for this domain."""
    return f"server=/{domain}/{to[0]}#{to[1]}"


def refused(domain: str) -> str:
    """Answer REFUSED for this domain: as good as no answer, without the wait."""
    return f"server=/{domain}/#"


class NameServer:
    """A DNS server for `.example`; for what is not there it answers REFUSED."""

    def __init__(
        self,
        ip: str,
        directory: Path,
        records: Iterable[str] = (),
        *,
        name: str = "nameserver",
        port: int = DNS_PORT,
        ttl_s: int = 300,
    ) -> None:
        """Start it. *ttl_s*: of all records but addresses, which have their own."""
        self.name = name
        self.address = (ip, port)
        self._directory = directory
        self._ttl_s = ttl_s
        self.records = list(records)
        self.process = self._start()

    @property
    def place(self) -> str:
        """`ip:port`, as whence.toml names it."""
        return f"{self.address[0]}:{self.address[1]}"

    def asked(self, name: str | None = None) -> list[tuple[str, str]]:
        """Return what it was asked, in order, over all its lives: (type, name)."""
        found = re.findall(r"query\[(\w+)\] (\S+) from", self.process.log)
        return [(kind, one) for kind, one in found if name in (None, one)]

    def change(self, *records: str) -> None:
        """Have these records, and no others, from now on."""
        self.records = list(records)
        self.stop()
        self.start()

    def stop(self) -> None:
        """End it: nothing listens there any more."""
        self.process.stop()

    def kill(self) -> None:
        self.process.kill()

    def start(self) -> None:
        """Start it again after stop or kill."""
        assert not self.process.running, f"{self.name} runs"
        self.process = self._start()

    def _start(self) -> Process:
        config = self._directory / f"{self.name}.conf"
        ip, port = self.address
        lines = [
            "no-resolv",
            "no-hosts",
            "no-daemon",  # a change of user would lose the signal for its starter's death
            "bind-interfaces",
            f"listen-address={ip}",
            f"port={port}",
            "dns-forward-max=1000",
            "log-queries",
            "log-facility=-",
            f"local=/{DOMAIN}/",
            f"local-ttl={self._ttl_s}",
            *self.records,
        ]
        config.write_text("\n".join(lines) + "\n", "utf-8")
        log_file = self._directory / f"{self.name}.log"
        lives = _lives(log_file)
        argv: list[str | Path] = ["dnsmasq", f"--conf-file={config}"]
        process = Process(self.name, argv, log_file, stop_within_s=2)

        def listens() -> bool:
            if not process.running:
                raise ChildProcessError(f"{process.name} ended; its log:\n{process.log}")
            return _lives(log_file) > lives

        try:
            eventually(listens, what=f"{self.name} listens")
        except BaseException:
            process.kill()
            raise
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.stop()


def _lives(log_file: Path) -> int:
    """How often it has said that it has started: its sockets are bound by then."""
    return log_file.read_text("utf-8").count(": started, version") if log_file.exists() else 0
