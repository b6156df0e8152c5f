"""Sessions: connections that clients keep open so that the daemon can ask them for files, credentials and secrets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import InvalidArgument, Unavailable
from .transport import Calls

_WAIT_S = 5.0
"""A build may be asked for before its session is there (BuildKit's limit)."""


@dataclass(frozen=True)
class Session:
    """One client. `shared_key` is the same for all builds of one directory on the client's machine; `methods` in
    lower case."""

    id: str
    name: str
    shared_key: str
    methods: frozenset[str]
    calls: Calls

    @classmethod
    def described(cls, headers: Mapping[str, list[str]], calls: Calls) -> Session:
        """Read what a client says of itself: the headers of `POST /session`, or the metadata of a tunnelled one."""

        def first(name: str) -> str:
            return next(iter(headers.get(f"x-docker-expose-session-{name}", ())), "")

        methods = headers.get("x-docker-expose-session-grpc-method", ())
        return cls(
            id=first("uuid"),
            name=first("name"),
            shared_key=first("sharedkey"),
            methods=frozenset(method.lower() for method in methods),
            calls=calls,
        )


class Sessions:
    """The sessions that are open."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._changed = asyncio.Event()

    def check(self, id: str) -> None:
        """Refuse an id that is in use."""
        if id in self._sessions:
            raise InvalidArgument(f"session {id} already exists")

    async def keep(self, connected: socket.socket, prefix: bytes, headers: Mapping[str, list[str]]) -> None:
        """Have a session until its client ends it."""
        session = Session.described(headers, Calls(connected, prefix))
        self.check(session.id)
        self._sessions[session.id] = session
        self._changed.set()
        try:
            await session.calls.run()
        finally:
            del self._sessions[session.id]

    async def get(self, id: str) -> Session:
        """Find a session; wait a while for one that is not there yet. A prefix tells contexts of one apart."""
        id = id.partition(":")[2] or id
        try:
            async with asyncio.timeout(_WAIT_S):
                while id not in self._sessions:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise Unavailable(f"no active session for {id}: context deadline exceeded") from None
        return self._sessions[id]
