"""One run of the container's first process: its streams, its end, and the notice that memory ran out.

`container.py` makes one at the start and one at each restart. The clients that are attached to a run go with it, each
when it has got everything.
"""

from __future__ import annotations

import os
import signal
import stat
import time

from ..runtime import container as runtime
from . import oci, worker
from .create import make
from .exec import LEFTOVER_OUTPUT_S, Pipes
from .loop import EXCEPTIONAL, READABLE
from .stdio import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .loop import Loop
    from .relay import Log

OOM_SETTLE_S = 0.1


class Run:
    """`on_end` is called once: the process has ended and all of its output was read. `on_oom` when one was killed for
    want of memory."""

    def __init__(
        self,
        loop: Loop,
        bundle: str,
        *,
        tty: bool,
        stdin_once: bool,
        log: Log | None,
        on_end: Callable[[], None],
        on_oom: Callable[[], None],
    ) -> None:
        self.stdio = Stdio(loop, tty=tty, log=log, close_stdin=stdin_once, stay=stdin_once and not tty)
        self.pid = 0
        self.pidfd = -1
        self.exit_code = 0
        self.exited_ns = 0
        self.oom = False
        self._loop = loop
        self._bundle = bundle
        self._on_end, self._on_oom = on_end, on_oom
        self._ended = False
        self._shares_pids = False
        self._oom_seen = False
        self._oom_fd = -1
        self._oom_counts = False

    def create(self, *, start: bool, open_stdin: bool, netns_fd: int | None) -> None:
        """Make the container, and with `start` execute its program; RuntimeFailure where it cannot be."""
        pipes = None if self.stdio.tty else Pipes(stdin=open_stdin)
        try:
            result, fds = worker.run(lambda: make(self._bundle, pipes, netns_fd, start=start))
        except BaseException:
            if pipes:
                pipes.close()
            raise
        if pipes:
            pipes.open(self.stdio)
        else:
            self.stdio.open_console(fds.steal("console"), open_stdin=open_stdin)
        self.pidfd = fds.steal("pidfd")
        self._shares_pids = result["shares_pids"]
        if "oom" in fds:
            self._oom_fd = fds.steal("oom")
            self._oom_counts = stat.S_ISREG(os.fstat(self._oom_fd).st_mode)
            if self._oom_counts:
                self._loop.watch(self._oom_fd, EXCEPTIONAL, lambda _events: self._note_oom())
            else:
                self._loop.watch(self._oom_fd, READABLE, self._oom_ready)
        self.pid = result["pid"]

    def exited(self, exit_code: int) -> None:
        """The process was reaped: read what it has written, and kill what it left behind in a pid namespace that it
        shared."""
        self.exit_code, self.exited_ns = exit_code, time.time_ns()
        self._ended = True
        if self._oom_seen or self._oom_counts or exit_code == 128 + signal.SIGKILL:
            self._note_oom()
        if self._shares_pids:
            in_worker(lambda: oci.runtime_of(self._bundle).kill(self._bundle, signal.SIGKILL, all=True))
        self.stdio.drain()
        if self.stdio.drained:
            self._on_end()
        else:
            self.stdio.on_drained = self._on_end
            self._loop.call_later(LEFTOVER_OUTPUT_S, self.stdio.cut_off)

    @property
    def alive(self) -> bool:
        return not self._ended

    def finish(self) -> None:
        """Everything that matters is done: let the clients go, and remove what the runtime made."""
        self.stdio.log = None
        self.stdio.finish()
        self._close_fds()

    def close(self) -> None:
        """Let go of everything at once, of a start that failed."""
        self.stdio.close()
        self._close_fds()

    def _close_fds(self) -> None:
        if self._oom_fd >= 0:
            self._loop.forget(self._oom_fd)
            os.close(self._oom_fd)
            self._oom_fd = -1
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1

    def _oom_ready(self, _events: int) -> None:
        os.read(self._oom_fd, 4096)
        self._oom_seen = True
        # cgroup v1 notifies before it kills
        self._loop.call_later(OOM_SETTLE_S, lambda: None if self._ended else self._note_oom())

    def _note_oom(self) -> None:
        if not self.oom and self._has_oom_kills():
            self.oom = True
            if self._oom_counts:
                self._loop.forget(self._oom_fd)  # what is not read any more would wake the loop for ever
            self._on_oom()

    def _has_oom_kills(self) -> bool:
        """cgroup v2 tells of each time that a limit was reached: without a worker, which would cost more than that."""
        if not self._oom_counts:
            return bool(in_worker(lambda: runtime.cgroup(self._bundle).oom_kills()))
        try:
            lines = os.pread(self._oom_fd, 4096, 0).split(b"\n")
        except OSError:  # the group is gone
            self._loop.forget(self._oom_fd)
            return False
        return any(line.startswith(b"oom_kill ") and line != b"oom_kill 0" for line in lines)


def in_worker(call: Callable[[], Any]) -> Any:
    """Call the runtime in a child; its result has to be JSON."""
    return worker.run(lambda: ({"value": call()}, {}))[0]["value"]
