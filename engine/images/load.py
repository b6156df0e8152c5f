"""`docker load`: an archive of images becomes images.

The stream is read once. Each file that looks like a layer is unpacked while the rest still arrives; what turns out not
to be needed is dropped. An image exists from the moment its record is in the database, which is written last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec

from ..errors import InvalidArgument
from .archive import Archive, ArchivedFile, ArchivedImage, parse_tag, read_images, receive
from .catalog import Image
from .config import CONFIG, Descriptor, ImageConfig, Manifest, Platform, check_history, decode_config, layer_media_type
from .content import digest_of
from .progress import Message, layer_progress, stream
from .streams import read_in_thread
from .unpack import LayerFile, Unpacking

if TYPE_CHECKING:
    from .images import Images

_ACTION = "Loading layer"


async def load(
    images: Images, source: AsyncIterator[bytes], *, platforms: Sequence[Platform], quiet: bool
) -> AsyncIterator[Message]:
    """Load all images of an archive, telling of it as dockerd does. See `Images.load`."""
    async with AsyncExitStack() as undo:
        operation = _Load(images, quiet, undo.enter_context(images.garbage.pinned()))
        undo.push_async_callback(operation.close)
        await operation.receive(source)
        loaded: list[Image] = []
        parents: list[tuple[Image, str]] = []
        has_names = False
        for archived in read_images(operation.archive, platforms):
            config = decode_config(archived.config)
            if platforms and not any(config.platform.matches(wanted) for wanted in platforms):
                continue
            references = [parse_tag(name) for name in archived.names]
            async for message in operation.unpack(archived, config):
                yield message
            image = operation.commit(archived, config)
            index = operation.keep_index(archived)
            loaded.append(image)
            parents.append((image, archived.parent))
            for reference in references:
                previous = images.catalog.tag(reference, image, index=index)
                if previous is not None:
                    yield stream(
                        f"The image {reference.familiar} already exists, "
                        f"renaming the old one with ID {previous.id} to empty string\n"
                    )
                yield stream(f"Loaded image: {reference.familiar}\n")
            has_names = bool(references)
            images.durability.sync_soon()
            images.tell("load", image)
        _link_parents(images, parents)
        await images.garbage.collect(blobs=(), diff_ids=())
        if loaded and not has_names:
            # dockerd lists the ids of all where the last one has no name.
            yield stream("".join(f"Loaded image ID: {image.id}\n" for image in loaded))


class _Load:
    def __init__(self, images: Images, quiet: bool, pins: list[str]) -> None:
        self._images = images
        self._quiet, self._pins = quiet, pins
        self._unpacking = Unpacking(images.content, images.snapshotter, images.workers)
        self._verified: set[str] = set()
        self.archive = Archive()

    async def receive(self, source: AsyncIterator[bytes]) -> None:
        loop = asyncio.get_running_loop()

        def on_file(file: ArchivedFile) -> None:
            if file.is_layer:
                loop.call_soon_threadsafe(self._start_early, file)

        await read_in_thread(source, lambda read: receive(read, self._images.content, self.archive, on_file))

    async def unpack(self, archived: ArchivedImage, config: ImageConfig) -> AsyncIterator[Message]:
        """Wait for the image's layers, checking each against the config."""
        if len(archived.layers) != len(config.diff_ids):
            raise InvalidArgument(
                f"invalid manifest, layers length mismatch: expected {len(archived.layers)}, got {len(config.diff_ids)}"
            )
        check_history(config)
        waited: list[tuple[int, str, ArchivedFile]] = []
        for index, (diff_id, file) in enumerate(zip(config.diff_ids, archived.layers, strict=True)):
            self._images.garbage.pin(self._pins, diff_id)
            if not self._needs_unpacking(diff_id, file, keeps_blob=archived.manifest is not None):
                continue
            if file is None:
                raise InvalidArgument(f"open {archived.layer_names[index]}: no such file or directory")
            self._unpacking.start(_layer_file(file))
            waited.append((index, diff_id, file))
        for index, diff_id, file in waited:
            async for message in self._wait(index, diff_id, file):
                yield message

    def commit(self, archived: ArchivedImage, config: ImageConfig) -> Image:
        """Store the image's blobs, layers and record, all in one turn of the event loop."""
        images = self._images
        image_id = digest_of(archived.config)
        known = images.catalog.get(image_id)
        if known is not None:
            return known
        layers = [
            self._adopt_layer(diff_id, file, keeps_blob=archived.manifest is not None)
            for diff_id, file in zip(config.diff_ids, archived.layers, strict=True)
        ]
        self._pin_all([image_id, *(layer.digest for layer in layers)])
        images.content.add(archived.config)
        manifest_data = self._manifest(archived, image_id, layers)
        manifest_digest = images.content.add(manifest_data)
        self._pin_all([manifest_digest])
        manifest = msgspec.json.decode(manifest_data, type=Manifest)
        with images.store.transaction():
            for file in archived.layers:
                if file is not None and file.digest in self._verified:
                    self._unpacking.keep(file.digest)
            images.durability.mark(image_id)
            return images.catalog.add(image_id, config, manifest, manifest_digest=manifest_digest)

    def keep_index(self, archived: ArchivedImage) -> str:
        """Store the index that an image is in, with its attestations; return its digest."""
        index, content = archived.index, self._images.content
        if index is None:
            return ""
        # The image may be here with another manifest: the index's own tells that it is this one.
        documents = [*index.documents, *([archived.manifest] if archived.manifest is not None else [])]
        self._pin_all([digest_of(data) for data in documents] + [file.digest for file in index.files])
        for file in index.files:
            if not content.has(file.digest):
                content.adopt(file.ingest.path, file.digest)
        for data in documents:
            content.add(data)
        return index.digest

    async def close(self) -> None:
        await self._unpacking.close()
        await asyncio.to_thread(self.archive.discard)

    def _is_known(self, diff_id: str) -> bool:
        """Tell whether a layer is here as a whole; where only a container still uses it, its blob is gone."""
        has_blob = self._images.catalog.layer_descriptor(diff_id) is not None
        return has_blob and self._images.snapshotter.layer(diff_id) is not None

    def _needs_unpacking(self, diff_id: str, file: ArchivedFile | None, *, keeps_blob: bool) -> bool:
        """Tell whether a layer is not here yet, or comes in another compression that only unpacking can verify."""
        if not self._is_known(diff_id):
            return True
        return file is not None and keeps_blob and file.digest != diff_id and not self._has_blob_of(diff_id, file)

    def _has_blob_of(self, diff_id: str, file: ArchivedFile) -> bool:
        known = self._images.catalog.layer_descriptor(diff_id)
        return known is not None and known.digest == file.digest

    def _start_early(self, file: ArchivedFile) -> None:
        """Begin to unpack what looks like a layer; whether it is one of an image is known only at the end."""
        if not self._is_known(file.digest) and not self._images.catalog.has_layer_blob(file.digest):
            self._unpacking.start(_layer_file(file))

    async def _wait(self, index: int, diff_id: str, file: ArchivedFile) -> AsyncIterator[Message]:
        short = diff_id.removeprefix("sha256:")[:12]
        async for done in self._unpacking.progress(file.digest):
            if not self._quiet:
                yield layer_progress(_ACTION, short, current=done, total=file.size)
        unpacked = await self._unpacking.result(file.digest)
        if not self._quiet:
            yield layer_progress(_ACTION, short, current=file.size, total=file.size)
        if unpacked.diff_id != diff_id:
            raise InvalidArgument(f'invalid diffID for layer {index}: expected "{diff_id}", got "{unpacked.diff_id}"')
        self._verified.add(file.digest)

    def _adopt_layer(self, diff_id: str, file: ArchivedFile | None, *, keeps_blob: bool) -> Descriptor:
        """Return where a layer's blob is in the content store; `keeps_blob` wants the archive's own, byte for byte."""
        if file is not None and file.digest in self._verified:
            return self._unpacking.adopt_blob(file.digest)
        if file is not None and keeps_blob and file.digest == diff_id:
            if not self._images.content.has(file.digest):
                self._images.content.adopt(file.ingest.path, file.digest)
            return Descriptor(layer_media_type(""), file.size, file.digest)
        known = self._images.catalog.layer_descriptor(diff_id)
        if known is None:
            raise InvalidArgument(f"layer {diff_id}: its blob is not in the content store")
        return known

    def _manifest(self, archived: ArchivedImage, image_id: str, layers: list[Descriptor]) -> bytes:
        """Return the archive's own manifest where all it names is stored, else one made as `docker save` does."""
        if archived.manifest is not None:
            own = msgspec.json.decode(archived.manifest, type=Manifest)
            wanted = [
                file.digest if file is not None else layer.digest
                for file, layer in zip(archived.layers, layers, strict=True)
            ]
            has_all = all(self._images.content.has(digest) for digest in wanted)
            if has_all and own.config.digest == image_id and [layer.digest for layer in own.layers] == wanted:
                return archived.manifest
        config = Descriptor(CONFIG, len(archived.config), image_id)
        return msgspec.json.encode(Manifest(config=config, layers=layers))

    def _pin_all(self, digests: list[str]) -> None:
        for digest in digests:
            self._images.garbage.pin(self._pins, digest)


def _layer_file(file: ArchivedFile) -> LayerFile:
    return LayerFile(file.ingest.path, file.digest, file.size)


def _link_parents(images: Images, parents: list[tuple[Image, str]]) -> None:
    """Set the parents that a manifest tells of, where both are here and one's history goes on from the other's."""
    loaded = {image.id: image for image, _ in parents}
    for image, parent_id in parents:
        parent = loaded.get(parent_id)
        if parent is None or parent is image:
            continue
        above, below = image.config.history or [], parent.config.history or []
        if (above or below) and (len(above) != len(below) + 1 or above[: len(below)] != below):
            raise InvalidArgument(f"image {parent.id} is not a valid parent for {image.id}")
        images.catalog.set_parent(image, parent.id)
