"""The daemon's handle on all tasks: makes shims through the zygote, finds those of an earlier daemon, keeps bundles.

One per daemon, used by the containers service. A bundle is `<tasks dir>/<id>`: config.json, the empty rootfs, the
shim's socket and the runtime's state; it is made with the task and removed by `delete`. A task's exit record is
`<containers dir>/<id>/exit.json`, written by the shim before it tells anyone.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..errors import AlreadyExists, Error, Unavailable
from ..shim import oci, protocol
from ..shim.client import Listener, Task, kill_leftovers, read_end
from ..shim.messages import Event, Exited, TaskRequest, TaskState
from ..shim.server import SOCKET_NAME
from .forkserver import ForkServer

logger = logging.getLogger(__name__)

UNKNOWN_EXIT_CODE = 255
"""What dockerd reports of a container that ended with nobody there to see it."""


class Supervisor:
    """Used from the event loop's thread alone."""

    def __init__(self, tasks_dir: Path, containers_dir: Path) -> None:
        self._tasks_dir = tasks_dir
        self._containers_dir = containers_dir
        self._tasks: dict[str, Task] = {}
        self._zygote = ForkServer()
        self._listener: Listener = _ignore

    def listen(self, listener: Listener) -> None:
        """Have `listener(task, event)` called for all events; to be done before tasks are loaded or created."""
        self._listener = listener

    async def start(self) -> None:
        self._tasks_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        await self._zygote.start()

    async def stop(self) -> None:
        """End the zygote and let go of all tasks, which run on."""
        for task in list(self._tasks.values()):
            await task.close()
        self._tasks.clear()
        await self._zygote.stop()

    async def fork_resolver(self, directory: Path, control_fd: int) -> None:
        """Make a resolver, which outlives us as shims do."""
        await self._zygote.fork_resolver(directory, control_fd)

    async def make_namespace(self, mapping: Mapping[str, Any]) -> int:
        """Return a network namespace in a user namespace of its own with this mapping."""
        return await self._zygote.make_namespace(mapping)

    def get(self, id: str) -> Task | None:
        return self._tasks.get(id)

    async def load(self, *, rebooted: bool = False) -> dict[str, tuple[Task, TaskState]]:
        """Connect to the shims that an earlier daemon left; clear away what is left of those that are gone.

        After a reboot no bundle says anything: pids and cgroups in it may be anybody's.
        """
        bundles = sorted(self._tasks_dir.iterdir())
        if rebooted:
            for bundle in bundles:
                _remove(bundle)
            return {}
        found = await asyncio.gather(*(self._load(bundle) for bundle in bundles))
        return {task[0].id: task for task in found if task is not None}

    def end_of(self, id: str, *, since_ns: int = 0) -> list[Event]:
        """Return what happened last to a task that ran since then and was not loaded, its end last."""
        return read_end(self._exit_path(id), since_ns=since_ns) or [Exited(UNKNOWN_EXIT_CODE, exited_ns=0, oom=False)]

    async def create_task(self, request: TaskRequest, *, listener: Listener | None = None) -> tuple[Task, int]:
        """Make the bundle, a shim and the container; return the task and when it started, 0 if it was only created.

        `listener` is told of this task in place of the one for all. On failure nothing is left.
        """
        bundle = self._tasks_dir / request.id
        try:
            bundle.mkdir(mode=0o711)
        except FileExistsError:
            raise AlreadyExists(f"task {request.id} exists already") from None
        try:
            (bundle / "rootfs").mkdir()
            (bundle / "config.json").write_bytes(msgspec.json.encode(request.spec))
            if request.runtime is not None:
                (bundle / oci.DIRECTORY).mkdir(mode=0o700)
                (bundle / oci.DIRECTORY / "runtime.json").write_bytes(msgspec.json.encode(request.runtime))
            (bundle / "task.json").write_bytes(msgspec.json.encode(_task_of(request)))
            try:
                return await self._create(request, bundle, listener)
            except Unavailable:
                if not self._zygote.is_dead():
                    raise
                return await self._create(request, bundle, listener)
        except BaseException:
            _remove(bundle)
            raise

    async def _create(self, request: TaskRequest, bundle: Path, listener: Listener | None) -> tuple[Task, int]:
        ours, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with control:
            task = self._task(bundle, ours, listener)
            try:
                await self._zygote.fork_shim(bundle, control.fileno())
                control.close()
                started_ns = await task.create(request)
            except BaseException:
                await task.close()
                raise
        self._tasks[request.id] = task
        return task, started_ns

    async def delete(self, id: str) -> None:
        """Remove the task, killing what still runs, and its bundle; nothing to do where there is none.

        May be called by the listener of the task's exit.
        """
        task = self._tasks.pop(id, None)
        if task is not None:
            await task.delete()
            _remove(task.bundle)

    async def _load(self, bundle: Path) -> tuple[Task, TaskState] | None:
        try:
            task = self._task(bundle, protocol.connect(str(bundle), SOCKET_NAME))
        except OSError:
            await asyncio.to_thread(kill_leftovers, bundle)
            _remove(bundle)
            return None
        self._tasks[task.id] = task
        try:
            return task, await task.adopt()
        except Error as error:
            logger.error("%s: the shim does not answer: %s", bundle.name, error)
            await task.close()
            del self._tasks[task.id]
            return None

    def _task(self, bundle: Path, connection: socket.socket, listener: Listener | None = None) -> Task:
        exit_path = self._exit_path(bundle.name)
        return Task(bundle.name, bundle, connection, exit_path=exit_path, listener=listener or self._hear)

    def _exit_path(self, id: str) -> Path:
        return self._containers_dir / id / "exit.json"

    async def _hear(self, task: Task, event: Event) -> None:
        await self._listener(task, event)


async def _ignore(task: Task, event: Event) -> None:
    logger.warning("%s: nobody listens to %s", task.id, event)


def _task_of(request: TaskRequest) -> dict[str, object]:
    """What the shim needs beside the spec whenever it makes the container."""
    return {
        "id": request.id,
        "rootfs": request.rootfs,
        "seccomp": request.seccomp,
        "joins": request.joins,
        "trace": request.trace,
    }


def _remove(bundle: Path) -> None:
    shutil.rmtree(bundle, ignore_errors=True)
