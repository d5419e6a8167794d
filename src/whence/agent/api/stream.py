"""The API's stream of events (Server-Sent Events): trunks, calls and alarms as they change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import FastAPI, Header, Query, Request
from pydantic import BaseModel
from starlette.responses import StreamingResponse

from whence.agent.api.problems import ApiError, ProblemCode, responses
from whence.agent.monitoring.stream import EventStream, StreamEvent, StreamKind, Subscription

HEARTBEAT_S = 15.0
"""The longest time without a line. A proxy closes silent connections, and the agent sees that."""

View = Callable[[str], BaseModel | None]
"""A key of an event → the resource as it is now; None: it is gone."""


def add(api: FastAPI, stream: EventStream, views: dict[StreamKind, View]) -> None:
    """Add the path to an API that `app.make` built. `views`: the content of each kind."""

    @api.get(
        "/v1/stream",
        tags=["agent"],
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "events, until the client ends",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **responses(_503="too many clients, or the agent ends"),
        },
    )
    async def stream_events(
        request: Request,
        kind: Annotated[
            list[StreamKind] | None, Query(description="only events of these kinds")
        ] = None,
        last_event_id: Annotated[
            str, Header(max_length=40, description="the id of the last event that you have")
        ] = "",
    ) -> StreamingResponse:
        """Stream what changes, as it changes (text/event-stream).

        The event `resync` says that events are missing: read the lists again.
        """
        if stream.is_full or stream.is_closed:
            raise ApiError(
                503,
                ProblemCode.TOO_MANY_STREAMS,
                "too many clients read the stream, or the agent ends; try again later",
                {"retry-after": "10"},
            )
        wanted = set(kind or StreamKind) | {StreamKind.RESYNC}
        text = _text(request, stream, views, wanted, last_event_id)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(text, media_type="text/event-stream", headers=headers)


async def _text(
    request: Request,
    stream: EventStream,
    views: dict[StreamKind, View],
    wanted: set[StreamKind],
    last_id: str,
) -> AsyncIterator[str]:
    with stream.subscribe(last_id) as client:
        yield "retry: 2000\n: events follow\n\n"
        while not stream.is_closed:
            is_silent = not client.waiting and not await _woken(client)
            if not await request.state.is_still_permitted():
                return
            if is_silent:
                yield ": alive\n\n"
            client.wake.clear()
            while client.waiting:
                event = client.waiting.popleft()
                if event.kind in wanted:
                    yield _lines(stream, event, views)


async def _woken(client: Subscription) -> bool:
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            await client.wake.wait()
    except TimeoutError:
        return False
    return True


def _lines(stream: EventStream, event: StreamEvent, views: dict[StreamKind, View]) -> str:
    """Return an event as text. JSON has no line ends, so no content can end an event."""
    view = views[event.kind](event.key) if event.kind in views else None
    content = None if view is None else view.model_dump(mode="json")
    data = json.dumps({"id": event.key, "item": content} if event.key else {})
    return f"id: {stream.id_of(event)}\nevent: {event.kind}\ndata: {data}\n\n"
