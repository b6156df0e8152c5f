"""What is written down of a volume, and where its data is."""

from __future__ import annotations

import msgspec


class VolumeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the `volumes` table. Labels and options that nobody gave stay None, as the API shows them."""

    name: str
    driver: str = "local"
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None
    created_ns: int = 0


class VolumeSource(msgspec.Struct, frozen=True, kw_only=True):
    """What a container mounts of a volume.

    A volume with a device is a file system of its own: `filesystem` is then its type, `device` what holds it and
    `options` the words of its mount; it is mounted only where a container uses it, never on the host.
    """

    name: str
    driver: str
    path: str
    filesystem: str = ""
    device: str = ""
    options: tuple[str, ...] = ()
