"""One client connection: hypercorn's TCP server and HTTP/1.1 protocol, fitted to what Docker's clients expect.

`listen.py` makes a `Connection` for each socket that is accepted. This module and `hijack.py` alone touch hypercorn's
inside (`asyncio/tcp_server.py`, `protocol/h11.py`, `protocol/http_stream.py`; its minor version is pinned).

What differs from plain hypercorn: a connection may be hijacked; no idle timeout and no limit on requests, since clients
keep connections for days; a chunked body is not parsed before its handler asks for it, and may be lent to a process
instead; response head and first chunk leave in one write, and the head alone only when a handler sends an empty chunk
first; what a handler leaves of a request's body is thrown away up to a limit, then the connection is closed, as Go's
server does; the preface of HTTP/2 is a request like others (method PRI), whose handler takes over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import h11
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import Body, Data, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import ConnectionState
from hypercorn.utils import suppress_body

from .authorization import TLS
from .hijack import EXTENSION, Hijacker

if TYPE_CHECKING:
    from hypercorn.events import Event
    from hypercorn.protocol.events import Event as StreamEvent

logger = logging.getLogger(__name__)

_READ_BYTES = 256 * 1024
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_WAITING_MESSAGES = 8
"""Chunks of a request's body that may wait for the handler before reading from the client stops."""

_DISCARD_BYTES = 256 * 1024
"""How much of a body that nobody wants is read so that the connection can be kept (Go's limit)."""


class Stream(HTTPStream):
    """One request and its response."""

    protocol: Protocol

    async def handle(self, event: StreamEvent) -> None:
        if self.closed:
            return
        if isinstance(event, Request):
            self._messages: deque[dict[str, Any]] = deque()
            self._changed = asyncio.Event()
            self.wanted = asyncio.Event()
            self._start(event)
        elif isinstance(event, Body):
            await self._put({"type": "http.request", "body": bytes(event.data), "more_body": True})
        elif isinstance(event, EndBody):
            await self._put({"type": "http.request", "body": b"", "more_body": False})
        elif isinstance(event, StreamClosed):
            self.closed = True
            self.wanted.set()
            self._changed.set()

    def _start(self, event: Request) -> None:
        path, _, query_string = event.raw_path.partition(b"?")
        self.scope = {
            "type": "http",
            "http_version": event.http_version,
            "asgi": {"spec_version": "2.4", "version": "3.0"},
            "method": event.method,
            "scheme": self.scheme,
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query_string,
            "root_path": "",
            "headers": event.headers,
            "client": self.client,
            "server": self.server,
            "state": event.state,
            "extensions": {EXTENSION: self.protocol.hijacker},  # type: ignore[dict-item]
        }
        self.task_group.spawn(self._run)

    async def _run(self) -> None:
        try:
            await self.app(self.scope, self._receive, self.app_send, _no_threads, _no_threads)
            await self.app_send(None)
        except OSError as error:
            logger.debug("%s: client went away: %s", self.scope["path"], error)
            await self.protocol.send(Closed())
        except Exception:
            logger.exception("%s: response broken off", self.scope["path"])
            await self.protocol.send(Closed())

    async def _put(self, message: dict[str, Any]) -> None:
        while len(self._messages) >= _WAITING_MESSAGES and not self.closed:
            self._changed.clear()
            await self._changed.wait()
        self._messages.append(message)
        self._changed.set()

    async def _receive(self) -> Any:
        self.wanted.set()
        while not self._messages:
            if self.closed:
                return {"type": "http.disconnect"}
            self._changed.clear()
            await self._changed.wait()
        self._changed.set()
        return self._messages.popleft()

    async def app_send(self, message: Any) -> None:
        if self.protocol.hijacker.taken:
            return
        if message is None:
            if not self.closed:
                if self.state == ASGIHTTPState.REQUEST:
                    await self._send_error_response(500)
                await self.send(StreamClosed(stream_id=STREAM_ID))
        elif message["type"] == "http.response.start":
            self.response = message
            self.state = ASGIHTTPState.RESPONSE
            await self.send(Response(stream_id=STREAM_ID, headers=message["headers"], status_code=message["status"]))
        elif message["type"] == "http.response.body":
            body = b"" if suppress_body(self.scope["method"], self.response["status"]) else message.get("body", b"")
            await self.send(Body(stream_id=STREAM_ID, data=body))
            if not message.get("more_body", False):
                self.state = ASGIHTTPState.CLOSED
                await self.send(EndBody(stream_id=STREAM_ID))
                await self.send(StreamClosed(stream_id=STREAM_ID))

    async def _send_error_response(self, status_code: int) -> None:
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await self.send(Response(stream_id=STREAM_ID, headers=headers, status_code=status_code))
        await self.send(EndBody(stream_id=STREAM_ID))
        self.state = ASGIHTTPState.CLOSED


async def _no_threads(*_arguments: Any) -> None:
    """Stand where hypercorn passes what WSGI applications need."""


