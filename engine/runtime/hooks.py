"""OCI hooks: programs of the spec that run at fixed points of a container's life, with its state on their stdin."""

from __future__ import annotations

import json
import os
import select
import signal

from . import linux
from .constants import CLOSE_RANGE_CLOEXEC
from .errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_SHOWN_BYTES = 4096


def run(
    name: str, hooks: list[dict[str, Any]] | None, state: dict[str, Any], *, cwd: str = "", env: list[str] | None = None
) -> None:
    """Run one kind of hooks in order; the first failure is raised. `env` is for hooks that bring none."""
    for failure in failures(name, hooks, state, cwd=cwd, env=env):
        raise RuntimeFailure("internal", failure)


def failures(
    name: str, hooks: list[dict[str, Any]] | None, state: dict[str, Any], *, cwd: str = "", env: list[str] | None = None
) -> Iterator[str]:
    """Run one kind of hooks in order, as far as the caller goes on, and tell what failed."""
    for number, hook in enumerate(hooks or ()):
        problem = _run(hook, state, cwd, env or [])
        if problem:
            yield f"error running {name} hook #{number}: {problem}"


def _run(hook: dict[str, Any], state: dict[str, Any], cwd: str, env: list[str]) -> str:
    input_fd = os.memfd_create("state", os.MFD_CLOEXEC)
    output_fd = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        os.write(input_fd, json.dumps(state).encode())
        os.lseek(input_fd, 0, os.SEEK_SET)
        pid = os.fork()
        if pid == 0:
            _execute(hook, cwd, env, input_fd, output_fd)
        status = _wait(pid, hook.get("timeout"))
        if status is None:
            return f"hook ran past specified timeout of {hook['timeout']}s"
        if status == 0:
            return ""
        code = os.waitstatus_to_exitcode(status)
        told = f"exit status {code}" if code >= 0 else f"signal: {str(signal.strsignal(-code)).lower()}"
        output = os.pread(output_fd, _SHOWN_BYTES, 0).decode("utf-8", "replace")
        return f"{told}, output: {output}"
    finally:
        os.close(input_fd)
        os.close(output_fd)


def _execute(hook: dict[str, Any], cwd: str, env: list[str], input_fd: int, output_fd: int) -> None:
    try:
        os.dup2(input_fd, 0)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        linux.close_range(3, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)
        if cwd:
            os.chdir(cwd)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        environment = dict(item.partition("=")[::2] for item in hook.get("env") or env)
        os.execve(hook["path"], hook.get("args") or [hook["path"]], environment)
    except OSError as error:
        os.write(2, f"{hook['path']}: {error.strerror}".encode())
    finally:
        os._exit(127)


def _wait(pid: int, timeout_s: int | None) -> int | None:
    """Return the wait status, or None when the time was up and the hook has been killed."""
    if timeout_s:
        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(timeout_s * 1000):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return None
        finally:
            os.close(pidfd)
    return os.waitpid(pid, 0)[1]
