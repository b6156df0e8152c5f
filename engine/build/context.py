"""What all builds of one engine work with: the neighbouring services, the cache, workers, and work that is shared.

Made once by the `Builder` and handed to whatever takes part in a build.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..containers.fileworkers import FileWorkers
from .cache import Cache
from .flights import Flights
from .views import Views

if TYPE_CHECKING:
    from ..containers.context import Context as ContainersContext
    from ..images.images import Images
    from ..networks.networks import Networks
    from ..snapshots.snapshotter import Snapshotter
    from ..supervisor.supervisor import Supervisor

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Context:
    """Used from the event loop's thread alone."""

    root: Path
    """Where builds keep what is no layer: clients' directories, cache mounts, git repositories."""
    images: Images
    snapshots: Snapshotter
    networks: Networks
    supervisor: Supervisor
    containers: ContainersContext
    cache: Cache
    views: Views
    workers: FileWorkers = field(default_factory=lambda: FileWorkers("lightship.engine.build.worker"))
    flights: Flights = field(default_factory=Flights)
    locked: set[Path] = field(default_factory=set)
    """Directories below the root that a build has for itself."""
    cache_mount_locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    """Layers of records that were made anew; removed some time after the build, which they would hold up."""
    _work: set[asyncio.Task[Any]] = field(default_factory=set)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> None:
        """Do something that nobody waits for; a failure is logged, and `finish` waits for the end."""
        task = asyncio.create_task(work, name=name)
        self._work.add(task)
        task.add_done_callback(self._on_done)

    async def finish(self) -> None:
        while self._work:
            await asyncio.wait(tuple(self._work))

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s failed", task.get_name(), exc_info=error)
