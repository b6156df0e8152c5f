"""What clients are told of an image's manifests: its platforms, its attestations, where it comes from.

An image that did not come in an index is told of as one manifest. The shapes are those of dockerd's containerd image
store; ids of images stay the digests of their configs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec
from msgspec import UNSET, UnsetType

from ...openapi.types.images import (
    AttestationData,
    AttestationStatement,
    Identity,
    ImageManifestSummary,
    ManifestImageData,
    ManifestImageSize,
    ManifestSize,
    OCIDescriptor,
    OCIPlatform,
    PullIdentity,
)
from ..errors import Internal
from .catalog import Catalog, Image
from .config import MANIFEST, Descriptor, Platform
from .content import ContentStore
from .indexes import Entry, KeptIndex, described_platform, is_attestation, subject

_PREDICATE_TYPE = "in-toto.io/predicate-type"
_UNKNOWN = ("unknown", "")

Users = Callable[[str], list[tuple[str, bool]]]


def own_descriptor(image: Image) -> Descriptor:
    """Return the descriptor of an image's own manifest."""
    return Descriptor(image.manifest.media_type or MANIFEST, image.manifest_size, image.record.manifest)


def descriptor(catalog: Catalog, image: Image, ref: str = "") -> OCIDescriptor:
    """Return what an image's name stands for: an index, else the manifest."""
    index = catalog.index_for(image, ref)
    return shown_descriptor(index.descriptor if index is not None else own_descriptor(image))


def summaries(
    catalog: Catalog, image: Image, users: Users, *, ref: str = "", has_identity: bool = False
) -> list[ImageManifestSummary]:
    """Return what an image's index names, in its order."""
    index = catalog.index_for(image, ref)
    if index is None:
        index = KeptIndex(own := own_descriptor(image), [own], [Entry(own, image.manifest)])
    return [_summary(catalog, entry, users, has_identity=has_identity) for entry in index.entries]


def statements(
    catalog: Catalog, image: Image, ref: str, *, predicate_types: Collection[str], has_statement: bool
) -> list[AttestationStatement]:
    """Return the statements that were attached to an image, with their text where that is asked for."""
    found = []
    for layer in _statement_layers(catalog, image, ref):
        predicate_type = (layer.annotations or {}).get(_PREDICATE_TYPE, "")
        if predicate_type and (not predicate_types or predicate_type in predicate_types):
            statement = AttestationStatement(shown_descriptor(layer), predicate_type)
            if has_statement:
                statement.statement = _statement(catalog.content, layer.digest)
            found.append(statement)
    return found


def identity(image: Image) -> Identity | UnsetType:
    """Return which repositories were seen to have an image. Signatures are not checked."""
    pulled = [PullIdentity(name) for name in image.record.repositories]
    return Identity(pulled) if pulled else UNSET


def shown_descriptor(given: Descriptor) -> OCIDescriptor:
    shown = OCIDescriptor(given.media_type, given.digest, given.size)
    if given.annotations:
        shown.annotations = given.annotations
    if given.platform is not None:
        shown.platform = _shown_platform(described_platform(given))
    return shown


def _summary(catalog: Catalog, entry: Entry, users: Users, *, has_identity: bool) -> ImageManifestSummary:
    content_size = sum(catalog.content.size(digest) for digest in entry.blobs if catalog.content.has(digest))
    summary = ImageManifestSummary(
        id=entry.descriptor.digest,
        descriptor=shown_descriptor(entry.descriptor),
        available=catalog.has_whole(entry),
        size=ManifestSize(total=content_size, content=content_size),
        kind="image",
    )
    described = subject(entry.descriptor)
    if is_attestation(entry.descriptor) and described is not None:
        summary.kind, summary.attestation_data = "attestation", AttestationData(described)
        return summary
    image = catalog.image_of(entry)
    platform = described_platform(entry.descriptor) or (image.config.platform if image is not None else None)
    if platform is None or platform.os in _UNKNOWN:
        summary.kind = "unknown"
        return summary
    data = summary.image_data = ManifestImageData(platform=_shown_platform(platform), containers=[])
    if image is not None:
        data.containers = [container for container, _ in users(image.id)]
        data.size = ManifestImageSize(image.size)
        summary.size.total += image.size
        if has_identity:
            data.identity = identity(image)
    return summary


def _statement_layers(catalog: Catalog, image: Image, ref: str) -> list[Descriptor]:
    index = catalog.index_for(image, ref)
    for entry in index.entries if index is not None else ():
        if catalog.image_of(entry) is image:
            for attestation in index.attestations_of(entry.descriptor.digest) if index is not None else ():
                if attestation.manifest is not None:
                    return attestation.manifest.layers
    return []


def _statement(content: ContentStore, digest: str) -> dict[str, object]:
    try:
        return msgspec.json.decode(content.read(digest), type=dict[str, object])
    except msgspec.DecodeError as error:
        raise Internal(f"failed to read attestation statement {digest}: {error}") from error


def _shown_platform(given: Platform | None) -> OCIPlatform:
    if given is None:
        return OCIPlatform()
    shown = OCIPlatform(given.architecture, given.os)
    if given.variant:
        shown.variant = given.variant
    return shown
