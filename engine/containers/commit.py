"""`docker commit`: a container's own layer and its config become an image."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ...openapi.types.config import Config
from ...openapi.types.images import ImageConfig
from ..errors import Error
from ..images.changes import apply_changes
from ..images.commit_image import Committed, commit_image
from ..images.config import RunConfig
from ..images.references import Reference
from . import pause
from .export import check_alive
from .merge import merge

if TYPE_CHECKING:
    from .container import Container
    from .context import Context

T = TypeVar("T")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CommitOptions:
    """`config`, where it is given, stands in for the container's own, which fills what it leaves open."""

    reference: Reference | None
    pauses: bool
    author: str
    comment: str
    changes: Sequence[str]
    config: Config | None


async def commit(context: Context, container: Container, options: CommitOptions) -> str:
    """Make the image and name it; return its id."""
    check_alive(container, "commit")
    source = Committed(
        container_id=container.id,
        parent_id=container.record.image_id,
        config=_config(container, options),
        container_config=_run_config(container.record.config),
        author=options.author,
        comment=options.comment,
    )

    async def write_layer(path: Path) -> tuple[str, int]:
        async with context.snapshots.changed(container.id) as directory:
            written = await context.file_workers.run("diff", directory=str(directory), output=str(path))
        return written["digest"], written["size"]

    async with _paused(context, container, options.pauses):
        image = await commit_image(context.images, source, write_layer)
        if options.reference is not None:
            context.images.tag_image(image, options.reference)
        name = options.reference.familiar if options.reference is not None else ""
        context.announce(container, "commit", {"comment": options.comment, "imageID": image.id, "imageRef": name})
    return image.id


@asynccontextmanager
async def _paused(context: Context, container: Container, wanted: bool) -> AsyncIterator[None]:
    """Keep the container still, so that its files agree with each other; one that does not run is still."""
    is_ours = False
    if wanted and container.state.running and not container.state.paused:
        try:
            await pause.pause(context, container)
            is_ours = True
        except Error as error:
            logger.info("%s: committed without a pause: %s", container.id, error)
    try:
        yield
    finally:
        if is_ours:
            try:
                await pause.unpause(context, container)
            except Error as error:
                logger.info("%s: not to be unpaused after its commit: %s", container.id, error)


def _config(container: Container, options: CommitOptions) -> RunConfig:
    own = container.record.config
    changed = apply_changes(_run_config(options.config or own), options.changes)
    merged = merge(_converted(changed, Config), _converted(own, ImageConfig))
    config = _run_config(merged)
    config.on_build = changed.on_build
    return config


def _run_config(config: Config) -> RunConfig:
    return _converted(config, RunConfig)


def _converted(config: msgspec.Struct, wanted: type[T]) -> T:
    """Carry what is given over to another of the types that Docker's config has."""
    fields = {name: value for name, value in msgspec.to_builtins(config).items() if value is not None}
    return msgspec.convert(fields, wanted)
