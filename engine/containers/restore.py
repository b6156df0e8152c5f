"""After the daemon's start: database, shims and disk brought into line; and before its end.

Whatever happened while no daemon was there is told now, with the time at which it happened: exits that shims wrote
down, execs that ended. What an earlier daemon left half-made or half-removed goes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from .. import errors
from ..shim.messages import Event, Exited
from . import autostart, execs, image_mounts, mounts, networking
from .exits import delete_task, on_event, settle
from .record import Boot
from .remove import auto_remove, remove, remove_directory
from .stop import stop

if TYPE_CHECKING:
    from ..plugins.plugins import Plugins
    from ..shim.client import Task
    from ..shim.messages import TaskState
    from .container import Container
    from .context import Context

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

logger = logging.getLogger(__name__)


async def restore(context: Context, plugins: Plugins) -> None:
    """Find all containers as they are. Called once, before the first request.

    Plugins have tasks too, and are there before what may need them is started.
    """
    containers = context.registry.load()
    context.execs.load()
    for container in containers:
        mounts.hold(container.record.mounts, volumes=context.volumes, container_id=container.id)
    context.supervisor.listen(lambda task, event: on_event(context, task, event))
    rebooted = _note_boot(context)
    tasks = await context.supervisor.load(rebooted=rebooted)
    for container in containers:
        found = tasks.pop(container.id, None)
        if found is not None:
            _adopt(context, container, *found)
    await context.networks.restore({container.id for container in containers if container.task is not None})
    context.is_shutting_down = not context.config.live_restore
    await asyncio.gather(*(_settle(context, container) for container in containers))
    running = [container.id for container in containers if container.state.running]
    context.spawn(context.volumes.attachments.reconcile(running), name="unmounting volumes")
    await _remove_leftovers(context, list(tasks), plugins.ids())
    await plugins.start()
    context.is_shutting_down = False
    await autostart.start_all(context)


def _note_boot(context: Context) -> bool:
    """Remember this boot of the host, and return whether the last daemon ran in another."""
    boot_id = BOOT_ID.read_text().strip()
    known = context.boots.get("last")
    if known is None or known.id != boot_id:
        context.boots.put("last", Boot(boot_id))
    return known is not None and known.id != boot_id


async def stop_all(context: Context) -> None:
    """Stop every running container, within the daemon's own time limit."""
    context.is_shutting_down = True
    running = [container for container in context.registry if container.state.running]
    if running:
        limit_s = context.config.shutdown_timeout_s
        stopping = [asyncio.create_task(_stop(context, container)) for container in running]
        _, late = await asyncio.wait(stopping, timeout=limit_s if limit_s >= 0 else None)
        for task in late:
            task.cancel()


def _adopt(context: Context, container: Container, task: Task, state: TaskState) -> None:
    """Take on a container that runs."""
    container.task = task
    known = container.state.running
    if not known:
        # The daemon died between the start and its note of it.
        container.set_running(task, started_ns=state.started_ns)
        if sandbox := context.networks.sandbox(container.id):
            container.record.network = networking.settings(context, container, sandbox, pid=task.pid)
        context.announce(container, "start", time_ns=state.started_ns)
    container.state.pid = task.pid
    container.state.paused = state.status == "paused"
    container.state.health = state.health or container.state.health
    container.record.restart_count = state.restart_count
    container.state.oom_killed = container.state.oom_killed or state.oom
    context.registry.save(container)
    for record in context.execs.of(container):
        told = state.execs.get(record.id)
        if record.exit_code is not None:
            continue
        if told is not None:
            record.running, record.pid = True, told.pid
            if told.exit_code is not None:
                execs.on_exit(context, container, record.id, told.exit_code)
        elif record.running:
            context.execs.set_ended(record, execs.LOST_EXIT_CODE)


async def _settle(context: Context, container: Container) -> None:
    """Finish what was begun: exits, removals, and a stop where live-restore is off."""
    if container.state.running and container.task is None:
        async with container.lock:
            for event in context.supervisor.end_of(container.id, since_ns=container.state.started_ns):
                await settle(context, container, _dated(event))
    elif container.task is not None:
        await container.task.listen()
    if not container.state.running:
        context.execs.forget_all(container)
    if container.state.dead:
        await _finish_removal(context, container)
    elif container.state.running:
        if not context.config.live_restore:
            await _stop(context, container)
    else:
        await auto_remove(context, container)


def _dated(event: Event) -> Event:
    """Say of an end that nobody saw that it is now."""
    if isinstance(event, Exited) and not event.exited_ns:
        return Exited(event.exit_code, exited_ns=time.time_ns(), oom=event.oom)
    return event


async def _finish_removal(context: Context, container: Container) -> None:
    try:
        await remove(context, container, container.id)
    except errors.Error as error:
        logger.error("%s: removal could not be finished: %s", container.id, error)


async def _stop(context: Context, container: Container) -> None:
    try:
        await stop(context, container)
    except errors.Error as error:
        logger.error("%s: could not be stopped: %s", container.id, error)


async def _remove_leftovers(context: Context, unknown_tasks: Collection[str], plugins: Collection[str]) -> None:
    """Remove tasks, snapshots and directories that belong to no container and no plugin."""
    for container_id in set(unknown_tasks).difference(plugins):
        logger.warning("%s: a task without a container, removed", container_id)
        await delete_task(context, container_id)
    for key in context.snapshots.active():
        if image_mounts.owner(key) not in context.registry:
            logger.warning("%s: a snapshot without a container, removed", key)
            await context.snapshots.remove(key)
    for name in os.listdir(context.config.containers_dir):
        if name not in context.registry and name not in plugins:
            await remove_directory(context.config.containers_dir / name)
