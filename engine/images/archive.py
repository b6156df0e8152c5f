"""Archives of images as they come in: what is in them, and which images that makes.

`receive` reads the outer tar stream, compressed or not, into ingest files, each digested on the way; `read_images`
makes sense of the files, as an archive of `docker save` (`manifest.json`) or as an OCI image layout (`index.json`).
Both run in a thread or on small data and know nothing of what is stored already: that is `load.py`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from ..errors import InvalidArgument
from ..snapshots import tar
from ..snapshots.compression import NONE, Read, decompressed, detect
from .config import INDEXES, MANIFESTS, Descriptor, Index, Manifest, Platform
from .content import ContentStore, Ingest
from .indexes import MAX_NESTING, described_platform, is_attestation, subject
from .references import Reference, check_name, parse

T = TypeVar("T")

_MAX_LINKS = 40
_MAX_DOCUMENT = 8 << 20
_NAME_ANNOTATION = "io.containerd.image.name"
_TAG_ANNOTATION = "org.opencontainers.image.ref.name"


@dataclass(slots=True)
class ArchivedFile:
    """A regular file of the archive, in the ingest directory. `is_layer` says what its first bytes look like."""

    ingest: Ingest
    digest: str
    size: int
    is_layer: bool


@dataclass(slots=True)
class Archive:
    files: dict[str, ArchivedFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def find(self, path: str) -> ArchivedFile | None:
        """Return a file by its path in the archive, through links that stay in it."""
        path = _clean(path)
        for _ in range(_MAX_LINKS):
            if path in self.files:
                return self.files[path]
            if path not in self.links:
                return None
            path = self.links[path]
        return None

    def read(self, path: str) -> bytes:
        """Return a document; raises InvalidArgument where there is none."""
        found = self.find(path)
        if found is None:
            raise InvalidArgument(f"open {path}: no such file or directory")
        if found.size > _MAX_DOCUMENT:
            raise InvalidArgument(f"{path}: too large")
        return found.ingest.path.read_bytes()

    def blob(self, digest: str) -> ArchivedFile | None:
        """Return a blob of an OCI layout, whose name and data must agree."""
        found = self.find(f"blobs/{digest.replace(':', '/', 1)}")
        if found is not None and found.digest != digest:
            raise InvalidArgument(f"unexpected digest {found.digest}, expected {digest}")
        return found

    def discard(self) -> None:
        """Remove the ingest files that did not become blobs."""
        for file in self.files.values():
            file.ingest.abort()


class DockerManifestItem(msgspec.Struct, rename="pascal"):
    """An image in `manifest.json`."""

    config: str = ""
    repo_tags: list[str] | None = None
    layers: list[str] | None = None
    parent: str = ""


@dataclass(slots=True)
class ArchivedIndex:
    """An index that images of an archive are in: itself, indexes and attestations' manifests, and their files."""

    digest: str
    documents: list[bytes] = field(default_factory=list)
    files: list[ArchivedFile] = field(default_factory=list)


@dataclass(slots=True)
class ArchivedImage:
    """An image of an archive; a layer that is not in it is None, by a name for messages in `layer_names`."""

    config: bytes
    config_file: ArchivedFile
    layers: list[ArchivedFile | None]
    layer_names: list[str]
    names: list[str]
    parent: str = ""
    manifest: bytes | None = None
    index: ArchivedIndex | None = None


def receive(read: Read, content: ContentStore, archive: Archive, on_file: Callable[[ArchivedFile], None]) -> None:
    """Read a whole stream into `archive`, telling of each file when it is there. Raises tar's and compression's errors.

    The caller discards the archive in any case.
    """
    _, inflated = decompressed(read)
    reader = tar.TarReader(inflated)
    while (entry := reader.next()) is not None:
        path = _clean(entry.name.decode("utf-8", "surrogateescape"))
        if entry.kind == tar.REGULAR:
            file = archive.files[path] = _store(reader, content)
            archive.links.pop(path, None)
            on_file(file)
        elif entry.kind in (tar.SYMLINK, tar.HARD_LINK):
            target = entry.link.decode("utf-8", "surrogateescape")
            start = posixpath.dirname(path) if entry.kind == tar.SYMLINK else ""
            archive.links[path] = _clean(posixpath.join("/", start, target))
    reader.drain()


