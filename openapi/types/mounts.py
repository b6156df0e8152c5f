"""Mounts as they are asked for and as they are reported."""

from __future__ import annotations

from msgspec import UNSET, UnsetType, field

from .model import Model


class ImageOptions(Model):
    """Optional configuration for the image type."""

    subpath: str | UnsetType = UNSET


class IDMapping(Model):
    """Whose ids a bind's files are to have; what version 1.56 of the API is going to have."""

    source: str | UnsetType = UNSET
    user: str | UnsetType = UNSET


class BindOptions(Model):
    """Optional configuration for the bind type."""

    propagation: str | UnsetType = UNSET
    non_recursive: bool | UnsetType = UNSET
    create_mountpoint: bool | UnsetType = UNSET
    read_only_non_recursive: bool | UnsetType = UNSET
    read_only_force_recursive: bool | UnsetType = UNSET
    id_mapping: IDMapping | UnsetType = field(default=UNSET, name="IDMapping")


class TmpfsOptions(Model):
    """Optional configuration for the tmpfs type."""

    size_bytes: int | UnsetType = UNSET
    mode: int | UnsetType = UNSET
    options: list[list[str]] | UnsetType = UNSET


class VolumeDriverConfig(Model):
    """Map of driver specific options"""

    name: str | UnsetType = UNSET
    options: dict[str, str] | UnsetType = UNSET


class VolumeOptions(Model):
    """Optional configuration for the volume type."""

    no_copy: bool | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET
    driver_config: VolumeDriverConfig | UnsetType = UNSET
    subpath: str | UnsetType = UNSET


class Mount(Model):
    """Mount"""

    target: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    read_only: bool | UnsetType = UNSET
    consistency: str | UnsetType = UNSET
    bind_options: BindOptions | UnsetType = UNSET
    volume_options: VolumeOptions | UnsetType = UNSET
    image_options: ImageOptions | UnsetType = UNSET
    tmpfs_options: TmpfsOptions | UnsetType = UNSET


class MountPoint(Model):
    """MountPoint represents a mount point configuration inside the container."""

    type: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    source: str = ""
    destination: str = ""
    driver: str | UnsetType = UNSET
    mode: str = ""
    rw: bool = field(default=False, name="RW")
    propagation: str = ""
