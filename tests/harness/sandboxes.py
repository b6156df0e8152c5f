"""Stand-ins for containers' processes: sockets made inside a network namespace and used from the test.

A socket belongs to the namespace in which it was made, so one process can be server, client and host at once.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import socket
import struct
import threading
from collections.abc import Iterator

from .namespaces import NetNS
from .waiting import LIMIT_S

REFUSED, SILENT = "refused", "silent"
QUIET_S = 0.7
"""How long an answer that must not come is waited for."""


@contextlib.contextmanager
def inside(place: int | NetNS | None) -> Iterator[None]:
    """Run the calling thread in a namespace, given by a descriptor; None is where it is."""
    if place is None:
        yield
        return
    netns = place if isinstance(place, NetNS) else NetNS.__new__(NetNS)
    if isinstance(place, int):
        netns.fd = place
    with netns.entered():
        yield


def settle(name: str) -> None:
    """Make the kernel act at once on a link's having come up; what passes it before is lost (ETHTOOL_GLINK waits)."""
    answer = array.array("I", [0xA, 0])
    with socket.socket(type=socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8946, struct.pack("16sP16x", name.encode(), answer.buffer_info()[0]))


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Server:
    """Answers everybody, by TCP or UDP, with the address that they have for it."""

    def __init__(self, place: int | NetNS | None, port: int, *, kind: str = "tcp", address: str = "0.0.0.0") -> None:
        with inside(place):
            self._socket = socket.socket(_family(address), socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((address, port))
        self.heard = threading.Event()
        """Set when anybody has asked."""
        if kind == "tcp":
            self._socket.listen()
        self._thread = threading.Thread(target=self._answer_tcp if kind == "tcp" else self._answer_udp, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(LIMIT_S)
        self._socket.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer_tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, peer = self._socket.accept()
                self.heard.set()
                with client:
                    client.sendall(peer[0].encode())

    def _answer_udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, client = self._socket.recvfrom(100)
                if not data:
                    return
                self.heard.set()
                self._socket.sendto(client[0].encode(), client)


def ask(
    address: str, port: int, *, place: int | NetNS | None = None, kind: str = "tcp", timeout_s: float = LIMIT_S
) -> str:
    """What a server answers: the asker's address as the server sees it, or REFUSED, or SILENT, for which nobody need
    wait longer than `QUIET_S`.
    """
    with inside(place):
        client = socket.socket(_family(address), socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    with client:
        client.settimeout(timeout_s)
        try:
            client.connect((address, port))
            client.send(b"?")
            return client.recv(100).decode()
        except TimeoutError:
            return SILENT
        except ConnectionRefusedError:
            return REFUSED


def send(address: str, port: int, *, place: int | NetNS | None = None, source: str = "0.0.0.0") -> None:
    """Send one UDP datagram without expecting anything back."""
    with inside(place):
        client = socket.socket(type=socket.SOCK_DGRAM)
    with client:
        client.bind((source, 0))
        client.sendto(b"?", (address, port))
