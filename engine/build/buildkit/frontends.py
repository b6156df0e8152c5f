"""What makes a graph of a client's request: the Dockerfile frontend, or the definition that the client gives itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import InvalidArgument, NotImplemented
from ...images.config import ImageConfig, Platform
from ..dockerfile import frontend as dockerfile
from ..frontend import Bridge, BuiltImage, Request, Result
from ..graph import Step

_DOCKERFILE_IMAGES = ("docker/dockerfile", "docker.io/docker/dockerfile")


@dataclass(frozen=True)
class Given(Request):
    """A request for no more than a step."""

    step: Step | None = None


def check(name: str, options: Mapping[str, str]) -> None:
    """Refuse frontends that are not built in; those that are an image cannot be run, but the usual one is."""
    if name in ("", "dockerfile.v0"):
        return
    if name != "gateway.v0":
        raise InvalidArgument(f"frontend: {name} not found")
    source = options.get("source", "")
    if source.partition("@")[0].partition(":")[0] not in _DOCKERFILE_IMAGES:
        raise NotImplemented(f"frontends from images ({source}) are not supported, the Dockerfile's is built in")


async def frontend(request: Request, bridge: Bridge) -> Result:
    """Make the graph."""
    if not isinstance(request, Given):
        return await dockerfile.build(request, bridge)
    here = Platform.of_host()
    return Result((BuiltImage(here, request.step, ImageConfig(os=here.os, architecture=here.architecture)),))
