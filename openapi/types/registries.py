"""What registries are asked and answer."""

from __future__ import annotations

from msgspec import field

from .images import OCIDescriptor, OCIPlatform
from .model import Model


class DistributionInspect(Model):
    """Describes the result obtained from contacting the registry to retrieve image metadata."""

    descriptor: OCIDescriptor = field(default_factory=OCIDescriptor)
    platforms: list[OCIPlatform] | None = None


class ImageSearchResponseItem(Model):
    """A repository that a search found."""

    description: str = field(default="", name="description")
    is_official: bool = field(default=False, name="is_official")
    is_automated: bool = field(default=False, name="is_automated")
    name: str = field(default="", name="name")
    star_count: int = field(default=0, name="star_count")
