"""Namespaces for the tests: a private mount namespace for the whole run, network namespaces held by a file descriptor.

A network namespace here has no name: it ends with its last process and descriptor, whatever happens to the test run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def isolate_mounts() -> None:
    """Give the calling process a mount namespace of its own: what it mounts, only its children see.

    From here on it has something to clean up, so a SIGTERM ends it as an exception does.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _check(_libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "mount")


class NetNS:
    """A network namespace with its loopback up."""

    def __init__(self) -> None:
        home_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.unshare(CLONE_NEWNET), "unshare")
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            ip("link", "set", "lo", "up")
        finally:
            _check(_libc.setns(home_fd, CLONE_NEWNET), "setns")
            os.close(home_fd)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Run the calling thread in the namespace; what it starts meanwhile lives there."""
        home_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(self.fd, CLONE_NEWNET), "setns")
            yield
        finally:
            _check(_libc.setns(home_fd, CLONE_NEWNET), "setns")
            os.close(home_fd)

    def close(self) -> None:
        os.close(self.fd)


def ip(*args: str) -> str:
    """iproute2, in the namespace that the caller is in."""
    return subprocess.run(["ip", *args], check=True, capture_output=True, text=True).stdout


def join(here: NetNS, there: NetNS, *, here_address: str, there_address: str) -> None:
    """A veth between two namespaces; ``here`` gets its default route through ``there``, not the other way round."""
    with here.entered():
        ip("link", "add", "uplink", "type", "veth", "peer", "name", "wire")
        ip("link", "set", "wire", "netns", there.path)
        ip("address", "add", here_address, "dev", "uplink")
        ip("link", "set", "uplink", "up")
    with there.entered():
        ip("address", "add", there_address, "dev", "wire")
        ip("link", "set", "wire", "up")
    with here.entered():
        ip("route", "add", "default", "via", there_address.split("/")[0])
