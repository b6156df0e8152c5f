"""Taking a client's connection out of HTTP: attach and exec become a raw stream that the shim gets by its fd.

A handler finds the connection's `Hijacker` in its ASGI scope (`hijack`) and calls it with a response head. From then on
the server forgets the connection: nothing is read from it, written to it or shut down, and the returned socket is the
caller's to pass on or close. Bytes that the client sent after its request are returned beside it.

A TLS connection cannot leave the process: there the returned socket is one end of a pair, and the daemon pumps.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

    from .server import Protocol

EXTENSION = "lightship.hijack"
_PUMP_BYTES = 65536
logger = logging.getLogger(__name__)


class Hijacker:
    """The way out of HTTP for one connection."""

    protocol: Protocol

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken = False
        self.tls: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        self.is_tls = self.tls is not None
        self._reader, self._writer = reader, writer
        self._shim: asyncio.StreamWriter | None = None

    async def __call__(self, head: bytes) -> tuple[socket.socket, bytes]:
        """Send `head`; return the connected socket (not blocking) and what the client has sent after its request."""
        transport = self._writer.transport
        transport.set_write_buffer_limits(0)
        if self.is_tls:
            # A client's close_notify is the end of its stdin alone; asyncio takes it as the end of the connection.
            transport._ssl_protocol._start_shutdown = _ignore  # type: ignore[attr-defined]
        self._writer.write(head)
        await self._writer.drain()
        self.taken = True
        prefix = self.protocol.connection.trailing_data[0]
        if self.is_tls:
            client = await self._pump()
        else:
            transport.pause_reading()  # type: ignore[attr-defined]
            prefix += bytes(self._reader._buffer)  # type: ignore[attr-defined]
            client = _duplicate(transport.get_extra_info("socket"))
            transport.abort()
        await self.protocol.can_read.set()
        return client, prefix

    def lend(self) -> tuple[socket.socket, bytes] | None:
        """Lend the connection to a process that reads the request's body from it, as it is on the wire.

        Returns the socket (not blocking) and what has come of the body so far; None where that cannot be: the body is
        not chunked, so that its end could not be told to the parser, or is being read, or the connection is TLS.
        """
        connection = self.protocol.connection
        if self.is_tls or not self.protocol.body_is_untouched or connection.they_are_waiting_for_100_continue:
            return None
        transport = self._writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]
        first = connection.trailing_data[0] + bytes(self._reader._buffer)  # type: ignore[attr-defined]
        connection._receive_buffer._extract(len(connection.trailing_data[0]))  # type: ignore[union-attr]
        self._reader._buffer.clear()  # type: ignore[attr-defined]
        return _duplicate(transport.get_extra_info("socket")), first

    def take_back(self, *, whole: bool) -> None:
        """Go on after `lend`; a connection of which not the whole body was read is closed after the response."""
        if whole:
            self.protocol.connection.receive_data(b"0\r\n\r\n")
            self._reader._paused = False  # type: ignore[attr-defined]
            self._writer.transport.resume_reading()  # type: ignore[attr-defined]
        self.protocol.end_of_loan(closes=not whole)

    async def feed(self, data: bytes) -> None:
        """Carry what a TLS client has sent to the other end of the pair; nothing means that the client has ended."""
        if self._shim is None:
            return
        if data:
            self._shim.write(data)
            await self._shim.drain()
        else:
            self._shim.write_eof()

    async def _pump(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        shim_reader, self._shim = await asyncio.open_connection(sock=ours)
        self.protocol.task_group.spawn(self._answer, shim_reader)
        return theirs

    async def _answer(self, shim_reader: asyncio.StreamReader) -> None:
        """Carry what comes from the pair to the TLS client; the end of it ends the connection."""
        try:
            while data := await shim_reader.read(_PUMP_BYTES):
                self._writer.write(data)
                await self._writer.drain()
        except OSError:
            logger.debug("a hijacked TLS client went away")
        finally:
            del self._writer.transport._ssl_protocol._start_shutdown  # type: ignore[attr-defined]
            self._writer.close()
            if self._shim is not None:
                self._shim.close()


async def hijack(scope: Mapping[str, Any], head: bytes) -> tuple[socket.socket, bytes]:
    """Take the connection of the request that `scope` describes."""
    hijacker: Hijacker = scope["extensions"][EXTENSION]
    return await hijacker(head)


def _ignore() -> None:
    """What takes the place of asyncio's shutdown while a TLS client is answered."""


def _duplicate(connected: socket.socket) -> socket.socket:
    client = socket.socket(fileno=os.dup(connected.fileno()))
    client.setblocking(False)
    return client
