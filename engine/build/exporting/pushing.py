"""Documents and blobs to a registry: what an exporter or a cache has made that is no image here."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...images.config import Descriptor
from ...images.references import Reference
from ...images.registry import uploads
from ...images.registry.session import Session
from ...images.sessions import with_session
from .manifests import Blobs

if TYPE_CHECKING:
    from ..solver import Solver


async def push_documents(solver: Solver, blobs: Blobs, manifests: Sequence[Descriptor], reference: Reference) -> None:
    """Push all blobs, then the manifests; the last one gets the reference's tag, where it has one."""
    images = solver.context.images
    credentials = await solver.client.credentials(reference.domain)

    async def work(session: Session) -> None:
        await _push(session, blobs, manifests, reference, attempts=images.registry.attempts)

    await with_session(images, reference, credentials, work, pushes=True)


async def _push(
    session: Session, blobs: Blobs, manifests: Sequence[Descriptor], reference: Reference, *, attempts: int
) -> None:
    documents = {manifest.digest for manifest in manifests}
    for digest in blobs.files:
        await _upload(session, blobs.files[digest], digest, attempts)
    for digest, data in blobs.data.items():
        if digest not in documents:
            with tempfile.NamedTemporaryFile() as file:
                file.write(data)
                file.flush()
                await _upload(session, Path(file.name), digest, attempts)
    for manifest in manifests[:-1]:
        await uploads.put(session, f"manifests/{manifest.digest}", blobs.data[manifest.digest], manifest.media_type)
    last = manifests[-1]
    name = reference.tag or last.digest
    await uploads.put(session, f"manifests/{name}", blobs.data[last.digest], last.media_type)


async def _upload(session: Session, path: Path, digest: str, attempts: int) -> None:
    if not await uploads.exists(session, digest):
        size = path.stat().st_size
        await uploads.upload(session, path, digest=digest, size=size, attempts=attempts, on_progress=lambda done: None)
