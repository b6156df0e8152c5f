"""Layers of a result as blobs: each is packed once, and known by its diff id from then on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ...errors import NotFound
from ...images.config import Descriptor, layer_media_type
from ..cache import is_unnamed
from ..context import Context
from ..flights import Heard


async def packed(context: Context, layers: Sequence[str], pins: list[str]) -> list[str]:
    """Return the diff ids of layers, whose blobs are in the content store then."""
    async with asyncio.TaskGroup() as group:
        for layer in dict.fromkeys(layers):
            if is_unnamed(layer) and is_unnamed(context.snapshots.current([layer])[0]):
                group.create_task(_pack_once(context, layer))
    diff_ids = context.snapshots.current(layers)
    for diff_id in diff_ids:
        context.images.garbage.pin(pins, diff_id)
        context.images.garbage.pin(pins, blob_of(context, diff_id).digest)
    return diff_ids


def blob_of(context: Context, diff_id: str) -> Descriptor:
    """Return where the content store has a layer."""
    found = context.cache.blob(diff_id) or context.images.catalog.layer_descriptor(diff_id)
    if found is None:
        raise NotFound(f"layer {diff_id}: its blob is not here")
    return found


async def _pack_once(context: Context, layer: str) -> None:
    async def work(heard: Heard) -> None:
        await _pack(context, layer)

    await context.flights.join(f"diff {layer}", work, _ignore)


async def _pack(context: Context, layer: str) -> None:
    path = context.images.content.new_path()
    try:
        made = await context.workers.run("diff", directory=str(context.snapshots.layer_path(layer)), output=str(path))
        digest, size = made["digest"], made["size"]
        context.images.content.adopt(path, digest)
    finally:
        path.unlink(missing_ok=True)
    with context.images.store.transaction():
        context.cache.set_blob(digest, Descriptor(layer_media_type(""), size, digest))
        context.snapshots.name_layer(layer, digest)
        context.cache.rename_layer(layer, digest)
    await context.images.garbage.collect_layers([layer])


def _ignore(told: object) -> None:
    """Nobody watches the packing of a layer."""
