"""The daemon's handle on one task: requests to its shim, and the shim's events.

Used by the containers service, made by `supervisor.Supervisor`. Events are handed to the listener one after another,
and each is acknowledged when the listener has returned: the shim closes an exec's client only then. A connection that
ends is made again; where nobody listens any more, the shim has ended or was killed, which is told as the task's exit.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..errors import Conflict, Error, NotFound, Unavailable
from ..runtime.errors import RuntimeFailure
from . import protocol
from .connection import REQUEST_LIMIT_S, Connection
from .messages import (
    Attach,
    Attached,
    Event,
    ExecExited,
    Exited,
    Restart,
    Started,
    TaskRequest,
    TaskState,
    event,
    is_end,
)
from .oci import runtime_of
from .server import SOCKET_NAME

logger = logging.getLogger(__name__)

CREATE_LIMIT_S = 120.0
SHIM_KILLED_EXIT_CODE = 137
MAX_DIRECT_FDS = 64
"""Of a container with more published ports, the descriptors come packed: a message has room for some."""

Listener = Callable[["Task", Event], Awaitable[None]]


class Task:
    """A container's running form, in the care of its shim."""

    def __init__(
        self, id: str, bundle: Path, connection: socket.socket, *, exit_path: Path, listener: Listener
    ) -> None:
        self.id = id
        self.bundle = bundle
        self.pid = 0
        self.shim_pid = 0
        self.is_lost = False
        """The shim was killed, and can restart nothing."""
        self._exit_path = exit_path
        self._listener = listener
        self._told: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._exited = False
        self._watched = False
        self._listening = asyncio.Event()
        self._exit_ack: int | None = None
        self._ended = asyncio.Event()
        self._connection = Connection(id, connection, on_event=self._told_by_shim)
        self._delivery = asyncio.get_running_loop().create_task(self._deliver(), name=f"task {id[:12]}")

    # Requests

    async def create(self, request: TaskRequest) -> int:
        """Create the container, and start it if the request says so; return when it started, else 0."""
        clients = {f"client{number}": fd for number, (fd, _) in enumerate(request.clients)}
        fds = request.fds | clients
        attach = [how.message() | {"fd": f"client{number}"} for number, (_, how) in enumerate(request.clients)]
        fields = {
            "id": request.id,
            "exit_path": str(self._exit_path),
            "tty": bool(request.spec["process"].get("terminal")),
            "log": msgspec.to_builtins(request.log),
            "restart": msgspec.to_builtins(request.restart),
            "health": msgspec.to_builtins(request.health),
            "open_stdin": request.open_stdin,
            "stdin_once": request.stdin_once,
            "attach": attach,
            "start": request.start,
            "proxied": request.proxied,
        }
        with contextlib.ExitStack() as stack:
            if len(request.fds) > MAX_DIRECT_FDS:
                packed = stack.enter_context(protocol.pack(request.fds))
                fds = {protocol.PACKED: packed.fileno()} | clients
            result = await self._connection.request("create", fields, fds, limit_s=CREATE_LIMIT_S)
        self.pid, self.shim_pid = result["pid"], result["shim_pid"]
        self._watched = True
        self._listening.set()
        started_ns: int = result.get("started_ns", 0)
        return started_ns

    async def start(self) -> int:
        """Execute the container's program; return when."""
        try:
            result = await self._connection.request("start", {}, limit_s=CREATE_LIMIT_S)
        except Unavailable:
            raise
        except Error:
            self._watched = False  # the shim undoes everything, and its end is no exit
            raise
        started_ns: int = result["started_ns"]
        return started_ns

    async def kill(
        self,
        number: int,
        *,
        exec_id: str | None = None,
        all_processes: bool = False,
        by_user: bool = False,
        final: bool = False,
    ) -> None:
        """Send a signal; `by_user` remembers a manual stop, `final` keeps the restart policy from striking."""
        fields = {"signal": number, "all": all_processes, "by_user": by_user, "final": final}
        await self._connection.request("kill", fields | _of(exec_id))

    async def pause(self) -> None:
        await self._connection.request("pause", {})

    async def resume(self) -> None:
        await self._connection.request("resume", {})

    async def resize(self, *, height: int, width: int, exec_id: str | None = None) -> None:
        await self._connection.request("resize", {"height": height, "width": width} | _of(exec_id))

    async def pids(self) -> list[int]:
        pids: list[int] = (await self._connection.request("pids", {}))["pids"]
        return pids

    async def stats(self) -> dict[str, Any]:
        """Return the cgroup's raw numbers, as `engine.runtime.cgroups` names them."""
        stats: dict[str, Any] = (await self._connection.request("stats", {}))["stats"]
        return stats

    async def update(self, resources: Mapping[str, Any]) -> None:
        """Apply an OCI linux.resources object."""
        await self._connection.request("update", {"resources": resources})

    async def set_restart(self, policy: Restart) -> None:
        """Change what the next exits lead to."""
        await self._connection.request("update", {"restart": msgspec.to_builtins(policy)})

    async def proxy(self, targets: Mapping[str, tuple[str, int]]) -> None:
        """Say where published ports lead now that the shim serves itself."""
        await self._connection.request("proxy", {"proxied": targets})

    async def attach(self, client_fd: int, how: Attach) -> Attached:
        """Hand a client's connection over; the caller closes its own descriptor then."""
        result = await self._connection.request("attach", how.message(), {"client": client_fd})
        return msgspec.convert(result, Attached)

    async def attach_release(self, attach_id: str) -> None:
        await self._connection.request("attach_release", {"attach_id": attach_id})

    async def exec(
        self,
        exec_id: str,
        process: Mapping[str, Any],
        *,
        open_stdin: bool = False,
        seccomp: str | None = None,
        client: tuple[int, Attach] | None = None,
    ) -> int:
        """Run an OCI process object in the container; return its pid.

        `client` is the connection of who started it; where this raises, it is untouched and still the caller's.
        """
        fields = {"exec_id": exec_id, "process": process, "open_stdin": open_stdin, "seccomp": seccomp}
        fields["attach"] = client[1].message() if client else None
        result = await self._connection.request(
            "exec", fields, {"client": client[0]} if client else {}, limit_s=CREATE_LIMIT_S
        )
        pid: int = result["pid"]
        return pid

    async def state(self) -> TaskState:
        return msgspec.convert(await self._connection.request("state", {}), TaskState)

    async def delete(self) -> None:
        """Wait until the shim has removed the container's cgroup and state; kill what still runs.

        May be called by the listener of the exit, which is acknowledged then.
        """
        self._listening.set()
        if not self._exited and not self._ended.is_set():
            try:
                await self.kill(signal.SIGKILL, final=True)
                await self.resume()
            except (Conflict, NotFound, Unavailable):
                pass  # it was not paused, or came to its end by itself
        if self._exit_ack is not None:
            await self._acknowledge(self._exit_ack)
        try:
            async with asyncio.timeout(REQUEST_LIMIT_S):
                await self._ended.wait()
        except TimeoutError:
            raise Unavailable(f"task {self.id}: the shim does not end") from None

    async def adopt(self) -> TaskState:
        """Take on a task that another daemon created."""
        state = await self.state()
        self.pid, self.shim_pid = state.pid, state.shim_pid
        self._watched = True
        return state

    async def listen(self) -> None:
        """Take what happens from now on to the listener; return when it has dealt with all that happened before."""
        self._listening.set()
        try:
            await self._connection.request("listen", {})
        except Unavailable:
            return  # its end is an event too
        await self._told.join()

    async def close(self) -> None:
        """Let go of the task; it runs on."""
        self._watched = False
        self._connection.drop()
        self._delivery.cancel()
        await asyncio.gather(self._delivery, return_exceptions=True)

    # What the shim says

    def _told_by_shim(self, message: dict[str, Any] | None) -> None:
        if message is None:
            if self._exited or not self._watched:
                self._ended.set()
        elif is_end(message):
            self._exited, self._exit_ack = True, message["ack"]
        self._told.put_nowait(message)

    async def _deliver(self) -> None:
        """Pass events to the listener, in order; the task's only background work, ends with the shim."""
        await self._listening.wait()
        while True:
            message = await self._told.get()
            try:
                if message is not None:
                    await self._take(message)
                elif not await self._reconnect():
                    break
            finally:
                self._told.task_done()
        if self.shim_pid:
            await asyncio.to_thread(_reap, self.shim_pid)
        if self._watched and not self._exited:
            await self._lost()

    async def _take(self, message: dict[str, Any]) -> None:
        told = event(message)
        if isinstance(told, Started):
            self.pid = told.pid
        await self._listen(told)
        if "ack" in message:
            await self._acknowledge(message["ack"])

    async def _acknowledge(self, ack: int) -> None:
        try:
            await self._connection.send({"op": "ack", "ack": ack})
        except OSError:
            pass  # the shim's end is the next thing in the queue

    async def _listen(self, told: Event) -> None:
        try:
            await self._listener(self, told)
        except Exception:
            logger.exception("%s: could not deal with %s", self.id, told)

    async def _reconnect(self) -> bool:
        """Connect anew to a shim that dropped us, and make up for what we missed."""
        if self._exited or not self._watched:
            return False
        try:
            self._connection.set(protocol.connect(str(self.bundle), SOCKET_NAME))
            state = await self.state()
            await self._connection.request("listen", {})
        except (OSError, Error):
            return False
        for exec_id, executed in state.execs.items():
            if executed.exit_code is not None:
                await self._listen(ExecExited(exec_id, executed.exit_code, executed.exited_ns))
        return True

    async def _lost(self) -> None:
        """The shim is gone and has not told an exit: take the exit record, or kill what it left behind."""
        events = read_end(self._exit_path)
        if not events:
            logger.error("%s: the shim was killed", self.id)
            self.is_lost = True
            await asyncio.to_thread(kill_leftovers, self.bundle)
            events = [Exited(SHIM_KILLED_EXIT_CODE, time.time_ns(), oom=False)]
        self._exited = True
        self._ended.set()
        for told in events:
            await self._listen(told)


def read_end(path: Path, *, since_ns: int = 0) -> list[Event]:
    """Return what no daemon has noted of a task that has ended, its end last; nothing where it is not known to have.

    A record from before `since_ns` has come back after a power cut, and says nothing.
    """
    try:
        state = msgspec.json.decode(path.read_bytes(), type=TaskState)
    except FileNotFoundError:
        return []
    if state.status != "exited" or state.exited_ns < since_ns:
        return []
    end = Exited(state.exit_code or 0, state.exited_ns, state.oom, state.started_ns, restart_count=state.restart_count)
    return [event(message) for message in state.untold] or [end]


def kill_leftovers(bundle: Path) -> None:
    """Kill and remove what a dead shim left of its container."""
    try:
        runtime_of(str(bundle)).delete(str(bundle), force=True)
    except (RuntimeFailure, OSError):
        logger.exception("%s: could not remove what the shim left", bundle.name)


def _reap(shim_pid: int) -> None:
    """Collect a shim that came to us as the first process of a pid namespace, when its zygote was gone."""
    try:
        os.waitpid(shim_pid, 0)
    except ChildProcessError:
        pass


def _of(exec_id: str | None) -> dict[str, str]:
    return {"exec_id": exec_id} if exec_id else {}
