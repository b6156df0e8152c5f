"""How much space the engine's objects take."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from .containers import ContainerSummary
from .images import ImageSummary
from .model import Model
from .volumes import Volume


class DiskUsage(Model):
    """What all objects of a kind have in common: how many, how much, and what pruning would bring."""

    active_count: int = 0
    total_count: int = 0
    reclaimable: int = 0
    total_size: int = 0


class ImagesDiskUsage(DiskUsage):
    """represents system data usage for image resources."""

    items: list[ImageSummary] | UnsetType = UNSET


class ContainersDiskUsage(DiskUsage):
    """represents system data usage information for container resources."""

    items: list[ContainerSummary] | UnsetType = UNSET


class VolumesDiskUsage(DiskUsage):
    """represents system data usage for volume resources."""

    items: list[Volume] | UnsetType = UNSET


class BuildCacheDiskUsage(DiskUsage):
    """represents system data usage for build cache resources."""

    items: list[dict[str, Any]] | UnsetType = UNSET


class SystemDataUsageResponse(Model):
    """What was asked for, by kind."""

    image_usage: ImagesDiskUsage | UnsetType = UNSET
    container_usage: ContainersDiskUsage | UnsetType = UNSET
    volume_usage: VolumesDiskUsage | UnsetType = UNSET
    build_cache_usage: BuildCacheDiskUsage | UnsetType = UNSET
