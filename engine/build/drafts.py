"""A step's result in the making: a snapshot that becomes a layer, with its record, or goes away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ..ids import new_id
from .cache import REGULAR, CacheRecord, layer_name
from .context import Context


class Draft:
    """A snapshot above a step's base."""

    def __init__(self, context: Context, id: str) -> None:
        self._context, self.id = context, id

    @property
    def directory(self) -> Path:
        """What the mounts write to."""
        return self._context.snapshots.upper_path(self.id)

    @property
    def mounts(self) -> list[dict[str, Any]]:
        return self._context.snapshots.mounts(self.id)

    async def keep(
        self,
        key: str,
        *,
        below: Sequence[str],
        size: int,
        description: str,
        parents: Sequence[str] = (),
        kind: str = REGULAR,
        checksum: str = "",
    ) -> None:
        """Make the snapshot a layer above those `below`, and the result of the key; `size` is that of its directory."""
        context, name = self._context, layer_name(self.id)
        size = await context.snapshots.settle(self.id, size)
        record = CacheRecord(
            id=self.id[:25],
            layers=[*context.snapshots.current(below), name],
            description=description,
            type=kind,
            size=size,
            parents=list(parents),
            checksum=checksum,
        )
        former = context.cache.get(key)
        with context.images.store.transaction():
            context.snapshots.keep(self.id, name=name, size=size)
            context.cache.put(key, record)
        if former is not None:
            context.replaced += former.layers


@asynccontextmanager
async def draft(context: Context, layers: Sequence[str], *, with_init: bool = False) -> AsyncIterator[Draft]:
    """Make a snapshot above layers; it is removed unless it was kept."""
    id = new_id()
    await context.snapshots.prepare(id, context.snapshots.current(layers), with_init=with_init)
    try:
        yield Draft(context, id)
    finally:
        await context.snapshots.remove(id)
