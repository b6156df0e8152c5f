"""Processes that are executed in the running container: their streams, their end, and who is told of it when.

A process may leave children behind that hold its pipes: its streams are cut off two seconds after its exit, as dockerd
does. The client's connection is closed only after the daemon has noted the exit code, for the client asks right then.
"""

from __future__ import annotations

import os
import signal
import time

from ..runtime import container as runtime
from . import oci, worker
from .protocol import Failure
from .stdio import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .loop import Loop

LEFTOVER_OUTPUT_S = 2.0
"""How long an exited process's streams may stay open by its children; dockerd's own limit."""


class Pipes:
    """The pipes between the shim and a process to be made: ours are non-blocking, its ends go when it is made."""

    def __init__(self, *, stdin: bool) -> None:
        if stdin:
            self.stdin_fd, self.our_stdin_fd = os.pipe2(os.O_CLOEXEC)
        else:
            self.stdin_fd, self.our_stdin_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), -1
        self.our_stdout_fd, self.stdout_fd = os.pipe2(os.O_CLOEXEC)
        self.our_stderr_fd, self.stderr_fd = os.pipe2(os.O_CLOEXEC)

    def stdio(self) -> runtime.Stdio:
        """The process's ends, as the runtime takes them."""
        return runtime.Stdio(self.stdin_fd, self.stdout_fd, self.stderr_fd)

    def open(self, stdio: Stdio) -> None:
        """Give our ends to `stdio` and close the process's."""
        if self.our_stdin_fd >= 0:
            stdio.open_input(self.our_stdin_fd)
        stdio.open_output("stdout", self.our_stdout_fd)
        stdio.open_output("stderr", self.our_stderr_fd)
        self._close_theirs()

    def close(self) -> None:
        for fd in (self.our_stdin_fd, self.our_stdout_fd, self.our_stderr_fd):
            if fd >= 0:
                os.close(fd)
        self._close_theirs()

    def _close_theirs(self) -> None:
        for fd in (self.stdin_fd, self.stdout_fd, self.stderr_fd):
            os.close(fd)


def made_fds(made: runtime.Process) -> dict[str, int]:
    """The descriptors of a process that a worker made, by the names under which the shim gets them."""
    return {"pidfd": made.pidfd} | ({"console": made.console_fd} if made.console_fd >= 0 else {})


def read_filter(path: str | None) -> bytes | None:
    """Return the compiled seccomp program."""
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


class Exec:
    """One executed process. `on_exit` has the exit told, `on_gone` comes when its streams are closed too."""

    def __init__(self, loop: Loop, exec_id: str, *, tty: bool, on_gone: Callable[[Exec], None]) -> None:
        self.id = exec_id
        self.pid = 0
        self.exit_code: int | None = None
        self.exited_ns = 0
        self.stdio = Stdio(loop, tty=tty, log=None, close_stdin=True, stay=True)
        self._loop = loop
        self._pidfd = -1
        self._told = False
        self._cut_off: tuple[float, Callable[[], None]] | None = None
        self._on_gone = on_gone

    def start(self, state_dir: str, process: dict[str, Any], *, open_stdin: bool, seccomp: str | None) -> None:
        """Run the process; RuntimeFailure where it cannot be."""
        pipes = Pipes(stdin=open_stdin) if not self.stdio.tty else None
        stdio = pipes.stdio() if pipes else runtime.Stdio(-1, -1, -1)

        def execute() -> tuple[dict[str, int], dict[str, int]]:
            oci_runtime = oci.runtime_of(state_dir)
            made = oci_runtime.exec_process(state_dir, process, stdio=stdio, seccomp=read_filter(seccomp))
            return {"pid": made.pid}, made_fds(made)

        try:
            result, fds = worker.run(execute)
        except BaseException:
            if pipes:
                pipes.close()
            raise
        self.pid, self._pidfd = result["pid"], fds.steal("pidfd")
        if pipes:
            pipes.open(self.stdio)
        else:
            self.stdio.open_console(fds.steal("console"), open_stdin=open_stdin)

    def kill(self, number: int) -> None:
        signal.pidfd_send_signal(self._pidfd, number)

    def exited(self, exit_code: int) -> None:
        """The process was reaped."""
        self.exit_code = exit_code
        self.exited_ns = time.time_ns()
        os.close(self._pidfd)
        self.stdio.on_drained = self._finish
        if not self.stdio.drained:
            self._cut_off = self._loop.call_later(LEFTOVER_OUTPUT_S, self.stdio.cut_off)

    def told(self) -> None:
        """The daemon knows the exit code, or there is none to tell."""
        self._told = True
        self._finish()

    def report(self) -> dict[str, Any]:
        return {"pid": self.pid, "exit_code": self.exit_code, "exited_ns": self.exited_ns}

    def end(self) -> dict[str, Any]:
        """How it ended, for the daemon."""
        return {"exec_id": self.id, "exit_code": self.exit_code, "exited_ns": self.exited_ns}

    def _finish(self) -> None:
        if self._told and self.stdio.drained:
            self._loop.cancel(self._cut_off)
            self.stdio.on_idle = lambda: self._on_gone(self)
            self.stdio.finish()
            if not self.stdio.clients:
                self._on_gone(self)


class Execs:
    """The executed processes that run or whose clients still read. `on_exit` when one has ended, `on_gone` when it is
    forgotten; `children` are the callbacks by which ended children are told."""

    def __init__(
        self,
        loop: Loop,
        bundle: str,
        children: dict[int, Callable[[int], None]],
        *,
        on_exit: Callable[[Exec], None],
        on_gone: Callable[[], None],
    ) -> None:
        self._loop, self._bundle, self._children = loop, bundle, children
        self._on_exit, self._on_gone = on_exit, on_gone
        self._execs: dict[str, Exec] = {}

    @property
    def any(self) -> bool:
        return bool(self._execs)

    def start(self, message: dict[str, Any]) -> Exec:
        """Run a process as the daemon's message says."""
        exec_id: str = message["exec_id"]
        if exec_id in self._execs:
            raise Failure("conflict", f"exec {exec_id} exists already")
        process = message["process"]
        executed = Exec(self._loop, exec_id, tty=bool(process.get("terminal")), on_gone=self._gone)
        open_stdin, seccomp = message.get("open_stdin", False), message.get("seccomp")
        executed.start(self._bundle, process, open_stdin=open_stdin, seccomp=seccomp)
        self._execs[exec_id] = executed
        self._children[executed.pid] = lambda exit_code: self._exited(executed, exit_code)
        return executed

    def get(self, exec_id: str) -> Exec:
        """Return one that runs."""
        executed = self._execs.get(exec_id)
        if executed is None or executed.exit_code is not None:
            raise Failure("not_found", f"No such exec instance: {exec_id}")
        return executed

    def _exited(self, executed: Exec, exit_code: int) -> None:
        executed.exited(exit_code)
        self._on_exit(executed)

    def _gone(self, executed: Exec) -> None:
        self._execs.pop(executed.id, None)
        self._on_gone()
