"""A bridge without a solver: files and images that a test gives."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from lightship.engine.build.dockerfile.frontend import build
from lightship.engine.build.frontend import BuiltImage, Request, ResolvedImage, Result
from lightship.engine.build.graph import HttpSource, Layout, LocalSource, Step, ancestry
from lightship.engine.build.progress import Warning
from lightship.engine.errors import NotFound
from lightship.engine.images.config import ImageConfig, Platform, RootFS, RunConfig

BASE = ImageConfig(
    os="linux",
    architecture="amd64",
    rootfs=RootFS(diff_ids=["sha256:" + "a" * 64]),
    config=RunConfig(env=["PATH=/bin"]),
)


@dataclass
class Bridge:
    """`files` are of each local source and of each URL, by path."""

    files: Mapping[str, Mapping[str, bytes]]
    images: Mapping[str, ImageConfig] = field(default_factory=dict)
    warnings: list[Warning] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def resolve_image(self, reference: str, platform: Platform, *, layout: Layout | None = None) -> ResolvedImage:
        self.asked.append((reference, str(platform)))
        name = reference.removeprefix("docker.io/library/").removesuffix(":latest")
        if name == "missing":
            raise NotFound(f"{reference}: not found")
        config = self.images.get(name, BASE)
        return ResolvedImage(f"{reference}@sha256:{'b' * 64}", config, msgspec.json.encode(config))

    async def read_file(self, source: Step, path: str) -> bytes | None:
        place = (
            source.local if isinstance(source, LocalSource) else source.url if isinstance(source, HttpSource) else ""
        )
        return self.files.get(place, {}).get(path)

    async def is_directory(self, source: Step, path: str) -> bool:
        return False

    def warn(self, warning: Warning) -> None:
        self.warnings.append(warning)


def run(
    dockerfile: str,
    options: Mapping[str, str] | None = None,
    *,
    images: Mapping[str, ImageConfig] | None = None,
    context: Mapping[str, bytes] | None = None,
    inputs: Mapping[str, Step] | None = None,
    bridge: Bridge | None = None,
) -> Result:
    bridge = bridge or Bridge(
        {"dockerfile": {"Dockerfile": dockerfile.encode()}, "context": context or {}}, images or {}
    )
    return asyncio.run(build(Request(options or {}, "me", inputs or {}), bridge))


def image(dockerfile: str, options: Mapping[str, str] | None = None) -> BuiltImage:
    (only,) = run(dockerfile, options).images
    return only


def steps(built: BuiltImage) -> list[Step]:
    return list(ancestry(built.step))


def names(built: BuiltImage) -> list[str]:
    return [step.name for step in steps(built)]


def history(built: BuiltImage) -> list[tuple[str, bool]]:
    """What made each line, and whether it made a layer."""
    return [(entry.created_by or "", not entry.empty_layer) for entry in built.config.history or ()]
