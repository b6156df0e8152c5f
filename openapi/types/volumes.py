"""Volumes."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from .model import Model


class VolumeUsageData(Model):
    """Usage details about the volume."""

    size: int = 0
    ref_count: int = 0


class Volume(Model):
    """Volume"""

    name: str = ""
    driver: str = ""
    mountpoint: str = ""
    created_at: str | UnsetType = UNSET
    status: dict[str, dict[str, Any]] | UnsetType = UNSET
    labels: dict[str, str] | None = None
    scope: str = ""
    options: dict[str, str] | None = None
    usage_data: VolumeUsageData | UnsetType = UNSET


class VolumeCreateRequest(Model):
    """Volume configuration"""

    name: str | UnsetType = UNSET
    driver: str | UnsetType = UNSET
    driver_opts: dict[str, str] | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET


class VolumeListResponse(Model):
    """Volume list response"""

    volumes: list[Volume] | None = None
    warnings: list[str] | None = None
