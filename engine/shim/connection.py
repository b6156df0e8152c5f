"""The daemon's end of a shim's socket: requests with their replies, in any order, and what the shim tells unasked.

Made by `client.Task`, one a task; `set` gives it another connection to the same shim. It does not know what any
message means.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import Unavailable
from . import protocol
from .messages import raised

logger = logging.getLogger(__name__)

REQUEST_LIMIT_S = 30.0


class Connection:
    """`on_event` gets each event, and None where the connection has ended."""

    def __init__(
        self, id: str, connection: socket.socket, *, on_event: Callable[[dict[str, Any] | None], None]
    ) -> None:
        self._id = id
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._sequence = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self.set(connection)

    def set(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._loop.add_reader(connection.fileno(), self._receive)

    def drop(self) -> None:
        """Close it; whoever waits for a reply hears that the shim is gone."""
        if self._connection.fileno() >= 0:
            self._loop.remove_reader(self._connection.fileno())
            self._connection.close()
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(Unavailable(f"task {self._id}: the shim is gone"))

    async def request(
        self,
        op: str,
        fields: Mapping[str, Any],
        fds: Mapping[str, int] | None = None,
        *,
        limit_s: float = REQUEST_LIMIT_S,
    ) -> dict[str, Any]:
        """Return the reply, or raise what it says went wrong."""
        sequence = next(self._sequence)
        reply: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._replies[sequence] = reply
        try:
            async with asyncio.timeout(limit_s):
                await self.send({"seq": sequence, "op": op, **fields}, fds)
                return await reply
        except TimeoutError:
            raise Unavailable(f"task {self._id}: {op} took longer than {limit_s:g} seconds") from None
        except OSError as failure:
            raise Unavailable(f"task {self._id}: the shim is gone") from failure
        finally:
            del self._replies[sequence]

    async def send(self, message: Mapping[str, Any], fds: Mapping[str, int] | None = None) -> None:
        while True:
            try:
                protocol.send(self._connection, message, fds)
                return
            except BlockingIOError:
                await _writable(self._connection)

    def _receive(self) -> None:
        try:
            received = protocol.receive(self._connection)
        except BlockingIOError:
            return
        if received is None:
            self.drop()
            self._on_event(None)
            return
        message, fds = received
        fds.close()
        if "event" in message:
            self._on_event(message)
        elif "seq" in message:
            self._settle(message)
        else:
            logger.warning("%s: the shim could not start: %s", self._id, message["error"]["message"])
            for reply in self._replies.values():
                reply.set_exception(raised(message["error"]))

    def _settle(self, message: dict[str, Any]) -> None:
        reply = self._replies.get(message["seq"])
        if reply is None or reply.done():
            return
        if "error" in message:
            reply.set_exception(raised(message["error"]))
        else:
            reply.set_result(message["result"])


async def _writable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(connection.fileno(), ready.set_result, None)
    try:
        await ready
    finally:
        if connection.fileno() >= 0:
            loop.remove_writer(connection.fileno())
