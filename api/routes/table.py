"""All operations, by the name that the operations table gives them: `HANDLERS`, one module a resource."""

from __future__ import annotations

from . import buildkit, builds, containers, execs, files, images, networks, plugins, registries, stats, system, volumes

HANDLERS = {
    **system.HANDLERS,
    **containers.HANDLERS,
    **files.HANDLERS,
    **stats.HANDLERS,
    **execs.HANDLERS,
    **registries.HANDLERS,
    **images.HANDLERS,
    **volumes.HANDLERS,
    **networks.HANDLERS,
    **plugins.HANDLERS,
    **builds.HANDLERS,
    **buildkit.HANDLERS,
}
WEBSOCKETS = containers.WEBSOCKETS
