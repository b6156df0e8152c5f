"""The sender of a container's log: a process beside the shim that brings records to a server, for as long as it takes.

Run by `relay.py` in a child. Records wait in a buffer of limited size; where it is full, reading stops in mode
"blocking", and new records are dropped in "non-blocking". A lost connection is made again and again. When the
container has ended, what waits is sent, but not for ever. What a record looks like is the drivers' (`syslog.py`,
`journald.py`, `gelf.py`, `fluentd.py`): `encoder(fields)` returns a function from a record to messages.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque

from .relay import HEADER, PIECE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

    Partial = tuple[str, int, bool]
    Encode = Callable[[str, bytes, int, Partial | None], list[bytes]]

CONNECT_LIMIT_S = 3.0
FLUSH_LIMIT_S = 2.0
MAX_RETRY_S = 30.0
ACK_BYTES = 24
"""How long the word is that a server acknowledges a message by; it is the message's end."""

STREAMS = {1: "stdout", 2: "stderr"}


def run(records: socket.socket, remote: dict[str, Any]) -> None:
    """Connect, say so, and serve until the other end is closed."""
    sender = Sender(records, remote, _encoder(remote))
    try:
        sender.prepare_tls()
        sender.connect()
    except OSError as failure:
        if remote["required"]:
            records.send(_worded(remote, failure).encode())
            return
    records.send(b"ready")
    sender.serve()


def _encoder(remote: dict[str, Any]) -> Encode:
    if remote["driver"] == "syslog":
        from .syslog import encoder
    elif remote["driver"] == "journald":
        from .journald import encoder
    elif remote["driver"] == "gelf":
        from .gelf import encoder
    else:
        from .fluentd import encoder
    return encoder(remote["fields"])


def _worded(remote: dict[str, Any], failure: OSError) -> str:
    """Say it as Go's dialer does."""
    if failure.filename:
        reason = os.strerror(failure.errno or 0).lower()
        return f"{remote['prefix']}could not read certificate: open {failure.filename}: {reason}"
    if message := getattr(failure, "verify_message", ""):
        return f"{remote['prefix']}tls: failed to verify certificate: x509: {message}"
    where = remote["address"] if isinstance(remote["address"], str) else ":".join(map(str, remote["address"]))
    if isinstance(failure, socket.gaierror):
        return f"{remote['prefix']}dial {remote['network']}: lookup {remote['address'][0]}: no such host"
    if isinstance(failure, TimeoutError):
        return f"{remote['prefix']}dial {remote['network']} {where}: i/o timeout"
    if getattr(failure, "library", None):
        return f"{remote['prefix']}tls: {failure.strerror}"
    reason = os.strerror(failure.errno or 0)
    return f"{remote['prefix']}dial {remote['network']} {where}: connect: {reason[:1].lower()}{reason[1:]}"


def _is_for_later(failure: OSError) -> bool:
    """Would it have had to wait? TLS says so in words of its own."""
    return isinstance(failure, BlockingIOError) or type(failure).__name__ in ("SSLWantReadError", "SSLWantWriteError")


