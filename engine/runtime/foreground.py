"""Standing in for a process that runs in the foreground: signals, terminal and exit code of `run` and `exec`."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import termios
import tty

from .container import Process

_CHUNK_BYTES = 65536
_NOT_FORWARDED = frozenset(
    (signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE)
)


def wait(process: Process, *, console: bool) -> int:
    """Forward signals, and the terminal where there is one to serve; return the exit code when the process ends."""
    for number in signal.valid_signals() - _NOT_FORWARDED:
        if number < signal.SIGRTMIN:
            try:
                signal.signal(number, lambda received, _frame: _forward(process.pidfd, received))
            except OSError:
                continue
    if console and process.console_fd >= 0:
        _serve_console(process)
    result = os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED)
    if result is None:
        return 255
    return result.si_status if result.si_code == os.CLD_EXITED else 128 + result.si_status


def _forward(pidfd: int, number: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass


def prepare_console(console_fd: int) -> None:
    """Leave it to the caller's terminal to make \\r\\n of \\n: what is redirected to a file then has none."""
    _change_output(console_fd, clear=termios.ONLCR)


def _serve_console(process: Process) -> None:
    """Copy between the caller's terminal, in raw mode, and the process's; end with the process's side."""
    saved = termios.tcgetattr(0) if sys.stdin.isatty() else None
    if saved is not None:
        tty.setraw(0)
        _change_output(0, add=termios.OPOST)
        _copy_size(process.console_fd)
        signal.signal(signal.SIGWINCH, lambda _number, _frame: _copy_size(process.console_fd))
    try:
        _pump(process.console_fd)
    finally:
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)


def _change_output(fd: int, *, clear: int = 0, add: int = 0) -> None:
    attributes = termios.tcgetattr(fd)
    attributes[1] = attributes[1] & ~clear | add
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


def _copy_size(console_fd: int) -> None:
    size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
    fcntl.ioctl(console_fd, termios.TIOCSWINSZ, size)


def _pump(console_fd: int) -> None:
    poll = select.poll()
    poll.register(console_fd, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            try:
                data = os.read(fd, _CHUNK_BYTES)
            except OSError:  # EIO: the last user of the pty is gone
                data = b""
            if fd == 0:
                if data:
                    _write_all(console_fd, data)
                else:
                    poll.unregister(0)
            elif not data:
                return
            else:
                _write_all(1, data)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
