"""A session of a build's client, whose services a test writes, over a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from grpclib.const import Handler
from lightship.engine.build.buildkit.client import SessionClient
from lightship.engine.build.buildkit.sessions import Sessions
from lightship.engine.build.buildkit.transport import Services


def in_session(handlers: dict[str, Handler], scenario: Callable[[SessionClient], Awaitable[object]]) -> object:
    """Run a scenario against a client that serves some methods."""

    async def run() -> object:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        sessions = Sessions()
        headers = {"x-docker-expose-session-uuid": ["s1"], "x-docker-expose-session-grpc-method": list(handlers)}
        serving = asyncio.create_task(Services(handlers).serve(theirs, b""))
        keeping = asyncio.create_task(sessions.keep(ours, b"", headers))
        try:
            return await scenario(SessionClient(await sessions.get("s1"), sessions))
        finally:
            for task in (serving, keeping):
                task.cancel()
            await asyncio.wait([serving, keeping])

    return asyncio.run(run())
