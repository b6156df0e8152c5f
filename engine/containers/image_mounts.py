"""Mounts of type image: another image's files in a container, read-only.

The image's layers are held by a snapshot of the container's own, so that the image may be removed meanwhile; the
mount itself is made at each start, in the container alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ...openapi.types.model import given
from ...openapi.types.mounts import ImageOptions
from .mount_syntax import DEFAULT_PROPAGATION, ParsedMount
from .mounts import ResolvedMount

if TYPE_CHECKING:
    from ..images.catalog import Catalog
    from ..snapshots.snapshotter import Snapshotter

SEPARATOR = "-"


class ImageMounts:
    """The image mounts of one container that is being created."""

    def __init__(self, catalog: Catalog, snapshots: Snapshotter, container_id: str) -> None:
        self._catalog = catalog
        self._snapshots = snapshots
        self._container_id = container_id
        self.keys: list[str] = []

    async def resolve(self, asked: ParsedMount) -> ResolvedMount:
        """Hold the image's layers, and say what is mounted; raise NotFound where there is no such image."""
        key = await self._hold(self._catalog.resolve(asked.source).diff_ids)
        return ResolvedMount(
            type="image",
            destination=asked.destination,
            source=str(self._snapshots.upper_path(key)),
            name=asked.source,
            rw=False,
            propagation=DEFAULT_PROPAGATION,
            subpath=given(given(asked.spec.image_options, ImageOptions()).subpath, ""),
            snapshot=key,
        )

    async def share(self, mount: ResolvedMount) -> ResolvedMount:
        """Hold the layers of another container's image mount for this one too."""
        key = await self._hold(self._snapshots.layers_of(mount.snapshot))
        return msgspec.structs.replace(mount, snapshot=key, source=str(self._snapshots.upper_path(key)))

    async def undo(self) -> None:
        """Let go of all that was held."""
        for key in self.keys:
            await self._snapshots.remove(key)

    async def _hold(self, layers: list[str]) -> str:
        key = f"{self._container_id}{SEPARATOR}{len(self.keys)}"
        await self._snapshots.prepare(key, layers, with_init=False)
        self.keys.append(key)
        return key


def owner(key: str) -> str:
    """Return the id of the container that a snapshot belongs to."""
    return key.partition(SEPARATOR)[0]
