"""Processes that do one job after another, kept for a moment when there is none.

`FileWorkers` and the layers' `Workers` have one each; what a job is, and how it is told, is theirs.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from collections.abc import Callable

_IDLE_S = 5.0


class IdleProcesses:
    """`on_end` is called with each process that is let go."""

    def __init__(self, on_end: Callable[[Process], None] = lambda process: None) -> None:
        self._on_end = on_end
        self._idle: list[Process] = []
        self._timer: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[int]] = set()

    def take(self) -> Process | None:
        """Return one that is still there, None where a new one has to be started."""
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
            self.end(process)
        return None

    def keep(self, process: Process) -> None:
        """Keep one whose job is done for the next job."""
        self._idle.append(process)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_IDLE_S, self._end_idle)

    def end(self, process: Process) -> None:
        """Let go of one that nobody may use again."""
        self._on_end(process)
        if process.returncode is None:
            process.kill()
        task = asyncio.ensure_future(process.wait())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all that are idle, and wait for those that were let go."""
        if self._timer is not None:
            self._timer.cancel()
        self._end_idle()
        await asyncio.gather(*self._ending)

    def _end_idle(self) -> None:
        while self._idle:
            self.end(self._idle.pop())
