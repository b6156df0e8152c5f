"""A build's end: its result goes to each of the exporters that the request names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from ... import errors
from ...images.config import Descriptor
from ..caching import exporting as caching
from ..frontend import Result
from ..progress import Progress
from ..request import BuildRequest, Exporter, Outcome
from ..solver import Solver
from . import archive, files, image
from .job import Job
from .provenance import Provenance


async def export(solver: Solver, result: Result, request: BuildRequest, progress: Progress) -> Outcome:
    """Export to all; the outcome is the last image's, with what all of them answer. Without exporters: just run it."""
    await asyncio.gather(*(solver.layers(built.step) for built in result.images))
    outcome = Outcome(metadata=result.metadata)
    provenance = Provenance.of(request.request, result)
    for exporter in request.exporters:
        job = Job(
            solver,
            result,
            exporter,
            progress,
            _epoch(request, exporter),
            _is_inline(request),
            _attached(provenance, exporter),
        )
        made = await _export(job)
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


async def _export(job: Job) -> Outcome:
    match job.exporter.type:
        case "image" | "moby":
            return await image.export(job)
        case "docker" | "oci":
            return await archive.export(job)
        case "local":
            return await files.export_directory(job)
    return await files.export_tar(job)


def _attached(provenance: Provenance | None, exporter: Exporter) -> Provenance | None:
    """Return the provenance where an exporter adds it.

    As with dockerd's own image store, an image that stays here has none that nobody has asked for (buildx asks for one
    that is inline alone); one that is pushed has it.
    """
    if provenance is None or not provenance.is_inline_only:
        return provenance
    is_pushed = exporter.type in ("image", "moby") and exporter.flag("push")
    return provenance if exporter.flag("attestation-inline", default=is_pushed) else None


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
