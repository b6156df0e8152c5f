"""A request as a handler sees it: decoded parameters and body, the engine, and the ways to answer."""

from __future__ import annotations

import functools
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from ..compat import gates
from ..engine.containers.fileworkers import LentBody
from ..engine.filters import Filters
from ..openapi import codec
from ..openapi.operations.operation import JSON, MULTIPLEXED, RAW, Operation
from . import params
from .hijack import EXTENSION, Hijacker, hijack

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..openapi.operations.operation import Version

T = TypeVar("T")


class Call:
    """One request for an operation."""

    def __init__(
        self, engine: Engine, operation: Operation, version: Version, asgi: tuple[Scope, Receive, Send]
    ) -> None:
        self.engine, self.operation, self.version = engine, operation, version
        self._scope, self._receive, self._send = asgi
        self.path: Mapping[str, str] = self._scope["path_params"]
        self.warnings: list[str] = []
        self._has_more_body = True

    @functools.cached_property
    def headers(self) -> Headers:
        return Headers(scope=self._scope)

    @functools.cached_property
    def _query(self) -> dict[str, list[str]]:
        query = params.parse_query(self._scope["query_string"])
        for name, since in self.operation.newer.items():
            if self.version < since:
                query.pop(name, None)
        return query

    def texts(self, name: str) -> list[str]:
        return self._query.get(name, [])

    def text(self, name: str, default: str = "") -> str:
        values = self._query.get(name)
        return values[0] if values else default

    def flag(self, name: str, *, default: bool = False) -> bool:
        values = self._query.get(name)
        return params.boolean(values[0]) if values else default

    def integer(self, name: str) -> int | None:
        value = self.text(name)
        return params.integer(value) if value else None

    def filters(self) -> Filters:
        return gates.filters(self.operation.id, self.version, Filters.parse(self.text("filters")))

    async def body(self, wanted: type[T], *, required: bool = False) -> T:
        """Decode a JSON body. An absent one is the zero value, unless the operation cannot do without."""
        params.check_json(self.headers)
        content = b"".join([chunk async for chunk in self.chunks()])
        if not content and not required and "transfer-encoding" not in self.headers:
            return wanted()
        value = codec.decode(content, wanted)
        self.warnings = gates.upgrade(self.operation.id, self.version, value)
        return value

    async def chunks(self) -> AsyncIterator[bytes]:
        """Read the body as it comes; raise where the client hangs up before its end."""
        while self._has_more_body:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client went away before the end of its request")
            self._has_more_body = message.get("more_body", False)
            if message["body"]:
                yield message["body"]

    @contextmanager
    def lent_body(self) -> Iterator[LentBody | None]:
        """Give the client's connection for a process to read the body from; None where `chunks` is the only way."""
        hijacker: Hijacker = self._scope["extensions"][EXTENSION]
        lent = hijacker.lend()
        if lent is None:
            yield None
            return
        client, first = lent
        with client:
            try:
                yield LentBody(client.fileno(), first)
            except BaseException:
                hijacker.take_back(whole=False)
                raise
        hijacker.take_back(whole=True)

    def json(self, value: Any, status: int = 200) -> Response:
        """Answer with what the client's version knows of `value`."""
        shown = gates.downgrade(self.operation.id, self.version, value)
        return Response(codec.encode(shown, is_ordered=shown is not value), status, media_type=JSON)

    def empty(self, status: int = 204) -> Response:
        return Response(status_code=status)

    def stream_type(self, *, tty: bool) -> str:
        """Return the media type of a container's output for this version (P25)."""
        return RAW if tty or self.version < (1, 42) else MULTIPLEXED

    async def hijack(self, *, tty: bool) -> tuple[socket.socket, bytes]:
        """Turn the connection into a byte stream; return it with what the client has already sent."""
        async for _ in self.chunks():
            pass
        if "upgrade" in self.headers:
            upgrade = f"Content-Type: {self.stream_type(tty=tty)}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            head = f"HTTP/1.1 101 UPGRADED\r\n{upgrade}"
        else:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {RAW}\r\n"
        return await hijack(self._scope, f"{head}\r\n".encode())

    async def upgrade(self, protocol: str) -> tuple[socket.socket, bytes]:
        """Switch the connection to another protocol; return it with what the client has already sent."""
        async for _ in self.chunks():
            pass
        head = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        return await hijack(self._scope, head.encode())

    def websocket(self) -> WebSocket:
        """The request as a websocket that is to be accepted yet."""
        return WebSocket(self._scope, self._receive, self._send)
