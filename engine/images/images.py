"""The images service: what the API and the containers service ask of images.

One instance an engine, used from the event loop's thread. It owns the catalog, the content store and the pool of
workers; each verb has a module of its own. Errors carry dockerd's texts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path

from ...openapi.types.images import (
    AttestationStatement,
    ImageDeleteResponseItem,
    ImageHistoryResponseItem,
    ImageInspect,
    ImageSummary,
    OCIDescriptor,
    OCIPlatform,
)
from ...openapi.types.registries import DistributionInspect, ImageSearchResponseItem
from ..config import RegistryConfig
from ..errors import Conflict, InvalidArgument, NotFound
from ..events import Events
from ..filters import Filters
from ..snapshots.snapshotter import Snapshotter
from ..snapshots.workers import Workers
from ..store import Store
from . import download, import_image, load, platforms, pull, push, query, registries, remove, save
from .catalog import Catalog, Image
from .config import Platform
from .content import ContentStore
from .durability import Durability
from .garbage import Garbage
from .incoming import IncomingLayers
from .progress import Message, layer_progress
from .references import Reference, parse_repository_and_tag
from .registry.credentials import Credentials
from .registry.hosts import Endpoint
from .sources import Sources

logger = logging.getLogger(__name__)

_PROGRESS_INTERVAL_S = 0.1
_UNLIMITED = 1 << 16


class Images:
    def __init__(
        self, root: Path, store: Store, events: Events, snapshotter: Snapshotter, registry: RegistryConfig
    ) -> None:
        """Open the images under the data root."""
        self.reload(registry)
        self.plain_hosts: set[str] = set()
        self.store, self.events, self.snapshotter = store, events, snapshotter
        self.incoming = IncomingLayers(self)
        self.content = ContentStore(root / "content")
        self.workers = Workers()
        self.catalog = Catalog(store, self.content, snapshotter)
        self.garbage = Garbage(store, self.catalog, self.content, snapshotter)
        self.durability = Durability(store, self.content, snapshotter)
        self.sources = Sources(store)
        snapshotter.on_removed = self.garbage.collect_layers
        self.users: platforms.Users = lambda image_id: []
        """Set by the containers service: the containers of an image, each with whether it runs."""
        self._is_pruning = False

    def reload(self, registry: RegistryConfig) -> None:
        """Take how registries are reached from now on; what is under way keeps the turn that it has."""
        self.registry = registry
        self.downloads = asyncio.Semaphore(registry.max_concurrent_downloads or _UNLIMITED)
        self.uploads = asyncio.Semaphore(registry.max_concurrent_uploads or _UNLIMITED)

    async def start(self) -> None:
        """Remove what a killed daemon or a power cut left half-made. Called once, before the first request."""
        self.content.reconcile()
        await self._drop_lost()
        self.durability.sync_soon()
        await self.garbage.reconcile()
        known = list(self.catalog.images())
        self.sources.reconcile(
            {diff_id for image in known for diff_id in image.diff_ids},
            {layer.digest for image in known for layer in image.manifest.layers},
        )

    async def _drop_lost(self) -> None:
        """Drop images that a power cut took; their layers must not pass for whole, even where containers have them."""
        layers: set[str] = set()
        for image_id in self.durability.lost():
            logger.warning("%s: was not on disk when the machine went down, dropped", image_id)
            if (image := self.catalog.get(image_id)) is not None:
                layers.update(image.diff_ids)
            self.catalog.drop(image_id)
            self.durability.forget(image_id)
        layers -= {diff_id for image in self.catalog.images() for diff_id in image.diff_ids}
        await self.snapshotter.remove_layers(list(layers))

    async def close(self) -> None:
        await self.workers.close()
        await self.durability.close()

    # For the other services

    def count(self) -> int:
        return len(self.catalog)

    def get_image(self, ref: str, *, platform: OCIPlatform | None = None) -> Image:
        """Find an image by reference, digest, id or prefix of one; NotFound says `No such image: ...`.

        A container's root file system is then `snapshotter.prepare(container_id, image.diff_ids)`.
        """
        return self.catalog.resolve(ref, platform=_platform(platform) if platform else None)

    def manifest_of(self, image: Image, ref: str) -> OCIDescriptor | None:
        """Return which manifest of an index the image is that `ref` was resolved to, None where it came in none."""
        index = self.catalog.index_for(image, ref)
        found = (entry.descriptor for entry in index.entries if self.catalog.image_of(entry) is image) if index else ()
        return next((platforms.shown_descriptor(descriptor) for descriptor in found), None)

    def total_size(self) -> int:
        """Return what images take on disk: unpacked layers and blobs, each once."""
        known = list(self.catalog.images())
        diff_ids = {diff_id for image in known for diff_id in image.diff_ids}
        layers = sum(layer.size for diff_id in diff_ids if (layer := self.snapshotter.layer(diff_id)))
        blobs = self.catalog.index_blobs().union(*(image.blobs for image in known))
        return layers + sum(self.content.size(blob) for blob in blobs if self.content.has(blob))

    def find_id(self, ref: str) -> str | None:
        """Return the id of the image that `ref` stands for, None where there is none."""
        try:
            return self.catalog.resolve(ref).id
        except (NotFound, InvalidArgument):
            return None

    def descendants(self, image_id: str) -> set[str]:
        """Return the ids of the images made from an image, directly or not."""
        found: set[str] = set()
        pending = [image_id]
        while pending:
            children = {child.id for child in self.catalog.children(pending.pop())} - found
            found |= children
            pending += children
        return found

    # For the API

    async def list(
        self,
        filters: Filters,
        *,
        all: bool = False,
        shared_size: bool = False,
        manifests: bool = False,
        identity: bool = False,
    ) -> Sequence[ImageSummary]:
        """Return the images that match, the newest first."""
        found = query.listing(self.catalog, self.snapshotter, self.users, filters, all=all, shared_size=shared_size)
        if manifests:
            for item in found:
                image = self.catalog.resolve(item.id)
                item.manifests = platforms.summaries(self.catalog, image, self.users, has_identity=identity)
        return found

    async def inspect(self, ref: str, *, manifests: bool = False, platform: OCIPlatform | None = None) -> ImageInspect:
        image = self.get_image(ref, platform=platform)
        shown = query.inspect(self.catalog, image, ref, self.snapshotter)
        if manifests:
            shown.manifests = platforms.summaries(self.catalog, image, self.users, ref=ref)
        if platform is not None:
            shown.descriptor = platforms.shown_descriptor(platforms.own_descriptor(image))
        return shown

    async def attestations(
        self, ref: str, *, platform: OCIPlatform | None, predicate_types: Collection[str], has_statement: bool
    ) -> Sequence[AttestationStatement]:
        """Return the in-toto statements that came with an image."""
        image = self.get_image(ref, platform=platform)
        return platforms.statements(
            self.catalog, image, ref, predicate_types=predicate_types, has_statement=has_statement
        )

    async def history(self, ref: str, *, platform: OCIPlatform | None = None) -> Sequence[ImageHistoryResponseItem]:
        return query.history(self.catalog, self.get_image(ref, platform=platform), self.snapshotter)

    async def tag(self, ref: str, *, repo: str, tag: str) -> None:
        reference = parse_repository_and_tag(repo, tag)
        if reference is None:
            raise InvalidArgument("repository name must have at least one component")
        image = self.get_image(ref)
        index = self.catalog.index_for(image, ref)
        self.tag_image(image, reference, index=index.descriptor.digest if index is not None else "")

    async def remove(
        self, ref: str, *, force: bool = False, prune: bool = True, platforms: Sequence[OCIPlatform] = ()
    ) -> Sequence[ImageDeleteResponseItem]:
        """Remove a name, or an image by its id; return what was untagged and deleted.

        `prune` removes parents that nothing else needs, too. Of several platforms only those of `platforms` go.
        """
        return await remove.remove(self, ref, force=force, prune=prune, platforms=_platforms(platforms))

    async def prune(self, filters: Filters) -> tuple[Sequence[ImageDeleteResponseItem], int]:
        """Remove unused images; return what went, and the bytes that its layers held."""
        if self._is_pruning:
            raise Conflict("a prune operation is already running")
        self._is_pruning = True
        try:
            return await remove.prune(self, filters)
        finally:
            self._is_pruning = False

    def load(
        self, source: AsyncIterator[bytes], *, quiet: bool = True, platforms: Sequence[OCIPlatform] = ()
    ) -> AsyncIterator[Message]:
        """Load an archive of `docker save` or an OCI layout, compressed or not.

        Yields dockerd's messages; an error is raised from the iterator. Closing the iterator gives up, and leaves
        nothing of the image in work.
        """
        return load.load(self, source, platforms=_platforms(platforms), quiet=quiet)

    def save(self, names: Collection[str], *, platforms: Sequence[OCIPlatform] = ()) -> AsyncIterator[bytes]:
        """Write the named images as one archive. What can go wrong does so before the first piece."""
        return save.save(self, list(names), _platforms(platforms))

    def pull(self, reference: Reference, *, credentials: Credentials, platform: str = "") -> AsyncIterator[Message]:
        """Pull a tag or digest, or all tags of a bare name.

        Yields dockerd's messages; an error is raised from the iterator. Closing the iterator gives up, and leaves
        nothing of the image in work.
        """
        return pull.pull(self, reference, credentials, Platform.parse(platform) if platform else None)

    def push(
        self, reference: Reference, *, credentials: Credentials, platform: OCIPlatform | None = None
    ) -> AsyncIterator[Message]:
        """Push a tag, or all tags of a bare name; yields and raises as `pull` does."""
        return push.push(self, reference, credentials, _platform(platform) if platform else None)

    async def login(self, credentials: Credentials) -> str:
        """Check credentials at their registry; return the token that replaces them, where it gives one."""
        return await registries.login(self.registry, credentials)

    async def distribution(self, reference: Reference, *, credentials: Credentials) -> DistributionInspect:
        return await registries.distribution(self, reference, credentials)

    async def search(
        self, term: str, *, limit: int | None, filters: Filters, credentials: Credentials
    ) -> Sequence[ImageSearchResponseItem]:
        return await registries.search(self.registry, term, limit=limit, filters=filters, credentials=credentials)

    async def import_image(
        self,
        source: AsyncIterator[bytes],
        *,
        repo: str = "",
        tag: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        platform: str = "",
    ) -> AsyncIterator[Message]:
        """Make an image of the tar of a root file system; yields its id as a status when it is there."""
        image = await import_image.import_image(
            self,
            source,
            reference=parse_repository_and_tag(repo, tag),
            message=message,
            changes=changes,
            platform=Platform.parse(platform) if platform else Platform.of_host(),
        )
        yield {"status": image.id}

    async def import_url(
        self,
        url: str,
        *,
        repo: str = "",
        tag: str = "",
        message: str = "",
        changes: Sequence[str] = (),
        platform: str = "",
    ) -> AsyncIterator[Message]:
        """Like `import_image`, from what a web server has; yields how far it is, too."""
        parse_repository_and_tag(repo, tag)
        body = await download.download(url)
        yield {"status": f"Downloading from {body.url}"}
        made = self.import_image(body.pieces(), repo=repo, tag=tag, message=message, changes=changes, platform=platform)
        task = asyncio.ensure_future(anext(made))
        try:
            while not task.done():
                await asyncio.wait([task], timeout=_PROGRESS_INTERVAL_S)
                yield layer_progress("Importing", "", current=body.done, total=body.total)
            yield await task
        finally:
            task.cancel()
            await asyncio.wait([task])

    # For this room's verbs

    def note_scheme(self, endpoint: Endpoint) -> None:
        """Remember whether an insecure registry speaks HTTP, so as to ask the right way first."""
        if endpoint.is_insecure and not endpoint.is_mirror:
            (self.plain_hosts.discard if endpoint.is_tls else self.plain_hosts.add)(endpoint.host)

    def tag_image(self, image: Image, reference: Reference, *, index: str = "") -> None:
        """Name an image, and with `index` the other platforms' of the stored index that has this digest."""
        self.catalog.tag(reference, image, index=index)
        self.tell("tag", image, name=reference.familiar)

    def tell(self, action: str, image: Image, *, name: str = "") -> None:
        """Publish an event with the image's labels."""
        attributes = {**image.config.labels, "name": name or image.id}
        self.events.publish("image", action, image.id, attributes)


def _platforms(given: Sequence[OCIPlatform]) -> list[Platform]:
    return [_platform(wanted) for wanted in given]


def _platform(wanted: OCIPlatform) -> Platform:
    return Platform(wanted.os, wanted.architecture, wanted.variant if isinstance(wanted.variant, str) else "")
