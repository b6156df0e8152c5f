"""The daemon's end of the processes that read and write containers' files; see `fileworker.py` for the other.

A job is one message to a process of its own, so a client that is slow holds up nobody. Archives go through a pipe: what
it holds is all that waits. A client that goes away ends the job's process, and with it the view that was mounted.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import io
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec

from ..errors import KINDS, Error, Internal
from ..processes import IdleProcesses

_PIPE_BYTES = 1 << 20
_CHUNK = 1 << 18
_MAX_ANSWER = 1 << 30
"""A line of an answer: all changes of a container may be in one."""


class LentBody(NamedTuple):
    """A client's connection, from which a worker reads a chunked body itself, and what has come of it already."""

    fd: int
    first: bytes


Archive = LentBody | AsyncIterator[bytes]


class FileWorkers:
    """Starts processes as jobs come, and keeps idle ones for a moment. `module` is what they run."""

    def __init__(self, module: str = "lightship.engine.containers.fileworker") -> None:
        self._module = module
        self._sockets: dict[Process, socket.socket] = {}
        self._idle = IdleProcesses(on_end=lambda process: self._sockets.pop(process).close())

    async def run(self, op: str, **job: Any) -> Any:
        """Do a job without an archive; return its result."""
        async with self._job(op, job) as process:
            return await _answer(process, "result")

    async def read(self, op: str, **job: Any) -> AsyncGenerator[Any, None]:
        """Do a job that writes an archive: yield what it tells first, then the archive. Close this to give up."""
        source, target = _pipe()
        with source, target:
            os.set_blocking(target.fileno(), True)
            job["output"] = f"/proc/{os.getpid()}/fd/{target.fileno()}"
            async with self._job(op, job) as process:
                yield await _answer(process, "ready")
                target.close()
                while chunk := await _read_some(source.fileno()):
                    yield chunk
                await _answer(process, "result")

    async def write(self, op: str, archive: Archive, **job: Any) -> None:
        """Do a job that reads an archive; return when it has read and used all of it."""
        if isinstance(archive, LentBody):
            # Read, taken apart and written by one process: the bytes do not pass through this one.
            job["lent"] = base64.b64encode(archive.first).decode()
            async with self._job(op, job) as process:
                socket.send_fds(self._sockets[process], [b"c"], [archive.fd])
                await _answer(process, "ready")
                await _answer(process, "result")
            return
        source, target = _pipe()
        with source, target:
            os.set_blocking(source.fileno(), True)
            job["archive"] = f"/proc/{os.getpid()}/fd/{source.fileno()}"
            async with self._job(op, job) as process:
                await _answer(process, "ready")
                source.close()
                try:
                    await _write_all(target.fileno(), archive)
                except BrokenPipeError:
                    pass  # the answer says why it reads no more
                target.close()
                await _answer(process, "result")

    async def close(self) -> None:
        await self._idle.close()

    @asynccontextmanager
    async def _job(self, op: str, job: dict[str, Any]) -> AsyncIterator[Process]:
        process = self._idle.take() or await self._start()
        try:
            assert process.stdin is not None  # a pipe
            process.stdin.write(msgspec.json.encode({"op": op, **job}) + b"\n")
            yield process
        except Error:
            self._idle.keep(process)
            raise
        except BaseException:
            self._idle.end(process)
            raise
        self._idle.keep(process)

    async def _start(self) -> Process:
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = ("-I", "-m", self._module, str(os.getpid()), str(theirs.fileno()))
            process = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, stdin=PIPE, stdout=PIPE, limit=_MAX_ANSWER, pass_fds=(theirs.fileno(),)
            )
        self._sockets[process] = ours
        return process


async def _answer(process: Process, expected: str) -> Any:
    assert process.stdout is not None  # a pipe
    line = await process.stdout.readline()
    if not line:
        raise ChildProcessError(f"reading or writing a container's files: process {process.pid} ended early")
    answer = msgspec.json.decode(line)
    if "error" in answer:
        raise KINDS.get(answer["error"]["kind"], Internal)(answer["error"]["message"])
    return answer[expected]


def _pipe() -> tuple[io.FileIO, io.FileIO]:
    source, target = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.fcntl(target, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except PermissionError:
        pass  # the user has many pipes; the usual size is slower
    return io.FileIO(source, "r"), io.FileIO(target, "w")


async def _read_some(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, _CHUNK)
        except BlockingIOError:
            loop = asyncio.get_running_loop()
            await _ready(fd, loop.add_reader, loop.remove_reader)


async def _write_all(fd: int, source: AsyncIterator[bytes]) -> None:
    """Write a stream, gathered into pieces that are worth a system call and the reader's waking up."""
    waiting: list[bytes] = []
    size = 0
    async for chunk in source:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _CHUNK:
            await _write(fd, waiting)
            waiting, size = [], 0
    await _write(fd, waiting)


async def _write(fd: int, chunks: list[bytes]) -> None:
    view = memoryview(chunks[0] if len(chunks) == 1 else b"".join(chunks))
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            loop = asyncio.get_running_loop()
            await _ready(fd, loop.add_writer, loop.remove_writer)


async def _ready(fd: int, add: Any, remove: Any) -> None:
    event = asyncio.Event()
    add(fd, event.set)
    try:
        await event.wait()
    finally:
        remove(fd)
