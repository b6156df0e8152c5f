"""Which program has a port of the host: for the message that it cannot be published. Looked for only then."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from ipaddress import ip_address

_LOCAL, _INODE = 1, 9
"""Columns of /proc/net/tcp and the like, proc(5)."""


def holder(protocol: str, host_ip: str, port: int) -> str:
    """Return the program and its process, empty where nobody can be found: it may be another namespace's."""
    wanted = ip_address(host_ip)
    inodes = {
        f"socket:[{inode}]"
        for address, inode in _bound(protocol, port)
        if ip_address(address) == wanted or wanted.is_unspecified or ip_address(address).is_unspecified
    }
    for pid in filter(str.isdecimal, os.listdir("/proc")) if inodes else ():
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") in inodes:
                    with open(f"/proc/{pid}/comm") as name:
                        return f"{name.read().strip()}, process {pid}"
    return ""


def _bound(protocol: str, port: int) -> Iterator[tuple[str, str]]:
    """Return the local addresses that have a port, with the inodes of their sockets; an IPv6 one may be for both."""
    for name in (protocol, f"{protocol}6"):
        with contextlib.suppress(OSError), open(f"/proc/thread-self/net/{name}") as table:
            next(table)
            for line in table:
                columns = line.split()
                address, _, number = columns[_LOCAL].partition(":")
                if int(number, 16) == port:
                    yield _address(address), columns[_INODE]


def _address(text: str) -> str:
    """Read an address as the kernel writes it: words in the host's order."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    return str(ip_address(b"".join(words)))