def _store(reader: tar.TarReader, content: ContentStore) -> ArchivedFile:
    ingest = content.ingest()
    try:
        head = chunk = reader.read()
        while chunk:
            ingest.write(chunk)
            chunk = reader.read()
    except BaseException:
        ingest.abort()
        raise
    ingest.close()
    is_layer = detect(head) != NONE or head[257:262] == b"ustar"
    return ArchivedFile(ingest, ingest.digest, ingest.size, is_layer)


def read_images(archive: Archive, platforms: Sequence[Platform]) -> list[ArchivedImage]:
    """Return the archive's images, those of `platforms` alone where some are given. Raises InvalidArgument.

    Of the images of one index the last has its names: that for this host, where it is among them.
    """
    if archive.find("manifest.json") is not None:
        manifests = dict(_manifests_by_config(archive))
        images = [_docker_image(archive, item, manifests) for item in _docker_manifest(archive)]
        return _with_indexes(archive, images, platforms)
    if archive.find("index.json") is not None:
        return list(_oci_images(archive, platforms))
    raise InvalidArgument("invalid archive: does not contain a manifest.json")


def _with_indexes(archive: Archive, images: list[ArchivedImage], platforms: Sequence[Platform]) -> list[ArchivedImage]:
    """Have the indexes beside a `manifest.json` stand for its images that are in one, with other platforms' images."""
    if archive.find("index.json") is None:
        return images
    indexed = [image for image in _oci_images(archive, platforms) if image.index is not None]
    by_config = {image.config_file.digest: image for image in indexed}
    for image in images:
        if (known := by_config.get(image.config_file.digest)) is not None:
            known.names += [name for name in image.names if not known.names]
    return indexed + [image for image in images if image.config_file.digest not in by_config]


def _docker_manifest(archive: Archive) -> list[DockerManifestItem]:
    try:
        items = msgspec.json.decode(archive.read("manifest.json"), type=list[DockerManifestItem] | None)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"invalid archive: failed to decode manifest.json: {error}") from error
    if items is None:
        raise InvalidArgument("invalid manifest, manifest cannot be null (but can be [])")
    return items


def _docker_image(archive: Archive, item: DockerManifestItem, manifests: dict[str, bytes]) -> ArchivedImage:
    config_file = archive.find(item.config)
    if config_file is None:
        raise InvalidArgument(f"open {item.config}: no such file or directory")
    names = item.layers or []
    return ArchivedImage(
        config=archive.read(item.config),
        config_file=config_file,
        layers=[archive.find(name) for name in names],
        layer_names=names,
        names=item.repo_tags or [],
        parent=item.parent,
        manifest=manifests.get(config_file.digest),
    )


def _manifests_by_config(archive: Archive) -> Iterator[tuple[str, bytes]]:
    """Return the OCI manifests that lie beside a `manifest.json`, so that they keep their digests."""
    if archive.find("index.json") is None:
        return
    for descriptor in _decode(archive.read("index.json"), Index, "index.json").manifests or []:
        if descriptor.media_type in MANIFESTS and (blob := archive.blob(descriptor.digest)) is not None:
            data = blob.ingest.path.read_bytes()
            yield _decode(data, Manifest, descriptor.digest).config.digest, data


def _oci_images(archive: Archive, platforms: Sequence[Platform]) -> Iterator[ArchivedImage]:
    """Return the images of a layout, each with all the names that its index gives it."""
    names: dict[str, list[str]] = {}
    descriptors: dict[str, Descriptor] = {}
    for descriptor in _decode(archive.read("index.json"), Index, "index.json").manifests or []:
        descriptors.setdefault(descriptor.digest, descriptor)
        name = _name(descriptor)
        if name is not None and name not in names.setdefault(descriptor.digest, []):
            names[descriptor.digest].append(name)
    for digest, descriptor in descriptors.items():
        leaves = list(_leaves(archive, descriptor, nesting=0))
        wanted = [leaf for leaf in leaves if _is_wanted(leaf, platforms)]
        if not wanted:
            continue
        default = _choose(wanted)
        index = _archived_index(archive, descriptor, wanted) if descriptor.media_type in INDEXES else None
        for leaf in [*(leaf for leaf in wanted if leaf is not default), default]:
            image = _oci_image(archive, leaf)
            image.index = index
            image.names = names.get(digest, []) if leaf is default else []
            yield image


