"""The daemon's side of the resolver: starts it when the first container needs it, and tells it who is there.

Requests are not waited for: what the resolver has not read yet waits in its socket, as a container's first query does.
Where it dies it is started again, and gets all containers anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..runtime.constants import CLONE_NEWNET
from ..runtime.linux import setns
from ..shim import protocol
from .driver import Kernel
from .network import Network
from .records import EndpointRecord, SandboxRecord
from .resolver.main import RECORDS_NAME, SOCKET_NAME

logger = logging.getLogger(__name__)

ADDRESS = "127.0.0.11"
"""Where containers find it."""
_ANSWER_LIMIT_S = 10.0
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_RECEIVE_BUFFER_BYTES = 1 << 21
"""Room for a thousand questions that come at once; the kernel counts nearly a kilobyte for each."""

Fork = Callable[[Path, int], Awaitable[None]]
"""Has the zygote fork a resolver for a directory, with the descriptor as its first connection."""

Relisten = Callable[[Collection[str]], Coroutine[Any, Any, None]]
"""Opens the sockets of these running containers again, of all for nobody, and adds them."""


@dataclass(slots=True)
class Listeners:
    """The sockets of one container's resolver, opened in its namespace, and the namespace itself."""

    udp: socket.socket
    tcp: socket.socket
    netns_fd: int

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()
        os.close(self.netns_fd)


def listen(kernel: Kernel, netns_fd: int) -> Listeners:
    """Open the sockets in a namespace, and have what goes to port 53 there come to them. In the worker.

    They are on other ports, so that a container can have a nameserver of its own on port 53.
    """
    home_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(netns_fd, CLONE_NEWNET)
        try:
            return listen_here(kernel)
        finally:
            setns(home_fd, CLONE_NEWNET)
    finally:
        os.close(home_fd)


def listen_here(kernel: Kernel) -> Listeners:
    """Do so in the namespace that the calling thread is in."""
    opened = Listeners(
        socket.socket(type=socket.SOCK_DGRAM | socket.SOCK_CLOEXEC),
        socket.socket(type=socket.SOCK_STREAM | socket.SOCK_CLOEXEC),
        os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC),
    )
    try:
        opened.udp.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
        opened.udp.bind((ADDRESS, 0))
        opened.tcp.bind((ADDRESS, 0))
        opened.tcp.listen(64)
        kernel.redirect(ADDRESS, udp=opened.udp.getsockname()[1], tcp=opened.tcp.getsockname()[1])
    except BaseException:
        opened.close()
        raise
    return opened


