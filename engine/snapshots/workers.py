"""The pool of processes that unpack layers: started when there is work, ended when there was none for a while.

Unpacking is bound by the processor (digests, inflating, the interpreter), so each layer in work gets a process and the
API's event loop stays free. See `worker.py` for the other end.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..errors import KINDS, Internal
from ..processes import IdleProcesses

_MAX_WORKERS = 8


class Unpacked(msgspec.Struct, frozen=True):
    """What a worker says of a layer: `compression` as `compression.detect` names it, `size` that of its files."""

    diff_id: str
    size: int
    compression: str


class _Failure(msgspec.Struct):
    kind: str
    message: str
    errno: int = 0


class _Answer(msgspec.Struct):
    result: Unpacked | None = None
    error: _Failure | None = None
    progress: int = 0


class Arrival:
    """How much of a file that is still being written is there; its worker follows."""

    def __init__(self) -> None:
        self.size = 0
        self.is_whole = False
        self._changed = asyncio.Event()

    def grow(self, size: int) -> None:
        self.size = size
        self._changed.set()

    def end(self) -> None:
        self.is_whole = True
        self._changed.set()

    async def report(self, tell: Callable[[bytes], None]) -> None:
        """Tell the worker of every change, the last time that the file is whole."""
        while True:
            self._changed.clear()
            is_last = self.is_whole
            tell(msgspec.json.encode({"arrived": self.size, "whole": is_last}) + b"\n")
            if is_last:
                break
            await self._changed.wait()


class Workers:
    """Runs at most one job a processor; further ones wait."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(min(os.cpu_count() or 1, _MAX_WORKERS))
        self._idle = IdleProcesses()
        self._decoder = msgspec.json.Decoder(_Answer)

    async def unpack(
        self,
        blob: Path,
        directory: Path,
        *,
        diff_id: str | None,
        plain: Path,
        on_progress: Callable[[int], None] | None = None,
        arrival: Arrival | None = None,
    ) -> Unpacked:
        """Unpack the layer in `blob` into `directory` (see `worker._unpack`); `arrival` says that it still comes in.

        A cancelled job's process is ended.
        """
        job = {
            "blob": str(blob),
            "directory": str(directory),
            "diff_id": diff_id,
            "plain": str(plain),
            "arriving": arrival is not None,
        }
        async with self._slots:
            process = self._idle.take() or await self._start()
            try:
                unpacked = await self._run(process, msgspec.json.encode(job), on_progress, arrival)
            except BaseException:
                self._idle.end(process)
                raise
            self._idle.keep(process)
            return unpacked

    async def close(self) -> None:
        await self._idle.close()

    async def _start(self) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "lightship.engine.snapshots.worker", str(os.getpid()), stdin=PIPE, stdout=PIPE
        )

    async def _run(
        self, process: Process, job: bytes, on_progress: Callable[[int], None] | None, arrival: Arrival | None
    ) -> Unpacked:
        assert process.stdin is not None and process.stdout is not None  # both are pipes
        process.stdin.write(job + b"\n")
        if arrival is None:
            return await self._answer(process, process.stdout, on_progress)
        reports = asyncio.ensure_future(arrival.report(process.stdin.write))
        try:
            unpacked = await self._answer(process, process.stdout, on_progress)
            # What comes behind the archive's end is still to be told, or the next job would read it.
            await reports
            return unpacked
        finally:
            reports.cancel()

    async def _answer(
        self, process: Process, answers: asyncio.StreamReader, on_progress: Callable[[int], None] | None
    ) -> Unpacked:
        while line := await answers.readline():
            answer = self._decoder.decode(line)
            if answer.error is not None:
                raise KINDS[answer.error.kind](answer.error.message)
            if answer.result is not None:
                return answer.result
            if on_progress is not None:
                on_progress(answer.progress)
        raise Internal(f"unpacking a layer: process {process.pid} ended early")
