"""Small answers that several resources share."""

from __future__ import annotations

from .images import ImageDeleteResponseItem
from .model import Model


class ErrorResponse(Model, rename=None):
    """The body of every error."""

    message: str = ""


class IDResponse(Model):
    """The id of what was made."""

    id: str = ""


class ContainerPruneResponse(Model):
    """What pruning containers answers."""

    containers_deleted: list[str] | None = None
    space_reclaimed: int = 0


class ImagePruneResponse(Model):
    """What pruning images answers."""

    images_deleted: list[ImageDeleteResponseItem] | None = None
    space_reclaimed: int = 0


class BuildPruneResponse(Model):
    """What pruning the build cache answers."""

    caches_deleted: list[str] | None = None
    space_reclaimed: int = 0


class VolumePruneResponse(Model):
    """What pruning volumes answers."""

    volumes_deleted: list[str] | None = None
    space_reclaimed: int = 0


class NetworkPruneResponse(Model):
    """What pruning networks answers."""

    networks_deleted: list[str] | None = None
