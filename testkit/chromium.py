"""Debian's Chromium without a window, with a made-up microphone that beeps."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.sync.client import connect

from testkit.process import Process
from testkit.wait import PATIENCE_S, eventually


class Chromium:
    """One page in a browser of its own, controlled by the DevTools protocol."""

    def __init__(self, page: str, directory: Path) -> None:
        """Open the URL *page*. `directory`: for its profile and its log."""
        profile = directory / "chromium"
        command = [
            "chromium",
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            "--no-proxy-server",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            "--autoplay-policy=no-user-gesture-required",
            page,
        ]
        self._process = Process("chromium", command, directory / "chromium.log")
        self._ids = count(1)
        place = profile / "DevToolsActivePort"
        port = eventually(lambda: place.read_text().split()[0], what="the port of Chromium")

        def url() -> str:
            with httpx.Client(trust_env=False, verify=False) as client:
                targets = client.get(f"http://127.0.0.1:{port}/json").json()
            return next(str(t["webSocketDebuggerUrl"]) for t in targets if t["url"] == page + "/")

        self._opened = connect(
            eventually(url, what="the page"), max_size=None, compression=None, proxy=None
        )
        self._web = self._opened.__enter__()
        is_loaded = "document.readyState === 'complete' && document.scripts.length > 0"
        eventually(lambda: self.run(is_loaded), what="the loaded page")

    def run(self, script: str) -> Any:
        """Evaluate JavaScript in the page; return its value, or that of its promise."""
        id_ = next(self._ids)
        params = {"expression": script, "awaitPromise": True, "returnByValue": True}
        self._web.send(json.dumps({"id": id_, "method": "Runtime.evaluate", "params": params}))
        while True:
            answer = json.loads(self._web.recv(PATIENCE_S))
            if answer.get("id") == id_:
                assert "exceptionDetails" not in answer["result"], answer
                return answer["result"]["result"].get("value")

    def close(self) -> None:
        """End the browser."""
        self._opened.__exit__(None, None, None)
        self._process.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
