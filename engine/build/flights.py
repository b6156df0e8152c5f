"""Work that several builds want at the same time is done once; each of them is told of it as if it were its own.

It goes on as long as one of them waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from .progress import Log, Status

Heard = Callable[["Log | Status"], None]
Work = Callable[[Heard], Coroutine[Any, Any, None]]

_MAX_HISTORY = 10_000


class _Flight:
    def __init__(self) -> None:
        self.listeners: list[Heard] = []
        self.history: list[Log | Status] = []
        self.task: asyncio.Task[None] | None = None

    def tell(self, told: Log | Status) -> None:
        if len(self.history) < _MAX_HISTORY:
            self.history.append(told)
        for listener in self.listeners:
            listener(told)


class Flights:
    """Work under way, by key."""

    def __init__(self) -> None:
        self._flights: dict[str, _Flight] = {}

    async def join(self, key: str, work: Work, heard: Heard) -> None:
        """Do the work, or wait for the same work that is done already; `heard` is told what it says."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            flight.task = asyncio.create_task(work(flight.tell), name=f"build step {key}")
            flight.task.add_done_callback(lambda _: self._drop(key, flight))
        for told in flight.history:
            heard(told)
        flight.listeners.append(heard)
        assert flight.task is not None  # set above, by whoever was first
        try:
            await asyncio.shield(flight.task)
        finally:
            flight.listeners.remove(heard)
            if not flight.listeners and not flight.task.done():
                self._drop(key, flight)
                flight.task.cancel()
                await asyncio.wait([flight.task])

    def _drop(self, key: str, flight: _Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
