"""What the verbs of this room work with: the neighbouring services, the registry, and the work that outlives a request.

Made once by the `Containers` service and handed to each verb.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from ..config import EngineConfig
from .fileworkers import FileWorkers
from .watch import DirectoryWatch

if TYPE_CHECKING:
    from ..events import Events
    from ..images.images import Images
    from ..networks.networks import Networks
    from ..snapshots.snapshotter import Snapshotter
    from ..store import Table
    from ..supervisor.supervisor import Supervisor
    from ..volumes.volumes import Volumes
    from .container import Container
    from .exec_records import ExecRecords
    from .host import Host
    from .record import Boot
    from .registry import Registry

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """Used from the event loop's thread alone."""

    config: EngineConfig
    host: Host
    registry: Registry
    events: Events
    images: Images
    snapshots: Snapshotter
    volumes: Volumes
    networks: Networks
    supervisor: Supervisor
    execs: ExecRecords
    boots: Table[Boot]
    file_workers: FileWorkers = field(default_factory=FileWorkers)
    watch: DirectoryWatch = field(default_factory=DirectoryWatch)
    seccomp_paths: dict[tuple[object, ...], str | None] = field(default_factory=dict)
    """Filters that are compiled, by what they depend on."""
    is_shutting_down: bool = False
    """Containers are stopped for the daemon's sake, which is no manual stop."""
    _work: set[asyncio.Task[Any]] = field(default_factory=set)

    def announce(
        self, container: Container, action: str, extra: Mapping[str, str] | None = None, *, time_ns: int | None = None
    ) -> None:
        """Publish an event about a container."""
        self.events.publish("container", action, container.id, container.attributes(extra), time_ns=time_ns)

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Do something that nobody waits for; a failure is logged, and `finish` waits for the end."""
        task = asyncio.create_task(work, name=name)
        self._work.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def complete(self, change: Coroutine[Any, Any, T]) -> T:
        """Carry a change to its end even where the client that asked for it goes away."""
        task = asyncio.create_task(change)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return await asyncio.shield(task)

    async def finish(self, limit_s: float | None = None) -> None:
        """Wait for all work that is under way; what takes longer than the limit is cancelled."""
        while self._work:
            _, late = await asyncio.wait(tuple(self._work), timeout=limit_s)
            for task in late:
                logger.warning("%s: not finished in time", task.get_name())
                task.cancel()

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s failed", task.get_name(), exc_info=error)
