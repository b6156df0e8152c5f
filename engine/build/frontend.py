"""What a frontend is given and what it makes. The Dockerfile frontend is `lightship.engine.build.dockerfile`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..images.config import ImageConfig, Platform
from .graph import Layout, Step
from .progress import Warning


@dataclass(frozen=True)
class ResolvedImage:
    """A reference that was looked up: `digest_ref` says it with its digest."""

    digest_ref: str
    config: ImageConfig
    config_bytes: bytes


class Bridge(Protocol):
    """What a frontend may ask of the solver while it works."""

    async def resolve_image(self, reference: str, platform: Platform, *, layout: Layout | None = None) -> ResolvedImage:
        """Look an image up, here or at its registry, or in a layout. Raises NotFound and what the registry answers."""

    async def read_file(self, source: Step, path: str) -> bytes | None:
        """Return a file of a step's result, None where there is none."""

    async def is_directory(self, source: Step, path: str) -> bool: ...

    def warn(self, warning: Warning) -> None: ...


@dataclass(frozen=True)
class Request:
    """A frontend's options, by the names of BuildKit's dockerfile.v0: `filename`, `target`, `build-arg:NAME`,
    `label:NAME`, `platform`, `context:NAME`, `no-cache`, `add-hosts`, `force-network-mode`, `ulimit`, `shm-size`,
    `cgroup-parent`, `image-resolve-mode`, `source-date-epoch` …

    `unique` is the session that the local sources are of; `inputs` are steps that stand in for local sources and named
    contexts.
    """

    options: Mapping[str, str]
    unique: str
    inputs: Mapping[str, Step] = field(default_factory=dict)


@dataclass(frozen=True)
class BuiltImage:
    """One platform's image: its file system and its configuration, whose root file system the exporter fills in.

    `config.history` names each instruction; those that made a layer are without `empty_layer`. `base_digest_ref` is the
    image of the last stage's FROM.
    """

    platform: Platform
    step: Step | None
    config: ImageConfig
    base_digest_ref: str = ""


@dataclass(frozen=True)
class Result:
    """What a frontend made: images by platform, or, for a question (`--check`, `--call=outline`), only `metadata`.

    `filename` and `source` are the Dockerfile that the steps' locations are of, `source_step` is what it was read from.
    """

    images: tuple[BuiltImage, ...]
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    filename: str = ""
    source: bytes = b""
    source_step: Step | None = None
