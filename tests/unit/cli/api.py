"""A server that stands for the agent's API."""

from __future__ import annotations

import json
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from testkit.wait import PATIENCE_S


def listed(*items: Any, following: str | None = None) -> dict[str, Any]:
    """Return a page of a list."""
    return {"items": list(items), "next": following}


class Api:
    """An HTTP server that gives the answers set by a test, and keeps the bodies of requests."""

    def __init__(self, ip: str) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.questions: list[Any] = []
        self.paths: list[str] = []
        self.raw = False
        self.may_answer = Event()
        self.may_answer.set()
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                api.questions.append(json.loads(self.rfile.read(length)))
                self.answer()

            def answer(self) -> None:
                api.paths.append(self.path)
                path = self.path if self.path in api.answers else self.path.partition("?")[0]
                api.may_answer.wait(PATIENCE_S)
                status, answer = api.answers[path]
                body = (answer if api.raw else json.dumps(answer)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                with suppress(ConnectionError):  # a test may end the command meanwhile
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer((ip, 0), Handler)
        self.url = f"http://{ip}:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
