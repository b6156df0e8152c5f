"""Network namespaces: making them, joining those of containers, and configuring them from outside.

A namespace lives by file descriptors alone, so the daemon's death ends what no container has yet. The shim gets the
descriptor, and keeps it for as long as the container runs.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..errors import Internal
from ..runtime.constants import CLONE_NEWNET
from ..runtime.linux import setns, unshare
from . import messages
from .netlink import Netlink

_LOOPBACK_INDEX = 1
_INDEX = struct.Struct("=i")
_INDEX_OFFSET = 16 + 4  # nlmsghdr, then ifinfomsg: family and type come before the index
_IPV6_SETTINGS = "/proc/sys/net/ipv6/conf"


T = TypeVar("T")


@dataclass(slots=True)
class Namespace:
    """A network namespace with its loopback up, which the caller owns."""

    netns_fd: int
    netlink: Netlink
    """A socket inside the namespace."""
    ipv6_settings_fd: int
    """The namespace's own `net/ipv6/conf`: settings by it are the namespace's, whichever thread writes. -1: no IPv6."""
    next_index: int
    """The index that the next link made in it gets; 0 in a container that runs, which may make links of its own."""

    def steal_fd(self) -> int:
        """Hand the namespace itself on, giving up everything else that holds it."""
        netns_fd, self.netns_fd = self.netns_fd, -1
        self.close()
        return netns_fd

    def take_index(self, interface: str) -> int:
        """Return the index of the link that was just made in it."""
        if self.next_index:
            self.next_index += 1
            return self.next_index - 1
        return self.index_of(interface)

    def index_of(self, interface: str) -> int:
        index: int = _INDEX.unpack_from(self.netlink.ask(messages.get_link(interface)), _INDEX_OFFSET)[0]
        return index

    def set_ipv6(self, interface: str, *, is_on: bool) -> None:
        """As dockerd: on networks without IPv6 not even a link-local address. Loopback keeps `::1`."""
        if self.ipv6_settings_fd < 0:
            return
        if is_on:
            # Its addresses are given out here: nobody else has them, and nobody need be asked for two seconds.
            self._set(f"{interface}/accept_dad", b"0")
        self._set(f"{interface}/disable_ipv6", b"0" if is_on else b"1")

    def _set(self, setting: str, value: bytes) -> None:
        setting_fd = os.open(setting, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.ipv6_settings_fd)
        try:
            os.write(setting_fd, value)
        finally:
            os.close(setting_fd)

    def close(self) -> None:
        self.netlink.close()
        for fd in (self.netns_fd, self.ipv6_settings_fd):
            if fd >= 0:
                os.close(fd)
        self.netns_fd = self.ipv6_settings_fd = -1


def make_namespace() -> Namespace:
    """Move the calling thread into a new namespace and return it; the thread must end afterwards."""
    unshare(CLONE_NEWNET)
    return _new()


def adopt_namespace(netns_fd: int) -> Namespace:
    """Move the calling thread into a namespace that somebody has just made; the thread must end afterwards."""
    try:
        setns(netns_fd, CLONE_NEWNET)
    finally:
        os.close(netns_fd)
    return _new()


def _new() -> Namespace:
    namespace = _here()
    try:
        # Modules such as ipip put links of their own into every namespace.
        namespace.next_index = 1 + max(index for index, _ in socket.if_nameindex())
        namespace.netlink.request(messages.set_link(_LOOPBACK_INDEX, up=True))
    except BaseException:
        namespace.close()
        raise
    return namespace


def join_namespace(path: str) -> Namespace:
    """Move the calling thread into a container's namespace and return it; the thread must end afterwards."""
    netns_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(netns_fd, CLONE_NEWNET)
    finally:
        os.close(netns_fd)
    return _here()


def _here() -> Namespace:
    netns_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    namespace = Namespace(netns_fd, Netlink(), -1, 0)
    if os.path.isdir(_IPV6_SETTINGS):
        namespace.ipv6_settings_fd = os.open(_IPV6_SETTINGS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return namespace


async def of_process(pid: int) -> Namespace:
    """Return the namespace of a running container, which the caller owns."""
    try:
        return await in_own_thread(lambda: join_namespace(f"/proc/{pid}/ns/net"))
    except OSError as error:
        raise Internal(f"entering the network namespace of process {pid} failed: {error}") from error


async def in_own_thread(work: Callable[[], T], *, discard: Callable[[T], None] | None = None) -> T:
    """Do something in a thread that ends afterwards, so that it may change its namespaces.

    Where the caller is cancelled meanwhile, `discard` gets the result.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def deliver(result: list[T], error: BaseException | None) -> None:
        if error is None and not done.cancelled():
            done.set_result(result[0])
        elif error is not None and not done.cancelled():
            done.set_exception(error)
        elif error is None and discard is not None:
            discard(result[0])

    def run() -> None:
        result: list[T] = []
        error = None
        try:
            result.append(work())
        except BaseException as caught:
            error = caught
        loop.call_soon_threadsafe(deliver, result, error)

    threading.Thread(target=run, name="netns", daemon=True).start()
    try:
        return await done
    except asyncio.CancelledError:
        if not done.cancelled() and done.exception() is None and discard is not None:
            discard(done.result())
        raise
