"""Network namespaces that are ready before a container needs one, so that `start` waits neither for them nor for rules.

One pool has them as they are; the other one, once there are networks that need it, with the sockets of a resolver and
the rules that lead to them: the kernel takes ten milliseconds for the first rules of a namespace. Links are made when a
container needs one: waiting ones would show on the host.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ..errors import Error, Internal
from .driver import Kernel
from .names import Listeners, listen, listen_here
from .sandbox import Namespace, adopt_namespace, in_own_thread, make_namespace

logger = logging.getLogger(__name__)

MakeNamespace = Callable[[], Awaitable[int]]
POOL_SIZE = 4
REFILL_DELAY_S = 0.05
"""How long a refill waits: the start that emptied a place in the pool needs the processor first."""


@dataclass(slots=True)
class Place:
    """A namespace for a container, with what its resolver listens on where it has one; the caller owns both."""

    namespace: Namespace
    listeners: Listeners | None = None

    def close(self) -> None:
        self.namespace.close()
        if self.listeners is not None:
            self.listeners.close()
            self.listeners = None


async def make_place() -> Place:
    return Place(await in_own_thread(make_namespace, discard=Namespace.close))


async def make_named_place(kernel: Kernel) -> Place:
    """Make a place with a resolver's sockets."""
    if kernel.redirects_anywhere:
        return await in_own_thread(lambda: _make_named(kernel), discard=Place.close)
    place = await make_place()
    try:
        place.listeners = await kernel.run(listen, kernel, place.namespace.netns_fd)
    except BaseException:
        place.close()
        raise
    return place


async def make_special_place(kernel: Kernel, make_namespace: MakeNamespace, *, named: bool) -> Place:
    """Make a place of a namespace that comes from elsewhere, for one container."""
    netns_fd = await make_namespace()
    place = Place(await in_own_thread(lambda: adopt_namespace(netns_fd), discard=Namespace.close))
    try:
        if named:
            place.listeners = await kernel.run(listen, kernel, place.namespace.netns_fd)
    except BaseException:
        place.close()
        raise
    return place


def _make_named(kernel: Kernel) -> Place:
    place = Place(make_namespace())
    try:
        place.listeners = listen_here(kernel)
    except BaseException:
        place.close()
        raise
    return place


class ReadyPool:
    """Used from the event loop's thread."""

    def __init__(self, make: Callable[[], Awaitable[Place]], *, size: int = POOL_SIZE) -> None:
        self._make, self._size = make, size
        self._ready: list[Place] = []
        self._refill: asyncio.Task[None] | None = None
        self._closed = False

    async def take(self) -> Place:
        """Return a place at once where one is ready, else after making one."""
        try:
            place = self._ready.pop() if self._ready else await self._make()
        except OSError as error:
            raise Internal(f"making a network namespace failed: {error}") from error
        self.refill(delay_s=REFILL_DELAY_S)
        return place

    def refill(self, *, delay_s: float = 0) -> None:
        """Start filling the pool in the background."""
        if not self._closed and (self._refill is None or self._refill.done()):
            self._refill = asyncio.create_task(self._fill(delay_s), name="namespace pool")

    async def close(self) -> None:
        self._closed = True
        if self._refill is not None:
            await self._refill
        while self._ready:
            self._ready.pop().close()

    async def _fill(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        try:
            while len(self._ready) < self._size and not self._closed:
                self._ready.append(await self._make())
        except (Error, OSError) as error:
            logger.warning("no network namespace could be made ahead: %s", error)
