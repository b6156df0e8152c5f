"""`docker system df`: what images, containers and volumes take on disk, and what pruning would give back.

Images count with their unpacked layers and with the blobs that the content store keeps of them, each once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from ..openapi.types.model import given
from ..openapi.types.usage import (
    BuildCacheDiskUsage,
    ContainersDiskUsage,
    ImagesDiskUsage,
    SystemDataUsageResponse,
    VolumesDiskUsage,
)
from .filters import Filters
from .times import rfc3339

if TYPE_CHECKING:
    from .build.request import Usage
    from .engine import Engine

KINDS = ("container", "image", "volume", "build-cache")
_ACTIVE = ("running", "paused", "restarting")


async def disk_usage(engine: Engine, kinds: Collection[str]) -> SystemDataUsageResponse:
    """Measure the objects of the given kinds, and list them."""
    usage = SystemDataUsageResponse()
    async with asyncio.TaskGroup() as group:
        images = group.create_task(_images(engine)) if "image" in kinds else None
        containers = group.create_task(_containers(engine)) if "container" in kinds else None
        volumes = group.create_task(_volumes(engine)) if "volume" in kinds else None
    usage.image_usage = images.result() if images is not None else UNSET
    usage.container_usage = containers.result() if containers is not None else UNSET
    usage.volume_usage = volumes.result() if volumes is not None else UNSET
    if "build-cache" in kinds:
        usage.build_cache_usage = await _build_cache(engine)
    return usage


async def _build_cache(engine: Engine) -> BuildCacheDiskUsage:
    found = await engine.builds.disk_usage(Filters())
    return BuildCacheDiskUsage(
        active_count=sum(record.is_in_use for record in found),
        total_count=len(found),
        reclaimable=sum(record.size for record in found if not record.is_in_use and not record.is_shared),
        total_size=sum(record.size for record in found),
        items=[_cache_record(record) for record in found],
    )


def _cache_record(record: Usage) -> dict[str, Any]:
    shown: dict[str, Any] = {"ID": record.id}
    if record.parents:
        shown["Parents"] = list(record.parents)
    shown |= {
        "Type": record.type,
        "Description": record.description,
        "InUse": record.is_in_use,
        "Shared": record.is_shared,
        "Size": record.size,
        "CreatedAt": rfc3339(record.created_ns),
        "LastUsedAt": rfc3339(record.last_used_ns) if record.last_used_ns else None,
        "UsageCount": record.usage_count,
    }
    return shown


def without_items(usage: SystemDataUsageResponse) -> None:
    """Leave the totals alone."""
    for part in (usage.image_usage, usage.container_usage, usage.volume_usage, usage.build_cache_usage):
        if part is not UNSET:
            part.items = UNSET


async def _images(engine: Engine) -> ImagesDiskUsage:
    items = list(await engine.images.list(Filters({}), shared_size=True))
    unused = [item for item in items if not item.containers]
    return ImagesDiskUsage(
        active_count=len(items) - len(unused),
        total_count=len(items),
        reclaimable=sum(item.size - item.shared_size for item in unused),
        total_size=engine.images.total_size(),
        items=items,
    )


async def _containers(engine: Engine) -> ContainersDiskUsage:
    items = await engine.containers.list(Filters({}), all=True, size=True)
    for item in items:
        item.image_manifest_descriptor = UNSET
    idle = [item for item in items if item.state not in _ACTIVE]
    return ContainersDiskUsage(
        active_count=len(items) - len(idle),
        total_count=len(items),
        reclaimable=sum(given(item.size_rw, 0) for item in idle),
        total_size=sum(given(item.size_rw, 0) for item in items),
        items=items,
    )


async def _volumes(engine: Engine) -> VolumesDiskUsage:
    items = list(await engine.volumes.usage())
    measured = [data for item in items if (data := item.usage_data) is not UNSET and data.size != -1]
    unused = [data for data in measured if not data.ref_count]
    return VolumesDiskUsage(
        active_count=len(items) - len(unused),
        total_count=len(items),
        reclaimable=sum(data.size for data in unused),
        total_size=sum(data.size for data in measured),
        items=items,
    )
