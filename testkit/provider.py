"""A trunk provider: a second real Kamailio, with a registrar."""

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from testkit.certificates import Certificate
from testkit.network import SIP_PORT
from testkit.process import Process
from testkit.wait import PATIENCE_S, eventually

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=StrictUndefined,
    autoescape=False,
)


@dataclass(frozen=True)
class Contact:
    """One Contact in the registrar's location table."""

    uri: str
    expires_s: int


@dataclass(frozen=True)
class Digest:
    """How a registrar challenges. Kamailio's `auth` has no SHA-512-256."""

    algorithm: Literal["MD5", "SHA-256"] = "MD5"
    qop: bool = True
    nonce_s: int = 300
    """How long a nonce is valid; after that the answer is 401 with stale=true."""
    uses: Literal["any", "counted", "once"] = "any"
    """How often a nonce is valid: any number of times, once for each nonce count, or once."""


@dataclass(frozen=True)
class Register:
    """A REGISTER at the registrar, challenged ones too. Retransmissions are the same one."""

    at: float
    """When it first arrived, in seconds since the epoch."""
    user: str
    source: str
    call_id: str
    cseq: int
    contact: str
    expires: str
    authorization: str
    """The header's value; `<null>` without one."""

    def auth_param(self, field: str) -> str | None:
        """Return a field of the credentials, without its quotes."""
        found = re.search(rf'[ ,]{field}="?([^",]*)', self.authorization)
        return found[1] if found else None


