"""A registrar over TLS that closes each connection after one answer."""

import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from testkit.certificates import Certificate
from testkit.sip import Address, Message, authorization, reply
from testkit.wait import PATIENCE_S

USER, PASSWORD = "acct1", "secret of acct1"
GRANTED_S = 8


class ClosingRegistrar:
    """Answers 401 without credentials and 200 with them, and closes the connection each time."""

    def __init__(self, address: Address, certificate_for: Callable[[int], Certificate]) -> None:
        """`certificate_for`: the certificate of the connection with this number, from 1."""
        self._certificate_for = certificate_for
        self._listener = socket.create_server(address)
        self.received: list[bytes] = []
        """What each connection received after its handshake, in the order of connections."""
        self._challenge: Message | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def with_credentials(self) -> list[Message]:
        """Return the requests that had credentials."""
        requests = [Message.parse(data) for data in self.received]
        return [one for one in requests if "Authorization" in one]

    def _run(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self.received.append(b"")
            with suppress(OSError):
                self._serve(plain, len(self.received))

    def _serve(self, plain: socket.socket, number: int) -> None:
        with plain:
            plain.settimeout(PATIENCE_S)
            certificate = self._certificate_for(number)
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate.certificate, certificate.key)
            with context.wrap_socket(plain, server_side=True) as secured:
                while not self.received[-1].endswith(b"\r\n\r\n"):
                    data = secured.recv(65535)
                    if not data:
                        return
                    self.received[-1] += data
                secured.sendall(bytes(self._answer(Message.parse(self.received[-1]), number)))

    def _answer(self, register: Message, number: int) -> Message:
        if register.method != "REGISTER":
            return reply(register, 200)
        if self._challenge is None or not _proves(register, self._challenge):
            challenge = f'Digest realm="one.example", nonce="nonce{number}", algorithm=MD5'
            self._challenge = reply(register, 401, headers=[("WWW-Authenticate", challenge)])
            return self._challenge
        contact = re.sub(r";expires=\d+", "", register["Contact"])
        return reply(register, 200, headers=[("Contact", f"{contact};expires={GRANTED_S}")])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_S)


def _proves(register: Message, challenge: Message) -> bool:
    _, right = authorization(challenge, "REGISTER", register.request_uri, USER, PASSWORD)
    response = re.search(r'response="(\w+)"', register.get("Authorization") or "")
    return response is not None and response[0] in right
