"""The daemon's client of the zygote: starts it, asks it for shims, and starts another one where it died.

Used by `Supervisor` alone. A shim's answer, or why there is none, comes by the descriptor that it was given.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import Internal, Unavailable
from ..shim import protocol

STOP_LIMIT_S = 5.0
ZYGOTE_ENVIRONMENT = {
    # glibc keeps what a shim used for one big read for the next one; a shim is to give it back
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_TOP_PAD_": "0",
    # What the linker would write at a function's first call would be each shim's own
    "LD_BIND_NOW": "1",
}


class ForkServer:
    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._connection: socket.socket | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        await self._connected()

    async def stop(self) -> None:
        """End it by closing its connection, as the daemon's death would."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        process, self._process = self._process, None
        if process is None:
            return
        try:
            await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def fork_shim(self, bundle: Path, control_fd: int) -> None:
        """Ask for a shim that has `control_fd` for its first connection."""
        await self._ask({"bundle": str(bundle)}, control_fd)

    async def fork_resolver(self, directory: Path, control_fd: int) -> None:
        """Ask for a resolver that has `control_fd` for its first connection."""
        await self._ask({"resolver": str(directory)}, control_fd)

    async def make_namespace(self, mapping: Mapping[str, Any]) -> int:
        """Return a network namespace in a user namespace of its own with this mapping."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            ours.setblocking(False)
            with theirs:
                await self._ask({"namespace": mapping}, theirs.fileno())
            async with asyncio.timeout(STOP_LIMIT_S):
                await _readable(ours)
            received = protocol.receive(ours)
        if received is None:
            raise Unavailable("the zygote has died")
        message, fds = received
        if "error" in message:
            raise Internal(f"making a user namespace failed: {message['error']['message']}")
        return fds.steal("netns")

    async def _ask(self, message: Mapping[str, Any], control_fd: int) -> None:
        try:
            protocol.send(await self._connected(), message, {"control": control_fd})
        except OSError as failure:
            raise Unavailable("the zygote has died") from failure

    def is_dead(self) -> bool:
        """Whether it has ended; it never says anything, so the end is all that can be read."""
        if self._connection is None:
            return True
        try:
            return not self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    async def _connected(self) -> socket.socket:
        async with self._starting:
            if self._connection is None or self.is_dead():
                await self.stop()
                self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._process = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-I", "-m", "lightship.engine.supervisor.zygote", str(theirs.fileno())),
                        stdin=asyncio.subprocess.DEVNULL,
                        pass_fds=(theirs.fileno(),),
                        env={**os.environ, **ZYGOTE_ENVIRONMENT},
                    )
            return self._connection


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection.fileno())
