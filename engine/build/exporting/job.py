"""One exporter's work, and the documents that several of them begin with."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

import msgspec

from ...images.config import Descriptor
from ...images.references import Reference, parse
from ..frontend import Result
from ..progress import Progress
from ..request import Exporter
from ..solver import Solver
from .manifests import Documents, Exported, Settings
from .provenance import Provenance
from .telling import Telling


@dataclass(frozen=True)
class Job:
    """What is exported how. `provenance` is None where this exporter adds none."""

    solver: Solver
    result: Result
    exporter: Exporter
    progress: Progress
    epoch_s: int | None
    has_cache: bool
    provenance: Provenance | None

    @contextmanager
    def told(self, name: str) -> Iterator[Telling]:
        """Tell of the work as one vertex."""
        telling = Telling(self.progress, name)
        with telling.told():
            yield telling


@dataclass(frozen=True)
class Made:
    """A result's documents: an image for each platform, and `top`, which stands for all; `below` it are manifests."""

    documents: Documents
    exported: list[Exported]
    below: list[Descriptor]
    top: Descriptor

    @property
    def response(self) -> dict[str, str]:
        """Return what BuildKit answers of it."""
        described = base64.b64encode(msgspec.json.encode(self.top)).decode()
        told = {"containerimage.digest": self.top.digest, "containerimage.descriptor": described}
        if len(self.exported) == 1:
            told["containerimage.config.digest"] = self.exported[0].manifest.config.digest
        return told


async def make(job: Job, telling: Telling, undo: AsyncExitStack, *, oci: bool) -> Made:
    """Make the documents; their files go with `undo`. Raises InvalidArgument for annotations of what is not there."""
    settings = Settings.of(job.exporter, oci=oci, is_attested=job.provenance is not None)
    platforms = [built.platform for built in job.result.images]
    settings.annotations.check(platforms, has_index=len(platforms) > 1 or job.provenance is not None)
    documents = Documents(job.solver, settings, undo, epoch_s=job.epoch_s, has_cache=job.has_cache)
    with telling.part("exporting layers"):
        exported = [await documents.image(built) for built in job.result.images]
    for each in exported:
        with telling.part(f"exporting manifest {each.descriptor.digest}"):
            pass
    below, top = await documents.top(exported, list(references(job.exporter).values()), job.provenance)
    if below:
        with telling.part(f"exporting manifest list {top.digest}"):
            pass
    return Made(documents, exported, below, top)


def references(exporter: Exporter) -> dict[str, Reference]:
    """Return what an exporter's `name` lists, by the text."""
    listed = exporter.attributes.get("name", "")
    found = [parse(name) for name in listed.split(",") if name]
    return {str(reference): reference.with_default_tag() for reference in found}
