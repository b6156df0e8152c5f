"""The door: connections that clients open for builds, of either direction."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .client import SessionClient
from .control import Control
from .sessions import Sessions
from .transport import Services

if TYPE_CHECKING:
    from ...engine import Engine


class BuildKit:
    """All of BuildKit's protocol for one engine, from the first request for it on."""

    def __init__(self, engine: Engine) -> None:
        self._sessions = Sessions()
        self._services = Services(Control(engine, self._sessions).handlers())

    def check_session(self, headers: Mapping[str, list[str]]) -> None:
        """Refuse a session that cannot be, while there is an HTTP response to say so in."""
        self._sessions.check(next(iter(headers.get("x-docker-expose-session-uuid", ())), ""))

    async def keep_session(self, connected: socket.socket, prefix: bytes, headers: Mapping[str, list[str]]) -> None:
        """Have a session of a client's until it ends it."""
        await self._sessions.keep(connected, prefix, headers)

    async def client_of(self, session: str) -> SessionClient:
        """Return what a build of a session asks; for builds that come by the classic door."""
        return SessionClient(await self._sessions.get(session), self._sessions)

    async def serve(self, connected: socket.socket, prefix: bytes) -> None:
        """Answer a client's calls until it hangs up."""
        await self._services.serve(connected, prefix)
