"""A client attached to a process: the other end of its hijacked connection, handed over by the daemon.

Output comes as frames of stdcopy (stream, three zero bytes, length, payload) or raw; what the client sends goes to the
process's stdin. The half-close of a client is the end of stdin at most: its output goes on. `stdio.py` decides when
there is something to send and when the client may go.
"""

from __future__ import annotations

import base64
import errno
import os
import socket
import struct

from .detachkeys import Scanner, parse
from .loop import HUNG_UP, READABLE, WRITABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .stdio import Output, Stdio

STDIN_BYTES = 64 * 1024
SPLICE_BYTES = 1024 * 1024
_STREAM_NUMBERS = {"stdout": 1, "stderr": 2}


class Client:
    def __init__(
        self,
        stdio: Stdio,
        fd: int,
        *,
        streams: frozenset[str],
        framed: bool,
        stdin: bool,
        prefix: bytes = b"",
        detach_keys: bytes | None = None,
        hold: bool = False,
        on_detach: Callable[[], None],
    ) -> None:
        self.streams = streams
        self.sends_stdin = stdin and stdio.input is not None
        self._stdio = stdio
        # The family does not matter for what is called here; asking the kernel for it would take three calls
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fd)
        self._socket.setblocking(False)
        self._framed = framed
        self._scanner = Scanner(detach_keys) if detach_keys else None
        self._on_detach = on_detach
        self._held = hold
        self._pending: list[memoryview] = []
        self._splicing: Output | None = None
        self._splice_left = 0
        self._prefix = prefix if self.sends_stdin else b""
        self._unsent_stdin = b""
        self._stdin_blocked = False
        self._ending = False
        self._can_splice_stdin = self._scanner is None
        self._events = -1
        self._was_busy = False

    def start(self) -> None:
        """Begin to take part; called once, by the streams it is attached to.

        A client that is to get the log first misses the beginning of a line that is not in the log yet: it gets that
        on release.
        """
        if self._held and self._stdio.log is not None:
            for stream in sorted(self.streams):
                self._queue(stream, self._stdio.log.rest(stream))
        self._was_busy = self.busy
        self._watch()
        self._pass_stdin(self._prefix)
        self._prefix = b""

    @property
    def busy(self) -> bool:
        """Whether it has not yet taken what was sent last."""
        return bool(self._held or self._pending or self._splice_left)

    def release(self) -> None:
        """Begin to send, where the client was attached with `hold`."""
        self._held = False
        self._flush()

    # Output

    def send(self, stream: str, data: bytes) -> None:
        """Send or keep one chunk; the caller then heeds `busy`."""
        was_busy = self.busy
        self._queue(stream, data)
        if not was_busy:
            self._flush()

    def splice(self, output: Output, size: int) -> None:
        """Move `size` bytes, which are there, from an output's pipe; without copying them to this process."""
        if self._framed:
            self._pending.append(memoryview(_header(output.stream, size)))
        self._splicing, self._splice_left = output, size
        self._flush()

    def stop_splicing(self, output: Output) -> None:
        """Read what was still to be moved from `output`, which is there: others will read there now."""
        if self._splicing is output:
            while self._splice_left:
                data = os.read(output.fd, self._splice_left)
                self._splice_left -= len(data)
                self._pending.append(memoryview(data))
            self._splicing = None

    def end(self) -> None:
        """Close, once everything is sent."""
        self._ending = True
        if not self.busy:
            self.close()

    def _queue(self, stream: str, data: bytes) -> None:
        if data:
            if self._framed:
                self._pending.append(memoryview(_header(stream, len(data))))
            self._pending.append(memoryview(data))

    def _flush(self) -> None:
        if self._held:
            return
        try:
            self._send_pending()
            self._splice_on()
        except BlockingIOError:
            pass
        except OSError:
            self._stop_output()
        if self._closed:
            return
        if self._ending and not self.busy:
            self.close()
            return
        self._watch()
        if self.busy != self._was_busy:
            self._was_busy = self.busy
            self._stdio.refresh()

    def _send_pending(self) -> None:
        more = socket.MSG_MORE if self._splice_left else 0
        while self._pending:
            sent = self._socket.sendmsg(self._pending, (), socket.MSG_NOSIGNAL | more)
            while self._pending and sent >= len(self._pending[0]):
                sent -= len(self._pending.pop(0))
            if sent:
                self._pending[0] = self._pending[0][sent:]

    def _splice_on(self) -> None:
        while self._splice_left and self._splicing is not None:
            output = self._splicing
            moved = os.splice(output.fd, self._socket.fileno(), self._splice_left, flags=os.SPLICE_F_NONBLOCK)
            self._splice_left -= moved
            if not self._splice_left:
                self._splicing = None
            output.taken(moved)

    def _stop_output(self) -> None:
        """It hung up: whatever it has not read is of no use any more."""
        self.streams = frozenset()
        self._held = False
        self._pending.clear()
        self._splicing, self._splice_left = None, 0
        if not self.sends_stdin:
            self.close()

    # Input

    def stdin_has_room(self) -> None:
        if self._closed:
            return
        self._stdin_blocked = False
        unsent, self._unsent_stdin = self._unsent_stdin, b""
        if unsent:
            self._pass_stdin(unsent)
        self._watch()

    def _read_stdin(self) -> None:
        stdin = self._stdio.input
        if stdin is None or stdin.fd < 0:
            self.sends_stdin = False
        elif self._can_splice_stdin and stdin.is_pipe:
            self._splice_stdin(stdin.fd)
        else:
            data = self._socket.recv(STDIN_BYTES)
            if data:
                self._pass_stdin(data)
            else:
                self._stdin_ended()

    def _splice_stdin(self, stdin_fd: int) -> None:
        try:
            if not os.splice(self._socket.fileno(), stdin_fd, SPLICE_BYTES, flags=os.SPLICE_F_NONBLOCK):
                self._stdin_ended()
        except BlockingIOError:
            # There is something to read, or we would not be here: the pipe is full
            self._block_stdin()
        except BrokenPipeError:
            self._close_input()
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._can_splice_stdin = False

    def _pass_stdin(self, data: bytes) -> None:
        if self._scanner is not None:
            data, detached = self._scanner.feed(data)
            if detached:
                self._write_stdin(data)
                self._on_detach()
                self.close()
                return
        self._write_stdin(data)

    def _write_stdin(self, data: bytes) -> None:
        stdin = self._stdio.input
        if stdin is None or stdin.fd < 0 or not data:
            return
        written = stdin.write(data)
        if written < len(data):
            self._unsent_stdin = data[written:]
            self._block_stdin()

    def _block_stdin(self) -> None:
        if self._stdio.input is not None:
            self._stdin_blocked = True
            self._stdio.input.wait(self)

    def _stdin_ended(self) -> None:
        self.sends_stdin = False
        if self._stdio.close_stdin:
            self._close_input()
        if not self.streams and not self.busy:
            self.close()

    def _close_input(self) -> None:
        self.sends_stdin = False
        if self._stdio.input is not None:
            self._stdio.input.close()

    # The connection

    @property
    def _closed(self) -> bool:
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Part from the client in a way that lets it read everything: unread input would turn into a reset."""
        if self._closed:
            return
        self._stdio.loop.forget(self._socket.fileno())
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
            while self._socket.recv(STDIN_BYTES):
                pass
        except OSError:
            pass
        self._socket.close()
        self._stdio.remove(self)

    def _wanted_events(self) -> int:
        reading = self.sends_stdin and not self._stdin_blocked
        writing = not self._held and (self._pending or self._splice_left)
        return (READABLE if reading else 0) | (WRITABLE if writing else 0)

    def _watch(self) -> None:
        events = self._wanted_events()
        if not self._closed and events != self._events:
            self._events = events
            self._stdio.loop.watch(self._socket.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        if events & HUNG_UP:
            self._stop_output()
            self._stdio.refresh()
        elif events & WRITABLE:
            self._flush()
        if self._closed:
            return
        if self._stdin_blocked:
            if events & HUNG_UP:
                self._stdio.loop.forget(self._socket.fileno())
                self._events = -1
            return
        if events & (READABLE | HUNG_UP) and self.sends_stdin:
            try:
                self._read_stdin()
            except BlockingIOError:
                pass
            except OSError:
                self._stdin_ended()
            self._watch()


class Attachments:
    """The clients that daemons have handed over, by their numbers. `on_detach` when one leaves by its detach keys."""

    def __init__(self, on_detach: Callable[[dict[str, str]], None]) -> None:
        self._on_detach = on_detach
        self._held: dict[str, Client] = {}
        self._count = 0

    def add(self, stdio: Stdio, attach: dict[str, Any], fd: int, *, exec_id: str | None = None) -> str:
        """Attach a client to a process's streams as the daemon's message says; return its number."""
        self._count += 1
        attach_id = str(self._count)
        where = {"attach_id": attach_id} | ({"exec_id": exec_id} if exec_id else {})
        client = Client(
            stdio,
            fd,
            streams=frozenset(stream for stream in ("stdout", "stderr") if attach.get(stream)),
            # An exec's start says itself whether there is a terminal, and may be wrong: docker-py relies on that
            framed=attach.get("framed", False) and (exec_id is not None or not stdio.tty),
            stdin=attach.get("stdin", False),
            prefix=base64.b64decode(attach.get("prefix", "")),
            detach_keys=parse(attach.get("detach_keys", "")) if stdio.tty else None,
            hold=attach.get("hold", False),
            on_detach=lambda: self._on_detach(where),
        )
        if attach.get("hold"):
            self._held[attach_id] = client
        stdio.add(client)
        return attach_id

    def release(self, attach_id: str) -> None:
        """Let a held client go on."""
        client = self._held.pop(attach_id, None)
        if client is not None:
            client.release()

    def release_all(self) -> None:
        for attach_id in list(self._held):
            self.release(attach_id)


def _header(stream: str, size: int) -> bytes:
    return struct.pack(">BxxxI", _STREAM_NUMBERS[stream], size)
