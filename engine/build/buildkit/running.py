"""Builds that clients have asked for, by the name that the client chose: so that other calls of its find them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ...errors import InvalidArgument, NotFound
from ..builder import Build
from ..frontend import Result
from ..request import Solved
from .protocol.llb_pb2 import Definition

T = TypeVar("T")

_WAIT_S = 3.0
"""A client may follow a build, or drive it, before its request for it is here (BuildKit's limit)."""


@dataclass(eq=False)
class Driven:
    """A build that its client drives through the gateway; `returned` becomes what the client wants of it.

    `users` are builds that were given its results (bake's `target:` contexts): it stays until they have ended.
    """

    session: str
    build: Build
    inputs: Mapping[str, Definition]
    returned: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    solved: list[Solved] = field(default_factory=list)
    users: set[Driven] = field(default_factory=set)
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def unused(self) -> None:
        """Wait until nobody needs its results."""
        for user in self.users:
            await user.has_ended.wait()


class Named(Generic[T]):
    """Things by name, which may be asked for a moment before they are there."""

    def __init__(self) -> None:
        self._things: dict[str, T] = {}
        self._changed = asyncio.Event()

    @contextmanager
    def having(self, name: str, thing: T) -> Iterator[None]:
        if name in self._things:
            raise InvalidArgument(f"job ID {name} exists")
        self._things[name] = thing
        self._changed.set()
        self._changed = asyncio.Event()
        try:
            yield
        finally:
            del self._things[name]

    def values(self) -> Collection[T]:
        return self._things.values()

    async def get(self, name: str) -> T:
        """Find one, or wait for it a little."""
        try:
            async with asyncio.timeout(_WAIT_S):
                while name not in self._things:
                    await self._changed.wait()
        except TimeoutError:
            raise NotFound(f"no such job {name}") from None
        return self._things[name]
