"""Binds whose files are shown with other ids than they have on the host (`BindOptions.IDMapping`).

Called at each start. `match-user`: the source's owner is the container's user, or another one of its files; `userns`:
the container's ids are the files', one by one. Files of anybody else show as nobody's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from .. import errors
from .mount_syntax import USERNS

if TYPE_CHECKING:
    from .container import Container
    from .context import Context
    from .mounts import ResolvedMount


async def mapped(context: Context, container: Container, mounts: Sequence[ResolvedMount]) -> list[ResolvedMount]:
    """Return the mounts with what the runtime is to map them by."""
    return [await _mapped(context, container, mount) if mount.id_source else mount for mount in mounts]


async def _mapped(context: Context, container: Container, mount: ResolvedMount) -> ResolvedMount:
    id_map = container.id_map(context.host)
    if mount.id_source == USERNS:
        if id_map is None:
            raise errors.InvalidArgument("id mapping source userns needs a container with a user namespace")
        return msgspec.structs.replace(mount, id_maps=id_map.to_oci())
    user = mount.id_user or container.record.config.user or "0"
    root = {"bare": context.snapshots.mounts(container.id)}
    uid, gid = await context.file_workers.run("user", root=root, user=user)
    if id_map is not None:
        uid, gid = id_map.outside(uid, gid)
    owner = os.stat(mount.source)
    maps = {"uidMappings": [_one(owner.st_uid, uid)], "gidMappings": [_one(owner.st_gid, gid)]}
    return msgspec.structs.replace(mount, id_maps=maps)


def _one(on_disk: int, shown: int) -> dict[str, int]:
    return {"containerID": on_disk, "hostID": shown, "size": 1}
