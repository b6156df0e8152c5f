"""Manifests at a registry: asked for by tag or digest, verified, and the one of several that fits a platform."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import msgspec

from ...errors import Internal, InvalidArgument, NotFound
from ..config import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    INDEXES,
    MANIFEST,
    MANIFESTS,
    Descriptor,
    Index,
    Manifest,
    Platform,
)
from ..content import digest_of
from ..indexes import described_platform
from ..references import Reference, check_digest
from .auth import read_limited
from .failures import Refused
from .session import Session, failure

MAX_MANIFEST = 4 << 20
_MAX_NESTING = 4
_SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_ACCEPT = ", ".join((DOCKER_MANIFEST, DOCKER_INDEX, INDEX, MANIFEST, *_SCHEMA_1))
_SCHEMA_1_MESSAGE = (
    "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the author "
    "of {} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More information at "
    "https://docs.docker.com/go/deprecated-image-specs/"
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest or index as it came, verified."""

    data: bytes
    digest: str
    media_type: str

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEXES


class _Header(msgspec.Struct, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    manifests: msgspec.Raw = msgspec.Raw(b"")


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


async def find(session: Session, reference: Reference) -> Descriptor | None:
    """Return what a tag or digest stands for now, without fetching it; None where the registry does not say by HEAD."""
    if reference.digest is not None:
        return Descriptor("", 0, reference.digest)
    async with session.request(
        "HEAD", session.url(f"manifests/{reference.tag}"), headers={"Accept": _ACCEPT}
    ) as answer:
        digest = answer.headers.get("docker-content-digest", "")
        if not answer.is_success or not digest:
            return None
        check_digest(digest)
        size = answer.headers.get("content-length", "")
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
        return Descriptor(media_type, int(size) if size.isdecimal() else 0, digest)


async def fetch(session: Session, reference: Reference, wanted: str, *, digest: str | None) -> Document:
    """Fetch the document `wanted` (a tag or a digest); `digest` is what it must have. Errors speak of `reference`."""
    url = session.url(f"manifests/{quote(wanted, safe=':')}")
    async with session.request("GET", url, headers={"Accept": _ACCEPT}) as answer:
        if not answer.is_success:
            raise await failure(answer)
        data = await read_limited(answer, MAX_MANIFEST)
        said = answer.headers.get("content-type", "").partition(";")[0].strip()
    found = digest_of(data)
    if digest is not None and found != digest:
        raise Internal(f"manifest verification failed for digest {digest}")
    return Document(data, found, _media_type(data, said, reference))


async def tags(session: Session) -> list[str]:
    """List a repository's tags, over as many pages as there are."""
    found: list[str] = []
    url: str | None = session.url("tags/list")
    while url is not None:
        async with session.request("GET", url) as answer:
            if not answer.is_success:
                raise await failure(answer)
            found += decoded(await read_limited(answer, MAX_MANIFEST), _Tags).tags or []
            following = answer.links.get("next", {}).get("url")
            url = str(answer.url.join(following)) if following else None
            if url is not None and not url.startswith(f"{session.endpoint.url}/"):
                raise Internal("the registry's list of tags goes on at another host")
    return found


async def choose(session: Session, reference: Reference, document: Document, platform: Platform | None) -> Document:
    """Follow indexes to the manifest for a platform, the host's own where none is given."""
    return (await path(session, reference, document, platform))[-1]


async def path(session: Session, reference: Reference, document: Document, platform: Platform | None) -> list[Document]:
    """Return the indexes that lead to the manifest for a platform, and the manifest as the last."""
    wanted = platform or Platform.of_host()
    found = [document]
    while document.is_index:
        if len(found) == _MAX_NESTING:
            raise InvalidArgument("the manifest list is nested too deeply")
        chosen = best(decoded(document.data, Index).manifests or [], wanted)
        if chosen is None:
            raise NotFound(f"no matching manifest for {wanted} in the manifest list entries")
        if chosen.size > MAX_MANIFEST:
            raise Internal(f"manifest {chosen.digest} is too large")
        check_digest(chosen.digest)
        document = await fetch(session, reference, chosen.digest, digest=chosen.digest)
        found.append(document)
    return found


def best(descriptors: list[Descriptor], wanted: Platform) -> Descriptor | None:
    """Return the entry that fits a platform most exactly, the first of equals; older variants fit as well."""
    fitting = [
        (rank, -position, descriptor)
        for position, descriptor in enumerate(descriptors)
        if descriptor.media_type in (*MANIFESTS, *INDEXES) and (rank := _rank(descriptor, wanted)) is not None
    ]
    return max(fitting, key=lambda found: found[:2])[2] if fitting else None


def _rank(descriptor: Descriptor, wanted: Platform) -> int | None:
    described = described_platform(descriptor)
    if described is None:
        return -1 if descriptor.media_type in INDEXES else None
    return wanted.rank(described)


def decoded(data: bytes, wanted: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=wanted)
    except msgspec.DecodeError as error:
        raise Internal(f"invalid manifest: {error}") from error


def parse_manifest(data: bytes) -> Manifest:
    """Read an image's manifest and check what it refers to."""
    manifest = decoded(data, Manifest)
    for descriptor in (manifest.config, *manifest.layers):
        check_digest(descriptor.digest)
        if descriptor.size < 0:
            raise InvalidArgument(f"the size of {descriptor.digest} is negative")
    return manifest


def _media_type(data: bytes, said: str, reference: Reference) -> str:
    """Tell what a document is by its own word, else by the registry's, else by what it holds."""
    header = decoded(data, _Header)
    media_type = header.media_type or said
    if header.schema_version == 1 or media_type in _SCHEMA_1:
        raise InvalidArgument(_SCHEMA_1_MESSAGE.format(reference))
    if media_type not in (*MANIFESTS, *INDEXES) and header.schema_version == 2 and not header.media_type:
        media_type = INDEX if bytes(header.manifests) else MANIFEST
    if media_type not in (*MANIFESTS, *INDEXES):
        raise InvalidArgument("unsupported manifest format")
    return media_type


def not_found_text(error: Refused, reference: Reference) -> str:
    """Word a refusal of a pull, as dockerd does."""
    if error.code == "DENIED":
        what = f"pull access denied for {reference.familiar_name}, repository does not exist or may require 'docker "
        what += "login'"
    elif error.code == "MANIFEST_UNKNOWN":
        what = f"manifest for {reference.familiar} not found"
    elif error.code == "NAME_UNKNOWN":
        what = f"repository {reference.familiar_name} not found"
    else:
        return str(error)
    return f"{what}: {error}"
