"""What a build is asked for and what comes of it: the terms between both front doors and the `Builder`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from .. import booleans
from ..errors import InvalidArgument
from ..images.config import Descriptor
from .frontend import Bridge, Request, Result

Frontend = Callable[[Request, Bridge], Awaitable[Result]]
"""Makes a graph of the request's options; asks the bridge on the way."""


@dataclass(frozen=True)
class Exporter:
    """Where a result goes: `type` is image, moby, docker, oci, local or tar.

    Attributes are BuildKit's (`exporting.attributes`). `moby` is what clients call `image` here.
    """

    type: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return an attribute that is true or false; empty is true. Raises InvalidArgument for one that is neither."""
        text = self.attributes.get(name)
        try:
            return default if text is None else not text or booleans.parse(text)
        except ValueError as error:
            raise InvalidArgument(f"non-bool value specified for {name}: {error}") from error


@dataclass(frozen=True)
class CacheLocation:
    """Where cached results come from or go to: `type` is inline, local or registry; attributes as in --cache-from."""

    type: str
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildRequest:
    """One build. `entitlements` are what the client allowed, as `entitlements.py` reads them.

    `is_classic` has the differences of `POST /build` version 1: the base image is pulled under its name.
    """

    frontend: Frontend
    request: Request
    exporters: tuple[Exporter, ...] = ()
    cache_from: tuple[CacheLocation, ...] = ()
    cache_to: tuple[CacheLocation, ...] = ()
    entitlements: frozenset[str] = frozenset()
    is_classic: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a build came to. `response` has BuildKit's names: `containerimage.digest`, `containerimage.config.digest`,
    `containerimage.descriptor` (JSON in base64), `image.name` …

    `metadata` is the frontend's own (`result.json` of a check, say).
    """

    image_id: str = ""
    descriptor: Descriptor | None = None
    response: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Solved:
    """What a frontend made, with a reference for each of its images: what `ResultSource` and `Build` take.

    A reference is valid until the build that gave it is closed. It is empty for an image without files.
    """

    result: Result
    references: tuple[str, ...]


@dataclass(frozen=True)
class FileStat:
    """As `fsutil.Stat` has it: `mode` is Go's os.FileMode; `path` the base name."""

    path: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    link: str = ""
    device_major: int = 0
    device_minor: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Usage:
    """A record of the build cache, as `docker buildx du` and `GET /system/df` show it."""

    id: str
    parents: tuple[str, ...]
    type: str
    description: str
    is_in_use: bool
    is_shared: bool
    size: int
    created_ns: int
    last_used_ns: int | None
    usage_count: int


@dataclass(frozen=True)
class Keep:
    """What a prune leaves: sizes in bytes, 0 for no wish; `until_ns`: what was used within so long."""

    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0
    duration_ns: int = 0
