"""Reading a client's stream in a thread: for work on its bytes that would hold up the event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from ..errors import Internal
from ..snapshots.compression import CompressionError, Read
from ..snapshots.tar import TarError

T = TypeVar("T")

_GATHERED = 1 << 18


class StreamClosed(Exception):
    """The stream's reader was told to stop."""


class _ThreadReader:
    """Gathers chunks into larger pieces, so that few cross from the loop into the thread."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._pending: concurrent.futures.Future[bytes] | None = None
        self._is_closed = False

    def read(self, limit: int) -> bytes:
        if not self._buffer:
            if self._is_closed:
                raise StreamClosed
            self._pending = asyncio.run_coroutine_threadsafe(self._gather(), self._loop)
            if self._is_closed:
                # `close` may have looked just before this future was there.
                self._pending.cancel()
            try:
                self._buffer = self._pending.result()
            except concurrent.futures.CancelledError:
                raise StreamClosed from None
        chunk, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return chunk

    def close(self) -> None:
        """Make the thread's read fail, now or the next time."""
        self._is_closed = True
        if self._pending is not None:
            self._pending.cancel()

    async def _gather(self) -> bytes:
        parts = []
        size = 0
        async for chunk in self._stream:
            parts.append(chunk)
            size += len(chunk)
            if size >= _GATHERED:
                break
        return b"".join(parts)


async def read_in_thread(stream: AsyncIterator[bytes], work: Callable[[Read], T]) -> T:
    """Run `work` in a thread, with a function that reads the stream.

    Damaged archives become Internal errors with their own text, as in dockerd. When the caller is cancelled the thread
    is stopped at its next read, and waited for.
    """
    reader = _ThreadReader(stream)
    task = asyncio.ensure_future(asyncio.to_thread(work, reader.read))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        reader.close()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
    except (TarError, CompressionError) as error:
        raise Internal(str(error)) from error
