"""`docker save`: images become one tar stream, at once an OCI image layout and an archive for `docker load`.

The layout is that of dockerd 28 (`blobs/`, `index.json`, `manifest.json`, `oci-layout`, `repositories`), without the
configs that it adds for Docker before 1.10. Blobs go out as they came in, so digests survive; nothing is written to
disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from ..errors import InvalidArgument, NotFound
from ..snapshots.tar import BLOCK, DIRECTORY, REGULAR
from .catalog import Catalog, Image
from .config import Descriptor, Index, Manifest, Platform
from .content import ContentStore
from .indexes import Entry, KeptIndex, subject
from .platforms import own_descriptor
from .references import Reference, parse_any

if TYPE_CHECKING:
    from .images import Images

LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
_CHUNK = 1 << 18


@dataclass(slots=True)
class _Selected:
    """What goes into the archive under some names: an index with its images that are here, or one image."""

    image: Image
    index: KeptIndex | None
    entries: list[Entry]
    references: list[Reference] = field(default_factory=list)

    @property
    def target(self) -> Descriptor:
        return self.index.descriptor if self.index is not None else self.entries[0].descriptor

    @property
    def manifest(self) -> Manifest:
        """The manifest that the image goes out with."""
        found = (entry.manifest for entry in self.entries if entry.manifest is not None)
        return next(manifest for manifest in found if manifest.config.digest == self.image.id)

    @property
    def blobs(self) -> list[str]:
        """The digests of all blobs that go along."""
        documents = [document.digest for document in self.index.documents] if self.index is not None else []
        return list(dict.fromkeys([*documents, *(digest for entry in self.entries for digest in entry.blobs)]))


@dataclass(slots=True)
class _Member:
    """A member of the archive: bytes of ours, or a blob."""

    data: bytes | None
    blob: str
    size: int
    mtime_s: int


class _ManifestItem(msgspec.Struct, rename="pascal", omit_defaults=True):
    config: str
    repo_tags: list[str] | None
    layers: list[str]
    parent: str = ""
    layer_sources: dict[str, Descriptor] = {}


async def save(images: Images, names: Sequence[str], platforms: Sequence[Platform]) -> AsyncIterator[bytes]:
    """Return the archive in pieces. What can go wrong does so before the first. See `Images.save`."""
    selected = select(images.catalog, names, platforms)
    members = _members(images.content, selected)
    with images.garbage.pinned() as pins:
        for chosen in selected:
            for digest in chosen.blobs:
                images.garbage.pin(pins, digest)
        for path, member in sorted(members.items()):
            kind = DIRECTORY if path.endswith("/") else REGULAR
            yield tar_header(path, kind=kind, size=member.size, mtime_s=member.mtime_s)
            if member.data is not None:
                yield padded(member.data)
            else:
                async for chunk in _blob(images.content, member):
                    yield chunk
        yield bytes(2 * BLOCK)
    for chosen in selected:
        images.tell("save", chosen.image)


def select(catalog: Catalog, names: Sequence[str], platforms: Sequence[Platform]) -> list[_Selected]:
    """Find the images by the names given; a repository's name stands for all its tags."""
    selected: dict[str, _Selected] = {}
    for name in names:
        for image, reference in _named(catalog, name):
            found = _selected(catalog, image, reference, platforms)
            chosen = selected.setdefault(found.target.digest, found)
            if reference is not None and reference.digest is None and reference not in chosen.references:
                chosen.references.append(reference)
    return list(selected.values())


def _selected(catalog: Catalog, image: Image, reference: Reference | None, platforms: Sequence[Platform]) -> _Selected:
    """Return what is saved of an image: the index with several of its platforms, one image without its index."""
    candidates = [image, *catalog.siblings(image)]
    chosen = [each for each in candidates if not platforms or any(each.config.platform.matches(p) for p in platforms)]
    for wanted in platforms:
        if not any(each.config.platform.matches(wanted) for each in chosen):
            raise InvalidArgument(f"no suitable export target found for platform {wanted}")
    index = catalog.index_of(reference) if reference is not None else catalog.index_for(image)
    if index is not None and len(platforms) != 1:
        entries = [entry for entry in _here(catalog, index, chosen) if catalog.has_whole(entry)]
        saved = [each for entry in entries if (each := catalog.image_of(entry)) is not None]
        if len(saved) > 1 or (saved and len(entries) == len(index.entries)):
            return _Selected(image if image in saved else saved[0], index, entries)
    return _Selected(chosen[0], None, [Entry(own_descriptor(chosen[0]), chosen[0].manifest)])


def _here(catalog: Catalog, index: KeptIndex, images: Sequence[Image]) -> list[Entry]:
    """Return the manifests of an index that are those of the given images, or speak of one."""
    chosen = {entry.descriptor.digest for entry in index.entries if catalog.image_of(entry) in images}
    return [
        entry
        for entry in index.entries
        if entry.descriptor.digest in chosen or (entry.blobs and subject(entry.descriptor) in chosen)
    ]


