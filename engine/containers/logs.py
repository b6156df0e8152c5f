"""`docker logs`: a container's json-file log as a stream, from any point, until now or for as long as it runs.

Reading and formatting happen in worker threads, a block at a time, so that a big log does not stall the daemon and a
slow client stops the reading. The API sends the blocks as they are.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from .. import errors
from ..errors import Conflict, InvalidArgument
from . import logconfig
from .logfiles import LogFiles
from .logformat import Formatter, LogsOptions

if TYPE_CHECKING:
    from .container import Container
    from .watch import DirectoryWatch


class Logs:
    """A log that can be read. Iterating gives blocks of bytes, stdcopy-framed unless `tty`.

    The first block is empty and says that the files are open: a client that is answered then may remove the container
    (docker-py's `run` does) and still reads all of it.
    """

    def __init__(self, container: Container, path: str, options: LogsOptions, watch: DirectoryWatch) -> None:
        self.tty = container.tty
        self._container, self._path, self._options, self._watch = container, path, options, watch
        self._formatter = Formatter(options, framed=not self.tty)
        self._follow = options.follow and container.state.running

    async def __aiter__(self) -> AsyncIterator[bytes]:
        files = await asyncio.to_thread(LogFiles, self._path, tail=self._options.last_lines, follow=self._follow)
        try:
            if self._follow:
                async for block in self._followed(files):
                    yield block
                return
            yield b""
            async for block in self._present(files):
                yield block
        finally:
            files.close()

    async def _present(self, files: LogFiles) -> AsyncIterator[bytes]:
        """Give what is there now."""
        while not self._formatter.finished:
            is_end, block = await asyncio.to_thread(self._read, files)
            if block:
                yield block
            if is_end:
                return

    async def _followed(self, files: LogFiles) -> AsyncIterator[bytes]:
        """Give what is there and what comes, until the container stops or `until` is reached."""
        exit = self._container.waiters.add()
        try:
            with self._watch.watching(os.path.dirname(self._path)) as changed:
                exit.add_done_callback(lambda _: changed.set())
                yield b""
                while not self._formatter.finished:
                    changed.clear()
                    # The log is whole before the exit is told: what is read after it is all.
                    is_last = exit.done() or not self._container.state.running
                    async for block in self._present(files):
                        yield block
                    if is_last or not await self._changed(changed):
                        return
        finally:
            exit.cancel()

    async def _changed(self, changed: asyncio.Event) -> bool:
        """Wait for a change; return False where `until` comes first."""
        until_ns = self._options.until
        try:
            await asyncio.wait_for(changed.wait(), (until_ns - time.time_ns()) / 1e9 if until_ns else None)
        except TimeoutError:
            return False
        return True

    def _read(self, files: LogFiles) -> tuple[bool, bytes]:
        block = files.read()
        return not block, self._formatter.format(block)


def logs(container: Container, path: str, options: LogsOptions, watch: DirectoryWatch) -> Logs:
    """Check that the container's log can be read as asked."""
    if not (options.stdout or options.stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    if container.removing or container.state.dead:
        raise Conflict("can not get logs from container which is dead or marked for removal")
    check_readable(container)
    return Logs(container, path, options, watch)


def check_readable(container: Container) -> None:
    """Raise where nothing is kept that could be read."""
    log_config = container.record.host_config.log_config
    if log_config.type == "none" or not logconfig.keeps_copy(log_config):
        raise errors.NotImplemented("configured logging driver does not support reading")