class Names:
    """Used from the event loop's thread."""

    def __init__(self, directory: Path, fork: Fork, relisten: Relisten) -> None:
        self._directory, self._fork, self._relisten = directory, fork, relisten
        self._connection: socket.socket | None = None
        self._starting = asyncio.Lock()
        self._restarting: asyncio.Task[None] | None = None
        self._written = b""

    async def restore(self, ids: Collection[str]) -> None:
        """Find the resolver of an earlier daemon; have it know exactly these containers."""
        try:
            connection = protocol.connect(str(self._directory), SOCKET_NAME)
        except OSError:
            if ids:
                await self._relisten(ids)
            return
        self._use(connection)
        asyncio.get_running_loop().remove_reader(connection.fileno())
        await self._send({"op": "keep", "ids": list(ids)})
        known = await self._answer(connection)
        self._use(connection)
        missing = [container_id for container_id in ids if container_id not in known]
        if missing:
            await self._relisten(missing)

    async def add(self, container_id: str, listeners: Listeners) -> None:
        """Have a container's queries answered; the sockets are the resolver's afterwards."""
        try:
            await self._connected()
            fds = {"udp": listeners.udp.fileno(), "tcp": listeners.tcp.fileno(), "netns": listeners.netns_fd}
            await self._send({"op": "add", "id": container_id}, fds)
        finally:
            listeners.close()

    async def remove(self, container_id: str) -> None:
        if self._connection is not None:
            await self._send({"op": "remove", "id": container_id})

    def write(self, networks: Mapping[str, Network], sandboxes: Iterable[SandboxRecord]) -> None:
        """Replace what the resolver knows, where that has changed."""
        records = msgspec.json.encode(_records(networks, sandboxes))
        if records == self._written:
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._directory / f"{RECORDS_NAME}.new"
        temporary.write_bytes(records)
        temporary.rename(self._directory / RECORDS_NAME)
        self._written = records

    async def close(self, *, is_idle: bool) -> None:
        """Let go of it; one that nobody needs ends."""
        if self._restarting is not None:
            self._restarting.cancel()
        if self._connection is None:
            return
        if is_idle:
            await self._send({"op": "stop"})
        self._drop()

    async def _connected(self) -> None:
        async with self._starting:
            if self._connection is None:
                self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    await self._fork(self._directory, theirs.fileno())
                self._use(ours)

    def _use(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection
        asyncio.get_running_loop().add_reader(connection.fileno(), self._readable)

    def _drop(self) -> None:
        if self._connection is not None:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._connection.close()
            self._connection = None

    def _readable(self) -> None:
        """It only ever answers; what else can be read is its end."""
        assert self._connection is not None
        try:
            if protocol.receive(self._connection) is not None:
                return
        except BlockingIOError:
            return
        self._drop()
        logger.warning("the resolver has died, starting another one")
        self._restarting = asyncio.get_running_loop().create_task(self._relisten(()), name="resolver")

    async def _send(self, message: Mapping[str, Any], fds: Mapping[str, int] | None = None) -> None:
        for _ in range(1000):
            if self._connection is None:
                return
            try:
                protocol.send(self._connection, {"seq": 0, **message}, fds)
                return
            except BlockingIOError:
                await asyncio.sleep(0.005)  # it has much to do; a socketpair tells nobody when there is room again
            except OSError as error:
                logger.warning("the resolver does not listen: %s", error)
                return
        logger.error("the resolver does not read")

    @staticmethod
    async def _answer(connection: socket.socket) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def set_ready() -> None:
            if not ready.done():
                ready.set_result(None)

        loop.add_reader(connection.fileno(), set_ready)
        try:
            await asyncio.wait_for(ready, _ANSWER_LIMIT_S)
        finally:
            loop.remove_reader(connection.fileno())
        received = protocol.receive(connection)
        if received is None:
            return ()
        message, fds = received
        fds.close()
        known: list[str] = message.get("result") or []
        return known


def needs_names(record: SandboxRecord) -> bool:
    """Whether a container has the resolver: those on networks that users made."""
    return any(endpoint.dns_names for endpoint in record.endpoints)


def _records(networks: Mapping[str, Network], sandboxes: Iterable[SandboxRecord]) -> dict[str, Any]:
    """Return what `resolver.names` reads."""
    named = [record for record in sandboxes if needs_names(record)]
    used = {endpoint.network_id for record in named for endpoint in record.endpoints if endpoint.dns_names}
    return {
        "networks": {
            id: {
                "name": networks[id].record.name,
                "endpoints": [_endpoint(one) for one in networks[id].endpoints.values()],
            }
            for id in used
            if id in networks
        },
        "containers": {record.container_id: _container(record) for record in named},
    }


def _endpoint(endpoint: EndpointRecord) -> dict[str, Any]:
    return {"names": endpoint.dns_names, "ipv4": endpoint.ip_address, "ipv6": endpoint.ipv6_address}


def _container(record: SandboxRecord) -> dict[str, Any]:
    endpoints = [endpoint for endpoint in record.endpoints if endpoint.dns_names]
    # The host's nameservers are not for those who must not reach the outside.
    is_outside = any(endpoint.gateway or endpoint.ipv6_gateway for endpoint in record.endpoints)
    return {
        "networks": [endpoint.network_id for endpoint in endpoints],
        "links": {endpoint.network_id: dict(endpoint.links) for endpoint in endpoints if endpoint.links},
        "servers": [[address, is_host] for address, is_host in record.servers if is_outside or not is_host],
        "ndots": record.ndots,
    }
