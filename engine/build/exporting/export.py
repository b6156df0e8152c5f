"""A build's end: its result goes to each of the exporters that the request names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from ... import errors
from ...images.config import Descriptor
from ..caching import exporting as caching
from ..frontend import Result
from ..progress import Progress
from ..request import BuildRequest, Exporter, Outcome
from ..solver import Solver
from . import archive, files, image, registry


async def export(solver: Solver, result: Result, request: BuildRequest, progress: Progress) -> Outcome:
    """Export to all; the outcome is the last image's, with what all of them answer. Without exporters: just run it."""
    await asyncio.gather(*(solver.layers(built.step) for built in result.images))
    outcome = Outcome(metadata=result.metadata)
    for exporter in request.exporters:
        made = await _export(solver, result, exporter, progress, request)
        outcome = Outcome(
            image_id=made.image_id or outcome.image_id,
            descriptor=made.descriptor or outcome.descriptor,
            response={**outcome.response, **made.response},
            metadata=result.metadata,
        )
    caches = await _export_caches(solver, result, request, progress)
    return replace(outcome, response={**outcome.response, **caches})


async def _export_caches(
    solver: Solver, result: Result, request: BuildRequest, progress: Progress
) -> Mapping[str, str]:
    """Export to all caches; tell one's manifest, which the client notes in the index of each cache's directory."""
    manifests: dict[str, Descriptor] = {}
    for location in request.cache_to:
        if location.type != "inline":
            manifest = await caching.export(solver, result, location, progress)
            if manifest is not None:
                manifests[location.type] = manifest
    noted = manifests.get("local") or manifests.get("registry")
    return {"cache.manifest": msgspec.json.encode(noted).decode()} if noted is not None else {}


async def _export(
    solver: Solver, result: Result, exporter: Exporter, progress: Progress, request: BuildRequest
) -> Outcome:
    has_cache, epoch_s = _is_inline(request), _epoch(request, exporter)
    documents: dict[str, Any] = {"epoch_s": epoch_s, "has_cache": has_cache, "request": request.request}
    match exporter.type:
        case "image" | "moby" if exporter.flag("push"):
            # As dockerd: here under its name, too. The image store has images of one platform.
            made = Outcome()
            if len(result.images) == 1:
                made = await image.export(solver, result, exporter, progress, epoch_s=epoch_s, has_cache=has_cache)
            pushed = await registry.export(solver, result, exporter, progress, **documents)
            return replace(pushed, image_id=made.image_id, response={**made.response, **pushed.response})
        case "image" | "moby":
            return await image.export(solver, result, exporter, progress, epoch_s=epoch_s, has_cache=has_cache)
        case "docker" | "oci":
            return await archive.export(solver, result, exporter, progress, **documents)
        case "local":
            return await files.export_directory(solver, result, exporter, progress)
        case "tar":
            return await files.export_tar(solver, result, exporter, progress)
    raise errors.NotFound(f'exporter "{exporter.type}" could not be found')


def _is_inline(request: BuildRequest) -> bool:
    text = request.request.options.get("build-arg:BUILDKIT_INLINE_CACHE", "")
    return any(location.type == "inline" for location in request.cache_to) or text.lower() in ("1", "true")


def _epoch(request: BuildRequest, exporter: Exporter) -> int | None:
    options = request.request.options
    text = exporter.attributes.get("source-date-epoch") or options.get("build-arg:SOURCE_DATE_EPOCH", "")
    try:
        return int(text) if text else None
    except ValueError:
        raise errors.InvalidArgument(f"invalid SOURCE_DATE_EPOCH: {text}") from None
