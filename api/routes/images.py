"""Images: lists, archives in and out, names and removal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

from starlette.responses import Response

from ...engine import errors
from ...engine.images.references import Reference, is_digest, parse
from ...engine.images.registry.credentials import decode
from ...openapi.operations.operation import JSON, TAR
from ...openapi.types.answers import ImagePruneResponse
from ...openapi.types.images import OCIPlatform
from .. import params
from ..call import Call
from ..streaming import StreamingResponse, begun, progress


async def listing(call: Call) -> Response:
    if call.flag("identity") and not call.flag("manifests"):
        raise errors.InvalidArgument("conflicting options: identity requires manifests=1")
    found = await call.engine.images.list(
        call.filters(),
        all=call.flag("all"),
        shared_size=call.flag("shared-size"),
        manifests=call.flag("manifests"),
        identity=call.flag("identity"),
    )
    return call.json(found)


async def inspect(call: Call) -> Response:
    manifests, platforms = call.flag("manifests"), _platforms(call)
    if manifests and platforms:
        raise errors.InvalidArgument("conflicting options: manifests and platform options cannot both be set")
    platform = platforms[0] if platforms else None
    return call.json(await call.engine.images.inspect(call.path["name"], manifests=manifests, platform=platform))


async def attestations(call: Call) -> Response:
    platforms = [value for value in call.texts("platform") if value]
    if len(platforms) > 1:
        raise errors.InvalidArgument("only one platform value is currently supported")
    found = await call.engine.images.attestations(
        call.path["name"],
        platform=params.platform(platforms[0]) if platforms else None,
        predicate_types=[value for text in call.texts("type") if (value := text.strip())],
        has_statement=call.flag("statement"),
    )
    return call.json(found)


async def history(call: Call) -> Response:
    platforms = _platforms(call)
    return call.json(await call.engine.images.history(call.path["name"], platform=platforms[0] if platforms else None))


async def tag(call: Call) -> Response:
    await call.engine.images.tag(call.path["name"], repo=call.text("repo"), tag=call.text("tag"))
    return call.empty(201)


async def remove(call: Call) -> Response:
    name = call.path["name"]
    if not name.strip():
        raise errors.InvalidArgument("image name cannot be blank")
    platforms = [params.platform(value) for value in call.texts("platforms")]
    removed = await call.engine.images.remove(
        name, force=call.flag("force"), prune=not call.flag("noprune"), platforms=platforms
    )
    return call.json(removed)


async def prune(call: Call) -> Response:
    deleted, reclaimed = await call.engine.images.prune(call.filters())
    return call.json(ImagePruneResponse(images_deleted=list(deleted) or None, space_reclaimed=reclaimed))


async def create(call: Call) -> Response:
    if image := call.text("fromImage"):
        return await _pull(call, image)
    source = call.text("fromSrc")
    images = call.engine.images
    bound = partial(images.import_image, call.chunks()) if source == "-" else partial(images.import_url, source)
    items = bound(
        repo=call.text("repo"),
        tag=call.text("tag"),
        message=call.text("message") or f"Imported from {source}",
        changes=call.texts("changes"),
        platform=call.text("platform"),
    )
    return StreamingResponse(progress(await begun(items)), JSON, reads_body=True)


async def _pull(call: Call, image: str) -> Response:
    reference = parse(image.removesuffix(":"))
    if tag := call.text("tag"):
        bare = Reference(reference.domain, reference.path)
        reference = replace(bare, digest=tag) if is_digest(tag) else reference.with_tag(tag)
    items = call.engine.images.pull(
        reference, credentials=decode(call.headers.get("x-registry-auth", "")), platform=call.text("platform")
    )
    return StreamingResponse(progress(await begun(items)), JSON)


async def push(call: Call) -> Response:
    name, tag = call.path["name"], call.text("tag")
    reference = parse(name)
    if tag:
        reference = reference.with_tag(tag)
    items = call.engine.images.push(
        reference,
        credentials=decode(call.headers.get("x-registry-auth", "")),
        platform=params.platform(value) if (value := call.text("platform")) else None,
    )
    return StreamingResponse(progress(await begun(items)), JSON)


async def load(call: Call) -> Response:
    items = call.engine.images.load(call.chunks(), quiet=call.flag("quiet", default=True), platforms=_platforms(call))
    return StreamingResponse(progress(items), JSON, reads_body=True)


async def save(call: Call) -> Response:
    names = [call.path["name"]] if "name" in call.path else call.texts("names")
    chunks: AsyncIterator[bytes] = call.engine.images.save(names, platforms=_platforms(call))
    return StreamingResponse(await begun(chunks), TAR)


def _platforms(call: Call) -> list[OCIPlatform]:
    values = [value for value in call.texts("platform") if value]
    if len(values) > 1 and call.version < (1, 52):
        raise errors.InvalidArgument(
            "multiple platform parameters are not supported in this API version; use API version 1.52 or later"
        )
    return [params.platform(value) for value in values]


HANDLERS = {
    "ImageList": listing,
    "ImageInspect": inspect,
    "ImageAttestations": attestations,
    "ImageHistory": history,
    "ImageTag": tag,
    "ImageDelete": remove,
    "ImagePrune": prune,
    "ImageCreate": create,
    "ImagePush": push,
    "ImageLoad": load,
    "ImageGet": save,
    "ImageGetAll": save,
}
