"""Which images there are, and which names point to them.

The catalog holds all images in memory and writes through to the database; it resolves what a client typed. It neither
reads nor removes content: whoever adds an image has stored its blobs and layers before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from ..errors import Error, InvalidArgument, NotFound
from ..ids import matching_prefix
from ..snapshots.snapshotter import Snapshotter
from ..store import Store
from .config import Descriptor, ImageConfig, Manifest, Platform, chain_ids, decode_config
from .content import ContentStore
from .indexes import Entry, KeptIndex, read_index, subject
from .references import Reference, parse, parse_any

logger = logging.getLogger(__name__)


class ImageRecord(msgspec.Struct):
    """What the database keeps of an image, by its id; `repositories` are those it was pulled from or pushed to."""

    manifest: str
    parent: str = ""
    last_tagged_ns: int = 0
    repositories: list[str] = []


class ReferenceRecord(msgspec.Struct):
    """The image that a name stands for, and the index that has it for other platforms, where it came in one."""

    image: str
    index: str = ""


@dataclass(slots=True)
class Image:
    """An image that is here: its config, its manifest, and the names it has."""

    id: str
    config: ImageConfig
    manifest: Manifest
    record: ImageRecord
    size: int
    created_ns: int | None
    manifest_size: int
    references: set[Reference] = field(default_factory=set)

    @property
    def diff_ids(self) -> list[str]:
        """Its layers, the lowest first: what `Snapshotter.prepare` takes."""
        return self.config.diff_ids

    @property
    def chain_ids(self) -> list[str]:
        return list(chain_ids(self.diff_ids))

    @property
    def tags(self) -> list[str]:
        return [reference.familiar for reference in self._sorted() if reference.digest is None]

    @property
    def digests(self) -> list[str]:
        return [reference.familiar for reference in self._sorted() if reference.digest is not None]

    @property
    def blobs(self) -> list[str]:
        """The digests of all that the content store keeps for it."""
        return [self.id, self.record.manifest, *(layer.digest for layer in self.manifest.layers)]

    def _sorted(self) -> list[Reference]:
        return sorted(self.references, key=str)


class Catalog:
    def __init__(self, store: Store, content: ContentStore, snapshotter: Snapshotter) -> None:
        self._store, self.content = store, content
        self._snapshotter = snapshotter
        self._image_table = store.table("images", ImageRecord)
        self._reference_table = store.table("references_to_images", ReferenceRecord)
        self._images: dict[str, Image] = {}
        self._references: dict[Reference, ReferenceRecord] = {}
        self._indexes: dict[str, KeptIndex] = {}
        self.released: set[str] = set()
        """Blobs of indexes that no name points to any more; the garbage takes them from here."""
        self._damaged: set[str] = set()
        for image_id, record in self._image_table.all():
            try:
                self._images[image_id] = self._load(image_id, record)
            except (Error, msgspec.DecodeError) as error:
                logger.error("%s: the image cannot be used: %s", image_id, error)
                self._damaged.add(image_id)
        for text, pointer in self._reference_table.all():
            if pointer.image in self._images:
                self._point(parse(text), pointer)

    def _load(self, image_id: str, record: ImageRecord) -> Image:
        manifest = msgspec.json.decode(self.content.read(record.manifest), type=Manifest)
        return self._new(image_id, decode_config(self.content.read(image_id)), manifest, record)

    def _new(self, image_id: str, config: ImageConfig, manifest: Manifest, record: ImageRecord) -> Image:
        size = 0
        for diff_id in config.diff_ids:
            layer = self._snapshotter.layer(diff_id)
            if layer is None:
                raise InvalidArgument(f"failed to get layer {diff_id}: layer does not exist")
            size += layer.size
        manifest_size = self.content.size(record.manifest)
        return Image(image_id, config, manifest, record, size, config.created_ns, manifest_size)

    @property
    def has_damage(self) -> bool:
        """Whether an image is recorded that cannot be read; what it needs is then not told from garbage."""
        return bool(self._damaged)

    def __len__(self) -> int:
        return len(self._images)

    def images(self) -> Iterable[Image]:
        return self._images.values()

    def get(self, image_id: str) -> Image | None:
        return self._images.get(image_id)

    def with_manifest(self, digest: str) -> Image | None:
        """Return the image whose own manifest has a digest."""
        return next((image for image in self._images.values() if image.record.manifest == digest), None)

    def add(self, image_id: str, config: ImageConfig, manifest: Manifest, *, manifest_digest: str) -> Image:
        """Add an image whose blobs and layers are stored; one that is there already stays as it is."""
        image = self._images.get(image_id)
        if image is None:
            record = ImageRecord(manifest_digest)
            image = self._new(image_id, config, manifest, record)
            self._image_table.put(image_id, record)
            self._images[image_id] = image
        return image

    def set_manifest(self, image: Image, manifest: Manifest, *, manifest_digest: str) -> None:
        """Have an image that is here in another form, whose blobs are stored; the old ones are for the garbage."""
        image.record.manifest, image.manifest = manifest_digest, manifest
        image.manifest_size = self.content.size(manifest_digest)
        self._image_table.put(image.id, image.record)

    def remove(self, image: Image) -> None:
        """Remove an image that has no references left."""
        with self._store.transaction():
            for child in self.children(image.id):
                self.set_parent(child, "")
            self._image_table.delete(image.id)
        del self._images[image.id]

    def drop(self, image_id: str) -> None:
        """Remove an image, also one that could not be read; its names stay with the other platforms' images."""
        image = self._images.get(image_id)
        if image is None:
            self._image_table.delete(image_id)
            self._damaged.discard(image_id)
            return
        with self._store.transaction():
            for reference in list(image.references):
                others = [other for other in self.platforms(reference) if other is not image]
                if others:
                    pointer = ReferenceRecord(others[0].id, self._references[reference].index)
                    self._reference_table.put(str(reference), pointer)
                    self._references[reference] = pointer
                else:
                    self.untag(reference)
            image.references.clear()
            self.remove(image)

    def set_parent(self, image: Image, parent: str) -> None:
        image.record.parent = parent
        self._image_table.put(image.id, image.record)

    def note_repository(self, image: Image, name: str) -> None:
        """Remember a repository that has the image."""
        if name not in image.record.repositories:
            image.record.repositories = [*image.record.repositories, name]
            self._image_table.put(image.id, image.record)

    def children(self, image_id: str) -> list[Image]:
        return [image for image in self._images.values() if image.record.parent == image_id]

    def layer_descriptor(self, diff_id: str) -> Descriptor | None:
        """Return where the content store has a layer's blob, by what an image that has the layer says."""
        for image in self._images.values():
            if diff_id in image.diff_ids:
                return image.manifest.layers[image.diff_ids.index(diff_id)]
        return None

    def diff_id_of(self, blob: str) -> str | None:
        """Return the layer that a blob is, by what an image that has it says."""
        for image in self._images.values():
            for diff_id, layer in zip(image.diff_ids, image.manifest.layers, strict=True):
                if layer.digest == blob:
                    return diff_id
        return None

    def has_layer_blob(self, digest: str) -> bool:
        """Tell whether a blob is that of a layer which is unpacked."""
        return any(layer.digest == digest for image in self._images.values() for layer in image.manifest.layers)

    # References

    def tag(self, reference: Reference, image: Image, *, index: str = "") -> Image | None:
        """Point a name to an image; return the other image that it pointed to before.

        `index` is the digest of a stored index that has the image, and others that the name then stands for too.
        """
        reference = reference.key()
        kept = read_index(self.content, index) if index else None
        before, pointer = self._references.get(reference), ReferenceRecord(image.id, index)
        with self._store.transaction():
            self._reference_table.put(str(reference), pointer)
            if reference.digest is None:
                image.record.last_tagged_ns = time.time_ns()
                self._image_table.put(image.id, image.record)
        self._unpoint(reference)
        if kept is not None:
            self._indexes[index] = kept
        self._point(reference, pointer)
        if index:
            self._point_others(index)
        if before is not None:
            self._release(before.index)
        previous = self._images.get(before.image) if before is not None else None
        return previous if previous is not image else None

    def untag(self, reference: Reference) -> None:
        reference = reference.key()
        if reference not in self._references:
            raise NotFound("reference does not exist")
        self._reference_table.delete(str(reference))
        self._unpoint(reference)
        self._release(self._references.pop(reference).index)

    def lookup(self, reference: Reference) -> Image | None:
        """Return the image that a name points to."""
        pointer = self._references.get(reference.key())
        return self._images.get(pointer.image) if pointer is not None else None

    def points_to(self, reference: Reference, image: Image, index: str) -> bool:
        """Tell whether a name stands for just this."""
        return self._references.get(reference.key()) == ReferenceRecord(image.id, index)

    def platforms(self, reference: Reference) -> list[Image]:
        """Return all images that a name stands for, one a platform; the one that it points to is the first."""
        pointer = self._references.get(reference.key())
        if pointer is None:
            return []
        found = {pointer.image: self._images[pointer.image]}
        index = self._indexes.get(pointer.index)
        for entry in index.entries if index is not None else ():
            image = self.image_of(entry)
            if image is not None:
                found[image.id] = image
        return list(found.values())

    def siblings(self, image: Image) -> list[Image]:
        """Return the images that share a name with one, for other platforms."""
        named = [reference for reference in image.references if self._references[reference].index]
        found = {other.id: other for reference in sorted(named, key=str) for other in self.platforms(reference)}
        return [other for other in found.values() if other is not image]

    def is_hidden(self, image: Image) -> bool:
        """Tell whether an image has no name of its own, but is one of another's platforms."""
        return bool(image.references) and not any(self.lookup(reference) is image for reference in image.references)

    # Indexes

    def index_of(self, reference: Reference) -> KeptIndex | None:
        """Return the index that a name stands for."""
        pointer = self._references.get(reference.key())
        return self._indexes.get(pointer.index) if pointer is not None else None

    def index_for(self, image: Image, text: str = "") -> KeptIndex | None:
        """Return the index that an image came in: what `text` names, else what the first of its names stands for."""
        reference = parse_any(text) if text else ""
        if isinstance(reference, Reference) and reference.key() in self._references:
            return self.index_of(reference)
        named = [reference for reference in image.references if self.index_of(reference) is not None]
        return self.index_of(min(named, key=str)) if named else None

    def image_of(self, entry: Entry) -> Image | None:
        """Return the image of an index's manifest, where it is here."""
        manifest = entry.manifest
        image = self._images.get(manifest.config.digest) if manifest is not None else None
        return image if manifest and image and len(manifest.layers) == len(image.diff_ids) else None

    def has_whole(self, entry: Entry) -> bool:
        """Tell whether all is here of what an index's manifest names, so that it can be passed on."""
        return bool(entry.blobs) and all(self.content.has(digest) for digest in entry.blobs)

    def blobs_for(self, image: Image) -> set[str]:
        """Return the digests of an image's blobs, with those of its attestations and other manifests."""
        blobs = set(image.blobs)
        for index in self._indexes.values():
            for entry in index.entries:
                if self.image_of(entry) is image:
                    blobs.update(entry.blobs)
                    for attestation in index.attestations_of(entry.descriptor.digest):
                        blobs.update(attestation.blobs)
        return blobs

    def index_blobs(self) -> set[str]:
        """Return the digests that the indexes add to those of the images: theirs, other manifests', attestations'."""
        return {digest for index in self._indexes.values() for digest in self._blobs_of(index)}

    def _blobs_of(self, index: KeptIndex) -> Iterator[str]:
        here = {entry.descriptor.digest for entry in index.entries if self.image_of(entry) is not None}
        yield from (document.digest for document in index.documents)
        for entry in index.entries:
            if entry.descriptor.digest in here or subject(entry.descriptor) in here:
                yield from entry.blobs

    def named(self, familiar_name: str) -> list[tuple[Reference, Image]]:
        """Return all references of one repository."""
        found = [
            (reference, self._images[pointer.image])
            for reference, pointer in self._references.items()
            if reference.familiar_name == familiar_name
        ]
        return sorted(found, key=lambda pair: str(pair[0]))

    def search(self, text: str) -> Image | None:
        """Return the image of an id or of an unambiguous prefix of one; an ambiguous prefix is refused."""
        prefix = text if text.startswith("sha256:") else f"sha256:{text}"
        found = matching_prefix(self._images, prefix)
        if len(found) > 1:
            raise InvalidArgument("ambiguous digest string")
        return self._images[found[0]] if found else None

    def resolve(self, text: str, *, platform: Platform | None = None) -> Image:
        """Find the image that a client named by reference, digest, id or prefix of an id; that of `platform`, if given.

        Raises NotFound in the words that the CLI and docker-py look for, and InvalidArgument for what is no reference.
        """
        image = self._resolve(text)
        if platform is None:
            return image
        for candidate in (image, *self.siblings(image)):
            if candidate.config.platform.matches(platform):
                return candidate
        raise NotFound(
            f"image with reference {text} was found but its platform ({image.config.platform}) "
            f"does not match the specified platform ({platform})"
        )

    def _resolve(self, text: str) -> Image:
        reference = parse_any(text)
        if isinstance(reference, str):
            image = self._images.get(reference)
            shown = reference
        else:
            image = self.lookup(reference) or self._searched(text)
            shown = reference.with_default_tag().familiar
        if image is None:
            raise NotFound(f"No such image: {shown}")
        return image

    def _searched(self, text: str) -> Image | None:
        try:
            return self.search(text)
        except InvalidArgument:
            # dockerd says the same of an ambiguous prefix as of an unknown one.
            return None

    def _point(self, reference: Reference, pointer: ReferenceRecord) -> None:
        if pointer.index and pointer.index not in self._indexes:
            try:
                self._indexes[pointer.index] = read_index(self.content, pointer.index)
            except Error as error:
                logger.error("%s: the index of %s cannot be used: %s", pointer.index, reference, error)
        self._references[reference] = pointer
        for image in self.platforms(reference):
            image.references.add(reference)

    def _point_others(self, index: str) -> None:
        """Have the other names of an index, too, stand for what came of it."""
        for reference, pointer in self._references.items():
            if pointer.index == index:
                for image in self.platforms(reference):
                    image.references.add(reference)

    def _unpoint(self, reference: Reference) -> None:
        for image in self.platforms(reference):
            image.references.discard(reference)

    def _release(self, digest: str) -> None:
        """Forget an index that no name points to."""
        if digest in self._indexes and not any(pointer.index == digest for pointer in self._references.values()):
            index = self._indexes.pop(digest)
            self.released.update(document.digest for document in index.documents)
            self.released.update(blob for entry in index.entries for blob in entry.blobs)
