"""Responses that go on: progress of image operations, events, logs, and the answer of wait.

The head is sent before there is anything to say, because clients wait for it before they go on (P17, P31). Each item
leaves at once. Where the client hangs up, the source is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..engine.errors import Error
from ..openapi import codec
from .errors import message_of

T = TypeVar("T")
logger = logging.getLogger(__name__)


class StreamingResponse(Response):
    """A body that is made while it is sent."""

    def __init__(
        self, chunks: AsyncIterator[bytes], media_type: str, *, status_code: int = 200, reads_body: bool = False
    ) -> None:
        """`reads_body` says that the source is still reading the request, and so sees for itself that it ends."""
        self._chunks, self._reads_body = chunks, reads_body
        self.status_code, self.media_type, self.background = status_code, media_type, None
        self.raw_headers = [(b"content-type", media_type.encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._chunks):  # type: ignore[type-var]
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            if self._reads_body:
                await self._pump(send)
            else:
                await self._pump_until_disconnect(receive, send)

    async def _pump_until_disconnect(self, receive: Receive, send: Send) -> None:
        pump = asyncio.create_task(self._pump(send))
        watch = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait((pump, watch), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pump.cancel()
            watch.cancel()
            await asyncio.wait((pump, watch))
        if not pump.cancelled():
            pump.result()

    async def _pump(self, send: Send) -> None:
        async for chunk in self._chunks:
            if chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def progress(items: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Write each object on a line of its own; an error becomes the last of them (Docker's jsonmessage)."""
    try:
        async for item in items:
            yield _line(item)
    except Error as error:
        yield _line(_error_item(message_of(error)))
    except OSError as error:
        logger.exception("an operation failed after its response had begun")
        yield _line(_error_item(message_of(error)))


def _line(item: Any) -> bytes:
    return codec.encode(item)[:-1] + b"\r\n"


def _error_item(message: str) -> dict[str, Any]:
    return {"errorDetail": {"message": message}, "error": message}


async def begun(items: AsyncIterator[T]) -> AsyncIterator[T]:
    """Wait for the first item: an error before it is still an error of the request, and what is to be read is open."""
    try:
        first = await anext(items)
    except StopAsyncIteration:
        return _Begun([], items)
    return _Begun([first], items)


class _Begun(AsyncIterator[T]):
    """An iterator whose first item was taken out and put back. Closing it closes the rest, read or not."""

    def __init__(self, first: list[T], rest: AsyncIterator[T]) -> None:
        self._first, self._rest = first, rest

    async def __anext__(self) -> T:
        return self._first.pop() if self._first else await anext(self._rest)

    async def aclose(self) -> None:
        await self._rest.aclose()  # type: ignore[attr-defined]
