"""The server of an nfs or cifs volume by its address: the kernel takes no names.

Looked up at each start, as dockerd does at each mount, so that a server may move.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

from ..errors import Internal
from .mounts import ResolvedMount

_FILESYSTEMS = ("nfs", "cifs")
_ADDRESS = "addr="


async def with_addresses(mounts: Sequence[ResolvedMount]) -> list[ResolvedMount]:
    """Return the mounts with the names in `addr=`, and those in cifs URLs, looked up."""
    return [await _with_address(mount) if mount.filesystem in _FILESYSTEMS else mount for mount in mounts]


async def _with_address(mount: ResolvedMount) -> ResolvedMount:
    words = list(mount.options)
    given = next((word for word in words if word.startswith(_ADDRESS)), "")
    name = given.removeprefix(_ADDRESS)
    if not name and mount.filesystem == "cifs":
        name = urlsplit(mount.device).hostname or ""
    if not name or _is_address(name):
        return mount
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Internal(f"error resolving passed in network volume address: lookup {name}: {error.strerror}") from error
    words = [word for word in words if word != given]
    return msgspec.structs.replace(mount, options=(*words, f"{_ADDRESS}{found[0][4][0]}"))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
