"""LLB definitions to and from the graph: sources that a client names itself, and results that we gave it before.

A result goes out as a source of a scheme of our own, which a client can pass on as the input of another build (bake's
`target:` contexts) without looking into it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Protocol

from google.protobuf.message import DecodeError

from ...errors import InvalidArgument, NotImplemented
from ...images.config import Platform
from ..frontend import ResolvedImage
from ..graph import GitSource, HttpSource, ImageSource, Layout, LocalSource, ResultSource, Step
from .protocol import llb_pb2
from .protocol.llb_pb2 import Definition, Operation, OperationMetadata, SourceOperation

_RESULT = "lightship-result://"


class Images(Protocol):
    """As much of a build as looking a source up needs."""

    async def resolve_image(
        self, reference: str, platform: Platform, *, layout: Layout | None = None
    ) -> ResolvedImage: ...


def of_result(reference: str) -> Definition:
    """Return the definition of a result, for a client to hand back."""
    source = Operation(source=SourceOperation(identifier=f"{_RESULT}{reference}")).SerializeToString()
    digest = _digest(source)
    end = Operation(inputs=[llb_pb2.Input(digest=digest)]).SerializeToString()
    metadata = {digest: OperationMetadata(), _digest(end): OperationMetadata()}
    return Definition(operations=[source, end], metadata=metadata)


async def to_steps(definitions: Mapping[str, Definition], images: Images, session: str) -> dict[str, Step]:
    """Return the steps of a frontend's inputs."""
    steps = {name: await to_step(definition, images, session) for name, definition in definitions.items()}
    return {name: step for name, step in steps.items() if step is not None}


async def to_step(definition: Definition, images: Images, session: str) -> Step | None:
    """Return the step that a definition stands for; None for nothing (scratch)."""
    if not definition.operations:
        return None
    operations = {_digest(encoded): _decode(encoded) for encoded in definition.operations}
    end = _decode(definition.operations[-1])
    if len(end.inputs) != 1 or end.inputs[0].digest not in operations:
        raise InvalidArgument("invalid build definition: it has no end")
    digest = end.inputs[0].digest
    operation = operations[digest]
    if operation.WhichOneof("kind") != "source":
        kind = operation.WhichOneof("kind")
        raise NotImplemented(f"build definitions with operations of kind {kind} are not supported, only sources are")
    wanted = platform(operation.platform)
    metadata = definition.metadata[digest] if digest in definition.metadata else OperationMetadata()
    name = metadata.description.get("llb.customname", "")
    return await _source(operation.source, images, wanted, session=session, name=name)


async def _source(source: SourceOperation, images: Images, platform: Platform, *, session: str, name: str) -> Step:
    scheme, _, rest = source.identifier.partition("://")
    attributes = source.attributes
    name = name or source.identifier
    if source.identifier.startswith(_RESULT):
        return ResultSource(rest, name=name)
    if scheme == "docker-image":
        resolved = await images.resolve_image(rest, platform)
        return ImageSource(resolved.digest_ref, platform, name=name)
    if scheme == "oci-layout":
        layout = Layout(f"oci:{attributes.get('oci.store', '')}", attributes.get("oci.session") or session)
        resolved = await images.resolve_image(rest, platform, layout=layout)
        return ImageSource(resolved.digest_ref, platform, layout, name=name)
    if scheme == "git":
        return _git(rest, attributes, name)
    if scheme in ("http", "https"):
        return HttpSource(
            source.identifier, attributes.get("http.checksum", ""), attributes.get("http.filename", ""), name=name
        )
    if scheme == "local":
        return LocalSource(
            rest,
            attributes.get("local.session") or session,
            _patterns(attributes, "local.includepattern"),
            _patterns(attributes, "local.excludepatterns"),
            _patterns(attributes, "local.followpaths"),
            name=name,
        )
    raise NotImplemented(f"sources like {source.identifier} are not supported")


def _git(rest: str, attributes: Mapping[str, str], name: str) -> GitSource:
    url, _, fragment = rest.partition("#")
    ref, _, subdir = fragment.partition(":")
    return GitSource(
        attributes.get("git.fullurl") or f"https://{url}",
        ref,
        subdir,
        attributes.get("git.keepgitdir") == "true",
        attributes.get("git.checksum", ""),
        attributes.get("git.skipsubmodules") != "true",
        name=name,
    )


def _patterns(attributes: Mapping[str, str], name: str) -> tuple[str, ...]:
    try:
        return tuple(json.loads(attributes.get(name) or "[]"))
    except ValueError as error:
        raise InvalidArgument(f"invalid value of {name}: {error}") from error


def platform(named: llb_pb2.Platform) -> Platform:
    """Return a platform as a client names it; none is the host's."""
    if not named.os:
        return Platform.of_host()
    return Platform(os=named.os, architecture=named.architecture, variant=named.variant)


def _decode(encoded: bytes) -> Operation:
    try:
        return Operation.FromString(encoded)
    except DecodeError as error:
        raise InvalidArgument(f"invalid build definition: {error}") from error


def _digest(encoded: bytes) -> str:
    return f"sha256:{hashlib.sha256(encoded).hexdigest()}"