def _named(catalog: Catalog, name: str) -> list[tuple[Image, Reference | None]]:
    reference = parse_any(name)
    if isinstance(reference, str):
        found = catalog.get(reference)
        if found is None:
            raise NotFound(f"No such image: {name}")
        return [(found, None)]
    if reference.is_name_only:
        named = catalog.named(reference.familiar_name)
        if named:
            return [(image, found_reference) for found_reference, image in named]
    elif reference.familiar_name != "sha256":
        found = catalog.lookup(reference)
        if found is None:
            raise NotFound("reference does not exist")
        return [(found, reference)]
    found = catalog.search(name)
    if found is None:
        raise NotFound(f"No such image: {name}")
    return [(found, None)]


def _members(content: ContentStore, selected: list[_Selected]) -> dict[str, _Member]:
    members: dict[str, _Member] = {}
    repositories: dict[str, dict[str, str]] = {}
    descriptors: list[Descriptor] = []
    items = []
    newest = 0
    for chosen in selected:
        image = chosen.image
        created_s = (image.created_ns or 0) // 1_000_000_000
        newest = max(newest, created_s)
        undated = {chosen.target.digest, *(entry.descriptor.digest for entry in chosen.entries)}
        for digest in chosen.blobs:
            mtime_s = 0 if digest in undated else created_s
            members[blob_path(digest)] = _Member(None, digest, content.size(digest), mtime_s)
        descriptors += _descriptors(chosen)
        items.append(_item(chosen))
        for reference in chosen.references:
            if chosen.manifest.layers and reference.tag is not None:
                top = chosen.manifest.layers[-1].digest.removeprefix("sha256:")
                repositories.setdefault(reference.familiar_name, {})[reference.tag] = top
    index = Index(manifests=descriptors or None)
    documents = {
        "index.json": msgspec.json.encode(index),
        "manifest.json": msgspec.json.encode(items or None) + b"\n",
        "oci-layout": LAYOUT,
    }
    if repositories:
        documents["repositories"] = msgspec.json.encode(repositories, order="sorted") + b"\n"
    for name, data in documents.items():
        members[name] = _Member(data, "", len(data), 0)
    if items:
        members["blobs/"] = members["blobs/sha256/"] = _Member(b"", "", 0, newest)
    return members


def _descriptors(chosen: _Selected) -> list[Descriptor]:
    target = Descriptor(chosen.target.media_type, chosen.target.size, chosen.target.digest)
    if not chosen.references:
        return [target]
    return [
        msgspec.structs.replace(
            target,
            annotations={
                "io.containerd.image.name": str(reference),
                "org.opencontainers.image.ref.name": reference.tag or "",
            },
        )
        for reference in chosen.references
    ]


def _item(chosen: _Selected) -> _ManifestItem:
    image = chosen.image
    return _ManifestItem(
        config=blob_path(image.id),
        repo_tags=[reference.familiar for reference in chosen.references] or None,
        layers=[blob_path(layer.digest) for layer in chosen.manifest.layers],
        layer_sources=dict(zip(image.diff_ids, chosen.manifest.layers, strict=True)),
    )


def tar_header(path: str, *, kind: bytes, size: int, mtime_s: int) -> bytes:
    """Return a ustar header for a file or directory of root's."""
    mode = b"0000755" if kind == DIRECTORY else b"0000644"
    # Eleven octal digits reach to 8 GiB; beyond, GNU's base-256.
    sized = b"%011o\0" % size if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    head = path.encode().ljust(100, b"\0") + mode + b"\0" + b"0000000\0" * 2 + sized + b"%011o\0" % max(0, mtime_s)
    tail = kind + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2
    unsigned = (head + b" " * 8 + tail).ljust(BLOCK, b"\0")
    return (head + b"%06o\0 " % sum(unsigned) + tail).ljust(BLOCK, b"\0")


async def _blob(content: ContentStore, member: _Member) -> AsyncIterator[bytes]:
    with content.open(member.blob) as blob:
        left = member.size
        while left:
            chunk = await asyncio.to_thread(blob.read, min(_CHUNK, left))
            if not chunk:
                raise InvalidArgument(f"{member.blob}: the blob is too short")
            left -= len(chunk)
            yield chunk if left else padded(chunk, member.size)


def padded(data: bytes, size: int | None = None) -> bytes:
    """Return a member's data, or the last piece of it, filled up to whole blocks."""
    return data + bytes(-(len(data) if size is None else size) % BLOCK)


def blob_path(digest: str) -> str:
    """Return a blob's name in an image layout."""
    return f"blobs/{digest.replace(':', '/', 1)}"
