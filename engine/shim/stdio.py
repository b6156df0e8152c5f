"""The standard streams of one process: what it writes goes to the log and to each attached client, what clients send
goes to its stdin.

Nothing is queued but what one read brought: while a client has not taken that, the stream is not read, so a slow
client slows the process down and loses nothing. Without a log a lone client gets the bytes by splice(2). The other end
of each stream is in `attach.py`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import termios

from .loop import READABLE, WRITABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .attach import Client
    from .loop import Loop
    from .relay import Log

READ_BYTES = 128 * 1024
PIPE_BYTES = 64 * 1024
LARGE_PIPE_BYTES = 1024 * 1024


class Output:
    """stdout or stderr: the read end of a pipe, or the master of a pty."""

    def __init__(self, stdio: Stdio, stream: str, fd: int) -> None:
        self.stream = stream
        self.fd = fd
        self._stdio = stdio
        self._left: int | None = None
        self._enlarged = stdio.tty
        self._paused = True
        os.set_blocking(fd, False)

    def refresh(self) -> None:
        """Read on, or wait for a client that has not taken the last of it."""
        paused = any(client.busy for client in self._stdio.takers(self.stream))
        if paused == self._paused:
            return
        self._paused = paused
        if paused:
            self._stdio.loop.forget(self.fd)
        else:
            self._stdio.loop.watch(self.fd, READABLE, self._ready)

    def drain(self) -> None:
        """Read what is there now, whether clients keep up or not: at most what the pipe holds."""
        for client in self._stdio.takers(self.stream):
            client.stop_splicing(self)
        left = self._available()
        while left > 0 and (data := self._read(min(left, READ_BYTES))):
            left -= len(data)
            self._pass_on(data)
        if self.fd >= 0 and self._hung_up():
            self.end()

    def cut_off(self) -> None:
        """Deliver what is there now and then end, though someone may still hold the other side."""
        self._left = self._available()
        if self._left == 0:
            self.end()

    def end(self) -> None:
        self._stdio.loop.forget(self.fd)
        os.close(self.fd)
        self.fd = -1
        self._stdio.output_ended(self)

    def taken(self, size: int) -> None:
        """Note that `size` bytes were taken out."""
        if self._left is not None:
            self._left -= size
            if self._left <= 0:
                self.end()

    def _ready(self, _events: int) -> None:
        takers = self._stdio.takers(self.stream)
        if self._stdio.log is None and len(takers) == 1 and not self._stdio.tty:
            available = self._available()
            if available:
                self._enlarge(available)
                takers[0].splice(self, available)
                return
        data = self._read(READ_BYTES)
        if data:
            self._enlarge(len(data))
            self._pass_on(data)
            self.taken(len(data))
        elif data is not None:
            self.end()

    def _pass_on(self, data: bytes) -> None:
        if self._stdio.log is not None:
            self._stdio.log.write(self.stream, data)
        for client in self._stdio.takers(self.stream):
            client.send(self.stream, data)

    def _read(self, size: int) -> bytes | None:
        """Return what there is, b"" at the end, None where there is nothing yet."""
        if self._left is not None:
            size = min(size, self._left)
        try:
            return os.read(self.fd, size)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EIO:  # a pty whose last user has gone
                raise
            return b""

    def _available(self) -> int:
        """Return how many bytes can be read now. A pty's master counts too: its slave's output is its input."""
        (available,) = struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, b"\0\0\0\0"))
        return int(available) if self._left is None else min(int(available), self._left)

    def _hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return any(events & select.POLLHUP and not events & select.POLLIN for _, events in poll.poll(0))

    def _enlarge(self, size: int) -> None:
        """Give a pipe that was found full more room, once: fewer and larger chunks."""
        if not self._enlarged and size >= PIPE_BYTES:
            self._enlarged = True
            enlarge_pipe(self.fd)


class Input:
    """stdin: the write end of a pipe, or the master of a pty. Several clients may write to it."""

    def __init__(self, loop: Loop, fd: int, *, is_pipe: bool) -> None:
        self.fd = fd
        self.is_pipe = is_pipe
        self._loop = loop
        self._waiting: list[Client] = []
        os.set_blocking(fd, False)

    def write(self, data: bytes) -> int:
        """Return how much was taken; everything, where nobody will ever read it."""
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            self.close()
            return len(data)

    def wait(self, client: Client) -> None:
        """Have the client told when there is room again."""
        self._waiting.append(client)
        self._loop.watch(self.fd, WRITABLE, self._ready)

    def close(self) -> None:
        if self.fd >= 0:
            self._loop.forget(self.fd)
            os.close(self.fd)
            self.fd = -1
            self._wake()

    def _ready(self, _events: int) -> None:
        self._loop.forget(self.fd)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for client in waiting:
            client.stdin_has_room()


class Stdio:
    """The streams of one process and the clients attached to them.

    `close_stdin`: the end of a client's stdin is the end of the process's. `stay`: clients stay until `finish`, even
    where the process has closed its outputs.
    """

    def __init__(self, loop: Loop, *, tty: bool, log: Log | None, close_stdin: bool, stay: bool) -> None:
        self.loop = loop
        self.tty = tty
        self.log = log
        self.close_stdin = close_stdin and not tty
        self.input: Input | None = None
        self.clients: list[Client] = []
        self.on_drained: Callable[[], None] = lambda: None
        self.on_idle: Callable[[], None] = lambda: None
        self._stay = stay
        self._outputs: list[Output] = []
        self._console_fd = -1

    def open_console(self, fd: int, *, open_stdin: bool) -> None:
        """Take over a pty's master."""
        self._console_fd = os.dup(fd)
        if open_stdin:
            self.input = Input(self.loop, os.dup(fd), is_pipe=False)
        self.open_output("stdout", fd)

    def open_output(self, stream: str, fd: int) -> None:
        output = Output(self, stream, fd)
        self._outputs.append(output)
        output.refresh()

    def open_input(self, fd: int) -> None:
        self.input = Input(self.loop, fd, is_pipe=True)

    def resize(self, *, height: int, width: int) -> None:
        fcntl.ioctl(self._console_fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def takers(self, stream: str) -> list[Client]:
        return [client for client in self.clients if stream in client.streams]

    def add(self, client: Client) -> None:
        self.clients.append(client)
        client.start()
        self.refresh()
        if client in self.clients:
            self._end_client(client)

    def remove(self, client: Client) -> None:
        self.clients.remove(client)
        self.refresh()
        if not self.clients:
            self.on_idle()

    def refresh(self) -> None:
        """A client has become busy, or free, or has come or gone."""
        for output in self._outputs:
            output.refresh()

    @property
    def drained(self) -> bool:
        return not self._outputs

    def drain(self) -> None:
        for output in list(self._outputs):
            output.drain()

    def cut_off(self) -> None:
        for output in list(self._outputs):
            output.cut_off()

    def output_ended(self, output: Output) -> None:
        self._outputs.remove(output)
        if self.log is not None:
            self.log.finish(output.stream)
        for client in list(self.clients):
            self._end_client(client)
        if not self._outputs:
            self.on_drained()

    def finish(self) -> None:
        """The process has ended and all that matters is done: clients go when they have got everything."""
        self._stay = False
        if self.input is not None:
            self.input.close()
        self._close_console()
        for client in list(self.clients):
            self._end_client(client)

    def close(self) -> None:
        """Let go of everything at once."""
        for client in list(self.clients):
            client.close()
        for output in self._outputs:
            self.loop.forget(output.fd)
            os.close(output.fd)
        self._outputs.clear()
        self.finish()

    def _close_console(self) -> None:
        if self._console_fd >= 0:
            os.close(self._console_fd)
            self._console_fd = -1

    def _end_client(self, client: Client) -> None:
        if self._stay:
            return
        wanted = client.streams or (self._outputs if client.sends_stdin else ())
        if not wanted or not any(output.stream in client.streams or not client.streams for output in self._outputs):
            client.end()


def enlarge_pipe(fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, LARGE_PIPE_BYTES)
    except OSError:
        pass  # over the user's pipe-user-pages: slower, that is all
