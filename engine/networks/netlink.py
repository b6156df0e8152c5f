"""Netlink sockets: requests in batches, answers checked.

A socket talks about the network namespace in which it was made, whichever thread uses it later; one made inside a
container's namespace lets the daemon configure that namespace without entering it. The kernel handles a request
within `send`, holding its own lock on all links: callers are in a worker thread, never in the event loop.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Self

_HEADER = struct.Struct("=IHHII")
_ERRNO = struct.Struct("=i")
_SEQUENCE_OFFSET = 8
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_RECEIVE_BYTES = 1 << 16


class Netlink:
    """One socket in the calling thread's network namespace. Not for use by two threads at once."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def request(self, *messages: bytes) -> None:
        """Send all messages in one system call and wait for every answer; raise the first failure.

        The kernel goes on after a failing message: the caller undoes the whole batch.
        """
        first = self._send(messages)
        failure: OSError | None = None
        for kind, sequence, body in self._answers(len(messages)):
            if kind != _NLMSG_ERROR or sequence < first:
                continue
            errno = -_ERRNO.unpack_from(body)[0]
            if errno and failure is None:
                failure = OSError(errno, f"netlink request {sequence - first + 1}: {os.strerror(errno)}")
        if failure is not None:
            raise failure

    def ask(self, message: bytes) -> bytes:
        """Return the one message that answers a question, header included."""
        self._send((message,))
        for kind, _, whole in _split(self._socket.recv(_RECEIVE_BYTES)):
            if kind == _NLMSG_ERROR:
                errno = -_ERRNO.unpack_from(whole, _HEADER.size)[0]
                raise OSError(errno, f"netlink question: {os.strerror(errno)}")
            return whole
        raise OSError("netlink question: no answer")

    def dump(self, message: bytes) -> list[bytes]:
        """Return the messages of a dump, headers included."""
        self._send((message,))
        answers: list[bytes] = []
        while True:
            data = self._socket.recv(_RECEIVE_BYTES)
            for kind, _, whole in _split(data):
                if kind == _NLMSG_DONE:
                    return answers
                if kind == _NLMSG_ERROR:
                    errno = -_ERRNO.unpack_from(whole, _HEADER.size)[0]
                    raise OSError(errno, f"netlink dump: {os.strerror(errno)}")
                answers.append(whole)

    def _send(self, messages: tuple[bytes, ...]) -> int:
        first = self._sequence + 1
        batch = bytearray()
        for message in messages:
            self._sequence += 1
            start = len(batch)
            batch += message + bytes(-len(message) % 4)
            struct.pack_into("=I", batch, start + _SEQUENCE_OFFSET, self._sequence)
        self._socket.send(batch)
        return first

    def _answers(self, count: int) -> Iterator[tuple[int, int, bytes]]:
        while count > 0:
            for kind, sequence, whole in _split(self._socket.recv(_RECEIVE_BYTES)):
                count -= kind == _NLMSG_ERROR
                yield kind, sequence, whole[_HEADER.size :]


def _split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    offset = 0
    while offset < len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, offset)
        yield kind, sequence, data[offset : offset + length]
        offset += length + -length % 4
