"""Trees of layers for workers to read: the layers' directories, or one copy of what they make.

Copies are for the storage driver vfs, where nothing can be relied on to mount layers as one. They are snapshots, kept
for further steps until no build is under way.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..ids import new_id

if TYPE_CHECKING:
    from ..snapshots.snapshotter import Snapshotter


class Views:
    """Used from the event loop's thread alone."""

    def __init__(self, snapshots: Snapshotter) -> None:
        self._snapshots = snapshots
        self._keys: dict[tuple[str, ...], str] = {}
        self._locks: defaultdict[tuple[str, ...], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def paths(self, layers: Sequence[str]) -> list[str]:
        """Return the directories of a tree, the uppermost first."""
        layers = self._snapshots.current(layers)
        paths = list(dict.fromkeys(str(self._snapshots.layer_path(layer)) for layer in reversed(layers)))
        if len(paths) > 1 and self._snapshots.driver.copies:
            return [str(self._snapshots.upper_path(await self._copy(tuple(layers))))]
        return paths or [str(self._snapshots.empty_layer())]

    async def _copy(self, layers: tuple[str, ...]) -> str:
        async with self._locks[layers]:
            if layers not in self._keys:
                key = f"view-{new_id()}"
                await self._snapshots.prepare(key, layers, with_init=False)
                self._keys[layers] = key
            return self._keys[layers]

    async def drop(self) -> None:
        """Remove the copies; nobody may read them any more."""
        keys = list(self._keys.values())
        self._keys.clear()
        self._locks.clear()
        for key in keys:
            await self._snapshots.remove(key)
