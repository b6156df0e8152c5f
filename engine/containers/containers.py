"""The containers service: what the API asks of containers, each verb in a module of its own.

Here references become containers, and changes are carried to their end even where the client that asked for them goes
away. One instance an engine, used from the event loop's thread.
"""

from __future__ import annotations

import asyncio
import builtins
import signal as signals_of_python
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable
from typing import TYPE_CHECKING

from msgspec import UNSET

from ...openapi.types.containers import (
    ContainerCreateResponse,
    ContainerInspectResponse,
    ContainerSummary,
    ContainerTopResponse,
    ContainerUpdateResponse,
    ContainerWaitResponse,
)
from ...openapi.types.networks import NetworkConnectRequest, NetworkDisconnectRequest
from ...openapi.types.requests import ContainerCreateRequest, ContainerUpdateRequest
from ...openapi.types.stats import ContainerStatsResponse
from .. import errors
from ..filters import Filters
from . import (
    connect,
    create,
    host,
    inspect,
    links,
    listing,
    logs,
    pause,
    remove,
    rename,
    restore,
    signals,
    start,
    stats,
    stop,
    top,
    update,
    wait,
)
from .attach import Attachment, AttachOptions, attach
from .context import Context
from .exec_records import ExecRecords
from .files import Files
from .kill import kill
from .logformat import LogsOptions
from .record import Boot
from .registry import Registry

if TYPE_CHECKING:
    from ..config import EngineConfig
    from ..engine import Engine
    from ..plugins.plugins import Plugins

FINISH_LIMIT_S = 5.0
"""How long changes that clients asked for may take after the daemon was told to end; the next one settles the rest."""