def _archived_index(archive: Archive, descriptor: Descriptor, wanted: Sequence[Descriptor]) -> ArchivedIndex:
    """Return an index with those within, and with the attestations of the `wanted` manifests."""
    index = ArchivedIndex(descriptor.digest)
    subjects = {leaf.digest for leaf in wanted}
    pending = [descriptor.digest]
    while pending:
        data = _blob(archive, pending.pop())
        index.documents.append(data)
        for child in _decode(data, Index, descriptor.digest).manifests or []:
            if child.media_type in INDEXES and archive.blob(child.digest) is not None:
                pending.append(child.digest)
            elif subject(child) in subjects and archive.blob(child.digest) is not None:
                _add_attestation(archive, child.digest, index)
    return index


def _add_attestation(archive: Archive, digest: str, index: ArchivedIndex) -> None:
    data = _blob(archive, digest)
    manifest = _decode(data, Manifest, digest)
    files = [archive.blob(blob.digest) for blob in (manifest.config, *manifest.layers)]
    if all(files):
        index.documents.append(data)
        index.files += [file for file in files if file is not None]


def _leaves(archive: Archive, descriptor: Descriptor, *, nesting: int) -> Iterator[Descriptor]:
    """Return the manifests that a descriptor leads to and that are in the archive."""
    if nesting > MAX_NESTING:
        raise InvalidArgument("invalid archive: indexes are nested too deeply")
    if is_attestation(descriptor):
        return
    if descriptor.media_type in MANIFESTS:
        if archive.blob(descriptor.digest) is not None:
            yield descriptor
        elif not nesting:
            raise InvalidArgument(f"content digest {descriptor.digest}: not found")
    elif descriptor.media_type in INDEXES:
        index = _decode(_blob(archive, descriptor.digest), Index, descriptor.digest)
        for child in index.manifests or []:
            yield from _leaves(archive, child, nesting=nesting + 1)
    else:
        raise InvalidArgument(f"invalid archive: unexpected media type {descriptor.media_type}")


def _is_wanted(leaf: Descriptor, platforms: Sequence[Platform]) -> bool:
    """Tell whether a manifest is of a platform that is asked for, and that runs here at all; unmarked ones may be."""
    has = described_platform(leaf)
    if has is None:
        return True
    return any(has.matches(wanted) for wanted in platforms) if platforms else has.os == "linux"


def _choose(leaves: list[Descriptor]) -> Descriptor:
    here = Platform.of_host()
    for leaf in leaves:
        found = described_platform(leaf)
        if found is not None and found.matches(here):
            return leaf
    return next((leaf for leaf in leaves if leaf.platform is None), leaves[0])


def _oci_image(archive: Archive, descriptor: Descriptor) -> ArchivedImage:
    data = _blob(archive, descriptor.digest)
    manifest = _decode(data, Manifest, descriptor.digest)
    config_file = archive.blob(manifest.config.digest)
    if config_file is None:
        raise InvalidArgument(f"content digest {manifest.config.digest}: not found")
    layers = [archive.blob(layer.digest) for layer in manifest.layers]
    for layer, file in zip(manifest.layers, layers, strict=True):
        if file is not None and file.size != layer.size:
            raise InvalidArgument(f"unexpected size {file.size} of {layer.digest}, expected {layer.size}")
    return ArchivedImage(
        config=config_file.ingest.path.read_bytes(),
        config_file=config_file,
        layers=layers,
        layer_names=[layer.digest for layer in manifest.layers],
        names=[],
        manifest=data,
    )


def _name(descriptor: Descriptor) -> str | None:
    """Return the name that an index gives a manifest; a bare tag names nothing."""
    annotations = descriptor.annotations or {}
    if _NAME_ANNOTATION in annotations:
        return annotations[_NAME_ANNOTATION]
    name = annotations.get(_TAG_ANNOTATION, "")
    return name if ":" in name or "/" in name else None


def _blob(archive: Archive, digest: str) -> bytes:
    found = archive.blob(digest)
    if found is None:
        raise InvalidArgument(f"content digest {digest}: not found")
    if found.size > _MAX_DOCUMENT:
        raise InvalidArgument(f"{digest}: too large")
    return found.ingest.path.read_bytes()


def _decode(data: bytes, document: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(data, type=document)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"invalid archive: failed to decode {name}: {error}") from error


def _clean(path: str) -> str:
    """Return a path as it is from the archive's root, which `..` does not leave."""
    return posixpath.normpath(f"/{path}")[1:].lstrip("/")


def parse_tag(text: str) -> Reference:
    """Read a name of an archive; it must have a tag."""
    reference = parse(text)
    if reference.tag is None:
        raise InvalidArgument(f'invalid tag "{text}"')
    check_name(reference)
    return reference
