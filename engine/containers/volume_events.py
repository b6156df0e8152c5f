"""The `mount` and `unmount` events of the volumes that a container uses while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .container import Container
    from .context import Context


def tell_mounted(context: Context, container: Container) -> None:
    for mount in container.record.mounts:
        if mount.name:
            attributes = {
                "container": container.id,
                "destination": mount.destination,
                "driver": mount.driver,
                "propagation": mount.propagation,
                "read/write": "true" if mount.rw else "false",
            }
            context.events.publish("volume", "mount", mount.name, attributes)


def tell_unmounted(context: Context, container: Container) -> None:
    for mount in container.record.mounts:
        if mount.name:
            attributes = {"container": container.id, "driver": mount.driver}
            context.events.publish("volume", "unmount", mount.name, attributes)
