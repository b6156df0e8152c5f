"""All operations that lightship has."""

from __future__ import annotations

from . import buildkit, builds, containers, execs, files, images, networks, plugins, registries, system, volumes
from .operation import Operation

OPERATIONS: tuple[Operation, ...] = (
    *system.OPERATIONS,
    *containers.OPERATIONS,
    *files.OPERATIONS,
    *execs.OPERATIONS,
    *registries.OPERATIONS,
    *images.OPERATIONS,
    *volumes.OPERATIONS,
    *networks.OPERATIONS,
    *plugins.OPERATIONS,
    *builds.OPERATIONS,
    *buildkit.OPERATIONS,
)
"""In the order in which routes are tried: fixed paths stand before those with a name in them."""

BY_ID = {operation.id: operation for operation in OPERATIONS}
