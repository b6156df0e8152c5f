"""Sending a directory to a client (`--output type=local`): the other side of fsutil's protocol.

Every file is told of, in fsutil's order; the client asks for the contents that it wants, and says when it has them.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from grpclib.client import Stream

from ...errors import InvalidArgument
from .modes import from_go, to_go
from .protocol.session_pb2 import Packet, Stat

_CHUNK_BYTES = 256 * 1024


async def send(stream: Stream[Packet, Packet], directory: Path) -> None:
    """Tell of the files in `directory`, and give those that are asked for."""
    stats = await asyncio.to_thread(lambda: list(_walk(directory)))
    telling = asyncio.create_task(_tell(stream, stats))
    try:
        while (packet := await stream.recv_message()) is not None:
            if packet.type == Packet.ERROR:
                raise InvalidArgument(f"error from receiver: {packet.data.decode(errors='replace')}")
            if packet.type == Packet.FINISH:
                break
            await telling
            await _send_file(stream, directory, stats, packet.id)
        await telling
    finally:
        telling.cancel()
    await stream.send_message(Packet(type=Packet.FINISH), end=True)
    while await stream.recv_message() is not None:
        pass


async def _tell(stream: Stream[Packet, Packet], stats: list[Stat]) -> None:
    for told in stats:
        await stream.send_message(Packet(type=Packet.STAT, stat=told))
    await stream.send_message(Packet(type=Packet.STAT))


async def _send_file(stream: Stream[Packet, Packet], directory: Path, stats: list[Stat], id: int) -> None:
    if id >= len(stats) or not stat.S_ISREG(from_go(stats[id].mode)):
        raise InvalidArgument(f"invalid file id {id}")
    with (directory / stats[id].path).open("rb", buffering=0) as file:
        while data := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            await stream.send_message(Packet(type=Packet.DATA, id=id, data=data))
    await stream.send_message(Packet(type=Packet.DATA, id=id))


def _walk(directory: Path) -> Iterator[Stat]:
    """Yield what is in the directory: names in order, each directory before what is in it, hard links as such."""
    first: dict[tuple[int, int], str] = {}

    def visit(parent: str) -> Iterator[Stat]:
        with os.scandir(directory / parent) as entries:
            found = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        for entry in found:
            path = f"{parent}/{entry.name}" if parent else entry.name
            status = entry.stat(follow_symlinks=False)
            yield _told(entry.path, path, status, first)
            if entry.is_dir(follow_symlinks=False):
                yield from visit(path)

    return visit("")


def _told(real: str, path: str, status: os.stat_result, first: dict[tuple[int, int], str]) -> Stat:
    told = Stat(
        path=path, mode=to_go(status.st_mode), uid=status.st_uid, gid=status.st_gid, modified_ns=status.st_mtime_ns
    )
    if stat.S_ISLNK(status.st_mode):
        told.linkname = os.readlink(real)
    elif stat.S_ISREG(status.st_mode):
        told.size = status.st_size
        known = first.setdefault((status.st_dev, status.st_ino), path) if status.st_nlink > 1 else path
        told.linkname = known if known != path else ""
    elif stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode):
        told.device_major, told.device_minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    if not stat.S_ISLNK(status.st_mode):
        for name in os.listxattr(real, follow_symlinks=False):
            told.xattrs[name] = os.getxattr(real, name, follow_symlinks=False)
    return told
