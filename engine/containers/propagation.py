"""How mounts that are made later travel between the host and a bind mount (mount_namespaces(7)).

Used by `mounts`: the default is chosen when a container is created, and at each start the host's mounts are looked at,
since a slave or shared bind works only if the mount that holds its source is shared.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from ..errors import InvalidArgument
from .mount_syntax import DEFAULT_PROPAGATION

if TYPE_CHECKING:
    from .mounts import ResolvedMount


def choose(source: str, wanted: str, *, data_root: str) -> str:
    """Return the propagation of a bind.

    A bind of the engine's own directory, or of one that holds it, must not pin the engine's mounts: it follows the
    host by default and may not be private.
    """
    if not (_holds(data_root, source) or _holds(source, data_root)):
        return wanted or DEFAULT_PROPAGATION
    if wanted not in ("", "rslave", "rshared"):
        raise InvalidArgument(
            'invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within '
            f'the daemon root, daemon root: "{data_root}", bind mount source: "{source}", propagation: "{wanted}"'
        )
    return wanted or "rslave"


def settle(mount: ResolvedMount) -> ResolvedMount:
    """Check the propagation against the host's mounts now; a default that cannot work becomes private."""
    kind = mount.propagation.removeprefix("r")
    if kind not in ("shared", "slave"):
        return mount
    point, tags = mount_of(os.path.realpath(mount.source))
    if "shared" in tags or (kind == "slave" and "master" in tags):
        return mount
    if kind == "slave" and not mount.propagation_given:
        return msgspec.structs.replace(mount, propagation=DEFAULT_PROPAGATION)
    needed = "a shared mount" if kind == "shared" else "a shared or slave mount"
    raise InvalidArgument(f"path {mount.source} is mounted on {point} but it is not {needed}")


def _holds(outer: str, inner: str) -> bool:
    return f"{inner}/".startswith(f"{outer.rstrip('/')}/")


def mount_of(path: str) -> tuple[str, set[str]]:
    """Return the mount point that holds `path` and its propagation tags (`shared`, `master`)."""
    best, tags = "", set[str]()
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split()
            point = fields[4].encode().decode("unicode_escape") if "\\" in fields[4] else fields[4]
            if len(point) >= len(best) and _holds(point, path):
                best = point
                tags = {field.partition(":")[0] for field in fields[6 : fields.index("-")]}
    return best, tags
