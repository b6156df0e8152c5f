"""`docker import`: the tar of a root file system becomes an image of one layer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from ..snapshots.compression import Read
from ..times import rfc3339
from .catalog import Image
from .changes import apply_changes
from .config import CONFIG, Descriptor, History, ImageConfig, Manifest, Platform, RootFS, RunConfig, check_os
from .content import Ingest, digest_of
from .references import Reference
from .streams import read_in_thread
from .unpack import LayerFile, Unpacking

if TYPE_CHECKING:
    from .images import Images

_CHUNK = 1 << 18


async def import_image(
    images: Images,
    source: AsyncIterator[bytes],
    *,
    reference: Reference | None,
    message: str,
    changes: Sequence[str],
    platform: Platform,
) -> Image:
    """Make an image of the archive, which may be compressed. See `Images.import_image`."""
    check_os(platform)
    run_config = apply_changes(RunConfig(), changes)
    async with AsyncExitStack() as undo:
        pins = undo.enter_context(images.garbage.pinned())
        ingest = images.content.ingest()
        undo.callback(ingest.abort)
        await read_in_thread(source, lambda read: _receive(read, ingest))
        unpacking = Unpacking(images.content, images.snapshotter, images.workers)
        undo.push_async_callback(unpacking.close)
        digest = ingest.digest
        unpacking.start(LayerFile(ingest.path, digest, ingest.size))
        unpacked = await unpacking.result(digest)
        layer = unpacking.adopt_blob(digest)
        config = _config(run_config, message, platform, unpacked.diff_id)
        for pinned in (unpacked.diff_id, layer.digest):
            images.garbage.pin(pins, pinned)
        image = store(images, config, [layer], pins, keep_layers=lambda: unpacking.keep(digest))
        images.durability.sync_soon()
    if reference is not None:
        images.tag_image(image, reference)
    images.tell("import", image)
    return image


def _config(run_config: RunConfig, message: str, platform: Platform, diff_id: str) -> ImageConfig:
    created = rfc3339(time.time_ns())
    return ImageConfig(
        architecture=platform.architecture,
        comment=message or None,
        config=run_config,
        created=created,
        history=[History(created=created, comment=message or None)],
        os=platform.os,
        rootfs=RootFS(diff_ids=[diff_id]),
        variant=platform.variant or None,
    )


def store(
    images: Images,
    config: ImageConfig,
    layers: Sequence[Descriptor],
    pins: list[str],
    *,
    keep_layers: Callable[[], None],
) -> Image:
    """Write an image of layers whose blobs are there; `keep_layers` commits those that were unpacked for it."""
    config_data = msgspec.json.encode(config)
    image_id = digest_of(config_data)
    manifest = Manifest(config=Descriptor(CONFIG, len(config_data), image_id), layers=list(layers))
    manifest_data = msgspec.json.encode(manifest)
    for digest in (image_id, digest_of(manifest_data)):
        images.garbage.pin(pins, digest)
    images.content.add(config_data)
    manifest_digest = images.content.add(manifest_data)
    with images.store.transaction():
        keep_layers()
        images.durability.mark(image_id)
        return images.catalog.add(image_id, config, manifest, manifest_digest=manifest_digest)


def _receive(read: Read, ingest: Ingest) -> None:
    while chunk := read(_CHUNK):
        ingest.write(chunk)
    ingest.close()
