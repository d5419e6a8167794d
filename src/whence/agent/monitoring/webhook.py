"""The webhook: a POST of JSON for each alarm, to the operator's URL.

Alarms are posted one after the other, in order. Failed deliveries are retried with exponential
backoff. An alarm that the receiver refuses with a 4xx is dropped. The queue is bounded: where it is
full, the oldest alarm is dropped, and counted. The directory keeps the queue over a restart of the
agent. An alarm that is posted twice, because the agent was killed, has the same `id`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from whence.agent.monitoring.alarms import RaisedAlarm, as_json
from whence.errors import StoreError
from whence.trust.tokens import webhook_token

log = logging.getLogger(__name__)

QUEUE_LIMIT = 1000
ANSWER_S = 10.0
"""The longest time for one POST, from the connection to the status, in seconds."""

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 300.0

_ONCE_MORE = frozenset({408, 425, 429})
"""The statuses of 4xx that ask for another try."""


@dataclass(frozen=True, slots=True)
class Post:
    """A post that waits. `id` is the alarm's."""

    id: int
    body: Mapping[str, object]


class PostStore(Protocol):
    """Keeps the queue over a restart of the agent."""

    def waiting_posts(self) -> list[tuple[int, str]]:
        """Return (id, body) of each post, the oldest first. Raises: StoreError."""

    def write_posts(self, added: Iterable[tuple[int, str]], ended: Iterable[int]) -> None:
        """Store posts, and remove ended ones. Raises: StoreError."""


class Webhook:
    """Posts alarms to one URL. It observes the alarms."""

    def __init__(
        self,
        url: str,
        token_file: str = "",
        first_wait_s: float = FIRST_WAIT_S,
        form: Callable[[Mapping[str, object]], Mapping[str, object]] | None = None,
    ) -> None:
        """`token_file` contains the bearer token. It is read again for each POST.

        `form`: makes the body of a POST of an alarm; None: the alarm itself is the body.
        """
        self._form = form
        self._url = url
        self._host = urlsplit(url).hostname  # the rest of a URL may be a secret
        self._token_file = Path(token_file) if token_file else None
        self._first_wait_s = first_wait_s
        self._queue: deque[Post] = deque()
        self._store: PostStore | None = None
        self._wake = asyncio.Event()
        self._failing = False
        self.dropped = 0
        """Alarms that newer ones replaced, or that the receiver refused."""
        self.delivered = 0

    def restore(self, store: PostStore) -> None:
        """Take over the queue of a former agent, and keep ours in the same store.

        Raises: StoreError.
        """
        self._store = store
        self._queue.extend(Post(id_, json.loads(body)) for id_, body in store.waiting_posts())

    def raised(self, raised: RaisedAlarm) -> None:
        """Put an alarm, or its all-clear, into the queue."""
        ended = []
        if len(self._queue) >= QUEUE_LIMIT:
            ended.append(self._queue.popleft().id)
            self.dropped += 1
        post = Post(raised.id, as_json(raised))
        self._queue.append(post)
        self._save([post], ended)
        self._wake.set()

    def _save(self, added: Sequence[Post], ended: Sequence[int]) -> None:
        """Store a change of the queue. It stays in memory where the directory cannot be written."""
        if self._store is not None:
            with suppress(StoreError):  # the monitor of the store reports it
                self._store.write_posts([(one.id, json.dumps(one.body)) for one in added], ended)

    @property
    def waiting(self) -> int:
        """How many alarms wait for delivery."""
        return len(self._queue)

    async def run(self) -> None:
        """Post the alarms of the queue until cancelled."""
        # The system's CAs. No proxy of the environment, and no redirection to another server.
        context = ssl.create_default_context()
        async with httpx.AsyncClient(
            trust_env=False, follow_redirects=False, timeout=ANSWER_S, verify=context
        ) as client:
            wait_s = self._first_wait_s
            while True:
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                post = self._queue[0]
                if await self._settled(client, post):
                    wait_s = self._first_wait_s
                    if self._queue and self._queue[0] is post:  # else a newer one replaced it
                        self._queue.popleft()
                    self._save([], [post.id])
                else:
                    await asyncio.sleep(wait_s)
                    wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def _settled(self, client: httpx.AsyncClient, post: Post) -> bool:
        """Post one alarm. Return whether it is delivered or dropped."""
        try:
            status = await self._post(client, post)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError) as error:
            self._log_failure(f"{type(error).__name__}: {error}" if str(error) else "no answer")
            return False
        if 200 <= status < 300:
            self.delivered += 1
            if self._failing:
                log.info("webhook %s: accepts alarms again", self._host)
            self._failing = False
            return True
        if status >= 500 or status in _ONCE_MORE:
            self._log_failure(f"it answered {status}")
            return False
        hint = "; redirections are not followed" if 300 <= status < 400 else ""
        log.error("webhook %s: alarm %d refused with %d%s", self._host, post.id, status, hint)
        self.dropped += 1
        return True

    async def _post(self, client: httpx.AsyncClient, post: Post) -> int:
        headers = {}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {webhook_token(self._token_file)}"
        async with asyncio.timeout(ANSWER_S):
            # The body is not read, so that an endless one does no harm.
            body = post.body if self._form is None else self._form(post.body)
            async with client.stream("POST", self._url, json=body, headers=headers) as answer:
                return answer.status_code

    def _log_failure(self, why: str) -> None:
        if not self._failing:
            reason = "".join(c if c.isprintable() else " " for c in why)[:200]
            log.warning("webhook %s: not delivered, and retried: %s", self._host, reason)
        self._failing = True