class Protocol(H11Protocol):
    """HTTP/1.1 on one connection."""

    hijacker: Hijacker
    _head = b""
    _discard_bytes = 0
    _closes = False
    _waits_for_reader = False

    @property
    def body_is_untouched(self) -> bool:
        """Whether a chunked body is still on its way or in buffers, with nothing of it parsed."""
        return isinstance(self.stream, Stream) and self._waits_for_reader and not self.stream.wanted.is_set()

    def end_of_loan(self, *, closes: bool) -> None:
        self._closes = closes
        if isinstance(self.stream, Stream):
            self.stream.wanted.set()

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Response) and event.status_code >= HTTPStatus.OK:
            # Go writes the names of headers so, and people grep for them.
            headers = [(name.title(), value) for name, value in event.headers]
            reason = _REASONS.get(event.status_code, b"")
            self._head = self._encode(h11.Response(headers=headers, status_code=event.status_code, reason=reason))
        elif isinstance(event, Body):
            head, self._head = self._head, b""
            await self.send(RawData(data=head + self._encode(h11.Data(data=event.data)) if event.data else head))
        elif isinstance(event, EndBody):
            head, self._head = self._head, b""
            if data := head + self._encode(h11.EndOfMessage()):
                await self.send(RawData(data=data))
        elif isinstance(event, StreamClosed):
            await self._maybe_recycle()
        else:
            await super().stream_send(event)

    def _encode(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> bytes:
        if self.connection.our_state is h11.ERROR:
            return b""
        return self.connection.send(event) or b""

    async def _handle_events(self) -> None:
        while not self.hijacker.taken:
            if self.connection.they_are_waiting_for_100_continue:
                await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))
            try:
                event = self.connection.next_event()
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint)
                return
            if isinstance(event, h11.Request):
                self._discard_bytes = 0
                if event.http_version not in (b"1.0", b"1.1") and event.method != b"PRI":
                    await self._refuse(505)
                    return
                await self._create_stream(event)
                if (b"transfer-encoding", b"chunked") in event.headers and isinstance(self.stream, Stream):
                    self._waits_for_reader = True
                    await self.stream.wanted.wait()
                    self._waits_for_reader = False
            elif event is h11.PAUSED:
                await self.can_read.clear()
                await self.can_read.wait()
            elif isinstance(event, h11.ConnectionClosed) or event is h11.NEED_DATA:
                return
            elif self.stream is None:
                if not await self._discard(event):
                    return
            elif isinstance(event, h11.Data):
                await self.stream.handle(Body(stream_id=STREAM_ID, data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                await self.stream.handle(EndBody(stream_id=STREAM_ID))
            elif isinstance(event, Data):
                await self.stream.handle(event)

    async def _refuse(self, status_code: int) -> None:
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send_error_response(status_code)
        await self.send(Closed())

    async def _discard(self, event: object) -> bool:
        """Drop what is left of a body after its response; answer whether the connection is still of use."""
        if isinstance(event, h11.EndOfMessage):
            await self._maybe_recycle()
            return True
        self._discard_bytes += len(event.data) if isinstance(event, h11.Data) else 0
        if self._discard_bytes > _DISCARD_BYTES:
            await self.send(Closed())
            return False
        return True

    async def _create_stream(self, request: h11.Request) -> None:
        headers = list(request.headers)
        is_websocket = (b"upgrade", b"websocket") in ((name, value.lower()) for name, value in headers)
        kind = WSStream if is_websocket and request.method == b"GET" else Stream
        stream = kind(
            self.app, self.config, self.context, self.task_group, self.ssl, self.client, self.server,
            self.stream_send, STREAM_ID,
        )  # fmt: skip
        if isinstance(stream, Stream):
            stream.protocol = self
        else:
            self.connection = H11WSConnection(self.connection)  # type: ignore[arg-type]
        self.stream = stream
        await stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=headers,
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=ConnectionState({TLS: self.hijacker.tls}),
            )
        )

    async def _maybe_recycle(self) -> None:
        await self._close_stream()
        if self._closes:
            await self.send(Closed())
            return
        if self.connection.our_state is h11.DONE and self.connection.their_state is h11.SEND_BODY:
            return
        await super()._maybe_recycle()


class Connection(TCPServer):
    """One client's connection, from accept to close."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is being served."""
        return isinstance(self.protocol, Protocol) and self.protocol.stream is None

    async def run(self) -> None:
        self.hijacker = Hijacker(self.reader, self.writer)
        try:
            async with TaskGroup(self.loop) as task_group:
                protocol = Protocol(
                    self.app, self.config, self.context, task_group, ConnectionState({}), self.hijacker.is_tls, None,
                    None, self.protocol_send,
                )  # fmt: skip
                protocol.hijacker = self.hijacker
                self.hijacker.protocol = protocol
                self.protocol = protocol  # type: ignore[assignment]
                await self._read_data()
        except OSError:
            pass
        finally:
            if not self.hijacker.taken:
                await self._close()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            self.writer.write(event.data)
            await self.writer.drain()
        elif isinstance(event, Closed):
            await self._close()
        else:
            assert isinstance(event, Updated)

    async def _read_data(self) -> None:
        try:
            while not self.reader.at_eof():
                data = await self.reader.read(_READ_BYTES)
                if not self.hijacker.taken:
                    await self.protocol.handle(RawData(data))
                elif data:
                    await self.hijacker.feed(data)
            # The end may have come with the last bytes, so that it was never read by itself
            if self.hijacker.taken:
                await self.hijacker.feed(b"")
        except OSError:
            pass
        await self.protocol.handle(Closed())
