"""What is told of a build while it runs, in BuildKit's terms; each front door words it for its client.

The solver calls these for every step it comes to. A vertex is a step, by its digest, or another piece of work (an
export, say) with a digest of its own making. Times are nanoseconds since the epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .graph import Location


@dataclass(frozen=True)
class Vertex:
    """Where a piece of work stands; told again whenever that changes."""

    digest: str
    name: str
    inputs: tuple[str, ...] = ()
    is_cached: bool = False
    started_ns: int | None = None
    completed_ns: int | None = None
    error: str = ""
    locations: tuple[Location, ...] = ()


@dataclass(frozen=True)
class Log:
    """Output of a vertex. `stream` is 1 or 2."""

    vertex: str
    stream: int
    data: bytes
    time_ns: int = field(default_factory=time.time_ns)


@dataclass(frozen=True)
class Status:
    """How far a part of a vertex's work is: a layer's download, the context's transfer. `total` 0: not known."""

    vertex: str
    id: str
    current: int = 0
    total: int = 0
    started_ns: int | None = None
    completed_ns: int | None = None
    time_ns: int = field(default_factory=time.time_ns)


@dataclass(frozen=True)
class Warning:
    """A build check's finding (https://docs.docker.com/reference/build-checks/). `rule` is its name."""

    rule: str
    message: str
    url: str = ""
    detail: tuple[str, ...] = ()
    locations: tuple[Location, ...] = ()
    source: bytes = b""
    filename: str = ""
    vertex: str = ""
    level: int = 1


Told = Vertex | Log | Status | Warning
Progress = Callable[[Told], None]
"""Called on the event loop's thread; returns at once."""
