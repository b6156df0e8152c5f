"""The image exporter with `push=true`: images of one platform or several, and their provenance, to a registry."""

from __future__ import annotations

from contextlib import AsyncExitStack

from ... import errors
from ..frontend import Request, Result
from ..progress import Progress
from ..request import Exporter, Outcome
from ..solver import Solver
from .image import references
from .manifests import Documents, Settings
from .provenance import is_wanted
from .pushing import push_documents
from .telling import Telling


async def export(
    solver: Solver,
    result: Result,
    exporter: Exporter,
    progress: Progress,
    *,
    epoch_s: int | None,
    has_cache: bool,
    request: Request,
) -> Outcome:
    """Push what a result is under each of the exporter's names."""
    names = references(exporter)
    if not names:
        raise errors.InvalidArgument("tag is needed when pushing to registry")
    if exporter.flag("push-by-digest"):
        raise errors.NotImplemented("pushing by digest alone is not supported")
    telling = Telling(progress, "exporting to image")
    async with AsyncExitStack() as undo:
        undo.enter_context(telling.told())
        documents = Documents(solver, Settings.of(exporter, oci=True), undo, epoch_s=epoch_s, has_cache=has_cache)
        with telling.part("exporting layers"):
            exported = [await documents.image(built) for built in result.images]
        provenance = request if is_wanted(request) else None
        manifests, top = await documents.top(exported, list(names.values()), provenance)
        for name, reference in names.items():
            with telling.part(f"pushing layers and manifest for {name}"):
                await push_documents(solver, documents.blobs, [*manifests, top], reference)
    response = {"containerimage.digest": top.digest, "image.name": ",".join(names)}
    if len(exported) == 1:
        response["containerimage.config.digest"] = exported[0].manifest.config.digest
    return Outcome(descriptor=top, response=response)
