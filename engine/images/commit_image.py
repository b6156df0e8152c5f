"""The image half of `docker commit`: what a container changed becomes a layer above its image's."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Internal
from ..times import rfc3339
from .catalog import Image
from .config import History, ImageConfig, RootFS, RunConfig
from .import_image import store
from .unpack import LayerFile, Unpacking

if TYPE_CHECKING:
    from .images import Images

EMPTY_LAYER = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""The digest of an archive without members."""

WriteLayer = Callable[[Path], Awaitable[tuple[str, int]]]
"""Writes the layer's archive into a new file; returns its digest and size."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What is told of an image that is made from a container."""

    container_id: str
    parent_id: str
    config: RunConfig
    container_config: RunConfig
    author: str
    comment: str


async def commit_image(images: Images, source: Committed, write_layer: WriteLayer) -> Image:
    """Make the image; a layer in which nothing changed is noted in its history alone."""
    parent = images.catalog.get(source.parent_id)
    if parent is None:
        raise Internal(f"unrecognized image ID {source.parent_id}")
    async with AsyncExitStack() as undo:
        pins = undo.enter_context(images.garbage.pinned())
        for pinned in (*parent.blobs, *parent.diff_ids):
            images.garbage.pin(pins, pinned)
        path = images.content.new_path()
        undo.callback(path.unlink, missing_ok=True)
        digest, size = await write_layer(path)
        config = _config(source, parent, digest)
        if digest == EMPTY_LAYER:
            image = store(images, config, parent.manifest.layers, pins, keep_layers=lambda: None)
        else:
            unpacking = Unpacking(images.content, images.snapshotter, images.workers)
            undo.push_async_callback(unpacking.close)
            unpacking.start(LayerFile(path, digest, size))
            await unpacking.result(digest)
            layers = [*parent.manifest.layers, unpacking.adopt_blob(digest)]
            images.garbage.pin(pins, digest)
            image = store(images, config, layers, pins, keep_layers=lambda: unpacking.keep(digest))
        images.durability.sync_soon()
    images.tell("create", image)
    if image is not parent:
        images.catalog.set_parent(image, parent.id)
    return image


def _config(source: Committed, parent: Image, diff_id: str) -> ImageConfig:
    created = rfc3339(time.time_ns())
    base = parent.config
    is_empty = diff_id == EMPTY_LAYER
    return ImageConfig(
        architecture=base.architecture,
        author=source.author or None,
        config=source.config,
        container=source.container_id,
        container_config=source.container_config,
        created=created,
        history=[
            *(base.history or ()),
            History(
                created=created,
                author=source.author or None,
                created_by=" ".join(source.container_config.cmd or ()) or None,
                comment=source.comment or None,
                empty_layer=is_empty or None,
            ),
        ],
        os=base.os,
        os_version=base.os_version,
        rootfs=RootFS(diff_ids=[*base.diff_ids, *([] if is_empty else [diff_id])]),
        variant=base.variant,
        comment=source.comment or None,
    )
