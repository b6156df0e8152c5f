"""The connections that buildx and compose build over: `/session`, `/grpc`, and HTTP/2 spoken from the first byte on.

Each is taken out of HTTP/1.1 and given to the engine's BuildKit services until the client ends it.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from ...engine.errors import Internal, InvalidArgument
from ..call import Call
from ..hijack import hijack

if TYPE_CHECKING:
    from ...engine.build.buildkit.service import BuildKit
    from ...engine.engine import Engine

_PROTOCOL = "h2c"
_SERVICE = "...engine.build.buildkit.service"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"


async def session(call: Call) -> None:
    if (reason := _unfit(call)) is not None:
        raise InvalidArgument(reason)
    headers = {name: call.headers.getlist(name) for name in set(call.headers.keys())}
    service = await _service(call.engine)
    service.check_session(headers)
    await service.keep_session(*await call.upgrade(_PROTOCOL), headers)


async def grpc(call: Call) -> None:
    if (reason := _unfit(call)) is not None:
        raise Internal(reason)
    service = await _service(call.engine)
    await service.serve(*await call.upgrade(_PROTOCOL))


async def _service(engine: Engine) -> BuildKit:
    """Return the services; what they import takes a while the first time, and holds nobody up."""
    await asyncio.to_thread(importlib.import_module, _SERVICE, __package__)
    return engine.buildkit


def _unfit(call: Call) -> str | None:
    protocol = call.headers.get("upgrade", "")
    if not protocol:
        return "no upgrade proto in request"
    return None if protocol == _PROTOCOL else f"protocol {protocol} not supported"


class Http2:
    """Serves a connection that is HTTP/2 from its first byte on: an ASGI application."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client, rest = await hijack(scope, b"")
        await (await _service(self._engine)).serve(client, _PREFACE + rest)


HANDLERS = {"Session": session, "Grpc": grpc}