class Sender:
    def __init__(self, records: socket.socket, remote: dict[str, Any], encode: Encode) -> None:
        self._records, self._encode = records, encode
        self._network, self._address = remote["network"], remote["address"]
        self._is_stream = self._network in ("tcp", "unix")
        self._tls: dict[str, Any] | None = remote["tls"]
        self._context: ssl.SSLContext | None = None
        self._wants_acks: bool = remote["acknowledged"]
        self._ack_limit_s: float = remote["ack_limit_s"]
        self._awaited = b""
        self._answer = b""
        self._ack_until = 0.0
        self._max_bytes: int = remote["buffer_bytes"]
        self._blocking: bool = remote["blocking"]
        self._first_retry_s: float = remote["retry_s"]
        self._max_retries: int = remote["max_retries"]
        self._server: socket.socket | None = None
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._sent = 0
        self._failures = 0
        self._retry_at = 0.0
        self._at_end = False
        self._partials: dict[str, tuple[str, int]] = {}

    def prepare_tls(self) -> None:
        """Read the certificates, once; the module is loaded by those alone who need it."""
        if self._tls is None:
            return
        import ssl

        self._context = context = ssl.create_default_context()
        for path in (self._tls["ca"], self._tls["cert"], self._tls["key"]):
            if path:
                with open(path, "rb"):
                    pass  # so that the error names the file
        if self._tls["ca"]:
            context.load_verify_locations(self._tls["ca"])
        if self._tls["cert"]:
            context.load_cert_chain(self._tls["cert"], self._tls["key"] or None)
        if not self._tls["verified"]:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE

    def connect(self) -> None:
        kind = socket.SOCK_STREAM if self._is_stream else socket.SOCK_DGRAM
        address: Any = self._address
        family = socket.AF_UNIX
        if not isinstance(address, str):
            host, port = address
            family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
        server = socket.socket(family, kind)
        server.settimeout(CONNECT_LIMIT_S)
        try:
            server.connect(address)
            if self._context is not None:
                server = self._context.wrap_socket(server, server_hostname=self._address[0])
        except BaseException:
            server.close()
            raise
        server.setblocking(False)
        self._server, self._sent, self._failures = server, 0, 0
        self._awaited = self._answer = b""

    def serve(self) -> None:
        """Bring on what comes, until the end of the log and of what waits, or of the time for that."""
        give_up_at = 0.0
        while not self._at_end or self._messages:
            has_room = not (self._blocking and self._size >= self._max_bytes)
            poll = select.poll()
            if not self._at_end and (has_room or not give_up_at):
                # Without room only the end of the container is of interest
                poll.register(self._records, select.POLLIN if has_room else 0)
            if self._server is not None and self._messages:
                poll.register(self._server, select.POLLIN if self._awaited else select.POLLOUT)
            events = dict(poll.poll(self._wait_ms(give_up_at))).get(self._records.fileno(), 0)
            if events & select.POLLIN:
                self._receive()
            if (events & select.POLLHUP or self._at_end) and not give_up_at:
                give_up_at = time.monotonic() + FLUSH_LIMIT_S
            if give_up_at and time.monotonic() >= give_up_at:
                return
            if self._server is None and self._messages and time.monotonic() >= self._retry_at:
                self._reconnect()
            if self._server is not None:
                self._send()

    def _wait_ms(self, give_up_at: float) -> float | None:
        """How long nothing may happen: until the next attempt, or the end."""
        until = [give_up_at] if give_up_at else []
        if self._server is None and self._messages:
            until.append(self._retry_at)
        if self._awaited and self._ack_limit_s:
            until.append(self._ack_until)
        return max(0.0, min(until) - time.monotonic()) * 1000 + 1 if until else None

    def _receive(self) -> None:
        """Take a piece of the log."""
        piece = self._records.recv(HEADER.size + PIECE_BYTES)
        if not piece:
            self._at_end = True
            return
        number, is_end, time_ns = HEADER.unpack_from(piece)
        stream, text = STREAMS[number], piece[HEADER.size :]
        *lines, rest = text.split(b"\n")
        for line in lines:
            self._queue(stream, line, time_ns, is_last=True)
        if rest:
            self._queue(stream, rest, time_ns, is_last=bool(is_end))

    def _queue(self, stream: str, line: bytes, time_ns: int, *, is_last: bool) -> None:
        if self._size >= self._max_bytes and not self._blocking:
            return
        for message in self._encode(stream, line, time_ns, self._partial(stream, is_last=is_last)):
            self._messages.append(message)
            self._size += len(message)

    def _partial(self, stream: str, *, is_last: bool) -> Partial | None:
        """Say which piece of a long line this is: the line's id, the piece's number from 1 on, if it is the last."""
        known = self._partials.pop(stream, None)
        if known is None and is_last:
            return None
        line_id, ordinal = known or (os.urandom(32).hex(), 0)
        if not is_last:
            self._partials[stream] = line_id, ordinal + 1
        return line_id, ordinal + 1, is_last

    def _send(self) -> None:
        server = self._server
        assert server is not None
        try:
            while self._messages and self._is_acknowledged(server):
                message = self._messages[0]
                # Of TLS sockets no flags can be asked; SIGPIPE is ignored.
                flags = 0 if self._context is not None else socket.MSG_NOSIGNAL
                self._sent += server.send(message[self._sent :] if self._is_stream else message, flags)
                if self._is_stream and self._sent < len(message):
                    continue
                if self._wants_acks:
                    self._awaited, self._ack_until = message[-ACK_BYTES:], time.monotonic() + self._ack_limit_s
                else:
                    self._drop_first()
        except OSError as failure:
            if _is_for_later(failure):
                return
            if not self._is_stream:
                self._drop_first()  # as lost as any datagram; the next may be taken
            server.close()
            self._awaited = b""
            self._server, self._retry_at = None, time.monotonic() + self._first_retry_s

    def _is_acknowledged(self, server: socket.socket) -> bool:
        """Has the server taken the last message? What it does not acknowledge in time is sent again."""
        if not self._awaited:
            return True
        if self._ack_limit_s and time.monotonic() >= self._ack_until:
            raise TimeoutError
        answer = server.recv(PIECE_BYTES)
        if not answer:
            raise ConnectionResetError
        self._answer += answer
        if self._awaited not in self._answer:
            return False
        self._awaited = self._answer = b""
        self._drop_first()
        return bool(self._messages)

    def _drop_first(self) -> None:
        self._size -= len(self._messages.popleft())
        self._sent = 0

    def _reconnect(self) -> None:
        try:
            self.connect()
        except OSError:
            self._failures += 1
            if self._failures > self._max_retries:
                self._messages.clear()
                self._size = 0
            delay_s = min(self._first_retry_s * 1.5 ** min(self._failures, 20), MAX_RETRY_S)
            self._retry_at = time.monotonic() + delay_s
