"""Another container's IPC namespace and /dev/shm: whether a container may have them (`--ipc container:X`).

Looked at when the container starts; the joining itself is the shim's and the runtime's, again at each restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import errors
from . import modes

if TYPE_CHECKING:
    from .container import Container
    from .context import Context

_SHAREABLE = ("shareable", "host")


def ipc_donor(context: Context, container: Container) -> Container | None:
    """Return the container whose IPC namespace this one joins, None for another mode; raise where it may not."""
    ref = modes.joined_container(container.record.host_config.ipc_mode)
    if ref is None:
        return None
    failed = "failed to join IPC namespace: "
    try:
        other = context.registry.resolve(ref)
    except errors.Error as error:
        raise errors.InvalidArgument(f"{failed}{error}") from error
    if not other.state.running:
        raise errors.Conflict(f"{failed}container {ref} is not running")
    if other.state.restarting:
        raise errors.Conflict(f"{failed}container {ref} is restarting, wait until the container is running")
    if other.record.host_config.ipc_mode not in _SHAREABLE:
        raise errors.InvalidArgument(
            f"{failed}container {ref}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
        )
    return other
