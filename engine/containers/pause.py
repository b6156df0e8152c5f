"""`docker pause` and `docker unpause`: a running container's processes are frozen by its cgroup and thawed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import errors
from . import health

if TYPE_CHECKING:
    from .container import Container
    from .context import Context


async def pause(context: Context, container: Container) -> None:
    async with container.lock:
        task = container.running_task()
        if container.state.paused:
            raise errors.Conflict(f"Container {container.id} is already paused")
        refuse_restarting(container)
        try:
            await task.pause()
        except errors.Error as error:
            raise errors.Internal(f"Cannot pause container {container.id}: {error}") from error
        container.state.paused = True
        health.set_paused(container)
        context.registry.save(container)
        context.announce(container, "pause")


async def unpause(context: Context, container: Container) -> None:
    async with container.lock:
        if not container.state.paused:
            raise errors.Conflict(f"Container {container.id} is not paused")
        task = container.running_task()
        try:
            await task.resume()
        except errors.Error as error:
            raise errors.Internal(f"Cannot unpause container {container.id}: {error}") from error
        container.state.paused = False
        context.registry.save(container)
        context.announce(container, "unpause")


def refuse_restarting(container: Container) -> None:
    if container.state.restarting:
        raise errors.Conflict(f"Container {container.id} is restarting, wait until the container is running")
