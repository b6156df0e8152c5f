"""Indexes, kept as they came: which manifests each names, and what is here of them.

An index is one image for several platforms, with attestations beside them. The catalog reads an index when a name
points to it; that an image of it is here is known by its config, which the catalog has.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from ..errors import Error, InvalidArgument
from .config import INDEX, INDEXES, MANIFESTS, Descriptor, Index, Manifest, Platform
from .content import ContentStore
from .references import is_digest

logger = logging.getLogger(__name__)

MAX_NESTING = 8
_TYPE_ANNOTATION = "vnd.docker.reference.type"
_SUBJECT_ANNOTATION = "vnd.docker.reference.digest"
_ATTESTATION = "attestation-manifest"


@dataclass(frozen=True, slots=True)
class Entry:
    """A manifest that an index names; `manifest` is None where it is not here."""

    descriptor: Descriptor
    manifest: Manifest | None

    @property
    def blobs(self) -> list[str]:
        """The digests of all that the content store may have for it."""
        if self.manifest is None:
            return []
        layers = [layer.digest for layer in self.manifest.layers]
        return list(dict.fromkeys([self.descriptor.digest, self.manifest.config.digest, *layers]))


@dataclass(frozen=True, slots=True)
class KeptIndex:
    """An index that is here. `documents` are its own digest and those of the indexes within that are here."""

    descriptor: Descriptor
    documents: list[Descriptor]
    entries: list[Entry]

    def entry(self, digest: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.descriptor.digest == digest), None)

    def attestations_of(self, digest: str) -> list[Entry]:
        """Return the attestations that speak of a manifest."""
        return [entry for entry in self.entries if subject(entry.descriptor) == digest]


def is_attestation(descriptor: Descriptor) -> bool:
    return (descriptor.annotations or {}).get(_TYPE_ANNOTATION) == _ATTESTATION


def subject(descriptor: Descriptor) -> str | None:
    """Return the digest of the manifest that an attestation speaks of."""
    return (descriptor.annotations or {}).get(_SUBJECT_ANNOTATION) if is_attestation(descriptor) else None


def described_platform(descriptor: Descriptor) -> Platform | None:
    found = descriptor.platform
    return None if found is None else Platform(found.os, found.architecture, found.variant)


def read_index(content: ContentStore, digest: str) -> KeptIndex:
    """Read an index with what is here of it. Raises where it is damaged itself."""
    data = content.read(digest)
    index = _decoded(data)
    top = Descriptor(index.media_type or INDEX, len(data), digest)
    documents = [top]
    entries = list(_entries(content, index, documents, nesting=0))
    return KeptIndex(top, documents, entries)


def _entries(content: ContentStore, index: Index, documents: list[Descriptor], *, nesting: int) -> Iterator[Entry]:
    if nesting > MAX_NESTING:
        raise InvalidArgument("indexes are nested too deeply")
    for descriptor in index.manifests or []:
        if descriptor.media_type in MANIFESTS:
            yield Entry(descriptor, _manifest(content, descriptor.digest))
        elif descriptor.media_type in INDEXES and is_digest(descriptor.digest) and content.has(descriptor.digest):
            documents.append(descriptor)
            yield from _entries(content, _decoded(content.read(descriptor.digest)), documents, nesting=nesting + 1)


def _manifest(content: ContentStore, digest: str) -> Manifest | None:
    if not is_digest(digest) or not content.has(digest):
        return None
    try:
        return msgspec.json.decode(content.read(digest), type=Manifest)
    except (Error, msgspec.DecodeError) as error:
        logger.error("%s: the manifest cannot be used: %s", digest, error)
        return None


def _decoded(data: bytes) -> Index:
    try:
        return msgspec.json.decode(data, type=Index)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"invalid index: {error}") from error
