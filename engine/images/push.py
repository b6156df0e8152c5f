"""`docker push`: an image to a registry.

A manifest that came from a registry or an archive goes out byte for byte. Layers that are not compressed here are
compressed for the way, always to the same bytes, and the manifest is then of Docker's own kind, as dockerd makes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..errors import Internal, NotFound
from ..ids import short_id
from .catalog import Image
from .config import DOCKER_MANIFEST, INDEXES, LAYER, Descriptor, Manifest, Platform
from .content import digest_of
from .indexes import KeptIndex
from .narration import Narration, narrated
from .progress import Message
from .references import Reference
from .registry import uploads
from .registry.credentials import Credentials
from .registry.failures import NoCredentials
from .registry.session import Session
from .sessions import with_session

if TYPE_CHECKING:
    from .images import Images

_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_PLAIN_LAYERS = (LAYER, "application/vnd.docker.image.rootfs.diff.tar")
_LEVEL = 4
_CHUNK = 1 << 20


def push(
    images: Images, reference: Reference, credentials: Credentials, platform: Platform | None
) -> AsyncIterator[Message]:
    """Push a tag, or all tags of a bare name. See `Images.push`."""
    if platform is not None:
        images.catalog.resolve(reference.familiar, platform=platform)

    async def work(narration: Narration) -> None:
        narration.status(f"The push refers to repository [{reference.name}]")
        tagged = [
            (each, images.catalog.resolve(each.familiar, platform=platform) if platform is not None else image)
            for each, image in _tagged(images, reference)
        ]
        try:
            await _push(images, reference, tagged, credentials, narration, has_index=platform is None)
        except NoCredentials as error:
            raise Internal("no basic auth credentials") from error

    return narrated(work)


def _tagged(images: Images, reference: Reference) -> list[tuple[Reference, Image]]:
    named = images.catalog.named(reference.familiar_name)
    if not named:
        raise Internal(f"An image does not exist locally with the tag: {reference.familiar_name}")
    if reference.digest is not None:
        raise Internal("cannot push a digest reference")
    tags = [(found, image) for found, image in named if found.tag is not None]
    if reference.tag is None:
        if not tags:
            raise Internal(f"no tags to push for {reference.familiar_name}")
        return tags
    chosen = [(found, image) for found, image in tags if found.tag == reference.tag]
    if not chosen:
        raise Internal(f"tag does not exist: {reference.familiar}")
    return chosen


async def _push(
    images: Images,
    reference: Reference,
    tagged: list[tuple[Reference, Image]],
    credentials: Credentials,
    narration: Narration,
    *,
    has_index: bool,
) -> None:
    """Push images; with `has_index` as the indexes that they came in, where these are whole here."""

    async def work(session: Session) -> None:
        for each, image in tagged:
            index = images.catalog.index_of(each) if has_index else None
            with images.garbage.pinned() as pins:
                for pinned in _needed(image, index):
                    images.garbage.pin(pins, pinned)
                await _Push(images, session, each, narration).run(image, index)
                images.catalog.note_repository(image, each.name)

    await with_session(images, reference, credentials, work, pushes=True)
    labels = tagged[-1][1].config.labels
    images.events.publish("image", "push", reference.familiar, {**labels, "name": reference.familiar_name})


def _needed(image: Image, index: KeptIndex | None) -> Iterator[str]:
    """Return the blobs and layers that must stay until all is pushed."""
    yield from image.blobs
    yield from image.diff_ids
    if index is not None:
        yield from (document.digest for document in index.documents)
        for entry in index.entries:
            yield from entry.blobs


class _Push:
    """One tag to one endpoint."""

    def __init__(self, images: Images, session: Session, reference: Reference, narration: Narration) -> None:
        self._images, self._session, self._narration = images, session, narration
        self._reference = reference

    async def run(self, image: Image, index: KeptIndex | None) -> None:
        """Push an image, or the whole index it came in; where that is not whole here, say which part went."""
        catalog = self._images.catalog
        if index is None or not all(catalog.has_whole(entry) for entry in index.entries):
            pushed = await self._image(image, self._reference.tag)
            if index is not None:
                aux = {
                    "manifestPushedInsteadOfIndex": True,
                    "originalIndex": msgspec.to_builtins(index.descriptor),
                    "selectedManifest": msgspec.to_builtins(pushed),
                }
                self._narration.say({"progressDetail": {}, "aux": aux})
        else:
            pushed = await self._index(index)
        digest = pushed.digest
        self._narration.status(f"{self._reference.tag}: digest: {digest} size: {pushed.size}")
        by_digest = replace(self._reference, tag=None, digest=digest)
        if catalog.lookup(by_digest) is None and catalog.get(image.id) is image:
            catalog.tag(by_digest, image, index=digest if pushed.media_type in INDEXES else "")
        aux = {"Tag": self._reference.tag, "Digest": digest, "Size": pushed.size}
        self._narration.say({"progressDetail": {}, "aux": aux})

    async def _index(self, index: KeptIndex) -> Descriptor:
        """Push all that an index names, then the index, as it came."""
        for entry in index.entries:
            image = self._images.catalog.image_of(entry)
            if entry.manifest is None:
                raise NotFound(f"content digest {entry.descriptor.digest}: not found")
            if image is not None:
                await self._layers(list(zip(image.diff_ids, entry.manifest.layers, strict=True)), as_they_are=True)
            else:
                for blob in {layer.digest: layer for layer in entry.manifest.layers}.values():
                    await self._blob(blob.digest)
            await self._blob(entry.manifest.config.digest)
            await self._put(entry.descriptor.digest, entry.descriptor.digest, entry.descriptor.media_type)
        for document in reversed(index.documents[1:]):
            await self._put(document.digest, document.digest, document.media_type)
        await self._put(self._reference.tag, index.descriptor.digest, index.descriptor.media_type)
        return index.descriptor

    async def _image(self, image: Image, name: str | None) -> Descriptor:
        """Push one platform's image; return what it has become."""
        layers = await self._layers(list(zip(image.diff_ids, image.manifest.layers, strict=True)), as_they_are=False)
        data, media_type = self._manifest(image, layers)
        await self._blob(image.id)
        await uploads.put(self._session, f"manifests/{name}", data, media_type)
        return Descriptor(media_type, len(data), digest_of(data))

    async def _layers(self, layers: list[tuple[str, Descriptor]], *, as_they_are: bool) -> list[Descriptor]:
        """Bring layers, each a diff id and where its blob is, to the registry; return what manifests say of them."""
        pairs = dict(layers)
        for diff_id in reversed(pairs):
            self._narration.layer("Preparing", short_id(diff_id))
        try:
            async with asyncio.TaskGroup() as group:
                pushed = {
                    diff_id: group.create_task(self._layer(diff_id, layer, as_it_is=as_they_are))
                    for diff_id, layer in reversed(pairs.items())
                }
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        return [pushed[diff_id].result() for diff_id, _ in layers]

    async def _put(self, name: str | None, digest: str, media_type: str) -> None:
        data = self._images.content.read(digest)
        await uploads.put(self._session, f"manifests/{name}", data, media_type)

    async def _blob(self, digest: str) -> None:
        if not await uploads.exists(self._session, digest):
            path = self._images.content.path(digest)
            await self._upload(path, digest, path.stat().st_size, lambda done: None)

    async def _layer(self, diff_id: str, layer: Descriptor, *, as_it_is: bool) -> Descriptor:
        """Bring a layer to the registry, compressed unless `as_it_is`; return what the manifest has to say of it."""
        shown = short_id(diff_id)
        if self._images.uploads.locked():
            self._narration.layer("Waiting", shown)
        async with self._images.uploads:
            if as_it_is or layer.media_type not in _PLAIN_LAYERS:
                if not await self._is_there(layer.digest, shown):
                    path = self._images.content.path(layer.digest)
                    await self._upload_layer(path, layer, shown, lambda done: done, layer.size)
                return layer
            known = self._images.sources.compressed(diff_id)
            if known is not None and await self._is_there(known.digest, shown):
                return known
            return await self._compressed(diff_id, layer, shown)

    async def _compressed(self, diff_id: str, layer: Descriptor, shown: str) -> Descriptor:
        target = self._images.content.new_path()
        source = self._images.content.path(layer.digest)
        try:
            work = asyncio.ensure_future(
                asyncio.to_thread(
                    compress, source, target, lambda done: self._narration.progress("Pushing", shown, done, layer.size)
                )
            )
            try:
                digest, size = await asyncio.shield(work)
            except asyncio.CancelledError:
                # The thread cannot be stopped; its file is removed when it is through.
                await asyncio.wait([work])
                raise
            descriptor = Descriptor(_DOCKER_LAYER, size, digest)
            self._images.sources.note_compressed(diff_id, descriptor)
            if not await self._is_there(digest, shown):
                await self._upload_layer(target, descriptor, shown, lambda done: layer.size, layer.size)
            return descriptor
        finally:
            target.unlink(missing_ok=True)

    async def _is_there(self, digest: str, shown: str) -> bool:
        """Tell whether the repository has a blob, if need be by having it mounted."""
        sources = self._images.sources
        if await uploads.exists(self._session, digest):
            self._narration.layer("Layer already exists", shown)
            sources.note(digest, self._reference)
            return True
        source = await uploads.mount(self._session, digest, sources.elsewhere(digest, self._reference))
        if source is None:
            return False
        self._narration.layer(f"Mounted from {source}", shown)
        sources.note(digest, self._reference)
        return True

    async def _upload_layer(
        self, path: Path, layer: Descriptor, shown: str, shown_of: Callable[[int], int], total: int
    ) -> None:
        def on_progress(done: int) -> None:
            self._narration.progress("Pushing", shown, shown_of(done), total)

        await self._upload(path, layer.digest, layer.size, on_progress)
        self._narration.layer("Pushed", shown)
        self._images.sources.note(layer.digest, self._reference)

    async def _upload(self, path: Path, digest: str, size: int, on_progress: Callable[[int], None]) -> None:
        attempts = self._images.registry.attempts
        await uploads.upload(self._session, path, digest=digest, size=size, attempts=attempts, on_progress=on_progress)

    def _manifest(self, image: Image, layers: list[Descriptor]) -> tuple[bytes, str]:
        """Return the manifest to store: the image's own where all layers went as they are."""
        if layers == image.manifest.layers:
            return self._images.content.read(image.record.manifest), image.manifest.media_type
        size = self._images.content.size(image.id)
        manifest = Manifest(2, DOCKER_MANIFEST, Descriptor(_DOCKER_CONFIG, size, image.id), layers)
        return msgspec.json.encode(manifest), DOCKER_MANIFEST


def compress(source: Path, target: Path, on_progress: Callable[[int], None]) -> tuple[str, int]:
    """Write a file compressed by gzip, without name and time; return the digest and size. For a thread."""
    sha256, size, done = hashlib.sha256(), 0, 0
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
    with open(source, "rb", buffering=0) as plain, open(target, "xb", buffering=0) as packed:
        while True:
            chunk = plain.read(_CHUNK)
            data = packer.compress(chunk) if chunk else packer.flush()
            sha256.update(data)
            size += len(data)
            packed.write(data)
            if not chunk:
                return f"sha256:{sha256.hexdigest()}", size
            done += len(chunk)
            on_progress(done)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