class Containers:
    def __init__(self, engine: Engine) -> None:
        self.context = Context(
            config=engine.config,
            host=host.Host(),
            registry=Registry(engine.store),
            events=engine.events,
            images=engine.images,
            snapshots=engine.snapshots,
            volumes=engine.volumes,
            networks=engine.networks,
            supervisor=engine.supervisor,
            execs=ExecRecords(engine.store),
            boots=engine.store.table("boots", Boot),
        )
        self.files = Files(self.context)
        self._is_pruning = False
        engine.images.users = self._users_of_image
        engine.networks.set_pids(self._pid_of)

    # The engine's own

    async def restore(self, plugins: Plugins) -> None:
        """Find everything as it is, once, before the first request and after the networks are up."""
        self.context.host = host.detect(self.context.config)
        await restore.restore(self.context, plugins)

    def reload(self, config: EngineConfig) -> None:
        """Take settings that may change while running."""
        self.context.config = config
        self.context.host = self.context.host.reloaded(config)

    async def stop_all(self) -> None:
        """Finish what is under way; without live-restore also stop all containers."""
        if not self.context.config.live_restore:
            await restore.stop_all(self.context)
        await self.context.finish(FINISH_LIMIT_S)
        self.context.watch.close()
        await self.context.file_workers.close()

    def count_states(self) -> dict[str, int]:
        """How many containers there are of each status."""
        return Counter(container.status() for container in self.context.registry)

    def _pid_of(self, container_id: str) -> int:
        container = self.context.registry.by_id(container_id)
        return container.state.pid if container is not None else 0

    def _users_of_image(self, image_id: str) -> builtins.list[tuple[str, bool]]:
        return [
            (container.id, container.state.running)
            for container in self.context.registry
            if container.record.image_id == image_id
        ]

    # Life cycle

    async def create(
        self, request: ContainerCreateRequest, *, name: str, platform: str = "", recursive_read_only: bool = True
    ) -> ContainerCreateResponse:
        work = create.create(
            self.context, request, name=name, platform=platform, recursive_read_only=recursive_read_only
        )
        return await self.context.complete(work)

    async def start(self, ref: str) -> None:
        container = self.context.registry.resolve(ref)
        start.check_startable(container)
        await self.context.complete(start.start(self.context, container))

    async def stop(self, ref: str, *, signal: str = "", timeout_s: int | None = None) -> None:
        container = self.context.registry.resolve(ref)
        if not container.state.running:
            raise errors.NotModified("container is already stopped")
        change = stop.stop(self.context, container, signal_name=signal, timeout_s=timeout_s)
        try:
            await self.context.complete(change)
        except errors.Error as error:
            raise errors.Internal(f"cannot stop container: {ref}: {error}") from error

    async def restart(self, ref: str, *, signal: str = "", timeout_s: int | None = None) -> None:
        container = self.context.registry.resolve(ref)
        change = stop.restart(self.context, container, signal_name=signal, timeout_s=timeout_s)
        try:
            await self.context.complete(change)
        except errors.InvalidArgument as error:
            raise errors.InvalidArgument(f"Cannot restart container {ref}: {error}") from error
        except errors.Error as error:
            raise errors.Internal(f"Cannot restart container {ref}: {error}") from error

    async def kill(self, ref: str, *, signal: str = "") -> None:
        try:
            number = signals.parse_supported(signal) if signal else signals_of_python.SIGKILL
            container = self.context.registry.resolve(ref)
            await self.context.complete(kill(self.context, container, number))
        except errors.Error as error:
            raise type(error)(f"cannot kill container: {ref}: {error}") from error

    async def pause(self, ref: str) -> None:
        await self.context.complete(pause.pause(self.context, self.context.registry.resolve(ref)))

    async def unpause(self, ref: str) -> None:
        await self.context.complete(pause.unpause(self.context, self.context.registry.resolve(ref)))

    async def rename(self, ref: str, new_name: str) -> None:
        await self.context.complete(rename.rename(self.context, ref, new_name))

    async def connect(self, network: str, request: NetworkConnectRequest) -> None:
        await self.context.complete(connect.connect(self.context, network, request))

    async def disconnect(self, network: str, request: NetworkDisconnectRequest) -> None:
        await self.context.complete(connect.disconnect(self.context, network, request))

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        if link:
            links.remove(self.context, ref)
            return
        container = self.context.registry.resolve(ref)
        await self.context.complete(remove.remove(self.context, container, ref, force=force, volumes=volumes))

    async def prune(self, filters: Filters) -> tuple[builtins.list[str], int]:
        """Remove stopped containers; return their ids and the bytes freed."""
        if self._is_pruning:
            raise errors.Conflict("a prune operation is already running")
        self._is_pruning = True
        try:
            return await self.context.complete(remove.prune(self.context, filters))
        finally:
            self._is_pruning = False

    async def update(self, ref: str, request: ContainerUpdateRequest) -> ContainerUpdateResponse:
        warnings = update.check(self.context, request)
        container = self.context.registry.resolve(ref)
        await self.context.complete(update.update(self.context, container, request))
        return ContainerUpdateResponse(warnings=warnings or None)

    # Questions

    async def wait(self, ref: str, condition: str) -> Awaitable[ContainerWaitResponse]:
        """Register; the returned awaitable waits."""
        return wait.wait(self.context.registry.resolve(ref), condition)

    async def list(
        self, filters: Filters, *, all: bool = False, limit: int = 0, size: bool = False
    ) -> builtins.list[ContainerSummary]:
        shown = [*listing.list_containers(self.context, filters, all=all, limit=limit)]
        if size:
            sizes = await asyncio.gather(*(self._sizes(container.id) for container, _ in shown))
            for (_, summary), (own, whole) in zip(shown, sizes, strict=True):
                summary.size_rw, summary.size_root_fs = own or UNSET, whole or UNSET
        return [summary for _, summary in shown]

    async def inspect(self, ref: str, *, size: bool = False) -> ContainerInspectResponse:
        container = self.context.registry.resolve(ref)
        shown = inspect.inspect(self.context, container)
        if size:
            shown.size_rw, shown.size_root_fs = await self._sizes(container.id)
        return shown

    async def top(self, ref: str, ps_args: str) -> ContainerTopResponse:
        top.check_args(ps_args)
        container = self.context.registry.resolve(ref)
        task = container.running_task()
        pause.refuse_restarting(container)
        shown = await top.top(await task.pids(), ps_args)
        self.context.announce(container, "top")
        return shown

    async def stats(self, ref: str, *, one_shot: bool) -> ContainerStatsResponse:
        return await stats.once(self.context.registry.resolve(ref), one_shot=one_shot)

    def stats_stream(self, ref: str) -> AsyncGenerator[ContainerStatsResponse, None]:
        return stats.stream(self.context.registry.resolve(ref))

    async def logs(self, ref: str, options: LogsOptions) -> logs.Logs:
        container = self.context.registry.resolve(ref)
        return logs.logs(container, str(inspect.log_path(self.context, container)), options, self.context.watch)

    # Streams

    async def attach(self, ref: str, options: AttachOptions) -> Attachment:
        """Check everything that can be refused; the caller then hands its client over."""
        return attach(self.context, self.context.registry.resolve(ref), ref, options)

    async def resize(self, ref: str, height: int, width: int) -> None:
        container = self.context.registry.resolve(ref)
        task = container.running_task()
        if container.tty:
            await task.resize(height=height, width=width)
        self.context.announce(container, "resize", {"height": str(height), "width": str(width)})

    async def _sizes(self, container_id: str) -> tuple[int, int]:
        """Return what the container's own layer holds, and that with its image's layers."""
        own = await self.context.snapshots.usage(container_id)
        layers = (self.context.snapshots.layer(layer) for layer in self.context.snapshots.layers_of(container_id))
        return own, own + sum(layer.size for layer in layers if layer is not None)
