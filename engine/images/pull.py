"""`docker pull`: an image from a registry.

All layers are fetched and unpacked at the same time, each from its first byte on; what is here already is not fetched
again. Nothing is kept that was not verified. An image exists from the moment its record is in the database, which is
written last, in one turn with its blobs and layers.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import Error, Forbidden, InvalidArgument
from .catalog import Image
from .config import Index, Platform
from .indexes import subject
from .narration import Narration, narrated
from .progress import Message
from .references import Reference
from .registry import manifests
from .registry.credentials import Credentials
from .registry.failures import Refused, as_engine_error
from .registry.manifests import Document
from .registry.session import Session
from .sessions import with_session
from .transfer import Transfer

if TYPE_CHECKING:
    from .images import Images

logger = logging.getLogger(__name__)

_LAYERS = (
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
)
_CONFIGS = (
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/octet-stream",
    "application/json",
    "text/html",
    "",
)


def pull(
    images: Images, reference: Reference, credentials: Credentials, platform: Platform | None
) -> AsyncIterator[Message]:
    """Pull what a name stands for, all tags of it where it has neither tag nor digest. See `Images.pull`."""
    if reference.familiar_name == "scratch":
        raise Forbidden("'scratch' is a reserved name")

    async def work(narration: Narration) -> None:
        try:
            await _pull(images, reference, credentials, platform, narration)
        except Refused as error:
            raise worded(error, reference) from error

    return narrated(work)


async def _pull(
    images: Images, reference: Reference, credentials: Credentials, platform: Platform | None, narration: Narration
) -> None:
    async def work(session: Session) -> None:
        await _Pull(images, session, platform, narration).run(reference)

    await with_session(images, reference, credentials, work)


def worded(error: Refused, reference: Reference) -> Error:
    """Say a registry's refusal as dockerd does."""
    return as_engine_error(Refused(error.code, "", others=manifests.not_found_text(error, reference)))


class _Pull:
    """One pull from one endpoint."""

    def __init__(self, images: Images, session: Session, platform: Platform | None, narration: Narration) -> None:
        self._images, self._session, self._platform, self._narration = images, session, platform, narration

    async def run(self, reference: Reference) -> None:
        if reference.is_name_only:
            wanted = [reference.with_tag(tag) for tag in await manifests.tags(self._session)]
        else:
            wanted = [reference]
        is_newer = False
        for each in wanted:
            try:
                is_newer = await self._pull_one(each) or is_newer
            except Refused as error:
                raise worded(error, each) from error
        text = "Downloaded newer image for" if is_newer else "Image is up to date for"
        self._narration.status(f"Status: {text} {reference.familiar}")
        image = self._images.catalog.lookup(wanted[-1]) if wanted else None
        labels = image.config.labels if image is not None else {}
        attributes = {**labels, "name": reference.familiar_name}
        self._images.events.publish("image", "pull", reference.familiar, attributes)
        if image is not None and self._platform is not None and not image.config.platform.matches(self._platform):
            self._narration.status(
                f"WARNING: image with reference {reference.familiar} was found but its platform "
                f"({image.config.platform}) does not match the specified platform ({self._platform})"
            )

    async def _pull_one(self, reference: Reference) -> bool:
        """Pull a tag or digest; tell whether that changed anything."""
        async with AsyncExitStack() as undo:
            pins = undo.enter_context(self._images.garbage.pinned())
            found = await manifests.find(self._session, reference)
            image = self._present(reference, found.digest) if found is not None else None
            if image is not None and found is not None:
                self._begin(reference)
                return self._name(reference, image, found.digest)
            digest = found.digest if found is not None else None
            top = await manifests.fetch(self._session, reference, digest or reference.tag or "", digest=digest)
            *indexes, document = await manifests.path(self._session, reference, top, self._platform)
            check_media_types(document)
            self._begin(reference)
            transfer = Transfer(self._images, self._session, self._narration, pins, reference)
            undo.push_async_callback(transfer.close)
            attestations = await self._attestations(transfer, document, indexes)
            image = await self._image(transfer, document)
            transfer.adopt_documents([*indexes, document, *attestations])
            return self._name(reference, image, top.digest, index=top.digest if indexes else "", is_fetched=True)

    async def _attestations(
        self, transfer: Transfer, document: Document, indexes: Sequence[Document]
    ) -> list[Document]:
        """Fetch what speaks of a manifest. What a registry does not have, as many mirrors, is left out."""
        found = []
        for descriptor in manifests.decoded(indexes[-1].data, Index).manifests or [] if indexes else []:
            if subject(descriptor) == document.digest:
                try:
                    found.append(await transfer.fetch_attestation(descriptor))
                except Refused as error:
                    logger.info("%s: the attestation %s is not there: %s", document.digest, descriptor.digest, error)
        return found

    async def _image(self, transfer: Transfer, document: Document) -> Image:
        """Return the image of a manifest, fetched as far as it is not here."""
        images = self._images
        known = images.catalog.get(manifests.parse_manifest(document.data).config.digest)
        if known is not None:
            return known
        fetched = await transfer.fetch(document)
        image_id = transfer.adopt(fetched)
        images.content.add(document.data)
        with images.store.transaction():
            transfer.keep(fetched.layers)
            images.durability.mark(image_id)
            return images.catalog.add(image_id, fetched.config, fetched.manifest, manifest_digest=document.digest)

    def _begin(self, reference: Reference) -> None:
        shown = str(reference) if reference.digest is not None else reference.tag or ""
        self._narration.status(f"Pulling from {reference.path}", shown)

    def _present(self, reference: Reference, digest: str) -> Image | None:
        """Return the image that a digest is, where it is here already and is that of the wanted platform."""
        catalog = self._images.catalog
        index = catalog.index_of(replace(reference, tag=None, digest=digest))
        if index is None:
            return catalog.with_manifest(digest)
        wanted = self._platform or Platform.of_host()
        chosen = manifests.best([entry.descriptor for entry in index.entries], wanted)
        entry = index.entry(chosen.digest) if chosen is not None else None
        return catalog.image_of(entry) if entry is not None else None

    def _name(
        self, reference: Reference, image: Image, digest: str, *, index: str = "", is_fetched: bool = False
    ) -> bool:
        """Point the names to the image; tell whether one pointed elsewhere."""
        self._narration.status(f"Digest: {digest}")
        catalog = self._images.catalog
        is_newer = catalog.lookup(reference) is not image
        by_digest = replace(reference, tag=None, digest=digest)
        kept = catalog.index_of(by_digest)
        index = index or (kept.descriptor.digest if kept is not None else "")
        with self._images.store.transaction():
            if is_fetched or not catalog.points_to(by_digest, image, index):
                catalog.tag(by_digest, image, index=index)
            if not catalog.points_to(reference, image, index):
                catalog.tag(reference, image, index=index)
            catalog.note_repository(image, reference.name)
        self._images.durability.sync_soon()
        return is_newer


def check_media_types(document: Document) -> None:
    """Refuse what is no image."""
    manifest = manifests.parse_manifest(document.data)
    if manifest.config.media_type not in _CONFIGS:
        raise InvalidArgument(f'Encountered remote "{manifest.config.media_type}"(unknown) when fetching')
    for layer in manifest.layers:
        if not layer.media_type.startswith(_LAYERS):
            raise InvalidArgument(f"unsupported media type {layer.media_type}")
