"""Telling a client how far a work of several tasks is: what they say, in order, as one stream of messages.

A client that reads slowly gets the latest of each kind of progress, so nothing piles up. One that goes away ends the
work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from .progress import Message, layer_progress

_INTERVAL_S = 0.1


class Narration:
    """What the tasks tell; the messages not yet read, by what a later one replaces."""

    def __init__(self) -> None:
        self._pending: dict[object, Message] = {}
        self._told_at: dict[tuple[str, str], float] = {}
        self.changed = asyncio.Event()

    def say(self, message: Message) -> None:
        self._pending[object()] = message
        self.changed.set()

    def status(self, text: str, id: str = "") -> None:
        self.say({"status": text, "id": id} if id else {"status": text})

    def layer(self, action: str, id: str) -> None:
        self.say(layer_progress(action, id, current=0, total=0))

    def progress(self, action: str, id: str, current: int, total: int) -> None:
        """Say how far an action is, at most ten times a second."""
        key = action, id
        now = time.monotonic()
        if now - self._told_at.get(key, 0.0) >= _INTERVAL_S:
            self._told_at[key] = now
            self._pending[key] = layer_progress(action, id, current=current, total=total)
            self.changed.set()

    def take(self) -> list[Message]:
        self.changed.clear()
        messages = list(self._pending.values())
        self._pending.clear()
        return messages


async def narrated(work: Callable[[Narration], Awaitable[None]]) -> AsyncIterator[Message]:
    """Run `work` and yield what it tells; raise what it raises."""
    narration = Narration()
    task = asyncio.ensure_future(work(narration))
    task.add_done_callback(lambda _: narration.changed.set())
    try:
        while not task.done():
            await narration.changed.wait()
            for message in narration.take():
                yield message
        for message in narration.take():
            yield message
        task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])
