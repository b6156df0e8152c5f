"""`docker rm` and `docker container prune`: a container and all that was made for it go.

The order makes a killed daemon harmless: the record is marked dead first and deleted last, and what then is still on
disk belongs to no record, which `restore` removes. The snapshot is deleted after the client has its answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from typing import TYPE_CHECKING

from .. import errors
from ..times import parse_time
from . import mounts
from .attach import drop_pending
from .kill import kill

if TYPE_CHECKING:
    from pathlib import Path

    from ..filters import Filters
    from .container import Container
    from .context import Context

logger = logging.getLogger(__name__)

SMALL_BYTES = 1024 * 1024
PRUNE_FILTERS = ("label", "label!", "until")


async def remove(
    context: Context, container: Container, ref: str, *, force: bool = False, volumes: bool = False
) -> None:
    """Remove a container; with `force` a running one is killed, with `volumes` anonymous volumes go too."""
    if container.removing:
        raise errors.Conflict(f"removal of container {ref} is already in progress")
    container.removing = True
    try:
        while not container.removed:
            await _stop_for_removal(context, container, force=force)
            async with container.lock:
                # A start that was under way may have come first.
                if not container.state.running:
                    await _remove_stopped(context, container, volumes=volumes)
    except errors.Error as error:
        raise type(error)(f'cannot remove container "{ref}": {error}') from error
    finally:
        container.removing = False


async def auto_remove(context: Context, container: Container) -> None:
    """Remove a stopped container that was run with `--rm`, unless it is being restarted."""
    if not container.record.host_config.auto_remove or container.restarting_by_user or container.removed:
        return
    try:
        await remove(context, container, container.id, volumes=True)
    except errors.Conflict:
        pass  # a client removes it already, or has started it again


async def prune(context: Context, filters: Filters) -> tuple[list[str], int]:
    """Remove all stopped containers that match; return their ids and the bytes freed."""
    filters.validate(PRUNE_FILTERS)
    until_ns = _until(filters)
    deleted: list[str] = []
    reclaimed = 0
    for container in context.registry:
        if container.state.running or not _is_prunable(container, filters, until_ns):
            continue
        try:
            size = await context.snapshots.usage(container.id)
            await remove(context, container, container.id)
        except errors.Error as error:
            logger.warning("%s: not pruned: %s", container.id, error)
            continue
        reclaimed += size
        deleted.append(container.id)
    context.events.publish("container", "prune", "", {"reclaimed": str(reclaimed)})
    return deleted, reclaimed


async def _stop_for_removal(context: Context, container: Container, *, force: bool) -> None:
    if not container.state.running:
        return
    if not force:
        if container.state.paused:
            raise errors.Conflict("container is paused and must be unpaused first")
        raise errors.Conflict(f"container is {container.status()}: stop the container before removing or force remove")
    try:
        await kill(context, container, signal.SIGKILL)
    except errors.Conflict:
        pass  # it stopped meanwhile
    except errors.Error as error:
        raise type(error)(f"could not kill container: {error}") from error


async def _remove_stopped(context: Context, container: Container, *, volumes: bool) -> None:
    record = container.record
    record.state.dead = True
    context.registry.save(container)
    drop_pending(container)
    await context.volumes.attachments.detach(record.id)
    try:
        await mounts.release(record.mounts, volumes=context.volumes, container_id=record.id, remove_anonymous=volumes)
    except errors.Error as error:
        logger.error("%s: %s", record.id, error)
    for key in (record.id, *(mount.snapshot for mount in record.mounts if mount.snapshot)):
        context.spawn(context.snapshots.remove(key), name=f"{key}: removing the snapshot")
    # One turn of the loop: the snapshot's record goes before the container's.
    await asyncio.sleep(0)
    await remove_directory(context.config.containers_dir / record.id)
    context.registry.remove(container)
    context.announce(container, "destroy")
    container.tell_removal()


async def remove_directory(directory: Path) -> None:
    """Remove a container's directory; one that is not there is nothing to do.

    A large log takes the file system its time; a few small files are gone sooner than a thread is woken.
    """
    try:
        is_small = sum(entry.stat().st_size for entry in os.scandir(directory)) < SMALL_BYTES
    except FileNotFoundError:
        return
    if is_small:
        shutil.rmtree(directory, ignore_errors=True)
    else:
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


def _until(filters: Filters) -> int | None:
    values = filters.get("until")
    if len(values) > 1:
        raise errors.InvalidArgument("more than one until filter specified")
    return parse_time(values[0]) if values else None


def _is_prunable(container: Container, filters: Filters, until_ns: int | None) -> bool:
    labels = container.record.config.labels or {}
    if until_ns is not None and container.record.created_ns > until_ns:
        return False
    return filters.labels("label", labels) and not ("label!" in filters and filters.labels("label!", labels))
