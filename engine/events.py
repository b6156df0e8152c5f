"""What happened, told to whoever listens: the daemon's event stream and its short history.

Services publish; the API subscribes. As in dockerd the last 256 events are kept, and a subscriber that does not read
is cut off after 1,024 unread events rather than slowing the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping

from ..openapi.types.system import EventActor, EventMessage
from .errors import InvalidArgument
from .filters import Filters
from .images import references

HISTORY = 256
UNREAD_LIMIT = 1024
_FUZZY_ACTIONS = {"health_status", "exec_create", "exec_start"}
_NAMED_TYPES = ("daemon", "container", "plugin", "volume", "network", "node", "service", "secret", "config")
ACCEPTED_FILTERS = (*_NAMED_TYPES, "event", "image", "label", "scope", "type")


class Events:
    """The publisher. Used from the event loop's thread alone."""

    def __init__(self) -> None:
        self.is_closed = False
        self._history: deque[EventMessage] = deque(maxlen=HISTORY)
        self._subscribers: set[asyncio.Queue[EventMessage | None]] = set()

    @property
    def listeners(self) -> int:
        return len(self._subscribers)

    def publish(
        self,
        type: str,
        action: str,
        actor_id: str,
        attributes: Mapping[str, str] | None = None,
        *,
        time_ns: int | None = None,
    ) -> None:
        """Tell every subscriber; `time_ns` is for what happened while nobody could tell it."""
        now = time.time_ns() if time_ns is None else time_ns
        event = EventMessage(
            type=type,
            action=action,
            actor=EventActor(id=actor_id, attributes=dict(attributes or {})),
            scope="local",
            time=now // 1_000_000_000,
            time_nano=now,
        )
        self._history.append(event)
        for queue in tuple(self._subscribers):
            if queue.qsize() >= UNREAD_LIMIT:
                self._subscribers.discard(queue)
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)

    def subscribe(self, filters: Filters, *, since_ns: int | None = None, until_ns: int | None = None) -> Subscription:
        """Listen from now on; iterating gives what is remembered since `since_ns` first, without a gap.

        Times are Unix nanoseconds; without either bound only new events come.
        """
        remembered: list[EventMessage] = []
        if since_ns is not None or until_ns is not None:
            remembered = [event for event in self._history if (since_ns or 0) <= _time_ns(event)]
        return Subscription(self._subscribers, remembered, filters, until_ns)

    def close(self) -> None:
        """End every subscription: the daemon ends."""
        self.is_closed = True
        for queue in self._subscribers:
            queue.put_nowait(None)
        self._subscribers.clear()


class Subscription:
    """One listener's events, in order. To be closed when it is no longer read."""

    def __init__(
        self,
        subscribers: set[asyncio.Queue[EventMessage | None]],
        remembered: list[EventMessage],
        filters: Filters,
        until_ns: int | None,
    ) -> None:
        self._subscribers, self._filters, self._until_ns = subscribers, filters, until_ns
        self._queue: asyncio.Queue[EventMessage | None] = asyncio.Queue()
        for event in remembered:
            self._queue.put_nowait(event)
        subscribers.add(self._queue)

    def __aiter__(self) -> AsyncIterator[EventMessage]:
        return self

    async def __anext__(self) -> EventMessage:
        while True:
            event = await self._next()
            if event is None or _time_ns(event) > (self._until_ns or _time_ns(event)):
                self.close()
                raise StopAsyncIteration
            if included(event, self._filters):
                return event

    async def _next(self) -> EventMessage | None:
        if self._until_ns is None or not self._queue.empty():
            return await self._queue.get()
        left_s = (self._until_ns - time.time_ns()) / 1e9
        try:
            return await asyncio.wait_for(self._queue.get(), max(0.0, left_s))
        except TimeoutError:
            return None

    def close(self) -> None:
        self._subscribers.discard(self._queue)


def included(event: EventMessage, filters: Filters) -> bool:
    """Whether `docker events --filter` lets the event through (moby's `daemon/events/filter.go`)."""
    if not filters:
        return True
    attributes = event.actor.attributes or {}
    names = (event.actor.id, attributes.get("name", ""))
    return (
        _matches_action(event.action, filters)
        and filters.exact("type", event.type)
        and filters.exact("scope", event.scope or "")
        and all(_matches_name(kind, names, filters) for kind in _NAMED_TYPES)
        and _matches_image(event, attributes, filters)
        and filters.labels("label", attributes)
    )


def _matches_action(action: str, filters: Filters) -> bool:
    if _FUZZY_ACTIONS.intersection(filters.get("event")):
        return filters.prefix("event", action)
    return filters.exact("event", action)


def _matches_name(kind: str, names: tuple[str, str], filters: Filters) -> bool:
    return any(filters.prefix(kind, name) for name in names)


def _matches_image(event: EventMessage, attributes: Mapping[str, str], filters: Filters) -> bool:
    if "image" not in filters:
        return True
    name = attributes.get("name" if event.type == "image" else "image", "")
    candidates = (event.actor.id, name, _untagged(event.actor.id), _untagged(name))
    return any(filters.exact("image", candidate) for candidate in candidates)


def _untagged(name: str) -> str:
    try:
        return references.parse(name).familiar_name
    except InvalidArgument:
        return name


def _time_ns(event: EventMessage) -> int:
    return event.time_nano or 0
