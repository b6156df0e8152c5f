"""gRPC over sockets that the HTTP server has given up: the daemon as server of one, as client of another.

This module and `bulk` alone touch grpclib's inside (its minor version is pinned), which cannot be given a connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.protocol import EventsProcessor, H2Protocol
from grpclib.server import Server, Stream
from h2.events import StreamReset

from .errors import StatusCodec, to_grpc

logger = logging.getLogger(__name__)
# Each header of each frame, and each call that a client gave up, otherwise.
logging.getLogger("hpack").setLevel(logging.INFO)
logging.getLogger("grpclib").setLevel(logging.WARNING)

Asked = TypeVar("Asked", bound=Message)
Answer = TypeVar("Answer", bound=Message)

_WINDOW_BYTES = 8 * 1024 * 1024
"""How much a peer may send before it is read: a build's context comes through one stream."""

_CONFIGURATION = Configuration(http2_connection_window_size=_WINDOW_BYTES, http2_stream_window_size=_WINDOW_BYTES)


_FRAME_HEAD, _FRAME_LIMIT = 9, 16384
_PLAIN_DATA = b"\0\0"  # kind and flags


class _Events(EventsProcessor):
    """What happens on a connection, as grpclib sees it, but for a difference of opinion with grpc-go."""

    def process_stream_reset(self, event: StreamReset) -> None:
        # grpc-go resets a call that it has answered where the caller has not ended its side; what came before is whole.
        stream = self.streams.get(event.stream_id)
        if stream is None or ("grpc-status", "0") not in (stream.trailers or ()):
            super().process_stream_reset(event)


class _Connection(H2Protocol):
    """One HTTP/2 connection, whose end can be waited for."""

    def __init__(self, made: H2Protocol) -> None:
        super().__init__(made.handler, made.config, made.h2_config)
        self.ended = asyncio.get_running_loop().create_future()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.processor = _Events(self.handler, self.connection)

    def data_received(self, data: bytes) -> None:
        try:
            if self.h2_config.client_side:
                self._take(self._rest + data)
            else:
                super().data_received(data)
        except Exception as error:
            # Whatever h2 and grpclib do not expect ends this connection, and no other.
            logger.debug("a build client's connection is not HTTP/2: %s", error)
            self.processor.close("Protocol error")

    def _take(self, data: bytes) -> None:
        """Give plain frames of data to their calls, past h2, which needs long for each; all others to h2, in order.

        A session's connection is mostly these.
        """
        position = passed = 0
        while len(data) - position >= _FRAME_HEAD:
            length = int.from_bytes(data[position : position + 3], "big")
            end = position + _FRAME_HEAD + length
            if length > _FRAME_LIMIT:
                end = len(data)  # h2 refuses it
            elif end > len(data):
                break
            elif length and data[position + 3 : position + 5] == _PLAIN_DATA:
                if passed < position:
                    super().data_received(data[passed:position])
                    passed = position
                if self._give(
                    int.from_bytes(data[position + 5 : position + _FRAME_HEAD], "big"), data[end - length : end]
                ):
                    passed = end
            position = end
        if passed < position:
            super().data_received(data[passed:position])
        self._rest = data[position:]

    def _give(self, id: int, payload: bytes) -> bool:
        """Give data to a call that is open, and have h2 take it off the windows that the peer was given."""
        connection: Any = self.connection._connection
        stream, state = self.processor.streams.get(id), connection.streams.get(id)
        if stream is None or stream.headers is None or state is None or state.closed:
            return False
        connection._inbound_flow_control_window_manager.window_consumed(len(payload))
        state._inbound_window_manager.window_consumed(len(payload))
        stream.buffer.add(payload, len(payload))
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if not self.ended.done():
            self.ended.set_result(None)


class _Methods(dict[str, Handler]):
    """Handlers by path. An unknown one is answered by a handler too: grpclib's own refusal is none for grpc-go."""

    def get(self, path: str, default: Any = None) -> Handler:
        if path in self:
            return self[path]
        service, _, method = path[1:].partition("/")
        is_known = any(known.startswith(f"/{service}/") for known in self)
        message = f"unknown method {method} for service {service}" if is_known else f"unknown service {service}"

        async def refuse(stream: Stream[Message, Message]) -> None:
            raise GRPCError(Status.UNIMPLEMENTED, message)

        return Handler(refuse, Cardinality.STREAM_STREAM, Message, Message)


class Services:
    """What the daemon serves to clients of builds, by the methods' paths."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._server = Server([], status_details_codec=StatusCodec(), config=_CONFIGURATION)
        self._server._mapping = _Methods(handlers)

    async def serve(self, connected: socket.socket, prefix: bytes) -> None:
        """Answer calls until the connection ends; what was being answered is cancelled then."""
        connection = await _join(connected, prefix, lambda: self._server._protocol_factory())
        await _until_end(connection)


class Calls(Channel):
    """A client's session as a channel to call it on."""

    def __init__(self, connected: socket.socket, prefix: bytes) -> None:
        super().__init__("localhost", 0, status_details_codec=StatusCodec(), config=_CONFIGURATION)
        self._socket, self._prefix = connected, prefix

    async def run(self) -> None:
        """Keep the channel until the client ends it."""
        try:
            connection = await self.__connect__()
            assert isinstance(connection, _Connection)
            await _until_end(connection)
        finally:
            self.close()

    async def _create_connection(self) -> H2Protocol:
        if self._socket.fileno() < 0:
            raise ConnectionResetError("the client's session has ended")
        return await _join(self._socket, self._prefix, self._protocol_factory)


async def _join(connected: socket.socket, prefix: bytes, factory: Callable[[], H2Protocol]) -> _Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.connect_accepted_socket(lambda: _Connection(factory()), connected)
    if prefix:
        connection.data_received(prefix)
    return connection


async def _until_end(connection: _Connection) -> None:
    try:
        await asyncio.shield(connection.ended)
    finally:
        connection.processor.close("Connection closed")


def unary(
    method: Callable[[Asked, Mapping[str, Any]], Awaitable[Answer]], asked: type[Asked], answer: type[Answer]
) -> Handler:
    """Serve a method that takes one message, and the call's metadata, and gives one back."""

    async def handle(stream: Stream[Asked, Answer]) -> None:
        request = await stream.recv_message()
        if request is None:
            return
        try:
            answered = await method(request, stream.metadata or {})
        except Exception as error:
            raise to_grpc(error) from error
        await stream.send_message(answered)

    return Handler(handle, Cardinality.UNARY_UNARY, asked, answer)


def streaming(
    method: Callable[[Asked, Callable[[Answer], Awaitable[None]]], Awaitable[None]],
    asked: type[Asked],
    answer: type[Answer],
) -> Handler:
    """Serve a method that takes one message and sends any number."""

    async def handle(stream: Stream[Asked, Answer]) -> None:
        request = await stream.recv_message()
        if request is None:
            return
        try:
            await method(request, stream.send_message)
        except Exception as error:
            raise to_grpc(error) from error

    return Handler(handle, Cardinality.UNARY_STREAM, asked, answer)