class Provider:
    """A registrar for *accounts* (user → password), and a proxy for calls to their Contacts.

    It keeps registrations in memory only; a restart loses them.
    """

    def __init__(
        self,
        ip: str,
        directory: Path,
        *,
        accounts: Mapping[str, str],
        domain: str = "provider.example",
        name: str = "provider",
        auth_users: Mapping[str, str] | None = None,
        challenge: bool | Digest = True,
        anybody: bool = False,
        grants_s: int | None = None,
        min_expires: int | None = None,
        also_lists: str | None = None,
        also_lists_expires_s: int = 7200,
        refuses: int | None = None,
        port: int = SIP_PORT,
        tls: Certificate | None = None,
        tls_by_name: Mapping[str, Certificate] | None = None,
    ) -> None:
        """Start it.

        *auth_users*: user → another name in its credentials. *challenge*: require digest
        credentials (MD5, qop=auth, unless a Digest has other values). *anybody*: accept any
        account; its configuration has no room for thousands. *grants_s*: the longest interval that
        it grants. *min_expires*: a shorter interval gets a 423. *also_lists*: a URI that each
        account has already registered, so that a 200 lists two Contacts. *refuses*: the status for
        each REGISTER. *port*: the port of UDP and TCP. *tls*: a certificate; then it listens on
        TLS too, on the next port. *tls_by_name*: server name (SNI) → another certificate.
        """
        self.name = name
        self.domain = domain
        self.accounts = dict(accounts)
        self.address = (ip, port)
        self._certificates = {"": tls, **(tls_by_name or {})} if tls else {}
        self._directory = directory
        self._also_lists = also_lists
        self._also_lists_expires_s = also_lists_expires_s
        self._rpc_socket = directory / f"{name}.rpc"
        self._settings: dict[str, object] = {
            "auth_users": dict(auth_users or {}),
            "challenge": bool(challenge),
            "anybody": anybody,
            "digest": challenge if isinstance(challenge, Digest) else Digest(),
            "grants_s": grants_s or 0,
            "min_expires": min_expires or 0,
            "refuses": refuses or 0,
        }
        self.process = self._start()

    @property
    def ip(self) -> str:
        return self.address[0]

    @property
    def uri(self) -> str:
        """The registrar as whence.toml names it."""
        return f"sip:{self._host}:{self.address[1]}"

    def uri_over(self, transport: str, name: str = "") -> str:
        """The registrar as whence.toml names it for TCP or TLS, by its address or by a *name*."""
        port = self.address[1] + (transport == "tls")
        return f"sip:{name or self._host}:{port};transport={transport}"

    @property
    def _host(self) -> str:
        return f"[{self.ip}]" if ":" in self.ip else self.ip

    def contacts(self, user: str) -> list[Contact]:
        """Return the Contacts of *user*."""
        answer = self.rpc("ul.lookup", "location", user)
        if "error" in answer:  # 404: no such address-of-record
            return []
        entries = (entry["Contact"] for entry in answer["result"]["Contacts"])
        return [
            Contact(entry["Address"], int(entry["Expires"]))
            for entry in entries
            if str(entry["Expires"]).isdecimal()  # otherwise "expired" or "deleted"
        ]

    def registers(self) -> list[Register]:
        """Return each REGISTER, in order, also of before a restart."""
        pattern = (
            r"saw REGISTER at=(\S*) user=(\S*) source=(\S*) call_id=(\S*) cseq=(\d+) "
            r"via=(.*?) contact=(.*) expires=(\S*) authorization=(.*)"
        )
        first: dict[tuple[str, ...], Register] = {}
        for at, user, source, call_id, cseq, via, *rest in re.findall(pattern, self.process.log):
            register = Register(float(at), user, source, call_id, int(cseq), *rest)
            first.setdefault((call_id, cseq, via), register)
        return list(first.values())

    def registers_seen(self) -> int:
        return len(self.registers())

    def refuse(self, status: int) -> None:
        """Answer each REGISTER with this status from now on."""
        self._settings["refuses"] = status
        self.rpc("pv.shvSet", "refuses", "int", status)

    def accept(self) -> None:
        """Accept REGISTERs again, after `refuse`."""
        self.refuse(0)

    def forget(self, user: str) -> None:
        """Remove all Contacts of *user*."""
        self.rpc("ul.rm", "location", user)

    def rpc(self, method: str, *params: str | int) -> dict[str, Any]:
        """Call its JSONRPC. Its datagram socket loses answers above about 131 kB."""
        return ask_kamailio(self._rpc_socket, method, *params)

    def stop(self) -> None:
        """End it with SIGTERM."""
        self.process.stop()

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()

    def start(self) -> None:
        """Start it again after `stop` or `kill`, without the former registrations."""
        assert not self.process.running, f"{self.name} runs"
        self.process = self._start()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _start(self) -> Process:
        config = self._directory / f"{self.name}.cfg"
        config.write_text(
            _TEMPLATES.get_template("provider.cfg.j2").render(
                host=self._host,
                tls=self._tls_config(),
                port=self.address[1],
                domain=self.domain,
                accounts=self.accounts,
                rpc_socket=self._rpc_socket,
                **self._settings,
            ),
            "utf-8",
        )
        process = start_kamailio(self.name, config, self._directory)
        try:
            await_kamailio(process, self._rpc_socket)
            self._list_another()
        except BaseException:
            process.kill()
            raise
        return process

    def _tls_config(self) -> Path | None:
        """Write the file for Kamailio's module tls, if it listens on TLS."""
        if not self._certificates:
            return None
        file = self._directory / f"{self.name}-tls.cfg"
        profiles = []
        for name, certificate in self._certificates.items():
            profiles += ["[server:any]" if name else "[server:default]", "method = TLSv1.2+"]
            profiles += [f"certificate = {certificate.certificate}"]
            profiles += [f"private_key = {certificate.key}"]
            profiles += [f"server_name = {name}"] if name else []
        client = ["[client:default]", "method = TLSv1.2+", "verify_certificate = no"]
        file.write_text("\n".join([*profiles, *client, ""]), "utf-8")
        return file

    def _list_another(self) -> None:
        if self._also_lists is None:
            return
        for user in self.accounts:
            expires_s = self._also_lists_expires_s
            # table, AoR, contact, expires, q, path, flags, cflags, methods
            values = (user, self._also_lists, expires_s, "1.0", "0", 0, 0, 0)
            answer = self.rpc("ul.add", "location", *values)
            assert "error" not in answer, answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start_kamailio(
    name: str,
    config: Path,
    directory: Path,
    *,
    allocator: str = "tlsf",
    shm_mb: int = 64,
    nameserver: str = "",
    env: Mapping[str, str] | None = None,
) -> Process:
    """Start a Kamailio in the foreground; its log is in the directory.

    *nameserver*: ip of a DNS server at port 53, instead of the system's.
    """
    memory = ["-x", allocator, "-X", allocator, "-m", str(shm_mb)]
    argv: list[str | Path] = ["kamailio", "-DD", "-E", *memory, "-Y", directory, "-f", config]
    if nameserver:
        resolv_conf = directory / f"{name}.resolv.conf"
        resolv_conf.write_text(f"nameserver {nameserver}\n")
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        argv = ["unshare", "--mount", "sh", "-c", script, resolv_conf, *argv]
    # A worker that gets SIGTERM just after its fork acts as the main process, and does not end. The
    # real main process waits 60 s for it (5.6.3). So this process is killed after a second.
    return Process(name, argv, directory / f"{name}.log", stop_within_s=1, env=env)


def await_kamailio(process: Process, rpc_socket: Path) -> None:
    """Wait until Kamailio answers. It binds its SIP sockets before its first child starts."""

    def answers() -> bool:
        if not process.running:
            raise ChildProcessError(f"{process.name} ended; its log:\n{process.log}")
        # A question before its reader has started may be lost; `eventually` repeats it.
        return "result" in ask_kamailio(rpc_socket, "core.uptime", within_s=2)

    eventually(answers, what=f"{process.name} answers")


def ask_kamailio(
    rpc_socket: Path, method: str, *params: str | int, within_s: float = PATIENCE_S
) -> dict[str, Any]:
    """Call JSONRPC over Kamailio's datagram socket, and return the whole answer."""
    question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
        asker.bind("")  # the kernel assigns a free abstract name, to which the answer goes
        asker.settimeout(within_s)
        asker.sendto(json.dumps(question).encode(), str(rpc_socket))
        answer: dict[str, Any] = json.loads(asker.recv(262144))
    return answer
