"""Calls of many small messages: a context's files. What has come is read at once, and what is to go is sent at once.

grpclib's own way costs more for a message than the message's work. Like `transport`, this knows grpclib's inside.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from grpclib.client import Stream
from grpclib.exceptions import ProtocolError

M = TypeVar("M", bound=Message)
_HEAD = struct.Struct(">?I")
_LIMIT_BYTES = 16 << 20
_SENT_AT_ONCE = 1000


class Bulk(Generic[M]):
    """A call whose messages are all of one kind. `received_bytes` counts those of messages."""

    def __init__(self, stream: Stream[M, M], kind: type[M]) -> None:
        self._stream: Any = stream
        self._kind = kind
        self._rest = b""
        self._is_over = False
        self.received_bytes = 0

    async def read(self) -> list[M]:
        """Return the messages that have come, at least one; none at the end. Raises what the call ended with."""
        if self._stream.initial_metadata is None:
            await self._stream.recv_initial_metadata()
        while not self._is_over:
            if messages := list(self._split(await self._chunk())):
                return messages
        self._stream._maybe_raise()
        if self._rest:
            raise ProtocolError("a call ended in the middle of a message")
        return []

    async def _chunk(self) -> bytes:
        call = self._stream._stream
        waiting = call.buffer._unacked
        with self._stream._wrapper:
            items = [await waiting.get()]
        while not waiting.empty():
            items.append(waiting.get_nowait())
        self._is_over = call.buffer._eof and waiting.empty()
        call.connection.ack(call.id, sum(item.ack_size for item in items))
        return b"".join([self._rest, *(item.data for item in items)])

    def _split(self, data: bytes) -> Iterator[M]:
        position = 0
        while len(data) - position >= _HEAD.size:
            is_compressed, length = _HEAD.unpack_from(data, position)
            if is_compressed or length > _LIMIT_BYTES:
                raise ProtocolError("a message is compressed, or too long")
            start, end = position + _HEAD.size, position + _HEAD.size + length
            if end > len(data):
                break
            yield self._kind.FromString(data[start:end])
            self.received_bytes += length
            position = end
        self._rest = data[position:]

    async def send(self, messages: Iterable[M]) -> None:
        """Send messages, many in one piece."""
        pending = iter(messages)
        while several := [message.SerializeToString() for message in islice(pending, _SENT_AT_ONCE)]:
            data = b"".join(_HEAD.pack(False, len(encoded)) + encoded for encoded in several)
            with self._stream._wrapper:
                await self._stream._stream.send_data(data)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Read nothing for a while: a thread that makes many small system calls is not to wait for this one's."""
        transport: asyncio.ReadTransport = self._stream._stream.connection._transport
        transport.pause_reading()
        try:
            yield
        finally:
            if not transport.is_closing():
                transport.resume_reading()
